//! Addresses that no packet between hosts may carry, independent of the routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a packet with this source is always dropped: unspecified, loopback, multicast, limited broadcast, and
/// IPv4-mapped IPv6 addresses, which are never on a wire (RFC 4291 section 2.5, RFC 1122 section 3.2.1.3).
#[inline]
pub fn source_is_never_valid(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => names_no_host_v4(address),
        IpAddr::V6(address) => names_no_host_v6(address),
    }
}

/// Whether a packet to this destination is not routed as others are: what [`source_is_never_valid`] names, and link-local
/// addresses, 169.254.0.0/16 and fe80::/10 (RFC 3927 section 7, RFC 4291 section 2.5.6). Of these only packets for many
/// ([`destination_is_for_many`]) are ever routed, where a route is about them alone.
#[inline]
pub fn destination_is_never_routed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => names_no_host_v4(address) || address.is_link_local(),
        IpAddr::V6(address) => names_no_host_v6(address) || address.is_unicast_link_local(),
    }
}

/// Whether a packet to this destination is for any number of hosts: multicast, 224.0.0.0/4 and ff00::/8, and the limited
/// broadcast address 255.255.255.255. The broadcast address of a network looks like any other.
#[inline]
pub fn destination_is_for_many(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

#[inline]
fn names_no_host_v4(address: Ipv4Addr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast()
}

#[inline]
fn names_no_host_v6(address: Ipv6Addr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.to_ipv4_mapped().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_prefixes_end_where_they_should() {
        for (text, source, destination) in [
            ("0.0.0.0", true, true),
            ("0.0.0.1", false, false),
            ("10.0.0.1", false, false),
            ("126.255.255.255", false, false),
            ("127.0.0.0", true, true),
            ("127.255.255.255", true, true),
            ("128.0.0.0", false, false),
            ("169.253.255.255", false, false),
            ("169.254.0.0", false, true),
            ("169.254.255.255", false, true),
            ("169.255.0.0", false, false),
            ("223.255.255.255", false, false),
            ("224.0.0.0", true, true),
            ("239.255.255.255", true, true),
            ("240.0.0.0", false, false),
            ("255.255.255.254", false, false),
            ("255.255.255.255", true, true),
            ("::", true, true),
            ("::1", true, true),
            ("::2", false, false),
            ("::ffff:10.0.0.1", true, true),
            ("::fffe:10.0.0.1", false, false),
            ("64:ff9b::10.0.0.1", false, false),
            ("2001:db8::1", false, false),
            ("fd00::1", false, false),
            ("fe7f:ffff::", false, false),
            ("fe80::", false, true),
            ("febf:ffff::", false, true),
            ("fec0::", false, false),
            ("feff:ffff::", false, false),
            ("ff00::", true, true),
            ("ff02::1", true, true),
        ] {
            let address = text.parse().unwrap();
            assert_eq!(source_is_never_valid(address), source, "source {text}");
            assert_eq!(destination_is_never_routed(address), destination, "destination {text}");
            let for_many = ["224.0.0.0", "239.255.255.255", "255.255.255.255", "ff00::", "ff02::1"];
            assert_eq!(destination_is_for_many(address), for_many.contains(&text), "{text}");
        }
    }
}

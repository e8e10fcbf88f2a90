//! Which addresses a client may register at all.

use std::net::IpAddr;

use ipnet::IpNet;
use rtun_proto::packet::destination_is_never_routed;

use super::DatagramDrop;

/// The addresses that clients may have: those of the server's networks, and what is allowed besides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressRules {
    own: Vec<IpNet>,
    allowed: Vec<IpNet>,
}

impl AddressRules {
    /// For a server whose device has the addresses `own`, each in its network.
    pub fn new(own: &[IpNet], allowed: &[IpNet]) -> Self {
        Self { own: own.to_vec(), allowed: allowed.to_vec() }
    }

    /// Whether it is an address of the server itself.
    #[inline]
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.iter().any(|net| net.addr() == address)
    }

    /// Whether a client may register `address`.
    ///
    /// # Errors
    ///
    /// The server's own, and what is in none of its networks or names no station in it.
    pub fn check(&self, address: IpAddr) -> Result<(), DatagramDrop> {
        if self.is_own(address) {
            return Err(DatagramDrop::OwnAddress);
        }
        let is_known = self.own.iter().chain(&self.allowed).any(|net| net.contains(&address));
        let is_edge = self.own.iter().any(|net| names_the_network(net, address));
        if !is_known || is_edge || destination_is_never_routed(address) {
            return Err(DatagramDrop::BadAddress);
        }
        Ok(())
    }
}

/// The addresses of a network that no station has: the first and the last one of IPv4 (RFC 1122 section 3.2.1.3), unless there
/// are two (RFC 3021); the first one of IPv6, which all its routers have (RFC 4291 section 2.6.1).
fn names_the_network(net: &IpNet, address: IpAddr) -> bool {
    if net.prefix_len() + 1 >= net.max_prefix_len() {
        return false;
    }
    address == net.network() || net.addr().is_ipv4() && address == net.broadcast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_station_of_the_servers_networks_or_allowed() {
        let nets = |texts: &[&str]| -> Vec<IpNet> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let own = nets(&["192.168.123.1/24", "fd99::1/64", "10.0.0.0/31", "10.5.0.1/32"]);
        let rules = AddressRules::new(&own, &nets(&["10.9.0.0/16", "224.0.0.0/4"]));
        for (text, expected) in [
            ("192.168.123.2", Ok(())),
            ("192.168.123.254", Ok(())),
            ("192.168.123.1", Err(DatagramDrop::OwnAddress)),
            ("192.168.123.0", Err(DatagramDrop::BadAddress)),
            ("192.168.123.255", Err(DatagramDrop::BadAddress)),
            ("192.168.124.2", Err(DatagramDrop::BadAddress)),
            ("10.0.0.1", Ok(())),
            ("10.5.0.1", Err(DatagramDrop::OwnAddress)),
            ("10.9.7.7", Ok(())),
            ("224.0.0.5", Err(DatagramDrop::BadAddress)),
            ("127.0.0.1", Err(DatagramDrop::BadAddress)),
            ("0.0.0.0", Err(DatagramDrop::BadAddress)),
            ("255.255.255.255", Err(DatagramDrop::BadAddress)),
            ("fd99::1", Err(DatagramDrop::OwnAddress)),
            ("fd99::2", Ok(())),
            ("fd99::", Err(DatagramDrop::BadAddress)),
            ("fe80::1", Err(DatagramDrop::BadAddress)),
            ("::", Err(DatagramDrop::BadAddress)),
            ("ff02::1", Err(DatagramDrop::BadAddress)),
        ] {
            assert_eq!(rules.check(text.parse().unwrap()), expected, "{text}");
        }
    }
}

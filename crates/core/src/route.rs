//! One line of a routing table.

use std::net::IpAddr;

use ipnet::IpNet;
use rtun_proto::packet::destination_is_for_many;

use crate::HostName;

/// A destination prefix and the host that packets to it are handed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination, host bits cleared.
    pub prefix: IpNet,
    /// The host that the destination is behind.
    pub gateway: HostName,
}

impl Route {
    /// A route to `prefix` (its host bits are cleared) through `gateway`.
    pub fn new(prefix: IpNet, gateway: HostName) -> Self {
        Self { prefix: prefix.trunc(), gateway }
    }
}

/// Whether this prefix, with its host bits cleared, has no address but those of packets for many: it is in 224.0.0.0/4 or
/// ff00::/8, or is 255.255.255.255/32. Packets for many are routed by such prefixes alone.
pub fn prefix_is_for_many(prefix: IpNet) -> bool {
    let least = match prefix {
        IpNet::V4(prefix) if prefix.addr().is_broadcast() => 32,
        IpNet::V4(_) => 4,
        IpNet::V6(_) => 8,
    };
    destination_is_for_many(prefix.addr()) && prefix.prefix_len() >= least
}

/// The prefix of one address: /32 or /128.
pub fn host_prefix(addr: IpAddr) -> IpNet {
    IpNet::from(addr)
}

/// A prefix as written, or the prefix of one address; `None`: the text is neither.
pub fn parse_prefix(text: &str) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(net) => Some(net),
        Err(_) => text.parse().ok().map(host_prefix),
    }
}

/// The IPv4 prefix that `::ffff:a.b.c.d/96+n` stands for; any other prefix unchanged.
pub fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let mapped = v6.addr().to_ipv4_mapped().filter(|_| v6.prefix_len() >= 96);
    mapped.and_then(|addr| IpNet::new(IpAddr::V4(addr), v6.prefix_len() - 96).ok()).unwrap_or(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_for_many_have_no_other_address() {
        for (text, expected) in [
            ("224.0.0.0/4", true),
            ("239.1.2.3/32", true),
            ("224.0.0.0/3", false),
            ("255.255.255.255/32", true),
            ("255.255.255.254/31", false),
            ("240.0.0.0/4", false),
            ("0.0.0.0/0", false),
            ("10.0.0.255/32", false),
            ("ff00::/8", true),
            ("ff02::fb/128", true),
            ("fe00::/7", false),
            ("::/0", false),
        ] {
            assert_eq!(prefix_is_for_many(text.parse().unwrap()), expected, "{text}");
        }
    }
}

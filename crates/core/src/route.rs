//! One line of a routing table.

use std::net::IpAddr;

use ipnet::IpNet;

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

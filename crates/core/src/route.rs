//! One line of a routing table.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::HostName;

/// A destination prefix and the host that packets to it are handed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination, host bits cleared.
    pub prefix: IpNet,
    /// The host behind which the destination lies.
    pub gateway: HostName,
}

impl Route {
    /// A route to `prefix` (its host bits are cleared) by way of `gateway`.
    pub fn new(prefix: IpNet, gateway: HostName) -> Self {
        Self { prefix: prefix.trunc(), gateway }
    }
}

/// The prefix of one address: /32 or /128.
pub fn host_prefix(addr: IpAddr) -> IpNet {
    IpNet::from(addr)
}

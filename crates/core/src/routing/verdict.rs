//! The decision about a packet.

use std::net::IpAddr;

use super::PluginId;
use crate::{DropReason, HostName};

/// What to do with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it to this host.
    Deliver {
        /// The host.
        gateway: HostName,
        /// Whether the same holds for every packet of the same source and destination until the routing snapshot changes
        /// or a host connects or disconnects. If not, the verdict came from a plugin, whose answers age, or holds for
        /// this flow or this packet alone.
        cacheable: bool,
    },
    /// Hand a copy to each of the [receivers](super::Routing::receivers) but its sender.
    Copy,
    /// Ask this plugin about this address, then decide again.
    Ask(PluginId, IpAddr),
    /// Drop it.
    Drop(DropReason),
}

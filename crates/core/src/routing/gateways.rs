//! The hosts that one prefix is behind, and which of them gets a packet.

use std::slice;

use rtun_proto::packet::Packet;

use super::{Answers, Routing};
use crate::{HostName, Sharing};

/// The hosts that an address is behind, in order of preference; at least one.
pub(crate) enum Gateways<'a> {
    /// From rows of a table.
    Listed(&'a [HostName]),
    /// From a plugin's answer.
    Named(HostName),
}

impl Gateways<'_> {
    pub(crate) fn all(&self) -> &[HostName] {
        match self {
            Self::Listed(hosts) => hosts,
            Self::Named(host) => slice::from_ref(host),
        }
    }

    pub(crate) fn contains(&self, host: Option<&HostName>) -> bool {
        host.is_some_and(|host| self.all().contains(host))
    }
}

impl Routing {
    /// The first of several hosts that is connected, or one by the packet's flow. It is the sender only if there is no
    /// other host, and one that is not connected only if none is.
    pub(crate) fn choose<'a>(
        &self,
        gateways: &'a Gateways<'_>,
        sender: Option<&HostName>,
        packet: Option<&Packet<'_>>,
        answers: &impl Answers,
    ) -> &'a HostName {
        let gateways = gateways.all();
        let [only] = gateways else {
            let others = || gateways.iter().enumerate().filter(|(_, host)| Some(*host) != sender);
            let mut connected = others().filter(|(_, host)| answers.is_connected(host));
            let chosen = match packet.filter(|_| self.sharing == Sharing::Flow) {
                None => connected.next(),
                Some(packet) => {
                    let hash = packet.flow_hash(0);
                    connected.max_by_key(|(position, _)| weight(hash, *position))
                }
            };
            let chosen = chosen.or_else(|| others().next());
            return chosen.map_or(&gateways[0], |(_, host)| host);
        };
        only
    }
}

/// The weight of a host for a flow. The host with the greatest weight gets the flow, so that when a host disconnects only
/// its own flows move (highest random weight, Thaler and Ravishankar 1998).
fn weight(flow_hash: u64, position: usize) -> u64 {
    const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed =
        (flow_hash ^ (position as u64 + 1).wrapping_mul(GOLDEN_RATIO)).wrapping_mul(GOLDEN_RATIO);
    (mixed ^ (mixed >> 29)).wrapping_mul(GOLDEN_RATIO)
}

//! Multicast and broadcast: they go where a route is about such addresses alone, a copy to each host that it names.
//!
//! A default route does not take them: what machines send of their own accord (neighbour discovery, mDNS) would follow it
//! from every host.

use std::net::IpAddr;

use rtun_proto::packet::{Packet, destination_is_for_many, source_is_never_valid};

use super::{Answers, Gateways, RouteLookup, Routing, Verdict};
use crate::{DropReason, HostName, RoutingTable};

impl Routing {
    /// Decides about a packet whose destination is not routed as others are.
    pub(super) fn decide_for_many(
        &self,
        sender: Option<&HostName>,
        source: IpAddr,
        destination: IpAddr,
        packet: Option<&Packet<'_>>,
        answers: &impl Answers,
    ) -> Verdict {
        if !destination_is_for_many(destination) {
            return Verdict::Drop(DropReason::IpDisallowedDst);
        }
        // Before the source is checked: packets that no route is about have one reason in any case.
        let (gateways, cacheable) = match self.find_for_many(destination, answers) {
            RouteLookup::Hosts { gateways, cacheable, .. } => (gateways, cacheable),
            RouteLookup::Ask { plugin, .. } => return Verdict::Ask(plugin, destination),
            RouteLookup::NoRoute(_) => return Verdict::Drop(DropReason::IpDisallowedDst),
        };
        if source_is_never_valid(source) {
            return Verdict::Drop(DropReason::SrcNotAllowed);
        }
        let source_cacheable = match self.check_source(sender, source, destination, packet, answers)
        {
            Ok(cacheable) => cacheable,
            Err(verdict) => return verdict,
        };
        let mut others = gateways.all().iter().filter(|host| Some(*host) != sender);
        match (others.next(), others.next()) {
            (None, _) => Verdict::Drop(DropReason::Hairpin),
            (Some(gateway), None) => {
                let cacheable = cacheable && source_cacheable;
                Verdict::Deliver { gateway: gateway.clone(), cacheable }
            }
            (Some(_), Some(_)) => Verdict::Copy,
        }
    }

    /// Asks the routers in turn until one has a route that is about such addresses alone.
    pub(crate) fn find_for_many(&self, addr: IpAddr, answers: &impl Answers) -> RouteLookup<'_> {
        self.find_by(RoutingTable::lookup_for_many, addr, answers)
    }

    /// The hosts that get a copy of a packet to `destination`, where the verdict is [`Verdict::Copy`].
    pub fn receivers(&self, destination: IpAddr, answers: &impl Answers) -> &[HostName] {
        match self.find_for_many(destination, answers) {
            RouteLookup::Hosts { gateways: Gateways::Listed(hosts), .. } => hosts,
            _ => &[],
        }
    }
}

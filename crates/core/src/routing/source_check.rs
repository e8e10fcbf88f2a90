//! Whether a host may send from an address.

use std::net::IpAddr;

use rtun_proto::{
    icmp::{Quote, quoted},
    packet::Packet,
};

use super::{Answers, RouteLookup, Routing, Verdict};
use crate::{DropReason, HostName};

/// How strictly a packet's source is checked, beyond addresses that are never valid.
///
/// A prefix that is behind several hosts is routed back to each of them (RFC 3704 section 2.3). In every mode a source
/// without a route may send an ICMP error about a packet that did go to the sending host: one that runs from the
/// receiver of the error to an address routed back to the sender. A router of a network behind a host often has no other
/// address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SourceCheck {
    /// It must be routed back to the sending host.
    #[default]
    Strict,
    /// It must be routed to some host.
    Loose,
    /// No further check.
    Off,
}

impl Routing {
    /// Whether the result of the check is cacheable; an error is what to do instead of forwarding.
    pub(super) fn check_source(
        &self,
        sender: Option<&HostName>,
        source: IpAddr,
        destination: IpAddr,
        packet: Option<&Packet<'_>>,
        answers: &impl Answers,
    ) -> Result<bool, Verdict> {
        if self.source_check == SourceCheck::Off {
            return Ok(true);
        }
        match self.find(source, answers) {
            RouteLookup::Hosts { gateways, cacheable, .. }
                if self.source_check == SourceCheck::Loose || gateways.contains(sender) =>
            {
                Ok(cacheable)
            }
            RouteLookup::Ask { plugin, .. } => Err(Verdict::Ask(plugin, source)),
            RouteLookup::Hosts { .. } => Err(Verdict::Drop(DropReason::SrcNotAllowed)),
            RouteLookup::NoRoute(_) => {
                match packet.filter(|_| !is_link_local(source)).and_then(quoted) {
                    Some(quote) => self.check_quote(sender, destination, quote, answers),
                    None => Err(Verdict::Drop(DropReason::SrcNotAllowed)),
                }
            }
        }
    }

    /// The same for an ICMP error to `destination` from a source without a route. Never cacheable: it holds for no other
    /// packet from that source.
    fn check_quote(
        &self,
        sender: Option<&HostName>,
        destination: IpAddr,
        quote: Quote,
        answers: &impl Answers,
    ) -> Result<bool, Verdict> {
        if quote.source != destination {
            return Err(Verdict::Drop(DropReason::SrcNotAllowed));
        }
        match self.find(quote.destination, answers) {
            RouteLookup::Hosts { gateways, .. } if gateways.contains(sender) => Ok(false),
            RouteLookup::Ask { plugin, .. } => Err(Verdict::Ask(plugin, quote.destination)),
            RouteLookup::Hosts { .. } | RouteLookup::NoRoute(_) => {
                Err(Verdict::Drop(DropReason::SrcNotAllowed))
            }
        }
    }
}

/// Routers forward nothing from these addresses (RFC 3927 section 7, RFC 4291 section 2.5.6).
fn is_link_local(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(source) => source.is_link_local(),
        IpAddr::V6(source) => source.is_unicast_link_local(),
    }
}

//! ICMP errors of the hub to a host about its lost packets, as a router would send them (RFC 1812 section 4.3).
//!
//! Their source is the address that the hub is configured with (`address`), or else the destination of the packet: that passes
//! the sender's reverse path filter, and needs no address in the tunnel. They go only to the host that sent the packet, and
//! never about a packet whose source failed the check. Their rate is bounded by [`AnswerLimit`](rtun_core::AnswerLimit).

use std::{net::IpAddr, sync::Arc};

use rtun_core::DropReason;
use rtun_proto::{
    icmp::{Unreachable, unreachable},
    packet::Packet,
};
use tokio::time::Instant;

use crate::hub::{association::HostAssociation, namespace::RoutingSnapshot};

/// The least MTU of IPv6 (RFC 8200 section 5) and of IPv4 (RFC 791 section 3.2): no host may ask for less.
const LEAST_MTU: [usize; 2] = [1280, 68];

/// The ICMP error about a packet that is lost for this reason, if there is one.
pub(super) fn why(reason: DropReason) -> Option<Unreachable> {
    Some(match reason {
        DropReason::NoRoute | DropReason::RouteDenied => Unreachable::Network,
        DropReason::NoGatewayConnected => Unreachable::Host,
        DropReason::TtlExpired => Unreachable::HopLimit,
        _ => return None,
    })
}

/// The MTU to report where a packet of `len` bytes is too long for `to`: longer than a frame to it may be, or longer than its
/// device's MTU and not to be fragmented. Without ICMP errors a packet longer than the MTU is delivered anyway, since devices
/// take it: otherwise its sender would never learn why it is lost.
pub(super) fn too_long(
    packet: &Packet<'_>,
    len: usize,
    to: &HostAssociation,
    snapshot: &RoutingSnapshot,
) -> Option<u32> {
    let (longest, mtu) = to.takes();
    if len > longest {
        return u32::try_from(longest).ok();
    }
    let least = LEAST_MTU[usize::from(packet.version() == 4)];
    let mtu = usize::from(mtu?).max(least);
    let too_long = len > mtu && snapshot.icmp.is_some() && !packet.may_be_fragmented();
    too_long.then(|| u32::try_from(mtu).unwrap_or(u32::MAX))
}

/// Sends the host `from` an ICMP error about its packet, if these are enabled and the rate limit allows it.
pub(super) fn send(
    from: &Arc<HostAssociation>,
    snapshot: &RoutingSnapshot,
    packet: &Packet<'_>,
    why: Unreachable,
) {
    let Some(addresses) = snapshot.icmp else { return };
    let router = match packet.destination() {
        destination @ IpAddr::V4(_) => addresses.v4.map_or(destination, IpAddr::V4),
        destination @ IpAddr::V6(_) => addresses.v6.map_or(destination, IpAddr::V6),
    };
    if !from.answers.may_answer(packet.source(), Instant::now().into_std()) {
        return;
    }
    if let Some(error) = unreachable(packet, why, router)
        && from.send_answer(&error)
    {
        from.counters.count_answered();
    }
}

//! The complete list of reasons for dropping a packet.

use rtun_proto::packet::PacketError;

/// Why a packet was dropped. Every packet that is not delivered has exactly one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    /// A frame without payload. Look at: the peer's version.
    FrameEmpty,
    /// Longer than its receiver accepts, or longer than the device's MTU and not to be fragmented. Look at: MTU.
    FrameTooBig,
    /// The IP header says a longer packet than the frame has. Look at: the peer, MTU.
    FrameLengthMismatch,
    /// An extension frame of a type this version does not know, or out of place. Look at: the peer's version.
    FrameUnknown,
    /// An extension frame whose contents contradict themselves. Look at: an attack or a bug.
    FrameMalformed,
    /// Neither IPv4 nor IPv6. Look at: the peer.
    IpVersion,
    /// The IP header is cut. Look at: the peer.
    IpTruncated,
    /// An impossible IP header. Look at: an attack or a bug.
    IpMalformed,
    /// Multicast, broadcast, link-local or unspecified destination. Normal noise if low.
    IpDisallowedDst,
    /// The source is not routed to the sending host, nor is it an ICMP error about a packet that went to that host. Look at: a
    /// missing route for its LAN, or spoofing.
    SrcNotAllowed,
    /// No prefix contains the destination. Look at: the table.
    NoRoute,
    /// The namespace has neither a table nor a default router. Look at: the configuration.
    NoTable,
    /// The plugin did not answer in time. Look at: the plugin.
    RoutePendingTimeout,
    /// Too many packets wait for the plugin. Look at: the plugin.
    RoutePendingFull,
    /// The plugin knows no route. Look at: the plugin.
    RouteDenied,
    /// The next hop is the sender itself. Look at: the table.
    Hairpin,
    /// TTL or hop limit used up; only if the hub decrements it. Look at: a loop.
    TtlExpired,
    /// The route names a host that is not connected. Look at: that host, its name.
    NoGatewayConnected,
    /// In flight while the receiving host disconnected. Normal if low.
    GatewayClosing,
    /// The receiving host is too slow; the oldest packet of its largest flow was dropped. Look at: that host's link.
    QueueFullOldest,
    /// Waited longer than the age limit. Look at: the receiving host's link.
    QueueTooOld,
    /// The flow had a standing queue and lost a packet to keep its delay low. Normal under load.
    QueueCodel,
    /// The memory for all queues together is used up. Look at: overload, hosts with slow links.
    QueueBudget,
    /// A limit of the configuration lets less through than is sent; the packet found no room, or waited too long. Look at: the
    /// limiters.
    RateLimited,
    /// A quota of the service is used up. Look at: the quotas.
    QuotaExceeded,
    /// The connection broke while the packet was being sent. Look at: the transport.
    WriteError,
    /// The TUN device did not take the packet. Look at: the host machine.
    TunWriteError,
    /// The host has no connection to a hub now. Look at: hub, network.
    NotConnected,
    /// A bug in rtun. Please report it.
    Internal,
}

impl DropReason {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 29] = [
        Self::FrameEmpty,
        Self::FrameTooBig,
        Self::FrameLengthMismatch,
        Self::FrameUnknown,
        Self::FrameMalformed,
        Self::IpVersion,
        Self::IpTruncated,
        Self::IpMalformed,
        Self::IpDisallowedDst,
        Self::SrcNotAllowed,
        Self::NoRoute,
        Self::NoTable,
        Self::RoutePendingTimeout,
        Self::RoutePendingFull,
        Self::RouteDenied,
        Self::Hairpin,
        Self::TtlExpired,
        Self::NoGatewayConnected,
        Self::GatewayClosing,
        Self::QueueFullOldest,
        Self::QueueTooOld,
        Self::QueueCodel,
        Self::QueueBudget,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::WriteError,
        Self::TunWriteError,
        Self::NotConnected,
        Self::Internal,
    ];

    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Position in [`DropReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The fixed word in logs, metrics and explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FrameEmpty => "frame_empty",
            Self::FrameTooBig => "frame_too_big",
            Self::FrameLengthMismatch => "frame_length_mismatch",
            Self::FrameUnknown => "frame_unknown",
            Self::FrameMalformed => "frame_malformed",
            Self::IpVersion => "ip_version",
            Self::IpTruncated => "ip_truncated",
            Self::IpMalformed => "ip_malformed",
            Self::IpDisallowedDst => "ip_disallowed_dst",
            Self::SrcNotAllowed => "src_not_allowed",
            Self::NoRoute => "no_route",
            Self::NoTable => "no_table",
            Self::RoutePendingTimeout => "route_pending_timeout",
            Self::RoutePendingFull => "route_pending_full",
            Self::RouteDenied => "route_denied",
            Self::Hairpin => "hairpin",
            Self::TtlExpired => "ttl_expired",
            Self::NoGatewayConnected => "no_gateway_connected",
            Self::GatewayClosing => "gateway_closing",
            Self::QueueFullOldest => "queue_full_oldest",
            Self::QueueTooOld => "queue_too_old",
            Self::QueueCodel => "queue_codel",
            Self::QueueBudget => "queue_budget",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
            Self::WriteError => "write_error",
            Self::TunWriteError => "tun_write_error",
            Self::NotConnected => "not_connected",
            Self::Internal => "internal",
        }
    }
}

impl From<PacketError> for DropReason {
    fn from(error: PacketError) -> Self {
        match error {
            PacketError::Version => Self::IpVersion,
            PacketError::Truncated => Self::IpTruncated,
            PacketError::Malformed => Self::IpMalformed,
            PacketError::LengthMismatch => Self::FrameLengthMismatch,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_list_is_complete_and_every_word_is_unique() {
        for (position, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), position);
        }
        let words: HashSet<_> = DropReason::ALL.map(DropReason::as_str).into_iter().collect();
        assert_eq!(words.len(), DropReason::COUNT);
    }
}

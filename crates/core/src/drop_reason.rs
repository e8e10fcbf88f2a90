//! The complete list of reasons for dropping a packet.

use rtun_proto::packet::PacketError;

/// Why a packet was dropped. Every packet that is not delivered has exactly one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    /// A frame without payload.
    FrameEmpty,
    /// Longer than its receiver accepts, or longer than the device's MTU and not to be fragmented.
    FrameTooBig,
    /// The IP header says a longer packet than the frame has.
    FrameLengthMismatch,
    /// An extension frame of a type this version does not know, or out of place.
    FrameUnknown,
    /// An extension frame whose contents contradict themselves.
    FrameMalformed,
    /// Neither IPv4 nor IPv6.
    IpVersion,
    /// The IP header is cut.
    IpTruncated,
    /// An impossible IP header.
    IpMalformed,
    /// Multicast or broadcast destination that no route is about; link-local or unspecified destination.
    IpDisallowedDst,
    /// The source is not routed to the sending host, nor is it an ICMP error about a packet that
    /// went to that host.
    SrcNotAllowed,
    /// No prefix contains the destination.
    NoRoute,
    /// The namespace has neither a table nor a default router.
    NoTable,
    /// The plugin did not answer in time.
    RoutePendingTimeout,
    /// Too many packets wait for the plugin.
    RoutePendingFull,
    /// The plugin knows no route.
    RouteDenied,
    /// The next hop is the sender itself.
    Hairpin,
    /// TTL or hop limit used up; only if the hub decrements it.
    TtlExpired,
    /// The route names a host that is not connected.
    NoGatewayConnected,
    /// In flight while the receiving host disconnected.
    GatewayClosing,
    /// The receiving host is too slow; the oldest packet of its largest flow was dropped.
    QueueFullOldest,
    /// Waited longer than the age limit.
    QueueTooOld,
    /// The flow had a standing queue and lost a packet to keep its delay low.
    QueueCodel,
    /// The memory for all queues together is used up.
    QueueBudget,
    /// A limit of the configuration lets less through than is sent; the packet found no room, or
    /// waited too long.
    RateLimited,
    /// A quota of the service is used up.
    QuotaExceeded,
    /// The connection broke while the packet was being sent.
    WriteError,
    /// The TUN device did not take the packet.
    TunWriteError,
    /// The host has no connection to a hub now.
    NotConnected,
    /// A bug in rtun.
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

    /// What it means and what to look at, for people.
    pub const fn help(self) -> &'static str {
        match self {
            Self::FrameEmpty => "A frame without payload. Look at: the peer's version.",
            Self::FrameTooBig => {
                "Longer than its receiver accepts, or longer than the device's MTU and not to be fragmented. Look at: MTU."
            }
            Self::FrameLengthMismatch => {
                "The IP header says a longer packet than the frame has. Look at: the peer, MTU."
            }
            Self::FrameUnknown => {
                "An extension frame of a type this version does not know, or out of place. Look at: the peer's version."
            }
            Self::FrameMalformed => {
                "An extension frame whose contents contradict themselves. Look at: an attack or a bug."
            }
            Self::IpVersion => "Neither IPv4 nor IPv6. Look at: the peer.",
            Self::IpTruncated => "The IP header is cut. Look at: the peer.",
            Self::IpMalformed => "An impossible IP header. Look at: an attack or a bug.",
            Self::IpDisallowedDst => {
                "Multicast or broadcast destination that no route is about; link-local or unspecified destination. Normal noise if low."
            }
            Self::SrcNotAllowed => {
                "The source is not routed to the sending host, nor is it an ICMP error about a packet that went to that host. Look at: a missing route for its LAN, or spoofing."
            }
            Self::NoRoute => {
                "No prefix contains the destination. Look at: the table. Add a route for it to the host that has it."
            }
            Self::NoTable => {
                "The namespace has neither a table nor a default router. Look at: the configuration. Give it a router, or name a default one."
            }
            Self::RoutePendingTimeout => "The plugin did not answer in time. Look at: the plugin.",
            Self::RoutePendingFull => "Too many packets wait for the plugin. Look at: the plugin.",
            Self::RouteDenied => "The plugin knows no route. Look at: the plugin.",
            Self::Hairpin => {
                "The next hop is the sender itself. Look at: the table. Deliver it there, or correct the route."
            }
            Self::TtlExpired => {
                "TTL or hop limit used up; only if the hub decrements it. Look at: a loop."
            }
            Self::NoGatewayConnected => {
                "The route names a host that is not connected. Look at: that host, its name. Start it, or correct the name in the route."
            }
            Self::GatewayClosing => {
                "In flight while the receiving host disconnected. Normal if low."
            }
            Self::QueueFullOldest => {
                "The receiving host is too slow; the oldest packet of its largest flow was dropped. Look at: that host's link."
            }
            Self::QueueTooOld => {
                "Waited longer than the age limit. Look at: the receiving host's link."
            }
            Self::QueueCodel => {
                "The flow had a standing queue and lost a packet to keep its delay low. Normal under load."
            }
            Self::QueueBudget => {
                "The memory for all queues together is used up. Look at: overload, hosts with slow links."
            }
            Self::RateLimited => {
                "A limit of the configuration lets less through than is sent; the packet found no room, or waited too long. Look at: the limiters."
            }
            Self::QuotaExceeded => "A quota of the service is used up. Look at: the quotas.",
            Self::WriteError => {
                "The connection broke while the packet was being sent. Look at: the transport."
            }
            Self::TunWriteError => {
                "The TUN device did not take the packet. Look at: the host machine."
            }
            Self::NotConnected => "The host has no connection to a hub now. Look at: hub, network.",
            Self::Internal => "A bug in rtun. Please report it.",
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

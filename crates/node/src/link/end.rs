//! Why links end.

use std::{fmt, io};

/// Why a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The peer closed the connection.
    PeerClosed,
    /// The connection was reset, or what arrived cannot be read.
    PeerReset,
    /// The peer's system or the network in between is gone.
    UserTimeout,
    /// An rtun peer was silent for too long.
    PingTimeout,
    /// The socket took nothing while packets waited.
    WriteStalled,
    /// The path drops large packets without an ICMP error.
    LargeLost,
    /// A newer connection has replaced it.
    Replaced,
    /// The hub's rules no longer admit the host.
    Revoked,
    /// This end stops.
    Shutdown,
    /// A task of this end failed: a defect.
    Internal,
}

/// A reason, and the error of the system or of the transport, if there is one.
pub(super) struct LinkEnd {
    pub(super) reason: EndReason,
    pub(super) error: Option<io::Error>,
}

impl EndReason {
    /// The fixed word used in logs and metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::PeerReset => "peer_reset",
            Self::UserTimeout => "user_timeout",
            Self::PingTimeout => "ping_timeout",
            Self::WriteStalled => "write_stalled",
            Self::LargeLost => "large_lost",
            Self::Replaced => "replaced",
            Self::Revoked => "revoked",
            Self::Shutdown => "shutdown",
            Self::Internal => "internal",
        }
    }

    /// A timeout that the kernel reports has an error code; one that this program has measured has none.
    pub(super) fn from_read(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut if error.raw_os_error().is_none() => Self::PingTimeout,
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable => Self::UserTimeout,
            _ => Self::PeerReset,
        }
    }

    pub(super) fn from_write(error: &io::Error) -> Self {
        match Self::from_read(error) {
            Self::PingTimeout => Self::WriteStalled,
            reason => reason,
        }
    }

    /// Whether the peer can still receive a message that the connection ends.
    pub(super) const fn is_orderly(self) -> bool {
        match self {
            Self::PeerClosed | Self::Replaced | Self::Revoked | Self::Shutdown => true,
            Self::PeerReset
            | Self::UserTimeout
            | Self::PingTimeout
            | Self::WriteStalled
            | Self::LargeLost
            | Self::Internal => false,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

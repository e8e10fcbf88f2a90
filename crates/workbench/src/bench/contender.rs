//! Those that are compared: the plain relay, and tunnels of programs.

use super::{transport::BenchTransport, variant::TunnelVariant};

/// What connects the hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// The plain relay.
    Relay,
    /// A tunnel: the commands of hub and hosts, before the arguments that say what to be.
    Tunnel {
        hub: Vec<String>,
        host: Vec<String>,
        /// Whether they may send packets whole that are larger than the MTU, as far as they know how.
        gso_frames: bool,
    },
}

/// One of those compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The tunnel's MTU in bytes.
    pub(super) mtu: u16,
    /// What hosts and hub speak over; `None`: TCP, as in every scenario that does not compare transports.
    pub(super) transport: Option<BenchTransport>,
    /// The UDP or Ethernet tunnel that it is; `None`: a routing tunnel.
    pub(super) variant: Option<TunnelVariant>,
}

impl Contender {
    pub(super) fn gso_frames(&self) -> bool {
        matches!(self.kind, Kind::Tunnel { gso_frames: true, .. })
    }
}

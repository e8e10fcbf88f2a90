//! What observers are informed of: the states of services, and what services and hosts have counted.

mod ledger;
mod meter;

pub use self::{
    ledger::{MAX_EVENTS, StatsLedger},
    meter::StatsMeter,
};

/// Something that an observer is informed of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObserverEvent {
    /// A service has changed its state.
    Status {
        /// The name of the service.
        service: String,
        /// Its state from then on.
        state: ServiceState,
    },
    /// What a service, or one client of its handler, has counted.
    Stats {
        /// The name of the service.
        service: String,
        /// The client, as `host-1@UUID`; `None`: the service as a whole.
        client: Option<String>,
        /// The counts.
        stats: ObservedStats,
    },
}

/// The state of a service, by GOST's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// It has been set up.
    Running,
    /// It takes connections, or has its device.
    Ready,
    /// It cannot take connections, or has lost its device; it tries again.
    Failed,
    /// It has ended.
    Closed,
}

impl ServiceState {
    /// GOST's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }
}

/// What a service or a client has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObservedStats {
    /// Connections so far.
    pub total_conns: u64,
    /// Connections that stand.
    pub current_conns: u64,
    /// Bytes of packets that were received.
    pub input_bytes: u64,
    /// Bytes of packets that were sent.
    pub output_bytes: u64,
    /// Connections that were refused, failed or were lost.
    pub total_errs: u64,
}

impl ObservedStats {
    /// What was counted since `before`; 0 where that counted more. Connections that stand are no sum and stay.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            total_conns: self.total_conns.saturating_sub(before.total_conns),
            current_conns: self.current_conns,
            input_bytes: self.input_bytes.saturating_sub(before.input_bytes),
            output_bytes: self.output_bytes.saturating_sub(before.output_bytes),
            total_errs: self.total_errs.saturating_sub(before.total_errs),
        }
    }
}

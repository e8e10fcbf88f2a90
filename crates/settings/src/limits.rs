//! What a service limits.

pub use rtun_core::limit::{LimitRow, TrafficLimit};

/// What a hub limits, by the rows of GOST's limiters.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HubLimits {
    /// `limiter` of the service: in all, for each connection, for each address.
    pub traffic: Vec<LimitRow<TrafficLimit>>,
    /// `limiter` of the handler: in all, for each host, for each namespace.
    pub hosts: Vec<LimitRow<TrafficLimit>>,
    /// `climiter`: connections at once.
    pub connections: Vec<LimitRow<u32>>,
    /// `rlimiter`: requests to join a second.
    pub requests: Vec<LimitRow<f64>>,
}

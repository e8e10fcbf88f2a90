//! Limits of traffic, connections, join requests and volume, as GOST's `limiters`, `climiters`, `rlimiters` and `quotas`
//! describe them.

mod connections;
mod quota;
mod requests;
mod scope;
mod shaper;
mod size;
mod traffic;

pub use self::{
    connections::{ConnectionGuard, ConnectionLimiter, ConnectionsExceeded, CountedConnections},
    quota::{QuotaDirection, QuotaMeter, QuotaTerms, QuotaUse},
    requests::{RequestLimiter, RequestsExceeded},
    scope::{LimitRow, LimitScope, ScopedLimits},
    shaper::{Ticket, TrafficRate, TrafficShaper},
    size::{SizeError, parse_size},
    traffic::{ShaperPair, ShaperSet, SharedShaper, TrafficLimiter},
};

/// The rates of one scope of a traffic limiter. `in` is what the service receives, `out` what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrafficLimit {
    /// What the service receives; `None`: not limited.
    pub input: Option<TrafficRate>,
    /// What the service sends; `None`: not limited.
    pub output: Option<TrafficRate>,
}

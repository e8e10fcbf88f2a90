//! The limits of a relay, and all that counts against them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rtun_core::limit::{
    ConnectionGuard, ConnectionLimiter, ConnectionsExceeded, RequestLimiter, RequestsExceeded,
    ScopedLimits, ShaperPair, ShaperSet, TrafficLimit, TrafficLimiter,
};
use rtun_settings::{LimitRow, Named, RelayRules};
use tokio::time::Instant;

use crate::{
    counters::{NamedMeter, QuotaGroup},
    report::LimitReport,
};

/// What limits a relay's clients. A change of the settings applies at once to those connected too.
pub(super) struct RelayLimiters {
    traffic: TrafficLimiter,
    pub(super) connections: Arc<ConnectionLimiter>,
    requests: RequestLimiter,
    pub(super) quotas: Arc<QuotaGroup>,
}

/// The limits of one client: of all together, of its address, of its connection.
pub(super) struct ClientShapers([Arc<ShaperPair>; 3]);

impl RelayLimiters {
    pub(super) fn new(rules: &RelayRules, meters: Vec<NamedMeter>) -> Self {
        let limiters = Self {
            traffic: TrafficLimiter::new(Some(traffic(rules))),
            connections: Arc::new(ConnectionLimiter::new(rows(rules.connections.as_ref()))),
            requests: RequestLimiter::new(rows(rules.requests.as_ref()), now()),
            quotas: Arc::default(),
        };
        limiters.quotas.set(meters);
        limiters
    }

    pub(super) fn apply(&self, rules: &RelayRules, meters: Vec<NamedMeter>) {
        self.traffic.set_limits(Some(traffic(rules)), now());
        self.connections.set_limits(rows(rules.connections.as_ref()));
        self.requests.set_limits(rows(rules.requests.as_ref()));
        self.quotas.set(meters);
    }

    /// Counts a connection until the guard is dropped.
    pub(super) fn connection(&self, peer: IpAddr) -> Result<ConnectionGuard, ConnectionsExceeded> {
        self.connections.admit(peer)
    }

    /// Counts a request.
    pub(super) fn request(&self, peer: IpAddr) -> Result<(), RequestsExceeded> {
        self.requests.take(peer, now())
    }

    /// For a client that connects.
    pub(super) fn shapers(&self, peer: SocketAddr) -> ClientShapers {
        ClientShapers(self.traffic.connection(peer.ip(), now()))
    }
}

impl ClientShapers {
    /// For what the relay receives, and for what it sends.
    pub(super) fn sets(&self) -> (ShaperSet, ShaperSet) {
        (ShaperSet::input(self.0.clone()), ShaperSet::output(self.0.clone()))
    }

    /// Those that limit something now.
    pub(super) fn report(&self) -> Vec<LimitReport> {
        let scopes = ["service", "address", "connection"].into_iter().zip(&self.0);
        let limit =
            |(scope, pair): (_, &Arc<ShaperPair>)| LimitReport::of("limiter", scope, pair.limit());
        scopes.filter_map(limit).collect()
    }
}

fn traffic(rules: &RelayRules) -> Arc<ScopedLimits<TrafficLimit>> {
    Arc::new(ScopedLimits::new(rules.limits.rows()))
}

/// A relay's rows are all in the configuration.
fn rows<L: Copy>(limiter: Option<&Named<LimitRow<L>>>) -> ScopedLimits<L> {
    ScopedLimits::new(limiter.into_iter().flat_map(Named::inline).cloned())
}

/// On the clock that tests can pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

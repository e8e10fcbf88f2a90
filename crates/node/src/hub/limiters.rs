//! The limits of a hub, and all that counts against them.

use std::{net::IpAddr, sync::Arc};

use rtun_core::{
    HostName, NamespaceId,
    limit::{
        ConnectionGuard, ConnectionLimiter, ConnectionsExceeded, LimitRow, RequestLimiter,
        RequestsExceeded, ScopedLimits, ShaperPair, ShaperSet, TrafficLimiter,
    },
};
use rtun_settings::HubLimits;
use tokio::time::Instant;

/// What limits a hub's hosts. A change of the settings applies at once to those connected too.
pub(super) struct HubLimiters {
    /// GOST's `limiter` of a service.
    connections_traffic: TrafficLimiter,
    /// GOST's `limiter` of a handler.
    hosts_traffic: TrafficLimiter,
    connections: Arc<ConnectionLimiter>,
    requests: RequestLimiter,
}

/// The shapers of a host's connection.
pub(super) struct HostShapers {
    /// For what the hub receives.
    pub(super) input: ShaperSet,
    /// For what the hub sends.
    pub(super) output: ShaperSet,
}

impl HubLimiters {
    pub(super) fn new(limits: &HubLimits) -> Self {
        Self {
            connections_traffic: TrafficLimiter::new(Arc::new(scoped(&limits.traffic))),
            hosts_traffic: TrafficLimiter::new(Arc::new(scoped(&limits.hosts))),
            connections: Arc::new(ConnectionLimiter::new(scoped(&limits.connections))),
            requests: RequestLimiter::new(scoped(&limits.requests), now()),
        }
    }

    pub(super) fn apply(&self, limits: &HubLimits) {
        self.connections_traffic.set_limits(Arc::new(scoped(&limits.traffic)), now());
        self.hosts_traffic.set_limits(Arc::new(scoped(&limits.hosts)), now());
        self.connections.set_limits(scoped(&limits.connections));
        self.requests.set_limits(scoped(&limits.requests));
    }

    /// Counts a connection until the guard is dropped.
    pub(super) fn connection(&self, peer: IpAddr) -> Result<ConnectionGuard, ConnectionsExceeded> {
        self.connections.admit(peer)
    }

    /// Counts a request to join.
    pub(super) fn request(&self, peer: IpAddr) -> Result<(), RequestsExceeded> {
        self.requests.take(peer, now())
    }

    /// For a connection of a host that joins.
    pub(super) fn shapers(
        &self,
        peer: IpAddr,
        host: &HostName,
        namespace: NamespaceId,
    ) -> HostShapers {
        let mut pairs = self.connections_traffic.connection(peer, now());
        pairs.extend(self.hosts_traffic.host(host, namespace, now()));
        let of = |set: fn(Vec<Arc<ShaperPair>>) -> ShaperSet| set(pairs.clone());
        HostShapers { input: of(ShaperSet::input), output: of(ShaperSet::output) }
    }
}

fn scoped<L: Copy>(rows: &[LimitRow<L>]) -> ScopedLimits<L> {
    ScopedLimits::new(rows.iter().cloned())
}

/// On the clock that tests can pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

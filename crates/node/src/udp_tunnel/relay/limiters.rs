//! The limits of a relay, and all that counts against them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rtun_core::limit::{
    ConnectionGuard, ConnectionsExceeded, CountedConnections, RequestsExceeded, ShaperPair,
    ShaperSet,
};
use rtun_settings::RelayRules;

use crate::{
    counters::QuotaGroup,
    limiters::{ServiceMeters, ServiceRequests, ServiceTraffic},
    report::LimitReport,
};

/// What limits a relay's clients. A change of the settings applies at once to those connected too.
#[derive(Default)]
pub(super) struct RelayLimiters {
    traffic: ServiceTraffic,
    pub(super) connections: Arc<CountedConnections>,
    requests: ServiceRequests,
    pub(super) quotas: Arc<QuotaGroup>,
}

/// The limits of one client: of all together, of its address, of its connection.
pub(super) struct ClientShapers([Arc<ShaperPair>; 3]);

impl RelayLimiters {
    pub(super) fn new(rules: &RelayRules, meters: ServiceMeters) -> Self {
        let limiters = Self::default();
        limiters.apply(rules, meters);
        limiters
    }

    /// Whether the clients that are connected need other [shapers](Self::shapers).
    pub(super) fn apply(&self, rules: &RelayRules, meters: ServiceMeters) -> bool {
        let ServiceMeters { limiters, quotas } = meters;
        self.connections.count_at(limiters.connections);
        self.requests.apply(limiters.requests);
        self.quotas.set(quotas);
        self.traffic.apply(rules.limits.limiter(), limiters.traffic, &[])
    }

    /// Counts a connection until the guard is dropped.
    pub(super) fn connection(&self, peer: IpAddr) -> Result<ConnectionGuard, ConnectionsExceeded> {
        self.connections.admit(peer)
    }

    /// Counts a request.
    pub(super) fn request(&self, peer: IpAddr) -> Result<(), RequestsExceeded> {
        self.requests.take(peer)
    }

    /// For a client that connects.
    pub(super) fn shapers(&self, peer: SocketAddr) -> ClientShapers {
        ClientShapers(self.traffic.connection(peer.ip()))
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

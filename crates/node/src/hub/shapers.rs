//! The shapers of one host's connection, and what they limit.

use std::sync::Arc;

use rtun_core::limit::{ShaperPair, ShaperSet};

use crate::report::LimitReport;

/// The shapers that the traffic of a host's connection has to pass.
#[derive(Clone)]
pub(super) struct HostShapers {
    /// Of the service, of the address, of the connection.
    pub(super) connection: [Arc<ShaperPair>; 3],
    /// Of the service, of the namespace, of the host.
    pub(super) host: [Arc<ShaperPair>; 3],
}

impl HostShapers {
    /// For what the hub receives, and for what it sends.
    pub(super) fn sets(&self) -> (ShaperSet, ShaperSet) {
        let all = || self.connection.iter().chain(&self.host).cloned();
        (ShaperSet::input(all()), ShaperSet::output(all()))
    }

    /// Those that limit something now.
    pub(super) fn report(&self) -> Vec<LimitReport> {
        let words = [
            ("limiter", ["service", "address", "connection"], &self.connection),
            ("handler.limiter", ["service", "namespace", "host"], &self.host),
        ];
        let mut reports = Vec::new();
        for (limiter, scopes, pairs) in words {
            for (scope, pair) in scopes.into_iter().zip(pairs) {
                reports.extend(LimitReport::of(limiter, scope, pair.limit()));
            }
        }
        reports
    }
}

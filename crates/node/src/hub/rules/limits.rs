//! A hub's limits, compiled from what is configured and what sources have read.

use std::sync::Arc;

use rtun_core::limit::{LimitRow, ScopedLimits};
use rtun_settings::{HubRules, LimiterSettings, TrafficLimit};

use crate::feeds::Feeds;

/// Rows by what they are about.
pub(in crate::hub) struct CompiledLimits {
    /// Of the service's limiter; `None`: a plugin is asked.
    pub(in crate::hub) traffic: Option<Arc<ScopedLimits<TrafficLimit>>>,
    /// Of the handler's limiter; `None`: a plugin is asked.
    pub(in crate::hub) hosts: Option<Arc<ScopedLimits<TrafficLimit>>>,
    pub(in crate::hub) connections: ScopedLimits<u32>,
    pub(in crate::hub) requests: ScopedLimits<f64>,
}

impl CompiledLimits {
    pub(super) fn new(config: &HubRules, feeds: &Feeds) -> Self {
        let limits = &config.limits;
        let connections = limits.connections.iter().flat_map(|it| feeds.connection_limits(it));
        let requests = limits.requests.iter().flat_map(|it| feeds.request_limits(it));
        Self {
            traffic: traffic(limits.traffic.as_ref(), &[], feeds),
            hosts: traffic(limits.hosts.as_ref(), &limits.own, feeds),
            connections: ScopedLimits::new(connections),
            requests: ScopedLimits::new(requests),
        }
    }
}

fn traffic(
    limiter: Option<&LimiterSettings>,
    more: &[LimitRow<TrafficLimit>],
    feeds: &Feeds,
) -> Option<Arc<ScopedLimits<TrafficLimit>>> {
    let mut rows = Vec::new();
    if let Some(limiter) = limiter {
        if limiter.limits.plugin().is_some() {
            return None;
        }
        rows = feeds.traffic_limits(&limiter.limits);
        rows.retain(|row| limiter.scope.has(&row.scope));
    }
    rows.extend_from_slice(more);
    Some(Arc::new(ScopedLimits::new(rows)))
}

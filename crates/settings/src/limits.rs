//! What a service limits: traffic, connections, requests to join, and how much may pass in all.

use std::{path::PathBuf, time::Duration};

pub use rtun_core::limit::{LimitRow, LimitScope, QuotaDirection, QuotaTerms, TrafficLimit};

use super::{Named, PluginSettings, SourceSettings};

/// The limiters that a service names. Those of one kind and name are the same limiter, whose limits all who name it share; but a
/// plugin says its rates for each service.
#[derive(Debug, Clone, Copy, Default)]
pub struct NamedLimiters<'a> {
    /// `limiter` of the service.
    pub traffic: Option<&'a LimiterSettings>,
    /// `limiter` of the handler. It is about hosts and namespaces, so no limit of it is shared with those of services.
    pub hosts: Option<&'a LimiterSettings>,
    /// `climiter`.
    pub connections: Option<&'a Named<LimitRow<u32>>>,
    /// `rlimiter`.
    pub requests: Option<&'a Named<LimitRow<f64>>>,
}

impl<'a> NamedLimiters<'a> {
    /// Only the one of the service.
    pub fn of_traffic(traffic: Option<&'a LimiterSettings>) -> Self {
        Self { traffic, ..Self::default() }
    }

    /// Every source of rows.
    pub fn sources(self) -> impl Iterator<Item = &'a SourceSettings> {
        let traffic = self.traffic.into_iter().chain(self.hosts);
        let traffic = traffic.flat_map(|limiter| limiter.limits.sources());
        let connections = self.connections.into_iter().flat_map(Named::sources);
        let requests = self.requests.into_iter().flat_map(Named::sources);
        traffic.chain(connections).chain(requests)
    }
}

/// What a hub limits.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HubLimits {
    /// `limiter` of the service: in all, for each connection, for each address.
    pub traffic: Option<LimiterSettings>,
    /// `limiter` of the handler: in all, for each host, for each namespace.
    pub hosts: Option<LimiterSettings>,
    /// `limits` of the handler. They go before the rows of its limiter; none where that is a plugin.
    pub own: Vec<LimitRow<TrafficLimit>>,
    /// `climiter`: connections at once; 0: no limit.
    pub connections: Option<Named<LimitRow<u32>>>,
    /// `rlimiter`: requests to join a second; 0 and less: no limit.
    pub requests: Option<Named<LimitRow<f64>>>,
}

impl HubLimits {
    /// The limiters that it names.
    pub fn limiters(&self) -> NamedLimiters<'_> {
        NamedLimiters {
            traffic: self.traffic.as_ref(),
            hosts: self.hosts.as_ref(),
            connections: self.connections.as_ref(),
            requests: self.requests.as_ref(),
        }
    }

    /// The limiters of traffic.
    pub fn traffic_limiters(&self) -> impl Iterator<Item = &Named<LimitRow<TrafficLimit>>> {
        self.traffic.iter().chain(&self.hosts).map(|limiter| &limiter.limits)
    }

    /// Every source of rows.
    pub fn sources(&self) -> impl Iterator<Item = &SourceSettings> {
        self.limiters().sources()
    }

    /// Every plugin.
    pub fn plugins(&self) -> impl Iterator<Item = &PluginSettings> {
        self.traffic_limiters().filter_map(Named::plugin)
    }
}

/// What an end of a UDP or Ethernet tunnel limits, or a relay.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TunnelLimitSettings {
    /// `limiter`: in all, and at a server or relay for each client and each address.
    pub traffic: Option<LimiterSettings>,
    /// `quotas`.
    pub volumes: Vec<VolumeQuota>,
}

impl TunnelLimitSettings {
    /// `limiter`.
    pub fn limiter(&self) -> Option<&LimiterSettings> {
        self.traffic.as_ref()
    }
}

/// A limiter of traffic, as a service uses it.
#[derive(Debug, Clone, PartialEq)]
pub struct LimiterSettings {
    /// Its rows, or the plugin that is asked.
    pub limits: Named<LimitRow<TrafficLimit>>,
    /// Time after which a plugin is asked again, at least 1 s (`limiter.refreshInterval`).
    pub refresh: Duration,
    /// Which of its rows count (`limiter.scope`).
    pub scope: LimiterScope,
}

/// Which rows of a limiter count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimiterScope {
    /// Each.
    #[default]
    All,
    /// `$` only.
    Service,
    /// All but `$`.
    Connection,
}

/// How many bytes of packets may pass in all. Services that use the quota of one name share its count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeQuota {
    /// Unique within a configuration.
    pub name: String,
    /// How many, and when.
    pub terms: QuotaTerms,
    /// How often the count is saved, at least 1 s.
    pub flush: Duration,
    /// The file where it is saved, in GOST's format; `None`: in the state directory.
    pub file: Option<PathBuf>,
}

//! The limits of a hub, and all that counts against them.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use rtun_control::{LimitQuestion, LimiterQuestions, PluginRates, PluginScope};
use rtun_core::{
    HostName, NamespaceId,
    limit::{
        ConnectionGuard, ConnectionsExceeded, CountedConnections, RequestsExceeded, ShaperPair,
        TrafficLimit, TrafficRate,
    },
};
use rtun_settings::{HubLimits, LimiterScope};
use tokio::{sync::Notify, time::sleep};

use super::{association::HostAssociation, rules::Rules, shapers::HostShapers};
use crate::limiters::{ServiceRequests, ServiceTraffic, SharedLimiters};

/// What limits a hub's hosts. A change of the settings applies at once to those connected too.
#[derive(Default)]
pub(super) struct HubLimiters {
    /// GOST's `limiter` of a service.
    connections_traffic: ServiceTraffic,
    /// GOST's `limiter` of a handler, and the `limits` there.
    hosts_traffic: ServiceTraffic,
    connections: Arc<CountedConnections>,
    requests: ServiceRequests,
    /// The limits have changed, and with them perhaps the plugins to ask.
    changed: Notify,
}

impl HubLimiters {
    pub(super) fn new(settings: &HubLimits, shared: SharedLimiters) -> Self {
        let limiters = Self::default();
        limiters.apply(settings, shared);
        limiters
    }

    /// Whether the hosts that are connected need other [shapers](Self::shapers). After that [`HubLimiters::ask_again`].
    pub(super) fn apply(&self, settings: &HubLimits, shared: SharedLimiters) -> bool {
        let HubLimits { traffic, hosts, own, .. } = settings;
        let of_service = self.connections_traffic.apply(traffic.as_ref(), shared.traffic, &[]);
        let of_hosts = self.hosts_traffic.apply(hosts.as_ref(), shared.hosts, own);
        self.connections.count_at(shared.connections);
        self.requests.apply(shared.requests);
        of_service || of_hosts
    }

    /// Has plugins asked again, and perhaps others.
    pub(super) fn ask_again(&self) {
        self.changed.notify_waiters();
    }

    /// Counts a connection until the guard is dropped.
    pub(super) fn connection(&self, peer: IpAddr) -> Result<ConnectionGuard, ConnectionsExceeded> {
        self.connections.admit(peer)
    }

    /// Connections that count now.
    pub(super) fn connections(&self) -> u32 {
        self.connections.connections()
    }

    /// Counts a request to join.
    pub(super) fn request(&self, peer: IpAddr) -> Result<(), RequestsExceeded> {
        self.requests.take(peer)
    }

    /// For a connection of a host that joins.
    pub(super) fn shapers(
        &self,
        peer: IpAddr,
        host: &HostName,
        namespace: NamespaceId,
    ) -> HostShapers {
        HostShapers {
            connection: self.connections_traffic.connection(peer),
            host: self.hosts_traffic.host(host, namespace),
        }
    }

    /// Asks the plugins for the rates of a connection, again and again. Where no answer comes the last one stays, at first no
    /// limit.
    pub(super) async fn follow_plugins<R>(
        &self,
        rules: impl Fn() -> Arc<Rules>,
        of: &AskedFor<'_>,
    ) -> R {
        loop {
            let changed = self.changed.notified();
            let period = Box::pin(of.ask(&rules(), self)).await;
            match period {
                Some(period) => tokio::select! {
                    () = changed => {}
                    () = sleep(period) => {}
                },
                None => changed.await,
            }
        }
    }
}

/// Whose rates plugins are asked for.
pub(super) struct AskedFor<'a> {
    pub(super) service: &'a str,
    pub(super) namespace: NamespaceId,
    pub(super) association: &'a HostAssociation,
}

impl AskedFor<'_> {
    /// Asks once; returns after how long to ask again, if there is a plugin.
    pub(super) async fn ask(&self, rules: &Rules, limiters: &HubLimiters) -> Option<Duration> {
        let HostAssociation { host, peer, .. } = self.association;
        let (of_connections, of_hosts) =
            (rules.plugins.connection_limits(), rules.plugins.host_limits());
        if of_connections.is_none() && of_hosts.is_none() {
            return None;
        }
        let HostShapers { connection, host: host_shapers } = self.association.shapers();
        let mut questions = Vec::new();
        if let Some(plugin) = of_connections {
            let [service, _, connection] = connection;
            let traffic = &limiters.connections_traffic;
            let scope = rules.config.limits.traffic.as_ref().map(|limiter| limiter.scope);
            if scope != Some(LimiterScope::Connection) {
                questions.push((plugin, PluginScope::Service, traffic, service));
            }
            if scope != Some(LimiterScope::Service) {
                questions.push((plugin, PluginScope::Connection(*peer), traffic, connection));
            }
        }
        if let Some(plugin) = of_hosts {
            let [.., shapers] = host_shapers;
            let (host, namespace, src) = (host.clone(), self.namespace, *peer);
            let scope = PluginScope::Client { host, namespace, src };
            questions.push((plugin, scope, &limiters.hosts_traffic, shapers));
        }
        let period = questions.iter().map(|(plugin, ..)| plugin.refresh()).min();
        let asked = questions
            .into_iter()
            .map(|(plugin, scope, limiter, pair)| self.set(plugin, scope, limiter, pair));
        join_all(asked).await;
        period
    }

    async fn set(
        &self,
        plugin: &LimiterQuestions,
        scope: PluginScope,
        limiter: &ServiceTraffic,
        pair: Arc<ShaperPair>,
    ) {
        let question = LimitQuestion { service: self.service.to_owned(), scope };
        // What went wrong is in the plugin's status; the last answer stays.
        if let Ok(PluginRates { input, output }) = plugin.ask(question).await {
            let limit = TrafficLimit {
                input: input.map(TrafficRate::new),
                output: output.map(TrafficRate::new),
            };
            limiter.answer(&pair, limit);
        }
    }
}

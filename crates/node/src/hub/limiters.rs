//! The limits of a hub, and all that counts against them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use rtun_control::{LimitQuestion, LimiterQuestions, PluginRates, PluginScope};
use rtun_core::{
    HostName, NamespaceId,
    limit::{
        ConnectionGuard, ConnectionLimiter, ConnectionsExceeded, RequestLimiter, RequestsExceeded,
        ShaperPair, TrafficLimit, TrafficLimiter, TrafficRate,
    },
};
use rtun_settings::LimiterScope;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{
    rules::{CompiledLimits, Rules},
    shapers::HostShapers,
};

/// What limits a hub's hosts. A change of the settings applies at once to those connected too.
pub(super) struct HubLimiters {
    /// GOST's `limiter` of a service.
    connections_traffic: TrafficLimiter,
    /// GOST's `limiter` of a handler, and the `limits` there.
    hosts_traffic: TrafficLimiter,
    connections: Arc<ConnectionLimiter>,
    requests: RequestLimiter,
    /// The limits have changed, and with them perhaps the plugins to ask.
    changed: Notify,
}

impl HubLimiters {
    pub(super) fn new(limits: &CompiledLimits) -> Self {
        Self {
            connections_traffic: TrafficLimiter::new(limits.traffic.clone()),
            hosts_traffic: TrafficLimiter::new(limits.hosts.clone()),
            connections: Arc::new(ConnectionLimiter::new(limits.connections.clone())),
            requests: RequestLimiter::new(limits.requests.clone(), now()),
            changed: Notify::new(),
        }
    }

    pub(super) fn apply(&self, limits: &CompiledLimits) {
        self.connections_traffic.set_limits(limits.traffic.clone(), now());
        self.hosts_traffic.set_limits(limits.hosts.clone(), now());
        self.connections.set_limits(limits.connections.clone());
        self.requests.set_limits(limits.requests.clone());
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
        self.requests.take(peer, now())
    }

    /// For a connection of a host that joins.
    pub(super) fn shapers(
        &self,
        peer: IpAddr,
        host: &HostName,
        namespace: NamespaceId,
    ) -> HostShapers {
        HostShapers {
            connection: self.connections_traffic.connection(peer, now()),
            host: self.hosts_traffic.host(host, namespace, now()),
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
    pub(super) peer: SocketAddr,
    pub(super) host: &'a HostName,
    pub(super) namespace: NamespaceId,
    pub(super) shapers: &'a HostShapers,
}

impl AskedFor<'_> {
    /// Asks once; returns after how long to ask again, if there is a plugin.
    pub(super) async fn ask(&self, rules: &Rules, limiters: &HubLimiters) -> Option<Duration> {
        let mut questions = Vec::new();
        if let Some(plugin) = rules.plugins.connection_limits() {
            let [service, _, connection] = &self.shapers.connection;
            let traffic = &limiters.connections_traffic;
            let scope = rules.config.limits.traffic.as_ref().map(|limiter| limiter.scope);
            if scope != Some(LimiterScope::Connection) {
                questions.push((plugin, PluginScope::Service, traffic, service));
            }
            if scope != Some(LimiterScope::Service) {
                questions.push((plugin, PluginScope::Connection(self.peer), traffic, connection));
            }
        }
        if let Some(plugin) = rules.plugins.host_limits() {
            let (host, namespace, src) = (self.host.clone(), self.namespace, self.peer);
            let scope = PluginScope::Client { host, namespace, src };
            questions.push((plugin, scope, &limiters.hosts_traffic, &self.shapers.host[2]));
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
        limiter: &TrafficLimiter,
        pair: &ShaperPair,
    ) {
        let question = LimitQuestion { service: self.service.to_owned(), scope };
        // What went wrong is in the plugin's status; the last answer stays.
        if let Ok(PluginRates { input, output }) = plugin.ask(question).await {
            let limit = TrafficLimit {
                input: input.map(TrafficRate::new),
                output: output.map(TrafficRate::new),
            };
            limiter.answer(pair, limit, now());
        }
    }
}

/// On the clock that tests can pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

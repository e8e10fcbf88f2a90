//! The hub service: its listeners, its rules, and its reports.

mod admission;
mod association;
mod echo_desk;
mod explain;
mod forward;
mod joining;
mod limiters;
mod namespace;
mod parked;
mod ping;
mod registry;
mod rules;
mod shapers;
mod streams;
mod upkeep;
mod use_meters;
mod watched;

use std::{net::SocketAddr, sync::Arc};

use futures_util::future::join_all;
use prometheus_client::metrics::histogram::Histogram;
use rtun_core::{
    NamespaceId,
    explain::{HubExplanation, Question, Unclear},
    observer::ObservedStats,
};
use rtun_settings::Hook;
use tokio::runtime::Handle;
use tracing::info;

pub(crate) use self::watched::{HostMoment, HubMoment, NamespaceMoment, Passed, RouteMoment};
pub use self::{
    joining::{JoinNeeds, JoinQuery, MissingLine},
    rules::RulesError,
    watched::Amounts,
};
use self::{
    limiters::HubLimiters,
    registry::{Registry, RegistryStats},
    streams::HubStreams,
    upkeep::Upkeep,
};
use crate::{
    counters::QuotaGroup,
    feeds::Feeds,
    hooks::{HookError, HookFacts, Hooks},
    inbound::{Connections, HubListenError, ListenerView, Listeners},
    limiters::ServiceMeters,
    link::EndReason,
    observers::Observed,
    recorders::ServiceRecorders,
    report::{ASKED, HubCounts, HubReport, ListenerReport, quota_reports},
    runtime::{duties::Duty, machine::Machine, workers::Workers},
};

/// A running hub.
pub(crate) struct HubService {
    connections: Arc<Connections<HubStreams>>,
    upkeep: Arc<Upkeep>,
    quotas: Arc<QuotaGroup>,
    duties: Vec<Duty>,
    /// At least one.
    listeners: Arc<[ListenerView]>,
    facts: HookFacts,
}

/// A hub as reports see it.
#[derive(Clone)]
pub(crate) struct HubServiceView {
    connections: Arc<Connections<HubStreams>>,
    upkeep: Arc<Upkeep>,
    quotas: Arc<QuotaGroup>,
    listeners: Arc<[ListenerView]>,
}

/// What limits, counts and records what passes a hub, besides its own counters.
pub(crate) struct HubMeters {
    pub(crate) shared: ServiceMeters,
    /// Where its hosts are counted for an observer.
    pub(crate) observed: Option<Arc<Observed>>,
    /// Who is given the address of each connection.
    pub(crate) recorders: ServiceRecorders,
}

/// A hub cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] HubListenError),
    /// Its rules cannot be used.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A command that has to succeed first has failed.
    #[error(transparent)]
    Hook(#[from] HookError),
}

impl HubService {
    /// Compiles the rules from `config` and from what `feeds` have read, listens, runs the hooks, then accepts connections.
    pub(crate) async fn start(
        service: &str,
        config: &rtun_settings::HubSettings,
        hooks: Hooks<'_>,
        feeds: Feeds,
        meters: HubMeters,
        workers: Arc<Workers>,
        machine: &Machine,
    ) -> Result<Self, HubError> {
        let (upkeep, rules) = Upkeep::begin(&config.rules, feeds).await?;
        let listeners = Listeners::open(service, config.listeners(), &workers, machine)?;
        let views = Arc::clone(&listeners.views);
        let quotas = Arc::<QuotaGroup>::default();
        let HubMeters { shared, observed, recorders } = meters;
        quotas.set(shared.quotas);
        let limiters = HubLimiters::new(&config.rules.limits, shared.limiters);
        let counted = Arc::clone(&quotas);
        let registry = Registry::new(service, rules, limiters, counted, observed, machine);
        let registry = Arc::new(registry);
        let streams = HubStreams { service: service.to_owned(), registry };
        let timeout = config.handshake_timeout;
        let connections = Connections::new(service, streams, timeout, machine, recorders);
        let facts = HookFacts::of_listeners(&config.listener, views.iter().map(|it| it.address));
        hooks.pre_up(&facts).await?;
        for ListenerView { address, transport, .. } in &*views {
            let transport = transport.as_str();
            info!(service, %address, transport, "hub listens");
        }
        hooks.run(Hook::PostUp, &facts).await;
        let mut duties = listeners.accept(&connections, &workers, machine);
        let name = format!("{service}: following sources and certificates");
        let upkeep = Arc::new(upkeep);
        let (hub, its_upkeep) = (Arc::clone(&connections), Arc::clone(&upkeep));
        duties.push(machine.duties.keep(&Handle::current(), name, move || {
            keep_up(Arc::clone(&hub), Arc::clone(&its_upkeep), Arc::clone(&listeners))
        }));
        Ok(Self { connections, upkeep, quotas, duties, listeners: views, facts })
    }

    /// Replaces everything but the listeners. Hosts that the new rules still admit notice nothing.
    pub(crate) async fn apply(
        &self,
        config: &rtun_settings::HubSettings,
        feeds: Feeds,
        meters: ServiceMeters,
    ) -> Result<(), RulesError> {
        let registry = &self.connections.served.registry;
        self.upkeep.apply(registry, &config.rules, feeds).await?;
        registry.limit(&config.rules.limits, meters.limiters);
        self.quotas.set(meters.quotas);
        self.connections.limit_handshakes(config.handshake_timeout);
        Ok(())
    }

    /// Its hosts are counted there from now on, for an observer.
    pub(crate) fn observe(&self, observed: Option<Arc<Observed>>) {
        self.connections.served.registry.observe(observed);
    }

    /// From now on these are given the address of each connection.
    pub(crate) fn record(&self, recorders: ServiceRecorders) {
        self.connections.record(recorders);
    }

    /// Reads the files of its certificates now.
    pub(crate) fn reload_certificates(&self) {
        self.listeners.iter().for_each(ListenerView::reload_certificate);
    }

    /// What its hooks are informed of.
    pub(crate) fn hook_facts(&self) -> HookFacts {
        self.facts.clone()
    }

    /// The address of its first listener.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.listeners[0].address
    }

    /// The hub as reports see it. Does not keep it running.
    pub(crate) fn view(&self) -> HubServiceView {
        let Self { connections, upkeep, quotas, listeners, .. } = self;
        HubServiceView {
            connections: Arc::clone(connections),
            upkeep: Arc::clone(upkeep),
            quotas: Arc::clone(quotas),
            listeners: Arc::clone(listeners),
        }
    }

    /// Writes the report to the log.
    pub(crate) fn log_report(&self) {
        let service = &self.connections.service;
        let report = self.view().report();
        report.log(service);
        info!(
            target: ASKED,
            service,
            admitted = report.admitted,
            refused = report.all_refused(),
            "hub admissions"
        );
    }

    /// Stops listening and ends every association.
    pub(crate) async fn stop(self) {
        self.connections.stop.cancel();
        join_all(self.duties.into_iter().map(Duty::end)).await;
        self.connections.served.registry.end_all(EndReason::Shutdown);
        self.connections.end().await;
    }
}

impl HubServiceView {
    /// Whether both are views of the same running hub.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.connections, &other.connections)
    }

    /// Its listeners.
    pub(crate) fn listens(&self) -> impl Iterator<Item = ListenerReport> {
        self.listeners.iter().map(ListenerView::report)
    }

    /// How long ended connections lasted, in seconds, admitted or not.
    pub(crate) fn lasted(&self) -> Histogram {
        self.connections.lasted.clone()
    }

    /// Whether it cannot take connections.
    pub(crate) fn is_failing(&self) -> bool {
        self.connections.is_failing()
    }

    /// Explains where a packet goes, and why.
    pub(crate) fn explain(
        &self,
        asked: &Question,
        namespace: Option<NamespaceId>,
    ) -> Result<HubExplanation, Unclear> {
        let Connections { served, service, .. } = &*self.connections;
        explain::explain_at(&served.registry, service, asked, namespace)
    }

    /// What it has counted, as its report has it, without the state of each host.
    pub(crate) fn counts(&self) -> ObservedStats {
        let Connections { served: HubStreams { registry, .. }, waiting_room, admissions, .. } =
            &*self.connections;
        let (hosts, traffic) = registry.totals();
        let counts = HubCounts {
            admitted: admissions.admitted(),
            refused: &admissions.refused(),
            ended: &registry.ends(),
            unadmitted: waiting_room.len(),
            hosts,
            traffic: &traffic,
        };
        counts.into()
    }

    /// Who is connected, who was not admitted, what passed and what was lost.
    pub(crate) fn report(&self) -> HubReport {
        let Connections { served: HubStreams { registry, .. }, waiting_room, admissions, .. } =
            &*self.connections;
        let RegistryStats {
            namespaces,
            gone,
            waiting_for_plugins,
            plugins,
            queue_memory,
            queue_budget,
        } = registry.stats();
        HubReport {
            listen: self.listens().collect(),
            namespaces,
            gone,
            waiting_for_plugins,
            plugins,
            behind: self.upkeep.why_behind(),
            admitted: admissions.admitted(),
            refused: admissions.refused(),
            ended: registry.ends(),
            unadmitted: waiting_room.len(),
            queue_memory,
            queue_budget,
            connections: registry.limiters.connections(),
            quotas: quota_reports(&self.quotas),
        }
    }
}

/// Follows the sources and the certificates until the hub stops.
async fn keep_up(
    hub: Arc<Connections<HubStreams>>,
    upkeep: Arc<Upkeep>,
    listeners: Arc<Listeners>,
) {
    let Connections { service, stop, served: HubStreams { registry, .. }, .. } = &*hub;
    tokio::select! {
        () = stop.cancelled() => {}
        () = listeners.follow_certificates(service) => {}
        () = upkeep.run(service, registry) => {}
    }
}

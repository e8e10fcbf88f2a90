//! The hub service: its listeners, its rules, and its reports.

mod admission;
mod association;
mod connections;
mod explain;
mod forward;
mod listener;
mod namespace;
mod parked;
mod registry;
mod rules;
mod upkeep;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use prometheus_client::metrics::histogram::Histogram;
use rtun_core::explain::{HubExplanation, Unclear};
use rtun_settings::Hook;
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

pub(crate) use self::explain::Understood;
use self::{
    admission::{handshake::Admissions, waiting_room::WaitingRoom},
    connections::Connections,
    listener::{HubListener, ListenerView},
    registry::{Registry, RegistryStats},
    upkeep::Upkeep,
};
pub use self::{
    explain::{Explained, Inquiry},
    listener::HubListenError,
    rules::RulesError,
};
use crate::{
    feeds::Feeds,
    hooks::{HookError, HookFacts, Hooks},
    link::EndReason,
    report::{ASKED, HubReport},
    runtime::{descriptors, duties::Duty, machine::Machine, workers::Workers},
};

/// Bucket bounds, in seconds, of GOST's histogram of how long connections lasted.
const LASTED: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0];

/// A running hub.
pub(crate) struct HubService {
    connections: Arc<Connections>,
    upkeep: Arc<Upkeep>,
    duties: Vec<Duty>,
    /// At least one.
    listeners: Arc<[ListenerView]>,
    facts: HookFacts,
}

/// A hub as reports see it.
#[derive(Clone)]
pub(crate) struct HubServiceView {
    connections: Arc<Connections>,
    upkeep: Arc<Upkeep>,
    listeners: Arc<[ListenerView]>,
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
        workers: Arc<Workers>,
        machine: &Machine,
    ) -> Result<Self, HubError> {
        let (upkeep, rules) = Upkeep::begin(&config.rules, feeds).await?;
        let open = |config| HubListener::open(service, config, &workers, machine).map(Arc::new);
        let listeners = config.listeners().map(open).collect::<Result<Vec<_>, _>>()?;
        let views: Arc<[ListenerView]> = listeners.iter().map(|listener| listener.view()).collect();
        let connections = Arc::new(Connections {
            service: service.to_owned(),
            registry: Arc::new(Registry::new(service, rules)),
            waiting_room: WaitingRoom::new(descriptors::limit()),
            admissions: Admissions::default(),
            lasted: Histogram::new(LASTED),
            handshake_timeout: AtomicU64::new(millis(config.handshake_timeout)),
            descriptors: Arc::clone(&machine.descriptors),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let facts = HookFacts::of_hub(config, views.iter().map(|it| it.address));
        hooks.pre_up(&facts).await?;
        for ListenerView { address, transport, .. } in &*views {
            let transport = transport.as_str();
            info!(service, %address, transport, "hub listens");
        }
        hooks.run(Hook::PostUp, &facts).await;
        let runtime = Handle::current();
        let mut kept = Vec::new();
        for listener in &listeners {
            let ListenerView { address, transport, .. } = listener.view();
            let transport = transport.as_str();
            let (connections, listener, workers) =
                (Arc::clone(&connections), Arc::clone(listener), Arc::clone(&workers));
            let name = format!("{service}: accepting connections on {address} ({transport})");
            kept.push(machine.duties.keep(&runtime, name, move || {
                Arc::clone(&connections).accept(Arc::clone(&listener), Arc::clone(&workers))
            }));
        }
        let name = format!("{service}: following sources and certificates");
        let upkeep = Arc::new(upkeep);
        let (hub, its_upkeep) = (Arc::clone(&connections), Arc::clone(&upkeep));
        kept.push(machine.duties.keep(&runtime, name, move || {
            keep_up(Arc::clone(&hub), Arc::clone(&its_upkeep), listeners.clone())
        }));
        Ok(Self { connections, upkeep, duties: kept, listeners: views, facts })
    }

    /// Replaces everything but the listeners. Hosts that the new rules still admit notice nothing.
    pub(crate) async fn apply(
        &self,
        config: &rtun_settings::HubSettings,
        feeds: Feeds,
    ) -> Result<(), RulesError> {
        let Connections { registry, handshake_timeout, .. } = &*self.connections;
        self.upkeep.apply(registry, &config.rules, feeds).await?;
        handshake_timeout.store(millis(config.handshake_timeout), Ordering::Relaxed);
        Ok(())
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
        let Self { connections, upkeep, listeners, .. } = self;
        HubServiceView {
            connections: Arc::clone(connections),
            upkeep: Arc::clone(upkeep),
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
        self.connections.registry.end_all(EndReason::Shutdown);
        self.connections.tasks.close();
        self.connections.tasks.wait().await;
    }
}

impl HubServiceView {
    /// Whether both are views of the same running hub.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.connections, &other.connections)
    }

    /// How long ended connections lasted, in seconds, admitted or not.
    pub(crate) fn lasted(&self) -> Histogram {
        self.connections.lasted.clone()
    }

    /// Explains where a packet goes, and why.
    pub(crate) fn explain(&self, asked: &Understood) -> Result<HubExplanation, Unclear> {
        explain::explain_at(&self.connections.registry, &self.connections.service, asked)
    }

    /// Who is connected, who was not admitted, what passed and what was lost.
    pub(crate) fn report(&self) -> HubReport {
        let Connections { registry, waiting_room, admissions, .. } = &*self.connections;
        let RegistryStats {
            namespaces,
            gone,
            waiting_for_plugins,
            plugins,
            queue_memory,
            queue_budget,
        } = registry.stats();
        HubReport {
            listen: self.listeners.iter().map(ListenerView::report).collect(),
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
        }
    }
}

/// Follows the sources and the certificates until the hub stops.
async fn keep_up(hub: Arc<Connections>, upkeep: Arc<Upkeep>, listeners: Vec<Arc<HubListener>>) {
    let Connections { service, registry, stop, .. } = &*hub;
    let certificates = listeners.iter().map(|it| it.follow_certificate(service));
    tokio::select! {
        () = stop.cancelled() => {}
        _ = join_all(certificates) => {}
        () = upkeep.run(service, registry) => {}
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

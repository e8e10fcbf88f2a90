//! The hub service: its listeners, the rules its hosts live under, and what is known of it.

mod admission;
mod association;
mod certificate;
mod connections;
mod entrance;
mod explain;
mod forward;
mod limiters;
mod namespace;
mod parked;
mod registry;
mod rules;
mod upkeep;
mod way_in;

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
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

pub(crate) use self::explain::Understood;
use self::{
    admission::{handshake::Admissions, waiting_room::WaitingRoom},
    connections::Connections,
    entrance::Entrance,
    registry::{Registry, RegistryStats},
    upkeep::Upkeep,
    way_in::WayIn,
};
pub use self::{
    entrance::OpenError,
    explain::{Explained, Inquiry},
    rules::RulesError,
};
use crate::{
    feeds::Feeds,
    link::EndReason,
    report::{ASKED, HubReport},
    runtime::{descriptors, duties::Duty, machine::Machine, workers::Workers},
};

/// Bounds in seconds between which connections are counted by how long they lasted (spec: api.md section 3).
const LASTED: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0];

/// A running hub.
pub(crate) struct Hub {
    connections: Arc<Connections>,
    upkeep: Arc<Upkeep>,
    duties: Vec<Duty>,
    /// At least one.
    ways_in: Arc<[WayIn]>,
}

/// A hub as somebody sees it who only asks.
#[derive(Clone)]
pub(crate) struct HubView {
    connections: Arc<Connections>,
    upkeep: Arc<Upkeep>,
    ways_in: Arc<[WayIn]>,
}

/// A hub cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] OpenError),
    /// Its rules cannot be used.
    #[error(transparent)]
    Rules(#[from] RulesError),
}

impl Hub {
    /// Compiles the rules, of `config` and what `feeds` have read, then listens.
    pub(crate) async fn start(
        service: &str,
        config: &rtun_settings::HubSettings,
        feeds: Feeds,
        workers: Arc<Workers>,
        machine: &Machine,
    ) -> Result<Self, HubError> {
        let (upkeep, rules) = Upkeep::begin(&config.rules, feeds).await?;
        let open = |config| Entrance::open(service, config, &workers, machine).map(Arc::new);
        let entrances = config.listeners().map(open).collect::<Result<Vec<_>, _>>()?;
        let ways_in: Arc<[WayIn]> = entrances.iter().map(|entrance| entrance.way_in()).collect();
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
        let runtime = Handle::current();
        let mut kept = Vec::new();
        for entrance in &entrances {
            let WayIn { address, transport, .. } = entrance.way_in();
            let transport = transport.as_str();
            info!(service, %address, transport, "hub listens");
            let (connections, entrance, workers) =
                (Arc::clone(&connections), Arc::clone(entrance), Arc::clone(&workers));
            let name = format!("{service}: accepting connections on {address} ({transport})");
            kept.push(machine.duties.keep(&runtime, name, move || {
                Arc::clone(&connections).accept(Arc::clone(&entrance), Arc::clone(&workers))
            }));
        }
        let name = format!("{service}: following sources and certificates");
        let upkeep = Arc::new(upkeep);
        let (hub, its_upkeep) = (Arc::clone(&connections), Arc::clone(&upkeep));
        kept.push(machine.duties.keep(&runtime, name, move || {
            keep_up(Arc::clone(&hub), Arc::clone(&its_upkeep), entrances.clone())
        }));
        Ok(Self { connections, upkeep, duties: kept, ways_in })
    }

    /// Replaces everything but the address; hosts that keep their permission notice nothing.
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

    /// Has the files of its certificates read now.
    pub(crate) fn reload_certificates(&self) {
        self.ways_in.iter().for_each(WayIn::reload_certificate);
    }

    /// Where it listens first.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.ways_in[0].address
    }

    /// For whoever asks how it goes. Does not keep it running.
    pub(crate) fn view(&self) -> HubView {
        let Self { connections, upkeep, ways_in, .. } = self;
        HubView {
            connections: Arc::clone(connections),
            upkeep: Arc::clone(upkeep),
            ways_in: Arc::clone(ways_in),
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

impl HubView {
    /// Whether it is the same run of the same hub.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.connections, &other.connections)
    }

    /// How long connections lasted that have ended, admitted or not, in seconds.
    pub(crate) fn lasted(&self) -> Histogram {
        self.connections.lasted.clone()
    }

    /// Why a packet goes where it goes.
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
            listen: self.ways_in.iter().map(WayIn::report).collect(),
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
async fn keep_up(hub: Arc<Connections>, upkeep: Arc<Upkeep>, entrances: Vec<Arc<Entrance>>) {
    let Connections { service, registry, stop, .. } = &*hub;
    let certificates = entrances.iter().map(|it| it.follow_certificate(service));
    tokio::select! {
        () = stop.cancelled() => {}
        _ = join_all(certificates) => {}
        () = upkeep.run(service, registry) => {}
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

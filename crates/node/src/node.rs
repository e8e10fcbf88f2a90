//! The services of one configuration, and the change from one configuration to the next.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc};

use rtun_settings::{Config, Service, ServiceKind};
use rtun_state::StateDir;
use tracing::{info, warn};

use crate::{
    feeds::{FeedError, Feeds},
    host::{HostError, HostService},
    hub::{HubError, HubService, RulesError},
    operations::{
        board::{Board, View},
        metrics::{MetricsError, MetricsServer},
    },
    runtime::{machine::Machine, surroundings::Surroundings, workers::Workers},
    udp_tunnel::{
        TapClientError, TapClientService, TapServerError, TapServerService, UdpClientError,
        UdpClientService, UdpServerError, UdpServerService, differ_in_admissions_only,
        differ_in_rules_only,
    },
};

/// Running services, by name.
pub struct Node {
    running: BTreeMap<String, Running>,
    feeds: Feeds,
    machine: Machine,
    workers: Arc<Workers>,
    board: Arc<Board>,
    metrics: Option<Arc<MetricsServer>>,
}

struct Running {
    config: ServiceKind,
    service: RunningService,
}

enum RunningService {
    Hub(HubService),
    Host(HostService),
    UdpServer(UdpServerService),
    UdpClient(UdpClientService),
    TapServer(TapServerService),
    TapClient(TapClientService),
}

/// What a change of the configuration did to a service.
enum Step {
    Nothing,
    Started,
    /// Before, it ran with this configuration.
    Changed(Box<ServiceKind>),
}

/// Why a node cannot run a configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system gives no threads or event loops.
    #[error("cannot start threads: {0}")]
    Threads(#[source] io::Error),
    /// Metrics cannot be served.
    #[error("metrics: {0}")]
    Metrics(#[from] MetricsError),
    /// A source of rows cannot be used.
    #[error(transparent)]
    Source(#[from] FeedError),
    /// A service cannot be started.
    #[error("service {service:?}: {source}")]
    Service {
        /// Its name.
        service: String,
        /// Why not.
        source: ServiceError,
    },
}

/// Why a service cannot be started or changed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A hub cannot be started.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A hub's new rules cannot be used.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A host cannot be started.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The server of a UDP tunnel cannot be started.
    #[error(transparent)]
    UdpServer(#[from] UdpServerError),
    /// The client of a UDP tunnel cannot be started.
    #[error(transparent)]
    UdpClient(#[from] UdpClientError),
    /// The server of an Ethernet tunnel cannot be started.
    #[error(transparent)]
    TapServer(#[from] TapServerError),
    /// The client of an Ethernet tunnel cannot be started.
    #[error(transparent)]
    TapClient(#[from] TapClientError),
}

impl Node {
    /// Starts every service, or none. `state` keeps what sources have read, and certificates that were made, for the next start.
    pub async fn start(config: &Config, state: Option<Arc<StateDir>>) -> Result<Self, StartError> {
        Self::start_in(Surroundings::System, config, state).await
    }

    /// Like [`Node::start`], in other surroundings.
    pub async fn start_in(
        surroundings: Surroundings,
        config: &Config,
        state: Option<Arc<StateDir>>,
    ) -> Result<Self, StartError> {
        let workers = match surroundings {
            Surroundings::System => Workers::start().map_err(StartError::Threads)?,
            Surroundings::Twin(_) => Workers::here(),
        };
        let workers = Arc::new(workers);
        let machine = Machine { state, surroundings, ..Machine::default() };
        let board = Arc::new(Board::new(machine.clone(), &workers));
        let mut node = Self {
            running: BTreeMap::new(),
            feeds: Feeds::new(machine.surroundings.clone()),
            workers,
            board,
            machine,
            metrics: None,
        };
        match node.apply(config).await {
            Ok(()) => Ok(node),
            Err(error) => {
                node.stop().await;
                Err(error)
            }
        }
    }

    /// Applies `config`: unchanged services run on, a hub whose listeners are unchanged keeps its hosts, new services are started,
    /// then removed ones are stopped. After an error, the services run as before.
    pub async fn apply(&mut self, config: &Config) -> Result<(), StartError> {
        let metrics =
            MetricsServer::next(self.metrics.as_ref(), config.metrics.as_ref(), &self.board)?;
        let applied = self.apply_all(config).await;
        if applied.is_ok() {
            if let Some(metrics) = &metrics {
                metrics.commit();
            }
            self.metrics = metrics;
        }
        let services = self.running.iter().map(|(name, it)| (name.clone(), it.service.view()));
        self.board.show(services, self.feeds.clone());
        applied
    }

    async fn apply_all(&mut self, config: &Config) -> Result<(), StartError> {
        let feeds = self.feeds.follow(config, self.machine.state.as_ref()).await?;
        let mut done = Vec::new();
        for Service { name, kind } in &config.services {
            match self.apply_one(name, kind, &feeds).await {
                Ok(Step::Nothing) => {}
                Ok(step) => done.push((name, step)),
                Err(source) => {
                    for (name, step) in done.into_iter().rev() {
                        self.undo(name, step).await;
                    }
                    return Err(StartError::Service { service: name.clone(), source });
                }
            }
        }
        let wanted = |name: &str| config.services.iter().any(|service| service.name == name);
        let gone: Vec<_> = self.running.keys().filter(|name| !wanted(name)).cloned().collect();
        for name in gone {
            self.stop_one(&name).await;
            info!(service = name, "service removed");
        }
        self.feeds = feeds;
        Ok(())
    }

    /// Services that are started from now on keep in `state` what the next start needs.
    pub fn keep_state_in(&mut self, state: Option<Arc<StateDir>>) {
        self.machine.state = state;
    }

    /// Reads every source of tables, rules and users now, and the certificates of hubs; checks the devices of hosts.
    pub fn reload_sources(&self) {
        self.feeds.reload();
        for running in self.running.values() {
            match &running.service {
                RunningService::Hub(hub) => hub.reload_certificates(),
                RunningService::Host(host) => host.look_at_device(),
                RunningService::UdpServer(server) => server.look_at_device(),
                RunningService::UdpClient(client) => client.look_at_device(),
                RunningService::TapServer(server) => server.look_at_device(),
                RunningService::TapClient(client) => client.look_at_device(),
            }
        }
    }

    /// Logs the connected hosts, the packets that passed and those that were lost.
    pub fn log_report(&self) {
        for running in self.running.values() {
            match &running.service {
                RunningService::Hub(hub) => hub.log_report(),
                RunningService::Host(host) => host.log_report(),
                RunningService::UdpServer(server) => server.log_report(),
                RunningService::UdpClient(client) => client.log_report(),
                RunningService::TapServer(server) => server.log_report(),
                RunningService::TapClient(client) => client.log_report(),
            }
        }
    }

    /// The status board, which shows the services also while they are being changed.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// The address of the first listener of the hub, or of the UDP server, named `name`.
    pub fn hub_address(&self, name: &str) -> Option<SocketAddr> {
        match &self.running.get(name)?.service {
            RunningService::Hub(hub) => Some(hub.local_addr()),
            RunningService::UdpServer(server) => Some(server.local_addr()),
            RunningService::TapServer(server) => Some(server.local_addr()),
            RunningService::Host(_)
            | RunningService::UdpClient(_)
            | RunningService::TapClient(_) => None,
        }
    }

    /// The address where metrics are served, if it is not a Unix socket.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.local_addr()
    }

    /// Stops every service.
    pub async fn stop(mut self) {
        while let Some((_, running)) = self.running.pop_first() {
            running.service.stop().await;
        }
    }

    /// Starts or changes a service; returns what [`Node::undo`] needs.
    async fn apply_one(
        &mut self,
        name: &str,
        kind: &ServiceKind,
        feeds: &Feeds,
    ) -> Result<Step, ServiceError> {
        let Some(running) = self.running.get_mut(name) else {
            let service = self.start_service(name, kind, feeds).await?;
            self.running.insert(name.to_owned(), Running { config: kind.clone(), service });
            return Ok(Step::Started);
        };
        if running.config == *kind {
            return Ok(Step::Nothing);
        }
        let before = running.config.clone();
        match (&running.service, &before, kind) {
            (RunningService::Hub(hub), ServiceKind::Hub(old), ServiceKind::Hub(new))
                if old.listeners().eq(new.listeners()) =>
            {
                hub.apply(new, feeds.of(&new.rules)).await?;
                running.config = kind.clone();
                info!(service = name, "rules replaced");
            }
            (
                RunningService::UdpServer(server),
                ServiceKind::UdpServer(old),
                ServiceKind::UdpServer(new),
            ) if differ_in_rules_only(old, new) => {
                server.apply(new);
                running.config = kind.clone();
                info!(service = name, "rules replaced");
            }
            (
                RunningService::TapServer(server),
                ServiceKind::TapServer(old),
                ServiceKind::TapServer(new),
            ) if differ_in_admissions_only(old, new) => {
                server.apply(new);
                running.config = kind.clone();
                info!(service = name, "rules replaced");
            }
            _ => self.replace(name, kind, feeds).await?,
        }
        Ok(Step::Changed(Box::new(before)))
    }

    async fn undo(&mut self, name: &str, step: Step) {
        match step {
            Step::Nothing => {}
            Step::Started => self.stop_one(name).await,
            Step::Changed(before) => {
                let feeds = self.feeds.clone();
                if let Err(error) = self.apply_one(name, &before, &feeds).await {
                    warn!(
                        service = name,
                        "the service cannot be started again as it was before: {error}"
                    );
                }
            }
        }
    }

    /// Stops a service, then starts the new one, or the old one again if the new one does not start. Both may need the same
    /// address or device name.
    async fn replace(
        &mut self,
        name: &str,
        kind: &ServiceKind,
        feeds: &Feeds,
    ) -> Result<(), ServiceError> {
        let Some(Running { config: before, service }) = self.running.remove(name) else {
            return Ok(());
        };
        service.stop().await;
        let failure = match self.start_service(name, kind, feeds).await {
            Ok(service) => {
                self.running.insert(name.to_owned(), Running { config: kind.clone(), service });
                info!(service = name, "service replaced");
                return Ok(());
            }
            Err(failure) => failure,
        };
        match self.start_service(name, &before, &self.feeds).await {
            Ok(service) => {
                self.running.insert(name.to_owned(), Running { config: before, service });
            }
            Err(error) => warn!(
                service = name,
                "the service cannot be started again as it was before: {error}"
            ),
        }
        Err(failure)
    }

    async fn start_service(
        &self,
        name: &str,
        kind: &ServiceKind,
        feeds: &Feeds,
    ) -> Result<RunningService, ServiceError> {
        let Self { workers, machine, .. } = self;
        match kind {
            ServiceKind::Hub(config) => {
                let feeds = feeds.of(&config.rules);
                let hub = HubService::start(name, config, feeds, Arc::clone(workers), machine);
                Ok(RunningService::Hub(hub.await?))
            }
            ServiceKind::Host(config) => Ok(RunningService::Host(
                HostService::start(name, config, machine, workers.take_slot()).await?,
            )),
            ServiceKind::UdpServer(config) => {
                let server = UdpServerService::start(name, config, machine, workers.take_slot());
                Ok(RunningService::UdpServer(server.await?))
            }
            ServiceKind::UdpClient(config) => {
                let client = UdpClientService::start(name, config, machine, workers.take_slot());
                Ok(RunningService::UdpClient(client.await?))
            }
            ServiceKind::TapServer(config) => {
                let server = TapServerService::start(name, config, machine, workers.take_slot());
                Ok(RunningService::TapServer(server.await?))
            }
            ServiceKind::TapClient(config) => {
                let client = TapClientService::start(name, config, machine, workers.take_slot());
                Ok(RunningService::TapClient(client.await?))
            }
        }
    }

    async fn stop_one(&mut self, name: &str) {
        if let Some(running) = self.running.remove(name) {
            running.service.stop().await;
        }
    }
}

impl RunningService {
    fn view(&self) -> View {
        match self {
            Self::Hub(hub) => View::Hub(hub.view()),
            Self::Host(host) => View::Host(host.view()),
            Self::UdpServer(server) => View::UdpServer(server.view()),
            Self::UdpClient(client) => View::UdpClient(client.view()),
            Self::TapServer(server) => View::TapServer(server.view()),
            Self::TapClient(client) => View::TapClient(client.view()),
        }
    }

    async fn stop(self) {
        match self {
            Self::Hub(hub) => hub.stop().await,
            Self::Host(host) => host.stop().await,
            Self::UdpServer(server) => server.stop().await,
            Self::UdpClient(client) => client.stop().await,
            Self::TapServer(server) => server.stop().await,
            Self::TapClient(client) => client.stop().await,
        }
    }
}

#[cfg(test)]
mod tests;

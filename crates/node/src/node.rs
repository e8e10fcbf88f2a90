//! The services of one configuration, and the change from one configuration to the next.

mod running;

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc};

use rtun_settings::{Config, Hook, Service, ServiceKind};
use rtun_state::StateDir;
use tokio::{
    runtime::Handle,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::running::{RunningService, ServiceError};
use crate::{
    feeds::{FeedError, Feeds},
    hooks::Hooks,
    host::{HostLimiter, HostService},
    hub::{HubMeters, HubService},
    limiters::{LimiterBook, ServiceMeters},
    observers::{ObserverBook, ObserverError},
    operations::{
        board::Board,
        metrics::{MetricsError, MetricsServer},
        watch::STEP,
    },
    quotas::{QuotaBook, QuotaError},
    recorders::{RecorderBook, RecorderError},
    runtime::{
        duties::Duty,
        events::{EventFacts, NodeEventKind},
        machine::Machine,
        node_reader::NodeReader,
        surroundings::Surroundings,
        workers::Workers,
    },
    udp_tunnel::{
        RelayService, RelayUses, TapClientService, TapServerService, UdpClientService,
        UdpServerService,
    },
};

/// Running services, by name.
pub struct Node {
    running: BTreeMap<String, Running>,
    feeds: Feeds,
    quotas: QuotaBook,
    limiters: LimiterBook,
    observers: ObserverBook,
    recorders: RecorderBook,
    machine: Machine,
    workers: Arc<Workers>,
    board: Arc<Board>,
    metrics: Option<Arc<MetricsServer>>,
    /// Samples what passes, until the node ends.
    _watching: Duty,
}

struct Running {
    config: Service,
    service: RunningService,
}

/// What a change of the configuration did to a service.
enum Step {
    Nothing,
    Started,
    /// Before, it ran with this configuration.
    Changed(Box<Service>),
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
    /// The count of a quota cannot be read.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// An observer cannot be informed.
    #[error(transparent)]
    Observer(#[from] ObserverError),
    /// A recorder cannot be used.
    #[error(transparent)]
    Recorder(#[from] RecorderError),
    /// A service cannot be started.
    #[error("service {service:?}: {source}")]
    Service {
        /// Its name.
        service: String,
        /// Why not.
        source: ServiceError,
    },
}

impl Node {
    /// Starts every service, or none. `state` keeps what sources have read, and certificates that were made, for the next start.
    pub async fn start(config: &Config, state: Option<Arc<StateDir>>) -> Result<Self, StartError> {
        Self::start_until(CancellationToken::new(), NodeReader::default(), config, state).await
    }

    /// Like [`Node::start`]. Once `stopping` is cancelled, hooks of services that start are killed and keep these from starting.
    /// `node_reader` reads the nodes that plugins of hops name.
    pub async fn start_until(
        stopping: CancellationToken,
        node_reader: NodeReader,
        config: &Config,
        state: Option<Arc<StateDir>>,
    ) -> Result<Self, StartError> {
        let machine = Machine { state, stopping, node_reader, ..Machine::default() };
        Self::start_on(machine, config).await
    }

    /// Like [`Node::start`], in other surroundings.
    pub async fn start_in(
        surroundings: Surroundings,
        config: &Config,
        state: Option<Arc<StateDir>>,
    ) -> Result<Self, StartError> {
        Self::start_on(Machine { state, surroundings, ..Machine::default() }, config).await
    }

    async fn start_on(machine: Machine, config: &Config) -> Result<Self, StartError> {
        let workers = match machine.surroundings {
            Surroundings::System => Workers::start().map_err(StartError::Threads)?,
            Surroundings::Twin(_) => Workers::here(),
        };
        let workers = Arc::new(workers);
        let board = Arc::new(Board::new(machine.clone(), &workers));
        let watched = Arc::clone(&board);
        let watching = "watching what passes".to_owned();
        let watching = machine.duties.keep(&Handle::current(), watching, move || {
            let watched = Arc::clone(&watched);
            async move {
                let mut ticks = interval(STEP);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    watched.tick();
                }
            }
        });
        let mut node = Self {
            running: BTreeMap::new(),
            feeds: Feeds::new(machine.surroundings.clone()),
            quotas: QuotaBook::new(),
            limiters: LimiterBook::new(&machine),
            observers: ObserverBook::default(),
            recorders: RecorderBook::default(),
            workers,
            board,
            machine,
            metrics: None,
            _watching: watching,
        };
        match node.apply(config).await {
            Ok(_) => Ok(node),
            Err(error) => {
                node.stop().await;
                Err(error)
            }
        }
    }

    /// Applies `config`: unchanged services run on, a hub whose listeners are unchanged keeps its hosts, new services are started,
    /// then removed ones are stopped. Whether any service has changed. After an error, the services run as before.
    pub async fn apply(&mut self, config: &Config) -> Result<bool, StartError> {
        let metrics =
            MetricsServer::next(self.metrics.as_ref(), config.metrics.as_ref(), &self.board)?;
        let recordings = config.services.iter().flat_map(|service| &service.recordings);
        self.recorders.begin(recordings, &self.machine)?;
        let prepared = match self.observers.prepare(config, &self.machine) {
            Ok(prepared) => prepared,
            Err(error) => {
                self.keep_recorders().await;
                return Err(error.into());
            }
        };
        let applied = self.apply_all(config).await;
        if applied.is_ok() {
            if let Some(metrics) = &metrics {
                metrics.commit();
            }
            self.metrics = metrics;
            self.observers.commit(prepared, &self.machine).await;
        } else {
            let running = &self.running;
            self.observers.roll_back(|name| running.contains_key(name)).await;
        }
        for (name, running) in &self.running {
            self.observers.runs(name, || Box::new(running.service.view()));
            let recorders = self.recorders.of(&running.config.recordings);
            running.service.observe(self.observers.clients(name), recorders);
        }
        self.keep_recorders().await;
        let services = self.running.iter().map(|(name, it)| (name.clone(), it.service.view()));
        let (observers, recorders) = (self.observers.view(), self.recorders.view());
        self.board.show(services, self.feeds.clone(), observers, recorders);
        applied
    }

    /// Ends the recorders that no running service names.
    async fn keep_recorders(&mut self) {
        let recordings = self.running.values().flat_map(|running| &running.config.recordings);
        self.recorders.keep(recordings).await;
    }

    /// Whether any service has changed.
    async fn apply_all(&mut self, config: &Config) -> Result<bool, StartError> {
        let feeds = self.feeds.follow(config, self.machine.state.as_ref()).await?;
        self.quotas.open(config, self.machine.state.as_ref()).await?;
        self.limiters.open(config, &feeds).await;
        let mut done = Vec::new();
        for service in &config.services {
            let name = &service.name;
            match self.apply_one(service, &feeds).await {
                Ok(Step::Nothing) => {}
                Ok(step) => {
                    self.say(name, step.says());
                    done.push((name, step));
                }
                Err(source) => {
                    self.say(name, &format!("failed: {source}"));
                    for (name, step) in done.into_iter().rev() {
                        self.undo(name, step).await;
                    }
                    return Err(StartError::Service { service: name.clone(), source });
                }
            }
        }
        let wanted = |name: &str| config.services.iter().any(|service| service.name == name);
        let gone: Vec<_> = self.running.keys().filter(|name| !wanted(name)).cloned().collect();
        let has_changed = !done.is_empty() || !gone.is_empty();
        for name in gone {
            self.stop_one(&name).await;
            self.say(&name, "stopped");
            info!(service = name, "service removed");
        }
        self.limiters.commit(config, &feeds).await;
        self.feeds = feeds;
        self.quotas.commit(config).await;
        Ok(has_changed)
    }

    /// Sets what the quota `name` has counted, in bytes; whether some service uses it.
    pub async fn reset_quota(&self, name: &str, used: u64) -> bool {
        self.quotas.reset(name, used).await
    }

    /// Services that are started from now on keep in `state` what the next start needs.
    pub fn keep_state_in(&mut self, state: Option<Arc<StateDir>>) {
        self.machine.state = state;
    }

    /// Reads every source of tables, rules and users now, and the certificates of hubs; checks the devices of hosts.
    pub fn reload_sources(&self) {
        self.feeds.reload();
        for running in self.running.values() {
            running.service.look_again();
        }
    }

    /// Saves once more what is not from a source: the state directory had gone. Not to be called where tasks run.
    pub fn save_again(&self) {
        for running in self.running.values() {
            running.service.save_again();
        }
    }

    /// Logs the connected hosts, the packets that passed and those that were lost.
    pub fn log_report(&self) {
        for running in self.running.values() {
            running.service.log_report();
        }
    }

    /// The status board, which shows the services also while they are being changed.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// The address of the first listener of the hub, or of the UDP server, named `name`.
    pub fn hub_address(&self, name: &str) -> Option<SocketAddr> {
        self.running.get(name)?.service.local_addr()
    }

    /// The address where metrics are served, if it is not a Unix socket.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.local_addr()
    }

    /// Stops every service.
    pub async fn stop(mut self) {
        while let Some((name, running)) = self.running.pop_first() {
            running.stop(&self.machine).await;
            self.observers.stopped(&name);
        }
        self.observers.end().await;
        self.recorders.end().await;
        self.quotas.save_all().await;
    }

    /// Starts or changes a service; returns what [`Node::undo`] needs.
    async fn apply_one(&mut self, config: &Service, feeds: &Feeds) -> Result<Step, ServiceError> {
        let Service { name, kind, .. } = config;
        let Some(running) = self.running.get_mut(name) else {
            let service = self.start_service(config, feeds).await?;
            self.running.insert(name.clone(), Running { config: config.clone(), service });
            return Ok(Step::Started);
        };
        if running.config == *config {
            return Ok(Step::Nothing);
        }
        let before = running.config.clone();
        if before.kind == *kind {
            // Commands are for services that start or stop.
            running.config = config.clone();
            return Ok(Step::Changed(Box::new(before)));
        }
        let meters = ServiceMeters::of(kind, &self.limiters, &self.quotas).await;
        let changed = running.service.change(&before.kind, kind, feeds, meters, &self.machine);
        match changed.await? {
            Some(what) => {
                running.config = config.clone();
                info!(service = name, "{what}");
            }
            None => self.replace(config, feeds).await?,
        }
        Ok(Step::Changed(Box::new(before)))
    }

    async fn undo(&mut self, name: &str, step: Step) {
        match step {
            Step::Nothing => {}
            Step::Started => self.stop_one(name).await,
            Step::Changed(before) => {
                let feeds = self.feeds.clone();
                if let Err(error) = self.apply_one(&before, &feeds).await {
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
    async fn replace(&mut self, config: &Service, feeds: &Feeds) -> Result<(), ServiceError> {
        let name = &config.name;
        let Some(running) = self.running.remove(name) else {
            return Ok(());
        };
        let before = running.config.clone();
        running.stop(&self.machine).await;
        self.observers.stopped(name);
        let failure = match self.start_service(config, feeds).await {
            Ok(service) => {
                self.running.insert(name.clone(), Running { config: config.clone(), service });
                info!(service = name, "service replaced");
                return Ok(());
            }
            Err(failure) => failure,
        };
        match self.start_service(&before, &self.feeds).await {
            Ok(service) => {
                self.running.insert(name.clone(), Running { config: before, service });
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
        config: &Service,
        feeds: &Feeds,
    ) -> Result<RunningService, ServiceError> {
        let Self { workers, machine, .. } = self;
        let Service { name, kind, hooks, recordings, .. } = config;
        let recorders = self.recorders.of(recordings);
        let hooks = Hooks { service: name, settings: hooks, machine };
        let meters = ServiceMeters::of(kind, &self.limiters, &self.quotas).await;
        match kind {
            ServiceKind::Hub(config) => {
                let feeds = feeds.of(&config.rules);
                let workers = Arc::clone(workers);
                let observed = self.observers.clients(name);
                let meters = HubMeters { shared: meters, observed, recorders };
                let hub = HubService::start(name, config, hooks, feeds, meters, workers, machine);
                Ok(RunningService::Hub(hub.await?))
            }
            ServiceKind::Host(config) => {
                let limiter = HostLimiter::of(config, meters)?;
                let slot = workers.take_slot();
                let host = HostService::start(name, config, hooks, limiter, feeds, machine, slot);
                Ok(RunningService::Host(host.await?))
            }
            ServiceKind::UdpServer(config) => {
                let (slot, feeds) = (workers.take_slot(), feeds.of_users(kind.authers()));
                let server =
                    UdpServerService::start(name, config, hooks, meters, feeds, machine, slot);
                Ok(RunningService::UdpServer(server.await?))
            }
            ServiceKind::UdpClient(config) => {
                let slot = workers.take_slot();
                let client =
                    UdpClientService::start(name, config, hooks, meters, feeds, machine, slot);
                Ok(RunningService::UdpClient(client.await?))
            }
            ServiceKind::Relay(config) => {
                let feeds = feeds.of_users(kind.authers());
                let uses = RelayUses { meters, feeds, recorders };
                let relay = RelayService::start(name, config, hooks, uses, workers, machine);
                Ok(RunningService::Relay(relay.await?))
            }
            ServiceKind::TapServer(config) => {
                let slot = workers.take_slot();
                let server = TapServerService::start(name, config, hooks, meters, machine, slot);
                Ok(RunningService::TapServer(server.await?))
            }
            ServiceKind::TapClient(config) => {
                let slot = workers.take_slot();
                let client =
                    TapClientService::start(name, config, hooks, meters, feeds, machine, slot);
                Ok(RunningService::TapClient(client.await?))
            }
        }
    }

    fn say(&self, service: &str, text: &str) {
        let facts = EventFacts { service: Some(service), text, ..EventFacts::default() };
        self.machine.events.add(NodeEventKind::Service, &facts);
    }

    async fn stop_one(&mut self, name: &str) {
        if let Some(running) = self.running.remove(name) {
            running.stop(&self.machine).await;
            self.observers.stopped(name);
        }
    }
}

impl Step {
    fn says(&self) -> &'static str {
        match self {
            Self::Nothing => "unchanged",
            Self::Started => "started",
            Self::Changed(_) => "changed",
        }
    }
}

impl Running {
    /// Stops the service, with the commands for it.
    async fn stop(self, machine: &Machine) {
        let Self { config: Service { name, hooks, .. }, service } = self;
        let (hooks, facts) =
            (Hooks { service: &name, settings: &hooks, machine }, service.hook_facts());
        hooks.run(Hook::PreDown, &facts).await;
        service.stop().await;
        hooks.run(Hook::PostDown, &facts).await;
    }
}

#[cfg(test)]
mod tests;

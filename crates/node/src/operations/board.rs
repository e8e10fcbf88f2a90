//! The status board: the state of all services of a process, also while they are being changed.

mod clients;
mod joining;
mod ledger;
mod ping;
mod sample;
mod service_states;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rtun_control::FeedStatus;
use rtun_core::{NamespaceId, observer::ObservedStats};
use rtun_settings::{Named, User};
use serde_json::Value;
use tokio::runtime::Handle;

pub use self::service_states::{QuotaState, RunningState};
use self::{
    clients::ClientLedger,
    ledger::{HubId, Ledger},
};
pub(crate) use self::{
    clients::{ClientCounts, ClientTotals},
    ledger::{Totals, is_labelled},
    sample::MetricsSample,
};
use crate::{
    counters::{DropSample, SamplingLease},
    feeds::Feeds,
    host::HostProgress,
    hub::HubServiceView,
    node_sources::NodeSourceView,
    observers::{ObservedSource, ObserverView},
    operations::{
        explain::{Explained, Explainer, Inquiry},
        problems::{Problem, problems},
        watch::{
            DropsView, HostQuery, HostView, ListPage, NamespaceQuery, NamespaceView, Overview,
            RouteQuery, RouteView, SeriesView, ServiceWatch, TrafficView, WatchedKind,
            WatchedService, routes,
        },
    },
    recorders::RecorderView,
    report::{DescriptorReport, HubReport, KindReport, NodeStatus, ServiceReport, Tasks},
    runtime::{
        descriptors::limit,
        events::{EventFacts, EventFollower, NodeEventKind},
        live_log::{LineLevel, LiveLogLine, LogFollower},
        machine::Machine,
        workers::Workers,
    },
    udp_tunnel::{
        RelayServiceView, TapClientState, TapServerState, UdpClientState, UdpServerState,
    },
};

/// The services that run now. Reading it never waits, not even for a configuration that is being applied.
pub struct Board {
    started: SystemTime,
    since: Instant,
    /// The main event loop, and those that move packets. The handles do not keep them running.
    main: Option<Handle>,
    workers: Vec<Handle>,
    services: ArcSwap<Vec<Shown>>,
    feeds: ArcSwap<Feeds>,
    node_sources: ArcSwap<Vec<NodeSourceView>>,
    observers: ArcSwap<ObserverView>,
    recorders: ArcSwap<RecorderView>,
    next_id: AtomicU64,
    ledger: Mutex<Ledger>,
    clients: Mutex<ClientLedger>,
    /// Log lines that were lost so far.
    lost_log_lines: AtomicU64,
    machine: Machine,
    watch: ServiceWatch,
    /// When problems were looked for last, and which there were.
    problems: Mutex<Option<(Instant, Arc<[Problem]>)>>,
}

/// Problems are looked for this often at most, since that reads the state of every host: those who watch share what was found.
const PROBLEMS_AGE: Duration = Duration::from_secs(4);

struct Shown {
    /// Identifies one run of a service.
    id: HubId,
    name: String,
    /// When this run began.
    since: SystemTime,
    view: View,
}

/// One service as reports see it.
pub(crate) enum View {
    Hub(HubServiceView),
    Host(Arc<HostProgress>),
    UdpServer(Arc<UdpServerState>),
    UdpClient(Arc<UdpClientState>),
    Relay(RelayServiceView),
    TapServer(Arc<TapServerState>),
    TapClient(Arc<TapClientState>),
}

impl Default for Board {
    /// No services, of a process that starts now. No tasks are counted.
    fn default() -> Self {
        Self {
            started: SystemTime::now(),
            since: Instant::now(),
            main: None,
            workers: Vec::new(),
            services: ArcSwap::default(),
            feeds: ArcSwap::default(),
            node_sources: ArcSwap::default(),
            observers: ArcSwap::default(),
            recorders: ArcSwap::default(),
            next_id: AtomicU64::new(0),
            ledger: Mutex::default(),
            clients: Mutex::default(),
            lost_log_lines: AtomicU64::new(0),
            machine: Machine::default(),
            watch: ServiceWatch::default(),
            problems: Mutex::default(),
        }
    }
}

impl Board {
    /// No services, of a process that starts now. Call this on the main event loop.
    pub(crate) fn new(machine: Machine, workers: &Workers) -> Self {
        let main = Some(Handle::current());
        Self { main, workers: workers.handles(), machine, ..Self::default() }
    }

    /// What all services of the process share.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Shows these services, in the order of their names, and what they use. Calls do not overlap.
    pub(crate) fn show(
        &self,
        services: impl Iterator<Item = (String, View)>,
        feeds: Feeds,
        observers: ObserverView,
        recorders: RecorderView,
    ) {
        let before = self.services.load_full();
        let known = |view: &View| before.iter().find(|shown| shown.view.is(view));
        let shown = services.map(|(name, view)| {
            let (id, since) = match known(&view) {
                Some(same) => (same.id, same.since),
                None => (self.next_id.fetch_add(1, Ordering::Relaxed), SystemTime::now()),
            };
            Shown { id, name, since, view }
        });
        let shown = shown.collect();
        let mut ledger = self.ledger();
        // The counts of services that end now stay in the totals.
        enter(&mut ledger, &before, &report(&before));
        self.services.store(Arc::new(shown));
        self.feeds.store(Arc::new(feeds));
        self.observers.store(Arc::new(observers));
        self.recorders.store(Arc::new(recorders));
    }

    /// The feeds of these users that are followed now.
    pub(crate) fn feeds_of_users(&self, auther: &Named<User>) -> Feeds {
        self.feeds.load().of_users(std::slice::from_ref(auther))
    }

    /// Shows these sources of nodes of hops among the other sources.
    pub fn show_node_sources(&self, sources: Vec<NodeSourceView>) {
        self.node_sources.store(Arc::new(sources));
    }

    /// How each source does.
    fn sources(&self) -> Vec<FeedStatus> {
        let mut all = self.feeds.load().status();
        all.extend(self.node_sources.load().iter().map(NodeSourceView::status));
        all.sort_by(|a, b| (&a.kind, &a.name, &a.source).cmp(&(&b.kind, &b.name, &b.source)));
        all
    }

    /// Explains what happens to a packet at the hubs and servers, or to a frame; the error says what is wrong with the question.
    pub fn explain(&self, inquiry: Inquiry) -> Result<Explained, String> {
        let services = self.services.load();
        let explainers = services.iter().filter_map(|Shown { name, view, .. }| {
            let explainer = match view {
                View::Hub(hub) => Explainer::Hub(hub),
                View::UdpServer(server) => Explainer::Tunnel(server),
                View::TapServer(server) => Explainer::Switch(server),
                View::Host(_) | View::UdpClient(_) | View::TapClient(_) | View::Relay(_) => {
                    return None;
                }
            };
            Some((&**name, explainer))
        });
        inquiry.ask(&explainers.collect::<Vec<_>>())
    }

    /// The process at a glance.
    pub fn overview(&self) -> Overview {
        let problems = self.problems().len();
        self.watched(|services| {
            self.watch.overview(services, self.started(), self.since.elapsed(), problems)
        })
    }

    /// What an operator should look at, as it was found within the last few seconds.
    pub fn problems(&self) -> Arc<[Problem]> {
        let found = self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match found {
            Some((when, problems)) if when.elapsed() < PROBLEMS_AGE => problems,
            _ => self.look_for_problems(),
        }
    }

    fn look_for_problems(&self) -> Arc<[Problem]> {
        let found: Arc<[Problem]> = problems(&self.status()).into();
        let now = Some((Instant::now(), Arc::clone(&found)));
        *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = now;
        found
    }

    /// The hosts of all hubs that `query` asks for.
    pub fn hosts(&self, query: &HostQuery) -> ListPage<HostView> {
        self.watched(|services| self.watch.hosts(services, query))
    }

    /// The namespaces of all hubs that `query` asks for.
    pub fn namespaces(&self, query: &NamespaceQuery) -> ListPage<NamespaceView> {
        self.watched(|services| self.watch.namespaces(services, query))
    }

    /// The routes of all hubs that `query` asks for. Reads every row: with a million of them that takes a good part of a second.
    pub fn routes(&self, query: &RouteQuery) -> ListPage<RouteView> {
        self.watched(|services| routes(services, query))
    }

    /// Who talks to whom in this namespace, or in all.
    pub fn traffic(&self, namespace: Option<NamespaceId>) -> TrafficView {
        self.watched(|services| self.watch.traffic(services, namespace))
    }

    /// The last hour; without names all series, with `since`, in seconds of Unix time, only what came after.
    pub fn series(&self, names: &[String], since: Option<u64>) -> SeriesView {
        self.watch.series(names, since)
    }

    /// What is lost and why, and samples of it.
    pub fn drops(&self) -> DropsView {
        let samples = &self.machine.drop_samples;
        self.watched(|services| self.watch.drops(services, samples))
    }

    /// Keeps samples of lost packets for this long, an hour at most; `None`: no more.
    pub fn sample_drops(&self, within: Option<Duration>) {
        match within {
            Some(within) => self.machine.drop_samples.enable(within),
            None => self.machine.drop_samples.disable(),
        }
    }

    /// Keeps samples of lost packets until the lease is dropped.
    pub fn lease_drop_samples(&self) -> SamplingLease {
        self.machine.drop_samples.lease()
    }

    /// The samples of lost packets after the one of this number, the oldest first.
    pub fn drop_samples_after(&self, id: u64) -> Vec<DropSample> {
        self.machine.drop_samples.after(id)
    }

    /// Follows events: those after the one of this number as far as they are kept; `None`: from now on.
    pub fn follow_events(&self, after: Option<u64>) -> EventFollower {
        self.machine.events.follow(after)
    }

    /// Adds an event.
    pub fn announce(&self, kind: NodeEventKind, facts: &EventFacts<'_>) {
        self.machine.events.add(kind, facts);
    }

    /// Takes a line of the log: from warn on it is an event, and those who follow the log get it.
    pub fn log_line(&self, line: LiveLogLine) {
        if line.level >= LineLevel::Warn {
            let of = |name: &str| line.fields.get(name).and_then(Value::as_str);
            let facts = EventFacts {
                service: of("service"),
                namespace: of("namespace"),
                host: of("host"),
                text: &line.message,
            };
            self.announce(NodeEventKind::Log, &facts);
        }
        self.machine.live_log.add(line);
    }

    /// Has `change` called with the level from which on [`Board::log_line`] wants lines, now and when that changes. The first
    /// one counts.
    pub fn on_log_level(&self, change: impl Fn(LineLevel) + Send + Sync + 'static) {
        self.machine.live_log.on_change(change);
    }

    /// Follows the log from now on, at this level and above.
    pub fn follow_log(&self, level: LineLevel) -> LogFollower {
        self.machine.live_log.follow(level)
    }

    /// To be called at each [`STEP`](super::watch::STEP).
    pub(crate) fn tick(&self) {
        let problems = self.look_for_problems();
        self.watched(|services| self.watch.tick(services, &problems, &self.machine.events));
    }

    /// Calls `look` with the services that run now.
    fn watched<T>(&self, look: impl FnOnce(&[WatchedService<'_>]) -> T) -> T {
        let services = self.services.load();
        let watched = services.iter().map(|shown| {
            let kind = match &shown.view {
                View::Hub(hub) => WatchedKind::Hub(hub),
                other => WatchedKind::Other(Box::new(other.report())),
            };
            WatchedService { id: shown.id, name: &shown.name, kind }
        });
        look(&watched.collect::<Vec<_>>())
    }

    /// The state of the process and of its services.
    pub fn status(&self) -> NodeStatus {
        self.status_of(report(&self.services.load()))
    }

    /// The same, with all that metrics need.
    pub(crate) fn sample(&self) -> MetricsSample {
        // One sample at a time, so that no sample has lower totals than an earlier one.
        let mut ledger = self.ledger();
        let shown = self.services.load_full();
        let reports = report(&shown);
        let totals = enter(&mut ledger, &shown, &reports);
        let clients = self.sample_clients(&shown, &reports);
        drop(ledger);
        let (mut lasted, mut nodes) = (Vec::new(), Vec::new());
        for Shown { name, view, .. } in &*shown {
            match view {
                View::Hub(hub) => lasted.push((name.clone(), hub.lasted())),
                View::Host(host) => nodes.push((name.clone(), host.nodes())),
                View::UdpServer(_)
                | View::UdpClient(_)
                | View::TapServer(_)
                | View::TapClient(_)
                | View::Relay(_) => {}
            }
        }
        let lost_log_lines = self.lost_log_lines.load(Ordering::Relaxed);
        let status = self.status_of(reports);
        MetricsSample { status, totals, clients, lasted, nodes, lost_log_lines }
    }

    /// The counts of each hub's clients. Called by one at a time.
    fn sample_clients(
        &self,
        shown: &[Shown],
        reports: &[ServiceReport],
    ) -> Vec<(String, ClientTotals)> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let mut totals = clients.sample(hubs(shown, reports));
        let named = shown.iter().map(|it| (it.name.clone(), totals.remove(&it.id)));
        named.filter_map(|(name, totals)| Some((name, totals?))).collect()
    }

    /// Counts log lines that were lost, for the metrics.
    pub fn count_lost_log_lines(&self, lines: u64) {
        self.lost_log_lines.fetch_add(lines, Ordering::Relaxed);
    }

    fn status_of(&self, services: Vec<ServiceReport>) -> NodeStatus {
        NodeStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started: self.started(),
            uptime: self.since.elapsed(),
            tasks: Tasks {
                main: self.main.as_ref().map_or(0, |it| it.metrics().num_alive_tasks()),
                workers: self.workers.iter().map(|it| it.metrics().num_alive_tasks()).collect(),
            },
            descriptors: DescriptorReport {
                limit: limit(),
                exhausted: self.machine.descriptors.refused(),
            },
            services,
            sources: self.sources(),
            failed_tasks: self.machine.duties.report(),
            failed_hooks: self.machine.hooks.report(),
            observers: self.observers.load().status(),
            recorders: self.recorders.load().status(),
        }
    }

    /// When the process started, in seconds of Unix time.
    fn started(&self) -> u64 {
        self.started.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
    }

    /// Totals of a poisoned lock are usable: at worst the counts of one sample are missing.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Hub(one), Self::Hub(other)) => one.is(other),
            (Self::Host(one), Self::Host(other)) => Arc::ptr_eq(one, other),
            (Self::UdpServer(one), Self::UdpServer(other)) => Arc::ptr_eq(one, other),
            (Self::UdpClient(one), Self::UdpClient(other)) => Arc::ptr_eq(one, other),
            (Self::Relay(one), Self::Relay(other)) => one.is(other),
            (Self::TapServer(one), Self::TapServer(other)) => Arc::ptr_eq(one, other),
            (Self::TapClient(one), Self::TapClient(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    fn report(&self) -> KindReport {
        match self {
            Self::Hub(hub) => KindReport::Hub(Box::new(hub.report())),
            Self::Host(host) => KindReport::Host(Box::new(host.report())),
            Self::UdpServer(server) => KindReport::UdpServer(Box::new(server.report())),
            Self::UdpClient(client) => KindReport::UdpClient(Box::new(client.report())),
            Self::Relay(relay) => KindReport::Relay(Box::new(relay.report())),
            Self::TapServer(server) => KindReport::TapServer(Box::new(server.report())),
            Self::TapClient(client) => KindReport::TapClient(Box::new(client.report())),
        }
    }
}

impl ObservedSource for View {
    fn counts(&self) -> ObservedStats {
        match self {
            Self::Hub(hub) => hub.counts(),
            other => other.report().counts(),
        }
    }

    fn is_failing(&self) -> bool {
        match self {
            Self::Hub(hub) => hub.is_failing(),
            Self::Relay(relay) => relay.is_failing(),
            Self::Host(host) => host.report().health.missing.is_some(),
            Self::UdpServer(server) => server.report().health.missing.is_some(),
            Self::UdpClient(client) => client.report().health.missing.is_some(),
            Self::TapServer(server) => server.report().health.missing.is_some(),
            Self::TapClient(client) => client.report().health.missing.is_some(),
        }
    }
}

fn report(shown: &[Shown]) -> Vec<ServiceReport> {
    let report = |Shown { name, view, .. }: &Shown| ServiceReport {
        name: name.clone(),
        kind: view.report(),
    };
    shown.iter().map(report).collect()
}

fn enter(ledger: &mut Ledger, shown: &[Shown], reports: &[ServiceReport]) -> Totals {
    ledger.sample(hubs(shown, reports))
}

/// The hubs that run, and what they report.
fn hubs<'a>(
    shown: &'a [Shown],
    reports: &'a [ServiceReport],
) -> impl Iterator<Item = (HubId, &'a HubReport)> {
    shown.iter().zip(reports).filter_map(|(shown, report)| match &report.kind {
        KindReport::Hub(hub) => Some((shown.id, &**hub)),
        KindReport::Host(_)
        | KindReport::UdpServer(_)
        | KindReport::UdpClient(_)
        | KindReport::TapServer(_)
        | KindReport::TapClient(_)
        | KindReport::Relay(_) => None,
    })
}

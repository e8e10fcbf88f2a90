//! The hub service: a listener, the hosts admitted through it, and the rules they live under.

mod answer;
mod ask;
mod association;
mod bundle;
mod entrance;
mod explain;
mod forward;
mod greet;
mod handshake;
mod namespace;
mod registry;
mod rules;
mod upkeep;
mod waiting_room;
mod way_in;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use prometheus_client::metrics::histogram::Histogram;
use rtun_config::model;
use rtun_core::explain::{HubExplanation, Unclear};
use rtun_proto::frame::FrameBuffer;
use tokio::time::{Instant as Deadline, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

pub(crate) use self::explain::Understood;
use self::{
    association::{Association, EndReason},
    entrance::{Caller, Entrance, Guest, Guests, Received},
    handshake::{Admissions, HandshakeError},
    registry::{Census, Registry},
    upkeep::Upkeep,
    waiting_room::{Place, WaitingRoom},
    way_in::WayIn,
};
pub use self::{
    entrance::OpenError,
    explain::{Explained, Inquiry},
    rules::RulesError,
};
use crate::{
    counters::Tally,
    feeds::Feeds,
    report::HubReport,
    workers::{Seat, Workers},
};

/// Pause after a failure to accept, such as no descriptor left: others may end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds in seconds between which connections are counted by how long they lasted (spec: api.md section 3).
const LASTED: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0];

/// A running hub.
pub(crate) struct Hub {
    shared: Arc<Shared>,
    /// At least one.
    ways_in: Arc<[WayIn]>,
}

/// A hub as somebody sees it who only asks.
#[derive(Clone)]
pub(crate) struct HubView {
    shared: Arc<Shared>,
    ways_in: Arc<[WayIn]>,
}

struct Shared {
    service: String,
    registry: Registry,
    upkeep: Upkeep,
    waiting_room: Arc<WaitingRoom>,
    admissions: Admissions,
    ends: Tally,
    /// How long connections lasted, admitted or not, in seconds.
    lasted: Histogram,
    /// In milliseconds; changes with the configuration.
    handshake_timeout: AtomicU64,
    stop: CancellationToken,
    tasks: TaskTracker,
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
        config: &model::Hub,
        feeds: Feeds,
        workers: Arc<Workers>,
    ) -> Result<Self, HubError> {
        let (upkeep, rules) = Upkeep::begin(&config.rules, feeds).await?;
        let open = |config| Entrance::open(service, config, &workers).map(Arc::new);
        let entrances = config.listeners().map(open).collect::<Result<Vec<_>, _>>()?;
        let ways_in: Arc<[WayIn]> = entrances.iter().map(|entrance| entrance.way_in()).collect();
        let shared = Arc::new(Shared {
            service: service.to_owned(),
            registry: Registry::new(rules),
            upkeep,
            waiting_room: Arc::default(),
            admissions: Admissions::default(),
            ends: Tally::default(),
            lasted: Histogram::new(LASTED),
            handshake_timeout: AtomicU64::new(millis(config.handshake_timeout)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        for entrance in &entrances {
            let WayIn { address, transport, .. } = entrance.way_in();
            info!(service, %address, transport = transport.as_str(), "hub listens");
            let accepting = Arc::clone(&shared).accept(Arc::clone(entrance), Arc::clone(&workers));
            shared.tasks.spawn(accepting);
        }
        shared.tasks.spawn(Arc::clone(&shared).keep_up(entrances));
        Ok(Self { shared, ways_in })
    }

    /// Replaces everything but the address; hosts that keep their permission notice nothing.
    pub(crate) async fn apply(&self, config: &model::Hub, feeds: Feeds) -> Result<(), RulesError> {
        let Shared { registry, upkeep, handshake_timeout, .. } = &*self.shared;
        upkeep.apply(registry, &config.rules, feeds).await?;
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
        HubView { shared: Arc::clone(&self.shared), ways_in: Arc::clone(&self.ways_in) }
    }

    /// Writes the report to the log.
    pub(crate) fn log_report(&self) {
        let service = &self.shared.service;
        let report = self.view().report();
        report.log(service);
        info!(
            service,
            admitted = report.admitted,
            refused = report.all_refused(),
            "hub admissions"
        );
    }

    /// Stops listening and ends every association.
    pub(crate) async fn stop(self) {
        self.shared.stop.cancel();
        self.shared.registry.end_all(EndReason::Shutdown);
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl HubView {
    /// Whether it is the same run of the same hub.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// How long connections lasted that have ended, admitted or not, in seconds.
    pub(crate) fn lasted(&self) -> Histogram {
        self.shared.lasted.clone()
    }

    /// Why a packet goes where it goes.
    pub(crate) fn explain(&self, asked: &Understood) -> Result<HubExplanation, Unclear> {
        explain::explain_at(&self.shared.registry, &self.shared.service, asked)
    }

    /// Who is connected, who was not admitted, what passed and what was lost.
    pub(crate) fn report(&self) -> HubReport {
        let Shared { registry, upkeep, waiting_room, admissions, ends, .. } = &*self.shared;
        let Census { namespaces, gone, waiting_for_plugins, plugins, queue_memory, queue_budget } =
            registry.census();
        HubReport {
            listen: self.ways_in.iter().map(WayIn::report).collect(),
            namespaces,
            gone,
            waiting_for_plugins,
            plugins,
            behind: upkeep.why_behind(),
            admitted: admissions.admitted(),
            refused: admissions.refused(),
            ended: ends.read(),
            unadmitted: waiting_room.len(),
            queue_memory,
            queue_budget,
        }
    }
}

impl Shared {
    /// Follows the sources and the certificates until the hub stops.
    async fn keep_up(self: Arc<Self>, entrances: Vec<Arc<Entrance>>) {
        let certificates = entrances.iter().map(|it| it.follow_certificate(&self.service));
        tokio::select! {
            () = self.stop.cancelled() => {}
            _ = join_all(certificates) => {}
            () = self.upkeep.run(&self.service, &self.registry) => {}
        }
    }

    async fn accept(self: Arc<Self>, entrance: Arc<Entrance>, workers: Arc<Workers>) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = entrance.accept() => accepted,
            };
            match accepted {
                Ok((caller, peer)) => {
                    // Of those whom a trusted proxy brings the proxy says where they come from.
                    if !entrance.trusts(peer.ip()) && !self.registry.rules().doors.admit(peer.ip())
                    {
                        self.refuse(peer, &HandshakeError::AddressRefused);
                        continue;
                    }
                    let place = self.waiting_room.enter(peer.ip());
                    let seat = workers.seat();
                    let worker = seat.handle().clone();
                    let entrance = Arc::clone(&entrance);
                    let receiving = Arc::clone(&self).receive(entrance, caller, peer, place, seat);
                    self.tasks.spawn_on(receiving, &worker);
                }
                Err(error) => {
                    warn!(service = self.service, "cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Takes a connection through its transport's handshakes and serves who is there, on the worker that `seat` is on.
    async fn receive(
        self: Arc<Self>,
        entrance: Arc<Entrance>,
        caller: Caller,
        peer: SocketAddr,
        place: Place,
        seat: Seat,
    ) {
        let since = Instant::now();
        let deadline = self.deadline();
        let received = tokio::select! {
            () = self.stop.cancelled() => return,
            () = place.turned_out() => Err(HandshakeError::TurnedOut),
            result = timeout_at(deadline, entrance.receive(caller, peer)) => match result {
                Ok(received) => received.map_err(HandshakeError::from),
                Err(_) => Err(HandshakeError::TransportTimeout),
            }
        };
        match received {
            Ok(Received::One(guest)) => self.serve(guest, place, since, deadline).await,
            Ok(Received::Many(guests)) => self.serve_all(guests, peer, place).await,
            Err(error) => {
                self.refuse(peer, &error);
                self.lasted.observe(since.elapsed().as_secs_f64());
            }
        }
        drop(seat);
    }

    /// Serves each stream of a connection that carries many, until the connection ends or nobody uses it.
    async fn serve_all(self: Arc<Self>, mut guests: Guests, peer: SocketAddr, place: Place) {
        let served = TaskTracker::new();
        let mut place = Some(place);
        loop {
            let idle = async {
                served.wait().await;
                tokio::time::sleep_until(self.deadline()).await;
            };
            let turned_out = async {
                match &place {
                    Some(place) => place.turned_out().await,
                    None => std::future::pending().await,
                }
            };
            served.close();
            let next = tokio::select! {
                () = self.stop.cancelled() => break,
                () = turned_out => return self.refuse(peer, &HandshakeError::TurnedOut),
                () = idle => break,
                next = guests.next() => next,
            };
            let guest = match next {
                Some(Ok(guest)) => guest,
                Some(Err(error)) => {
                    debug!(service = self.service, peer = %peer, "a stream was not opened: {error}");
                    continue;
                }
                None => break,
            };
            let place = place.take().unwrap_or_else(|| self.waiting_room.enter(guest.peer.ip()));
            let serving = Arc::clone(&self).serve(guest, place, Instant::now(), self.deadline());
            served.spawn(serving);
        }
        served.wait().await;
    }

    /// Admits the host and serves it until it leaves.
    async fn serve(
        self: Arc<Self>,
        guest: Guest,
        place: Place,
        since: Instant,
        deadline: Deadline,
    ) {
        let peer = guest.peer;
        if !self.registry.rules().doors.admit(peer.ip()) {
            return self.refuse(peer, &HandshakeError::AddressRefused);
        }
        let admission = handshake::admit(&self.registry, &self.service, guest);
        let admitted = tokio::select! {
            () = self.stop.cancelled() => return,
            () = place.turned_out() => Err(HandshakeError::TurnedOut),
            result = timeout_at(deadline, admission) => {
                result.unwrap_or(Err(HandshakeError::Timeout))
            }
        };
        drop(place);
        match admitted {
            Ok((association, buffer)) => {
                self.admissions.count_admitted();
                self.run(association, buffer).await;
            }
            Err(error) => self.refuse(peer, &error),
        }
        self.lasted.observe(since.elapsed().as_secs_f64());
    }

    /// By when somebody who comes now has to be admitted.
    fn deadline(&self) -> Deadline {
        Deadline::now() + Duration::from_millis(self.handshake_timeout.load(Ordering::Relaxed))
    }

    fn refuse(&self, peer: SocketAddr, why: &HandshakeError) {
        self.admissions.count_refused(why);
        let reason = why.as_str();
        debug!(service = self.service, peer = %peer, reason, "not admitted: {why}");
    }

    async fn run(&self, association: Arc<Association>, buffer: FrameBuffer) {
        let Association { namespace, host, peer, since, .. } = &*association;
        let service = &self.service;
        info!(service, namespace = %namespace.id, host = %host, peer = %peer, "host joined");
        if self.stop.is_cancelled() {
            association.end(EndReason::Shutdown);
        }
        let reason = association.run(buffer).await;
        self.ends.count(reason.as_str());
        self.registry.leave(&association);
        let traffic = association.counters.read();
        info!(
            service, namespace = %namespace.id, host = %host, peer = %peer, reason = %reason,
            seconds = since.elapsed().as_secs(),
            packets_in = traffic.packets_in, packets_out = traffic.packets_out,
            drops = %traffic.drops(), "host left"
        );
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

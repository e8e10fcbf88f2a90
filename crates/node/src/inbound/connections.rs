//! A service's connections from being accepted to their end: each is one task, which owns all that belongs to it.
//!
//! A connection has a slot in the waiting room, and a deadline, until somebody is admitted on it. One that carries many streams
//! takes a slot again after the last of its hosts has left. It is closed at once when its slot is taken away or its deadline
//! has passed.

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use prometheus_client::metrics::histogram::Histogram;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error};

use super::{
    admissions::Admissions,
    error::AdmissionError,
    listener::{Established, HubListener, IncomingConnection, PendingStream, PendingStreams},
    waiting_room::{ProofLevel, WaitingRoom, WaitingSlot},
};
use crate::{
    link::FAREWELL,
    recorders::ServiceRecorders,
    runtime::{
        descriptors::{self, Descriptors},
        machine::Machine,
        workers::{WorkerSlot, Workers},
    },
};

/// Pause after a failure to accept, such as no descriptor left: other connections may end during it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// For that long after a failure to accept the service counts as failing.
const FAILING: Duration = Duration::from_secs(1);

/// The most streams of one connection on which no host is admitted yet; further ones wait in the transport, which bounds them.
const PENDING_STREAMS: usize = 8;

/// Bucket bounds, in seconds, of GOST's histogram of how long connections lasted.
const LASTED: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0];

/// A connection on which no host is admitted: its slot in the waiting room, and its deadline. A stream of a connection has no
/// slot of its own.
struct PendingConnection {
    slot: Option<WaitingSlot>,
    deadline: Instant,
}

impl PendingConnection {
    /// Resolves when it may wait no longer.
    async fn over(&self) -> AdmissionError {
        let turned_out = async {
            match &self.slot {
                Some(slot) => slot.turned_out().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = turned_out => AdmissionError::TurnedOut,
            () = sleep_until(self.deadline) => AdmissionError::Timeout,
        }
    }

    fn proves(&self, proven: ProofLevel) {
        if let Some(slot) = &self.slot {
            slot.proves(proven);
        }
    }
}

/// When dropped, records how long a connection has lasted.
struct DurationObserver<'a> {
    lasted: &'a Histogram,
    since: Instant,
}

impl Drop for DurationObserver<'_> {
    fn drop(&mut self) {
        self.lasted.observe(self.since.elapsed().as_secs_f64());
    }
}

/// What a service does with the streams that others open to it.
pub(crate) trait StreamService: Send + Sync + 'static {
    /// Who is admitted on a stream.
    type Admitted: Send;

    /// A connection that counts until this is dropped.
    type CountedConnection: Send;

    /// Whether anybody may connect from this address.
    fn admits_address(&self, address: IpAddr) -> bool;

    /// Counts one more connection from this address, unless there are as many as may be.
    fn count_connection(&self, address: IpAddr) -> Result<Self::CountedConnection, AdmissionError>;

    /// Counts one more request from this address, unless there are more than may be now.
    fn count_request(&self, address: IpAddr) -> Result<(), AdmissionError>;

    /// Reads the request, decides and answers.
    fn admit(
        &self,
        stream: PendingStream,
    ) -> impl Future<Output = Result<Self::Admitted, AdmissionError>> + Send;

    /// Serves who was admitted until that ends, or `stop` is cancelled.
    fn run(
        &self,
        admitted: Self::Admitted,
        stop: &CancellationToken,
    ) -> impl Future<Output = ()> + Send;
}

/// A service's connections, and what all of them need.
pub(crate) struct Connections<S> {
    pub(crate) service: String,
    pub(crate) served: S,
    pub(crate) waiting_room: Arc<WaitingRoom>,
    pub(crate) admissions: Admissions,
    /// How long connections lasted, admitted or not, in seconds.
    pub(crate) lasted: Histogram,
    /// In milliseconds; changes with the configuration.
    pub(crate) handshake_timeout: AtomicU64,
    pub(crate) descriptors: Arc<Descriptors>,
    /// When a connection could not be accepted last.
    accept_failed: Mutex<Option<Instant>>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Who is given the address of each connection.
    recorders: ArcSwap<ServiceRecorders>,
}

impl<S: StreamService> Connections<S> {
    /// No connections yet. `handshake_timeout` is the limit from accepting to admitting.
    pub(crate) fn new(
        service: &str,
        served: S,
        handshake_timeout: Duration,
        machine: &Machine,
        recorders: ServiceRecorders,
    ) -> Arc<Self> {
        let connections = Self {
            service: service.to_owned(),
            served,
            waiting_room: WaitingRoom::new(descriptors::limit()),
            admissions: Admissions::default(),
            lasted: Histogram::new(LASTED),
            handshake_timeout: AtomicU64::default(),
            descriptors: Arc::clone(&machine.descriptors),
            accept_failed: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            recorders: ArcSwap::from_pointee(recorders),
        };
        connections.limit_handshakes(handshake_timeout);
        Arc::new(connections)
    }

    /// From now on this is the limit from accepting to admitting.
    pub(crate) fn limit_handshakes(&self, timeout: Duration) {
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.handshake_timeout.store(millis, Ordering::Relaxed);
    }

    /// From now on these are given the address of each connection.
    pub(crate) fn record(&self, recorders: ServiceRecorders) {
        self.recorders.store(Arc::new(recorders));
    }

    /// Ends every connection that is served, and waits until all have ended. Nothing accepts any more.
    pub(crate) async fn end(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Takes connections until the service stops.
    pub(crate) async fn accept(self: Arc<Self>, listener: Arc<HubListener>, workers: Arc<Workers>) {
        while let Some(accepted) = self.stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((incoming, peer)) => {
                    // Of those that a trusted proxy brings the proxy says where they come from.
                    if !listener.trusts(peer.ip()) && !self.served.admits_address(peer.ip()) {
                        self.refuse(peer, &AdmissionError::AddressRefused);
                        continue;
                    }
                    let Some(slot) = self.waiting_room.enter(peer.ip()) else {
                        self.refuse(peer, &AdmissionError::TurnedOut);
                        continue;
                    };
                    // Those of a trusted proxy are counted where their own address is known.
                    let counted = match listener.trusts(peer.ip()) {
                        true => Ok(None),
                        false => self.count(peer.ip()).map(Some),
                    };
                    let counted = match counted {
                        Ok(counted) => counted,
                        Err(exceeded) => {
                            self.refuse(peer, &exceeded);
                            continue;
                        }
                    };
                    let waiting = PendingConnection { slot: Some(slot), deadline: self.deadline() };
                    let slot = workers.take_slot();
                    let worker = slot.handle().clone();
                    let listener = Arc::clone(&listener);
                    let receiving =
                        Arc::clone(&self).receive(listener, incoming, peer, waiting, slot, counted);
                    self.tasks.spawn_on(receiving, &worker);
                }
                Err(error) => {
                    self.descriptors.accept_failed(&self.service, &error);
                    *self.accept_failed() = Some(Instant::now());
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Whether connections could not be accepted a moment ago.
    pub(crate) fn is_failing(&self) -> bool {
        self.accept_failed().is_some_and(|last| last.elapsed() < FAILING)
    }

    /// A poisoned lock still guards a whole time.
    fn accept_failed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.accept_failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more connection from this address and has it recorded, unless there are as many as may be.
    fn count(&self, address: IpAddr) -> Result<S::CountedConnection, AdmissionError> {
        let counted = self.served.count_connection(address)?;
        self.recorders.load().record(address);
        Ok(counted)
    }

    /// A connection's task: does its transport's handshakes, then serves its hosts. The connection takes its slot of a worker, and is
    /// counted, until then.
    async fn receive(
        self: Arc<Self>,
        listener: Arc<HubListener>,
        incoming: IncomingConnection,
        peer: SocketAddr,
        waiting: PendingConnection,
        _slot: WorkerSlot,
        _counted: Option<S::CountedConnection>,
    ) {
        let since = Instant::now();
        // Boxed, so that the memory of the handshakes is freed when the host is admitted.
        let arriving = Box::pin(self.arrive(&listener, incoming, peer, waiting));
        match self.stop.run_until_cancelled(arriving).await {
            None => {}
            Some(Ok((Established::One(stream), waiting))) => {
                let counted = match listener.trusts(peer.ip()) {
                    true => self.count(stream.peer.ip()).map(Some),
                    false => Ok(None),
                };
                let _counted = match counted {
                    Ok(counted) => counted,
                    Err(exceeded) => return self.refuse(stream.peer, &exceeded),
                };
                // A trusted proxy may have named another client.
                let peer = stream.peer;
                let admitting = Box::pin(async {
                    let result = self.admit(stream, &waiting).await;
                    drop(waiting);
                    result
                });
                self.serve(peer, since, admitting).await;
            }
            Some(Ok((Established::Many(streams), waiting))) => {
                // Those that a trusted proxy brings are counted one by one.
                let counts_streams = listener.trusts(peer.ip());
                Box::pin(self.serve_all(streams, peer, waiting, counts_streams)).await;
            }
            Some(Err(why)) => {
                let _ended = DurationObserver { lasted: &self.lasted, since };
                self.refuse(peer, &why);
            }
        }
    }

    async fn arrive(
        &self,
        listener: &HubListener,
        incoming: IncomingConnection,
        peer: SocketAddr,
        waiting: PendingConnection,
    ) -> Result<(Established, PendingConnection), AdmissionError> {
        let received = tokio::select! {
            why = waiting.over() => match why {
                AdmissionError::Timeout => return Err(AdmissionError::TransportTimeout),
                why => return Err(why),
            },
            received = listener.receive(incoming, peer, || waiting.proves(ProofLevel::Speech)) => received?,
        };
        waiting.proves(ProofLevel::Transport);
        Ok((received, waiting))
    }

    /// Serves the hosts on the streams of a connection until it ends, or no host uses it.
    async fn serve_all(
        self: &Arc<Self>,
        mut streams: PendingStreams,
        peer: SocketAddr,
        waiting: PendingConnection,
        counts_streams: bool,
    ) {
        let mut waiting = Some(waiting);
        let hosts = Arc::new(Hosts::default());
        let mut served = JoinSet::new();
        let mut was_used = false;
        loop {
            let admitted = hosts.admitted.load(Ordering::Relaxed);
            if admitted > 0 {
                (waiting, was_used) = (None, true);
            } else if waiting.is_none() {
                let Some(slot) = self.waiting_room.enter(peer.ip()) else {
                    return self.refuse(peer, &AdmissionError::TurnedOut);
                };
                slot.proves(ProofLevel::Transport);
                waiting = Some(PendingConnection { slot: Some(slot), deadline: self.deadline() });
            }
            let over = async {
                match &waiting {
                    Some(waiting) => waiting.over().await,
                    None => std::future::pending().await,
                }
            };
            let may_open = served.len() < admitted + PENDING_STREAMS;
            let next = tokio::select! {
                () = self.stop.cancelled() => break,
                why = over => {
                    // A connection that stays open after its last host has left is not a failure to join.
                    if !(was_used && matches!(why, AdmissionError::Timeout)) {
                        self.refuse(peer, &why);
                    }
                    return;
                }
                () = hosts.changed.notified() => continue,
                Some(ended) = served.join_next() => {
                    if let Err(panic) = ended {
                        error!(service = self.service, "a task that serves a host has failed: {panic}");
                    }
                    continue;
                }
                next = streams.next(), if may_open => next,
            };
            match next {
                Some(Ok(stream)) => {
                    let hub = Arc::clone(self);
                    served.spawn(hub.serve_stream(stream, Arc::clone(&hosts), counts_streams));
                }
                Some(Err(error)) => {
                    debug!(service = self.service, peer = %peer, "a stream was not opened: {error}");
                }
                None => break,
            }
        }
        // The streams of a connection that has ended end with it.
        while served.join_next().await.is_some() {}
        streams.shutdown(FAREWELL).await;
    }

    async fn serve_stream(self: Arc<Self>, stream: PendingStream, hosts: Arc<Hosts>, counts: bool) {
        let (peer, since) = (stream.peer, Instant::now());
        let counted = match counts {
            true => self.count(peer.ip()).map(Some),
            false => Ok(None),
        };
        let _counted = match counted {
            Ok(counted) => counted,
            Err(exceeded) => return self.refuse(peer, &exceeded),
        };
        let waiting = PendingConnection { slot: None, deadline: self.deadline() };
        let mut counted = None;
        let admitting = Box::pin(async {
            let admitted = self.admit(stream, &waiting).await?;
            counted = Some(Counted::new(hosts));
            Ok(admitted)
        });
        self.serve(peer, since, admitting).await;
        drop(counted);
    }

    /// Serves the host that is admitted by `admitting` until it leaves. That is boxed, so that its memory is freed then.
    async fn serve(
        &self,
        peer: SocketAddr,
        since: Instant,
        admitting: Pin<Box<impl Future<Output = Result<S::Admitted, AdmissionError>>>>,
    ) {
        let _ended = DurationObserver { lasted: &self.lasted, since };
        match self.stop.run_until_cancelled(admitting).await {
            None => {}
            Some(Ok(admitted)) => {
                self.admissions.count_admitted();
                self.served.run(admitted, &self.stop).await;
            }
            Some(Err(why)) => self.refuse(peer, &why),
        }
    }

    async fn admit(
        &self,
        stream: PendingStream,
        waiting: &PendingConnection,
    ) -> Result<S::Admitted, AdmissionError> {
        if !self.served.admits_address(stream.peer.ip()) {
            return Err(AdmissionError::AddressRefused);
        }
        self.served.count_request(stream.peer.ip())?;
        tokio::select! {
            why = waiting.over() => Err(why),
            admitted = self.served.admit(stream) => admitted,
        }
    }

    /// The deadline for a host on a connection that arrives now.
    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.handshake_timeout.load(Ordering::Relaxed))
    }

    fn refuse(&self, peer: SocketAddr, why: &AdmissionError) {
        self.admissions.count_refused(why);
        let reason = why.as_str();
        debug!(service = self.service, peer = %peer, reason, "not admitted: {why}");
    }
}

/// The hosts that are admitted on the streams of one connection.
#[derive(Default)]
struct Hosts {
    admitted: AtomicUsize,
    /// Their number has changed.
    changed: Notify,
}

/// One admitted host; counted until this is dropped.
struct Counted(Arc<Hosts>);

impl Counted {
    fn new(hosts: Arc<Hosts>) -> Self {
        hosts.admitted.fetch_add(1, Ordering::Relaxed);
        hosts.changed.notify_one();
        Self(hosts)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.admitted.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

//! A hub's connections from being accepted to their end: each is one task, which owns all that belongs to it.
//!
//! A connection has a slot in the waiting room, and a deadline, until a host is admitted on it. One that carries many streams
//! takes a slot again after the last of its hosts has left. It is closed at once when its slot is taken away or its deadline
//! has passed.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus_client::metrics::histogram::Histogram;
use rtun_proto::frame::FrameBuffer;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error, info};

use super::{
    admission::{
        error::AdmissionError,
        handshake::{self, Admissions},
        waiting_room::{ProofLevel, WaitingRoom, WaitingSlot},
    },
    association::HostAssociation,
    listener::{Established, HubListener, IncomingConnection, PendingStream, PendingStreams},
    registry::{Membership, Registry},
};
use crate::{
    link::{EndReason, FAREWELL},
    runtime::{
        descriptors::Descriptors,
        workers::{WorkerSlot, Workers},
    },
};

/// Pause after a failure to accept, such as no descriptor left: other connections may end during it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The most streams of one connection on which no host is admitted yet; further ones wait in the transport, which bounds them.
const PENDING_STREAMS: usize = 8;

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
    hub: &'a Connections,
    since: Instant,
}

impl Drop for DurationObserver<'_> {
    fn drop(&mut self) {
        self.hub.lasted.observe(self.since.elapsed().as_secs_f64());
    }
}

/// A hub's connections, and what all of them need.
pub(super) struct Connections {
    pub(super) service: String,
    pub(super) registry: Arc<Registry>,
    pub(super) waiting_room: Arc<WaitingRoom>,
    pub(super) admissions: Admissions,
    /// How long connections lasted, admitted or not, in seconds.
    pub(super) lasted: Histogram,
    /// In milliseconds; changes with the configuration.
    pub(super) handshake_timeout: AtomicU64,
    pub(super) descriptors: Arc<Descriptors>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Connections {
    /// Takes connections until the hub stops.
    pub(super) async fn accept(self: Arc<Self>, listener: Arc<HubListener>, workers: Arc<Workers>) {
        while let Some(accepted) = self.stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((incoming, peer)) => {
                    // Of those that a trusted proxy brings the proxy says where they come from.
                    if !listener.trusts(peer.ip())
                        && !self.registry.rules().addresses.admit(peer.ip())
                    {
                        self.refuse(peer, &AdmissionError::AddressRefused);
                        continue;
                    }
                    let Some(slot) = self.waiting_room.enter(peer.ip()) else {
                        self.refuse(peer, &AdmissionError::TurnedOut);
                        continue;
                    };
                    let waiting = PendingConnection { slot: Some(slot), deadline: self.deadline() };
                    let slot = workers.take_slot();
                    let worker = slot.handle().clone();
                    let listener = Arc::clone(&listener);
                    let receiving =
                        Arc::clone(&self).receive(listener, incoming, peer, waiting, slot);
                    self.tasks.spawn_on(receiving, &worker);
                }
                Err(error) => {
                    self.descriptors.accept_failed(&self.service, &error);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A connection's task: does its transport's handshakes, then serves its hosts.
    async fn receive(
        self: Arc<Self>,
        listener: Arc<HubListener>,
        incoming: IncomingConnection,
        peer: SocketAddr,
        waiting: PendingConnection,
        _slot: WorkerSlot,
    ) {
        let since = Instant::now();
        // Boxed, so that the memory of the handshakes is freed when the host is admitted.
        let arriving = Box::pin(self.arrive(&listener, incoming, peer, waiting));
        match self.stop.run_until_cancelled(arriving).await {
            None => {}
            Some(Ok((Established::One(stream), waiting))) => {
                // A trusted proxy may have named another client.
                let peer = stream.peer;
                let admitting = async {
                    let result = self.admit(stream, &waiting).await;
                    drop(waiting);
                    result
                };
                self.serve(peer, since, admitting).await;
            }
            Some(Ok((Established::Many(streams), waiting))) => {
                Box::pin(self.serve_all(streams, peer, waiting)).await;
            }
            Some(Err(why)) => {
                let _ended = DurationObserver { hub: &self, since };
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
                    served.spawn(Arc::clone(self).serve_stream(stream, Arc::clone(&hosts)));
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

    async fn serve_stream(self: Arc<Self>, stream: PendingStream, hosts: Arc<Hosts>) {
        let (peer, since) = (stream.peer, Instant::now());
        let waiting = PendingConnection { slot: None, deadline: self.deadline() };
        let mut counted = None;
        let admitting = async {
            let admitted = self.admit(stream, &waiting).await?;
            counted = Some(Counted::new(hosts));
            Ok(admitted)
        };
        self.serve(peer, since, admitting).await;
        drop(counted);
    }

    /// Serves the host that is admitted by `admitting` until it leaves.
    async fn serve(
        &self,
        peer: SocketAddr,
        since: Instant,
        admitting: impl Future<Output = Result<(Membership, FrameBuffer), AdmissionError>>,
    ) {
        let _ended = DurationObserver { hub: self, since };
        match self.stop.run_until_cancelled(Box::pin(admitting)).await {
            None => {}
            Some(Ok((member, buffer))) => {
                self.admissions.count_admitted();
                self.run(member, buffer).await;
            }
            Some(Err(why)) => self.refuse(peer, &why),
        }
    }

    async fn admit(
        &self,
        stream: PendingStream,
        waiting: &PendingConnection,
    ) -> Result<(Membership, FrameBuffer), AdmissionError> {
        if !self.registry.rules().addresses.admit(stream.peer.ip()) {
            return Err(AdmissionError::AddressRefused);
        }
        tokio::select! {
            why = waiting.over() => Err(why),
            admitted = handshake::admit(&self.registry, &self.service, stream) => admitted,
        }
    }

    async fn run(&self, member: Membership, buffer: FrameBuffer) {
        let HostAssociation { id, host, peer, .. } = &**member;
        let namespace = &member.namespace;
        info!(
            service = self.service, namespace = %namespace.id, host = %host, peer = %peer, sid = id,
            "host joined"
        );
        if self.stop.is_cancelled() {
            member.end(EndReason::Shutdown);
        }
        member.run(buffer).await;
        let farewell = member.link.farewell();
        drop(member);
        farewell.await;
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

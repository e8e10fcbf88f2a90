//! A hub's connections from being accepted to their end: each is one task, which owns all that belongs to it.
//!
//! A connection keeps its place in the waiting room, and has to keep its first deadline, until a host is admitted on it. One
//! that carries many streams takes a place again when the last of its hosts has left. Turned out or late, it is closed at once.

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
        handshake::{self, Admissions, HandshakeError},
        waiting_room::{Place, Proven, WaitingRoom},
    },
    association::Association,
    entrance::{Caller, Entrance, Guest, Guests, Received},
    registry::{Member, Registry},
};
use crate::{
    link::{EndReason, FAREWELL},
    runtime::{
        descriptors::Descriptors,
        workers::{Seat, Workers},
    },
};

/// Pause after a failure to accept, such as no descriptor left: others may end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Streams of one connection on which nobody is admitted yet; further ones wait in the transport, which bounds them.
const PENDING_STREAMS: usize = 8;

/// A connection on which nobody is admitted: the place it takes meanwhile, and until when. A stream of a connection takes none
/// of its own.
struct Waiting {
    place: Option<Place>,
    deadline: Instant,
}

impl Waiting {
    /// Resolves when it may wait no longer.
    async fn over(&self) -> HandshakeError {
        let turned_out = async {
            match &self.place {
                Some(place) => place.turned_out().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = turned_out => HandshakeError::TurnedOut,
            () = sleep_until(self.deadline) => HandshakeError::Timeout,
        }
    }

    fn proves(&self, proven: Proven) {
        if let Some(place) = &self.place {
            place.proves(proven);
        }
    }
}

/// Observes how long something lasted when it ends, however it does.
struct Lasting<'a> {
    hub: &'a Connections,
    since: Instant,
}

impl Drop for Lasting<'_> {
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
    pub(super) async fn accept(self: Arc<Self>, entrance: Arc<Entrance>, workers: Arc<Workers>) {
        while let Some(accepted) = self.stop.run_until_cancelled(entrance.accept()).await {
            match accepted {
                Ok((caller, peer)) => {
                    // Of those that a trusted proxy brings the proxy says where they come from.
                    if !entrance.trusts(peer.ip()) && !self.registry.rules().doors.admit(peer.ip())
                    {
                        self.refuse(peer, &HandshakeError::AddressRefused);
                        continue;
                    }
                    let Some(place) = self.waiting_room.enter(peer.ip()) else {
                        self.refuse(peer, &HandshakeError::TurnedOut);
                        continue;
                    };
                    // Those of a trusted proxy are counted where their own address is known.
                    let counted = match entrance.trusts(peer.ip()) {
                        true => Ok(None),
                        false => self.registry.limiters.connection(peer.ip()).map(Some),
                    };
                    let counted = match counted {
                        Ok(counted) => counted,
                        Err(exceeded) => {
                            self.refuse(peer, &exceeded.into());
                            continue;
                        }
                    };
                    let waiting = Waiting { place: Some(place), deadline: self.deadline() };
                    let seat = workers.seat();
                    let worker = seat.handle().clone();
                    let entrance = Arc::clone(&entrance);
                    let receiving =
                        Arc::clone(&self).receive(entrance, caller, peer, waiting, seat);
                    let counted_while_received = async move {
                        let _counted = counted;
                        receiving.await;
                    };
                    self.tasks.spawn_on(counted_while_received, &worker);
                }
                Err(error) => {
                    self.descriptors.accept_failed(&self.service, &error);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A connection's task: takes it through its transport's handshakes and serves who is there.
    async fn receive(
        self: Arc<Self>,
        entrance: Arc<Entrance>,
        caller: Caller,
        peer: SocketAddr,
        waiting: Waiting,
        _seat: Seat,
    ) {
        let since = Instant::now();
        // What is large only until a host is admitted is not kept as long as the host.
        let arriving = Box::pin(self.arrive(&entrance, caller, peer, waiting));
        match self.stop.run_until_cancelled(arriving).await {
            None => {}
            Some(Ok((Received::One(guest), waiting))) => {
                let counted = match entrance.trusts(peer.ip()) {
                    true => self.registry.limiters.connection(guest.peer.ip()).map(Some),
                    false => Ok(None),
                };
                let _counted = match counted {
                    Ok(counted) => counted,
                    Err(exceeded) => return self.refuse(guest.peer, &exceeded.into()),
                };
                // As far as a trusted proxy says.
                let peer = guest.peer;
                let admitting = async {
                    let result = self.admit(guest, &waiting).await;
                    drop(waiting);
                    result
                };
                self.serve(peer, since, admitting).await;
            }
            Some(Ok((Received::Many(guests), waiting))) => {
                Box::pin(self.serve_all(guests, peer, waiting)).await;
            }
            Some(Err(why)) => {
                let _ended = Lasting { hub: &self, since };
                self.refuse(peer, &why);
            }
        }
    }

    async fn arrive(
        &self,
        entrance: &Entrance,
        caller: Caller,
        peer: SocketAddr,
        waiting: Waiting,
    ) -> Result<(Received, Waiting), HandshakeError> {
        let received = tokio::select! {
            why = waiting.over() => match why {
                HandshakeError::Timeout => return Err(HandshakeError::TransportTimeout),
                why => return Err(why),
            },
            received = entrance.receive(caller, peer, || waiting.proves(Proven::Speech)) => received?,
        };
        waiting.proves(Proven::Transport);
        Ok((received, waiting))
    }

    /// Serves the hosts on the streams of a connection until it ends, or nobody uses it.
    async fn serve_all(self: &Arc<Self>, mut guests: Guests, peer: SocketAddr, waiting: Waiting) {
        let mut waiting = Some(waiting);
        let hosts = Arc::new(Hosts::default());
        let mut streams = JoinSet::new();
        let mut was_used = false;
        loop {
            let admitted = hosts.admitted.load(Ordering::Relaxed);
            if admitted > 0 {
                (waiting, was_used) = (None, true);
            } else if waiting.is_none() {
                let Some(place) = self.waiting_room.enter(peer.ip()) else {
                    return self.refuse(peer, &HandshakeError::TurnedOut);
                };
                place.proves(Proven::Transport);
                waiting = Some(Waiting { place: Some(place), deadline: self.deadline() });
            }
            let over = async {
                match &waiting {
                    Some(waiting) => waiting.over().await,
                    None => std::future::pending().await,
                }
            };
            let may_open = streams.len() < admitted + PENDING_STREAMS;
            let next = tokio::select! {
                () = self.stop.cancelled() => break,
                why = over => {
                    // One that is left open after its last host has left is nobody's failure to join.
                    if !(was_used && matches!(why, HandshakeError::Timeout)) {
                        self.refuse(peer, &why);
                    }
                    return;
                }
                () = hosts.changed.notified() => continue,
                Some(ended) = streams.join_next() => {
                    if let Err(panic) = ended {
                        error!(service = self.service, "a task that serves a host has failed: {panic}");
                    }
                    continue;
                }
                next = guests.next(), if may_open => next,
            };
            match next {
                Some(Ok(guest)) => {
                    streams.spawn(Arc::clone(self).serve_stream(guest, Arc::clone(&hosts)));
                }
                Some(Err(error)) => {
                    debug!(service = self.service, peer = %peer, "a stream was not opened: {error}");
                }
                None => break,
            }
        }
        // Those of a connection that has ended end with it.
        while streams.join_next().await.is_some() {}
        guests.shutdown(FAREWELL).await;
    }

    async fn serve_stream(self: Arc<Self>, guest: Guest, hosts: Arc<Hosts>) {
        let (peer, since) = (guest.peer, Instant::now());
        let waiting = Waiting { place: None, deadline: self.deadline() };
        let mut counted = None;
        let admitting = async {
            let admitted = self.admit(guest, &waiting).await?;
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
        admitting: impl Future<Output = Result<(Member, FrameBuffer), HandshakeError>>,
    ) {
        let _ended = Lasting { hub: self, since };
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
        guest: Guest,
        waiting: &Waiting,
    ) -> Result<(Member, FrameBuffer), HandshakeError> {
        if !self.registry.rules().doors.admit(guest.peer.ip()) {
            return Err(HandshakeError::AddressRefused);
        }
        self.registry.limiters.request(guest.peer.ip())?;
        tokio::select! {
            why = waiting.over() => Err(why),
            admitted = handshake::admit(&self.registry, &self.service, guest) => admitted,
        }
    }

    async fn run(&self, member: Member, buffer: FrameBuffer) {
        let Association { host, peer, .. } = &**member;
        let namespace = &member.namespace;
        info!(
            service = self.service, namespace = %namespace.id, host = %host, peer = %peer,
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

    /// By when a connection that comes now has to be admitted.
    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.handshake_timeout.load(Ordering::Relaxed))
    }

    fn refuse(&self, peer: SocketAddr, why: &HandshakeError) {
        self.admissions.count_refused(why);
        let reason = why.as_str();
        debug!(service = self.service, peer = %peer, reason, "not admitted: {why}");
    }
}

/// The hosts that are admitted on the streams of one connection.
#[derive(Default)]
struct Hosts {
    admitted: AtomicUsize,
    /// There is another number of them.
    changed: Notify,
}

/// One of them, until it is dropped.
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

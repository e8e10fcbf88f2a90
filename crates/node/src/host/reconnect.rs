//! Keeps a host connected: tries hubs in turn, connects again after a loss, moves to a preferred endpoint when that is back,
//! and logs each failure once.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use rtun_control::NodeQuestion;
use rtun_core::{Backoff, LossWatch, Setback};
use rtun_proto::frame::FrameBuffer;
use rtun_settings::{HubNode, NodePreference};
use rtun_system::tun::PacketDevice;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    asked_hops::NoHub,
    downlink,
    progress::HostProgress,
    reach::{HubSteering, HubsInForce},
    session::{Introduction, JoinError, Session},
};
use crate::{
    dial::{HubConnection, HubTarget, NoEndpoint, Wire},
    link::EndReason,
};

/// How long a connection that has been replaced by a better one is still read from.
const LINGER: Duration = Duration::from_secs(1);

/// The same failure is logged again after this long.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// Keeps a host connected to one of its hubs.
pub(super) struct HostConnector<D> {
    pub(super) service: String,
    pub(super) introduction: Introduction,
    pub(super) steering: Arc<HubSteering>,
    pub(super) device: Arc<D>,
    pub(super) progress: Arc<HostProgress>,
    pub(super) stop: CancellationToken,
}

/// The hub of a session.
struct SessionHub {
    reach: Arc<HubsInForce>,
    node: usize,
}

impl SessionHub {
    fn target(&self) -> &HubTarget {
        &self.reach.hubs.nodes[self.node]
    }

    /// The place of the same hub in `reach`, if it is still listed there. Its name, its chain and its preference may have changed.
    fn moved_to(&self, reach: Arc<HubsInForce>) -> Option<Self> {
        let same = |hub: &HubNode| {
            let (name, chain) = (String::new(), String::new());
            HubNode { name, chain, preference: NodePreference::default(), ..hub.clone() }
        };
        let (hub, proxies) = self.reach.listed().nth(self.node)?;
        let mut listed = reach.listed();
        let node = listed.position(|(it, before)| before == proxies && same(it) == same(hub))?;
        drop(listed);
        Some(Self { reach, node })
    }
}

impl<D: PacketDevice> HostConnector<D> {
    /// Keeps the host connected, and looks after its hubs, until the host stops.
    pub(super) async fn run(self: Arc<Self>) {
        tokio::select! {
            () = self.keep_connected() => {}
            () = self.look_after() => {}
        }
    }

    /// Looks after the hubs in force, without end.
    async fn look_after(&self) {
        let mut changes = self.steering.in_force();
        loop {
            let reach = Arc::clone(&changes.borrow_and_update());
            tokio::select! {
                () = reach.hubs.look_after() => {}
                () = changed(&mut changes) => {}
            }
        }
    }

    /// Connects, forwards until the connection ends, and starts over, until the host stops. After each failure the next hub is
    /// tried.
    async fn keep_connected(&self) {
        let mut backoff = Backoff::default();
        let mut complaint = Complaint::default();
        let mut changes = self.steering.in_force();
        loop {
            let before = Arc::clone(&changes.borrow_and_update());
            tokio::select! {
                // What it puts in force itself is no change to start over for.
                biased;
                () = self.stop.cancelled() => return,
                () = self.ask(&before) => {}
                () = changed(&mut changes) => continue,
            }
            let reach = Arc::clone(&changes.borrow_and_update());
            if reach.hubs.nodes.is_empty() {
                let again = self.lacks_hub(&reach, &mut complaint);
                let again =
                    again.map(|setback| backoff.next(setback, Duration::ZERO, fastrand::u32(..)));
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = changed(&mut changes) => backoff = Backoff::default(),
                    () = sleep_for(again) => {}
                }
                continue;
            }
            let connected = tokio::select! {
                () = self.stop.cancelled() => return,
                // What is under way is given up: the hub may no longer be listed.
                () = changed(&mut changes) => continue,
                connected = self.connect(&reach) => connected,
            };
            let (node, connected) = connected;
            let mut place = SessionHub { reach, node };
            let (setback, held) = match connected {
                Ok((session, buffer)) => {
                    place.reach.hubs.choice.succeeded(node);
                    complaint = Complaint::default();
                    let last = self.forward(&mut place, session, buffer, &mut changes).await;
                    if self.stop.is_cancelled() {
                        return;
                    }
                    let Some(last) = last else {
                        backoff = Backoff::default();
                        continue;
                    };
                    backoff.spread_over(last.reply.get().map(|reply| reply.reconnect_window));
                    let setback = if last.was_refused() { Setback::Refused } else { Setback::Lost };
                    (setback, last.since.elapsed())
                }
                Err(error) => {
                    let hub = &place.target().config;
                    let setback = match error {
                        JoinError::Refused(_) => Setback::Refused,
                        _ => Setback::Unreachable,
                    };
                    if let JoinError::Connect(_) = error {
                        self.progress.unreachable(hub);
                    }
                    self.progress.failed(&hub.addr, error.to_string());
                    complaint.about(&self.service, hub, &error);
                    (setback, Duration::ZERO)
                }
            };
            let choice = &place.reach.hubs.choice;
            choice.failed(place.node);
            let fresh = choice.has_fresh();
            if fresh && setback == Setback::Unreachable {
                continue;
            }
            if !fresh {
                choice.begin_round();
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = changed(&mut changes) => backoff = Backoff::default(),
                () = tokio::time::sleep(backoff.next(setback, held, fastrand::u32(..))) => {}
            }
        }
    }

    /// Has plugins name the nodes of their hops, if there are any.
    async fn ask(&self, reach: &Arc<HubsInForce>) {
        let Introduction { name, source, .. } = &self.introduction;
        let question = NodeQuestion { host: name.clone(), source: *source };
        if let Err(error) = self.steering.ask(reach, &question).await {
            let (service, host) = (&self.service, name);
            warn!(service, %host, "the hub that a plugin names cannot be used: {error}");
        }
    }

    /// Says that there is no hub to connect to; as what the next attempt waits for it, or `None` if that is for other sources.
    fn lacks_hub(&self, reach: &HubsInForce, complaint: &mut Complaint) -> Option<Setback> {
        let (service, host) = (&self.service, &self.introduction.name);
        let Some(NoHub { plugin, reason, setback }) = &reach.lacking else {
            warn!(service, %host, "no hub is known yet: the sources of its hop have no node");
            return None;
        };
        self.progress.failed(plugin, reason.clone());
        if complaint.is_fresh(reason) {
            warn!(service, %host, plugin, "no hub is known: {reason}; trying again");
        }
        Some(*setback)
    }

    /// Connects to a hub and joins; which hub it was.
    async fn connect(
        &self,
        reach: &HubsInForce,
    ) -> (usize, Result<(Arc<Session>, FrameBuffer), JoinError>) {
        let dialled = Instant::now();
        let (node, connected) = reach.hubs.connect(reach.dial_timeout()).await;
        (node, self.join(&reach.hubs.nodes[node].config, connected, dialled).await)
    }

    async fn join(
        &self,
        hub: &HubNode,
        connected: Result<HubConnection, NoEndpoint>,
        dialled: Instant,
    ) -> Result<(Arc<Session>, FrameBuffer), JoinError> {
        let (session, buffer) =
            Session::join(connected?, hub, &self.introduction, &self.progress.sent).await?;
        self.progress.limit(&session);
        self.progress.connected(hub, dialled.elapsed());
        Ok((Arc::new(session), buffer))
    }

    /// Forwards until the session ends; returns it, or none if its hub is no longer listed. A session on a preferred endpoint
    /// takes over when that becomes reachable; the replaced session is read from for [`LINGER`], then ended. `place` follows the
    /// hubs in force.
    async fn forward(
        &self,
        place: &mut SessionHub,
        mut session: Arc<Session>,
        mut buffer: FrameBuffer,
        changes: &mut watch::Receiver<Arc<HubsInForce>>,
    ) -> Option<Arc<Session>> {
        let mut replaced = FuturesUnordered::<BoxFuture<'_, ()>>::new();
        loop {
            let reach = Arc::clone(&place.reach);
            let mut carrying =
                Box::pin(self.carry(reach, place.node, Arc::clone(&session), buffer));
            let (better, its_buffer) = 'carrying: loop {
                let (reach, node) = (Arc::clone(&place.reach), place.node);
                let joining = self.join_better(&reach, node, session.endpoint);
                tokio::pin!(joining);
                loop {
                    tokio::select! {
                        () = &mut carrying => {
                            if !self.stop.is_cancelled() {
                                self.lost(&place.target().config, &session);
                            }
                            return Some(session);
                        }
                        better = &mut joining => break 'carrying better,
                        Some(()) = replaced.next() => {}
                        () = changed(changes) => {
                            let next = Arc::clone(&changes.borrow_and_update());
                            let Some(moved) = place.moved_to(next) else {
                                let hub = &place.target().config.addr;
                                info!(
                                    service = self.service, host = %self.introduction.name, hub,
                                    "the hub is no longer listed: another one is joined"
                                );
                                session.link.end(EndReason::Shutdown);
                                carrying.await;
                                return None;
                            };
                            moved.reach.hubs.choice.succeeded(moved.node);
                            *place = moved;
                            break;
                        }
                    }
                }
            };
            let before = std::mem::replace(&mut session, better);
            buffer = its_buffer;
            replaced.push(Box::pin(async move {
                // Packets in flight on the old connection still arrive.
                if tokio::time::timeout(LINGER, &mut carrying).await.is_err() {
                    before.link.end(EndReason::Replaced);
                    carrying.await;
                }
            }));
        }
    }

    /// Says that a session has been lost.
    fn lost(&self, hub: &HubNode, session: &Session) {
        let cause = session.cause();
        let seconds = session.since.elapsed().as_secs();
        warn!(
            service = self.service, host = %self.introduction.name,
            hub = hub.addr, seconds, transport = session.transport.as_str(),
            "lost the hub: {cause}"
        );
        self.progress.failed(&hub.addr, cause);
    }

    /// Forwards packets on a session until it ends or the host stops.
    async fn carry(
        &self,
        reach: Arc<HubsInForce>,
        node: usize,
        session: Arc<Session>,
        buffer: FrameBuffer,
    ) {
        let hub = &reach.hubs.nodes[node];
        let active = ActiveSession::begin(&self.progress, hub, session);
        let session = &active.session;
        info!(
            service = self.service, host = %self.introduction.name, hub = hub.config.addr,
            namespace = %hub.config.namespace, transport = session.transport.as_str(),
            "joined the hub"
        );
        let (mut losses, wire) = (LossWatch::default(), session.wire.as_ref());
        let losing = async {
            match wire {
                Some(wire) => wire.loses_large(&mut losses).await,
                None => std::future::pending().await,
            }
        };
        // Read while the connection is still open.
        let mut segment_max = wire.and_then(Wire::segment_max).unwrap_or_default();
        tokio::select! {
            () = downlink::run(&*self.device, session, buffer, &self.progress.received) => {}
            () = losing => session.link.end(EndReason::LargeLost),
            () = self.stop.cancelled() => session.link.end(EndReason::Shutdown),
        }
        segment_max = wire.and_then(Wire::segment_max).unwrap_or(segment_max);
        self.learn(hub, session, &losses, segment_max);
        let farewell = session.link.farewell();
        drop(active);
        farewell.await;
    }

    /// Learns from the end of a session which segment sizes pass on the path to its hub.
    fn learn(&self, hub: &HubTarget, session: &Session, losses: &LossWatch, segment_max: u32) {
        let segments = &hub.endpoints.segments;
        let lowered = match session.link.end_reason() {
            Some(EndReason::LargeLost) => segments.lower(segment_max),
            Some(EndReason::PingTimeout) if session.wire.is_some() => {
                segments.ended(Some(losses.silence()), segment_max)
            }
            _ => segments.ended(None, segment_max),
        };
        if let Some(bytes) = lowered {
            warn!(
                service = self.service,
                hub = hub.config.addr,
                "packets with TCP segments of {segment_max} bytes are lost in silence on the path to the hub and small ones \
                 pass: connections to it use at most {bytes} for now; a router there has a smaller MTU, and ICMP is \
                 blocked; `mss` in the dialer's metadata sets this for good"
            );
        }
    }

    /// Joins the hub again when an endpoint that is preferred to the one in use becomes reachable.
    async fn join_better(
        &self,
        reach: &HubsInForce,
        node: usize,
        endpoint: usize,
    ) -> (Arc<Session>, FrameBuffer) {
        let hub = &reach.hubs.nodes[node];
        loop {
            let endpoints = &hub.endpoints;
            let better = endpoints
                .connect_better(endpoint, reach.hubs.context_of(node), reach.dial_timeout())
                .await;
            match Session::join(better, &hub.config, &self.introduction, &self.progress.sent).await
            {
                Ok((session, buffer)) => {
                    self.progress.limit(&session);
                    return (Arc::new(session), buffer);
                }
                Err(error) => {
                    let (service, hub) = (&self.service, &hub.config.addr);
                    debug!(
                        service,
                        hub, "a preferred endpoint is reachable, but joining failed: {error}"
                    );
                }
            }
        }
    }
}

/// Ready after this time, never if there is none.
async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Ready when the hubs in force have changed; never once the host is going.
async fn changed(changes: &mut watch::Receiver<Arc<HubsInForce>>) {
    if changes.changed().await.is_err() {
        std::future::pending().await
    }
}

/// The session that the host's packets go to. Dropping it, however its task ends, closes the session's link, and packets no
/// longer go there.
struct ActiveSession<'a> {
    progress: &'a HostProgress,
    session: Arc<Session>,
}

impl<'a> ActiveSession<'a> {
    fn begin(progress: &'a HostProgress, hub: &HubTarget, session: Arc<Session>) -> Self {
        progress.joined(&hub.config, &session);
        Self { progress, session }
    }
}

impl Drop for ActiveSession<'_> {
    fn drop(&mut self) {
        self.progress.left(&self.session);
        self.session.link.end(EndReason::Shutdown);
        self.session.link.close();
    }
}

/// Logs an error once, not at every attempt.
#[derive(Default)]
struct Complaint {
    last: Option<(String, Instant)>,
}

impl Complaint {
    fn about(&mut self, service: &str, hub: &HubNode, error: &JoinError) {
        let text = error.to_string();
        if self.is_fresh(&text) {
            warn!(
                service,
                hub = hub.addr,
                node = hub.name,
                "hub {}: {text}; trying again",
                hub.addr
            );
        }
    }

    /// Whether `text` is to be logged, as it is then.
    fn is_fresh(&mut self, text: &str) -> bool {
        let is_known =
            |(last, when): &(String, Instant)| last == text && when.elapsed() < REPEAT_AFTER;
        if self.last.as_ref().is_some_and(is_known) {
            return false;
        }
        self.last = Some((text.to_owned(), Instant::now()));
        true
    }
}

//! Keeps a host connected: tries hubs in turn, connects again after a loss, moves to a preferred endpoint when that is back,
//! and logs each failure once.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use rtun_core::{Backoff, LossWatch, Setback};
use rtun_proto::frame::FrameBuffer;
use rtun_settings::HubNode;
use rtun_system::tun::PacketDevice;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    downlink,
    progress::HostProgress,
    session::{Introduction, JoinError, Session},
};
use crate::{
    dial::{HubConnection, HubTarget, Hubs, NoEndpoint, Wire},
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
    pub(super) hubs: Hubs,
    pub(super) dial_timeout: Option<Duration>,
    pub(super) device: Arc<D>,
    pub(super) progress: Arc<HostProgress>,
    pub(super) stop: CancellationToken,
}

impl<D: PacketDevice> HostConnector<D> {
    /// Keeps the host connected, and looks after its hubs, until the host stops.
    pub(super) async fn run(self: Arc<Self>) {
        tokio::select! {
            () = self.keep_connected() => {}
            () = self.hubs.look_after() => {}
        }
    }

    /// Connects, forwards until the connection ends, and starts over, until the host stops. After each failure the next hub is
    /// tried.
    async fn keep_connected(&self) {
        let mut backoff = Backoff::default();
        let mut complaint = Complaint::default();
        loop {
            let Some((node, connected)) = self.stop.run_until_cancelled(self.connect()).await
            else {
                return;
            };
            let hub = &self.hubs.nodes[node];
            let (setback, held) = match connected {
                Ok((session, buffer)) => {
                    self.hubs.choice.succeeded(node);
                    complaint = Complaint::default();
                    let last = self.forward(node, session, buffer).await;
                    if self.stop.is_cancelled() {
                        return;
                    }
                    backoff.spread_over(last.reply.get().map(|reply| reply.reconnect_window));
                    let setback = if last.was_refused() { Setback::Refused } else { Setback::Lost };
                    (setback, last.since.elapsed())
                }
                Err(error) => {
                    let setback = match error {
                        JoinError::Refused(_) => Setback::Refused,
                        _ => Setback::Unreachable,
                    };
                    if let JoinError::Connect(_) = error {
                        self.progress.unreachable(&hub.config);
                    }
                    self.progress.failed(&hub.config, error.to_string());
                    complaint.about(&self.service, &hub.config, &error);
                    (setback, Duration::ZERO)
                }
            };
            self.hubs.choice.failed(node);
            let fresh = self.hubs.choice.has_fresh();
            if fresh && setback == Setback::Unreachable {
                continue;
            }
            if !fresh {
                self.hubs.choice.begin_round();
            }
            let pause = tokio::time::sleep(backoff.next(setback, held, fastrand::u32(..)));
            if self.stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Connects to a hub and joins; which hub it was.
    async fn connect(&self) -> (usize, Result<(Arc<Session>, FrameBuffer), JoinError>) {
        let dialled = Instant::now();
        let (node, connected) = self.hubs.connect(self.dial_timeout).await;
        (node, self.join(node, connected, dialled).await)
    }

    async fn join(
        &self,
        node: usize,
        connected: Result<HubConnection, NoEndpoint>,
        dialled: Instant,
    ) -> Result<(Arc<Session>, FrameBuffer), JoinError> {
        let hub = &self.hubs.nodes[node].config;
        let (session, buffer) =
            Session::join(connected?, hub, &self.introduction, &self.progress.sent).await?;
        self.progress.limit(&session);
        self.progress.connected(hub, dialled.elapsed());
        Ok((Arc::new(session), buffer))
    }

    /// Forwards until the session ends; returns it. A session on a preferred endpoint takes over when that becomes reachable; the
    /// replaced session is read from for [`LINGER`], then ended.
    async fn forward(
        &self,
        node: usize,
        mut session: Arc<Session>,
        mut buffer: FrameBuffer,
    ) -> Arc<Session> {
        let hub = &self.hubs.nodes[node];
        let mut replaced = FuturesUnordered::<BoxFuture<'_, ()>>::new();
        loop {
            let mut carrying = Box::pin(self.carry(hub, Arc::clone(&session), buffer));
            let joining = self.join_better(node, session.endpoint);
            tokio::pin!(joining);
            let (better, its_buffer) = loop {
                tokio::select! {
                    () = &mut carrying => {
                        if self.stop.is_cancelled() {
                            return session;
                        }
                        let cause = session.cause();
                        let seconds = session.since.elapsed().as_secs();
                        warn!(
                            service = self.service, host = %self.introduction.name,
                            hub = hub.config.addr, seconds, transport = session.transport.as_str(),
                            "lost the hub: {cause}"
                        );
                        self.progress.failed(&hub.config, cause);
                        return session;
                    }
                    better = &mut joining => break better,
                    Some(()) = replaced.next() => {}
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

    /// Forwards packets on a session until it ends or the host stops.
    async fn carry(&self, hub: &HubTarget, session: Arc<Session>, buffer: FrameBuffer) {
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
    async fn join_better(&self, node: usize, endpoint: usize) -> (Arc<Session>, FrameBuffer) {
        let hub = &self.hubs.nodes[node];
        loop {
            let endpoints = &hub.endpoints;
            let better = endpoints
                .connect_better(endpoint, self.hubs.context_of(node), self.dial_timeout)
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
        let fresh = self
            .last
            .as_ref()
            .is_none_or(|(last, when)| *last != text || when.elapsed() >= REPEAT_AFTER);
        if fresh {
            warn!(
                service,
                hub = hub.addr,
                node = hub.name,
                "hub {}: {text}; trying again",
                hub.addr
            );
            self.last = Some((text, Instant::now()));
        }
    }
}

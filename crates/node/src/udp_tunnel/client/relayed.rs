//! A client's stream to a relay: datagrams of the server and for it, each as a frame.
//!
//! The request goes with the first register, and nothing waits for the relay's answer: GOST's relay holds it back until the server
//! has sent something.

use std::{
    io, slice,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use rtun_core::LossWatch;
use rtun_proto::{
    frame::{FrameBuffer, Frames, write_frame},
    relay::{AddrFeature, Decoded, Request, Response, Status},
};
use rtun_settings::{HubNode, RelayChain};
use rtun_transport::names::Names;
use tokio::time::timeout;

use super::{
    super::{
        clock::{KeepaliveClock, until},
        delivery::DeviceBatch,
        session::ConnectionEnd,
    },
    registration::{ArrivedDatagrams, ClientRegistration},
};
use crate::{
    counters::Counters,
    dial::{HubConnection, HubTarget, Hubs, SetupError, Wire},
    link::{EndReason, Link, Receiver},
    report::RelayedReport,
    runtime::{budget::Budget, surroundings::Surroundings},
};

/// How long a new stream may take the request.
const ASKING: Duration = Duration::from_secs(5);

/// Bytes that the one queue of a stream may hold: enough that only the limit of the queue itself applies.
const QUEUE_BUDGET: usize = 256 * 1024 * 1024;

/// The number of the only sender of packets to a relay.
const ITSELF: u64 = 0;

/// How it goes through relays. Keeps no connection.
#[derive(Default)]
pub(super) struct RelayedState {
    /// The stream that packets are sent through, while there is one.
    pub(super) link: ArcSwapOption<Link>,
    /// What was sent through relays, and what their queues lost.
    pub(super) sent: Arc<Counters>,
    /// The last relay that was connected.
    pub(super) relay: ArcSwapOption<RelayedReport>,
}

/// The relays that lead to a client's servers.
pub(super) struct RelayPath {
    hubs: Hubs,
    dial_timeout: Option<Duration>,
}

impl RelayPath {
    pub(super) fn new(
        config: &RelayChain,
        service: &str,
        surroundings: &Surroundings,
        names: Arc<Names>,
    ) -> Result<Self, SetupError> {
        let RelayChain { relays, selector, proxies, dial_timeout } = config;
        let hubs = Hubs::new(relays, *selector, proxies, service, surroundings, names)?;
        Ok(Self { hubs, dial_timeout: *dial_timeout })
    }

    /// Probes the relays that are configured to be, without end.
    pub(super) async fn probe(&self) {
        self.hubs.probe().await;
    }

    /// Connects to a relay, and serves until the server or the relay counts as gone.
    pub(super) async fn serve(&self, client: &ClientRegistration, server: &str) -> ConnectionEnd {
        let Self { hubs, dial_timeout } = self;
        let node = hubs.choice.choose();
        let relay = &hubs.nodes[node];
        client.state.relayed.link.store(None);
        let end = match relay.endpoints.connect(hubs.dial_context(), *dial_timeout).await {
            Ok(connection) => self.serve_on(client, server, relay, connection).await,
            Err(error) => ConnectionEnd { why: error.to_string(), answered: false },
        };
        let why = format!("through the relay {}: {}", relay.config.addr, end.why);
        match end.answered {
            true => hubs.choice.succeeded(node),
            false => hubs.choice.failed(node),
        }
        if !hubs.choice.has_fresh() {
            hubs.choice.begin_round();
        }
        ConnectionEnd { why, ..end }
    }

    async fn serve_on(
        &self,
        client: &ClientRegistration,
        server: &str,
        relay: &HubTarget,
        connection: HubConnection,
    ) -> ConnectionEnd {
        let HubConnection { stream, transport, wire, .. } = connection;
        let state = &client.state;
        let mut clock = KeepaliveClock::new(client.keepalive);
        let mut register = Vec::new();
        let asked = async {
            write_frame(&client.register, &mut register).map_err(io::Error::other)?;
            let mut bytes = request(server, &relay.config).encode().map_err(io::Error::other)?;
            bytes.extend_from_slice(&register);
            stream.write_all(&bytes).await
        };
        if let Err(error) = timeout(ASKING, asked).await.unwrap_or_else(|late| Err(late.into())) {
            let why = format!("the request cannot be sent: {error}");
            return ConnectionEnd { why, answered: false };
        }
        clock.registers(Instant::now());
        let link = Link::new(stream, &Budget::new(QUEUE_BUDGET), Arc::clone(&state.relayed.sent));
        link.open();
        let link = Arc::new(link);
        state.relayed.link.store(Some(Arc::clone(&link)));
        let connected = RelayedReport { relay: relay.config.addr.clone(), transport };
        state.relayed.relay.store(Some(Arc::new(connected)));
        state.dialled.with(|story| {
            story.keepalives += 1;
            story.server = Some(server.to_owned());
        });
        let shared = RelayedStream {
            client,
            server,
            relay: &relay.config.addr,
            link: &link,
            clock: Mutex::new(clock),
            refused: OnceLock::new(),
        };
        let mut losses = LossWatch::default();
        let segment_max = wire.as_ref().and_then(Wire::segment_max).unwrap_or_default();
        let losing = async {
            match &wire {
                Some(wire) => wire.loses_large(&mut losses).await,
                None => std::future::pending().await,
            }
        };
        let mut downlink = RelayDownlink {
            shared: &shared,
            delivery: DeviceBatch::new(&*client.port),
            is_admitted: false,
        };
        let gone = tokio::select! {
            _ = link.run(&mut downlink, FrameBuffer::new()) => None,
            why = shared.keep_registered(&register) => Some(why),
            () = losing => {
                relay.endpoints.segments.lower(segment_max);
                Some("large packets are lost on the path to it".to_owned())
            }
        };
        link.end(EndReason::Shutdown);
        state.relayed.link.store(None);
        let why = gone.unwrap_or_else(|| shared.cause());
        let answered = shared.clock().answered;
        link.farewell().await;
        ConnectionEnd { why, answered }
    }
}

/// The request for a stream to `server`.
fn request(server: &str, relay: &HubNode) -> Request {
    let user = relay
        .auth
        .as_ref()
        .map(|auth| (auth.user.as_bytes().to_vec(), auth.password.expose().as_bytes().to_vec()));
    Request::datagrams_to(AddrFeature::from_text(server), user)
}

/// A stream that is served.
struct RelayedStream<'a> {
    client: &'a ClientRegistration,
    server: &'a str,
    relay: &'a str,
    link: &'a Link,
    clock: Mutex<KeepaliveClock>,
    /// Why the relay does not serve the client, if it does not.
    refused: OnceLock<String>,
}

impl RelayedStream<'_> {
    /// Registers when that is due; returns why the server counts as gone.
    async fn keep_registered(&self, register: &[u8]) -> String {
        loop {
            let next = {
                let mut clock = self.clock();
                let now = Instant::now();
                if let Some(why) = clock.is_over(now) {
                    return why;
                }
                if clock.is_due(now) {
                    clock.registers(now);
                    self.client.state.dialled.with(|story| story.keepalives += 1);
                    // One that does not go is one that is lost.
                    self.link.send_answer(register);
                }
                clock.next()
            };
            until(next).await;
        }
    }

    /// Why the stream has ended.
    fn cause(&self) -> String {
        if let Some(why) = self.refused.get() {
            return why.clone();
        }
        match (self.link.end_reason(), self.link.end_error()) {
            (Some(EndReason::PeerClosed), _) => "it closed the connection".to_owned(),
            (_, Some(error)) => error.to_string(),
            (reason, None) => reason.map_or("stopped", EndReason::as_str).to_owned(),
        }
    }

    /// A poisoned lock still guards a usable clock: each change is a few assignments.
    fn clock(&self) -> MutexGuard<'_, KeepaliveClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a relay sends: its answer, then datagrams of the server.
struct RelayDownlink<'a> {
    shared: &'a RelayedStream<'a>,
    delivery: DeviceBatch,
    is_admitted: bool,
}

impl Receiver for RelayDownlink<'_> {
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut start = 0;
        if !self.is_admitted {
            match self.answer(bytes) {
                Ok(Some(len)) => start = len,
                Ok(None) => return 0,
                Err(why) => {
                    let _ = self.shared.refused.set(why);
                    self.shared.link.end(EndReason::PeerClosed);
                    return bytes.len();
                }
            }
        }
        start + self.deliver(&bytes[start..])
    }

    fn asks_after(&self) -> Option<Duration> {
        None
    }
}

impl RelayDownlink<'_> {
    /// The length of the relay's answer once it is whole; the error says why it does not serve.
    fn answer(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        match Response::decode(bytes) {
            Ok(Decoded::Incomplete { .. }) => Ok(None),
            Ok(Decoded::Complete { value: Response { status: Status::Ok, .. }, len }) => {
                self.is_admitted = true;
                Ok(Some(len))
            }
            Ok(Decoded::Complete { value, .. }) => {
                Err(format!("refused: {}", explain(value.status)))
            }
            Err(error) => Err(format!("answered something else than the relay protocol: {error}")),
        }
    }

    /// Hands the packets of whole frames to the device; returns how many bytes they were.
    fn deliver(&mut self, bytes: &[u8]) -> usize {
        let Self { shared, delivery, .. } = self;
        let RelayedStream { client, server, relay, .. } = shared;
        let mut arrived = ArrivedDatagrams::default();
        let mut frames = Frames::new(bytes);
        let mut any = false;
        for frame in frames.by_ref() {
            any = true;
            let start = frame.range.end - frame.payload.len();
            client.sort(frame.payload, start, delivery, &mut arrived);
        }
        if any {
            let answered = client.note(server, relay, &arrived);
            client.state.dialled.heard(answered);
            let mut clock = shared.clock();
            clock.hears(Instant::now());
            if answered {
                clock.is_answered();
            }
        }
        delivery.deliver(bytes, &*client.port, &client.state.received);
        frames.consumed()
    }
}

fn explain(status: Status) -> String {
    let hint = match status {
        Status::Unauthorized => "the user or the password of the relay",
        Status::Forbidden => "the relay does not lead to this server",
        Status::HostUnreachable => "the server is not there",
        _ => return status.to_string(),
    };
    format!("{status} ({hint})")
}

/// Sends the frames of packets to the relay; what its stream does not take waits in a queue, or is lost and counted there.
pub(super) fn send_frames(link: &Link, frames: &[u8]) {
    link.send(ITSELF, frames, slice::from_ref(&(0..frames.len())));
}

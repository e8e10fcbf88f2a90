//! One client of a relay: datagrams from its stream to a server, and back.
//!
//! Towards the client they wait in the queue of its link, which is bounded and counts what it loses. Towards the server nothing
//! waits: the socket takes a datagram at once, or it is lost.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtun_core::{DropReason, udp_tunnel::DatagramDrop};
use rtun_proto::{
    frame::{FrameBuffer, Frames, MAX_FRAME, write_frame},
    frame_content::FrameContent,
    udp_tunnel::looks_like_message,
};
use rtun_transport::udp::{DatagramSocket, MAX_DATAGRAM, ReceivedDatagrams};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        counters::{DatagramCounters, with_relayed},
        gather::{DatagramDestination, SendBatch},
    },
    limiters::{ClientShapers, RelayLimiters},
    rules::RelayIdentity,
};
use crate::{
    counters::{Counters, Happened, Tally},
    link::{EndReason, Link, ReadTurns, Receiver},
    report::{DatagramTraffic, Queued, RelayedClientReport, Transport},
    runtime::budget::Budget,
};

/// The most clients of one relay; each has a UDP socket.
pub(super) const MAX_RELAYED: usize = 4096;

/// Bytes that the queues of all clients of a relay may hold together.
const QUEUE_BUDGET: usize = 256 * 1024 * 1024;

/// The number of the only sender of packets to a client: its server.
const SERVER: u64 = 0;

/// A client that has been quiet for this long gives its receive buffer back.
const QUIET: Duration = Duration::from_secs(1);

/// After an error of the socket, which is a hint, so that one that lasts takes no time of others.
const PAUSE_ON_ERROR: Duration = Duration::from_millis(10);

/// A client that is connected.
pub(super) struct RelayedClient {
    pub(super) identity: RelayIdentity,
    pub(super) transport: Transport,
    /// Where the server sees it.
    pub(super) local: SocketAddr,
    pub(super) since: Instant,
    pub(super) link: Arc<Link>,
    /// What its link counts.
    pub(super) sent: Arc<Counters>,
    pub(super) received: Arc<DatagramCounters>,
    /// What it has sent and limits or quotas have lost.
    pub(super) limited: Arc<Counters>,
    /// What its traffic has to keep to, from its beginning on.
    pub(super) shapers: Mutex<Option<ClientShapers>>,
}

/// The clients of a relay, and the counts of those that have left.
pub(super) struct RelayClients {
    state: Mutex<RelayClientsState>,
    budget: Arc<Budget>,
    ended: Tally,
}

#[derive(Default)]
struct RelayClientsState {
    next: u64,
    clients: BTreeMap<u64, Arc<RelayedClient>>,
    sent: DatagramTraffic,
    received: DatagramTraffic,
}

/// What a report says about them.
pub(super) struct RelayedReports {
    pub(super) clients: Vec<RelayedClientReport>,
    pub(super) sent: DatagramTraffic,
    pub(super) received: DatagramTraffic,
    pub(super) ended: BTreeMap<String, Happened>,
}

impl Default for RelayClients {
    fn default() -> Self {
        let (state, ended) = (Mutex::default(), Tally::default());
        Self { state, budget: Budget::new(QUEUE_BUDGET), ended }
    }
}

impl RelayClients {
    pub(super) fn len(&self) -> usize {
        self.state().clients.len()
    }

    /// Bounds the memory of their queues.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// All keep to the limits in force from now on, also those that [begin](Relayed::begin) meanwhile.
    pub(super) fn limit(&self, limiters: &RelayLimiters) {
        self.state().clients.values().for_each(|client| client.limit(limiters));
    }

    /// Disconnects the others.
    pub(super) fn keep_only(&self, stays: impl Fn(&RelayIdentity) -> bool) {
        for client in self.state().clients.values().filter(|client| !stays(&client.identity)) {
            client.link.end(EndReason::Revoked);
        }
    }

    pub(super) fn report(&self) -> RelayedReports {
        let state = self.state();
        let (mut sent, mut received) = (state.sent.clone(), state.received.clone());
        let mut clients = Vec::with_capacity(state.clients.len());
        for client in state.clients.values() {
            let report = client.report();
            sent += &report.sent;
            received += &report.received;
            clients.push(report);
        }
        RelayedReports { clients, sent, received, ended: self.ended.read() }
    }

    /// The state of a poisoned lock is consistent: each change is a few assignments.
    fn state(&self) -> MutexGuard<'_, RelayClientsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RelayedClient {
    /// From now on it keeps to the limits in force.
    fn limit(&self, limiters: &RelayLimiters) {
        let shapers = limiters.shapers(self.identity.peer);
        let (input, output) = shapers.sets();
        self.link.limit(input, output, &self.limited);
        *self.shapers() = Some(shapers);
    }

    /// What a poisoned lock guards is whole: it is only replaced.
    fn shapers(&self) -> MutexGuard<'_, Option<ClientShapers>> {
        self.shapers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> RelayedClientReport {
        let (packets, bytes) = self.link.queued();
        let sent = self.sent.read();
        RelayedClientReport {
            peer: self.identity.peer,
            transport: self.transport,
            target: self.identity.target,
            outer: self.local,
            connected: self.since.elapsed(),
            queued: Queued { packets, bytes: bytes as u64 },
            sent: with_relayed(
                DatagramTraffic {
                    packets_in: sent.packets_in,
                    bytes_in: sent.bytes_in,
                    ..DatagramTraffic::default()
                },
                &sent,
            ),
            received: {
                let (mut received, limited) = (self.received.read(), self.limited.read());
                received.packets_in += limited.packets_in;
                received.bytes_in += limited.bytes_in;
                with_relayed(received, &limited)
            },
            limits: self.shapers().as_ref().map(ClientShapers::report).unwrap_or_default(),
        }
    }
}

/// A client while it is served; dropped, it is no longer listed, and its counts stay.
pub(super) struct Relayed {
    clients: Arc<RelayClients>,
    id: u64,
    pub(super) client: Arc<RelayedClient>,
    socket: DatagramSocket,
}

impl Relayed {
    pub(super) fn begin(
        clients: &Arc<RelayClients>,
        client: RelayedClient,
        socket: DatagramSocket,
        limiters: &RelayLimiters,
    ) -> Self {
        let client = Arc::new(client);
        let mut state = clients.state();
        client.limit(limiters);
        let id = state.next;
        state.next += 1;
        state.clients.insert(id, Arc::clone(&client));
        drop(state);
        Self { clients: Arc::clone(clients), id, client, socket }
    }

    /// Moves datagrams until the client leaves or the relay stops.
    pub(super) async fn run(&self, buffer: FrameBuffer, stop: &CancellationToken) {
        let RelayedClient { link, received, identity, .. } = &*self.client;
        link.open();
        let destination = DatagramDestination { to: identity.target, local: None };
        let mut uplink = ToServer {
            socket: &self.socket,
            destination,
            batch: SendBatch::new(MAX_FRAME),
            counters: received,
        };
        tokio::select! {
            _ = link.run(&mut uplink, buffer) => {}
            () = self.serve_client() => {}
            () = stop.cancelled() => link.end(EndReason::Shutdown),
        }
    }

    /// Moves datagrams of the server to the client, without end.
    async fn serve_client(&self) {
        let RelayedClient { link, sent, identity, .. } = &*self.client;
        let mut received: Option<ReceivedDatagrams> = None;
        let mut frames = Vec::new();
        let mut turns = ReadTurns::default();
        loop {
            let ready = match &received {
                None => self.socket.readable().await,
                Some(_) => match timeout(QUIET, self.socket.readable()).await {
                    Ok(ready) => ready,
                    Err(_) => {
                        (received, frames) = (None, Vec::new());
                        continue;
                    }
                },
            };
            let into = received.get_or_insert_default();
            match ready.and_then(|()| self.socket.try_receive(into)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => {
                    sleep(PAUSE_ON_ERROR).await;
                    continue;
                }
            }
            frames.clear();
            for run in into.runs() {
                for at in run.datagrams() {
                    let datagram = &into.buffer()[at];
                    match identity.content {
                        FrameContent::Packets => send_packet(datagram, link, &mut frames, sent),
                        FrameContent::Ethernet => send_ethernet(datagram, &mut frames, sent),
                    }
                }
            }
            if !frames.is_empty() {
                link.send(SERVER, &frames, slice::from_ref(&(0..frames.len())));
            }
            turns.after_read().await;
        }
    }
}

/// Frames one datagram of the server of an Ethernet tunnel.
fn send_ethernet(datagram: &[u8], frames: &mut Vec<u8>, counters: &Counters) {
    counters.count_in(1, datagram.len() as u64);
    if write_frame(datagram, frames).is_err() {
        counters.count_drop(DropReason::FrameMalformed);
    }
}

/// Frames one datagram of the server of a UDP tunnel. A reply to a register goes at once, before packets that wait.
fn send_packet(datagram: &[u8], link: &Link, frames: &mut Vec<u8>, counters: &Counters) {
    // Nothing else is a packet or a message, and to the queue of the link it could mean something else.
    if !matches!(datagram.first().map(|first| first >> 4), Some(4 | 6)) {
        counters.count_in(1, datagram.len() as u64);
        counters.count_drop(DropReason::IpVersion);
        return;
    }
    if looks_like_message(datagram) {
        let mut frame = Vec::new();
        if write_frame(datagram, &mut frame).is_ok() {
            link.send_answer(&frame);
        }
        return;
    }
    if write_frame(datagram, frames).is_ok() {
        counters.count_in(1, datagram.len() as u64);
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        self.client.link.end(EndReason::Shutdown);
        self.client.link.close();
        let report = self.client.report();
        let reason = self.client.link.end_reason().unwrap_or(EndReason::Shutdown);
        self.clients.ended.count(reason.as_str());
        let mut state = self.clients.state();
        state.clients.remove(&self.id);
        state.sent += &report.sent;
        state.received += &report.received;
    }
}

/// Datagrams from a client's stream to its server.
struct ToServer<'a> {
    socket: &'a DatagramSocket,
    destination: DatagramDestination,
    batch: SendBatch,
    counters: &'a DatagramCounters,
}

impl Receiver for ToServer<'_> {
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut frames = Frames::new(bytes);
        let (mut datagrams, mut payloads) = (0, 0);
        self.batch.begin();
        for frame in frames.by_ref() {
            let datagram = frame.payload;
            datagrams += 1;
            payloads += datagram.len() as u64;
            match datagram.len() {
                0 => self.counters.lose(DatagramDrop::Malformed, 1, None, datagram),
                1..=MAX_DATAGRAM => {
                    self.batch.push_datagram(self.destination, datagram);
                    if self.batch.is_full() {
                        self.send();
                    }
                }
                _ => self.counters.lose(DatagramDrop::TooBig, 1, None, datagram),
            }
        }
        self.send();
        self.counters.count_in(datagrams, payloads);
        frames.consumed()
    }

    fn asks_after(&self) -> Option<Duration> {
        None
    }
}

impl ToServer<'_> {
    fn send(&mut self) {
        self.batch.outgoings.send_now(self.batch.filled(), self.socket, self.counters);
        self.batch.begin();
    }
}

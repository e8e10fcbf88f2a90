//! One live host connection: its socket, its way out, its counters, and how it ends.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    ops::Range,
    sync::{Arc, OnceLock, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use rtun_core::{Admitted, AnswerLimit, DropReason, HostName, Identity};
use rtun_net::transport::Stream;
use rtun_proto::{
    extension::{self, Extension, GoAway, RefusalNotice, RefusalReason},
    frame::{FrameBuffer, GOST_HOST_MAX_FRAME, LEN_PREFIX, write_frame},
};
use tokio_util::sync::CancellationToken;

use super::{forward::Forwarder, namespace::Namespace};
use crate::{
    budget::Budget,
    counters::Counters,
    outbox::Outbox,
    reading::{Beside, HUB_ASKS_EVERY, Silence, Turns, readable},
    report::Transport,
};

/// How long a host that is told to go away may take to be back: the hub's restart is what most often follows.
const GO_AWAY_WITHIN: Duration = Duration::from_secs(1);

/// A host that has been admitted.
pub(super) struct Association {
    /// Unique within the process.
    pub(super) id: u64,
    pub(super) host: HostName,
    pub(super) namespace: Arc<Namespace>,
    /// Who it has proven to be, if users are required.
    pub(super) identity: Option<Identity>,
    pub(super) peer: SocketAddr,
    pub(super) transport: Transport,
    /// The address of its device, as it says.
    pub(super) address: Option<IpAddr>,
    pub(super) since: Instant,
    /// Outlive it as long as somebody may count for it.
    pub(super) counters: Arc<Counters>,
    pub(super) outbox: Outbox,
    /// What it has said of itself, if it is an rtun host.
    pub(super) greeting: OnceLock<Greeting>,
    /// How often its packets that go nowhere are answered.
    pub(super) answers: AnswerLimit,
    /// How many hosts the hub has.
    pub(super) population: Arc<AtomicUsize>,
    ended: CancellationToken,
    end: OnceLock<EndReason>,
}

/// What all associations of a hub have in common.
pub(super) struct Commons {
    /// Of the memory their queues may hold.
    pub(super) budget: Arc<Budget>,
    /// How many there are.
    pub(super) population: Arc<AtomicUsize>,
}

/// A connection whose host wants to join.
pub(super) struct Arrival {
    pub(super) peer: SocketAddr,
    pub(super) transport: Transport,
    /// The address of its device, as it says.
    pub(super) address: Option<IpAddr>,
    /// Writable and unused.
    pub(super) stream: Arc<dyn Stream>,
}

/// What an rtun host has said of itself.
pub(super) struct Greeting {
    /// Tells a run of the program from others of the same name.
    pub(super) instance: [u8; 16],
    /// Of its device, in bytes.
    pub(super) mtu: u16,
    /// Whether it takes super-frames and may send them.
    pub(super) super_frames: bool,
    /// Name and version of the program.
    pub(super) software: String,
}

/// Why an association ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndReason {
    /// The host closed the connection.
    PeerClosed,
    /// The connection was reset.
    PeerReset,
    /// The host or the network in between is gone.
    UserTimeout,
    /// An rtun host was silent for too long.
    PingTimeout,
    /// The socket took nothing while packets waited.
    WriteStalled,
    /// Too many newer connections of the same name.
    Replaced,
    /// The rules no longer allow it.
    Revoked,
    /// The hub stops.
    Shutdown,
}

impl EndReason {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::PeerReset => "peer_reset",
            Self::UserTimeout => "user_timeout",
            Self::PingTimeout => "ping_timeout",
            Self::WriteStalled => "write_stalled",
            Self::Replaced => "replaced",
            Self::Revoked => "revoked",
            Self::Shutdown => "shutdown",
        }
    }

    /// The kernel reports a timeout of its own as an error with a code; without one it is ours.
    fn from_read(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut if error.raw_os_error().is_none() => Self::PingTimeout,
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable => Self::UserTimeout,
            _ => Self::PeerReset,
        }
    }

    fn from_write(error: &io::Error) -> Self {
        match Self::from_read(error) {
            Self::PingTimeout => Self::WriteStalled,
            reason => reason,
        }
    }

    /// What an rtun host is told before the connection is closed.
    fn notice(self) -> Option<Extension<'static>> {
        let refusal = |reason, text: &str| {
            Some(Extension::Refusal(RefusalNotice { reason, text: text.into() }))
        };
        match self {
            Self::Shutdown => Some(Extension::GoAway(GoAway { within: GO_AWAY_WITHIN })),
            Self::Revoked => {
                refusal(RefusalReason::Revoked, "the hub's rules no longer admit this host here")
            }
            Self::Replaced => {
                refusal(RefusalReason::Replaced, "newer connections report the same host name")
            }
            Self::PeerClosed
            | Self::PeerReset
            | Self::UserTimeout
            | Self::PingTimeout
            | Self::WriteStalled => None,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Association {
    pub(super) fn new(
        id: u64,
        admitted: Admitted,
        namespace: Arc<Namespace>,
        arrival: Arrival,
        commons: &Commons,
    ) -> Self {
        let Arrival { peer, transport, address, stream } = arrival;
        let Admitted { host, identity } = admitted;
        let now = Instant::now();
        Self {
            id,
            host,
            namespace,
            identity,
            peer,
            transport,
            address,
            since: now,
            counters: Arc::default(),
            outbox: Outbox::new(stream, &commons.budget),
            greeting: OnceLock::new(),
            answers: AnswerLimit::new(now),
            population: Arc::clone(&commons.population),
            ended: CancellationToken::new(),
            end: OnceLock::new(),
        }
    }

    /// Tells the host that it is admitted, then lets packets through. The socket must be writable and unused.
    pub(super) fn welcome(&self, response: &[u8]) -> io::Result<()> {
        let stream = self.outbox.stream().ok_or(io::ErrorKind::NotConnected)?;
        if stream.try_write(response)? < response.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.outbox.open();
        Ok(())
    }

    /// Hands the whole frames at these places of `bytes`, which the association of number `from` sent, to this host without
    /// ever waiting for it.
    pub(super) fn send(&self, from: u64, bytes: &[u8], places: &[Range<usize>]) {
        if let Err(error) = self.outbox.send(from, bytes, places, &self.counters) {
            self.end(EndReason::from_write(&error));
        }
    }

    /// Sends a frame of the extension, to an rtun host only.
    pub(super) fn send_control(&self, frame: &Extension<'_>) {
        let mut bytes = Vec::new();
        frame.write_frame(&mut bytes).expect("the hub's own frames keep to the limits");
        self.send_frame(&bytes);
    }

    /// The same, made already.
    pub(super) fn send_frame(&self, frame: &[u8]) {
        if let Err(error) = self.outbox.send_control(frame) {
            self.end(EndReason::from_write(&error));
        }
    }

    /// Sends a packet that the hub has made; false when it did not.
    pub(super) fn send_answer(&self, packet: &[u8]) -> bool {
        let mut frame = Vec::with_capacity(LEN_PREFIX + packet.len());
        if write_frame(packet, &mut frame).is_err() {
            return false;
        }
        match self.outbox.send_answer(&frame) {
            Ok(sent) => sent,
            Err(error) => {
                self.end(EndReason::from_write(&error));
                false
            }
        }
    }

    /// The user it has proven to be, if users are required.
    pub(super) fn user(&self) -> Option<&[u8]> {
        self.identity.as_ref().map(|identity| &*identity.user)
    }

    /// Whether super-frames may go to this host and come from it.
    pub(super) fn super_frames(&self) -> bool {
        self.greeting.get().is_some_and(|greeting| greeting.super_frames)
    }

    /// The longest packet that may go to this host, and the MTU of its device if it has said that, in bytes.
    pub(super) fn takes(&self) -> (usize, Option<u16>) {
        match self.greeting.get() {
            Some(greeting) => (usize::MAX, Some(greeting.mtu)),
            None => (GOST_HOST_MAX_FRAME, None),
        }
    }

    /// Counts packets of this host that go nowhere.
    pub(super) fn drop_packets(&self, reason: DropReason, packets: u64) {
        self.counters.count_drops(reason, packets);
    }

    /// Ends the association; the first reason counts.
    pub(super) fn end(&self, reason: EndReason) {
        if self.end.set(reason).is_ok() {
            self.ended.cancel();
        }
    }

    /// Forwards what the host sends, and sends what is queued for it, until it ends; the socket is closed then.
    /// `buffer` holds what arrived behind the host's request.
    pub(super) async fn run(self: &Arc<Self>, buffer: FrameBuffer) -> EndReason {
        if let Some(stream) = self.outbox.stream() {
            let (writer, its_stream) = (Arc::clone(self), Arc::clone(&stream));
            let writer = tokio::spawn(async move {
                let error = writer.outbox.drain(&*its_stream, &writer.counters).await;
                writer.end(EndReason::from_write(&error));
            });
            tokio::select! {
                () = self.ended.cancelled() => {}
                reason = self.read(&*stream, buffer) => self.end(reason),
            }
            writer.abort();
            // Cancelled or done: either way it has let go of the socket.
            let _ = writer.await;
        }
        let reason = self.end.get().copied().unwrap_or(EndReason::Shutdown);
        if let Some(notice) = reason.notice()
            && self.greeting.get().is_some()
        {
            self.send_control(&notice);
        }
        self.outbox.close(&self.counters);
        reason
    }

    async fn read(self: &Arc<Self>, stream: &dyn Stream, mut buffer: FrameBuffer) -> EndReason {
        let mut forwarder = Forwarder::new(Arc::clone(self));
        let consumed = forwarder.forward(buffer.filled());
        buffer.consume(consumed);
        let mut turns = Turns::default();
        let mut beside = Beside::default();
        let has_datagrams = stream.datagrams().is_some();
        loop {
            let ask = || self.send_control(&Extension::Ping([0; 8]));
            let silence = match self.greeting.get() {
                Some(_) => Silence::Broken(HUB_ASKS_EVERY, &ask),
                None => Silence::Normal,
            };
            let quiet = || forwarder.rest();
            let arrived = tokio::select! {
                biased;
                ready = readable(stream, &mut buffer, silence, quiet) => ready.map(|()| None),
                frames = beside.recv(stream), if has_datagrams => frames.map(Some),
            };
            match arrived {
                Ok(None) => {}
                Ok(Some(frames)) => {
                    forwarder.forward(frames);
                    turns.after_read().await;
                    continue;
                }
                Err(error) => return EndReason::from_read(&error),
            }
            match stream.try_read(buffer.space()) {
                Ok(0) => return EndReason::PeerClosed,
                Ok(n) => {
                    buffer.advance(n);
                    let consumed = forwarder.forward(buffer.filled());
                    buffer.consume(consumed);
                    turns.after_read().await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return EndReason::from_read(&error),
            }
        }
    }
}

/// A packet that waits for a plugin's answer.
pub(super) struct Parked {
    pub(super) from: Arc<Association>,
    /// As in a frame: a packet or a super-frame.
    pub(super) payload: Box<[u8]>,
}

impl Parked {
    /// The answer is known: decide again.
    pub(super) fn go_on(self) {
        Forwarder::new(Arc::clone(&self.from)).forward_one(&self.payload);
    }

    /// There is no answer.
    pub(super) fn give_up(self) {
        self.from.drop_packets(DropReason::RoutePendingTimeout, self.packets() as u64);
    }

    /// How many packets it stands for.
    pub(super) fn packets(&self) -> usize {
        extension::packets(&self.payload)
    }
}

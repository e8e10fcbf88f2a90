//! One live host connection: its socket, its way out, its counters, and how it ends.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Instant,
};

use rtun_core::{DropReason, HostName, QueueLimits};
use rtun_proto::frame::FrameBuffer;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{forward::Forwarder, namespace::Namespace, outbox::Outbox};
use crate::{counters::Counters, reading::readable};

/// A host that has been admitted.
pub(super) struct Association {
    /// Unique within the process.
    pub(super) id: u64,
    pub(super) host: HostName,
    pub(super) namespace: Arc<Namespace>,
    /// Who it has proven to be.
    pub(super) user: Option<Box<[u8]>>,
    pub(super) peer: SocketAddr,
    pub(super) since: Instant,
    pub(super) counters: Counters,
    pub(super) outbox: Outbox,
    ended: CancellationToken,
    end: OnceLock<EndReason>,
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
            Self::WriteStalled => "write_stalled",
            Self::Replaced => "replaced",
            Self::Revoked => "revoked",
            Self::Shutdown => "shutdown",
        }
    }

    fn from_read(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable => Self::UserTimeout,
            _ => Self::PeerReset,
        }
    }

    /// The kernel reports a timeout of its own as an error with a code; without one it is ours.
    fn from_write(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut if error.raw_os_error().is_none() => Self::WriteStalled,
            _ => Self::from_read(error),
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
        host: HostName,
        namespace: Arc<Namespace>,
        user: Option<Box<[u8]>>,
        peer: SocketAddr,
        stream: TcpStream,
    ) -> Self {
        Self {
            id,
            host,
            namespace,
            user,
            peer,
            since: Instant::now(),
            counters: Counters::default(),
            outbox: Outbox::new(Arc::new(stream), QueueLimits::default()),
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

    /// Hands whole frames to this host without ever waiting for it.
    pub(super) fn send(&self, run: &[u8]) {
        if let Err(error) = self.outbox.send(run, &self.counters) {
            self.end(EndReason::from_write(&error));
        }
    }

    /// Counts a packet of this host that goes nowhere.
    pub(super) fn drop_packet(&self, reason: DropReason) {
        self.counters.count_drop(reason);
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
                let error = writer.outbox.drain(&its_stream, &writer.counters).await;
                writer.end(EndReason::from_write(&error));
            });
            tokio::select! {
                () = self.ended.cancelled() => {}
                reason = self.read(&stream, buffer) => self.end(reason),
            }
            writer.abort();
            // Cancelled or done: either way it has let go of the socket.
            let _ = writer.await;
        }
        self.outbox.close(&self.counters);
        self.end.get().copied().unwrap_or(EndReason::Shutdown)
    }

    async fn read(self: &Arc<Self>, stream: &TcpStream, mut buffer: FrameBuffer) -> EndReason {
        let mut forwarder = Forwarder::new(Arc::clone(self));
        let consumed = forwarder.forward(buffer.filled());
        buffer.consume(consumed);
        loop {
            if let Err(error) = readable(stream, &mut buffer).await {
                return EndReason::from_read(&error);
            }
            match stream.try_read(buffer.space()) {
                Ok(0) => return EndReason::PeerClosed,
                Ok(n) => {
                    buffer.advance(n);
                    let consumed = forwarder.forward(buffer.filled());
                    buffer.consume(consumed);
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
    pub(super) packet: Box<[u8]>,
}

impl Parked {
    /// The answer is known: decide again.
    pub(super) fn go_on(self) {
        Forwarder::new(Arc::clone(&self.from)).forward_one(&self.packet);
    }

    /// There is no answer.
    pub(super) fn give_up(self) {
        self.from.drop_packet(DropReason::RoutePendingTimeout);
    }
}

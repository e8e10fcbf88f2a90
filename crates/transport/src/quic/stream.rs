//! A QUIC stream as a [`Stream`].

use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream, StoppedError, VarInt, WriteError};
use tokio::task::coop;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    datagrams::QuicDatagrams,
    error::ended,
    flow::QuicFlow,
    readiness::Readiness,
    settings::{SEND_WINDOW_MAX, SEND_WINDOW_MIN},
    socket::canonical,
};
use crate::{Datagrams, Stream};

/// What connections and streams of this protocol end with.
pub(super) const NO_ERROR: VarInt = VarInt::from_u32(0);

/// Bytes gathered from pieces in one go.
const GATHER_MAX: usize = 64 * 1024;

/// One end of a stream. The one that [`connect`](super::connect) makes owns its connection; others are gone with theirs.
pub struct QuicStream {
    connection: quinn::Connection,
    flow: Arc<QuicFlow>,
    writing: Mutex<Writing>,
    reading: Mutex<Reading>,
    datagrams: Option<QuicDatagrams>,
    owner: Owner,
}

/// Whose the connection of a stream is.
pub(super) enum Owner {
    /// The stream's.
    Stream,
    /// The [`QuicConnection`](super::QuicConnection)'s, which waits for the streams that have this.
    Connection { _held: TaskTrackerToken },
}

/// The other side's having all that was written, or its wanting no more.
type Delivered = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send>>;

struct Writing {
    stream: SendStream,
    readiness: Readiness,
    /// Bytes that quinn holds at most: what is on its way and what waits for that.
    window: u64,
    /// The own direction has ended, and this is still to come.
    delivered: Option<Delivered>,
    ended: bool,
}

struct Reading {
    stream: RecvStream,
    readiness: Readiness,
    /// The other side has abandoned its direction with this code.
    abandoned: Option<VarInt>,
}

impl QuicStream {
    pub(super) fn new(
        connection: quinn::Connection,
        flow: Arc<QuicFlow>,
        (send, recv): (SendStream, RecvStream),
        datagrams: Option<QuicDatagrams>,
        owner: Owner,
    ) -> Self {
        let writing = Writing {
            stream: send,
            readiness: Readiness::new(),
            window: SEND_WINDOW_MIN,
            delivered: None,
            ended: false,
        };
        let reading = Reading { stream: recv, readiness: Readiness::new(), abandoned: None };
        Self {
            connection,
            flow,
            writing: Mutex::new(writing),
            reading: Mutex::new(reading),
            datagrams,
            owner,
        }
    }

    /// Lets quinn hold what may be on its way and a quarter more, so that it never runs dry, and little waits where rtun
    /// cannot drop it.
    fn adapt(&self, window: &mut u64) {
        let wanted = self.flow.window();
        let wanted = (wanted + wanted / 4).clamp(SEND_WINDOW_MIN, SEND_WINDOW_MAX);
        // Small changes are not worth the lock.
        if wanted.abs_diff(*window) > *window / 8 {
            self.connection.set_send_window(wanted);
            *window = wanted;
        }
    }

    /// Where the other side is now; it may move.
    pub fn remote(&self) -> SocketAddr {
        canonical(self.connection.remote_address())
    }

    /// A poisoned lock still guards whole bytes: quinn's calls take them or do not.
    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for QuicStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let budget = ready!(coop::poll_proceed(cx));
        ready!(self.reading().readiness.poll(cx));
        budget.made_progress();
        Poll::Ready(Ok(()))
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut reading = self.reading();
        let Reading { stream, readiness, abandoned } = &mut *reading;
        if let Some(code) = *abandoned {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, ReadError::Reset(code)));
        }
        match readiness.attempt(|cx| stream.poll_read(cx, into)) {
            Some(Ok(read)) => Ok(read),
            Some(Err(ReadError::ConnectionLost(error))) => Err(ended(error)),
            Some(Err(error)) => {
                if let ReadError::Reset(code) = error {
                    *abandoned = Some(code);
                }
                Err(error.into())
            }
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let budget = ready!(coop::poll_proceed(cx));
        ready!(self.writing().readiness.poll(cx));
        budget.made_progress();
        Poll::Ready(Ok(()))
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut writing = self.writing();
        let Writing { stream, readiness, window, ended: own_end, .. } = &mut *writing;
        if *own_end {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.adapt(window);
        let result = match pieces {
            [piece] => readiness.attempt(|cx| Pin::new(stream).poll_write(cx, piece)),
            pieces => {
                let mut gathered = [gather(pieces)];
                if gathered[0].is_empty() {
                    return Ok(0);
                }
                let write = pin!(stream.write_chunks(&mut gathered));
                readiness
                    .attempt(|cx| write.poll(cx))
                    .map(|result| result.map(|written| written.bytes))
            }
        };
        match result {
            Some(Ok(written)) => Ok(written),
            Some(Err(WriteError::ConnectionLost(error))) => Err(ended(error)),
            Some(Err(error)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, error)),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Ready when the other side has all that was written.
    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut writing = self.writing();
        let Writing { stream, delivered, ended: own_end, .. } = &mut *writing;
        if !std::mem::replace(own_end, true) {
            // Fails only where the direction has ended already.
            let _ = stream.finish();
            *delivered = Some(Box::pin(stream.stopped()));
        }
        let Some(waiting) = delivered else { return Poll::Ready(Ok(())) };
        let result = ready!(waiting.as_mut().poll(cx));
        *delivered = None;
        Poll::Ready(match result {
            Ok(_) => Ok(()),
            Err(StoppedError::ConnectionLost(error)) => Err(ended(error)),
            Err(error @ StoppedError::ZeroRttRejected) => Err(io::Error::other(error)),
        })
    }

    fn poll_closed(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Owner::Stream = self.owner {
            self.connection.close(NO_ERROR, &[]);
        }
        Poll::Ready(Ok(()))
    }

    fn datagrams(&self) -> Option<&dyn Datagrams> {
        self.datagrams.as_ref().map(|datagrams| datagrams as _)
    }
}

/// Up to [`GATHER_MAX`] bytes of `pieces`, for one allocation.
fn gather(pieces: &[IoSlice<'_>]) -> Bytes {
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut gathered = Vec::with_capacity(total.min(GATHER_MAX));
    for piece in pieces {
        let room = gathered.capacity() - gathered.len();
        gathered.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    gathered.into()
}

impl Drop for QuicStream {
    fn drop(&mut self) {
        if let Owner::Stream = self.owner {
            return self.connection.close(NO_ERROR, &[]);
        }
        let writing = self.writing.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !writing.ended {
            // Fails only where the connection is gone.
            let _ = writing.stream.reset(NO_ERROR);
        }
    }
}

impl fmt::Debug for QuicStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicStream").field("remote", &self.remote()).finish_non_exhaustive()
    }
}

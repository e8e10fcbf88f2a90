//! A QUIC stream as a [`Stream`].

use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::{runtime::Handle, task::coop, time::timeout};

use super::{
    datagrams::QuicDatagrams,
    error::ended,
    flow::Flow,
    readiness::Readiness,
    settings::{SEND_WINDOW_MAX, SEND_WINDOW_MIN},
    socket::canonical,
};
use crate::transport::{Datagrams, Stream};

/// How long a dropped stream that was shut down before holds its connection, until the other side has all that was written.
pub const LINGER: Duration = Duration::from_secs(5);

/// Bytes gathered from pieces in one go.
const GATHER_MAX: usize = 64 * 1024;

/// One end of a stream, and a share of its connection.
pub struct QuicStream {
    connection: quinn::Connection,
    flow: Arc<Flow>,
    writing: Mutex<Writing>,
    reading: Mutex<Reading>,
    datagrams: Option<QuicDatagrams>,
}

struct Writing {
    stream: SendStream,
    readiness: Readiness,
    /// Bytes that quinn holds at most: what is on its way and what waits for that.
    window: u64,
    /// The own direction has ended.
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
        flow: Arc<Flow>,
        (send, recv): (SendStream, RecvStream),
        datagrams: Option<QuicDatagrams>,
    ) -> Self {
        let writing = Writing {
            stream: send,
            readiness: Readiness::new(),
            window: SEND_WINDOW_MIN,
            ended: false,
        };
        let reading = Reading { stream: recv, readiness: Readiness::new(), abandoned: None };
        Self {
            connection,
            flow,
            writing: Mutex::new(writing),
            reading: Mutex::new(reading),
            datagrams,
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
        let Writing { stream, readiness, window, ended: own_end } = &mut *writing;
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

    fn poll_shutdown(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut writing = self.writing();
        writing.ended = true;
        // Fails only where the direction has ended already.
        let _ = writing.stream.finish();
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
        let writing = self.writing.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !writing.ended {
            // Fails only where the connection is gone.
            let _ = writing.stream.reset(VarInt::from_u32(0));
        } else if let Ok(runtime) = Handle::try_current() {
            // Holds the connection, whose end would take with it what is still on its way.
            let delivered = writing.stream.stopped();
            runtime.spawn(async { timeout(LINGER, delivered).await.is_ok() });
        }
    }
}

impl fmt::Debug for QuicStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicStream").field("remote", &self.remote()).finish_non_exhaustive()
    }
}

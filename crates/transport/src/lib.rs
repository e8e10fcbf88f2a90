//! Transports: what carries a tunnel's bytes.
//!
//! Whatever carries them, the rest of rtun sees a [`Stream`]: `tcp` is the system's own, the others are layers on one
//! (`tls`, `ws`, `mux`) or streams of a connection of their own (`quic`, `http2`, `grpc`), and `memory` is the twin for tests.

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::timeout;

use rtun_tls::record::PLAINTEXT_MAX;

pub mod addressed;
pub mod forwarded;
pub mod grpc;
pub mod grpc_message;
pub mod http2;
mod http_text;
pub mod io_stream;
pub mod memory;
pub mod mux;
pub mod name_servers;
pub mod names;
pub mod proxy;
pub mod quic;
pub mod race;
pub mod relay_hop;
pub mod socket;
pub mod stream_only;
pub mod tcp;
pub mod tcp_info;
pub mod tls;
pub mod udp;
pub mod ws;

/// The most bytes that layers which copy take in one write: four full TLS records.
pub(crate) const WRITE_MAX: usize = 4 * PLAINTEXT_MAX;

/// An ordered, reliable stream of bytes in both directions, used by readiness: one task may wait to read, one to write, and
/// anybody may try either at any time.
///
/// Dropping the last reference is an abrupt end, at once: what the stream owns goes with it, down to the socket, and what was not
/// handed on is lost. The other side reads either to the end or an error, and its writes fail. `close` is the orderly end.
///
/// An error other than [`io::ErrorKind::WouldBlock`] is final: each further attempt in its direction fails as well, without
/// waiting.
pub trait Stream: Send + Sync + 'static {
    /// Ready when there may be something to read: bytes, the end, or an error. The last caller's task is woken.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Takes bytes that have arrived; 0 means that the other side has ended its direction, if `into` is not empty.
    /// [`io::ErrorKind::WouldBlock`]: none have.
    fn try_read(&self, into: &mut [u8]) -> io::Result<usize>;

    /// Ready when all that was taken has been handed on and more may be taken. Has to be awaited while
    /// [`Stream::has_buffered`], or what is held stays where it is. The last caller's task is woken.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Takes bytes from the beginning of `pieces`, as many as go at once.
    /// [`io::ErrorKind::WouldBlock`]: none do.
    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// The most bytes that one write takes. A layer above makes no longer writes: what did not fit would follow on its own, in a
    /// TLS record of a few bytes.
    fn write_max(&self) -> usize {
        usize::MAX
    }

    /// Whether a layer holds bytes that it has taken and that the layer below has not.
    fn has_buffered(&self) -> bool {
        false
    }

    /// Ends the own direction, after all that was taken. Where a transport can only end both it ends both. May be asked again
    /// when it is done. The last caller's task is woken.
    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends what the stream stands on and nobody else uses, in order and down to the socket, and discards what still arrives
    /// there. For a stream both of whose directions have ended; it is of no use afterwards. The last caller's task is woken.
    fn poll_closed(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Datagrams between the same ends, where the transport has them.
    fn datagrams(&self) -> Option<&dyn Datagrams> {
        None
    }
}

/// Datagrams between the two ends of a stream: each arrives whole, once and in any order, or not at all.
pub trait Datagrams: Send + Sync {
    /// The longest datagram in bytes that the path takes now; `None` while it takes none.
    fn max_len(&self) -> Option<usize>;

    /// Sends a datagram, or fails with [`io::ErrorKind::WouldBlock`] when too many wait to be sent, and with
    /// [`io::ErrorKind::InvalidInput`] when it is too long.
    fn try_send(&self, datagram: &[u8]) -> io::Result<()>;

    /// Ready when datagrams may be taken again. The last caller's task is woken.
    fn poll_sendable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Appends the next datagram to `into`; its length. The last caller's task is woken.
    fn poll_recv(&self, cx: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<io::Result<usize>>;
}

impl dyn Stream {
    /// Waits until there may be something to read.
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// Waits until all that was taken has been handed on and more may be taken.
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_writable(cx)).await
    }

    /// Takes bytes from the beginning of `bytes`, as many as go at once.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(bytes)])
    }

    /// Waits for bytes and takes them; 0 at the end. Loses nothing when dropped.
    pub async fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            self.readable().await?;
            match self.try_read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Fills `into`; [`io::ErrorKind::UnexpectedEof`] when the other side ends before.
    pub async fn read_exact(&self, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            let read = self.read(into).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            into = &mut into[read..];
        }
        Ok(())
    }

    /// Writes all of `bytes` and waits until no layer holds any.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.writable().await?;
            match self.try_write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.flush().await
    }

    /// Waits until no layer holds bytes.
    pub async fn flush(&self) -> io::Result<()> {
        while self.has_buffered() {
            self.writable().await?;
        }
        Ok(())
    }

    /// Ends the own direction.
    pub async fn shutdown(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_shutdown(cx)).await
    }

    /// Ends the stream as each of its layers' standards says: hands on what is held, ends the own direction, discards what
    /// arrives until the other side has ended its own, and does the same below, down to the socket. Nobody may read or write
    /// meanwhile.
    ///
    /// Takes at most `within`; [`io::ErrorKind::TimedOut`] past it. Whatever the outcome, the stream is to be dropped next.
    pub async fn close(&self, within: Duration) -> io::Result<()> {
        let closed = timeout(within, poll_fn(|cx| poll_end(self, cx))).await;
        closed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Most reads of one turn whose bytes are discarded: a peer that sends without end cannot hold the task.
const DISCARDS_MAX: usize = 16;
/// Bytes of one such read.
const DISCARD_LEN: usize = 16 * 1024;

/// Ends the own direction of `stream` once no layer of it holds bytes.
fn poll_shutdown_flushed(stream: &dyn Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while stream.has_buffered() {
        ready!(stream.poll_writable(cx))?;
    }
    stream.poll_shutdown(cx)
}

/// Ends `stream` in order, down to the socket.
fn poll_end(stream: &dyn Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    ready!(stream.poll_shutdown(cx))?;
    ready!(poll_discard(stream, cx))?;
    stream.poll_closed(cx)
}

/// Reads to the other side's end. A socket that is closed with bytes unread is reset, and what was written last is lost.
fn poll_discard(stream: &dyn Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut discarded = [0; DISCARD_LEN];
    for _ in 0..DISCARDS_MAX {
        match stream.try_read(&mut discarded) {
            Ok(0) => return Poll::Ready(Ok(())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(stream.poll_readable(cx))?;
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

impl fmt::Debug for dyn Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

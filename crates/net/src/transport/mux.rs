//! smux, versions 1 and 2: a session of several streams on one (spec: transports.md section 6).
//!
//! The client opens streams and the server accepts them. As in GOST's smux the end of either side ends a stream: what was
//! sent before is still read, the other side can write no more. What arrives is read by the session's driver, a task, or
//! by whoever reads a stream; what is written goes straight to the stream below.
//!
//! Memory: at most [`Settings::receive_buffer`] and one read, 64 KiB, are received and unread; one frame or one round of
//! control frames waits to be sent. In version 2 a stream that is not read holds up itself only, as long as not so many
//! stand still that the receive buffer is full; in version 1 it holds up the session once the buffer is full.

mod cut;
mod driver;
mod error;
mod shared;
mod state;

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

pub use rtun_proto::mux::Version;

pub use self::error::MuxError;
use self::{driver::drive, shared::Shared, state::Role};
use super::Stream;

/// Streams of a session. A client opens no more; a server refuses more by ending them.
pub const MAX_STREAMS: usize = 1024;

/// Streams that may wait to be accepted; more are refused by ending them (spec: transports.md section 6).
pub const BACKLOG: usize = 128;

/// How a session runs. Both ends have to have the same version; all else is each end's own.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The version.
    pub version: Version,
    /// How often the other side is told that this one is there; `None`: never, and it is not expected to tell.
    pub keepalive: Option<Duration>,
    /// How long nothing may arrive before the session is over, unless it is not read for want of room. Without
    /// `keepalive` it means nothing.
    pub keepalive_timeout: Duration,
    /// The longest payload of a frame that is sent, in bytes; 0 means 1. Frames of any length are received.
    pub max_frame: u16,
    /// Bytes of all streams that may be received and unread before no more is read; 0 means 1.
    pub receive_buffer: u32,
    /// The window of a stream in bytes (version 2), at most `receive_buffer`; 0 means 1. What the other side sends before
    /// it knows can be up to 256 KiB.
    pub stream_buffer: u32,
}

impl Default for Settings {
    /// smux's own: version 1, keepalive 10 s, timeout 30 s, frames of 32 KiB, buffers of 4 MiB and 64 KiB.
    fn default() -> Self {
        Self {
            version: Version::One,
            keepalive: Some(Duration::from_secs(10)),
            keepalive_timeout: Duration::from_secs(30),
            max_frame: 32 * 1024,
            receive_buffer: 4 << 20,
            stream_buffer: 64 * 1024,
        }
    }
}

impl Settings {
    /// The window of a stream. GOST reads it as a signed number.
    fn window(&self) -> u32 {
        self.stream_buffer.min(self.receive_buffer).clamp(1, i32::MAX.unsigned_abs())
    }
}

/// One end of a session. When it and all its streams are dropped the stream below is ended and dropped, behind what was
/// written, or after 5 s. A session that fails ends the stream below at once; it is dropped with the last handle.
pub struct Session {
    shared: Arc<Shared>,
}

impl Session {
    /// The end that opens streams. Must be called within a tokio runtime, which runs the session's task.
    pub fn client(carrier: Arc<dyn Stream>, settings: Settings) -> Self {
        Self::new(carrier, Role::Client, settings)
    }

    /// The end that accepts streams. Must be called within a tokio runtime, which runs the session's task.
    pub fn server(carrier: Arc<dyn Stream>, settings: Settings) -> Self {
        Self::new(carrier, Role::Server, settings)
    }

    fn new(carrier: Arc<dyn Stream>, role: Role, settings: Settings) -> Self {
        let shared = Shared::new(carrier, role, settings);
        tokio::spawn(drive(Arc::clone(&shared)));
        Self { shared }
    }

    /// Opens a stream, without waiting for the other side. GOST opens streams from the client's end only, and rtun's client
    /// refuses those of a server by ending them.
    pub fn open(&self) -> Result<Arc<dyn Stream>, MuxError> {
        let id = self.shared.state().open()?;
        let stream = MuxStream { id, shared: Arc::clone(&self.shared) };
        self.shared.flush();
        Ok(Arc::new(stream))
    }

    /// The next stream the other side has opened. After the session's end, the error that ended it, once, and `None`.
    /// Loses nothing when dropped; one task may wait.
    pub async fn accept(&self) -> Option<Result<Arc<dyn Stream>, MuxError>> {
        let id = poll_fn(|cx| match self.shared.state().accept(cx.waker()) {
            Some(accepted) => Poll::Ready(accepted),
            None => Poll::Pending,
        });
        let stream = |id| Arc::new(MuxStream { id, shared: Arc::clone(&self.shared) }) as _;
        Some(id.await?.map(stream))
    }

    /// Why the session is over; `None` while it is not.
    pub fn end(&self) -> Option<MuxError> {
        self.shared.state().end().cloned()
    }

    /// Streams that are open, those included that wait to be accepted.
    pub fn streams(&self) -> usize {
        self.shared.state().streams()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("streams", &self.streams()).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.state().release_session();
        self.shared.released();
    }
}

/// One stream of a session.
struct MuxStream {
    id: u32,
    shared: Arc<Shared>,
}

impl Stream for MuxStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.shared.state().poll_readable(self.id, cx.waker()) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.shared.try_read(self.id, into)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.poll_writable(self.id, cx)
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.shared.try_write(self.id, pieces)
    }

    fn is_holding(&self) -> bool {
        self.shared.is_holding()
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.poll_shutdown(self.id, cx)
    }
}

impl Drop for MuxStream {
    fn drop(&mut self) {
        self.shared.state().release(self.id);
        self.shared.released();
    }
}

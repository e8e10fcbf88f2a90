//! smux, versions 1 and 2: a session of several streams on one, as xtaci/smux has it.
//!
//! The client opens streams and the server accepts them. As in GOST's smux the end of either side ends a stream: what was
//! sent before is still read, the other side can write no more. What arrives is read by the session's driver, a task, or
//! by a task that reads a stream; what is written goes straight to the stream below.
//!
//! Memory: at most [`MuxSettings::receive_buffer`] and one read, 64 KiB, are received and unread; one frame or one round of
//! control frames waits to be sent. In version 2 a stream that is not read holds up itself only, until all of them together
//! fill the receive buffer; in version 1 it holds up the session once the buffer is full.

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

use rtun_settings::MuxSettings;
use tokio::time::timeout;

pub use self::error::MuxError;
use self::{driver::drive, shared::MuxShared, state::MuxRole};
use super::Stream;

/// Streams of a session. A client opens no more; a server refuses more by ending them.
pub const MAX_STREAMS: usize = 1024;

/// Streams that may wait to be accepted; more are refused by ending them.
pub const BACKLOG: usize = 128;

/// One end of a session, and all its streams: dropping it ends them and the stream below at once. [`MuxSession::shutdown`] is the
/// orderly end. A session that fails gives up the stream below at once, even where others hold it.
pub struct MuxSession {
    shared: Arc<MuxShared>,
    /// It is left to its streams.
    is_released: bool,
}

impl MuxSession {
    /// The end that opens streams. Must be called within a tokio runtime, which runs the session's task.
    pub fn client(below: Arc<dyn Stream>, settings: MuxSettings) -> Self {
        Self::new(below, MuxRole::Client, settings)
    }

    /// The end that accepts streams. Must be called within a tokio runtime, which runs the session's task.
    pub fn server(below: Arc<dyn Stream>, settings: MuxSettings) -> Self {
        Self::new(below, MuxRole::Server, settings)
    }

    fn new(below: Arc<dyn Stream>, role: MuxRole, settings: MuxSettings) -> Self {
        let shared = MuxShared::new(below, role, settings);
        tokio::spawn(drive(Arc::clone(&shared)));
        Self { shared, is_released: false }
    }

    /// Opens a stream, without waiting for the other side. GOST opens streams from the client's end only, and rtun's client
    /// refuses those of a server by ending them.
    pub fn open(&self) -> Result<Arc<dyn Stream>, MuxError> {
        let id = self.shared.state().open()?;
        let stream = MuxStream { id, shared: Arc::clone(&self.shared) };
        self.shared.flush();
        Ok(Arc::new(stream))
    }

    /// The next stream the other side has opened. After the session's end, `None`; where that is no orderly one, the error that
    /// ended it first, once. Loses nothing when dropped; one task may wait.
    pub async fn accept(&self) -> Result<Option<Arc<dyn Stream>>, MuxError> {
        let id = poll_fn(|cx| self.shared.state().poll_accept(cx.waker())).await?;
        Ok(id.map(|id| Arc::new(MuxStream { id, shared: Arc::clone(&self.shared) }) as _))
    }

    /// Leaves the session to its streams; with the last of them it ends, in order if that is closed and at once if it is dropped.
    /// Further streams are refused.
    pub fn release(mut self) {
        self.is_released = true;
    }

    /// Takes and opens no more streams, waits until nobody holds one, and ends the session and the stream below in order. Past
    /// `within` it ends at once, with its streams.
    pub async fn shutdown(self, within: Duration) {
        {
            let mut state = self.shared.state();
            state.end_in_order();
            state.release_session();
        }
        self.shared.released();
        // What is left then the drop ends.
        let _ = timeout(within, poll_fn(|cx| self.shared.poll_over(cx))).await;
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

impl fmt::Debug for MuxSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MuxSession").field("streams", &self.streams()).finish_non_exhaustive()
    }
}

impl Drop for MuxSession {
    fn drop(&mut self) {
        self.shared.state().release_session();
        self.shared.released();
        if !self.is_released {
            self.shared.end();
        }
    }
}

/// One stream of a session.
struct MuxStream {
    id: u32,
    shared: Arc<MuxShared>,
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

    fn has_buffered(&self) -> bool {
        self.shared.has_buffered()
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.poll_shutdown(self.id, cx)
    }

    fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.poll_closed(cx)
    }
}

impl Drop for MuxStream {
    fn drop(&mut self) {
        self.shared.state().release(self.id);
        self.shared.released();
    }
}

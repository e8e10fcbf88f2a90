//! The in-memory twin of a transport, for tests without a network.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::Stream;

/// One end of a stream in memory.
pub struct MemoryStream {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
}

/// Two ends of one stream. Each direction holds `capacity` bytes; a writer waits while it is full.
pub fn pair(capacity: usize) -> (MemoryStream, MemoryStream) {
    let (there, back) = (Arc::new(Pipe::new(capacity)), Arc::new(Pipe::new(capacity)));
    let a = MemoryStream { incoming: Arc::clone(&back), outgoing: Arc::clone(&there) };
    (a, MemoryStream { incoming: there, outgoing: back })
}

/// One direction.
struct Pipe {
    capacity: usize,
    state: Mutex<MemoryState>,
}

#[derive(Default)]
struct MemoryState {
    bytes: VecDeque<u8>,
    /// The writer has ended it.
    ended: bool,
    /// The reader is gone.
    abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default() }
    }

    /// A poisoned lock still guards whole bytes: each change is one assignment.
    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryState {
    fn end(&mut self) {
        self.ended = true;
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    fn can_read(&self) -> bool {
        !self.bytes.is_empty() || self.ended
    }

    fn can_write(&self, capacity: usize) -> bool {
        self.bytes.len() < capacity || self.ended || self.abandoned
    }
}

impl Stream for MemoryStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.incoming.state();
        if state.can_read() {
            return Poll::Ready(Ok(()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.incoming.state();
        if !state.can_read() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = io::Read::read(&mut state.bytes, into)?;
        state.writer.take().into_iter().for_each(Waker::wake);
        Ok(read)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.outgoing.state();
        if state.can_write(self.outgoing.capacity) {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.outgoing.state();
        if state.ended || state.abandoned {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = self.outgoing.capacity - state.bytes.len();
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let before = state.bytes.len();
        state.bytes.extend(pieces.iter().flat_map(|piece| piece.iter()).take(room));
        let written = state.bytes.len() - before;
        state.reader.take().into_iter().for_each(Waker::wake);
        Ok(written)
    }

    fn poll_shutdown(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.state().end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.outgoing.state().end();
        let mut incoming = self.incoming.state();
        incoming.abandoned = true;
        incoming.writer.take().into_iter().for_each(Waker::wake);
    }
}

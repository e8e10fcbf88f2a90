//! The way out to one host: written to directly while its socket takes everything, else queued.

use std::{
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rtun_core::{DropReason, FrameQueue, QueueLimits};
use rtun_proto::frame::{Frames, LEN_PREFIX};
use tokio::{net::TcpStream, sync::Notify};

use crate::counters::Counters;

/// A host whose socket takes nothing for this long while packets wait is given up.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// Pieces handed to one vectored write.
const PIECES: usize = 64;

/// Senders never wait here: what the socket does not take at once is queued within [`QueueLimits`], and
/// [`Outbox::drain`] writes it as the socket empties.
pub(crate) struct Outbox {
    state: Mutex<State>,
    wake: Notify,
}

struct State {
    queue: FrameQueue,
    gate: Gate,
}

/// What happens to a frame that is to be sent.
enum Gate {
    /// Queued: the host has not been answered yet.
    Held(Arc<TcpStream>),
    /// Written, or queued behind what waits.
    Open(Arc<TcpStream>),
    /// Dropped: the association has ended, and nothing here keeps its socket open.
    Closed,
}

/// How an attempt to empty the queue ended.
enum Flushed {
    Empty,
    Waiting { progress: bool },
}

impl Outbox {
    /// Holds frames back until [`Outbox::open`].
    pub(crate) fn new(stream: Arc<TcpStream>, limits: QueueLimits) -> Self {
        let state = State { queue: FrameQueue::new(limits), gate: Gate::Held(stream) };
        Self { state: Mutex::new(state), wake: Notify::new() }
    }

    /// Lets frames through, those held back first.
    pub(crate) fn open(&self) {
        let mut state = self.state();
        if let Some(stream) = state.stream() {
            state.gate = Gate::Open(stream);
        }
        self.wake.notify_one();
    }

    /// The host's socket, until [`Outbox::close`].
    pub(crate) fn stream(&self) -> Option<Arc<TcpStream>> {
        self.state().stream()
    }

    /// Sends `run`, whole frames back to back, or queues or drops them; every frame is counted once it has left.
    /// Never waits for the host. An error means that the connection is broken.
    pub(crate) fn send(&self, run: &[u8], counters: &Counters) -> io::Result<()> {
        let mut state = self.state();
        let State { queue, gate } = &mut *state;
        let written = match gate {
            Gate::Closed => {
                counters.count_drops(DropReason::GatewayClosing, Frames::new(run).count() as u64);
                return Ok(());
            }
            Gate::Open(stream) if queue.is_empty() => stream.try_write(run),
            Gate::Held(_) | Gate::Open(_) => {
                state.enqueue(run, counters);
                return Ok(());
            }
        };
        match written {
            Ok(sent) if sent == run.len() => {
                count_frames_out(run, counters);
                return Ok(());
            }
            Ok(sent) => state.keep_unsent(run, sent, counters),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => state.enqueue(run, counters),
            Err(error) => {
                counters.count_drops(DropReason::WriteError, Frames::new(run).count() as u64);
                return Err(error);
            }
        }
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Writes what is queued as the socket takes it; ends when the connection is broken or stalls.
    pub(crate) async fn drain(&self, stream: &TcpStream, counters: &Counters) -> io::Error {
        loop {
            self.wake.notified().await;
            if let Err(error) = self.empty(stream, counters).await {
                return error;
            }
        }
    }

    async fn empty(&self, stream: &TcpStream, counters: &Counters) -> io::Result<()> {
        let mut deadline = tokio::time::Instant::now() + STALL;
        loop {
            tokio::time::timeout_at(deadline, stream.writable()).await??;
            match self.flush(stream, counters)? {
                Flushed::Empty => return Ok(()),
                Flushed::Waiting { progress: true } => {
                    deadline = tokio::time::Instant::now() + STALL
                }
                Flushed::Waiting { progress: false } => {}
            }
        }
    }

    fn flush(&self, stream: &TcpStream, counters: &Counters) -> io::Result<Flushed> {
        let mut state = self.state();
        let queue = &mut state.queue;
        let mut progress = false;
        loop {
            queue.drop_aged(Instant::now(), &mut |reason, _| counters.count_drop(reason));
            if queue.is_empty() {
                return Ok(Flushed::Empty);
            }
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let filled = queue.slices(&mut pieces);
            match stream.try_write_vectored(&pieces[..filled]) {
                Ok(sent) => {
                    progress |= sent > 0;
                    queue.advance(sent, |len| counters.count_out(1, (len - LEN_PREFIX) as u64));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Flushed::Waiting { progress });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// From now on every frame is dropped, those queued included, and the socket is let go.
    pub(crate) fn close(&self, counters: &Counters) {
        let mut state = self.state();
        state.gate = Gate::Closed;
        state.queue.clear(DropReason::WriteError, |reason, _| counters.count_drop(reason));
    }

    /// Frames and bytes waiting.
    pub(crate) fn queued(&self) -> (usize, usize) {
        let state = self.state();
        (state.queue.frames(), state.queue.bytes())
    }

    /// A poisoned lock still guards a whole queue: nothing in a critical section panics half way through a change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn stream(&self) -> Option<Arc<TcpStream>> {
        match &self.gate {
            Gate::Held(stream) | Gate::Open(stream) => Some(Arc::clone(stream)),
            Gate::Closed => None,
        }
    }

    fn enqueue(&mut self, frames: &[u8], counters: &Counters) {
        self.queue.push(frames, Instant::now(), |reason, _| counters.count_drop(reason));
    }

    /// Counts the frames of `run` that are wholly on the wire after `sent` bytes and queues the rest.
    fn keep_unsent(&mut self, run: &[u8], sent: usize, counters: &Counters) {
        let cut = Frames::new(run).find(|frame| frame.range.end > sent);
        let Some(cut) = cut.map(|frame| frame.range) else { return };
        count_frames_out(&run[..cut.start], counters);
        if cut.start < sent {
            self.queue.start_with(&run[cut.clone()], sent - cut.start);
            self.enqueue(&run[cut.end..], counters);
        } else {
            self.enqueue(&run[cut.start..], counters);
        }
    }
}

fn count_frames_out(run: &[u8], counters: &Counters) {
    let frames = Frames::new(run).count();
    counters.count_out(frames as u64, (run.len() - frames * LEN_PREFIX) as u64);
}

//! One connection of the network in memory: what is written at one end arrives at the other later, at its link's pace, or is
//! held up, or is lost with the connection.

use std::{
    collections::VecDeque,
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use rtun_transport::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::panics;

/// A system gives a silent connection up after this long, as rtun asks it to (`TCP_USER_TIMEOUT`).
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a link carries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// From one end to the other.
    pub(crate) latency: Duration,
    /// Bytes a second in each direction.
    pub(crate) rate: u64,
    /// Bytes that a direction takes before they are read.
    pub(crate) capacity: usize,
}

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Who connected.
    Host,
    /// Who was connected to.
    Hub,
}

/// A connection as the network sees it.
#[derive(Clone)]
pub(crate) struct Link(Arc<Shared>);

/// One end of a connection.
pub(crate) struct End {
    shared: Arc<Shared>,
    side: Side,
}

struct Shared {
    pace: Pace,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// To the hub, and to the host.
    directions: [Direction; 2],
    /// Nothing passes in either direction since then.
    cut: Option<Instant>,
    reset: bool,
}

/// One direction.
#[derive(Default)]
struct Direction {
    /// With the times at which they arrive.
    chunks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// When what was written last arrives.
    busy_until: Option<Instant>,
    /// When its end arrives.
    ended: Option<Instant>,
    /// The reader is gone.
    abandoned: bool,
    /// The reader does not read.
    stalled: bool,
    /// The task that looks next panics.
    panics: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Direction {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

/// The two ends of a new connection, the host's first.
pub(crate) fn connection(pace: Pace) -> (Link, End, End) {
    let shared = Arc::new(Shared { pace, state: Mutex::default() });
    let end = |side| End { shared: Arc::clone(&shared), side };
    (Link(Arc::clone(&shared)), end(Side::Host), end(Side::Hub))
}

impl Link {
    /// Whether nobody has an end any more.
    pub(crate) fn is_over(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// From now on nothing passes, or everything does that was held up.
    pub(crate) fn cut(&self, cut: bool) {
        let mut state = self.0.state();
        state.cut = cut.then(|| state.cut.unwrap_or_else(Instant::now));
        state.wake();
    }

    /// From now on what goes to `side` is not read there, or is again.
    pub(crate) fn stall(&self, side: Side, stalled: bool) {
        let mut state = self.0.state();
        state.directions[to(side)].stalled = stalled;
        state.wake();
    }

    /// Ends the connection at both ends at once.
    pub(crate) fn reset(&self) {
        let mut state = self.0.state();
        state.reset = true;
        state.wake();
    }

    /// The task that looks next whether something has come to `side` panics.
    pub(crate) fn panic(&self, side: Side) {
        let mut state = self.0.state();
        state.directions[to(side)].panics = true;
        state.wake();
    }
}

/// The number of the direction that leads to `side`.
fn to(side: Side) -> usize {
    match side {
        Side::Hub => 0,
        Side::Host => 1,
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self) {
        self.directions.iter_mut().for_each(Direction::wake);
    }

    fn failure(&self) -> Option<io::Error> {
        if self.reset {
            return Some(io::ErrorKind::ConnectionReset.into());
        }
        let silent = self.cut.is_some_and(|since| since.elapsed() >= USER_TIMEOUT);
        silent.then(|| io::Error::from_raw_os_error(110))
    }

    /// When there is something to read of this direction; none while nothing is on its direction.
    fn readable_at(&self, direction: usize) -> Option<Instant> {
        if let Some(since) = self.cut {
            return Some(since + USER_TIMEOUT);
        }
        let Direction { chunks, ended, stalled, .. } = &self.directions[direction];
        if *stalled {
            return None;
        }
        chunks.front().map(|(at, _)| *at).or(*ended)
    }
}

impl Stream for End {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.state();
        let direction = to(self.side);
        if std::mem::take(&mut state.directions[direction].panics) {
            drop(state);
            panics::panic_as_asked();
        }
        if state.failure().is_some() {
            return Poll::Ready(Ok(()));
        }
        let at = state.readable_at(direction);
        let mine = &mut state.directions[direction];
        mine.reader = Some(cx.waker().clone());
        let Some(at) = at else {
            mine.timer = None;
            return Poll::Pending;
        };
        if at <= Instant::now() {
            return Poll::Ready(Ok(()));
        }
        let timer = mine.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx).map(Ok)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.shared.state();
        if let Some(failure) = state.failure() {
            return Err(failure);
        }
        let direction = to(self.side);
        let now = Instant::now();
        if state.cut.is_some() || state.readable_at(direction).is_none_or(|at| at > now) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mine = &mut state.directions[direction];
        let mut read = 0;
        while let Some((at, chunk)) = mine.chunks.front_mut()
            && *at <= now
            && read < into.len()
        {
            let taken = chunk.len().min(into.len() - read);
            into[read..read + taken].copy_from_slice(&chunk[..taken]);
            read += taken;
            chunk.drain(..taken);
            if chunk.is_empty() {
                mine.chunks.pop_front();
            }
        }
        mine.bytes -= read;
        if read > 0 {
            mine.writer.take().into_iter().for_each(Waker::wake);
        }
        Ok(read)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.state();
        let failed = state.failure().is_some();
        let Pace { capacity, .. } = self.shared.pace;
        let is_cut = state.cut.is_some();
        let theirs = &mut state.directions[1 - to(self.side)];
        let can = theirs.bytes < capacity || theirs.ended.is_some() || theirs.abandoned && !is_cut;
        if failed || can {
            return Poll::Ready(Ok(()));
        }
        theirs.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.shared.state();
        if let Some(failure) = state.failure() {
            return Err(failure);
        }
        let Pace { latency, rate, capacity } = self.shared.pace;
        let is_cut = state.cut.is_some();
        let theirs = &mut state.directions[1 - to(self.side)];
        if theirs.ended.is_some() || theirs.abandoned && !is_cut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = capacity - theirs.bytes;
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes: Vec<u8> =
            pieces.iter().flat_map(|piece| piece.iter().copied()).take(room).collect();
        let written = bytes.len();
        if written == 0 {
            return Ok(0);
        }
        let takes = Duration::from_nanos(written as u64 * 1_000_000_000 / rate);
        let now = Instant::now();
        let sent = theirs.busy_until.map_or(now, |busy| busy.max(now)) + takes;
        theirs.busy_until = Some(sent);
        theirs.bytes += written;
        theirs.chunks.push_back((sent + latency, bytes));
        theirs.reader.take().into_iter().for_each(Waker::wake);
        Ok(written)
    }

    fn poll_shutdown(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl End {
    fn end(&self) {
        let mut state = self.shared.state();
        let theirs = &mut state.directions[1 - to(self.side)];
        if theirs.ended.is_none() {
            let now = Instant::now();
            let last = theirs.busy_until.map_or(now, |busy| busy.max(now));
            theirs.ended = Some(last + self.shared.pace.latency);
            theirs.wake();
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.end();
        let mut state = self.shared.state();
        let mine = &mut state.directions[to(self.side)];
        mine.abandoned = true;
        mine.timer = None;
        mine.wake();
    }
}

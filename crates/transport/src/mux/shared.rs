//! What the handles of a session and its driver share: the stream below, and who may use which side of it when.
//!
//! Three locks, taken in this order: `reading` or `writing`, which are held while the stream below is used and never both; then
//! `state`, which never is.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use rtun_proto::mux::Decoder;
use rtun_settings::MuxSettings;
use tokio::{sync::Notify, time::Instant};

use super::{
    MuxError,
    cut::{Cut, Taken},
    state::{MuxRole, MuxState, Room},
};
use crate::{Stream, poll_end};

/// Bytes of one read from a stream below.
const READ: usize = 64 * 1024;

/// What `held` may keep while it is empty.
const KEPT: usize = 4 * 1024;

thread_local! {
    /// Where streams below are read to: everything in it is handed out before the lock of the reading is given back.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A session.
pub(super) struct MuxShared {
    pub(super) settings: MuxSettings,
    reading: Mutex<Reading>,
    writing: Mutex<Writing>,
    state: Mutex<MuxState>,
    /// Whether bytes are held that the stream below has not taken.
    holding: AtomicBool,
    /// Calls the driver: frames are due that wait for a lock, reading may go on, or the session is over.
    pub(super) driver: Notify,
    /// What the stream below wakes when it takes more: all who wait for that, as it keeps one waker only.
    writable: Waker,
}

/// What is needed to read from the stream below.
struct Reading {
    /// Gone when the session is over.
    below: Option<Arc<dyn Stream>>,
    decoder: Decoder,
}

/// What is needed to write to the stream below.
struct Writing {
    /// Gone when the session is over.
    below: Option<Arc<dyn Stream>>,
    /// What the stream below takes in one write.
    write_max: usize,
    /// Bytes the stream below has yet to take: the rest of a frame, or control frames. More is added only when it is empty.
    held: Vec<u8>,
}

impl Writing {
    fn below(&self) -> io::Result<&dyn Stream> {
        self.below.as_deref().ok_or_else(gone)
    }
}

/// What using a stream below that is gone comes to.
fn gone() -> io::Error {
    MuxError::Closed.to_io()
}

/// What became of a read from the stream below.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// Bytes came and were handed out.
    Some,
    /// There are none now.
    Nothing,
    /// There is no room for any.
    NoRoom,
}

struct WakeWriters(Weak<MuxShared>);

impl Wake for WakeWriters {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.0.upgrade()
            && shared.state().carrier_is_writable()
        {
            shared.driver.notify_one();
        }
    }
}

impl MuxShared {
    pub(super) fn new(below: Arc<dyn Stream>, role: MuxRole, settings: MuxSettings) -> Arc<Self> {
        Arc::new_cyclic(|shared| Self {
            settings,
            reading: Mutex::new(Reading {
                below: Some(Arc::clone(&below)),
                decoder: Decoder::new(settings.version),
            }),
            writing: Mutex::new(Writing {
                write_max: below.write_max(),
                below: Some(below),
                held: Vec::new(),
            }),
            state: Mutex::new(MuxState::new(role, &settings)),
            holding: AtomicBool::new(false),
            driver: Notify::new(),
            writable: Waker::from(Arc::new(WakeWriters(Weak::clone(shared)))),
        })
    }

    /// Nothing in a critical section of the state panics half way through a change.
    pub(super) fn state(&self) -> MutexGuard<'_, MuxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_buffered(&self) -> bool {
        self.holding.load(Ordering::Acquire)
            || self.writing().below.as_ref().is_some_and(|below| below.has_buffered())
    }

    /// Ends the session for a reason.
    pub(super) fn fail(&self, error: MuxError) {
        self.state().fail(error);
        self.driver.notify_one();
    }

    /// Ends the session, if nothing has, and gives up the stream below.
    pub(super) fn end(&self) {
        self.fail(MuxError::Closed);
        let read = self.reading().below.take();
        let mut writing = self.writing();
        let written = writing.below.take();
        writing.held = Vec::new();
        self.holding.store(false, Ordering::Release);
        drop(writing);
        // A stream below that goes may take a session of its own with it.
        drop((read, written));
    }

    /// Ready when the stream below may have bytes. For the driver alone.
    pub(super) fn poll_carrier_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.reading().below {
            Some(below) => below.poll_readable(cx),
            None => Poll::Ready(Err(gone())),
        }
    }

    /// Ready when the stream below has handed on all that is held and due and is ended in order. For the driver alone, at the end.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut writing = self.writing();
        ready!(self.poll_flush(&mut writing, cx))?;
        poll_end(writing.below()?, cx)
    }

    /// Waits until the session has ended. For the driver alone.
    pub(super) async fn is_over(&self) {
        while self.state().end().is_none() {
            self.driver.notified().await;
        }
    }

    /// Ends the stream below as far as that goes at once, when the session has failed. For the driver alone, at the end.
    pub(super) fn say_farewell(&self) {
        let writing = self.writing();
        if writing.held.is_empty()
            && let Some(below) = &writing.below
        {
            let _ = below.poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// A handle is gone: ends what it was for, and lets the driver go on or end. The last takes the session with it, unless that
    /// is to end in order.
    pub(super) fn released(&self) {
        self.flush();
        let mut state = self.state();
        let is_over = state.is_abandoned() && !state.waits_for_order();
        let calls = state.may_resume() || state.is_abandoned();
        drop(state);
        if is_over {
            self.end();
        } else if calls {
            self.driver.notify_one();
        }
    }

    /// Reads from the stream below once. For the driver alone; a failure ends the session.
    pub(super) fn receive(&self) -> ReadOutcome {
        self.receive_with(&mut self.reading(), &mut None)
    }

    /// Reads what was received of a stream and then, unless somebody else is at it, from the stream below.
    pub(super) fn try_read(&self, id: u32, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let reading = match self.reading.try_lock() {
            Ok(reading) => Some(reading),
            Err(TryLockError::Poisoned(reading)) => Some(reading.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        let mut state = self.state();
        let mut read = state.read(id, into);
        let over = state.nothing_to_read(id).is_ok() || state.end().is_some();
        let mut resumes = state.may_resume();
        drop(state);
        if let Some(mut reading) = reading.filter(|_| read < into.len() && !over) {
            let room = into.len() - read;
            let mut sink = Some((id, &mut into[read..]));
            self.receive_with(&mut reading, &mut sink);
            read += room - sink.map_or(0, |(_, rest)| rest.len());
        }
        let mut state = self.state();
        let result = if read > 0 { Ok(read) } else { state.nothing_to_read(id) };
        resumes |= state.may_resume();
        let due = state.has_due();
        drop(state);
        if resumes {
            self.driver.notify_one();
        }
        if due {
            self.flush();
        }
        result
    }

    fn receive_with(
        &self,
        reading: &mut Reading,
        sink: &mut Option<(u32, &mut [u8])>,
    ) -> ReadOutcome {
        let Reading { below: Some(below), decoder } = reading else {
            return ReadOutcome::Nothing;
        };
        let mut state = self.state();
        if state.end().is_some() {
            return ReadOutcome::Nothing;
        }
        if !state.may_receive() {
            return ReadOutcome::NoRoom;
        }
        drop(state);
        // A stream below may be a stream of another session: it finds an empty buffer here and makes its own.
        let mut buffer = SCRATCH.take();
        buffer.resize(READ, 0);
        let received = match below.try_read(&mut buffer) {
            Ok(0) => Err(MuxError::Ended),
            Ok(read) => self.hand_out(decoder, &buffer[..read], sink).map(|()| ReadOutcome::Some),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(ReadOutcome::Nothing),
            Err(error) => Err(error.into()),
        };
        SCRATCH.set(buffer);
        received.unwrap_or_else(|error| {
            self.fail(error);
            ReadOutcome::Nothing
        })
    }

    fn hand_out(
        &self,
        decoder: &mut Decoder,
        mut bytes: &[u8],
        sink: &mut Option<(u32, &mut [u8])>,
    ) -> Result<(), MuxError> {
        let mut state = self.state();
        state.heard = Instant::now();
        while let Some(event) = decoder.next(&mut bytes).map_err(MuxError::Frame)? {
            state.apply(event, sink)?;
        }
        Ok(())
    }

    /// Writes bytes of a stream in frames, after the control frames that are due.
    pub(super) fn try_write(&self, id: u32, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut writing = self.writing();
        let mut took_due = false;
        let result = self.write_with(&mut writing, id, pieces, &mut took_due);
        self.note_holding(&mut writing);
        if took_due && !writing.held.is_empty() {
            // Others wait for these, whether or not this writer comes back.
            self.flush_with(&mut writing);
        }
        result
    }

    fn write_with(
        &self,
        writing: &mut Writing,
        id: u32,
        pieces: &[IoSlice<'_>],
        took_due: &mut bool,
    ) -> io::Result<usize> {
        let mut state = self.state();
        if let Some(end) = state.end() {
            return Err(end.to_io());
        }
        let Room::Bytes(room) = state.room(id) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        if pieces.iter().all(|piece| piece.is_empty()) {
            return Ok(0);
        }
        if !writing.held.is_empty() {
            drop(state);
            self.write_held(writing)?;
            state = self.state();
        }
        *took_due = state.take_due(&mut writing.held);
        let MuxSettings { version, max_frame, .. } = self.settings;
        let space = writing.write_max.saturating_sub(writing.held.len());
        let cut = Cut::new(version, id, pieces, room, max_frame.max(1), space);
        // Before it is, as the other side may read it and say so before the stream below returns.
        state.sent(id, cut.payload());
        let resumes = state.may_resume();
        drop(state);
        if resumes {
            self.driver.notify_one();
        }
        let result = self.write_cut(writing, &cut, pieces);
        let unsent = cut.payload() - result.as_ref().map_or(0, |taken| *taken);
        if unsent > 0 {
            self.state().unsent(id, unsent);
        }
        result
    }

    /// Writes frames after what is buffered; how many bytes of the pieces were taken.
    fn write_cut(
        &self,
        writing: &mut Writing,
        cut: &Cut,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        if cut.payload() == 0 {
            self.write_held(writing)?;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let below = writing.below()?;
        let write = |slices: &[IoSlice<'_>]| self.write_below(below, slices);
        let taken = cut.write(&writing.held, pieces, write)?;
        let held = &mut writing.held;
        match taken {
            Taken::Control(taken) => {
                held.drain(..taken);
                Err(io::ErrorKind::WouldBlock.into())
            }
            Taken::Frames { payload: 0, .. } => {
                held.clear();
                Err(io::ErrorKind::WouldBlock.into())
            }
            Taken::Frames { payload, missing } => {
                held.clear();
                if missing > 0 {
                    cut.rest(pieces, payload, missing, held);
                }
                Ok(payload)
            }
        }
    }

    /// Ready when nothing is held and a stream may write, or has nothing to wait for.
    pub(super) fn poll_writable(&self, id: u32, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut writing = self.writing();
        let has_buffered = !writing.held.is_empty()
            || writing.below.as_ref().is_some_and(|below| below.has_buffered());
        {
            let mut state = self.state();
            if let Some(end) = state.end() {
                return Poll::Ready(Err(end.to_io()));
            }
            // Before the stream below is asked, which may wake from then on.
            state.wait_to_write(id, cx.waker());
            if has_buffered {
                *state.flushing(id) = true;
            }
        }
        let cx = &mut Context::from_waker(&self.writable);
        ready!(self.poll_flush(&mut writing, cx))?;
        let mut state = self.state();
        match state.room(id) {
            Room::Closed => return Poll::Ready(Ok(())),
            // Its bytes were handed on, and that may be all it waits for.
            Room::Bytes(_) if std::mem::take(state.flushing(id)) => return Poll::Ready(Ok(())),
            Room::Bytes(0) => return Poll::Pending,
            Room::Bytes(_) => {}
        }
        drop(state);
        self.poll_carrier_writable(&writing, cx)
    }

    /// Ends the own direction of a stream; ready when that has been handed on.
    pub(super) fn poll_shutdown(&self, id: u32, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut writing = self.writing();
        {
            let mut state = self.state();
            if let Some(end) = state.end() {
                let result = if state.is_shut(id) { Ok(()) } else { Err(end.to_io()) };
                return Poll::Ready(result);
            }
            state.wait_to_write(id, cx.waker());
            state.shut(id);
        }
        self.poll_flush(&mut writing, &mut Context::from_waker(&self.writable))
    }

    /// Ends the session in order where it ends with this stream; ready when it is over.
    pub(super) fn poll_closed(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        if !state.close_last() {
            return Poll::Ready(Ok(()));
        }
        if !state.poll_over(cx.waker()) {
            drop(state);
            self.driver.notify_one();
            return Poll::Pending;
        }
        Poll::Ready(match state.end() {
            None | Some(MuxError::Closed | MuxError::Ended) => Ok(()),
            Some(error) => Err(error.to_io()),
        })
    }

    /// Ready when the session is over.
    pub(super) fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        match self.state().poll_over(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Writes what is held and due as far as the stream below takes it; the driver sees to the rest.
    pub(super) fn flush(&self) {
        match self.writing.try_lock() {
            Ok(mut writing) => self.flush_with(&mut writing),
            // The task that has the lock may have taken what was due before this became due.
            Err(_) => self.driver.notify_one(),
        }
    }

    /// As [`Self::flush`], waiting for a lock that somebody else has. For the driver alone.
    pub(super) fn flush_by_driver(&self) {
        if self.state().has_due() || self.has_buffered() {
            self.flush_with(&mut self.writing());
        }
    }

    fn flush_with(&self, writing: &mut Writing) {
        // Before the stream below is asked, which may wake from then on.
        self.state().driver_waits = true;
        // An error has ended the session, and its users get it.
        let _ = self.poll_flush(writing, &mut Context::from_waker(&self.writable));
    }

    /// Ready when the stream below has handed on all that is held and due.
    fn poll_flush(&self, writing: &mut Writing, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.poll_flush_carrier(writing, cx);
        self.note_holding(writing);
        result
    }

    fn poll_flush_carrier(
        &self,
        writing: &mut Writing,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.write_held(writing) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.poll_carrier_writable(writing, cx))?;
                    continue;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
            let mut state = self.state();
            if state.take_due(&mut writing.held) {
                // Others wait for these, whether or not this writer comes back.
                state.driver_waits = true;
                self.holding.store(true, Ordering::Release);
                if state.may_resume() {
                    self.driver.notify_one();
                }
                continue;
            }
            drop(state);
            if writing.below()?.has_buffered() {
                ready!(self.poll_carrier_writable(writing, cx))?;
                continue;
            }
            self.state().driver_waits = false;
            return Poll::Ready(Ok(()));
        }
    }

    fn poll_carrier_writable(
        &self,
        writing: &Writing,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        writing.below()?.poll_writable(cx).map(|result| self.of_below(result))
    }

    /// Writes what is held; [`io::ErrorKind::WouldBlock`] as long as some of it is.
    fn write_held(&self, writing: &mut Writing) -> io::Result<()> {
        while !writing.held.is_empty() {
            let pieces = [IoSlice::new(&writing.held)];
            let written = self.write_below(writing.below()?, &pieces)?;
            writing.held.drain(..written);
        }
        Ok(())
    }

    fn write_below(&self, below: &dyn Stream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.of_below(match below.try_write_vectored(pieces) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            result => result,
        })
    }

    fn note_holding(&self, writing: &mut Writing) {
        let held = &mut writing.held;
        if held.is_empty() && held.capacity() > KEPT {
            *held = Vec::new();
        }
        self.holding.store(!held.is_empty(), Ordering::Release);
    }

    /// What is held changes by whole steps, whatever panics.
    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A failure of the stream below ends the session.
    fn of_below<T>(&self, result: io::Result<T>) -> io::Result<T> {
        match result {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                let error = MuxError::from(error);
                let failure = error.to_io();
                self.fail(error);
                Err(failure)
            }
            result => result,
        }
    }
}

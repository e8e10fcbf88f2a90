//! Sending on a connection: frames are written directly while the socket takes everything, else queued.

mod counting;
mod direct;
#[cfg(test)]
mod tests;

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    mem,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtun_core::{DropReason, FlowQueue, MAX_CONTROL, QueueLimits, Window, limit::ShaperSet};
use rtun_proto::{
    extension::{decode_gso_frame, is_echo, is_extension, ping_frame},
    frame::{Frames, LEN_PREFIX},
    frame_content::FrameContent,
};
use rtun_transport::{Datagrams, Stream};
use tokio::{sync::Notify, time::Instant};

use self::{
    counting::{count_drops, count_lost, count_out, count_sent, shaped},
    direct::try_write,
};
use crate::{
    counters::Counters,
    runtime::budget::{Budget, Charge},
};

/// A peer whose socket takes nothing for this long while packets wait is given up.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// An empty queue gives its memory back after this long.
const QUIET: Duration = Duration::from_secs(1);

/// The longest wait for a peer's answer to a window stamp; after it the window does not limit anything.
const ANSWER: Duration = Duration::from_secs(1);

/// On a path slower than this, in bytes per second, GSO frames are cut into packets, so that urgent frames wait for one packet
/// at most: at this rate 64 KiB take 1 ms.
const SLOW: u64 = 64_000_000;

/// While packets wait for a limit, it is read again at least this often, since it may change.
const RECHECK: Duration = Duration::from_millis(100);

/// Pieces handed to one vectored write.
const PIECES: usize = 64;

/// Bytes that are staged for the socket at a time. Staged frames are not reordered any more, so few bytes are staged for a
/// socket that does not take them all, and more for one that does.
const STAGE_MIN: usize = 16 * 1024;
const STAGE_MAX: usize = 256 * 1024;

/// Senders never wait: what the socket does not take at once is queued within [`QueueLimits`] and the [`Budget`], and
/// [`Outbox::drain`] writes it when the socket takes more.
pub(crate) struct Outbox {
    state: Mutex<OutboxState>,
    wake: Notify,
}

struct OutboxState {
    queue: FlowQueue,
    charge: Charge,
    gate: Gate,
    stage: usize,
    /// How much may be in flight. It limits nothing while the peer answers no window stamps.
    window: Window,
    /// Whether window stamps are sent: the peer speaks the extension.
    stamps: bool,
    /// Whether packets go as datagrams where they fit: the peer takes them.
    datagrams: bool,
    /// The limits that packets have to keep to.
    shapers: ShaperSet,
    /// Whether these made packets wait last, and not the peer.
    is_shaped: bool,
    /// Packets that are cut from a GSO frame; empty between two frames.
    cut: Vec<u8>,
}

/// What happens to a frame that is to be sent.
enum Gate {
    /// Queued: the host has not been answered yet.
    Held(Arc<dyn Stream>),
    /// Written, or queued after what is queued already.
    Open(Arc<dyn Stream>),
    /// Dropped: the connection has ended, and its socket is released.
    Closed,
}

/// The outcome of an attempt to empty the queue.
enum Flushed {
    Empty,
    /// The transport takes no more now.
    Waiting {
        progress: bool,
        blocked: Blocked,
    },
    /// Enough is in flight: the next answer of the peer continues.
    Full,
    /// A limit lets no packet through before this time.
    Shaped(std::time::Instant),
}

/// What takes no more.
#[derive(Clone, Copy)]
enum Blocked {
    Stream,
    Datagrams,
}

impl Blocked {
    /// Waits until it may take more.
    async fn over(self, stream: &dyn Stream) -> io::Result<()> {
        match (self, stream.datagrams()) {
            (Self::Datagrams, Some(datagrams)) => poll_fn(|cx| datagrams.poll_sendable(cx)).await,
            _ => stream.writable().await,
        }
    }
}

impl Outbox {
    /// An outbox that holds frames back until [`Outbox::open`].
    pub(crate) fn new(
        stream: Arc<dyn Stream>,
        content: FrameContent,
        budget: &Arc<Budget>,
    ) -> Self {
        let queue = FlowQueue::new(QueueLimits::default(), fastrand::u64(..));
        let state = OutboxState {
            queue: queue.carrying(content),
            charge: Charge::new(budget),
            gate: Gate::Held(stream),
            stage: STAGE_MIN,
            window: Window::default(),
            stamps: false,
            datagrams: false,
            shapers: ShaperSet::default(),
            is_shaped: false,
            cut: Vec::new(),
        };
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

    /// From now on packets keep to these limits. Those that may not go yet wait in the queue, within its bounds.
    pub(crate) fn limit(&self, shapers: ShaperSet) {
        self.state().shapers = shapers;
    }

    /// What its frames are.
    pub(crate) fn content(&self) -> FrameContent {
        self.state().queue.content()
    }

    /// The stream, until [`Outbox::close`].
    pub(crate) fn stream(&self) -> Option<Arc<dyn Stream>> {
        self.state().stream()
    }

    /// Whether the connection has datagrams.
    pub(crate) fn has_datagrams(&self) -> bool {
        self.stream().is_some_and(|stream| stream.datagrams().is_some())
    }

    /// Sends, queues or drops the whole frames of packets at these positions of `bytes`; each packet is counted when it has left.
    /// Senders share the queue fairly: `sender` is any number that identifies one. Never waits for the peer. An error means
    /// that the connection is broken.
    pub(crate) fn send(
        &self,
        sender: u64,
        bytes: &[u8],
        places: &[Range<usize>],
        counters: &Counters,
    ) -> io::Result<()> {
        let mut state = self.state();
        let content = state.queue.content();
        if counters.is_over_quota() {
            for place in places {
                count_drops(DropReason::QuotaExceeded, content, &bytes[place.clone()], counters);
            }
            return Ok(());
        }
        let waited = state.waits();
        let was_bare = state.queue.memory() == 0;
        let written = match &state.gate {
            Gate::Closed => {
                for place in places {
                    count_drops(
                        DropReason::GatewayClosing,
                        content,
                        &bytes[place.clone()],
                        counters,
                    );
                }
                return Ok(());
            }
            Gate::Open(stream) if state.queue.is_empty() && !state.queues_first() => {
                try_write(&**stream, bytes, places, state.window.room(now()))
            }
            Gate::Held(_) | Gate::Open(_) => Ok(0),
        };
        let mut sent = match written {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                for place in places {
                    count_drops(DropReason::WriteError, content, &bytes[place.clone()], counters);
                }
                return Err(error);
            }
        };
        state.window.wrote(sent);
        for place in places {
            let run = &bytes[place.clone()];
            if sent < run.len() {
                state.keep_unsent(sender, run, sent, counters);
            } else {
                count_out(content, run, counters);
            }
            sent = sent.saturating_sub(run.len());
        }
        let stamped = match state.queues_first() && !waited {
            true => state.flush_open(counters),
            false => state.stamp(false),
        };
        // Frames that were queued and have left at once leave memory that `drain` gives back.
        let begins = state.waits() && !waited || was_bare && state.queue.memory() > 0;
        drop(state);
        if begins {
            self.wake.notify_one();
        }
        stamped
    }

    /// From now on window stamps are sent, which the peer answers.
    pub(crate) fn begin_stamps(&self) {
        self.state().stamps = true;
    }

    /// From now on packets go as datagrams where they fit, all else in the stream. The transport bounds what is in flight then,
    /// since it sees each packet; window stamps do not.
    pub(crate) fn begin_datagrams(&self) {
        let mut state = self.state();
        state.datagrams = true;
    }

    /// Whether packets go as datagrams where they fit.
    pub(crate) fn uses_datagrams(&self) -> bool {
        self.state().datagrams
    }

    /// The peer has answered a window stamp.
    pub(crate) fn answered(&self, stamp: [u8; 8]) {
        let mut state = self.state();
        state.window.answered(stamp, now());
        let waits = state.waits();
        drop(state);
        if waits {
            self.wake.notify_one();
        }
    }

    /// Sends an extension frame without a packet, before queued packets. It is lost if the connection has ended or too many such
    /// frames are queued already.
    pub(crate) fn send_control(&self, frame: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.send_control(frame)?;
        let waits = state.waits();
        drop(state);
        if waits {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Sends a frame with a packet that this program has made, before queued packets; it is not counted. False: it is not sent,
    /// since control frames fill half of their room already.
    pub(crate) fn send_answer(&self, frame: &[u8]) -> io::Result<bool> {
        if self.state().queue.control_bytes() + frame.len() > MAX_CONTROL / 2 {
            return Ok(false);
        }
        self.send_control(frame).map(|()| true)
    }

    /// Writes queued frames as the socket takes them; returns when the connection is broken or stalled.
    pub(crate) async fn drain(&self, stream: &dyn Stream, counters: &Counters) -> io::Error {
        loop {
            self.wake.notified().await;
            if let Err(error) = self.empty(stream, counters).await {
                return error;
            }
            while tokio::time::timeout(QUIET, self.wake.notified()).await.is_ok() {
                if let Err(error) = self.empty(stream, counters).await {
                    return error;
                }
            }
            self.state().shrink();
        }
    }

    async fn empty(&self, stream: &dyn Stream, counters: &Counters) -> io::Result<()> {
        let mut deadline = Instant::now() + STALL;
        let mut blocked = Blocked::Stream;
        loop {
            tokio::time::timeout_at(deadline, blocked.over(stream)).await??;
            match self.flush(stream, counters)? {
                Flushed::Empty if stream.has_buffered() => {}
                Flushed::Empty => return Ok(()),
                Flushed::Full => {
                    // Without an answer in time the window opens, and only the socket limits.
                    let _ = tokio::time::timeout(ANSWER, self.wake.notified()).await;
                    deadline = Instant::now() + STALL;
                }
                Flushed::Shaped(until) => {
                    let until = until.min(now() + RECHECK).into();
                    let _ = tokio::time::timeout_at(until, self.wake.notified()).await;
                    (deadline, blocked) = (Instant::now() + STALL, Blocked::Stream);
                }
                Flushed::Waiting { progress, blocked: by } => {
                    blocked = by;
                    if progress {
                        deadline = Instant::now() + STALL;
                    }
                }
            }
        }
    }

    fn flush(&self, stream: &dyn Stream, counters: &Counters) -> io::Result<Flushed> {
        let mut state = self.state();
        let flushed = state.flush(stream, counters);
        state.settle();
        flushed
    }

    /// From now on every frame is dropped, also the queued ones, and the socket is released.
    pub(crate) fn close(&self, counters: &Counters) {
        let mut state = self.state();
        state.gate = Gate::Closed;
        state.queue.clear(DropReason::WriteError, |lost| count_lost(lost, counters));
        state.shrink();
    }

    /// Packets and bytes that are queued.
    pub(crate) fn queued(&self) -> (u64, usize) {
        let state = self.state();
        (state.queue.packets(), state.queue.bytes())
    }

    /// The round trip to the peer, if it has answered window stamps lately.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.state().window.round_trip()
    }

    /// The queue of a poisoned lock is consistent: no critical section panics in the middle of a change.
    fn state(&self) -> MutexGuard<'_, OutboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OutboxState {
    fn stream(&self) -> Option<Arc<dyn Stream>> {
        match &self.gate {
            Gate::Held(stream) | Gate::Open(stream) => Some(Arc::clone(stream)),
            Gate::Closed => None,
        }
    }

    fn flush(&mut self, stream: &dyn Stream, counters: &Counters) -> io::Result<Flushed> {
        if self.datagrams
            && let Some(datagrams) = stream.datagrams()
        {
            return self.flush_datagrams(stream, datagrams, counters);
        }
        let mut progress = false;
        loop {
            let now = now();
            let mut room = self.window.room_to_stamp(now).min(self.stage);
            match self.shapers.allowance(now) {
                Ok(allowance) => room = room.min(allowance),
                Err(_) if self.queue.is_urgent() => room = 1,
                Err(_) if self.queue.is_empty() => {}
                Err(until) => {
                    self.is_shaped = true;
                    return Ok(Flushed::Shaped(until));
                }
            }
            if room == 0 && self.queue.is_urgent() {
                // The minimum: what is staged, or one control frame.
                room = 1;
            } else if room == 0 && !self.queue.is_empty() {
                self.stamp(true)?;
                if self.queue.is_urgent() {
                    continue;
                }
                self.is_shaped = false;
                return Ok(Flushed::Full);
            }
            let is_shaped = self.is_shaped;
            self.queue.stage(room, now, |lost| count_lost(shaped(lost, is_shaped), counters));
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let filled = self.queue.slices(&mut pieces);
            if filled == 0 {
                self.is_shaped = false;
                return Ok(Flushed::Empty);
            }
            let offered: usize = pieces[..filled].iter().map(|piece| piece.len()).sum();
            match stream.try_write_vectored(&pieces[..filled]) {
                Ok(sent) => {
                    progress |= sent > 0;
                    if sent == offered {
                        self.stage = (self.stage * 2).min(STAGE_MAX);
                    }
                    self.queue.advance(sent, |sent| count_sent(sent, counters));
                    self.window.wrote(sent);
                    self.shapers.send(sent, now);
                    self.stamp(false)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stage = (self.stage / 2).max(STAGE_MIN);
                    self.is_shaped = false;
                    return Ok(Flushed::Waiting { progress, blocked: Blocked::Stream });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The same with packets as datagrams: frame by frame, each staged as late as possible.
    fn flush_datagrams(
        &mut self,
        stream: &dyn Stream,
        datagrams: &dyn Datagrams,
        counters: &Counters,
    ) -> io::Result<Flushed> {
        let mut progress = false;
        loop {
            let now = now();
            if let Err(until) = self.shapers.allowance(now)
                && !self.queue.is_urgent()
                && !self.queue.is_empty()
            {
                self.is_shaped = true;
                return Ok(Flushed::Shaped(until));
            }
            let is_shaped = self.is_shaped;
            self.queue.stage(1, now, |lost| count_lost(shaped(lost, is_shaped), counters));
            let Some((frame, begun)) = self.queue.front() else {
                self.is_shaped = false;
                return Ok(Flushed::Empty);
            };
            let payload = &frame[LEN_PREFIX..];
            let fits = datagrams.max_len().is_some_and(|longest| payload.len() <= longest);
            let may = !is_extension(payload) || is_echo(payload);
            let as_datagram = fits && begun == 0 && may;
            let (sent, blocked) = match as_datagram.then(|| datagrams.try_send(payload)) {
                Some(Ok(())) => (Ok(frame.len()), Blocked::Datagrams),
                // Too long: the path's MTU has just shrunk, so the packet goes in the stream.
                Some(Err(error)) if error.kind() != io::ErrorKind::InvalidInput => {
                    (Err(error), Blocked::Datagrams)
                }
                _ => (stream.try_write(&frame[begun..]), Blocked::Stream),
            };
            match sent {
                Ok(sent) => {
                    self.queue.advance(sent, |sent| count_sent(sent, counters));
                    self.shapers.send(sent, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_shaped = false;
                    return Ok(Flushed::Waiting { progress, blocked });
                }
                Err(error) => return Err(error),
            }
            progress = true;
        }
    }

    /// Writes what was just queued, as much as the socket takes, if the gate is open.
    fn flush_open(&mut self, counters: &Counters) -> io::Result<()> {
        if let Gate::Open(stream) = &self.gate {
            let stream = Arc::clone(stream);
            self.flush(&*stream, counters)?;
            self.settle();
        }
        Ok(())
    }

    /// Whether bytes here or in the stream's layers have still to be written.
    fn waits(&self) -> bool {
        !self.queue.is_empty() || self.open_stream().is_some_and(|stream| stream.has_buffered())
    }

    fn open_stream(&self) -> Option<&dyn Stream> {
        match &self.gate {
            Gate::Open(stream) => Some(&**stream),
            Gate::Held(_) | Gate::Closed => None,
        }
    }

    /// Whether packets are queued before they are sent.
    fn queues_first(&self) -> bool {
        self.shapers.is_limited() || self.is_slow()
    }

    /// Whether packets are queued one by one before they are sent.
    fn is_slow(&self) -> bool {
        let is_slow = |rate: Option<u64>| rate.is_some_and(|rate| rate < SLOW);
        self.datagrams || is_slow(self.window.rate()) || is_slow(self.shapers.rate())
    }

    /// Sends a window stamp if one is due: after what has been written, and after what is staged.
    fn stamp(&mut self, blocked: bool) -> io::Result<()> {
        if !self.stamps || !self.window.wants_stamp(blocked) {
            return Ok(());
        }
        let stamp = self.window.stamp(!self.queue.is_empty(), now());
        self.send_control(&ping_frame(stamp))
    }

    fn send_control(&mut self, frame: &[u8]) -> io::Result<()> {
        let written = match &self.gate {
            Gate::Closed => return Ok(()),
            // It goes where packets go, which is found out when it is taken out of the queue.
            Gate::Open(_) if self.datagrams && is_echo(&frame[LEN_PREFIX..]) => Ok(0),
            Gate::Open(stream) if self.queue.is_empty() => stream.try_write(frame),
            Gate::Held(_) | Gate::Open(_) => Ok(0),
        };
        match written {
            Ok(sent) if sent == frame.len() => {}
            Ok(0) => self.queue_control(frame),
            Ok(sent) => self.queue.start_with_control(frame, sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.queue_control(frame),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn enqueue(&mut self, sender: u64, frames: &[u8], counters: &Counters) {
        if !self.is_slow() || self.queue.content() == FrameContent::Ethernet {
            return self.push(sender, frames, counters);
        }
        for frame in Frames::new(frames) {
            match decode_gso_frame(frame.payload) {
                Ok(whole) => {
                    let mut cut = mem::take(&mut self.cut);
                    whole.write_frames(&mut cut);
                    self.push(sender, &cut, counters);
                    cut.clear();
                    self.cut = cut;
                }
                Err(_) => self.push(sender, &frames[frame.range], counters),
            }
        }
    }

    fn push(&mut self, sender: u64, frames: &[u8], counters: &Counters) {
        match self.charge.allowance() {
            Some(allowance) => {
                let is_shaped = self.is_shaped;
                self.queue.push(sender, frames, now(), allowance, |lost| {
                    count_lost(shaped(lost, is_shaped), counters);
                });
                self.settle();
            }
            None => {
                let reason = match self.is_shaped {
                    true => DropReason::RateLimited,
                    false => DropReason::QueueBudget,
                };
                count_drops(reason, self.queue.content(), frames, counters);
            }
        }
    }

    fn queue_control(&mut self, frame: &[u8]) {
        // A frame without room is lost: the next one makes up for it, and a peer that takes nothing is given up.
        let _ = self.queue.push_control(frame);
        self.settle();
    }

    /// After `sent` bytes of `run` were written: counts the packets that were written completely, and queues the rest.
    fn keep_unsent(&mut self, sender: u64, run: &[u8], sent: usize, counters: &Counters) {
        if sent == 0 {
            return self.enqueue(sender, run, counters);
        }
        let cut = Frames::new(run).find(|frame| frame.range.end > sent);
        let Some(cut) = cut.map(|frame| frame.range) else { return };
        count_out(self.queue.content(), &run[..cut.start], counters);
        if cut.start < sent {
            self.queue.start_with(&run[cut.clone()], sent - cut.start);
            self.enqueue(sender, &run[cut.end..], counters);
        } else {
            self.enqueue(sender, &run[cut.start..], counters);
        }
    }

    fn shrink(&mut self) {
        if self.queue.is_empty() {
            self.queue.shrink();
            self.stage = STAGE_MIN;
            self.cut = Vec::new();
        }
        self.settle();
    }

    fn settle(&mut self) {
        self.charge.set(self.queue.memory());
    }
}

/// The time of the runtime's clock, which tests can pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

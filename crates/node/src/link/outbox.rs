//! The way out of a connection: written to directly while its socket takes everything, else queued.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    mem,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtun_core::{
    DropReason, FlowQueue, Lost, MAX_CONTROL, QueueLimits, Sent, Window, limit::ShaperSet,
};
use rtun_proto::{
    extension::{decode_gso_frame, is_extension, packets, ping_frame},
    frame::{Frames, LEN_PREFIX},
};
use rtun_transport::{Datagrams, Stream};
use tokio::{sync::Notify, time::Instant};

use crate::{
    counters::Counters,
    runtime::budget::{Budget, Charge},
};

/// A peer whose socket takes nothing for this long while packets wait is given up.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// An empty queue gives its memory back after this long.
const QUIET: Duration = Duration::from_secs(1);

/// Longest wait for a peer's answer to a mark; past it the window holds nothing back.
const ANSWER: Duration = Duration::from_secs(1);

/// A way that carries less than this, in bytes per second, gets GSO frames cut into packets, so that what goes before
/// others never waits longer than for a packet: 64 KiB take 1 ms at this rate.
const SLOW: u64 = 64_000_000;

/// While packets wait for a limit, it is read again at least this often, since it may change.
const RECHECK: Duration = Duration::from_millis(100);

/// Pieces handed to one vectored write.
const PIECES: usize = 64;

/// Bytes chosen at a time for the socket. What is chosen keeps its place, so little is chosen for a socket that does not
/// take it all, and more for one that does.
const STAGE_MIN: usize = 16 * 1024;
const STAGE_MAX: usize = 256 * 1024;

/// Senders never wait here: what the socket does not take at once is queued within [`QueueLimits`] and the [`Budget`],
/// and [`Outbox::drain`] writes it as the socket empties.
pub(crate) struct Outbox {
    state: Mutex<OutboxState>,
    wake: Notify,
}

struct OutboxState {
    queue: FlowQueue,
    charge: Charge,
    gate: Gate,
    stage: usize,
    /// Only of use to a peer that answers marks; another never limits anything.
    window: Window,
    /// Whether the peer has said hello, and may be sent marks.
    marks: bool,
    /// Whether packets go beside the stream where they fit: the peer takes them there.
    datagrams: bool,
    /// The limits that packets have to keep to.
    shapers: ShaperSet,
    /// Whether packets wait for these, and not for the peer.
    is_shaped: bool,
    /// Packets cut out of GSO frames; empty between two.
    cut: Vec<u8>,
}

/// What happens to a frame that is to be sent.
enum Gate {
    /// Queued: the host has not been answered yet.
    Held(Arc<dyn Stream>),
    /// Written, or queued behind what waits.
    Open(Arc<dyn Stream>),
    /// Dropped: the connection has ended, and nothing here keeps its socket open.
    Closed,
}

/// How an attempt to empty the queue ended.
enum Flushed {
    Empty,
    /// No more is taken now.
    Waiting {
        progress: bool,
        blocked: Blocked,
    },
    /// Enough is on its way; the peer's next answer goes on.
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
    /// Holds frames back until [`Outbox::open`].
    pub(crate) fn new(stream: Arc<dyn Stream>, budget: &Arc<Budget>) -> Self {
        let state = OutboxState {
            queue: FlowQueue::new(QueueLimits::default(), fastrand::u64(..)),
            charge: Charge::new(budget),
            gate: Gate::Held(stream),
            stage: STAGE_MIN,
            window: Window::default(),
            marks: false,
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

    /// The socket, until [`Outbox::close`].
    pub(crate) fn stream(&self) -> Option<Arc<dyn Stream>> {
        self.state().stream()
    }

    /// Whether the connection has an unreliable way beside its stream.
    pub(crate) fn has_datagrams(&self) -> bool {
        self.stream().is_some_and(|stream| stream.datagrams().is_some())
    }

    /// Sends the whole frames of packets at these places of `bytes`, or queues or drops them; every packet is counted once
    /// it has left. What waits is shared out among senders: `sender` is any number that tells one from others. Never
    /// waits for the peer. An error means that the connection is broken.
    pub(crate) fn send(
        &self,
        sender: u64,
        bytes: &[u8],
        places: &[Range<usize>],
        counters: &Counters,
    ) -> io::Result<()> {
        let mut state = self.state();
        let waited = state.waits();
        let was_bare = state.queue.memory() == 0;
        let written = match &state.gate {
            Gate::Closed => {
                for place in places {
                    count_drops(DropReason::GatewayClosing, &bytes[place.clone()], counters);
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
                    count_drops(DropReason::WriteError, &bytes[place.clone()], counters);
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
                count_out(run, counters);
            }
            sent = sent.saturating_sub(run.len());
        }
        let marked = match state.queues_first() && !waited {
            true => state.flush_open(counters),
            false => state.mark(false),
        };
        // What was queued and has left at once leaves memory to be given back.
        let begins = state.waits() && !waited || was_bare && state.queue.memory() > 0;
        drop(state);
        if begins {
            self.wake.notify_one();
        }
        marked
    }

    /// From now on marks are sent, which the peer answers.
    pub(crate) fn begin_marks(&self) {
        self.state().marks = true;
    }

    /// From now on packets go as datagrams where they fit, and the stream carries the rest. What waits for it to be carried
    /// is bounded by the transport then, which sees each packet, and no longer by marks.
    pub(crate) fn begin_datagrams(&self) {
        let mut state = self.state();
        state.datagrams = true;
    }

    /// Whether packets go as datagrams where they fit.
    pub(crate) fn uses_datagrams(&self) -> bool {
        self.state().datagrams
    }

    /// The peer has answered a mark.
    pub(crate) fn answered(&self, stamp: [u8; 8]) {
        let mut state = self.state();
        state.window.answered(stamp, now());
        let waits = state.waits();
        drop(state);
        if waits {
            self.wake.notify_one();
        }
    }

    /// Sends an extension frame that is no packet, before the packets that wait. Lost when the connection has ended or
    /// too many such frames wait already.
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

    /// Sends a frame with a packet that no sender has sent. It goes before those that wait and is counted nowhere. False,
    /// and it is not sent, where half of what there is room for before packets waits already.
    pub(crate) fn send_answer(&self, frame: &[u8]) -> io::Result<bool> {
        if self.state().queue.control_bytes() + frame.len() > MAX_CONTROL / 2 {
            return Ok(false);
        }
        self.send_control(frame).map(|()| true)
    }

    /// Writes what is queued as the socket takes it; ends when the connection is broken or stalls.
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
                    // Without an answer the window opens by itself, and the socket decides again.
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

    /// From now on every frame is dropped, those queued included, and the socket is let go.
    pub(crate) fn close(&self, counters: &Counters) {
        let mut state = self.state();
        state.gate = Gate::Closed;
        state.queue.clear(DropReason::WriteError, |lost| count_lost(lost, counters));
        state.shrink();
    }

    /// Packets and bytes waiting.
    pub(crate) fn queued(&self) -> (u64, usize) {
        let state = self.state();
        (state.queue.packets(), state.queue.bytes())
    }

    /// A poisoned lock still guards a whole queue: nothing in a critical section panics half way through a change.
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
            return self.flush_beside(stream, datagrams, counters);
        }
        let mut progress = false;
        // Until the limits let something through: what is lost now has waited for them.
        let mut waited = mem::take(&mut self.is_shaped);
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
                // As little as there is: what is staged, or one control frame.
                room = 1;
            } else if room == 0 && !self.queue.is_empty() {
                self.mark(true)?;
                if self.queue.is_urgent() {
                    continue;
                }
                return Ok(Flushed::Full);
            }
            let was_shaped = mem::take(&mut waited);
            self.queue.stage(room, now, |lost| count_lost(shaped(lost, was_shaped), counters));
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let filled = self.queue.slices(&mut pieces);
            if filled == 0 {
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
                    self.mark(false)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stage = (self.stage / 2).max(STAGE_MIN);
                    return Ok(Flushed::Waiting { progress, blocked: Blocked::Stream });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The same with packets as datagrams: frame by frame, as late as possible.
    fn flush_beside(
        &mut self,
        stream: &dyn Stream,
        datagrams: &dyn Datagrams,
        counters: &Counters,
    ) -> io::Result<Flushed> {
        let mut progress = false;
        // Until the limits let something through: what is lost now has waited for them.
        let mut waited = mem::take(&mut self.is_shaped);
        loop {
            let now = now();
            if let Err(until) = self.shapers.allowance(now)
                && !self.queue.is_urgent()
                && !self.queue.is_empty()
            {
                self.is_shaped = true;
                return Ok(Flushed::Shaped(until));
            }
            let was_shaped = mem::take(&mut waited);
            self.queue.stage(1, now, |lost| count_lost(shaped(lost, was_shaped), counters));
            let Some((frame, begun)) = self.queue.front() else { return Ok(Flushed::Empty) };
            let payload = &frame[LEN_PREFIX..];
            let fits = datagrams.max_len().is_some_and(|longest| payload.len() <= longest);
            let beside = fits && begun == 0 && !is_extension(payload);
            let (sent, blocked) = match beside.then(|| datagrams.try_send(payload)) {
                Some(Ok(())) => (Ok(frame.len()), Blocked::Datagrams),
                // The way has become narrower just now.
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
                    return Ok(Flushed::Waiting { progress, blocked });
                }
                Err(error) => return Err(error),
            }
            progress = true;
        }
    }

    /// Writes what was queued just now, as far as it goes, unless the host has not been answered yet.
    fn flush_open(&mut self, counters: &Counters) -> io::Result<()> {
        if let Gate::Open(stream) = &self.gate {
            let stream = Arc::clone(stream);
            self.flush(&*stream, counters)?;
            self.settle();
        }
        Ok(())
    }

    /// Whether something here or in the stream's layers has still to be written.
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

    /// Sends a mark where one is due: behind what has been written, and behind what is staged if anything is.
    fn mark(&mut self, blocked: bool) -> io::Result<()> {
        if !self.marks || !self.window.wants_stamp(blocked) {
            return Ok(());
        }
        let stamp = self.window.stamp(!self.queue.is_empty(), now());
        self.send_control(&ping_frame(stamp))
    }

    fn send_control(&mut self, frame: &[u8]) -> io::Result<()> {
        let written = match &self.gate {
            Gate::Closed => return Ok(()),
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
        if !self.is_slow() {
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
            None => count_drops(DropReason::QueueBudget, frames, counters),
        }
    }

    fn queue_control(&mut self, frame: &[u8]) {
        // One that finds no room is made up for by the next: a peer that takes nothing is given up.
        let _ = self.queue.push_control(frame);
        self.settle();
    }

    /// Counts the packets of `run` that are wholly on the wire after `sent` bytes and queues the rest.
    fn keep_unsent(&mut self, sender: u64, run: &[u8], sent: usize, counters: &Counters) {
        if sent == 0 {
            return self.enqueue(sender, run, counters);
        }
        let cut = Frames::new(run).find(|frame| frame.range.end > sent);
        let Some(cut) = cut.map(|frame| frame.range) else { return };
        count_out(&run[..cut.start], counters);
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

/// On the clock that all waiting goes by, which tests can pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Writes as much as the socket takes, at most `room` bytes.
fn try_write(
    stream: &dyn Stream,
    bytes: &[u8],
    places: &[Range<usize>],
    mut room: usize,
) -> io::Result<usize> {
    if room == 0 {
        return Ok(0);
    }
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let mut filled = 0;
    for (slot, place) in pieces.iter_mut().zip(places) {
        if room == 0 {
            break;
        }
        let run = &bytes[place.clone()];
        *slot = IoSlice::new(&run[..run.len().min(room)]);
        room -= slot.len();
        filled += 1;
    }
    stream.try_write_vectored(&pieces[..filled])
}

fn count_sent(Sent { packets, bytes }: Sent, counters: &Counters) {
    counters.count_out(packets, bytes as u64);
}

/// What is lost while packets wait for a limit is lost to the limit.
fn shaped(lost: Lost, is_shaped: bool) -> Lost {
    let reason = match lost.reason {
        DropReason::QueueFullOldest | DropReason::QueueTooOld | DropReason::QueueCodel
            if is_shaped =>
        {
            DropReason::RateLimited
        }
        other => other,
    };
    Lost { reason, ..lost }
}

fn count_lost(Lost { reason, packets, .. }: Lost, counters: &Counters) {
    counters.count_drops(reason, packets);
}

fn count_out(run: &[u8], counters: &Counters) {
    let (mut all, mut frames) = (0, 0);
    for frame in Frames::new(run) {
        all += packets(frame.payload);
        frames += 1;
    }
    counters.count_out(all as u64, (run.len() - frames * LEN_PREFIX) as u64);
}

fn count_drops(reason: DropReason, run: &[u8], counters: &Counters) {
    let all: usize = Frames::new(run).map(|frame| packets(frame.payload)).sum();
    counters.count_drops(reason, all as u64);
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU64, slice};

    use rtun_core::limit::{ShaperPair, TrafficLimit, TrafficRate};
    use rtun_transport::memory;

    use super::*;

    /// Packets that are queued one by one before they are sent, and leave at once.
    #[tokio::test(start_paused = true)]
    async fn memory_is_given_back_although_nothing_ever_waited() {
        let (stream, other) = memory::pair(1 << 20);
        let stream: Arc<dyn Stream> = Arc::new(stream);
        let (budget, counters) = (Budget::new(1 << 24), Arc::<Counters>::default());
        let outbox = Arc::new(Outbox::new(Arc::clone(&stream), &budget));
        outbox.open();
        outbox.begin_datagrams();
        let (its_outbox, its_counters) = (Arc::clone(&outbox), Arc::clone(&counters));
        let drain = tokio::spawn(async move { its_outbox.drain(&*stream, &its_counters).await });
        tokio::time::sleep(2 * QUIET).await;

        let mut frame = vec![0, 20, 0x45];
        frame.resize(LEN_PREFIX + 20, 0);
        outbox.send(1, &frame, slice::from_ref(&(0..frame.len())), &counters).unwrap();
        assert_eq!((outbox.queued(), counters.read().packets_out), ((0, 0), 1));
        assert!(budget.read().0 > 0, "it was queued");
        tokio::time::sleep(2 * QUIET).await;
        assert_eq!(budget.read().0, 0);
        drain.abort();
        drop(other);
    }

    /// In simulated time: a sender that always has more, through a stream that takes everything.
    #[tokio::test(start_paused = true)]
    async fn a_limit_is_kept_to_3_percent_and_what_it_holds_back_is_bounded() {
        for mbit in [1, 10, 100, 1000_u64] {
            let bytes = mbit * 125_000;
            let limit =
                TrafficLimit { input: None, output: NonZeroU64::new(bytes).map(TrafficRate::new) };
            let pair = Arc::new(ShaperPair::new(Some(limit), now()));
            let (stream, other) = memory::pair(1 << 22);
            let stream: Arc<dyn Stream> = Arc::new(stream);
            let (budget, counters) = (Budget::new(1 << 28), Arc::<Counters>::default());
            let outbox = Arc::new(Outbox::new(Arc::clone(&stream), &budget));
            outbox.limit(ShaperSet::output([pair]));
            outbox.open();
            let (its_outbox, its_counters) = (Arc::clone(&outbox), Arc::clone(&counters));
            let drain =
                tokio::spawn(async move { its_outbox.drain(&*stream, &its_counters).await });

            let mut frame = vec![0x05, 0x78, 0x45];
            frame.resize(LEN_PREFIX + 1400, 0);
            // In each millisecond a quarter more than the limit lets through.
            let each = (bytes * 5 / 4 / 1000).div_ceil(frame.len() as u64) as usize;
            let run = frame.repeat(each);
            let (mut buffer, mut arrived, mut pushed) = (vec![0; 1 << 20], 0, 0);
            for millis in 0..1500 {
                outbox.send(1, &run, slice::from_ref(&(0..run.len())), &counters).unwrap();
                pushed += each as u64;
                assert!(outbox.queued().1 <= QueueLimits::default().bytes + STAGE_MAX);
                tokio::time::sleep(Duration::from_millis(1)).await;
                while let Ok(read) = other.try_read(&mut buffer) {
                    arrived += if millis >= 500 { read as u64 } else { 0 };
                }
            }
            let error = arrived.abs_diff(bytes) as f64 / bytes as f64;
            assert!(error < 0.03, "{mbit} Mbit/s: {arrived} in 1 s, {error:.4}");
            let traffic = counters.read();
            let lost = traffic.dropped(DropReason::RateLimited);
            assert!(lost > 0 && traffic.drops().to_string() == format!("rate_limited={lost}"));
            assert_eq!(traffic.packets_out + lost + outbox.queued().0, pushed);
            drain.abort();
        }
    }
}

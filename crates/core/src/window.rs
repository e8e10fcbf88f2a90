//! How much may be on its way to the other end of a connection, so that packets wait where they can be chosen from.
//!
//! A transport buffers what it is given: in its own queue, in every router's on the path, and at the receiver until that
//! reads. All of it is delay for a packet that comes later. Between rtun ends the sender marks its stream now and then,
//! the receiver answers each mark when it comes to it, and from that the sender knows how fast the whole way is, how long
//! it is when empty, and how much is on it. This is the model of BBR (draft-ietf-ccwg-bbr sections 2 and 5.5), kept to
//! what an application can see and do: not to hand over more.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// What may stand in the way's queues when it is full: the price for keeping it busy.
const STANDING: Duration = Duration::from_millis(3);

/// On long ways more, this part of what is on its way anyhow: so much faster than now the way may turn out to be.
const GAIN: f64 = 1.5;

/// The same as long as the rate grows: it may double with every round trip, as TCP's own does in the beginning.
const GAIN_GROWING: f64 = 2.0;

/// The rate no longer grows when so many round trips have not brought so many times as much.
const GROWN: f64 = 1.25;
const ROUNDS_FULL: u8 = 3;

/// So much may always be on its way, in bytes.
const LEAST: u64 = 16 * 1024;

/// So many marks are on a full way: what was received is known to that fraction of what is on it. At least so many bytes
/// stand between two.
const MARKS_ON_WAY: u64 = 8;
const MARK_BYTES: u64 = 4 * 1024;

/// The same before the limit is known.
const MARK_FIRST: u64 = 64 * 1024;

/// Marks on their way at most; none is added past that.
const MARKS: usize = 64;

/// A receiver that answers no mark for this long is not one to wait for: nothing is held back.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the highest rate is believed, and the shortest way.
const RATE_AGE: Duration = Duration::from_secs(1);
const WAY_AGE: Duration = Duration::from_secs(10);

/// Rates are measured over at least this time.
const SPAN: Duration = Duration::from_millis(10);

/// So often the way is emptied to see how long it is, since a way that is always full never shows that.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// Of one direction of one connection. Knows nothing before the first answer, and then holds nothing back.
#[derive(Debug, Default)]
pub struct Window {
    /// Bytes handed to the transport, and those known to have been received.
    written: u64,
    received: u64,
    marks: VecDeque<Mark>,
    /// In bytes per second.
    rate: Best<u64>,
    way: Best<std::cmp::Reverse<Duration>>,
    /// When measuring the rate began, and what had been received.
    span: Option<(Instant, u64)>,
    growth: Growth,
    probe: Option<Probe>,
}

/// Whether the rate still grows.
#[derive(Debug, Default)]
struct Growth {
    /// It was this when it last grew.
    rate: u64,
    /// Round trips since.
    rounds: u8,
    /// The present one ends when this has been received.
    round_ends: u64,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    position: u64,
    sent: Instant,
    /// Whether more waited then than was written: only then does the rate tell what the way can carry.
    backlog: bool,
}

/// When the way was emptied last, and whether it is being emptied now, up to this position.
#[derive(Debug, Clone, Copy)]
struct Probe {
    begun: Instant,
    until: Option<u64>,
}

/// The highest value of the present period and of the one before.
#[derive(Debug, Clone, Copy)]
struct Best<T> {
    begun: Option<Instant>,
    present: Option<T>,
    before: Option<T>,
}

impl<T> Default for Best<T> {
    fn default() -> Self {
        Self { begun: None, present: None, before: None }
    }
}

impl<T: Ord + Copy> Best<T> {
    fn add(&mut self, value: T, now: Instant, period: Duration) {
        if self.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= period) {
            self.begun = Some(now);
            self.before = self.present.take();
        }
        self.present = self.present.max(Some(value));
    }

    fn get(&self) -> Option<T> {
        self.present.max(self.before)
    }
}

impl Window {
    /// So many bytes have been handed to the transport.
    pub fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    /// Whether a mark is to be sent behind what has been written: where one belongs, behind the very first bytes, and when
    /// `blocked`, that is nothing more may be written, so that an answer will come. Little traffic is not marked.
    pub fn wants_mark(&self, blocked: bool) -> bool {
        if self.marks.is_empty() && (blocked || self.received == 0) {
            return self.written > self.received;
        }
        self.to_mark() == 0 && self.marks.len() < MARKS
    }

    /// A mark behind what has been written, to be sent now; `backlog`: whether more waits. Its bytes are never all zero.
    pub fn mark(&mut self, backlog: bool, now: Instant) -> [u8; 8] {
        let mark = Mark { position: self.written, sent: now, backlog };
        self.marks.push_back(mark);
        (self.written + 1).to_be_bytes()
    }

    /// The receiver has come to this mark. Answers to no mark, or out of order, change nothing.
    pub fn answered(&mut self, stamp: [u8; 8], now: Instant) {
        let Some(position) = u64::from_be_bytes(stamp).checked_sub(1) else { return };
        let Some(found) = self.marks.iter().position(|mark| mark.position == position) else {
            return;
        };
        let mark = self.marks[found];
        self.marks.drain(..=found);
        self.received = position;
        let took = now.saturating_duration_since(mark.sent).max(Duration::from_micros(1));
        self.way.add(std::cmp::Reverse(took), now, WAY_AGE);
        self.measure(mark.backlog, now);
        if self.received >= self.growth.round_ends {
            self.growth.round(self.rate.get().unwrap_or_default(), self.written);
        }
        self.probe(now);
    }

    /// How many bytes may be handed over now; [`usize::MAX`] without a limit.
    pub fn room(&self, now: Instant) -> usize {
        let waits = self.marks.front().map(|mark| now.saturating_duration_since(mark.sent));
        match self.limit() {
            Some(limit) if waits.is_none_or(|waits| waits < PATIENCE) => {
                let room = limit.saturating_sub(self.written - self.received);
                usize::try_from(room).unwrap_or(usize::MAX)
            }
            _ => usize::MAX,
        }
    }

    /// The same up to where the next mark belongs.
    pub fn room_to_mark(&self, now: Instant) -> usize {
        match self.room(now) {
            usize::MAX => usize::MAX,
            room => room.min(usize::try_from(self.to_mark()).unwrap_or(usize::MAX)),
        }
    }

    /// What the way carries, in bytes per second, as far as that is known.
    pub fn rate(&self) -> Option<u64> {
        self.rate.get()
    }

    /// Bytes to be written before the next mark.
    fn to_mark(&self) -> u64 {
        let apart = self.limit().map_or(MARK_FIRST, |limit| (limit / MARKS_ON_WAY).max(MARK_BYTES));
        let last = self.marks.back().map_or(self.received, |last| last.position);
        (last + apart).saturating_sub(self.written)
    }

    fn limit(&self) -> Option<u64> {
        let (rate, way) = (self.rate.get()?, self.way.get()?.0);
        if self.probe.is_some_and(|probe| probe.until.is_some()) {
            return Some(LEAST);
        }
        let gain = if self.growth.rounds < ROUNDS_FULL { GAIN_GROWING } else { GAIN };
        let full = way.mul_f64(gain).max(way + STANDING);
        Some(((rate as f64 * full.as_secs_f64()) as u64).max(LEAST))
    }

    /// Takes the rate over the last [`SPAN`]: shorter bursts say nothing about what the way carries.
    fn measure(&mut self, backlog: bool, now: Instant) {
        let Some((since, before)) = self.span else {
            self.span = Some((now, self.received));
            return;
        };
        let passed = now.saturating_duration_since(since);
        if passed < SPAN {
            return;
        }
        self.span = Some((now, self.received));
        // A pause in between says nothing either.
        if passed > 4 * SPAN.max(self.way.get().map_or(SPAN, |way| way.0)) {
            return;
        }
        let rate = ((self.received - before) as f64 / passed.as_secs_f64()) as u64;
        if backlog || self.rate.get().is_none_or(|best| rate > best) {
            self.rate.add(rate, now, RATE_AGE);
        }
    }

    /// Begins to empty the way, or ends that once it has been seen empty.
    fn probe(&mut self, now: Instant) {
        let probe = self.probe.get_or_insert(Probe { begun: now, until: None });
        match probe.until {
            Some(until) if self.received >= until => probe.until = None,
            Some(_) => {}
            None if now.saturating_duration_since(probe.begun) >= PROBE_EVERY => {
                // What is on its way now has to arrive, and then something that found the way empty.
                *probe = Probe { begun: now, until: Some(self.written + LEAST) };
            }
            None => {}
        }
    }
}

impl Growth {
    /// A round trip has ended; the next ends when `written` has been received.
    fn round(&mut self, rate: u64, written: u64) {
        self.round_ends = written;
        if rate as f64 >= self.rate as f64 * GROWN {
            (self.rate, self.rounds) = (rate, 0);
        } else {
            self.rounds = self.rounds.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A way that carries so many bytes per second and takes so long when empty, simulated in steps of 50 µs, with a
    /// sender that always has more.
    struct Way {
        rate: f64,
        delay: Duration,
        now: Instant,
        window: Window,
        /// When the last byte handed over will have been carried.
        free: Instant,
        /// Answers on their way back.
        answers: VecDeque<(Instant, [u8; 8])>,
        carried: f64,
    }

    /// What the transport holds.
    const BUFFER: f64 = 1024.0 * 1024.0;

    const STEP: Duration = Duration::from_micros(50);

    impl Way {
        fn new(rate: f64, delay: Duration) -> Self {
            let now = Instant::now();
            let window = Window::default();
            Self { rate, delay, now, window, free: now, answers: VecDeque::new(), carried: 0.0 }
        }

        /// The share of what the way could have carried, and the longest wait in its queue.
        fn run(&mut self, time: Duration) -> (f64, Duration) {
            let (end, mut worst) = (self.now + time, Duration::ZERO);
            let before = self.carried;
            while self.now < end {
                self.now += STEP;
                while self.answers.front().is_some_and(|(when, _)| *when <= self.now) {
                    let (_, stamp) = self.answers.pop_front().unwrap();
                    self.window.answered(stamp, self.now);
                }
                // A sender that may send all it has is as fast as a memory copy, until the transport takes no more.
                let queued =
                    self.free.saturating_duration_since(self.now).as_secs_f64() * self.rate;
                let taken = (BUFFER - queued).max(0.0) as usize;
                let bytes = self.window.room_to_mark(self.now).min(64 * 1024).min(taken);
                if bytes > 0 {
                    self.window.wrote(bytes);
                    self.carried += bytes as f64;
                    let carried = Duration::from_secs_f64(bytes as f64 / self.rate);
                    self.free = self.free.max(self.now) + carried;
                    worst = worst.max(self.free - self.now);
                }
                if self.window.wants_mark(self.window.room(self.now) == 0) {
                    let stamp = self.window.mark(true, self.now);
                    self.answers.push_back((self.free.max(self.now) + self.delay, stamp));
                }
            }
            ((self.carried - before) / self.rate / time.as_secs_f64(), worst)
        }
    }

    /// Right after the way was emptied the whole window leaves at once; otherwise the waits are half as long.
    #[test]
    fn ways_of_every_kind_are_kept_busy_with_short_queues() {
        for (megabits, delay, allowed) in [
            (10.0, 1, 30),
            (100.0, 1, 8),
            (100.0, 50, 80),
            (1_000.0, 1, 6),
            (1_000.0, 100, 150),
            (8_000.0, 0, 6),
        ] {
            let mut way = Way::new(megabits * 125_000.0, Duration::from_millis(delay));
            way.run(Duration::from_secs(15));
            let (busy, worst) = way.run(Duration::from_secs(30));
            assert!(busy > 0.95, "{megabits} Mbit/s, {delay} ms: {busy}");
            assert!(
                worst < Duration::from_millis(allowed),
                "{megabits} Mbit/s, {delay} ms: {worst:?}"
            );
        }
    }

    #[test]
    fn a_way_that_changes_is_found_again() {
        let mut way = Way::new(12.5e6, Duration::from_millis(10));
        way.run(Duration::from_secs(3));
        way.rate = 125e6;
        way.run(Duration::from_secs(1));
        assert!(way.run(Duration::from_secs(3)).0 > 0.9, "faster");
        way.delay = Duration::from_millis(100);
        way.run(Duration::from_secs(25));
        assert!(way.run(Duration::from_secs(9)).0 > 0.9, "longer");
        way.rate = 1.25e6;
        way.run(Duration::from_secs(25));
        let (busy, worst) = way.run(Duration::from_secs(9));
        assert!(busy > 0.9 && worst < Duration::from_millis(300), "slower: {busy} {worst:?}");
    }

    #[test]
    fn a_receiver_that_answers_nothing_is_not_waited_for() {
        let mut now = Instant::now();
        let mut window = Window::default();
        assert!(!window.wants_mark(true), "nothing has been written");
        window.wrote(1_000_000);
        assert!(window.wants_mark(false));
        let stamp = window.mark(true, now);
        assert_ne!(stamp, [0; 8]);
        assert_eq!(window.room(now), usize::MAX);
        window.answered(stamp, now);
        window.wrote(1_000_000);
        let stamp = window.mark(true, now);
        now += SPAN;
        window.answered(stamp, now);
        window.wrote(10_000_000);
        assert_eq!(window.room(now), 0);
        window.mark(true, now);
        assert_eq!(window.room(now + PATIENCE), usize::MAX);
    }

    #[test]
    fn little_traffic_is_not_marked_unless_it_has_to_wait() {
        let mut window = Window::default();
        window.wrote(100);
        assert!(window.wants_mark(false), "the first bytes");
        let stamp = window.mark(false, Instant::now());
        window.answered(stamp, Instant::now());
        window.wrote(1000);
        assert!(!window.wants_mark(false));
        assert!(window.wants_mark(true));
        window.wrote(1_000_000);
        assert!(window.wants_mark(false));
    }

    #[test]
    fn strange_answers_change_nothing() {
        let now = Instant::now();
        let mut window = Window::default();
        window.wrote(100_000);
        let stamp = window.mark(true, now);
        for strange in [[0; 8], [0xff; 8], 7u64.to_be_bytes()] {
            window.answered(strange, now);
        }
        assert_eq!((window.marks.len(), window.rate()), (1, None));
        window.answered(stamp, now);
        window.answered(stamp, now + SPAN);
        assert_eq!((window.marks.len(), window.rate()), (0, None));
        window.wrote(100_000);
        let stamp = window.mark(true, now);
        window.answered(stamp, now + SPAN);
        assert_eq!(window.rate(), Some(10_000_000));
    }
}

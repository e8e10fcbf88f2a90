//! How many bytes of a connection may be in flight, so that packets wait in the queue here, where the next one can be
//! chosen.
//!
//! A transport buffers the bytes it is given: in its own queue, in the queue of every router on the path, and at the
//! receiver until that reads. All these bytes delay a packet that comes later. Between rtun ends the sender therefore
//! writes window stamps into its stream (pings), and the receiver answers each stamp when it reads it. From the answers
//! the sender knows the rate of the path, its delay when empty, and how much is in flight. This is the model of BBR
//! (draft-ietf-ccwg-bbr sections 2 and 5.5), reduced to what an application can do: write no more.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The delay in the path's queues that is accepted to keep the path busy.
const QUEUE_DELAY: Duration = Duration::from_millis(3);

/// On long paths more: the bytes in flight may be this many times what the measured rate needs, so that a path that has
/// become faster is noticed.
const GAIN: f64 = 1.5;

/// The same while the rate grows: it may double in every round trip, as in TCP's slow start.
const GAIN_GROWING: f64 = 2.0;

/// The rate has stopped growing when it has not become `GROWN` times as high in `ROUNDS_FULL` round trips.
const GROWN: f64 = 1.25;
const ROUNDS_FULL: u8 = 3;

/// This many bytes may always be in flight.
const LEAST: u64 = 16 * 1024;

/// The number of stamps in a full window: the received bytes are known to this fraction of the window. At least
/// `STAMP_BYTES` are between two stamps.
const STAMPS_IN_WINDOW: u64 = 8;
const STAMP_BYTES: u64 = 4 * 1024;

/// Bytes between two stamps before the limit is known.
const STAMP_BYTES_FIRST: u64 = 64 * 1024;

/// The most unanswered stamps; no more are added.
const MAX_STAMPS: usize = 64;

/// If the receiver answers no stamp for this long, there is no limit.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the highest rate counts, and the shortest delay.
const RATE_AGE: Duration = Duration::from_secs(1);
const DELAY_AGE: Duration = Duration::from_secs(10);

/// Rates are measured over at least this time.
const SPAN: Duration = Duration::from_millis(10);

/// How often the path is emptied to measure its delay, which a path that is always full does not show.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// The window of one direction of one connection. Before the first answer there is no limit.
#[derive(Debug, Default)]
pub struct Window {
    /// Bytes given to the transport, and those known to be received.
    written: u64,
    received: u64,
    stamps: VecDeque<WindowStamp>,
    /// In bytes per second.
    rate: Best<u64>,
    delay: Best<std::cmp::Reverse<Duration>>,
    /// When the current rate measurement began, and how much had been received then.
    span: Option<(Instant, u64)>,
    growth: Growth,
    probe: Option<Probe>,
}

/// Whether the rate still grows.
#[derive(Debug, Default)]
struct Growth {
    /// The rate when it last grew.
    rate: u64,
    /// Round trips since then.
    rounds: u8,
    /// The current round trip ends when this position is received.
    round_ends: u64,
}

/// A stamp in the stream that has not been answered.
#[derive(Debug, Clone, Copy)]
struct WindowStamp {
    position: u64,
    sent: Instant,
    /// Whether more bytes waited than were written. Only then the rate says what the path can carry.
    backlog: bool,
}

/// When the path was emptied last, and up to which position it is being emptied now.
#[derive(Debug, Clone, Copy)]
struct Probe {
    begun: Instant,
    until: Option<u64>,
}

/// The highest value of the current period and of the one before.
#[derive(Debug, Clone, Copy)]
struct Best<T> {
    begun: Option<Instant>,
    current: Option<T>,
    before: Option<T>,
}

impl<T> Default for Best<T> {
    fn default() -> Self {
        Self { begun: None, current: None, before: None }
    }
}

impl<T: Ord + Copy> Best<T> {
    fn add(&mut self, value: T, now: Instant, period: Duration) {
        if self.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= period) {
            self.begun = Some(now);
            self.before = self.current.take();
        }
        self.current = self.current.max(Some(value));
    }

    fn get(&self) -> Option<T> {
        self.current.max(self.before)
    }
}

impl Window {
    /// Records that this many bytes were given to the transport.
    pub fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    /// Whether a stamp is to be sent after the written bytes: when one is due, after the very first bytes, and when
    /// `blocked`, that is when nothing more may be written, so that an answer will come. Little traffic needs no stamps.
    pub fn wants_stamp(&self, blocked: bool) -> bool {
        if self.stamps.is_empty() && (blocked || self.received == 0) {
            return self.written > self.received;
        }
        self.to_stamp() == 0 && self.stamps.len() < MAX_STAMPS
    }

    /// A stamp to be sent now, after the written bytes; `backlog`: whether more bytes wait. Its bytes are never all zero.
    pub fn stamp(&mut self, backlog: bool, now: Instant) -> [u8; 8] {
        let stamp = WindowStamp { position: self.written, sent: now, backlog };
        self.stamps.push_back(stamp);
        (self.written + 1).to_be_bytes()
    }

    /// The receiver has read this stamp. Answers to unknown stamps, or out of order, change nothing.
    pub fn answered(&mut self, stamp: [u8; 8], now: Instant) {
        let Some(position) = u64::from_be_bytes(stamp).checked_sub(1) else { return };
        let Some(found) = self.stamps.iter().position(|stamp| stamp.position == position) else {
            return;
        };
        let stamp = self.stamps[found];
        self.stamps.drain(..=found);
        self.received = position;
        let took = now.saturating_duration_since(stamp.sent).max(Duration::from_micros(1));
        self.delay.add(std::cmp::Reverse(took), now, DELAY_AGE);
        self.measure(stamp.backlog, now);
        if self.received >= self.growth.round_ends {
            self.growth.round(self.rate.get().unwrap_or_default(), self.written);
        }
        self.probe(now);
    }

    /// How many bytes may be written now; [`usize::MAX`] if there is no limit.
    pub fn room(&self, now: Instant) -> usize {
        let waits = self.stamps.front().map(|stamp| now.saturating_duration_since(stamp.sent));
        match self.limit() {
            Some(limit) if waits.is_none_or(|waits| waits < PATIENCE) => {
                let room = limit.saturating_sub(self.written - self.received);
                usize::try_from(room).unwrap_or(usize::MAX)
            }
            _ => usize::MAX,
        }
    }

    /// The same, but at most up to the position where the next stamp is due.
    pub fn room_to_stamp(&self, now: Instant) -> usize {
        match self.room(now) {
            usize::MAX => usize::MAX,
            room => room.min(usize::try_from(self.to_stamp()).unwrap_or(usize::MAX)),
        }
    }

    /// The rate of the path in bytes per second, if it is known.
    pub fn rate(&self) -> Option<u64> {
        self.rate.get()
    }

    /// The least time between a stamp and its answer lately, if there was an answer.
    pub fn round_trip(&self) -> Option<Duration> {
        self.delay.get().map(|delay| delay.0)
    }

    /// Bytes to be written before the next stamp.
    fn to_stamp(&self) -> u64 {
        let apart = self
            .limit()
            .map_or(STAMP_BYTES_FIRST, |limit| (limit / STAMPS_IN_WINDOW).max(STAMP_BYTES));
        let last = self.stamps.back().map_or(self.received, |last| last.position);
        (last + apart).saturating_sub(self.written)
    }

    fn limit(&self) -> Option<u64> {
        let (rate, delay) = (self.rate.get()?, self.delay.get()?.0);
        if self.probe.is_some_and(|probe| probe.until.is_some()) {
            return Some(LEAST);
        }
        let gain = if self.growth.rounds < ROUNDS_FULL { GAIN_GROWING } else { GAIN };
        let full = delay.mul_f64(gain).max(delay + QUEUE_DELAY);
        Some(((rate as f64 * full.as_secs_f64()) as u64).max(LEAST))
    }

    /// Measures the rate over the last [`SPAN`]. Shorter bursts say nothing about the path.
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
        // Neither does a time with a pause.
        if passed > 4 * SPAN.max(self.delay.get().map_or(SPAN, |delay| delay.0)) {
            return;
        }
        let rate = ((self.received - before) as f64 / passed.as_secs_f64()) as u64;
        if backlog || self.rate.get().is_none_or(|best| rate > best) {
            self.rate.add(rate, now, RATE_AGE);
        }
    }

    /// Begins to empty the path, or ends that when its delay has been measured.
    fn probe(&mut self, now: Instant) {
        let probe = self.probe.get_or_insert(Probe { begun: now, until: None });
        match probe.until {
            Some(until) if self.received >= until => probe.until = None,
            Some(_) => {}
            None if now.saturating_duration_since(probe.begun) >= PROBE_EVERY => {
                // The bytes in flight have to arrive, and then some bytes that found the path empty.
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

    /// A path of this rate in bytes per second and this delay when empty, simulated in steps of 50 µs. The sender always
    /// has more to send.
    struct SimulatedPath {
        rate: f64,
        delay: Duration,
        now: Instant,
        window: Window,
        /// When the path will have carried the last byte given to it.
        free: Instant,
        /// Answers that have not arrived yet.
        answers: VecDeque<(Instant, [u8; 8])>,
        carried: f64,
    }

    /// The bytes that the transport buffers.
    const BUFFER: f64 = 1024.0 * 1024.0;

    const STEP: Duration = Duration::from_micros(50);

    impl SimulatedPath {
        fn new(rate: f64, delay: Duration) -> Self {
            let now = Instant::now();
            let window = Window::default();
            Self { rate, delay, now, window, free: now, answers: VecDeque::new(), carried: 0.0 }
        }

        /// The used share of the rate, and the longest wait in the queue.
        fn run(&mut self, time: Duration) -> (f64, Duration) {
            let (end, mut worst) = (self.now + time, Duration::ZERO);
            let before = self.carried;
            while self.now < end {
                self.now += STEP;
                while self.answers.front().is_some_and(|(when, _)| *when <= self.now) {
                    let (_, stamp) = self.answers.pop_front().unwrap();
                    self.window.answered(stamp, self.now);
                }
                // A sender without a limit is as fast as a memory copy, until the transport takes no more.
                let queued =
                    self.free.saturating_duration_since(self.now).as_secs_f64() * self.rate;
                let taken = (BUFFER - queued).max(0.0) as usize;
                let bytes = self.window.room_to_stamp(self.now).min(64 * 1024).min(taken);
                if bytes > 0 {
                    self.window.wrote(bytes);
                    self.carried += bytes as f64;
                    let carried = Duration::from_secs_f64(bytes as f64 / self.rate);
                    self.free = self.free.max(self.now) + carried;
                    worst = worst.max(self.free - self.now);
                }
                if self.window.wants_stamp(self.window.room(self.now) == 0) {
                    let stamp = self.window.stamp(true, self.now);
                    self.answers.push_back((self.free.max(self.now) + self.delay, stamp));
                }
            }
            ((self.carried - before) / self.rate / time.as_secs_f64(), worst)
        }
    }

    /// Right after the path was emptied the whole window is sent at once; otherwise the waits are half as long.
    #[test]
    fn paths_of_every_kind_are_kept_busy_with_short_queues() {
        for (megabits, delay, allowed) in [
            (10.0, 1, 30),
            (100.0, 1, 8),
            (100.0, 50, 80),
            (1_000.0, 1, 6),
            (1_000.0, 100, 150),
            (8_000.0, 0, 6),
        ] {
            let mut path = SimulatedPath::new(megabits * 125_000.0, Duration::from_millis(delay));
            path.run(Duration::from_secs(15));
            let (busy, worst) = path.run(Duration::from_secs(30));
            assert!(busy > 0.95, "{megabits} Mbit/s, {delay} ms: {busy}");
            assert!(
                worst < Duration::from_millis(allowed),
                "{megabits} Mbit/s, {delay} ms: {worst:?}"
            );
        }
    }

    #[test]
    fn a_path_that_changes_is_measured_again() {
        let mut path = SimulatedPath::new(12.5e6, Duration::from_millis(10));
        path.run(Duration::from_secs(3));
        path.rate = 125e6;
        path.run(Duration::from_secs(1));
        assert!(path.run(Duration::from_secs(3)).0 > 0.9, "faster");
        path.delay = Duration::from_millis(100);
        path.run(Duration::from_secs(25));
        assert!(path.run(Duration::from_secs(9)).0 > 0.9, "longer");
        path.rate = 1.25e6;
        path.run(Duration::from_secs(25));
        let (busy, worst) = path.run(Duration::from_secs(9));
        assert!(busy > 0.9 && worst < Duration::from_millis(300), "slower: {busy} {worst:?}");
    }

    #[test]
    fn a_receiver_that_answers_nothing_sets_no_limit() {
        let mut now = Instant::now();
        let mut window = Window::default();
        assert!(!window.wants_stamp(true), "nothing has been written");
        window.wrote(1_000_000);
        assert!(window.wants_stamp(false));
        let stamp = window.stamp(true, now);
        assert_ne!(stamp, [0; 8]);
        assert_eq!(window.room(now), usize::MAX);
        window.answered(stamp, now);
        window.wrote(1_000_000);
        let stamp = window.stamp(true, now);
        now += SPAN;
        window.answered(stamp, now);
        window.wrote(10_000_000);
        assert_eq!(window.room(now), 0);
        window.stamp(true, now);
        assert_eq!(window.room(now + PATIENCE), usize::MAX);
    }

    #[test]
    fn little_traffic_has_no_stamps_unless_it_has_to_wait() {
        let mut window = Window::default();
        window.wrote(100);
        assert!(window.wants_stamp(false), "the first bytes");
        let stamp = window.stamp(false, Instant::now());
        window.answered(stamp, Instant::now());
        window.wrote(1000);
        assert!(!window.wants_stamp(false));
        assert!(window.wants_stamp(true));
        window.wrote(1_000_000);
        assert!(window.wants_stamp(false));
    }

    #[test]
    fn strange_answers_change_nothing() {
        let now = Instant::now();
        let mut window = Window::default();
        window.wrote(100_000);
        let stamp = window.stamp(true, now);
        for strange in [[0; 8], [0xff; 8], 7u64.to_be_bytes()] {
            window.answered(strange, now);
        }
        assert_eq!((window.stamps.len(), window.rate()), (1, None));
        window.answered(stamp, now);
        window.answered(stamp, now + SPAN);
        assert_eq!((window.stamps.len(), window.rate()), (0, None));
        window.wrote(100_000);
        let stamp = window.stamp(true, now);
        window.answered(stamp, now + SPAN);
        assert_eq!(window.rate(), Some(10_000_000));
    }
}

//! The model on simulated ways, packet by packet, without a clock.

use std::{
    array,
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

use super::*;

const PACKET: u64 = 1200;

/// A way with one bottleneck.
#[derive(Clone, Copy)]
struct TestPath {
    /// Bytes per second.
    rate: f64,
    /// There and back, when nothing waits.
    round_trip: Duration,
    /// How long a packet may wait for the rate.
    queue: Duration,
    /// The share lost by chance.
    loss: f64,
}

/// What one sender got of it, in the second half of the time.
#[derive(Debug)]
struct FlowResult {
    /// Bytes per second that arrived, as a share of the rate.
    share: f64,
    /// The mean time that packets waited for the rate.
    waited: Duration,
    /// The share that was lost.
    lost: f64,
}

/// What decides how much is in flight.
trait Control {
    fn window(&self) -> u64;
    fn acked(&mut self, now: Instant, sent: Instant);
    fn lost(&mut self, sent: Instant);
}

impl Control for Model {
    fn window(&self) -> u64 {
        self.window()
    }

    fn acked(&mut self, now: Instant, sent: Instant) {
        self.acked(now, sent, PACKET, false);
        self.end_of_acks(now);
    }

    fn lost(&mut self, _: Instant) {
        self.lost(PACKET);
    }
}

/// RFC 5681, roughly: what other people's connections do.
struct Reno {
    window: f64,
    threshold: f64,
    recovery: Option<Instant>,
    last_ack: Option<Instant>,
}

impl Control for Reno {
    fn window(&self) -> u64 {
        self.window as u64
    }

    fn acked(&mut self, now: Instant, _: Instant) {
        self.last_ack = Some(now);
        let packet = PACKET as f64;
        self.window += match self.window < self.threshold {
            true => packet,
            false => packet * packet / self.window,
        };
    }

    fn lost(&mut self, sent: Instant) {
        if self.recovery.is_none_or(|until| sent > until) {
            self.recovery = self.last_ack;
            self.window = (self.window / 2.0).max(2.0 * PACKET as f64);
            self.threshold = self.window;
        }
    }
}

/// RFC 9438 by acknowledgements: what most of other people's connections do.
struct Other {
    window: f64,
    threshold: f64,
    peak: f64,
    begin: Option<Instant>,
    recovery: Option<Instant>,
    last_ack: Option<Instant>,
    round_trip: f64,
}

impl Other {
    fn new() -> Self {
        Self {
            window: 10.0,
            threshold: f64::MAX,
            peak: 0.0,
            begin: None,
            recovery: None,
            last_ack: None,
            round_trip: 0.0,
        }
    }
}

impl Control for Other {
    fn window(&self) -> u64 {
        (self.window * PACKET as f64) as u64
    }

    fn acked(&mut self, now: Instant, sent: Instant) {
        self.last_ack = Some(now);
        self.round_trip = (now - sent).as_secs_f64();
        if self.window < self.threshold {
            self.window += 1.0;
            return;
        }
        let begin = *self.begin.get_or_insert(now);
        let time = (now - begin).as_secs_f64();
        let flat = (self.peak * 0.3 / 0.4).cbrt();
        let cubic = 0.4 * (time + self.round_trip - flat).powi(3) + self.peak;
        let reno = 0.7 * self.peak + 0.529 * time / self.round_trip;
        self.window += ((cubic.max(reno) - self.window) / self.window).clamp(0.0, 0.5);
    }

    fn lost(&mut self, sent: Instant) {
        if self.recovery.is_none_or(|until| sent > until) {
            self.recovery = self.last_ack;
            let is_less = self.window < self.peak;
            self.peak = if is_less { self.window * 0.85 } else { self.window };
            self.window = (self.window * 0.7).max(2.0);
            self.threshold = self.window;
            self.begin = None;
        }
    }
}

struct TestSender<'a> {
    control: &'a mut dyn Control,
    /// By number: when it was sent.
    flying: BTreeMap<u64, Instant>,
    next: u64,
    may_send_at: Instant,
    /// A `Send` is due.
    is_due: bool,
    smoothed: Duration,
    arrived: u64,
    waited: Duration,
    lost: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum PathEvent {
    Send(usize),
    Ack(usize, u64),
}

/// All `controls` for `time`, each with always more to send, over a way that becomes another after a quarter of it.
fn run(
    mut path: TestPath,
    becomes: TestPath,
    time: Duration,
    controls: Vec<&mut dyn Control>,
) -> Vec<FlowResult> {
    let start = Instant::now();
    let end = start + time;
    let mut chance = fastrand::Rng::with_seed(1);
    let mut free_at = start;
    let mut events = BinaryHeap::new();
    let mut senders: Vec<_> = controls
        .into_iter()
        .map(|control| TestSender {
            control,
            flying: BTreeMap::new(),
            next: 0,
            may_send_at: start,
            is_due: true,
            smoothed: path.round_trip,
            arrived: 0,
            waited: Duration::ZERO,
            lost: 0,
        })
        .collect();
    for who in 0..senders.len() {
        events.push(Reverse((start, PathEvent::Send(who))));
    }
    while let Some(Reverse((now, event))) = events.pop() {
        if now > end {
            break;
        }
        let counts = now > start + time / 2;
        if now > start + time / 4 {
            path = becomes;
        }
        let (PathEvent::Send(who) | PathEvent::Ack(who, _)) = event;
        let sender = &mut senders[who];
        if let PathEvent::Send(_) = event {
            sender.is_due = false;
            // What is overdue by far is lost, as a timeout finds.
            let overdue = 4 * (path.round_trip + path.queue);
            sender.flying.retain(|_, sent| *sent + overdue > now);
        }
        if let PathEvent::Ack(_, number) = event {
            let Some(sent) = sender.flying.remove(&number) else { continue };
            sender.smoothed = (sender.smoothed * 7 + (now - sent)) / 8;
            sender.control.acked(now, sent);
            if counts {
                sender.arrived += 1;
            }
            while let Some((&first, &sent)) = sender.flying.first_key_value()
                && first + 3 <= number
            {
                sender.flying.remove(&first);
                sender.control.lost(sent);
                if counts {
                    sender.lost += 1;
                }
            }
        }
        // As quinn paces: a quarter faster than the window.
        let gap = sender.smoothed.mul_f64(PACKET as f64 / (1.25 * sender.control.window() as f64));
        while sender.flying.len() as u64 * PACKET + PACKET <= sender.control.window() {
            if sender.may_send_at > now {
                break;
            }
            sender.may_send_at = sender.may_send_at.max(now - 4 * gap) + gap;
            let number = sender.next;
            sender.next += 1;
            sender.flying.insert(number, now);
            free_at = free_at.max(now);
            if free_at - now > path.queue {
                continue;
            }
            if counts {
                sender.waited += free_at - now;
            }
            free_at += Duration::from_secs_f64(PACKET as f64 / path.rate);
            if chance.f64() >= path.loss {
                events.push(Reverse((free_at + path.round_trip, PathEvent::Ack(who, number))));
            }
        }
        if !sender.is_due {
            sender.is_due = true;
            let next = sender.may_send_at.max(now + Duration::from_micros(50));
            let next = match (sender.flying.len() as u64 + 1) * PACKET <= sender.control.window() {
                true => next,
                false => now + path.round_trip,
            };
            events.push(Reverse((next, PathEvent::Send(who))));
        }
    }
    let half = time.as_secs_f64() / 2.0;
    senders
        .iter()
        .map(|sender| FlowResult {
            share: (sender.arrived * PACKET) as f64 / half / path.rate,
            waited: sender.waited / (sender.arrived.max(1) as u32),
            lost: sender.lost as f64 / (sender.lost + sender.arrived).max(1) as f64,
        })
        .collect()
}

fn alone(path: TestPath) -> FlowResult {
    let mut model = Model::new(PACKET as u16);
    run(path, path, Duration::from_secs(20), vec![&mut model]).remove(0)
}

/// Looked at when the shortest round trip of before is forgotten.
fn moved(path: TestPath, becomes: TestPath) -> FlowResult {
    let mut model = Model::new(PACKET as u16);
    run(path, becomes, 10 * HALF_MEMORY, vec![&mut model]).remove(0)
}

fn mbit(rate: f64) -> f64 {
    rate * 1e6 / 8.0
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const USUAL: TestPath = TestPath {
    rate: 20e6 / 8.0,
    round_trip: Duration::from_millis(50),
    queue: Duration::from_millis(100),
    loss: 0.0,
};

#[test]
fn a_path_is_filled_and_little_waits_on_it() {
    for rate in [1.0, 5.0, 20.0] {
        for round_trip in [2, 10, 50, 200] {
            for queue in [100, 1000] {
                let path = TestPath {
                    rate: mbit(rate),
                    round_trip: ms(round_trip),
                    queue: ms(queue),
                    loss: 0.0,
                };
                let outcome = alone(path);
                let shown = format!("{rate} Mbit/s, {round_trip} ms, {queue} ms: {outcome:?}");
                assert!(outcome.share > 0.95, "{shown}");
                // Some packets, and a tenth of the round trip.
                let packets = 8.0 * PACKET as f64 / path.rate;
                let due = Duration::from_secs_f64(packets) + path.round_trip / 10 + 2 * JITTER;
                assert!(outcome.waited < due, "{shown}, due {due:?}");
                assert!(outcome.lost < 0.01, "{shown}");
            }
        }
    }
}

#[test]
fn loss_by_chance_costs_little_more_than_what_is_lost() {
    for loss in [0.001, 0.01, 0.03, 0.1] {
        let outcome = alone(TestPath { loss, ..USUAL });
        assert!(outcome.share > 0.95 - loss, "{loss}: {outcome:?}");
        assert!(outcome.lost < loss * 1.2 + 0.001, "{loss}: {outcome:?}");
        assert!(outcome.waited < ms(15), "{loss}: {outcome:?}");
    }
}

#[test]
fn a_path_without_a_queue_loses_little_by_our_doing() {
    for queue in [1, 2, 5, 10] {
        for loss in [0.0, 0.01] {
            let outcome = alone(TestPath { queue: ms(queue), loss, ..USUAL });
            assert!(outcome.share > 0.8, "{queue} ms, {loss}: {outcome:?}");
            assert!(outcome.lost < loss + 0.05, "{queue} ms, {loss}: {outcome:?}");
        }
    }
}

#[test]
fn a_path_that_changes_is_found_out() {
    for (rate, round_trip) in
        [(2.0, 50), (80.0, 50), (20.0, 5), (20.0, 150), (5.0, 200), (50.0, 10)]
    {
        let becomes = TestPath { rate: mbit(rate), round_trip: ms(round_trip), ..USUAL };
        let outcome = moved(USUAL, becomes);
        let shown = format!("{rate} Mbit/s, {round_trip} ms: {outcome:?}");
        assert!(outcome.share > 0.9, "{shown}");
        assert!(outcome.waited < becomes.round_trip / 4 + ms(30), "{shown}");
        assert!(outcome.lost < 0.02, "{shown}");
    }
}

#[test]
fn others_get_their_share_and_so_do_we() {
    for queue in [20, 50, 100, 300] {
        let path = TestPath { queue: ms(queue), ..USUAL };
        let mut model = Model::new(PACKET as u16);
        let mut reno = Reno {
            window: 10.0 * PACKET as f64,
            threshold: f64::MAX,
            recovery: None,
            last_ack: None,
        };
        let both: Vec<&mut dyn Control> = vec![&mut model, &mut reno];
        let outcomes = run(path, path, Duration::from_secs(60), both);
        for outcome in &outcomes {
            assert!(outcome.share > 0.1, "with Reno, {queue} ms: {outcomes:?}");
        }
        let mut models = [Model::new(PACKET as u16), Model::new(PACKET as u16)];
        let [a, b] = &mut models;
        let outcomes = run(path, path, Duration::from_secs(60), vec![a, b]);
        for outcome in &outcomes {
            assert!(outcome.share > 0.25, "two of us, {queue} ms: {outcomes:?}");
        }
    }
}

#[test]
fn after_a_cut_it_begins_small_and_finds_the_path_again() {
    let mut model = Model::new(PACKET as u16);
    run(USUAL, USUAL, Duration::from_secs(5), vec![&mut model]);
    assert!(model.window() > 100_000);
    model.cut_off();
    assert_eq!(model.window(), MIN_PACKETS * PACKET);
    let outcome = run(USUAL, USUAL, Duration::from_secs(10), vec![&mut model]).remove(0);
    assert!(outcome.share > 0.95, "{outcome:?}");
}

/// What has nothing to send is no measure of the path.
#[test]
fn a_rate_with_nothing_more_to_send_does_not_lower_what_is_known() {
    let mut model = Model::new(PACKET as u16);
    run(USUAL, USUAL, Duration::from_secs(5), vec![&mut model]);
    let before = model.rate();
    let start = Instant::now();
    for number in 0..200 {
        let sent = start + ms(100 * number);
        model.acked(sent + ms(50), sent, 100, true);
        model.end_of_acks(sent + ms(50));
    }
    assert!(model.rate() >= before);
    assert!(model.window() > 100_000);
}

/// Queues from a quarter of what fills the path to four times that, in hundredths.
const QUEUES: [u32; 3] = [25, 100, 400];

/// What `measure` gives on the mean of three paths that are nearly alike: when two senders lose is chance.
fn mean<const N: usize>(
    rate: f64,
    round_trip: u64,
    hundredths: u32,
    measure: impl Fn(TestPath) -> [f64; N],
) -> [f64; N] {
    let trips = [round_trip - 1, round_trip, round_trip + 1].map(ms);
    let ways = trips.map(|round_trip| {
        let queue = round_trip * hundredths / 100;
        TestPath { rate: mbit(rate), round_trip, queue, loss: 0.0 }
    });
    let measured = ways.map(measure);
    array::from_fn(|which| measured.iter().map(|of| of[which]).sum::<f64>() / ways.len() as f64)
}

/// Two for long enough to find their shares.
fn both(path: TestPath, a: &mut dyn Control, b: &mut dyn Control) -> [FlowResult; 2] {
    run(path, path, Duration::from_secs(40), vec![a, b]).try_into().unwrap()
}

#[test]
fn next_to_cubic_we_take_and_leave_a_fair_share() {
    for (rate, round_trip) in [(100.0, 20), (20.0, 50)] {
        for hundredths in QUEUES {
            let [share] = mean(rate, round_trip, hundredths, |path| {
                let [ours, theirs] = both(path, &mut Model::new(PACKET as u16), &mut Other::new());
                let share = ours.share / (ours.share + theirs.share);
                let shown = format!("{rate} Mbit/s, {hundredths} %: {ours:?}, CUBIC {theirs:?}");
                assert!(ours.share + theirs.share > 0.95, "{shown}");
                assert!((0.25..0.75).contains(&share), "{shown}");
                [share]
            });
            assert!((0.35..0.65).contains(&share), "{rate} Mbit/s, {hundredths} %: {share}");
        }
    }
}

#[test]
fn two_of_us_share_alike_and_make_no_longer_queue_than_two_of_cubic() {
    for hundredths in QUEUES {
        let [less, used, waited, theirs] = mean(20.0, 50, hundredths, |path| {
            let [mut a, mut b] = [(); 2].map(|()| Model::new(PACKET as u16));
            let [a, b] = both(path, &mut a, &mut b);
            let [theirs, _] = both(path, &mut Other::new(), &mut Other::new());
            let waited = [a.waited, theirs.waited].map(|waited| waited.as_secs_f64());
            [a.share.min(b.share), a.share + b.share, waited[0], waited[1]]
        });
        assert!(less > 0.35, "{hundredths} %: {less}");
        assert!(used > 0.95, "{hundredths} %: {used}");
        assert!(waited < theirs * 1.1 + 0.002, "{hundredths} %: {waited}, CUBIC {theirs}");
    }
}

/// Another that sends no more after a time.
struct Ending {
    other: Other,
    time: Duration,
    begin: Option<Instant>,
    is_over: bool,
}

impl Control for Ending {
    fn window(&self) -> u64 {
        if self.is_over { 1 } else { self.other.window() }
    }

    fn acked(&mut self, now: Instant, sent: Instant) {
        self.is_over = now > *self.begin.get_or_insert(now) + self.time;
        self.other.acked(now, sent);
    }

    fn lost(&mut self, sent: Instant) {
        self.other.lost(sent);
    }
}

#[test]
fn when_others_have_ended_little_waits() {
    for hundredths in QUEUES {
        let path = TestPath { queue: USUAL.round_trip * hundredths / 100, ..USUAL };
        let time = Duration::from_secs(20);
        let mut model = Model::new(PACKET as u16);
        let mut other = Ending { other: Other::new(), time, begin: None, is_over: false };
        let outcomes = run(path, path, 4 * time, vec![&mut model, &mut other]);
        assert!(other.is_over);
        assert!(outcomes[0].share > 0.9, "{hundredths} %: {outcomes:?}");
        assert!(outcomes[0].waited < ms(15), "{hundredths} %: {outcomes:?}");
    }
}

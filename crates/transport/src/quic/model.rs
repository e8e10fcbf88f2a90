//! How much may be on its way, by the measured rate and the shortest round trip: loss alone slows nothing down, for radio loses
//! packets without being full.
//!
//! A round is the time until a packet sent within it is acknowledged. Eight make a cycle: one with more on its way, to see
//! whether the path takes it, one with less, to see how short the round trip is when nothing waits, and six with what the path
//! has shown to take. After BBR (draft-ietf-ccwg-bbr), but for less waiting: quinn paces by the window alone.
//!
//! That is for a path of one's own. Next to others who fill its queue the window is CUBIC's ([`CompetingFlows`]).

use std::time::{Duration, Instant};

use sharing::{CompetingFlows, RoundCounts};

mod cubic;
mod sharing;

/// Packets on their way before anything is known.
const INITIAL_PACKETS: u64 = 32;
/// Packets that may always be on their way.
const MIN_PACKETS: u64 = 4;
/// Bytes on their way, at most: 1 Gbit/s over half a second.
const WINDOW_MAX: u64 = 64 * 1024 * 1024;
/// A round takes at least this long, so that timers do not blur its rate.
const ROUND_MIN: Duration = Duration::from_millis(5);
/// How long a shortest round trip is trusted, in two halves.
const HALF_MEMORY: Duration = Duration::from_secs(5);
/// Rounds whose highest rate counts: more than a cycle has.
const RATES: usize = 10;
/// Rounds of a cycle, and of one after attempts at more that only lost.
const CYCLE: u32 = 8;
const CYCLE_MAX: u32 = 32;
/// Factors on what is on its way when the path is just full.
const MORE: f64 = 1.25;
const LESS: f64 = 0.8;
const CRUISE: f64 = 1.05;
const CRUISE_MIN: f64 = 0.9;
/// Growth of the rate that makes an attempt a success.
const GROWTH: f64 = 1.05;
/// Growth in the beginning, and rounds without it until the path counts as full.
const START_GROWTH: f64 = 1.25;
const START_PATIENCE: u32 = 3;
/// A round trip above what is due by this and half of [`JITTER`], or on the mean by this and [`JITTER`], tells of a queue.
const QUEUED: f64 = 1.05;
const QUEUED_MEAN: f64 = 1.1;
/// Next to others the shortest round trip is trusted this many times longer, because it is seldom seen there.
const SHARED_MEMORY: u32 = 3;
/// What lies between two timers or two acknowledgements.
const JITTER: Duration = Duration::from_millis(2);
/// Loss beyond that of the rounds with less on their way, from which it is our own doing.
const OWN_LOSS: f64 = 0.02;
/// Chance that is made up for, at most.
const CHANCE_MAX: f64 = 0.15;
/// A loss that no path is to be left with, and the least number of packets to judge by.
const LOSS_MAX: f64 = 0.2;
const LOSS_PACKETS: u64 = 8;

/// The model of one path.
#[derive(Debug, Clone)]
pub(super) struct Model {
    mtu: u64,
    window: u64,
    phase: Phase,
    round: Round,
    /// Bytes per second of the last rounds.
    rates: [f64; RATES],
    next_rate: usize,
    /// The shortest round trips of this half of the memory and the one before.
    shortest: [Duration; 2],
    half_since: Option<Instant>,
    /// Shares that were lost of what was sent with less on its way.
    loss_of_less: f64,
    cruise: f64,
    cycle: u32,
    sharing: CompetingFlows,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// Doubling each round.
    Start { rate: f64, idle_rounds: u32 },
    /// Round so and so of a cycle that began with this rate.
    Cycle { round: u32, rate: f64 },
}

#[derive(Debug, Clone, Copy)]
struct Round {
    since: Option<Instant>,
    acked: u64,
    lost: u64,
    /// Of `acked`, bytes from a time when there was nothing more to send.
    limited: u64,
    shortest: Duration,
    /// Seconds that each byte of `acked` took, together.
    took: f64,
    is_over: bool,
}

impl Round {
    const fn beginning(since: Option<Instant>) -> Self {
        Self {
            since,
            acked: 0,
            lost: 0,
            limited: 0,
            shortest: Duration::MAX,
            took: 0.0,
            is_over: false,
        }
    }

    /// The mean round trip.
    fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.took / self.acked.max(1) as f64)
    }
}

impl Model {
    pub(super) fn new(mtu: u16) -> Self {
        let mtu = u64::from(mtu);
        Self {
            mtu,
            window: INITIAL_PACKETS * mtu,
            phase: Phase::Start { rate: 0.0, idle_rounds: 0 },
            round: Round::beginning(None),
            rates: [0.0; RATES],
            next_rate: 0,
            shortest: [Duration::MAX; 2],
            half_since: None,
            loss_of_less: 0.0,
            cruise: CRUISE,
            cycle: CYCLE,
            sharing: CompetingFlows::new(),
        }
    }

    /// Bytes that may be on their way.
    pub(super) fn window(&self) -> u64 {
        self.window
    }

    pub(super) fn initial_window(&self) -> u64 {
        INITIAL_PACKETS * self.mtu
    }

    pub(super) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu);
        self.window = self.window.max(MIN_PACKETS * self.mtu);
    }

    /// A packet of `bytes` that left at `sent` has arrived. `limited`: there is nothing more to send.
    pub(super) fn acked(&mut self, now: Instant, sent: Instant, bytes: u64, limited: bool) {
        let since = *self.round.since.get_or_insert(now);
        self.round.acked += bytes;
        if limited {
            self.round.limited += bytes;
        }
        let took = now.saturating_duration_since(sent);
        self.round.shortest = self.round.shortest.min(took);
        self.round.took += took.as_secs_f64() * bytes as f64;
        self.round.is_over |= sent >= since && now.saturating_duration_since(since) >= ROUND_MIN;
        if matches!(self.phase, Phase::Start { .. }) && !limited {
            self.window = (self.window + bytes).min(WINDOW_MAX);
        }
    }

    /// All packets of one acknowledgement have been reported.
    pub(super) fn end_of_acks(&mut self, now: Instant) {
        if self.round.is_over {
            self.end_round(now);
        }
    }

    pub(super) fn lost(&mut self, bytes: u64) {
        self.round.lost += bytes;
    }

    /// Nothing at all has arrived for several round trips: what was known is void.
    pub(super) fn cut_off(&mut self) {
        let mtu = u16::try_from(self.mtu).unwrap_or(u16::MAX);
        *self = Self { window: MIN_PACKETS * self.mtu, shortest: self.shortest, ..Self::new(mtu) };
    }

    /// Bytes per second.
    fn rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    /// The round trip when nothing waits.
    fn round_trip(&self) -> Duration {
        self.shortest[0].min(self.shortest[1])
    }

    fn end_round(&mut self, now: Instant) {
        let round = std::mem::replace(&mut self.round, Round::beginning(Some(now)));
        let Some(since) = round.since else { return };
        let before = self.rate();
        let rate = round.acked as f64 / now.saturating_duration_since(since).as_secs_f64();
        let is_limited = 2 * round.limited > round.acked;
        if !is_limited || rate > before {
            self.rates[self.next_rate] = rate;
            self.next_rate = (self.next_rate + 1) % RATES;
        }
        self.remember(now, round.shortest);
        let loss = round.lost as f64 / (round.lost + round.acked).max(1) as f64;
        self.share(now, &round, is_limited);
        let is_judged = round.lost >= LOSS_PACKETS * self.mtu;
        if is_judged && loss > LOSS_MAX {
            self.rates = self.rates.map(|rate| rate * LESS);
            self.phase = Phase::Cycle { round: 1, rate: self.rate() };
        } else {
            self.phase = self.next_phase(&round, is_limited, loss);
        }
        if !matches!(self.phase, Phase::Start { .. }) {
            self.window = self.wanted();
        }
    }

    fn remember(&mut self, now: Instant, shortest: Duration) {
        let since = *self.half_since.get_or_insert(now);
        let memory = match self.sharing.window() {
            Some(_) => SHARED_MEMORY * HALF_MEMORY,
            None => HALF_MEMORY,
        };
        if now.saturating_duration_since(since) > memory {
            self.half_since = Some(now);
            self.shortest = [Duration::MAX, self.shortest[0]];
        }
        self.shortest[0] = self.shortest[0].min(shortest);
    }

    /// Tells what a round says of others.
    fn share(&mut self, now: Instant, round: &Round, is_limited: bool) {
        let packets = |bytes: u64| bytes as f64 / self.mtu as f64;
        let round_trip = round.mean();
        let due = self.round_trip().as_secs_f64() * QUEUED_MEAN + JITTER.as_secs_f64();
        // What is seen in a round was sent in the one before.
        let on_way = match self.phase {
            Phase::Cycle { round: 1, .. } => self.window_by(MORE),
            _ => self.window_by(self.cruise),
        };
        let seen = RoundCounts {
            packets: packets(round.lost + round.acked).max(1.0),
            lost: packets(round.lost),
            round_trip,
            waited: round_trip.as_secs_f64() > due,
            is_limited,
            on_way: packets(on_way),
            holding: self.rate() * round_trip.as_secs_f64() / self.mtu as f64,
        };
        self.sharing.end_round(now, &seen);
    }

    /// Whether packets waited on the way for longer than `window` at once explains.
    fn has_queue(&self, shortest: Duration, window: u64, tolerance: f64) -> bool {
        let own = window as f64 / self.rate().max(1.0);
        let due = self.round_trip().as_secs_f64().max(own);
        shortest.as_secs_f64() > due * tolerance + JITTER.as_secs_f64() / 2.0
    }

    /// Whether a round's loss is more than what chance takes, and so our doing.
    fn is_own(&self, loss: f64, round: &Round) -> bool {
        let packets = ((round.lost + round.acked) / self.mtu).max(1) as f64;
        let noise = 2.0 * (self.loss_of_less / packets).sqrt();
        loss > self.loss_of_less + OWN_LOSS + noise
    }

    fn next_phase(&mut self, seen: &Round, is_limited: bool, loss: f64) -> Phase {
        match self.phase {
            Phase::Start { rate, idle_rounds } => {
                let now = self.rate();
                let has_grown = now >= rate * START_GROWTH;
                if self.has_queue(seen.shortest, self.window_by(1.0), MORE)
                    || (!has_grown && !is_limited && idle_rounds + 1 >= START_PATIENCE)
                {
                    return Phase::Cycle { round: 1, rate: now };
                }
                match (has_grown, is_limited) {
                    (true, _) => Phase::Start { rate: now, idle_rounds: 0 },
                    (false, true) => self.phase,
                    (false, false) => Phase::Start { rate, idle_rounds: idle_rounds + 1 },
                }
            }
            // What is seen in a round was sent in the one before.
            Phase::Cycle { round: 0, rate } => Phase::Cycle { round: 1, rate },
            Phase::Cycle { round: 1, rate } => {
                if self.rate() > rate * GROWTH {
                    // The path took more: at once again.
                    self.cycle = CYCLE;
                    return Phase::Cycle { round: 0, rate: self.rate() };
                }
                if self.is_own(loss, seen) && !is_limited {
                    self.cycle = (self.cycle * 2).min(CYCLE_MAX);
                }
                Phase::Cycle { round: 2, rate }
            }
            Phase::Cycle { round: 2, rate } => {
                self.loss_of_less += (loss - self.loss_of_less) / 4.0;
                if !is_limited {
                    let drained = !self.has_queue(seen.shortest, self.less(), QUEUED);
                    let full = self.window_by(CRUISE) as f64 / self.mtu as f64;
                    if self.sharing.sent_less(drained, full) {
                        return Phase::Cycle { round: 1, rate };
                    }
                }
                Phase::Cycle { round: 3, rate }
            }
            Phase::Cycle { round, rate } => {
                let step = match self.is_own(loss, seen) {
                    true => -0.03,
                    false => 0.01,
                };
                self.cruise = (self.cruise + step).clamp(CRUISE_MIN, CRUISE);
                match round + 1 {
                    next if next < self.rounds() => Phase::Cycle { round: next, rate },
                    _ => Phase::Cycle { round: 0, rate: self.rate() },
                }
            }
        }
    }

    /// Rounds of this cycle.
    fn rounds(&self) -> u32 {
        match self.sharing.window() {
            Some(_) if !self.sharing.is_nearly_alone() => CYCLE_MAX,
            Some(_) => CYCLE,
            None => self.cycle,
        }
    }

    fn wanted(&self) -> u64 {
        // What chance takes has to be sent as well.
        let chance = 1.0 - self.loss_of_less.min(CHANCE_MAX);
        match (self.phase, self.shared()) {
            (Phase::Cycle { round: 1, .. }, _) => self.less(),
            (_, Some(shared)) => shared,
            (Phase::Cycle { round: 0, .. }, None) => self.window_by(MORE / chance),
            (_, None) => self.window_by(self.cruise / chance),
        }
    }

    /// Bytes next to others, if there are any.
    fn shared(&self) -> Option<u64> {
        let bytes = |packets: f64| (packets * self.mtu as f64) as u64;
        self.sharing.window().map(|it| bytes(it).clamp(MIN_PACKETS * self.mtu, WINDOW_MAX))
    }

    /// Bytes while it is tried whether the queue drains; not less than half of what others leave us, which is theirs at once.
    fn less(&self) -> u64 {
        let less = self.window_by(LESS);
        self.shared().map_or(less, |shared| less.max(shared / 2).min(shared))
    }

    /// `factor` of what fills the path, and what makes up for the jitter of timers and acknowledgements.
    fn window_by(&self, factor: f64) -> u64 {
        let rate = self.rate();
        let full = rate * self.round_trip().as_secs_f64() * factor;
        let jitter = rate * JITTER.as_secs_f64();
        let wanted = (full + jitter) as u64 + 3 * self.mtu;
        wanted.clamp(MIN_PACKETS * self.mtu, WINDOW_MAX)
    }
}

#[cfg(test)]
mod tests;

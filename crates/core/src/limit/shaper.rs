//! A traffic shaper: a leaky bucket with a line in front of it, exact in integers.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use rtun_proto::frame::MAX_FRAME;

/// A frame up to this size is always one frame, whatever the rate: a packet of a usual MTU.
const SMALL_FRAME: usize = 1500;

/// How much may pass at once, as a time at the rate, unless the limit names its own burst.
const DEFAULT_BURST: Duration = Duration::from_millis(5);

/// Amounts are in bytes / 10^9, so that a rate in bytes/s times a time in ns is a whole amount.
const BYTE: u128 = 1_000_000_000;

/// A rate and how much may pass at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrafficRate {
    /// Bytes per second.
    pub bytes_per_second: NonZeroU64,
    /// Bytes that pass at once after a time without traffic.
    pub burst: u64,
}

impl TrafficRate {
    /// A rate whose burst is what passes in 5 ms: over one second it adds 0.5 %.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        let burst = bytes_per_second.get() / 1000 * DEFAULT_BURST.as_millis() as u64;
        Self { bytes_per_second, burst }
    }

    /// The longest frame, in bytes, with which the rate is exact to 3 % over one second: what passes in 5 ms, from 1500
    /// to [`MAX_FRAME`]. Longer ones keep the rate over a longer time: at most one frame is sent too early.
    pub fn exact_frame(&self) -> usize {
        let bytes = self.bytes_per_second.get() / 1000 * DEFAULT_BURST.as_millis() as u64;
        usize::try_from(bytes).unwrap_or(MAX_FRAME).clamp(SMALL_FRAME, MAX_FRAME)
    }
}

/// Says when frames may be sent so that their bytes keep to a rate.
///
/// Several senders may use one shaper. Each stands in line with a [`Ticket`]: it sends its next frame when all bytes in front
/// of the ticket but a burst have drained, and gets a new ticket at the end of the line. So senders take turns frame by frame,
/// and no more than one frame of each is sent too early.
///
/// A new rate applies to those in line too. No byte is forgotten or counted twice.
#[derive(Debug)]
pub struct TrafficShaper {
    rate: Option<TrafficRate>,
    /// All bytes that were ever sent, and as many of them as have drained by `at`.
    sent: u128,
    drained: u128,
    at: Instant,
}

/// A position in a shaper's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u128);

impl TrafficShaper {
    /// Nothing sent yet; `None`: no limit.
    pub fn new(rate: Option<TrafficRate>, now: Instant) -> Self {
        Self { rate, sent: 0, drained: 0, at: now }
    }

    /// The rate in force; `None`: no limit.
    pub fn rate(&self) -> Option<TrafficRate> {
        self.rate
    }

    /// Changes the rate from `now` on.
    pub fn set_rate(&mut self, rate: Option<TrafficRate>, now: Instant) {
        self.drain(now);
        self.rate = rate;
    }

    /// The end of the line, for a sender that has been idle.
    pub fn join(&self) -> Ticket {
        Ticket(self.sent)
    }

    /// When the owner of `ticket` may send its next frame; `now` or earlier: at once. To be asked again after a change of the
    /// rate.
    pub fn ready_at(&mut self, ticket: Ticket, now: Instant) -> Instant {
        self.drain(now);
        let Some(rate) = self.rate else { return now };
        let burst = u128::from(rate.burst) * BYTE;
        let ahead = ticket.0.saturating_sub(self.drained).saturating_sub(burst);
        let nanos = ahead.div_ceil(u128::from(rate.bytes_per_second.get()));
        let wait = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        now.checked_add(wait).unwrap_or(now + Duration::from_secs(u32::MAX.into()))
    }

    /// How many bytes may be sent at once by the owner of a ticket that is ready, so that senders take turns: what is left
    /// of the burst. Always at least 1, which stands for one frame.
    pub fn allowance(&mut self, now: Instant) -> usize {
        self.drain(now);
        let Some(rate) = self.rate else { return usize::MAX };
        let left = (u128::from(rate.burst) * BYTE).saturating_sub(self.sent - self.drained) / BYTE;
        usize::try_from(left).unwrap_or(usize::MAX).max(1)
    }

    /// Counts a frame of `bytes` that is sent now. Returns the sender's ticket for its next frame.
    pub fn send(&mut self, bytes: usize, now: Instant) -> Ticket {
        self.drain(now);
        self.sent += bytes as u128 * BYTE;
        if self.rate.is_none() {
            self.drained = self.sent;
        }
        Ticket(self.sent)
    }

    /// Bytes that were sent too early to keep to the rate without a burst: never more than the burst and a frame of each
    /// sender.
    pub fn ahead(&mut self, now: Instant) -> u64 {
        self.drain(now);
        u64::try_from((self.sent - self.drained).div_ceil(BYTE)).unwrap_or(u64::MAX)
    }

    /// Time before the last call counts as none.
    fn drain(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        self.drained = match self.rate {
            Some(rate) => {
                let drained = elapsed.as_nanos().saturating_mul(rate.bytes_per_second.get().into());
                self.drained.saturating_add(drained).min(self.sent)
            }
            None => self.sent,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(bytes_per_second: u64, burst: u64) -> TrafficRate {
        TrafficRate { bytes_per_second: NonZeroU64::new(bytes_per_second).unwrap(), burst }
    }

    fn mbit(n: u64) -> TrafficRate {
        TrafficRate::new(NonZeroU64::new(n * 125_000).unwrap())
    }

    /// Sends frames of sizes from `size` for `time`, woken up to `late` after each frame is due, by turns for `senders`.
    /// Returns the bytes of each second and of each sender.
    fn run(
        rate: TrafficRate,
        time: u64,
        senders: usize,
        late: Duration,
        mut size: impl FnMut(usize) -> usize,
    ) -> (Vec<u64>, Vec<u64>) {
        let mut random = fastrand::Rng::with_seed(7);
        let start = Instant::now();
        let mut shaper = TrafficShaper::new(Some(rate), start);
        let mut tickets = vec![shaper.join(); senders];
        let mut wake = vec![start; senders];
        let (mut seconds, mut each) = (vec![0; time as usize], vec![0; senders]);
        loop {
            let sender = (0..senders).min_by_key(|n| wake[*n]).unwrap();
            let now = wake[sender];
            let ready = shaper.ready_at(tickets[sender], now);
            if ready > now {
                wake[sender] = ready + late.mul_f64(random.f64());
                continue;
            }
            let second = (now - start).as_secs() as usize;
            if second >= seconds.len() {
                return (seconds, each);
            }
            let bytes = size(sender);
            tickets[sender] = shaper.send(bytes, now);
            seconds[second] += bytes as u64;
            each[sender] += bytes as u64;
        }
    }

    #[test]
    fn every_second_is_exact_to_3_percent() {
        for n in [1, 10, 100, 1000] {
            let (rate, expected) = (mbit(n), n * 125_000);
            // A timer of tokio is up to 1 ms late, a busy machine some more.
            for late in [Duration::ZERO, Duration::from_millis(3)] {
                for senders in [1, 2] {
                    let (seconds, _) = run(rate, 10, senders, late, |_| rate.exact_frame());
                    for (second, sent) in seconds.iter().enumerate() {
                        let error = sent.abs_diff(expected) as f64 / expected as f64;
                        assert!(
                            error < 0.03,
                            "{n} Mbit/s, {senders} senders, second {second}: {error:.4}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn long_frames_are_exact_but_for_one() {
        for n in [1, 10, 100, 1000] {
            let mut random = fastrand::Rng::with_seed(n);
            let size = |_| random.usize(1..=MAX_FRAME);
            let (seconds, _) = run(mbit(n), 30, 1, Duration::from_millis(2), size);
            let (sent, expected) = (seconds.iter().sum::<u64>(), 30 * n * 125_000);
            let most = expected + mbit(n).burst + MAX_FRAME as u64;
            assert!((expected - MAX_FRAME as u64..=most).contains(&sent), "{n}: {sent}");
        }
    }

    #[test]
    fn senders_take_turns() {
        let (_, each) = run(mbit(10), 10, 4, Duration::from_millis(2), |_| 1500);
        let (least, most) = (each.iter().min().unwrap(), each.iter().max().unwrap());
        assert!((most - least) * 100 <= *most, "{each:?}");
    }

    #[test]
    fn a_change_applies_to_those_in_line() {
        let now = Instant::now();
        let mut shaper = TrafficShaper::new(Some(rate(1000, 0)), now);
        let ticket = shaper.send(60_000, now);
        assert_eq!(shaper.ready_at(ticket, now) - now, Duration::from_secs(60));
        let later = now + Duration::from_secs(30);
        shaper.set_rate(Some(rate(30_000, 0)), later);
        assert_eq!(shaper.ready_at(ticket, later) - later, Duration::from_secs(1));
        shaper.set_rate(None, later);
        assert_eq!(shaper.ready_at(ticket, later), later);
        shaper.set_rate(Some(rate(1, 0)), later);
        assert_eq!(shaper.ready_at(ticket, later), later, "no limit leaves no debt");
    }

    #[derive(Debug, Clone)]
    enum ShaperStep {
        Wait(u64),
        Send(usize),
        Rate(u64, u64),
    }

    fn step() -> impl Strategy<Value = ShaperStep> {
        prop_oneof![
            (0u64..2000).prop_map(ShaperStep::Wait),
            (1usize..=MAX_FRAME).prop_map(ShaperStep::Send),
            (1u64..2000, 0u64..100_000).prop_map(|(rate, burst)| ShaperStep::Rate(rate, burst)),
        ]
    }

    proptest! {
        /// The model counts whole bytes each millisecond.
        #[test]
        fn it_is_a_bucket_that_leaks(steps in proptest::collection::vec(step(), 1..60)) {
            let start = Instant::now();
            let (mut leak, mut burst) = (100u64, 1000u64);
            let mut shaper = TrafficShaper::new(Some(rate(leak * 1000, burst)), start);
            let (mut fill, mut now) = (0u64, start);
            let mut ticket = shaper.join();
            for step in steps {
                match step {
                    ShaperStep::Wait(millis) => for _ in 0..millis {
                        now += Duration::from_millis(1);
                        fill = fill.saturating_sub(leak);
                        let is_ready = shaper.ready_at(ticket, now) <= now;
                        prop_assert_eq!(is_ready, fill <= burst);
                    },
                    ShaperStep::Send(bytes) => {
                        fill += bytes as u64;
                        ticket = shaper.send(bytes, now);
                    }
                    ShaperStep::Rate(new_leak, new_burst) => {
                        (leak, burst) = (new_leak, new_burst);
                        shaper.set_rate(Some(rate(leak * 1000, burst)), now);
                    }
                }
                prop_assert_eq!(shaper.ahead(now), fill);
                let wait = shaper.ready_at(ticket, now) - now;
                let excess = fill.saturating_sub(burst) as f64 / (leak * 1000) as f64;
                prop_assert!((wait.as_secs_f64() - excess).abs() < 1e-8);
            }
        }
    }
}

//! The fate of a packet that enters a link, decided at once: no clock, no I/O.

use std::time::Duration;

use fastrand::Rng;

use super::{Impairment, Rate};

/// The state of one direction. Times are durations since any fixed point in time and never decrease.
#[derive(Debug)]
pub(super) struct Shaper {
    chance: Rng,
    /// When the rate has room for the next packet.
    free_at: Duration,
    /// When the last packet that was not held back arrives.
    last: Duration,
}

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Arrives { at: Duration, twice: bool, held_back: bool },
    Lost,
    QueueFull,
    Blackholed,
    TooLong,
}

impl Shaper {
    pub(super) fn new(seed: u64) -> Shaper {
        Shaper { chance: Rng::with_seed(seed), free_at: Duration::ZERO, last: Duration::ZERO }
    }

    /// Decides about a packet of `length` bytes that enters `now`.
    pub(super) fn take(&mut self, how: &Impairment, now: Duration, length: usize) -> Fate {
        // Always the same number of random numbers: those of a packet depend only on its position.
        let [loss, duplicate, reorder, jitter] = std::array::from_fn(|_| self.chance.f64());
        if how.blackhole {
            return Fate::Blackholed;
        }
        if how.longest.is_some_and(|longest| length > longest) {
            return Fate::TooLong;
        }
        let Some(sent) = self.send(how.rate, now, length) else { return Fate::QueueFull };
        if loss < how.loss {
            return Fate::Lost;
        }
        let at = (sent + how.delay + how.jitter.mul_f64(jitter)).max(self.last);
        let twice = duplicate < how.duplicate;
        match how.reorder {
            Some(held) if reorder < held.share => {
                Fate::Arrives { at: at + held.by, twice, held_back: true }
            }
            _ => {
                self.last = at;
                Fate::Arrives { at, twice, held_back: false }
            }
        }
    }

    /// The time when the packet has left the queue and passed the bottleneck; `None` if there is no room.
    fn send(&mut self, rate: Option<Rate>, now: Duration, length: usize) -> Option<Duration> {
        let Some(rate) = rate else { return Some(now) };
        let begin = self.free_at.max(now);
        let waiting = rate.bytes_in(begin - now);
        if waiting > 0 && waiting + length as u64 > rate.queue as u64 {
            return None;
        }
        self.free_at = begin + rate.time_of(length);
        Some(self.free_at)
    }
}

impl Rate {
    fn time_of(self, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 8 * 1_000_000_000 / u128::from(self.bits_per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Rounded up: the rest of a byte is a byte that waits.
    fn bytes_in(self, time: Duration) -> u64 {
        let bits = time.as_nanos() * u128::from(self.bits_per_second.max(1));
        u64::try_from(bits.div_ceil(8 * 1_000_000_000)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Reorder;
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn arrives(at: Duration) -> Fate {
        Fate::Arrives { at, twice: false, held_back: false }
    }

    #[test]
    fn nothing_set_passes_everything_at_once() {
        let mut shaper = Shaper::new(1);
        for time in [0, 0, 5] {
            assert_eq!(shaper.take(&Impairment::default(), ms(time), 1500), arrives(ms(time)));
        }
    }

    #[test]
    fn packets_that_are_too_long_vanish() {
        let how = Impairment { longest: Some(1280), ..Impairment::default() };
        let mut shaper = Shaper::new(1);
        assert_eq!(shaper.take(&how, ms(1), 1281), Fate::TooLong);
        assert_eq!(shaper.take(&how, ms(1), 1280), arrives(ms(1)));
    }

    #[test]
    fn packets_wait_for_the_rate_and_are_dropped_at_a_full_queue() {
        // 1000 bytes take 1 ms; two and a half of them may wait.
        let rate = Some(Rate { bits_per_second: 8_000_000, queue: 2500 });
        let how = Impairment { delay: ms(10), rate, ..Impairment::default() };
        let mut shaper = Shaper::new(1);
        let mut take = |now, length| shaper.take(&how, ms(now), length);
        assert_eq!(take(0, 1000), arrives(ms(11)));
        assert_eq!(take(0, 1000), arrives(ms(12)));
        assert_eq!(take(0, 1000), Fate::QueueFull);
        assert_eq!(take(0, 500), arrives(Duration::from_micros(12_500)));
        assert_eq!(take(1, 1000), arrives(Duration::from_micros(13_500)));
        // One that is larger than the queue passes when nothing waits.
        assert_eq!(take(20, 9000), arrives(ms(39)));
        assert_eq!(take(20, 40), Fate::QueueFull);
    }

    #[test]
    fn shares_are_reached_and_the_seed_selects_the_packets() {
        const PACKETS: usize = 100_000;
        let how = Impairment {
            loss: 0.01,
            duplicate: 0.02,
            reorder: Some(Reorder { share: 0.03, by: ms(1) }),
            ..Impairment::default()
        };
        let fates = |seed| -> Vec<Fate> {
            let mut shaper = Shaper::new(seed);
            (0..PACKETS).map(|_| shaper.take(&how, ms(0), 100)).collect()
        };
        let fates_of_7 = fates(7);
        let share = |which: fn(&Fate) -> bool| {
            fates_of_7.iter().filter(|fate| which(fate)).count() as f64 / PACKETS as f64
        };
        for (expected, actual) in [
            (0.01, share(|fate| *fate == Fate::Lost)),
            (0.02, share(|fate| matches!(fate, Fate::Arrives { twice: true, .. }))),
            (0.03, share(|fate| matches!(fate, Fate::Arrives { held_back: true, .. }))),
        ] {
            assert!((actual - expected).abs() < 0.002, "{actual} instead of {expected}");
        }
        assert_eq!(fates_of_7, fates(7));
        assert_ne!(fates_of_7, fates(8));
    }

    #[test]
    fn the_random_numbers_of_a_packet_depend_only_on_its_position() {
        let plain = Impairment { loss: 0.1, ..Impairment::default() };
        let rate = Some(Rate { bits_per_second: 8_000, queue: 2000 });
        let narrow = Impairment { rate, jitter: ms(1), duplicate: 0.5, ..plain.clone() };
        let (mut one, mut other) = (Shaper::new(3), Shaper::new(3));
        for packet in 0..1000 {
            let (a, b) = (one.take(&plain, ms(packet), 100), other.take(&narrow, ms(packet), 100));
            assert!(b == Fate::QueueFull || (a == Fate::Lost) == (b == Fate::Lost), "{a:?} {b:?}");
        }
    }

    #[test]
    fn blackholes_swallow_and_a_held_back_packet_is_overtaken() {
        let mut shaper = Shaper::new(1);
        let hole = Impairment { blackhole: true, ..Impairment::default() };
        assert_eq!(shaper.take(&hole, ms(0), 100), Fate::Blackholed);
        let late = Some(Reorder { share: 1.0, by: ms(5) });
        let late = Impairment { reorder: late, ..Impairment::default() };
        let held = Fate::Arrives { at: ms(6), twice: false, held_back: true };
        assert_eq!(shaper.take(&late, ms(1), 100), held);
        assert_eq!(shaper.take(&Impairment::default(), ms(2), 100), arrives(ms(2)));
    }

    proptest! {
        /// Compared with a real queue, packet by packet.
        #[test]
        fn a_bottleneck_is_a_queue_of_packets(
            steps in prop::collection::vec((0u64..3000, 1usize..2000), 1..200),
            queue in 0usize..6000,
        ) {
            // 1 byte takes 1 µs.
            let rate = Some(Rate { bits_per_second: 8_000_000, queue });
            let how = Impairment { rate, ..Impairment::default() };
            let mut shaper = Shaper::new(1);
            let (mut now, mut leaving) = (0, Vec::new());
            for (pause, length) in steps {
                now += pause;
                let free_at = leaving.last().map_or(now, |last: &u64| now.max(*last));
                let waiting = free_at - now;
                let expected = if waiting > 0 && waiting + length as u64 > queue as u64 {
                    Fate::QueueFull
                } else {
                    leaving.push(free_at + length as u64);
                    arrives(Duration::from_micros(free_at + length as u64))
                };
                prop_assert_eq!(shaper.take(&how, Duration::from_micros(now), length), expected);
            }
        }

        #[test]
        fn jitter_keeps_the_order_and_its_bounds(pauses in prop::collection::vec(0u64..50, 1..100)) {
            let how = Impairment { delay: ms(20), jitter: ms(10), ..Impairment::default() };
            let mut shaper = Shaper::new(9);
            let (mut now, mut last) = (Duration::ZERO, Duration::ZERO);
            for pause in pauses {
                now += ms(pause);
                let Fate::Arrives { at, .. } = shaper.take(&how, now, 100) else {
                    return Err(TestCaseError::fail("lost"));
                };
                prop_assert!(at >= last && at >= now + ms(20) && at <= now + ms(30));
                last = at;
            }
        }
    }
}

//! How often the hub answers a host's packets with ICMP errors.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Slots for sources. Sources in the same slot share a rate.
const SOURCES: usize = 32;

/// The average time between answers to one source.
const INTERVAL: Duration = Duration::from_millis(100);

/// The most answers to one source at once, after one second without an answer.
const BURST: u32 = 10;

/// A rate for each source of one sender (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f): 10 a second, 10 at once, and at
/// most 320 at once for all sources together. Each sender has its own limit, so one with many sources takes nothing from
/// others.
///
/// Any thread may ask, and none waits. Two threads that ask for one source at the same time may get one answer.
#[derive(Debug)]
pub struct AnswerLimit {
    since: Instant,
    /// For each slot: when the next answer is due at the average rate, in microseconds after `since`. It is in the past if
    /// a burst is left.
    due: [AtomicU64; SOURCES],
}

impl AnswerLimit {
    /// A limit with all bursts left.
    pub fn new(now: Instant) -> Self {
        Self { since: now, due: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Whether a packet from `source` may be answered now. If so, the answer is counted.
    pub fn may_answer(&self, source: IpAddr, now: Instant) -> bool {
        const EACH: u64 = INTERVAL.as_micros() as u64;
        // Offset by one burst, as if no answer had been sent before the beginning.
        let now = micros(now.saturating_duration_since(self.since)) + u64::from(BURST) * EACH;
        let due = &self.due[slot(source)];
        let seen = due.load(Ordering::Relaxed);
        let earliest = seen.max(now - u64::from(BURST) * EACH);
        let next = earliest + EACH;
        next <= now
            && due.compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2)
}

/// The slot of a source. Neighbouring addresses have different slots.
fn slot(source: IpAddr) -> usize {
    let low = match source {
        IpAddr::V4(addr) => addr.to_bits() as usize,
        IpAddr::V6(addr) => {
            let bits = addr.to_bits();
            (bits ^ (bits >> 64)) as usize
        }
    };
    (low ^ (low >> 8)) % SOURCES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(low: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, low])
    }

    fn answers(limit: &AnswerLimit, from: u8, now: Instant, packets: u32) -> u32 {
        (0..packets).map(|_| u32::from(limit.may_answer(source(from), now))).sum()
    }

    #[test]
    fn ten_at_once_and_ten_a_second_for_each_source() {
        let start = Instant::now();
        let limit = AnswerLimit::new(start);
        assert_eq!(answers(&limit, 1, start, 1000), 10);
        assert_eq!(answers(&limit, 2, start, 1000), 10, "others have their own");
        assert_eq!(answers(&limit, 1, start + Duration::from_millis(99), 1000), 0);
        assert_eq!(answers(&limit, 1, start + Duration::from_millis(100), 1000), 1);
        assert_eq!(answers(&limit, 1, start + Duration::from_millis(450), 1000), 3);
        let a_day = Duration::from_secs(86_400);
        assert_eq!(answers(&limit, 1, start + a_day, 1000), 10, "a long silence is worth no more");
        let mut all = 0;
        for at in 0..1000 {
            let now = start + 2 * a_day + Duration::from_millis(at);
            all += answers(&limit, 1, now, 3);
        }
        assert_eq!(all, 10 + 9);
    }

    #[test]
    fn many_sources_together_are_limited_too() {
        let start = Instant::now();
        let limit = AnswerLimit::new(start);
        let all: u32 = (0..=255).map(|low| answers(&limit, low, start, 100)).sum();
        assert_eq!(all, 10 * u32::try_from(SOURCES).unwrap());
    }
}

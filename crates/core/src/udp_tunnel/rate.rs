//! How often registers of unauthenticated peers are checked.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// Sources that are distinguished; those that fall together share a rate. 16 KiB.
const SOURCES: usize = 1024;

/// Between two registers of one source, on average.
const INTERVAL: Duration = Duration::from_millis(20);

/// Registers of one source at once.
const BURST: u32 = 128;

/// What this machine itself sends, as a relay does for all of its clients, may come so much more often.
const LOOPBACK_FACTOR: u32 = 64;

/// A rate for each source: 128 registers at once and 50 a second, in memory that does not grow. An IPv6 /64 is one source.
#[derive(Debug)]
pub(super) struct RegisterRate {
    hasher: RandomState,
    /// When the next register would be due at the average rate; none: never asked.
    due: Box<[Option<Instant>]>,
}

impl RegisterRate {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), due: vec![None; SOURCES].into() }
    }

    /// Whether a register from `source` is looked at now; counts it if so.
    pub(super) fn admits(&mut self, source: IpAddr, now: Instant) -> bool {
        let (key, interval) = match source.to_canonical() {
            ip if ip.is_loopback() => (ip, INTERVAL / LOOPBACK_FACTOR),
            IpAddr::V6(ip) => {
                (Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(), INTERVAL)
            }
            ip @ IpAddr::V4(_) => (ip, INTERVAL),
        };
        let place = self.hasher.hash_one(key) as usize % SOURCES;
        let due = self.due[place].unwrap_or(now).max(now);
        if due.saturating_duration_since(now) > INTERVAL * BURST {
            return false;
        }
        self.due[place] = Some(due + interval);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_a_rate_for_each_source() {
        let mut rate = RegisterRate::new();
        let now = Instant::now();
        let mut at = |source: &str, now, times: u32| -> u32 {
            (0..times).map(|_| u32::from(rate.admits(source.parse().unwrap(), now))).sum()
        };
        let burst = at("10.0.0.1", now, 1000);
        assert_eq!(burst, BURST + 1);
        assert_eq!(at("10.0.0.1", now + Duration::from_secs(1), 1000), 50);
        assert!(at("127.0.0.1", now, 20_000) > 5000);
        let first = at("2001:db8::1", now, 1000);
        assert!(first > 0);
        assert_eq!(at("2001:db8::2", now, 1000), 0, "a /64 is one source");
    }
}

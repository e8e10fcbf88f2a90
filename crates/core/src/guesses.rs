//! Failed passwords: how long the answer to a further one is delayed, for each user and each source address.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// The number of failures of one user or source that are answered at once.
pub const FREE_GUESSES: u32 = 5;

/// How much each further failure adds to the delay.
const STEP: Duration = Duration::from_millis(500);

/// The longest delay: a host has 10 s to be admitted.
const LONGEST: Duration = Duration::from_secs(4);

/// After this time without a failure a user or source starts from zero.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// The most users, and the most sources, that are kept. A further one replaces the one whose failure is longest ago. About
/// 1 MiB together.
const KEPT: usize = 4096;

/// Users and sources with failed passwords. Only failures are counted here, so a right password is never delayed.
#[derive(Debug, Default)]
pub struct Guesses {
    users: Failures<Box<[u8]>>,
    sources: Failures<IpAddr>,
}

#[derive(Debug)]
struct Failures<K>(HashMap<K, Failed>);

#[derive(Debug, Clone, Copy)]
struct Failed {
    count: u32,
    last: Instant,
}

impl<K> Default for Failures<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl Guesses {
    /// Counts a failure of `user` from `source` at `now`, and returns how long to delay the answer. An IPv6 /64 is one source.
    pub fn failed(&mut self, user: &[u8], source: IpAddr, now: Instant) -> Duration {
        let source = match source.to_canonical() {
            IpAddr::V6(addr) => {
                IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & !u128::from(u64::MAX)))
            }
            v4 => v4,
        };
        let count = self.users.add(user.into(), now).max(self.sources.add(source, now));
        STEP.saturating_mul(count.saturating_sub(FREE_GUESSES)).min(LONGEST)
    }
}

impl<K: Eq + Hash + Clone> Failures<K> {
    /// Counts one more failure and returns the number of failures.
    fn add(&mut self, key: K, now: Instant) -> u32 {
        if self.0.len() >= KEPT && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, failed)| failed.last);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&oldest);
            }
        }
        let failed = self.0.entry(key).or_insert(Failed { count: 0, last: now });
        if now.saturating_duration_since(failed.last) >= FORGOTTEN {
            failed.count = 0;
        }
        failed.count = failed.count.saturating_add(1);
        failed.last = now;
        failed.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    #[test]
    fn the_answer_waits_after_the_fifth_failure_and_ever_longer() {
        let mut guesses = Guesses::default();
        let now = Instant::now();
        let mut waits = (0..20).map(|_| guesses.failed(b"alice", from(1), now).as_millis());
        let first: Vec<_> = waits.by_ref().take(8).collect();
        assert_eq!(first, [0, 0, 0, 0, 0, 500, 1000, 1500]);
        assert_eq!(waits.last(), Some(4000));
    }

    #[test]
    fn a_user_is_kept_from_many_sources_and_a_source_from_many_users() {
        let mut guesses = Guesses::default();
        let now = Instant::now();
        for n in 0..5 {
            assert!(guesses.failed(b"alice", from(n), now).is_zero());
        }
        assert!(!guesses.failed(b"alice", from(9), now).is_zero());
        let v6 = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, n, 0, 0, 1]);
        for n in 0..5 {
            assert!(guesses.failed(format!("user-{n}").as_bytes(), v6(n), now).is_zero());
        }
        assert!(!guesses.failed(b"user-9", v6(9), now).is_zero(), "a /64 is one source");
        assert!(guesses.failed(b"bob", from(200), now).is_zero(), "others are not delayed");
    }

    #[test]
    fn failures_are_forgotten_and_cost_bounded_memory() {
        let mut guesses = Guesses::default();
        let now = Instant::now();
        for _ in 0..9 {
            guesses.failed(b"alice", from(1), now);
        }
        let later = now + FORGOTTEN;
        assert!(guesses.failed(b"alice", from(1), later).is_zero());
        for n in 0..KEPT as u32 + 100 {
            guesses.failed(&n.to_be_bytes(), from(n), later);
        }
        assert_eq!((guesses.users.0.len(), guesses.sources.0.len()), (KEPT, KEPT));
    }
}

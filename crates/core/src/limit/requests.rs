//! How many join requests there may be a second: of all services that name a limiter, and of each address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::ScopedLimits;

/// Addresses with a bucket of their own; past it those with the most tokens are removed.
const MAX_ADDRESSES: usize = 65_536;

/// A token bucket for all that use it, and for each address. A rate of r a second holds floor(r) + 1 tokens, as in GOST.
///
/// The most specific row for an address replaces `$$`, and `$` counts besides. A rate of 0 or less is no limit. A refused
/// request takes no token.
#[derive(Debug)]
pub struct RequestLimiter(Mutex<RequestBuckets>);

#[derive(Debug)]
struct RequestBuckets {
    limits: ScopedLimits<f64>,
    since: Instant,
    /// When each bucket is full again, in nanoseconds after `since`.
    service: u64,
    by_address: HashMap<IpAddr, u64>,
}

/// Why there may not be one more request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestsExceeded {
    /// The limit `$`.
    #[error("there are more requests a second than the rlimiter allows")]
    Service,
    /// The limit of the address.
    #[error("{0} sends more requests a second than the rlimiter allows")]
    Address(IpAddr),
}

impl RequestLimiter {
    /// All buckets are full.
    pub fn new(limits: ScopedLimits<f64>, now: Instant) -> Self {
        let (service, by_address) = Default::default();
        Self(Mutex::new(RequestBuckets { limits, since: now, service, by_address }))
    }

    /// Changes the limits. What was taken from a bucket stays taken.
    pub fn set_limits(&self, limits: ScopedLimits<f64>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).limits = limits;
    }

    /// Takes a token of the service and one of `addr`, if both have one.
    ///
    /// # Errors
    ///
    /// Which bucket is empty.
    pub fn take(&self, addr: IpAddr, now: Instant) -> Result<(), RequestsExceeded> {
        let addr = addr.to_canonical();
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = nanos(now.saturating_duration_since(buckets.since));
        let of_address = buckets.limits.network(addr).or(buckets.limits.each());
        let full_at = buckets.by_address.get(&addr).copied().unwrap_or(0);
        let after = take(full_at, of_address, now).ok_or(RequestsExceeded::Address(addr))?;
        let service = take(buckets.service, buckets.limits.service(), now);
        buckets.service = service.ok_or(RequestsExceeded::Service)?;
        if after > now {
            if buckets.by_address.len() >= MAX_ADDRESSES && full_at == 0 {
                buckets.shrink(now);
            }
            buckets.by_address.insert(addr, after);
        }
        Ok(())
    }
}

impl RequestBuckets {
    /// Removes the buckets that are full, or else the fuller half.
    fn shrink(&mut self, now: u64) {
        self.by_address.retain(|_, full_at| *full_at > now);
        if self.by_address.len() >= MAX_ADDRESSES {
            let mut times: Vec<_> = self.by_address.values().copied().collect();
            let middle = times.len() / 2;
            let threshold = *times.select_nth_unstable(middle).1;
            self.by_address.retain(|_, full_at| *full_at > threshold);
        }
    }
}

/// Takes a token from a bucket that is full at `full_at`. Returns when it is full again; `None`: it is empty.
fn take(full_at: u64, rate: Option<f64>, now: u64) -> Option<u64> {
    let Some(rate) = rate.filter(|rate| *rate > 0.0) else { return Some(full_at) };
    let period = 1e9 / rate;
    let filled = (period * (rate.floor() + 1.0)).min(u64::MAX as f64 / 4.0) as u64;
    let after = full_at.max(now).saturating_add(period.min(filled as f64) as u64);
    (after - now <= filled).then_some(after)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limit::{LimitRow, LimitScope};

    fn limits(service: f64, each: f64) -> ScopedLimits<f64> {
        let row = |scope, limit| LimitRow { scope, limit };
        ScopedLimits::new([row(LimitScope::Service, service), row(LimitScope::Each, each)])
    }

    fn addr(n: u16) -> IpAddr {
        let [a, b] = n.to_be_bytes();
        IpAddr::from([10, 0, a, b])
    }

    #[test]
    fn a_refused_request_costs_others_nothing() {
        let now = Instant::now();
        let limiter = RequestLimiter::new(limits(3.0, 1.0), now);
        assert_eq!(limiter.take(addr(1), now), Ok(()));
        assert_eq!(limiter.take(addr(1), now), Ok(()));
        for _ in 0..10 {
            assert_eq!(limiter.take(addr(1), now), Err(RequestsExceeded::Address(addr(1))));
        }
        assert_eq!(limiter.take(addr(2), now), Ok(()));
        assert_eq!(limiter.take(addr(2), now), Ok(()));
        assert_eq!(limiter.take(addr(3), now), Err(RequestsExceeded::Service));
        let later = now + Duration::from_millis(334);
        assert_eq!(limiter.take(addr(3), later), Ok(()));
        limiter.set_limits(limits(0.0, 0.0));
        assert_eq!(limiter.take(addr(1), later), Ok(()));
    }

    #[test]
    fn a_rate_below_one_a_second_is_a_long_pause() {
        let now = Instant::now();
        let limiter = RequestLimiter::new(limits(0.0, 0.1), now);
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(limiter.take(addr(1), now), Ok(()));
        assert!(limiter.take(addr(1), at(9)).is_err());
        assert_eq!(limiter.take(addr(1), at(10)), Ok(()));
        let never = RequestLimiter::new(limits(0.0, 1e-300), now);
        assert_eq!(never.take(addr(1), now), Ok(()));
        assert!(never.take(addr(1), at(1_000_000_000)).is_err());
        let always = RequestLimiter::new(limits(0.0, 1e300), now);
        assert!((0..1000).all(|_| always.take(addr(1), now).is_ok()));
    }

    #[test]
    fn memory_is_bounded() {
        let now = Instant::now();
        let limiter = RequestLimiter::new(limits(0.0, 1.0), now);
        for n in 0..2 * MAX_ADDRESSES as u32 {
            let addr = IpAddr::from((n | 0x0a00_0000).to_be_bytes());
            assert_eq!(limiter.take(addr, now + Duration::from_nanos(n.into())), Ok(()));
        }
        assert!(limiter.0.lock().unwrap().by_address.len() <= MAX_ADDRESSES);
    }

    proptest! {
        /// The model counts tokens in thousandths each millisecond.
        #[test]
        fn it_is_a_bucket_of_tokens(
            service in 0u64..20,
            each in 0u64..10,
            steps in proptest::collection::vec((0u16..3, 0u64..400), 1..100),
        ) {
            let start = Instant::now();
            let limiter = RequestLimiter::new(limits(service as f64, each as f64), start);
            let full = |rate: u64| (rate + 1) * 1000;
            let mut tokens = [full(each), full(each), full(each), full(service)];
            let mut now = start;
            for (n, wait) in steps {
                now += Duration::from_millis(wait);
                for (bucket, rate) in tokens.iter_mut().zip([each, each, each, service]) {
                    *bucket = (*bucket + wait * rate).min(full(rate));
                }
                let has = |bucket: usize, rate| rate == 0 || tokens[bucket] >= 1000;
                let expected = has(n.into(), each) && has(3, service);
                // One nanosecond of rounding a token at the most.
                let taken = limiter.take(addr(n), now + Duration::from_nanos(1000)).is_ok();
                prop_assert_eq!(taken, expected);
                if expected {
                    for (bucket, rate) in [(usize::from(n), each), (3, service)] {
                        tokens[bucket] -= if rate == 0 { 0 } else { 1000 };
                    }
                }
            }
        }
    }
}

//! All shapers of one traffic limiter: for all who use it, each connection, each address, each namespace and each host.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{ScopedLimits, Ticket, TrafficLimit, TrafficRate, TrafficShaper};
use crate::{HostName, NamespaceId};

/// Shapers that no connection uses are kept up to this number while bytes in them have not drained, so that a new connection
/// does not begin with a new burst.
const MAX_IDLE: usize = 4096;

/// A shaper that several senders use.
#[derive(Debug)]
pub struct SharedShaper {
    /// The rate of the shaper in bytes per second, to be read without its lock; 0: no limit.
    bytes_per_second: AtomicU64,
    shaper: Mutex<TrafficShaper>,
}

/// The shapers of both directions of one scope.
#[derive(Debug)]
pub struct ShaperPair {
    /// What the service receives.
    pub input: SharedShaper,
    /// What the service sends.
    pub output: SharedShaper,
}

/// The shapers that one sender has to pass, with its tickets.
#[derive(Debug, Default)]
pub struct ShaperSet(Vec<(Arc<ShaperPair>, ShaperSide, Option<Ticket>)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShaperSide {
    Input,
    Output,
}

/// The shapers of one traffic limiter, which several services may share. New limits change the rates of the shapers in use.
#[derive(Debug, Default)]
pub struct TrafficLimiter(Mutex<LimiterState>);

#[derive(Debug, Default)]
struct LimiterState {
    /// `None`: somebody else sets the rate of each shaper.
    limits: Option<Arc<ScopedLimits<TrafficLimit>>>,
    pairs: HashMap<ShaperKey, Arc<ShaperPair>>,
    /// Of the next connection.
    serial: u64,
    /// Entries at which unused pairs are next looked for.
    prune_at: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum ShaperKey {
    Service,
    Connection(u64),
    Address(IpAddr),
    Namespace(NamespaceId),
    Host(HostName, NamespaceId),
}

impl TrafficLimiter {
    /// No connection yet; without limits, each [`ShaperPair`] has the rates that are set there.
    pub fn new(limits: Option<Arc<ScopedLimits<TrafficLimit>>>) -> Self {
        Self(Mutex::new(LimiterState { limits, ..Default::default() }))
    }

    /// Changes the limits from `now` on, also of the connections there are.
    pub fn set_limits(&self, limits: Option<Arc<ScopedLimits<TrafficLimit>>>, now: Instant) {
        let mut state = self.state();
        state.limits = limits;
        if state.limits.is_none() {
            return;
        }
        for (key, pair) in &state.pairs {
            pair.set(state.limit(key), now);
        }
    }

    /// Changes the rates of one of its pairs, unless limits are set here meanwhile.
    pub fn answer(&self, pair: &ShaperPair, limit: TrafficLimit, now: Instant) {
        if self.state().limits.is_none() {
            pair.set(Some(limit), now);
        }
    }

    /// The shapers of a new connection from `addr`: of the service, of the address, and of the connection itself.
    pub fn connection(&self, addr: IpAddr, now: Instant) -> [Arc<ShaperPair>; 3] {
        let mut state = self.state();
        state.serial += 1;
        let connection = ShaperKey::Connection(state.serial);
        let keys = [ShaperKey::Service, ShaperKey::Address(addr.to_canonical()), connection];
        keys.map(|key| state.pair(key, now))
    }

    /// The limits of a connection from `addr`: of the service, of the address, and of the connection itself.
    pub fn connection_limits(&self, addr: IpAddr) -> [Option<TrafficLimit>; 3] {
        let state = self.state();
        let keys =
            [ShaperKey::Service, ShaperKey::Address(addr.to_canonical()), ShaperKey::Connection(0)];
        keys.map(|key| state.limit(&key))
    }

    /// The shapers of a host, which its connections share: of the service, of its namespace, and of the host itself.
    pub fn host(
        &self,
        host: &HostName,
        namespace: NamespaceId,
        now: Instant,
    ) -> [Arc<ShaperPair>; 3] {
        let mut state = self.state();
        ShaperKey::of_host(host, namespace).map(|key| state.pair(key, now))
    }

    /// Like [`TrafficLimiter::host`], but where there is no row here, that of `base`, which is another limiter.
    pub fn host_or_base(
        &self,
        base: &Self,
        host: &HostName,
        namespace: NamespaceId,
        now: Instant,
    ) -> [Arc<ShaperPair>; 3] {
        let (mut own, mut base) = (self.state(), base.state());
        ShaperKey::of_host(host, namespace).map(|key| match own.limit(&key) {
            Some(_) => own.pair(key, now),
            None => base.pair(key, now),
        })
    }

    /// The shapers of the service as a whole.
    pub fn service(&self, now: Instant) -> Arc<ShaperPair> {
        self.state().pair(ShaperKey::Service, now)
    }

    fn state(&self) -> MutexGuard<'_, LimiterState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShaperKey {
    /// Of the service, of the namespace, of the host.
    fn of_host(host: &HostName, namespace: NamespaceId) -> [Self; 3] {
        [Self::Service, Self::Namespace(namespace), Self::Host(host.clone(), namespace)]
    }
}

impl LimiterState {
    fn pair(&mut self, key: ShaperKey, now: Instant) -> Arc<ShaperPair> {
        if let Some(pair) = self.pairs.get(&key) {
            return Arc::clone(pair);
        }
        if self.pairs.len() >= self.prune_at {
            self.prune(now);
        }
        let pair = Arc::new(ShaperPair::new(self.limit(&key), now));
        self.pairs.insert(key, Arc::clone(&pair));
        pair
    }

    /// Removes the pairs that no connection uses and in which nothing has to drain; past [`MAX_IDLE`], all that no
    /// connection uses.
    fn prune(&mut self, now: Instant) {
        let mut idle = 0;
        self.pairs.retain(|key, pair| {
            let is_used = Arc::strong_count(pair) > 1;
            is_used || *key == ShaperKey::Service || {
                idle += 1;
                idle <= MAX_IDLE && !pair.is_drained(now)
            }
        });
        self.prune_at = (self.pairs.len() * 2).max(16);
    }

    fn limit(&self, key: &ShaperKey) -> Option<TrafficLimit> {
        let limits = self.limits.as_ref()?;
        match key {
            ShaperKey::Service => limits.service(),
            ShaperKey::Connection(_) => limits.each(),
            ShaperKey::Address(addr) => limits.network(*addr),
            ShaperKey::Namespace(namespace) => limits.namespace(*namespace),
            ShaperKey::Host(host, namespace) => limits.host(host, *namespace).or(limits.each()),
        }
    }
}

impl ShaperPair {
    /// Nothing sent yet.
    pub fn new(limit: Option<TrafficLimit>, now: Instant) -> Self {
        let rate = |rate: fn(TrafficLimit) -> Option<TrafficRate>| limit.and_then(rate);
        Self {
            input: SharedShaper::new(rate(|limit| limit.input), now),
            output: SharedShaper::new(rate(|limit| limit.output), now),
        }
    }

    /// Changes the rates from `now` on.
    pub fn set(&self, limit: Option<TrafficLimit>, now: Instant) {
        self.input.set_rate(limit.and_then(|limit| limit.input), now);
        self.output.set_rate(limit.and_then(|limit| limit.output), now);
    }

    /// The rates in force.
    pub fn limit(&self) -> TrafficLimit {
        TrafficLimit { input: self.input.rate(), output: self.output.rate() }
    }

    fn is_drained(&self, now: Instant) -> bool {
        [&self.input, &self.output].iter().all(|shaper| shaper.shaper().ahead(now) == 0)
    }

    fn side(&self, side: ShaperSide) -> &SharedShaper {
        match side {
            ShaperSide::Input => &self.input,
            ShaperSide::Output => &self.output,
        }
    }
}

impl SharedShaper {
    fn new(rate: Option<TrafficRate>, now: Instant) -> Self {
        let bytes_per_second = AtomicU64::new(number(rate));
        Self { bytes_per_second, shaper: Mutex::new(TrafficShaper::new(rate, now)) }
    }

    /// The rate in force; `None`: no limit.
    pub fn rate(&self) -> Option<TrafficRate> {
        self.shaper().rate()
    }

    fn set_rate(&self, rate: Option<TrafficRate>, now: Instant) {
        let mut shaper = self.shaper();
        if shaper.rate() != rate {
            shaper.set_rate(rate, now);
            self.bytes_per_second.store(number(rate), Ordering::Relaxed);
        }
    }

    fn is_limited(&self) -> bool {
        self.bytes_per_second.load(Ordering::Relaxed) > 0
    }

    /// A poisoned lock still guards a whole shaper: every critical section is one call, whose changes cannot panic.
    fn shaper(&self) -> MutexGuard<'_, TrafficShaper> {
        self.shaper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In bytes per second; 0: no limit.
fn number(rate: Option<TrafficRate>) -> u64 {
    rate.map_or(0, |rate| rate.bytes_per_second.get())
}

impl ShaperSet {
    /// What is received has to pass these.
    pub fn input(pairs: impl IntoIterator<Item = Arc<ShaperPair>>) -> Self {
        Self(pairs.into_iter().map(|pair| (pair, ShaperSide::Input, None)).collect())
    }

    /// What is sent has to pass these.
    pub fn output(pairs: impl IntoIterator<Item = Arc<ShaperPair>>) -> Self {
        Self(pairs.into_iter().map(|pair| (pair, ShaperSide::Output, None)).collect())
    }

    /// The shapers of both.
    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether any limit applies now.
    pub fn is_limited(&self) -> bool {
        self.0.iter().any(|(pair, side, _)| pair.side(*side).is_limited())
    }

    /// The lowest of the rates, in bytes per second.
    pub fn rate(&self) -> Option<u64> {
        let rate = |(pair, side, _): &(Arc<ShaperPair>, ShaperSide, _)| {
            pair.side(*side).bytes_per_second.load(Ordering::Relaxed)
        };
        self.0.iter().map(rate).filter(|rate| *rate > 0).min()
    }

    /// How many bytes may go now, at least 1, which stands for one frame; an error is the time to ask again.
    pub fn allowance(&mut self, now: Instant) -> Result<usize, Instant> {
        let (mut allowance, mut ready) = (usize::MAX, now);
        for (pair, side, ticket) in &mut self.0 {
            let shared = pair.side(*side);
            if !shared.is_limited() {
                *ticket = None;
                continue;
            }
            let mut shaper = shared.shaper();
            let ticket = ticket.get_or_insert_with(|| shaper.join());
            ready = ready.max(shaper.ready_at(*ticket, now));
            allowance = allowance.min(shaper.allowance(now));
        }
        if ready > now { Err(ready) } else { Ok(allowance) }
    }

    /// Counts bytes that go now.
    pub fn send(&mut self, bytes: usize, now: Instant) {
        for (pair, side, ticket) in &mut self.0 {
            let shared = pair.side(*side);
            if shared.is_limited() {
                *ticket = Some(shared.shaper().send(bytes, now));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::parse_traffic_limits;

    const NS: NamespaceId = NamespaceId::from_bytes([1; 16]);

    fn limits(text: &str) -> Option<Arc<ScopedLimits<TrafficLimit>>> {
        let parsed = parse_traffic_limits(text, 100).unwrap();
        assert_eq!(parsed.bad.count, 0, "{:?}", parsed.bad);
        Some(Arc::new(ScopedLimits::new(parsed.rows.into_iter().map(|row| row.value))))
    }

    /// Each set sends as much as it may for `seconds`, woken in any order; bytes a second of each.
    fn run(sets: &mut [ShaperSet], start: Instant, seconds: u64) -> Vec<u64> {
        let mut sent = vec![0; sets.len()];
        let mut order: Vec<_> = (0..sets.len()).collect();
        let mut random = fastrand::Rng::with_seed(1);
        for millis in 0..seconds * 1000 {
            let now = start + Duration::from_millis(millis);
            // Bounded, so that a set without a limit stops sending.
            for _ in 0..50 {
                let mut idle = true;
                random.shuffle(&mut order);
                for &n in &order {
                    if sets[n].allowance(now).is_ok() {
                        sets[n].send(1000, now);
                        sent[n] += 1000;
                        idle = false;
                    }
                }
                if idle {
                    break;
                }
            }
        }
        sent.iter().map(|sent| sent / seconds).collect()
    }

    fn near(rate: u64, expected: u64) -> bool {
        rate.abs_diff(expected) * 100 <= expected * 3
    }

    fn addr(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn connections_share_what_is_theirs_together() {
        let now = Instant::now();
        let limiter = TrafficLimiter::new(limits("$ 0 3000KB\n$$ 0 1000KB\n10.0.0.7 0 500KB"));
        for addr in [addr(7), addr(1)] {
            let pairs = limiter.connection(addr, now).map(|pair| pair.limit());
            let none = TrafficLimit { input: None, output: None };
            assert_eq!(limiter.connection_limits(addr).map(|it| it.unwrap_or(none)), pairs);
        }
        let mut sets = [7, 7, 1, 2, 3].map(|n| ShaperSet::output(limiter.connection(addr(n), now)));
        let rates = run(&mut sets, now, 10);
        let kib = |n: u64| n * 1024;
        assert!(near(rates[0] + rates[1], kib(500)), "{rates:?}");
        assert!(near(rates[0], kib(250)), "{rates:?}");
        assert!(near(rates.iter().sum(), kib(3000)), "{rates:?}");
        assert!(near(rates[2], rates[4]), "{rates:?}");
        assert!(sets.iter().all(ShaperSet::is_limited));
        let mut input = ShaperSet::input(limiter.connection(addr(1), now));
        assert!(!input.is_limited() && input.allowance(now) == Ok(usize::MAX));
    }

    #[test]
    fn a_change_applies_at_once() {
        let now = Instant::now();
        let limiter = TrafficLimiter::new(limits("$ 100KB"));
        let mut sets = [ShaperSet::input(limiter.connection(addr(1), now))];
        assert!(near(run(&mut sets, now, 10)[0], 100 << 10));
        let later = now + Duration::from_secs(10);
        limiter.set_limits(limits("$$ 2MB"), later);
        assert!(near(run(&mut sets, later, 10)[0], 2 << 20));
        limiter.set_limits(limits(""), later + Duration::from_secs(10));
        assert!(!sets[0].is_limited());
    }

    /// Three services name the limiter: two have connections, one has a device.
    #[test]
    fn services_share_all_but_what_each_connection_has() {
        let now = Instant::now();
        let limiter = TrafficLimiter::new(limits("$ 3000KB\n$$ 1000KB\n10.0.0.7 500KB"));
        let connection = |n| ShaperSet::input(limiter.connection(addr(n), now));
        let device = || ShaperSet::input([limiter.service(now)]);
        let rates = run(&mut [connection(7), connection(7), device()], now, 10);
        assert!(near(rates[0] + rates[1], 500 << 10), "one address at two services: {rates:?}");
        assert!(near(rates[2], 2500 << 10), "{rates:?}");
        let later = now + Duration::from_secs(10);
        let rates = run(&mut [connection(1), connection(2)], later, 10);
        assert!(rates.iter().all(|rate| near(*rate, 1000 << 10)), "{rates:?}");
        let later = later + Duration::from_secs(10);
        let rates = run(&mut [connection(1), connection(2), device()], later, 10);
        assert!(near(rates.iter().sum(), 3000 << 10), "{rates:?}");
        let later = later + Duration::from_secs(10);
        assert!(near(run(&mut [device()], later, 10)[0], 3000 << 10), "the others have left");
    }

    #[test]
    fn rows_of_a_handler_go_before_those_of_the_limiter_that_it_shares() {
        let now = Instant::now();
        let own = TrafficLimiter::new(limits("a@* 100KB"));
        let base = TrafficLimiter::new(limits(&format!("$ 1000KB\na@{NS} 1KB\nb@* 300KB")));
        let set = |name: &str| {
            ShaperSet::input(own.host_or_base(&base, &HostName::new(name).unwrap(), NS, now))
        };
        let other = ShaperSet::input(base.host(&HostName::new("b").unwrap(), NS, now));
        let rates = run(&mut [set("a"), set("b"), other], now, 10);
        assert!(near(rates[0], 100 << 10), "{rates:?}");
        assert!(near(rates[1] + rates[2], 300 << 10), "its own and another handler: {rates:?}");
        assert_eq!(set("c").rate(), Some(1000 << 10));
    }

    #[test]
    fn hosts_and_namespaces_have_rates_of_their_own() {
        let now = Instant::now();
        let text = format!("*@{NS} 300KB\na@* 200KB\n$$ 50KB");
        let limiter = TrafficLimiter::new(limits(&text));
        let host = |text: &str| HostName::new(text).unwrap();
        let set = |name: &str, ns| ShaperSet::input(limiter.host(&host(name), ns, now));
        let other = NamespaceId::from_bytes([2; 16]);
        let mut sets = [set("a", NS), set("b", NS), set("a", other), set("a", other)];
        let rates = run(&mut sets, now, 10);
        assert!(near(rates[0], 200 << 10), "{rates:?}");
        assert!(near(rates[1], 50 << 10), "{rates:?}");
        assert!(near(rates[2] + rates[3], 200 << 10), "the connections of a host share");
    }

    #[test]
    fn a_new_connection_does_not_begin_with_a_new_burst_and_memory_is_bounded() {
        let now = Instant::now();
        let limiter = TrafficLimiter::new(limits("10.0.0.0/8 1KB 1KB 1MB"));
        let mut sent = 0;
        for _ in 0..20 {
            let mut set = ShaperSet::input(limiter.connection(addr(1), now));
            while set.allowance(now).is_ok() {
                set.send(10_000, now);
                sent += 10_000;
            }
        }
        assert!(sent <= (1 << 20) + 10_000, "{sent}");
        for n in 0..100_000u32 {
            let addr = IpAddr::from((n | 0x0a00_0000).to_be_bytes());
            ShaperSet::input(limiter.connection(addr, now)).send(10, now);
        }
        let pairs = limiter.state().pairs.len();
        assert!(pairs <= 4 * MAX_IDLE, "{pairs}");
    }
}

//! What one service uses of the limiters of the process.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwapOption;
use rtun_core::{
    HostName, NamespaceId,
    limit::{
        LimitRow, RequestLimiter, RequestsExceeded, ScopedLimits, ShaperPair, TrafficLimit,
        TrafficLimiter,
    },
};
use rtun_settings::{LimiterScope, LimiterSettings};

use super::now;

/// The traffic limiter of a service or of its handler: the one that it shares with all who name it, or, without rows there, its
/// own, whose rates a plugin says.
#[derive(Default)]
pub(crate) struct ServiceTraffic {
    /// Also has the rows of the handler itself.
    own: TrafficLimiter,
    used: Mutex<UsedTraffic>,
}

#[derive(Default)]
struct UsedTraffic {
    shared: Option<Arc<TrafficLimiter>>,
    scope: LimiterScope,
    /// The handler's.
    rows: Vec<LimitRow<TrafficLimit>>,
}

impl ServiceTraffic {
    /// From now on it uses `shared`, or without that its own. Where this is true connections that there are need other shapers.
    pub(crate) fn apply(
        &self,
        settings: Option<&LimiterSettings>,
        shared: Option<Arc<TrafficLimiter>>,
        rows: &[LimitRow<TrafficLimit>],
    ) -> bool {
        let is_asked = settings.is_some_and(|settings| settings.limits.plugin().is_some());
        let own = (!is_asked).then(|| Arc::new(ScopedLimits::new(rows.iter().cloned())));
        self.own.set_limits(own, now());
        let scope = settings.map_or(LimiterScope::All, |settings| settings.scope);
        let mut used = self.used();
        let is_other = used.shared.as_ref().map(Arc::as_ptr) != shared.as_ref().map(Arc::as_ptr);
        let changes = is_other || used.scope != scope || used.rows != rows;
        *used = UsedTraffic { shared, scope, rows: rows.to_vec() };
        changes
    }

    /// The shapers of a new connection from `addr`: of all together, of the address, and of the connection itself.
    pub(crate) fn connection(&self, addr: IpAddr) -> [Arc<ShaperPair>; 3] {
        let (used, now) = (self.used(), now());
        let limiter = used.shared.as_deref().unwrap_or(&self.own);
        let [all, address, connection] = limiter.connection(addr, now);
        let none = || Arc::new(ShaperPair::new(None, now));
        match used.scope {
            LimiterScope::All => [all, address, connection],
            LimiterScope::Service => [all, none(), none()],
            LimiterScope::Connection => [none(), address, connection],
        }
    }

    /// The limits of a connection from `addr`, as [`ServiceTraffic::connection`] has their shapers.
    pub(crate) fn connection_limits(&self, addr: IpAddr) -> [Option<TrafficLimit>; 3] {
        let used = self.used();
        let limiter = used.shared.as_deref().unwrap_or(&self.own);
        let [all, address, connection] = limiter.connection_limits(addr);
        match used.scope {
            LimiterScope::All => [all, address, connection],
            LimiterScope::Service => [all, None, None],
            LimiterScope::Connection => [None, address, connection],
        }
    }

    /// The shapers of a host, which its connections share: of all together, of its namespace, and of the host itself.
    pub(crate) fn host(&self, host: &HostName, namespace: NamespaceId) -> [Arc<ShaperPair>; 3] {
        let (used, now) = (self.used(), now());
        match used.shared.as_deref() {
            Some(shared) => self.own.host_or_base(shared, host, namespace, now),
            None => self.own.host(host, namespace, now),
        }
    }

    /// The shapers of what has no connections: those of all together.
    pub(crate) fn device(&self) -> Arc<ShaperPair> {
        self.used().shared.as_deref().unwrap_or(&self.own).service(now())
    }

    /// Changes the rates of one of its pairs to what a plugin says, unless it has rows meanwhile.
    pub(crate) fn answer(&self, pair: &ShaperPair, limit: TrafficLimit) {
        if self.used().shared.is_none() {
            self.own.answer(pair, limit, now());
        }
    }

    /// What a poisoned lock guards is whole: each change is one assignment.
    fn used(&self) -> MutexGuard<'_, UsedTraffic> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The requests of a service, as the limiter that it names lets them in.
#[derive(Default)]
pub(crate) struct ServiceRequests(ArcSwapOption<RequestLimiter>);

impl ServiceRequests {
    /// From now on that one decides.
    pub(crate) fn apply(&self, limiter: Option<Arc<RequestLimiter>>) {
        self.0.store(limiter);
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&self, peer: IpAddr) -> Result<(), RequestsExceeded> {
        self.0.load().as_ref().map_or(Ok(()), |limiter| limiter.take(peer, now()))
    }
}

//! The limiters of a process: services that name the same one share its limits, and what counts against them.
//!
//! The book has each limiter with rows for as long as a service names it, and keeps its rows up to date; services have what they
//! use of it. What limits a link stays until that ends or its service uses another limiter.

mod service;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use rtun_control::{Feed, in_background};
use rtun_core::limit::{ConnectionLimiter, RequestLimiter, ScopedLimits, TrafficLimiter};
use rtun_settings::{Config, LimitRow, Named, NamedLimiters, Provider, ServiceKind, TrafficLimit};
use tokio::{
    runtime::Handle,
    sync::{Mutex, Notify, watch},
};
use tracing::info;

pub(crate) use self::service::{ServiceRequests, ServiceTraffic};
use crate::{
    counters::NamedMeter,
    feeds::{Feeds, any_change},
    quotas::QuotaBook,
    runtime::{duties::Duty, machine::Machine},
};

/// All limiters with rows that services name, kept up to date by a task that ends when this is dropped.
pub(crate) struct LimiterBook {
    open: Arc<Mutex<OpenLimiters>>,
    /// Others are open, or have other sources.
    changed: Arc<Notify>,
    _following: Duty,
}

/// The limiters of the process that a service uses; without one that has rows it has none, or one of its own.
#[derive(Clone, Default)]
pub(crate) struct SharedLimiters {
    pub(crate) traffic: Option<Arc<TrafficLimiter>>,
    pub(crate) hosts: Option<Arc<TrafficLimiter>>,
    pub(crate) connections: Option<Arc<ConnectionLimiter>>,
    pub(crate) requests: Option<Arc<RequestLimiter>>,
}

/// What a service uses of what the process limits and counts.
#[derive(Default)]
pub(crate) struct ServiceMeters {
    pub(crate) limiters: SharedLimiters,
    pub(crate) quotas: Vec<NamedMeter>,
}

impl ServiceMeters {
    /// Of such a service. Its limiters and quotas are open.
    pub(crate) async fn of(kind: &ServiceKind, limiters: &LimiterBook, quotas: &QuotaBook) -> Self {
        Self { limiters: limiters.of(kind).await, quotas: quotas.meters(kind.volumes()) }
    }
}

/// By kind and name. Those of handlers are about hosts and namespaces, so they are other limiters than those of services.
#[derive(Default)]
struct OpenLimiters {
    traffic: Shelf<TrafficLimit, TrafficLimiter>,
    hosts: Shelf<TrafficLimit, TrafficLimiter>,
    connections: Shelf<u32, ConnectionLimiter>,
    requests: Shelf<f64, RequestLimiter>,
}

/// The limiters of one kind.
struct Shelf<L, T>(BTreeMap<String, OpenLimiter<L, T>>);

struct OpenLimiter<L, T> {
    rows: LimiterRows<L>,
    limiter: Arc<T>,
    /// Whether a configuration that names it is in force; else it goes when the next one is tried.
    is_in_force: bool,
}

/// Where the rows of a limiter are.
struct LimiterRows<L> {
    limiter: Named<LimitRow<L>>,
    feeds: Vec<Arc<Feed<LimitRow<L>>>>,
}

/// The limiters with rows that a configuration names.
#[derive(Default)]
struct WantedLimiters {
    traffic: Vec<LimiterRows<TrafficLimit>>,
    hosts: Vec<LimiterRows<TrafficLimit>>,
    connections: Vec<LimiterRows<u32>>,
    requests: Vec<LimiterRows<f64>>,
}

/// What has limits by rows.
trait Limiting<L>: Sized {
    /// Nothing has counted yet.
    fn open(limits: ScopedLimits<L>, now: Instant) -> Self;

    /// Changes the limits; what has counted stays.
    fn put(&self, limits: ScopedLimits<L>, now: Instant);
}

impl LimiterBook {
    /// No limiters yet.
    pub(crate) fn new(machine: &Machine) -> Self {
        let open = Arc::<Mutex<OpenLimiters>>::default();
        let changed = Arc::<Notify>::default();
        let (its_open, its_changed) = (Arc::clone(&open), Arc::clone(&changed));
        let name = "following the rows of limiters".to_owned();
        let following = machine.duties.keep(&Handle::current(), name, move || {
            follow(Arc::clone(&its_open), Arc::clone(&its_changed))
        });
        Self { open, changed, _following: following }
    }

    /// Opens the limiters of `config` that are not open yet, with what `feeds` have read. What these
    /// read from then on counts once `config` is [in force](Self::commit).
    pub(crate) async fn open(&self, config: &Config, feeds: &Feeds) {
        let wanted = WantedLimiters::of(config, feeds);
        let now = now();
        change(&self.open, move |open| {
            open.traffic.open(wanted.traffic, now);
            open.hosts.open(wanted.hosts, now);
            open.connections.open(wanted.connections, now);
            open.requests.open(wanted.requests, now);
        })
        .await;
    }

    /// What such a service uses. Its limiters are open.
    async fn of(&self, kind: &ServiceKind) -> SharedLimiters {
        let NamedLimiters { traffic, hosts, connections, requests } = kind.limiters();
        let open = self.open.lock().await;
        SharedLimiters {
            traffic: open.traffic.get(traffic.map(|it| &it.limits)),
            hosts: open.hosts.get(hosts.map(|it| &it.limits)),
            connections: open.connections.get(connections),
            requests: open.requests.get(requests),
        }
    }

    /// Puts the rows of `config` in force, and forgets the limiters that it does not name.
    pub(crate) async fn commit(&self, config: &Config, feeds: &Feeds) {
        let wanted = WantedLimiters::of(config, feeds);
        let now = now();
        change(&self.open, move |open| {
            open.traffic.keep(wanted.traffic);
            open.hosts.keep(wanted.hosts);
            open.connections.keep(wanted.connections);
            open.requests.keep(wanted.requests);
            open.put_in_force(now);
        })
        .await;
        self.changed.notify_one();
    }
}

/// Puts rows in force as sources are read, without end.
async fn follow(open: Arc<Mutex<OpenLimiters>>, changed: Arc<Notify>) {
    loop {
        // Asked for before rows are put in force, so that none is missed.
        let changes = open.lock().await.changes();
        let now = now();
        change(&open, move |open| open.put_in_force(now)).await;
        tokio::select! {
            () = any_change(changes) => info!("limits replaced: a source has changed"),
            () = changed.notified() => {}
        }
    }
}

/// In the background, since limiters may have many rows.
async fn change(
    open: &Arc<Mutex<OpenLimiters>>,
    what: impl FnOnce(&mut OpenLimiters) + Send + 'static,
) {
    let mut open = Arc::clone(open).lock_owned().await;
    in_background(move || what(&mut open)).await;
}

impl OpenLimiters {
    fn put_in_force(&self, now: Instant) {
        self.traffic.put_in_force(now);
        self.hosts.put_in_force(now);
        self.connections.put_in_force(now);
        self.requests.put_in_force(now);
    }

    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        let traffic = self.traffic.changes().chain(self.hosts.changes());
        traffic.chain(self.connections.changes()).chain(self.requests.changes()).collect()
    }
}

impl<L: Copy + Send + Sync + 'static, T: Limiting<L>> Shelf<L, T> {
    fn get(&self, named: Option<&Named<LimitRow<L>>>) -> Option<Arc<T>> {
        let open = self.0.get(&rows_of(named?)?.name)?;
        Some(Arc::clone(&open.limiter))
    }

    fn open(&mut self, wanted: Vec<LimiterRows<L>>, now: Instant) {
        self.0.retain(|_, open| open.is_in_force);
        for rows in wanted {
            self.0.entry(rows.limiter.name.clone()).or_insert_with(|| {
                let limiter = Arc::new(T::open(rows.compile(), now));
                OpenLimiter { rows, limiter, is_in_force: false }
            });
        }
    }

    fn keep(&mut self, wanted: Vec<LimiterRows<L>>) {
        let names: BTreeSet<_> = wanted.iter().map(|rows| rows.limiter.name.clone()).collect();
        self.0.retain(|name, _| names.contains(name));
        for rows in wanted {
            if let Some(open) = self.0.get_mut(&rows.limiter.name) {
                (open.rows, open.is_in_force) = (rows, true);
            }
        }
    }

    fn put_in_force(&self, now: Instant) {
        for OpenLimiter { rows, limiter, .. } in self.0.values() {
            limiter.put(rows.compile(), now);
        }
    }

    fn changes(&self) -> impl Iterator<Item = watch::Receiver<u64>> {
        let feeds = self.0.values().flat_map(|open| &open.rows.feeds);
        feeds.map(|feed| feed.changes())
    }
}

impl<L: Copy + Send + Sync + 'static> LimiterRows<L> {
    /// Those of the configuration first, then in rising order of priority.
    fn compile(&self) -> ScopedLimits<L> {
        let inline = self.limiter.inline().cloned();
        let read: Vec<_> = self.feeds.iter().map(|feed| feed.rows()).collect();
        let read = read.iter().flat_map(|rows| rows.iter().map(|row| row.value.clone()));
        ScopedLimits::new(inline.chain(read))
    }
}

impl WantedLimiters {
    fn of(config: &Config, feeds: &Feeds) -> Self {
        let mut wanted = Self::default();
        for service in &config.services {
            let NamedLimiters { traffic, hosts, connections, requests } = service.kind.limiters();
            let of_traffic = |name: &str| feeds.traffic_limits(name);
            add(&mut wanted.traffic, traffic.map(|it| &it.limits), of_traffic);
            add(&mut wanted.hosts, hosts.map(|it| &it.limits), of_traffic);
            add(&mut wanted.connections, connections, |name| feeds.connection_limits(name));
            add(&mut wanted.requests, requests, |name| feeds.request_limits(name));
        }
        wanted
    }
}

/// Adds a limiter with rows once.
fn add<L: Clone>(
    all: &mut Vec<LimiterRows<L>>,
    named: Option<&Named<LimitRow<L>>>,
    feeds: impl Fn(&str) -> Vec<Arc<Feed<LimitRow<L>>>>,
) {
    let Some(limiter) = named.and_then(rows_of) else { return };
    if all.iter().all(|rows| rows.limiter.name != limiter.name) {
        all.push(LimiterRows { limiter: limiter.clone(), feeds: feeds(&limiter.name) });
    }
}

/// The limiter, unless it is a plugin, which says rates for each service.
fn rows_of<L>(named: &Named<LimitRow<L>>) -> Option<&Named<LimitRow<L>>> {
    matches!(named.provider, Provider::Rows(_)).then_some(named)
}

impl Limiting<TrafficLimit> for TrafficLimiter {
    fn open(limits: ScopedLimits<TrafficLimit>, _now: Instant) -> Self {
        Self::new(Some(Arc::new(limits)))
    }

    fn put(&self, limits: ScopedLimits<TrafficLimit>, now: Instant) {
        self.set_limits(Some(Arc::new(limits)), now);
    }
}

impl Limiting<u32> for ConnectionLimiter {
    fn open(limits: ScopedLimits<u32>, _now: Instant) -> Self {
        Self::new(limits)
    }

    fn put(&self, limits: ScopedLimits<u32>, _now: Instant) {
        self.set_limits(limits);
    }
}

impl Limiting<f64> for RequestLimiter {
    fn open(limits: ScopedLimits<f64>, now: Instant) -> Self {
        Self::new(limits, now)
    }

    fn put(&self, limits: ScopedLimits<f64>, _now: Instant) {
        self.set_limits(limits);
    }
}

impl<L, T> Default for Shelf<L, T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

/// On the clock that tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;

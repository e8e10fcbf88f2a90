//! The sources that a configuration names. Each is read by one feed, which all its users share.

use std::{collections::BTreeMap, future::pending, sync::Arc, time::Duration};

use futures_util::future::{join_all, select_all};
use rtun_control::{Feed, FeedSpec, FeedStatus, MAX_TEXT, Parse, SourceSetupError};
use rtun_core::{
    IngressRule, Route, Row, User, parse_connection_limits, parse_hosts, parse_matchers,
    parse_request_limits, parse_routes, parse_rules, parse_traffic_limits, parse_users,
};
use rtun_settings::{
    Config, HostsLine, HubRules, LimitRow, LocatedRow, LookedUpName, Matcher, Named, NamedLimiters,
    Provider, Rows, ServiceKind, SourceSettings, TrafficLimit,
};
use rtun_state::StateDir;
use tokio::sync::watch;

use crate::runtime::surroundings::Surroundings;

/// The most rows of a list other than a routing table.
const MAX_ROWS: usize = 1_000_000;

/// Feeds by the kind and name of what they feed.
#[derive(Default, Clone)]
pub(crate) struct Feeds {
    routes: Fed<Route>,
    rules: Fed<IngressRule>,
    users: Fed<User>,
    matchers: Fed<Matcher>,
    traffic: Fed<LimitRow<TrafficLimit>>,
    connections: Fed<LimitRow<u32>>,
    requests: Fed<LimitRow<f64>>,
    hosts: Fed<HostsLine>,
    surroundings: Surroundings,
}

/// Feeds of one kind of row.
struct Fed<T>(BTreeMap<String, Vec<OpenFeed<T>>>);

/// A feed and what it was started with.
struct OpenFeed<T> {
    source: SourceSettings,
    reload: Option<Duration>,
    max_rows: usize,
    feed: Arc<Feed<T>>,
}

/// A source of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{kind} {name:?}: {source}")]
pub struct FeedError {
    kind: &'static str,
    name: String,
    source: SourceSetupError,
}

impl Feeds {
    /// No feeds yet. Sources are read through `surroundings`.
    pub(crate) fn new(surroundings: Surroundings) -> Self {
        Self { surroundings, ..Self::default() }
    }

    /// Through what sources are read and plugins are asked.
    pub(crate) fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// The feeds of `config`: those of `self` whose source is unchanged, and new ones. Each new one has tried its source once.
    pub(crate) async fn follow(
        &self,
        config: &Config,
        snapshots: Option<&Arc<StateDir>>,
    ) -> Result<Self, FeedError> {
        let mut next = Self::new(self.surroundings.clone());
        let around = FeedContext { surroundings: &self.surroundings, snapshots };
        let users = config.services.iter().flat_map(|service| service.kind.authers());
        for auther in users.chain(config.operators()) {
            let how = FeedKind { kind: "auther", max_rows: MAX_ROWS, parse: parse_users };
            next.users.open(&self.users, auther, &how, &around)?;
        }
        for service in &config.services {
            next.open_hosts(self, service.kind.lookups(), &around)?;
            next.open_limiters(self, service.kind.limiters(), &around)?;
            let ServiceKind::Hub(hub) = &service.kind else { continue };
            let quotas = &hub.rules.quotas;
            for router in hub.rules.routers() {
                let how = FeedKind {
                    kind: "router",
                    max_rows: quotas.routes_per_router,
                    parse: parse_routes,
                };
                next.routes.open(&self.routes, router, &how, &around)?;
            }
            if let Some(ingress) = &hub.rules.ingress {
                let how = FeedKind { kind: "ingress", max_rows: MAX_ROWS, parse: parse_rules };
                next.rules.open(&self.rules, ingress, &how, &around)?;
            }
            for admission in &hub.rules.admissions {
                let how = FeedKind { kind: "admission", max_rows: MAX_ROWS, parse: parse_matchers };
                next.matchers.open(&self.matchers, &admission.matchers, &how, &around)?;
            }
        }
        next.ready().await;
        Ok(next)
    }

    /// Adds the feeds of tables of names.
    fn open_hosts(
        &mut self,
        before: &Self,
        lookups: &[LookedUpName],
        around: &FeedContext<'_>,
    ) -> Result<(), FeedError> {
        let how = FeedKind { kind: "hosts", max_rows: MAX_ROWS, parse: parse_hosts };
        for table in lookups.iter().filter_map(|name| name.hosts.as_ref()) {
            self.hosts.open(&before.hosts, table, &how, around)?;
        }
        Ok(())
    }

    /// Adds the feeds of limiters.
    fn open_limiters(
        &mut self,
        before: &Self,
        named: NamedLimiters<'_>,
        around: &FeedContext<'_>,
    ) -> Result<(), FeedError> {
        let max_rows = MAX_ROWS;
        for limiter in named.traffic.iter().chain(&named.hosts) {
            let how = FeedKind { kind: "limiter", max_rows, parse: parse_traffic_limits };
            self.traffic.open(&before.traffic, &limiter.limits, &how, around)?;
        }
        if let Some(limiter) = named.connections {
            let how = FeedKind { kind: "climiter", max_rows, parse: parse_connection_limits };
            self.connections.open(&before.connections, limiter, &how, around)?;
        }
        if let Some(limiter) = named.requests {
            let how = FeedKind { kind: "rlimiter", max_rows, parse: parse_request_limits };
            self.requests.open(&before.requests, limiter, &how, around)?;
        }
        Ok(())
    }

    /// Only the feeds that `rules` use, but for those of limiters, which the process has.
    pub(crate) fn of(&self, rules: &HubRules) -> Self {
        let admissions = rules.admissions.iter();
        Self {
            routes: self.routes.only(rules.routers()),
            rules: self.rules.only(&rules.ingress),
            users: self.users.only(rules.authers.iter().flatten()),
            matchers: self.matchers.only(admissions.map(|admission| &admission.matchers)),
            ..Self::new(self.surroundings.clone())
        }
    }

    /// Only the feeds of these users.
    pub(crate) fn of_users(&self, authers: &[Named<User>]) -> Self {
        Self { users: self.users.only(authers), ..Self::new(self.surroundings.clone()) }
    }

    /// These lists with what was read of their sources, as if it stood in the configuration.
    pub(crate) fn filled_authers(
        &self,
        authers: Option<&[Named<User>]>,
    ) -> Option<Vec<Named<User>>> {
        Some(authers?.iter().map(|auther| self.filled_auther(auther)).collect())
    }

    /// The same of one list.
    pub(crate) fn filled_auther(&self, auther: &Named<User>) -> Named<User> {
        self.users.filled(auther)
    }

    /// Only the feeds that tables of these names use.
    pub(crate) fn of_lookups(&self, lookups: &[LookedUpName]) -> Self {
        let tables = lookups.iter().filter_map(|name| name.hosts.as_ref());
        Self { hosts: self.hosts.only(tables), ..Self::new(self.surroundings.clone()) }
    }

    /// The lines of a table of names, those of the configuration first.
    pub(crate) fn hosts_lines(&self, table: &Named<HostsLine>) -> Vec<HostsLine> {
        self.hosts.filled(table).inline().cloned().collect()
    }

    pub(crate) fn routes(&self, router: &Named<Route>) -> Vec<Arc<Feed<Route>>> {
        self.routes.get(&router.name)
    }

    pub(crate) fn rules(&self, ingress: &Named<IngressRule>) -> Vec<Arc<Feed<IngressRule>>> {
        self.rules.get(&ingress.name)
    }

    pub(crate) fn users(&self, auther: &Named<User>) -> Vec<Arc<Feed<User>>> {
        self.users.get(&auther.name)
    }

    pub(crate) fn matchers(&self, matchers: &Named<Matcher>) -> Vec<Arc<Feed<Matcher>>> {
        self.matchers.get(&matchers.name)
    }

    pub(crate) fn traffic_limits(&self, limiter: &str) -> Vec<Arc<Feed<LimitRow<TrafficLimit>>>> {
        self.traffic.get(limiter)
    }

    pub(crate) fn connection_limits(&self, limiter: &str) -> Vec<Arc<Feed<LimitRow<u32>>>> {
        self.connections.get(limiter)
    }

    pub(crate) fn request_limits(&self, limiter: &str) -> Vec<Arc<Feed<LimitRow<f64>>>> {
        self.requests.get(limiter)
    }

    /// One receiver for each feed; see [`Feed::changes`].
    pub(crate) fn changes(&self) -> Vec<watch::Receiver<u64>> {
        let mut all = Vec::new();
        all.extend(self.routes.feeds().map(|feed| feed.changes()));
        all.extend(self.rules.feeds().map(|feed| feed.changes()));
        all.extend(self.users.feeds().map(|feed| feed.changes()));
        all.extend(self.matchers.feeds().map(|feed| feed.changes()));
        all.extend(self.traffic.feeds().map(|feed| feed.changes()));
        all.extend(self.connections.feeds().map(|feed| feed.changes()));
        all.extend(self.requests.feeds().map(|feed| feed.changes()));
        all.extend(self.hosts.feeds().map(|feed| feed.changes()));
        all
    }

    /// A number for each feed that grows each time its rows change.
    pub(crate) fn generations(&self) -> Vec<u64> {
        self.changes().iter().map(|receiver| *receiver.borrow()).collect()
    }

    /// Has every source read now.
    pub(crate) fn reload(&self) {
        self.routes.feeds().for_each(|feed| feed.reload());
        self.rules.feeds().for_each(|feed| feed.reload());
        self.users.feeds().for_each(|feed| feed.reload());
        self.matchers.feeds().for_each(|feed| feed.reload());
        self.traffic.feeds().for_each(|feed| feed.reload());
        self.connections.feeds().for_each(|feed| feed.reload());
        self.requests.feeds().for_each(|feed| feed.reload());
        self.hosts.feeds().for_each(|feed| feed.reload());
    }

    /// How each source does, in no order.
    pub(crate) fn status(&self) -> Vec<FeedStatus> {
        let mut all = Vec::new();
        all.extend(self.routes.feeds().map(|feed| feed.status()));
        all.extend(self.rules.feeds().map(|feed| feed.status()));
        all.extend(self.users.feeds().map(|feed| feed.status()));
        all.extend(self.matchers.feeds().map(|feed| feed.status()));
        all.extend(self.traffic.feeds().map(|feed| feed.status()));
        all.extend(self.connections.feeds().map(|feed| feed.status()));
        all.extend(self.requests.feeds().map(|feed| feed.status()));
        all.extend(self.hosts.feeds().map(|feed| feed.status()));
        all
    }

    async fn ready(&self) {
        tokio::join!(
            join_all(self.routes.feeds().map(|feed| feed.ready())),
            join_all(self.rules.feeds().map(|feed| feed.ready())),
            join_all(self.users.feeds().map(|feed| feed.ready())),
            join_all(self.matchers.feeds().map(|feed| feed.ready())),
            join_all(self.traffic.feeds().map(|feed| feed.ready())),
            join_all(self.connections.feeds().map(|feed| feed.ready())),
            join_all(self.requests.feeds().map(|feed| feed.ready())),
            join_all(self.hosts.feeds().map(|feed| feed.ready())),
        );
    }
}

/// What all feeds of one kind are started with.
struct FeedKind<T> {
    kind: &'static str,
    max_rows: usize,
    parse: Parse<T>,
}

/// Through what feeds read, and where they keep what they have read.
struct FeedContext<'a> {
    surroundings: &'a Surroundings,
    snapshots: Option<&'a Arc<StateDir>>,
}

impl FeedContext<'_> {
    fn start<T: Send + Sync + 'static>(
        &self,
        spec: &FeedSpec<'_>,
        parse: Parse<T>,
    ) -> Result<Arc<Feed<T>>, SourceSetupError> {
        let snapshots = self.snapshots.cloned();
        match self.surroundings {
            Surroundings::System => Feed::start(spec, parse, snapshots),
            Surroundings::Twin(twin) => {
                Ok(Feed::of(twin.source(spec.source), spec, parse, snapshots))
            }
        }
    }
}

impl<T: Send + Sync + 'static> Fed<T> {
    /// Adds the feeds of `named`, unless they were added already: those of `before`, or new ones.
    fn open(
        &mut self,
        before: &Self,
        named: &Named<T>,
        how: &FeedKind<T>,
        around: &FeedContext<'_>,
    ) -> Result<(), FeedError> {
        let Provider::Rows(rows) = &named.provider else { return Ok(()) };
        if rows.sources.is_empty() || self.0.contains_key(&named.name) {
            return Ok(());
        }
        let old = before.0.get(&named.name).map_or(&[][..], Vec::as_slice);
        let mut opened = Vec::new();
        for source in &rows.sources {
            let stays = |open: &&OpenFeed<T>| {
                (&open.source, open.reload, open.max_rows) == (source, rows.reload, how.max_rows)
            };
            if let Some(open) = old.iter().find(stays) {
                opened.push(open.clone());
                continue;
            }
            let spec = FeedSpec {
                kind: how.kind,
                name: &named.name,
                source,
                reload: rows.reload,
                max_bytes: MAX_TEXT,
                max_rows: how.max_rows,
            };
            let feed = around.start(&spec, how.parse).map_err(|source| FeedError {
                kind: how.kind,
                name: named.name.clone(),
                source,
            })?;
            let (source, reload, max_rows) = (source.clone(), rows.reload, how.max_rows);
            opened.push(OpenFeed { source, reload, max_rows, feed });
        }
        self.0.insert(named.name.clone(), opened);
        Ok(())
    }

    fn only<'a>(&self, named: impl IntoIterator<Item = &'a Named<T>>) -> Self
    where
        T: 'a,
    {
        let names = named.into_iter().map(|named| &named.name);
        let feeds = names.filter_map(|name| Some((name.clone(), self.0.get(name)?.clone())));
        Self(feeds.collect())
    }

    /// In the order of the sources.
    fn get(&self, name: &str) -> Vec<Arc<Feed<T>>> {
        let feeds = self.0.get(name).into_iter().flatten();
        feeds.map(|open| Arc::clone(&open.feed)).collect()
    }

    /// The list with what was read of its sources, as if it stood in the configuration: its own rows, then those of each source in rising
    /// order of priority.
    fn filled(&self, named: &Named<T>) -> Named<T>
    where
        T: Clone,
    {
        let Provider::Rows(rows) = &named.provider else { return named.clone() };
        let mut inline = rows.inline.clone();
        for feed in self.get(&named.name) {
            let file = feed.label();
            inline.extend(feed.rows().iter().map(|Row { value, line, .. }| LocatedRow {
                value: value.clone(),
                file: Arc::clone(&file),
                line: *line,
            }));
        }
        Named { name: named.name.clone(), provider: Provider::Rows(Rows::inline(inline)) }
    }

    fn feeds(&self) -> impl Iterator<Item = &Arc<Feed<T>>> {
        self.0.values().flatten().map(|open| &open.feed)
    }
}

impl<T> Clone for OpenFeed<T> {
    fn clone(&self) -> Self {
        let Self { source, reload, max_rows, feed } = self;
        Self {
            source: source.clone(),
            reload: *reload,
            max_rows: *max_rows,
            feed: Arc::clone(feed),
        }
    }
}

impl<T> Clone for Fed<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Fed<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

/// Ready when any of `changes` has changed.
pub(crate) async fn any_change(changes: Vec<watch::Receiver<u64>>) {
    if changes.is_empty() {
        return pending().await;
    }
    let each = changes.into_iter().map(|mut change| {
        Box::pin(async move {
            // A feed that is gone does not change any more.
            if change.changed().await.is_err() {
                pending::<()>().await;
            }
        })
    });
    select_all(each).await;
}

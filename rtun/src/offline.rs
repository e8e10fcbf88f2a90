//! What a configuration says of its hubs, files it names included, without asking anybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use rtun_core::{
    HostName, Ingress, NamespaceId, Parsed, PluginId, Router, Routing, RoutingTable, Row,
    TooManyRows,
    explain::{Listed, Listing, Origin},
    parse_connection_limits, parse_hosts, parse_matchers, parse_request_limits, parse_routes,
    parse_rules, parse_traffic_limits, parse_users,
};
use rtun_settings::{
    self, Config, HubRules, IngressRule, Named, NamedLimiters, Provider, Route, Rows, ServiceKind,
    User,
};

/// The longest file of rows that is read, in bytes.
const MAX_BYTES: u64 = 128 * 1024 * 1024;

/// A hub as its configuration describes it.
pub(crate) struct Hub<'a> {
    pub(crate) service: &'a str,
    pub(crate) rules: &'a HubRules,
    routers: BTreeMap<NamespaceId, OfflineTable>,
    default_router: Option<OfflineTable>,
    ingress: Option<(String, Known<IngressRule>)>,
    /// Which names users may report; `None`: any.
    reported: Option<BTreeSet<HostName>>,
    /// Of its ingress and authers, what was not asked and might say more, in words.
    pub(crate) access_not_asked: Vec<String>,
    /// Of the files that were read.
    flaws: Vec<FileFlaw>,
}

/// What is wrong with a file of rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FileFlaw {
    pub(crate) file: PathBuf,
    pub(crate) what: What,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// No row of it counts, for this reason.
    Unusable(String),
    /// One line of it does not count.
    BadLine(u32, String),
    /// This number of further lines do not count.
    More(usize),
}

/// A router and the rows of it that are known.
pub(crate) struct OfflineTable {
    pub(crate) name: String,
    pub(crate) is_plugin: bool,
    rows: Known<Route>,
}

/// Rows that are known, and sources that are not.
struct Known<T> {
    /// Those of the best source first.
    rows: Vec<Found<T>>,
    not_read: Vec<String>,
    flaws: Vec<FileFlaw>,
    is_plugin: bool,
}

/// A row and its place.
struct Found<T> {
    value: T,
    origin: Origin,
    source: Arc<str>,
    line: u32,
}

/// Why no host of a name can join a namespace.
pub(crate) enum Barred {
    /// It has neither a table nor a default router.
    NoNamespace,
    /// No user may report that name.
    NoUser,
    /// This ingress has no rule for it.
    NoRule(String),
    /// This ingress admits it to that namespace instead.
    Elsewhere(String, NamespaceId),
}

/// Every hub of the configuration, in its order.
pub(crate) fn hubs(config: &Config) -> Vec<Hub<'_>> {
    let services = config.services.iter().filter_map(|service| match &service.kind {
        ServiceKind::Hub(hub) => Some(Hub::read(&service.name, &hub.rules)),
        _ => None,
    });
    services.collect()
}

/// What is wrong with the files of rows that others than hubs would read at their start.
pub(crate) fn flaws_of_others(config: &Config) -> Vec<FileFlaw> {
    let services = config.services.iter().map(|service| &service.kind);
    let others = services.filter(|kind| !matches!(kind, ServiceKind::Hub(_)));
    let users = others.clone().flat_map(ServiceKind::authers).chain(config.operators());
    let of_users = users.flat_map(|auther| known(auther, usize::MAX, parse_users).flaws);
    let of_limiters = others.flat_map(|kind| limiter_flaws(kind.limiters()));
    let names = config.services.iter().flat_map(|service| service.kind.lookups());
    let tables = names.filter_map(|name| name.hosts.as_ref());
    let of_tables = tables.flat_map(|table| known(table, usize::MAX, parse_hosts).flaws);
    of_users.chain(of_limiters).chain(of_tables).collect()
}

fn limiter_flaws(limiters: NamedLimiters<'_>) -> Vec<FileFlaw> {
    let NamedLimiters { traffic, hosts, connections, requests } = limiters;
    let traffic = traffic.into_iter().chain(hosts);
    let mut flaws: Vec<_> = traffic
        .flat_map(|limiter| known(&limiter.limits, usize::MAX, parse_traffic_limits).flaws)
        .collect();
    if let Some(limiter) = connections {
        flaws.extend(known(limiter, usize::MAX, parse_connection_limits).flaws);
    }
    if let Some(limiter) = requests {
        flaws.extend(known(limiter, usize::MAX, parse_request_limits).flaws);
    }
    flaws
}

impl<'a> Hub<'a> {
    fn read(service: &'a str, rules: &'a HubRules) -> Self {
        let max_rows = rules.quotas.routes_per_router;
        let table = |router: &Named<Route>| {
            let rows = known(router, max_rows, parse_routes);
            OfflineTable { name: router.name.clone(), is_plugin: rows.is_plugin, rows }
        };
        let routers: BTreeMap<_, _> =
            rules.namespaces.iter().map(|(id, router)| (*id, table(router))).collect();
        let default_router = rules.default_router.as_ref().map(table);
        let ingress = rules
            .ingress
            .as_ref()
            .map(|ingress| (ingress.name.clone(), known(ingress, usize::MAX, parse_rules)));
        let authers: Option<Vec<_>> = rules.authers.as_ref().map(|authers| {
            authers.iter().map(|auther| (auther, known(auther, usize::MAX, parse_users))).collect()
        });
        let mut flaws = Vec::new();
        for table in routers.values().chain(&default_router) {
            flaws.extend_from_slice(&table.rows.flaws);
        }
        flaws.extend(ingress.iter().flat_map(|(_, rules)| rules.flaws.clone()));
        flaws.extend(authers.iter().flatten().flat_map(|(_, users)| users.flaws.clone()));
        let mut access_not_asked = Vec::new();
        if let Some((name, rules)) = &ingress {
            access_not_asked.extend(rules.not_asked("ingress", name));
        }
        for (auther, users) in authers.iter().flatten() {
            access_not_asked.extend(users.not_asked("auther", &auther.name));
        }
        let reported = authers.and_then(|authers| {
            let users: Vec<Known<User>> = authers.into_iter().map(|(_, users)| users).collect();
            reported(&users)
        });
        Self { service, rules, routers, default_router, ingress, reported, access_not_asked, flaws }
    }

    /// What is wrong with the files of rows that it would read at its start; those of admissions and limiters are read for this.
    pub(crate) fn flaws(&self) -> Vec<FileFlaw> {
        let admissions = self.rules.admissions.iter();
        let matchers = admissions
            .flat_map(|admission| known(&admission.matchers, usize::MAX, parse_matchers).flaws);
        let limiters = limiter_flaws(self.rules.limits.limiters());
        self.flaws.iter().cloned().chain(matchers).chain(limiters).collect()
    }

    /// The namespaces that its tables and its ingress name.
    pub(crate) fn named_namespaces(&self) -> BTreeSet<NamespaceId> {
        let rules = self.ingress.iter().flat_map(|(_, known)| &known.rows);
        let admitted = rules.map(|rule| rule.value.namespace);
        self.routers.keys().copied().chain(admitted).collect()
    }

    /// Whether hosts may also be in namespaces that nothing here names.
    pub(crate) fn has_other_namespaces(&self) -> bool {
        self.default_router.is_some()
            && self.ingress.as_ref().is_none_or(|(_, rules)| !rules.is_complete())
    }

    /// The routers of a namespace in the order in which they are asked, with whether each is the default one.
    pub(crate) fn routers(
        &self,
        namespace: NamespaceId,
    ) -> impl Iterator<Item = (&OfflineTable, bool)> {
        let own = self.routers.get(&namespace).map(|table| (table, false));
        own.into_iter().chain(self.default_router.as_ref().map(|table| (table, true)))
    }

    /// Asked where a namespace's own router has no route.
    pub(crate) fn default_router(&self) -> Option<&OfflineTable> {
        self.default_router.as_ref()
    }

    /// What was not asked and might say more of a namespace, in words.
    pub(crate) fn not_asked(&self, namespace: NamespaceId) -> Vec<String> {
        let tables = self.routers(namespace);
        let routers = tables.flat_map(|(table, _)| table.rows.not_asked("router", &table.name));
        routers.chain(self.access_not_asked.iter().cloned()).collect()
    }

    /// How the namespace routes; a plugin's number is its place among the namespace's routers.
    pub(crate) fn routing(&self, namespace: NamespaceId) -> Routing {
        let routers =
            self.routers(namespace).enumerate().map(|(place, (table, _))| match table.is_plugin {
                true => Router::Plugin(PluginId(place)),
                false => Router::Table(Arc::new(RoutingTable::new(table.routes()))),
            });
        Routing::new(namespace, routers.collect(), self.rules.source_check, self.rules.sharing)
    }

    /// The rows that a namespace's routing is made of.
    pub(crate) fn listings(&self, namespace: NamespaceId) -> Vec<Listing<'_>> {
        self.routers(namespace).map(|(table, is_default)| table.listing(is_default)).collect()
    }

    /// The host names that rules name one by one for this namespace, and those that users are bound to.
    pub(crate) fn named_hosts(&self, namespace: NamespaceId) -> BTreeSet<HostName> {
        let rules = self.ingress.iter().flat_map(|(_, known)| &known.rows);
        let exact = rules
            .filter(|rule| rule.value.namespace == namespace)
            .filter(|rule| !rule.value.pattern.starts_with(['*', '.']))
            .filter_map(|rule| HostName::new(&rule.value.pattern).ok());
        let users = self.reported.iter().flatten().cloned();
        exact.chain(users).filter(|host| self.admits(host, namespace).is_ok()).collect()
    }

    /// Whether a host of that name can join the namespace, as far as is known.
    pub(crate) fn admits(&self, host: &HostName, namespace: NamespaceId) -> Result<(), Barred> {
        if self.default_router.is_none() && !self.routers.contains_key(&namespace) {
            return Err(Barred::NoNamespace);
        }
        if self.reported.as_ref().is_some_and(|names| !names.contains(host)) {
            return Err(Barred::NoUser);
        }
        let Some((name, rules)) = self.ingress.as_ref().filter(|(_, rules)| rules.is_complete())
        else {
            return Ok(());
        };
        match self.ingress_of(rules).namespace_of(host) {
            Some(admitted) if admitted == namespace => Ok(()),
            Some(admitted) => Err(Barred::Elsewhere(name.clone(), admitted)),
            None => Err(Barred::NoRule(name.clone())),
        }
    }

    /// Of rules with the same pattern the last of the best source counts.
    fn ingress_of(&self, rules: &Known<IngressRule>) -> Ingress {
        let mut rows: Vec<_> = rules.rows.iter().collect();
        rows.sort_by_key(|row| row.origin);
        Ingress::new(rows.iter().map(|row| (row.value.pattern.as_str(), row.value.namespace)))
    }
}

impl OfflineTable {
    /// The known routes, those of the best source first.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.rows.rows.iter().map(|row| &row.value)
    }

    fn listing(&self, is_default: bool) -> Listing<'_> {
        let rows = self.rows.rows.iter().map(|row| Listed {
            route: &row.value,
            origin: row.origin,
            source: &row.source,
            line: row.line,
        });
        Listing {
            name: &self.name,
            is_default,
            rows: (!self.is_plugin).then(|| Box::new(rows) as Box<dyn Iterator<Item = _>>),
            not_read: self.rows.not_read.clone(),
        }
    }
}

impl<T> Known<T> {
    fn is_complete(&self) -> bool {
        !self.is_plugin && self.not_read.is_empty()
    }

    fn not_asked(&self, kind: &str, name: &str) -> Vec<String> {
        let plugin = self.is_plugin.then(|| format!("{kind} {name}: its plugin"));
        let sources = self.not_read.iter().map(|source| format!("{kind} {name}: {source}"));
        plugin.into_iter().chain(sources).collect()
    }
}

impl fmt::Display for Barred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNamespace => {
                f.write_str("the namespace has neither a table nor a default router")
            }
            Self::NoUser => f.write_str("no user may report that name"),
            Self::NoRule(ingress) => write!(f, "{ingress} has no rule for that name"),
            Self::Elsewhere(ingress, namespace) => {
                write!(f, "{ingress} admits that name to {namespace} instead")
            }
        }
    }
}

/// The names that users may report; `None` if one may report any, or not all users are known.
fn reported(authers: &[Known<User>]) -> Option<BTreeSet<HostName>> {
    let mut names = BTreeSet::new();
    for auther in authers {
        if !auther.is_complete() {
            return None;
        }
        // A better source says another password; the names a user is bound to hold until it names others.
        let mut rows: Vec<_> = auther.rows.iter().collect();
        rows.sort_by_key(|row| row.origin);
        let mut users: BTreeMap<&str, (bool, Option<&[HostName]>)> = BTreeMap::new();
        for Found { value: user, .. } in rows {
            let known = users.entry(&user.name).or_default();
            known.0 = !user.password.expose().is_empty();
            known.1 = user.hosts.as_deref().or(known.1);
        }
        // Nobody is ever admitted by an empty password.
        for (_, hosts) in users.into_values().filter(|(has_password, _)| *has_password) {
            names.extend(hosts?.iter().cloned());
        }
    }
    Some(names)
}

type ParseRows<T> = fn(&str, usize) -> Result<Parsed<T>, TooManyRows>;

fn known<T: Clone>(named: &Named<T>, max_rows: usize, parse: ParseRows<T>) -> Known<T> {
    let rows: &Rows<T> = match &named.provider {
        Provider::Plugin(_) => {
            let (rows, not_read, flaws) = Default::default();
            return Known { rows, not_read, flaws, is_plugin: true };
        }
        Provider::Rows(rows) => rows,
    };
    let inline = rows.inline.iter().map(|row| Found {
        value: row.value.clone(),
        origin: Origin::Inline,
        source: Arc::clone(&row.file),
        line: row.line,
    });
    let (mut found, mut not_read, mut flaws): (Vec<_>, Vec<_>, Vec<_>) =
        (inline.collect(), Vec::new(), Vec::new());
    for source in &rows.sources {
        match source {
            rtun_settings::SourceSettings::File(path) => {
                let mut flaw = |what| flaws.push(FileFlaw { file: path.clone(), what });
                match parse_file(path, max_rows, parse) {
                    Ok(Parsed { rows, bad }) => {
                        found.extend(in_file(path, rows));
                        for line in &bad.first {
                            flaw(What::BadLine(line.line, line.to_string()));
                        }
                        if bad.count > bad.first.len() {
                            flaw(What::More(bad.count - bad.first.len()));
                        }
                    }
                    Err(error) => {
                        flaw(What::Unusable(error.to_string()));
                        not_read.push(format!("file {}: {error}", path.display()));
                    }
                }
            }
            rtun_settings::SourceSettings::Redis(redis) => {
                not_read.push(format!("redis {} key {}", redis.server.addr, redis.key));
            }
            rtun_settings::SourceSettings::Http(http) => not_read.push(http.label()),
        }
    }
    found.sort_by_key(|row| std::cmp::Reverse(row.origin));
    Known { rows: found, not_read, flaws, is_plugin: false }
}

fn in_file<T>(path: &Path, rows: Vec<Row<T>>) -> impl Iterator<Item = Found<T>> {
    let source: Arc<str> = path.display().to_string().into();
    rows.into_iter().map(move |row| Found {
        value: row.value,
        origin: Origin::File,
        source: Arc::clone(&source),
        line: row.line,
    })
}

fn parse_file<T>(path: &Path, max_rows: usize, parse: ParseRows<T>) -> io::Result<Parsed<T>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let text = rtun_core::text::decode(bytes).map_err(io::Error::other)?;
    parse(&text, max_rows).map_err(io::Error::other)
}

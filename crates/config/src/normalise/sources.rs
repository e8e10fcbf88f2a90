//! Sources of rows outside the configuration: files, redis servers, URLs.

use std::time::Duration;

use super::{
    choice::find,
    remote::{self, is_local},
};
use crate::{
    findings::Code,
    location::quote,
    report::At,
    schema::{
        Field, In, OneText, Setting, admission, auther, counting_limiter, file_source, hop,
        hosts_table, http_source, ingress, limiter, redis_server, redis_source, router,
        sources_from,
    },
    value::Cursor,
};
use rtun_settings::{
    HttpSourceSettings, RedisKind, RedisServer, RedisSettings, Secret, SourceSettings,
};

/// Least time between two readings.
const MIN_RELOAD: Duration = Duration::from_secs(1);

/// What differs between the kinds of objects that have rows.
pub(crate) struct TableKind {
    /// The key of the rows that the configuration itself has.
    pub(super) rows: &'static str,
    /// The object, for messages.
    pub(super) what: &'static str,
    /// What a redis key may hold; the first is the default.
    redis: &'static [(&'static str, RedisKind)],
    /// Whether a plugin may be asked instead.
    pub(super) plugins: bool,
}

const HASH: (&str, RedisKind) = ("hash", RedisKind::Hash);
const SET: (&str, RedisKind) = ("set", RedisKind::Set);
const LIST: (&str, RedisKind) = ("list", RedisKind::List);
const STRING: (&str, RedisKind) = ("string", RedisKind::String);

pub(super) const ROUTER: TableKind = TableKind {
    rows: router::ROUTES.name(),
    what: "router",
    redis: &[HASH, SET, LIST],
    plugins: true,
};
pub(super) const INGRESS: TableKind =
    TableKind { rows: ingress::RULES.name(), what: "ingress", redis: &[HASH, SET], plugins: true };
pub(super) const AUTHER: TableKind =
    TableKind { rows: auther::AUTHS.name(), what: "auther", redis: &[HASH], plugins: true };
pub(super) const ADMISSION: TableKind =
    TableKind { rows: admission::MATCHERS.name(), what: "admission", redis: &[SET], plugins: true };
pub(super) const LIMITER: TableKind =
    TableKind { rows: limiter::LIMITS.name(), what: "limiter", redis: &[SET, LIST], plugins: true };
pub(super) const CLIMITER: TableKind = TableKind {
    rows: counting_limiter::LIMITS.name(),
    what: "climiter",
    redis: &[SET, LIST],
    plugins: false,
};
pub(super) const RLIMITER: TableKind = TableKind {
    rows: counting_limiter::LIMITS.name(),
    what: "rlimiter",
    redis: &[SET, LIST],
    plugins: false,
};
pub(super) const HOSTS: TableKind = TableKind {
    rows: hosts_table::MAPPINGS.name(),
    what: "table of names",
    redis: &[SET, LIST],
    plugins: false,
};

pub(crate) const HOP: TableKind =
    TableKind { rows: hop::NODES.name(), what: "hop", redis: &[STRING], plugins: true };

/// The sources of the object at `at` in rising order of priority, and the time between two readings of them.
pub(crate) fn read(at: &Cursor<'_>, kind: &TableKind) -> (Vec<SourceSettings>, Option<Duration>) {
    let file = at.filled(&sources_from::FILE).and_then(|at| file(&at));
    let redis = at.filled(&sources_from::REDIS).and_then(|at| redis(&at, kind));
    let http = at.filled(&sources_from::HTTP).and_then(|at| http(&at));
    let sources: Vec<SourceSettings> = [file, redis, http].into_iter().flatten().collect();
    let reload = at.get(&sources_from::RELOAD);
    let Some((period, reload)) = reload.and_then(|at| Some((at.read()?, at))) else {
        return (sources, None);
    };
    if !are_in(at) {
        let message = format!("`reload` has no effect: this {} has no source", kind.what);
        reload.key().info(message);
        return (sources, None);
    }
    if period < MIN_RELOAD {
        reload.key().info("`reload` is raised to 1s, the least there is");
    }
    (sources, Some(period.max(MIN_RELOAD)))
}

/// The keys of sources.
pub(super) const FIELDS: [Field<In>; 3] =
    [sources_from::FILE, sources_from::REDIS, sources_from::HTTP];

/// Whether the object at `at` has rows elsewhere.
pub(super) fn are_in(at: &Cursor<'_>) -> bool {
    FIELDS.iter().any(|source| at.filled(source).is_some())
}

fn file(at: &Cursor<'_>) -> Option<SourceSettings> {
    let (path, _) = at.required(&file_source::PATH, "the file has no path", "add `path:`")?;
    Some(SourceSettings::File(path.into()))
}

fn redis(at: &Cursor<'_>, kind: &TableKind) -> Option<SourceSettings> {
    let server = redis_server(at);
    let kind = at
        .filled(&redis_source::TYPE)
        .map_or_else(|| kind.redis.first().map(|(_, kind)| *kind), |at| holds(&at, kind));
    let (server, kind) = (server?, kind?);
    let key = at.or_default(&redis_source::KEY);
    Some(SourceSettings::Redis(RedisSettings { server, key, kind }))
}

/// The redis server at `at`.
pub(super) fn redis_server(at: &Cursor<'_>) -> Option<RedisServer> {
    let help = "add `addr:`, for example `addr: 127.0.0.1:6379`";
    let addr = at.required(&redis_server::ADDR, "the redis server has no address", help);
    let addr = addr.and_then(|(addr, at)| {
        Some((remote::server(addr, &at, "127.0.0.1:6379 or redis.example:6379")?, at))
    });
    let db = at.or_default(&redis_server::DB);
    if db < 0 {
        let message = format!("{db} is no number of a database");
        at.place_of(&redis_server::DB).error(message).help("write 0 or more");
    }
    let (addr, addr_at) = addr?;
    let server = RedisServer {
        db,
        username: at.read(&redis_server::USERNAME),
        password: at.read(&redis_server::PASSWORD).map(Secret::new),
        tls: at.get(&redis_server::TLS).map(|tls| remote::tls(&tls, &addr)),
        addr,
    };
    exposed(&server, &addr_at);
    Some(server)
}

/// What the redis key holds.
fn holds(at: &Setting<'_, OneText>, kind: &TableKind) -> Option<RedisKind> {
    let written = at.read()?;
    find(&written, kind.redis).or_else(|| {
        let names: Vec<String> = kind.redis.iter().map(|(name, _)| format!("`{name}`")).collect();
        let article = if kind.what.starts_with(['a', 'i']) { "an" } else { "a" };
        let message =
            format!("a redis key of {article} {} cannot hold {}", kind.what, quote(&written));
        at.refuse(message, format!("possible: {}", names.join(", ")))
    })
}

/// C23: anybody on the path may read or change what is kept there.
fn exposed(redis: &RedisServer, at: &At<'_>) {
    let lacks = match (&redis.password, &redis.tls) {
        (Some(_), Some(_)) => return,
        _ if is_local(&redis.addr) => return,
        (None, Some(_)) => "without a password",
        (Some(_), None) => "without TLS",
        (None, None) => "with neither a password nor TLS",
    };
    let message = format!("the redis server {} is used {lacks}", quote(&redis.addr));
    at.coded(Code::C23, message)
        .help("add `password:` and `tls: {secure: true}`, or use a server on this machine");
}

fn http(at: &Cursor<'_>) -> Option<SourceSettings> {
    let (url, url_at) =
        at.required(&http_source::URL, "the http source has no URL", "add `url:`")?;
    let url = remote::url(url, &url_at)?;
    let timeout = at.or_default(&http_source::TIMEOUT);
    Some(SourceSettings::Http(HttpSourceSettings { url, timeout }))
}

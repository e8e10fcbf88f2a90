//! Sources of rows outside the configuration: files, redis servers, URLs.

use std::time::Duration;

use super::remote::{self, is_local};
use crate::{
    findings::{Code, Report},
    location::quote,
    schema::{
        OneText, Setting, admission, auther, file_source, http_source, ingress, redis_source,
        router, rows_from,
    },
    value::Cursor,
};
use rtun_settings::{HttpSourceSettings, RedisKind, RedisSettings, Secret, SourceSettings};

/// Least time between two readings.
const MIN_RELOAD: Duration = Duration::from_secs(1);

/// What differs between the kinds of objects that have rows.
pub(super) struct TableKind {
    /// The key of the rows that the configuration itself has.
    pub(super) rows: &'static str,
    /// The object, for messages.
    pub(super) what: &'static str,
    /// What a redis key may hold; the first is the default.
    redis: &'static [(&'static str, RedisKind)],
}

const HASH: (&str, RedisKind) = ("hash", RedisKind::Hash);
const SET: (&str, RedisKind) = ("set", RedisKind::Set);
const LIST: (&str, RedisKind) = ("list", RedisKind::List);

pub(super) const ROUTER: TableKind =
    TableKind { rows: router::ROUTES.name(), what: "router", redis: &[HASH, SET, LIST] };
pub(super) const INGRESS: TableKind =
    TableKind { rows: ingress::RULES.name(), what: "ingress", redis: &[HASH, SET] };
pub(super) const AUTHER: TableKind =
    TableKind { rows: auther::AUTHS.name(), what: "auther", redis: &[HASH] };
pub(super) const ADMISSION: TableKind =
    TableKind { rows: admission::MATCHERS.name(), what: "admission", redis: &[SET] };

/// The sources of the object at `at` in rising order of priority, and the time between two readings of them.
pub(super) fn read(
    at: &Cursor<'_>,
    kind: &TableKind,
    report: &mut Report,
) -> (Vec<SourceSettings>, Option<Duration>) {
    let file = at.filled(&rows_from::FILE).and_then(|at| file(&at, report));
    let redis = at.filled(&rows_from::REDIS).and_then(|at| redis(&at, kind, report));
    let http = at.filled(&rows_from::HTTP).and_then(|at| http(&at, report));
    let sources: Vec<SourceSettings> = [file, redis, http].into_iter().flatten().collect();
    let reload = at.get(&rows_from::RELOAD);
    let Some((period, reload)) = reload.and_then(|at| Some((at.read()?, at))) else {
        return (sources, None);
    };
    if !are_in(at) {
        let message = format!("`reload` has no effect: this {} has no source", kind.what);
        report.info(reload.key(), message);
        return (sources, None);
    }
    if period < MIN_RELOAD {
        report.info(reload.key(), "`reload` is raised to 1s, the least there is");
    }
    (sources, Some(period.max(MIN_RELOAD)))
}

/// Whether the object at `at` has rows elsewhere.
pub(super) fn are_in(at: &Cursor<'_>) -> bool {
    [&rows_from::FILE, &rows_from::REDIS, &rows_from::HTTP].iter().any(|s| at.filled(s).is_some())
}

fn file(at: &Cursor<'_>, report: &mut Report) -> Option<SourceSettings> {
    match at.read(&file_source::PATH) {
        Some(path) => Some(SourceSettings::File(path.into())),
        None => report.refuse(at, "the file has no path", "add `path:`"),
    }
}

fn redis(at: &Cursor<'_>, kind: &TableKind, report: &mut Report) -> Option<SourceSettings> {
    let Some(addr_at) = at.filled(&redis_source::ADDR) else {
        let help = "add `addr:`, for example `addr: 127.0.0.1:6379`";
        return report.refuse(at, "the redis server has no address", help);
    };
    let addr = remote::server(&addr_at, "127.0.0.1:6379 or redis.example:6379", report);
    let db = at.or_default(&redis_source::DB);
    if db < 0 {
        let message = format!("{db} is no number of a database");
        report.error(at.place_of(&redis_source::DB), message).help("write 0 or more");
    }
    let kind = at
        .filled(&redis_source::TYPE)
        .map_or_else(|| kind.redis.first().map(|(_, kind)| *kind), |at| holds(&at, kind, report));
    let (addr, kind) = (addr?, kind?);
    let redis = RedisSettings {
        db,
        username: at.read(&redis_source::USERNAME),
        password: at.read(&redis_source::PASSWORD).map(Secret::new),
        key: at.or_default(&redis_source::KEY),
        kind,
        tls: at.get(&redis_source::TLS).map(|tls| remote::tls(&tls, &addr, report)),
        addr,
    };
    exposed(&redis, &addr_at, report);
    Some(SourceSettings::Redis(redis))
}

/// What the redis key holds.
fn holds(at: &Setting<'_, OneText>, kind: &TableKind, report: &mut Report) -> Option<RedisKind> {
    let written = at.read()?;
    let found = kind.redis.iter().find(|(name, _)| name.eq_ignore_ascii_case(&written));
    if found.is_none() {
        let names: Vec<String> = kind.redis.iter().map(|(name, _)| format!("`{name}`")).collect();
        let article = if kind.what.starts_with(['a', 'i']) { "an" } else { "a" };
        let message =
            format!("a redis key of {article} {} cannot hold {}", kind.what, quote(&written));
        report.error(at, message).help(format!("possible: {}", names.join(", ")));
    }
    found.map(|(_, kind)| *kind)
}

/// C23: anybody on the path may read or change what the hub decides by.
fn exposed(redis: &RedisSettings, at: &Setting<'_, OneText>, report: &mut Report) {
    let lacks = match (&redis.password, &redis.tls) {
        (Some(_), Some(_)) => return,
        _ if is_local(&redis.addr) => return,
        (None, Some(_)) => "without a password",
        (Some(_), None) => "without TLS",
        (None, None) => "with neither a password nor TLS",
    };
    let message = format!("the redis server {} is used {lacks}", quote(&redis.addr));
    report
        .coded(Code::C23, at, message)
        .help("add `password:` and `tls: {secure: true}`, or use a server on this machine");
}

fn http(at: &Cursor<'_>, report: &mut Report) -> Option<SourceSettings> {
    let Some(url_at) = at.filled(&http_source::URL) else {
        return report.refuse(at, "the http source has no URL", "add `url:`");
    };
    let url = remote::url(&url_at, report)?;
    let timeout = at.or_default(&http_source::TIMEOUT);
    Some(SourceSettings::Http(HttpSourceSettings { url, timeout }))
}

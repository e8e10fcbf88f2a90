//! Sources of rows outside the configuration: files, redis servers, URLs.

use std::time::Duration;

use super::providers::{Kind, client_tls, is_local, server};
use crate::{
    address,
    findings::{At, Code, Report, quote},
    value::Cursor,
};
use rtun_settings::{HttpSourceSettings, RedisKind, RedisSettings, Secret, SourceSettings};

/// For one reading of a URL, unless configured.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// Least time between two readings.
const MIN_RELOAD: Duration = Duration::from_secs(1);

/// The key of a redis server, unless configured.
const REDIS_KEY: &str = "gost";

/// The sources of the object at `at` in rising order of priority, and the time between two readings of them.
pub(super) fn read(
    at: &Cursor<'_>,
    kind: &Kind,
    report: &mut Report,
) -> (Vec<SourceSettings>, Option<Duration>) {
    let file = at.filled("file").and_then(|at| file(&at, report));
    let redis = at.filled("redis").and_then(|at| redis(&at, kind, report));
    let http = at.filled("http").and_then(|at| http(&at, report));
    let sources: Vec<SourceSettings> = [file, redis, http].into_iter().flatten().collect();
    let Some((period, reload)) =
        at.get("reload").and_then(|at| report.period(&at).map(|period| (period, at)))
    else {
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
    ["file", "redis", "http"].iter().any(|key| at.filled(key).is_some())
}

fn file(at: &Cursor<'_>, report: &mut Report) -> Option<SourceSettings> {
    let Some(path) = report.some_text(at.get("path").as_ref()) else {
        report.error(at, "the file has no path").help("add `path:`");
        return None;
    };
    Some(SourceSettings::File(path.into()))
}

fn redis(at: &Cursor<'_>, kind: &Kind, report: &mut Report) -> Option<SourceSettings> {
    let Some(addr_at) = at.filled("addr") else {
        report
            .error(at, "the redis server has no address")
            .help("add `addr:`, for example `addr: 127.0.0.1:6379`");
        return None;
    };
    let addr = server(&addr_at, report);
    let db = at.get("db").map_or(Some(0), |at| database(&at, report));
    let kind = at
        .filled("type")
        .map_or_else(|| kind.redis.first().map(|(_, kind)| *kind), |at| holds(&at, kind, report));
    let (addr, db, kind) = (addr?, db?, kind?);
    let text = |key: &str, report: &mut Report| report.some_text(at.get(key).as_ref());
    let redis = RedisSettings {
        db,
        username: text("username", report),
        password: text("password", report).map(Secret::new),
        key: text("key", report).unwrap_or_else(|| REDIS_KEY.to_owned()),
        kind,
        tls: client_tls(at, &addr, report),
        addr,
    };
    exposed(&redis, &addr_at, report);
    Some(SourceSettings::Redis(redis))
}

fn database(at: &Cursor<'_>, report: &mut Report) -> Option<i64> {
    let number = report.integer(at)?;
    if number < 0 {
        report.error(at, format!("{number} is no number of a database")).help("write 0 or more");
    }
    (number >= 0).then_some(number)
}

/// What the redis key holds.
fn holds(at: &Cursor<'_>, kind: &Kind, report: &mut Report) -> Option<RedisKind> {
    let written = report.some_text(Some(at))?;
    let found = kind.redis.iter().find(|(name, _)| name.eq_ignore_ascii_case(&written));
    if found.is_none() {
        let names: Vec<String> = kind.redis.iter().map(|(name, _)| format!("`{name}`")).collect();
        let message = format!("a redis key of {} cannot hold {}", a(kind.what), quote(&written));
        report.error(at, message).help(format!("possible: {}", names.join(", ")));
    }
    found.map(|(_, kind)| *kind)
}

fn a(what: &str) -> String {
    let article = if what.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {what}")
}

/// C23: whoever is on the way may read or write what the hub decides by.
fn exposed(redis: &RedisSettings, at: &Cursor<'_>, report: &mut Report) {
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
    let Some(url_at) = at.filled("url") else {
        report.error(at, "the http source has no URL").help("add `url:`");
        return None;
    };
    let url = url(&url_at, report)?;
    let timeout = at.get("timeout").and_then(|at| report.period(&at));
    Some(SourceSettings::Http(HttpSourceSettings { url, timeout: timeout.unwrap_or(HTTP_TIMEOUT) }))
}

/// An `http://` or `https://` URL; C23 if it is read in the clear from another machine.
pub(super) fn url(at: &Cursor<'_>, report: &mut Report) -> Option<String> {
    let url = report.text(at)?;
    let Some(host) = address::url_host(&url) else {
        report
            .error(at, format!("{} is no http:// or https:// URL", quote(&url)))
            .help("write for example http://127.0.0.1:8000");
        return None;
    };
    if !is_https(&url) && !address::is_loopback(host) {
        let message = format!("{} is asked without TLS", quote(host));
        report.coded(Code::C23, At::from(at), message).help("write an https:// URL");
    }
    Some(url)
}

pub(super) fn is_https(url: &str) -> bool {
    url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"))
}

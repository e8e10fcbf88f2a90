//! Where a table's or list's rows are: in the configuration, in sources, or with a plugin.

use super::{plugins, sources};
use crate::{
    address,
    findings::{Code, Report, quote},
    value::Cursor,
};
use rtun_settings::{ClientTls, Located, Provider, RedisKind, Rows};

/// What differs between the kinds of objects that have rows.
pub(super) struct Kind {
    /// The key of the rows that the configuration itself has.
    pub(super) rows: &'static str,
    /// The object, for messages.
    pub(super) what: &'static str,
    /// What a redis key may hold; the first is the default.
    pub(super) redis: &'static [(&'static str, RedisKind)],
}

pub(super) const ROUTER: Kind = Kind {
    rows: "routes",
    what: "router",
    redis: &[("hash", RedisKind::Hash), ("set", RedisKind::Set), ("list", RedisKind::List)],
};

pub(super) const INGRESS: Kind = Kind {
    rows: "rules",
    what: "ingress",
    redis: &[("hash", RedisKind::Hash), ("set", RedisKind::Set)],
};

pub(super) const AUTHER: Kind =
    Kind { rows: "auths", what: "auther", redis: &[("hash", RedisKind::Hash)] };

pub(super) const ADMISSION: Kind =
    Kind { rows: "matchers", what: "admission", redis: &[("set", RedisKind::Set)] };

/// Whose rows the object at `at` uses; `inline` are those the configuration has, which a plugin replaces.
pub(super) fn provider<T>(
    at: &Cursor<'_>,
    kind: &Kind,
    inline: Vec<Located<T>>,
    report: &mut Report,
) -> Provider<T> {
    if let Some(plugin) = at.filled("plugin")
        && let Some(plugin) = plugins::read(&plugin, report)
    {
        for key in [kind.rows, "file", "redis", "http", "reload"] {
            let Some(unused) = at.filled(key) else { continue };
            let message = match key == kind.rows {
                true => format!("these {key} are not used: the plugin answers instead"),
                false => format!("`{key}` is not used: the plugin answers instead"),
            };
            let help = match key == kind.rows {
                true => format!("put them into another {} without plugin", kind.what),
                false => format!("remove it, or put it into another {}", kind.what),
            };
            report.warning(unused.key(), message).help(help);
        }
        return Provider::Plugin(plugin);
    }
    let (sources, reload) = sources::read(at, kind, report);
    Provider::Rows(Rows { inline, sources, reload })
}

/// Whether all rows are in the configuration.
pub(crate) fn is_all_inline<T>(provider: &Provider<T>) -> bool {
    matches!(provider, Provider::Rows(rows) if rows.sources.is_empty())
}

/// Whether nobody has a row, whatever happens.
pub(super) fn is_empty<T>(provider: &Provider<T>) -> bool {
    matches!(provider, Provider::Rows(rows) if rows.sources.is_empty() && rows.inline.is_empty())
}

/// The `tls` of a client; C07 unless it verifies the server.
pub(super) fn client_tls(at: &Cursor<'_>, server: &str, report: &mut Report) -> Option<ClientTls> {
    let tls = at.get("tls")?;
    let secure = tls.get("secure");
    let verify = secure.as_ref().and_then(|at| report.boolean(at)).unwrap_or(false);
    if !verify {
        report
            .coded(
                Code::C07,
                secure.as_ref().unwrap_or(&tls),
                format!("the certificate of {} is not verified", quote(server)),
            )
            .help("write `tls: {secure: true}`, with `serverName` if the certificate has another");
    }
    Some(ClientTls { verify, server_name: report.some_text(tls.get("serverName").as_ref()) })
}

/// The server's `host:port` at `at`; without a host, one on this machine, as GOST has it.
pub(super) fn server(at: &Cursor<'_>, report: &mut Report) -> Option<String> {
    let text = report.text(at)?;
    match address::check(&text) {
        Ok(("", port)) => Some(format!("127.0.0.1:{port}")),
        Ok(_) => Some(text),
        Err(error) => {
            report
                .error(at, format!("{} is no address of a server: {error}", quote(&text)))
                .help("write for example 127.0.0.1:6379 or redis.example:6379");
            None
        }
    }
}

/// Whether `host:port` is on this machine.
pub(super) fn is_local(server: &str) -> bool {
    address::split_host_port(server).is_some_and(|(host, _)| address::is_loopback(host))
}

//! Plugins: services that are asked instead of rows (spec: tables.md section 4).

use std::time::Duration;

use super::{
    providers::{client_tls, is_local, server},
    sources::{is_https, url},
};
use crate::{
    address,
    findings::{Code, Report, quote},
    suggest,
    value::Cursor,
};
use rtun_settings::{ClientTls, PluginProtocol, PluginSettings, Secret};

/// For one question to a plugin, unless configured.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The plugin at `at`; `None` after an error was reported.
pub(super) fn read(at: &Cursor<'_>, report: &mut Report) -> Option<PluginSettings> {
    let protocol = protocol(at, report);
    let Some(addr_at) = at.filled("addr") else {
        let help = match protocol {
            PluginProtocol::Http => "add `addr:` with an http:// or https:// URL",
            PluginProtocol::Grpc => "add `addr:` with the plugin's host:port",
        };
        report.error(at, "the plugin has no address").help(help);
        return None;
    };
    let (addr, tls) = match protocol {
        PluginProtocol::Http => http(at, &addr_at, report)?,
        PluginProtocol::Grpc => grpc(at, &addr_at, report)?,
    };
    let timeout = at.get("timeout").and_then(|at| report.period(&at));
    Some(PluginSettings {
        protocol,
        addr,
        token: report.some_text(at.get("token").as_ref()).map(Secret::new),
        timeout: timeout.unwrap_or(TIMEOUT),
        tls,
    })
}

/// `http` in any case; everything else is gRPC, as for GOST.
fn protocol(at: &Cursor<'_>, report: &mut Report) -> PluginProtocol {
    let kind_at = at.get("type");
    let Some(kind) = report.some_text(kind_at.as_ref()) else { return PluginProtocol::Grpc };
    if kind.eq_ignore_ascii_case("http") {
        return PluginProtocol::Http;
    }
    if let Some(kind_at) = kind_at.filter(|_| !kind.eq_ignore_ascii_case("grpc")) {
        let help = suggest::did_you_mean(&kind, ["http", "grpc"]);
        report
            .warning(&kind_at, format!("{} is taken as `grpc`, as in GOST", quote(&kind)))
            .help(help.unwrap_or_else(|| "write `http` or `grpc`".to_owned()));
    }
    PluginProtocol::Grpc
}

fn http(
    at: &Cursor<'_>,
    addr_at: &Cursor<'_>,
    report: &mut Report,
) -> Option<(String, Option<ClientTls>)> {
    let url = url(addr_at, report)?;
    if !is_https(&url) {
        if let Some(tls) = at.filled("tls") {
            report.info(tls.key(), "`tls` has no effect: the URL is not https://");
        }
        return Some((url, None));
    }
    let host = address::url_host(&url).unwrap_or_default();
    // Without `tls` the certificate is verified; with it only if it says so.
    let tls = client_tls(at, host, report);
    Some((url, Some(tls.unwrap_or(ClientTls { verify: true, server_name: None }))))
}

fn grpc(
    at: &Cursor<'_>,
    addr_at: &Cursor<'_>,
    report: &mut Report,
) -> Option<(String, Option<ClientTls>)> {
    let text = report.text(addr_at)?;
    if text.contains("://") {
        let message = format!("{} is no host:port, which a gRPC plugin has", quote(&text));
        report.error(addr_at, message).help("write `type: http` if the plugin speaks HTTP");
        return None;
    }
    let addr = server(addr_at, report)?;
    let tls = client_tls(at, &addr, report);
    if tls.is_none() && !is_local(&addr) {
        let message = format!("{} is asked without TLS", quote(&addr));
        report.coded(Code::C23, addr_at, message).help("add `tls: {secure: true}`");
    }
    Some((addr, tls))
}

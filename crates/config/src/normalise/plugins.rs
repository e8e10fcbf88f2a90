//! Plugins: services that are asked instead of rows.

use super::remote::{self, is_https, is_local};
use crate::{
    address,
    findings::{Code, Report},
    location::quote,
    schema::{OneText, Setting, plugin},
    suggest,
    value::Cursor,
};
use rtun_settings::{ClientTls, PluginProtocol, PluginSettings, Secret};

/// The plugin at `at`; `None` after an error was reported.
pub(super) fn read(at: &Cursor<'_>, report: &mut Report) -> Option<PluginSettings> {
    let protocol = protocol(at, report);
    let Some(addr_at) = at.filled(&plugin::ADDR) else {
        let help = match protocol {
            PluginProtocol::Http => "add `addr:` with an http:// or https:// URL",
            PluginProtocol::Grpc => "add `addr:` with the plugin's host:port",
        };
        return report.refuse(at, "the plugin has no address", help);
    };
    let (addr, tls) = match protocol {
        PluginProtocol::Http => http(at, &addr_at, report)?,
        PluginProtocol::Grpc => grpc(at, &addr_at, report)?,
    };
    let token = at.read(&plugin::TOKEN).map(Secret::new);
    Some(PluginSettings { protocol, addr, token, timeout: at.or_default(&plugin::TIMEOUT), tls })
}

/// `http` in any case; everything else is gRPC, as for GOST.
fn protocol(at: &Cursor<'_>, report: &mut Report) -> PluginProtocol {
    let kind = at.or_default(&plugin::TYPE);
    if kind.eq_ignore_ascii_case("http") {
        return PluginProtocol::Http;
    }
    if !kind.eq_ignore_ascii_case("grpc") {
        let help = suggest::did_you_mean(&kind, ["http", "grpc"]);
        let message = format!("{} is taken as `grpc`, as in GOST", quote(&kind));
        report
            .warning(at.place_of(&plugin::TYPE), message)
            .help(help.unwrap_or_else(|| "write `http` or `grpc`".to_owned()));
    }
    PluginProtocol::Grpc
}

type PluginAddress = (String, Option<ClientTls>);

fn http(
    at: &Cursor<'_>,
    addr: &Setting<'_, OneText>,
    report: &mut Report,
) -> Option<PluginAddress> {
    let url = remote::url(addr, report)?;
    let tls = at.get(&plugin::TLS);
    if !is_https(&url) {
        if let Some(tls) = tls.filter(|tls| !tls.value.is_unset()) {
            report.info(tls.key(), "`tls` has no effect: the URL is not https://");
        }
        return Some((url, None));
    }
    let host = address::url_host(&url).unwrap_or_default();
    // Without `tls` the certificate is verified; with it only if it says so.
    let tls = tls.map(|tls| remote::tls(&tls, host, report));
    Some((url, Some(tls.unwrap_or(ClientTls { verify: true, server_name: None }))))
}

fn grpc(
    at: &Cursor<'_>,
    addr_at: &Setting<'_, OneText>,
    report: &mut Report,
) -> Option<PluginAddress> {
    let text = addr_at.read()?;
    if text.contains("://") {
        let message = format!("{} is no host:port, which a gRPC plugin has", quote(&text));
        return report.refuse(addr_at, message, "write `type: http` if the plugin speaks HTTP");
    }
    let addr = remote::server(addr_at, "127.0.0.1:8000 or plugin.example:8000", report)?;
    let tls = at.get(&plugin::TLS).map(|tls| remote::tls(&tls, &addr, report));
    if tls.is_none() && !is_local(&addr) {
        let message = format!("{} is asked without TLS", quote(&addr));
        report.coded(Code::C23, addr_at, message).help("add `tls: {secure: true}`");
    }
    Some((addr, tls))
}

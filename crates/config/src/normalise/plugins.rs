//! Plugins: services that are asked instead of rows.

use super::remote::{self, is_https, is_local};
use crate::{
    address, findings::Code, location::quote, report::At, schema::plugin, suggest, value::Cursor,
};
use rtun_settings::{ClientTls, PluginProtocol, PluginSettings, Secret};

/// The plugin at `at`; `None` after an error was reported.
pub(super) fn read(at: &Cursor<'_>) -> Option<PluginSettings> {
    read_plugin(at, |addr| addr)
}

/// The plugin of an observer at `at`. Over HTTP it may have `host:port` in the place of a URL, as in GOST.
pub(super) fn read_observer(at: &Cursor<'_>) -> Option<PluginSettings> {
    read_plugin(at, remote::with_scheme)
}

fn read_plugin(at: &Cursor<'_>, to_url: impl Fn(String) -> String) -> Option<PluginSettings> {
    let protocol = protocol(at);
    let help = match protocol {
        PluginProtocol::Http => "add `addr:` with an http:// or https:// URL",
        PluginProtocol::Grpc => "add `addr:` with the plugin's host:port",
    };
    let (addr, addr_at) = at.required(&plugin::ADDR, "the plugin has no address", help)?;
    let (addr, tls) = match protocol {
        PluginProtocol::Http => http(at, to_url(addr), &addr_at)?,
        PluginProtocol::Grpc => grpc(at, addr, &addr_at)?,
    };
    let token = at.read(&plugin::TOKEN).map(Secret::new);
    Some(PluginSettings { protocol, addr, token, timeout: at.or_default(&plugin::TIMEOUT), tls })
}

/// `http` in any case; everything else is gRPC, as for GOST.
fn protocol(at: &Cursor<'_>) -> PluginProtocol {
    let kind = at.or_default(&plugin::TYPE);
    if kind.eq_ignore_ascii_case("http") {
        return PluginProtocol::Http;
    }
    if !kind.eq_ignore_ascii_case("grpc") {
        let help = suggest::did_you_mean(&kind, ["http", "grpc"]);
        let message = format!("{} is taken as `grpc`, as in GOST", quote(&kind));
        at.place_of(&plugin::TYPE)
            .warning(message)
            .help(help.unwrap_or_else(|| "write `http` or `grpc`".to_owned()));
    }
    PluginProtocol::Grpc
}

type PluginAddress = (String, Option<ClientTls>);

fn http(at: &Cursor<'_>, addr: String, addr_at: &At<'_>) -> Option<PluginAddress> {
    let url = remote::url(addr, addr_at)?;
    let tls = at.get(&plugin::TLS);
    if !is_https(&url) {
        if let Some(tls) = tls.filter(|tls| !tls.value.is_unset()) {
            tls.key().info("`tls` has no effect: the URL is not https://");
        }
        return Some((url, None));
    }
    let host = address::url_host(&url).unwrap_or_default();
    // Without `tls` the certificate is verified; with it only if it says so.
    let tls = tls.map(|tls| remote::tls(&tls, host));
    Some((url, Some(tls.unwrap_or(ClientTls { verify: true, server_name: None }))))
}

fn grpc(at: &Cursor<'_>, addr: String, addr_at: &At<'_>) -> Option<PluginAddress> {
    if addr.contains("://") {
        let message = format!("{} is no host:port, which a gRPC plugin has", quote(&addr));
        return addr_at.refuse(message, "write `type: http` if the plugin speaks HTTP");
    }
    let addr = remote::server(addr, addr_at, "127.0.0.1:8000 or plugin.example:8000")?;
    let tls = at.get(&plugin::TLS).map(|tls| remote::tls(&tls, &addr));
    if tls.is_none() && !is_local(&addr) {
        let message = format!("{} is asked without TLS", quote(&addr));
        addr_at.coded(Code::C23, message).help("add `tls: {secure: true}`");
    }
    Some((addr, tls))
}

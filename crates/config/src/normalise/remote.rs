//! Servers that a hub asks: their address, URL and TLS.

use crate::{
    address,
    findings::Code,
    location::quote,
    report::At,
    schema::{In, Setting, client_tls},
};
use rtun_settings::ClientTls;

/// The `tls` at `tls` of a client of `server`; C07 unless it verifies the server.
pub(super) fn tls(tls: &Setting<'_, In>, server: &str) -> ClientTls {
    let verify = tls.or_default(&client_tls::SECURE);
    if !verify {
        let message = format!("the certificate of {} is not verified", quote(server));
        tls.place_of(&client_tls::SECURE)
            .coded(Code::C07, message)
            .help("write `tls: {secure: true}`, with `serverName` if the certificate has another");
    }
    ClientTls { verify, server_name: tls.read(&client_tls::SERVER_NAME) }
}

/// The server's `host:port`, which is `text` and as in `example`; without a host, one on this machine, as GOST has it.
pub(super) fn server(text: String, at: &At<'_>, example: &str) -> Option<String> {
    match address::check(&text) {
        Ok(("", port)) => Some(format!("127.0.0.1:{port}")),
        Ok(_) => Some(text),
        Err(error) => {
            let message = format!("{} is no address of a server: {error}", quote(&text));
            at.refuse(message, format!("write for example {example}"))
        }
    }
}

/// Whether `host:port` is on this machine.
pub(super) fn is_local(server: &str) -> bool {
    address::split_host_port(server).is_some_and(|(host, _)| address::is_loopback(host))
}

/// An `http://` or `https://` URL; C23 if it is read in the clear from another machine.
pub(super) fn url(url: String, at: &At<'_>) -> Option<String> {
    let Some(host) = address::url_host(&url) else {
        let message = format!("{} is no http:// or https:// URL", quote(&url));
        return at.refuse(message, "write for example http://127.0.0.1:8000");
    };
    if !is_https(&url) && !address::is_loopback(host) {
        let message = format!("{} is asked without TLS", quote(host));
        at.coded(Code::C23, message).help("write an https:// URL");
    }
    Some(url)
}

/// As GOST has it: a URL without a scheme is one of `http`.
pub(super) fn with_scheme(url: String) -> String {
    match url.starts_with("http") {
        true => url,
        false => format!("http://{url}"),
    }
}

pub(super) fn is_https(url: &str) -> bool {
    url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"))
}

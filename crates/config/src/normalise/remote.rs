//! Servers that a hub asks: their address, URL and TLS.

use crate::{
    address,
    findings::{Code, Report},
    location::quote,
    schema::{In, OneText, Setting, client_tls},
};
use rtun_settings::ClientTls;

/// The `tls` at `tls` of a client of `server`; C07 unless it verifies the server.
pub(super) fn tls(tls: &Setting<'_, In>, server: &str, report: &mut Report) -> ClientTls {
    let verify = tls.or_default(&client_tls::SECURE);
    if !verify {
        let message = format!("the certificate of {} is not verified", quote(server));
        report
            .coded(Code::C07, tls.place_of(&client_tls::SECURE), message)
            .help("write `tls: {secure: true}`, with `serverName` if the certificate has another");
    }
    ClientTls { verify, server_name: tls.read(&client_tls::SERVER_NAME) }
}

/// The server's `host:port` at `at`, as in `example`; without a host, one on this machine, as GOST has it.
pub(super) fn server(
    at: &Setting<'_, OneText>,
    example: &str,
    report: &mut Report,
) -> Option<String> {
    let text = at.read()?;
    match address::check(&text) {
        Ok(("", port)) => Some(format!("127.0.0.1:{port}")),
        Ok(_) => Some(text),
        Err(error) => {
            let message = format!("{} is no address of a server: {error}", quote(&text));
            report.refuse(at, message, format!("write for example {example}"))
        }
    }
}

/// Whether `host:port` is on this machine.
pub(super) fn is_local(server: &str) -> bool {
    address::split_host_port(server).is_some_and(|(host, _)| address::is_loopback(host))
}

/// An `http://` or `https://` URL; C23 if it is read in the clear from another machine.
pub(super) fn url(at: &Setting<'_, OneText>, report: &mut Report) -> Option<String> {
    let url = at.read()?;
    let Some(host) = address::url_host(&url) else {
        let message = format!("{} is no http:// or https:// URL", quote(&url));
        return report.refuse(at, message, "write for example http://127.0.0.1:8000");
    };
    if !is_https(&url) && !address::is_loopback(host) {
        let message = format!("{} is asked without TLS", quote(host));
        report.coded(Code::C23, at, message).help("write an https:// URL");
    }
    Some(url)
}

pub(super) fn is_https(url: &str) -> bool {
    url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"))
}

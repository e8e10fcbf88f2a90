//! Where and how a hub listens.

use ipnet::IpNet;

use super::{
    Context, checked_type, sockets, tls,
    transport_stack::{Side, Transport},
};
use crate::{
    address,
    findings::{At, Report, quote},
    schema::LISTENERS,
    value::Cursor,
};
use rtun_settings::{ListenOptions, ListenerSettings, ServerTls, TlsVersions, TransportStack};

/// Most listeners of one hub.
const MAX_LISTENERS: usize = 64;

/// The listeners of the service at `at`, at least one, and where their addresses are written; `None` after an error was
/// reported.
pub(super) fn read(
    at: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<Vec<(ListenerSettings, At)>> {
    let addr = addr(at, report);
    let first = one(at, at.get("listener"), addr.clone(), context, report);
    let more = at.get("listeners").map(|more| more.items()).unwrap_or_default();
    if more.len() >= MAX_LISTENERS {
        report.error(at, format!("a hub has at most {MAX_LISTENERS} listeners"));
        return None;
    }
    let more = more.into_iter().map(|listener| {
        let addr = match listener.filled("addr") {
            Some(_) => self::addr(&listener, report),
            None => addr.clone(),
        };
        one(at, Some(listener), addr, context, report)
    });
    // All of them, so that every error is reported.
    let more: Vec<_> = more.collect();
    std::iter::once(first).chain(more).collect()
}

/// One `listener` of the service at `at`.
fn one(
    at: &Cursor<'_>,
    listener: Option<Cursor<'_>>,
    addr: Option<(String, At)>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<(ListenerSettings, At)> {
    let stack = match &listener {
        Some(listener) => stack(listener, context, report),
        None => Some(TransportStack::tcp()),
    };
    let metadata = at.get("metadata");
    let get = |key: &str| metadata.as_ref().and_then(|metadata| metadata.get(key));
    for (key, why) in [
        ("interface", "a hub opens no connections; where it listens is said by `addr`"),
        ("netns.out", "a hub opens no connections; where it listens is said by `netns`"),
    ] {
        let field = at.get(key).filter(|_| key == "interface");
        if let Some(at) = get(key).or(field).filter(|at| !at.value.is_unset()) {
            report.info(at.key(), format!("`{key}` has no effect here: {why}"));
        }
    }
    let mark = sockets::mark_of(at, report);
    let netns = sockets::netns_of(at, report);
    let listener_metadata = listener.as_ref().and_then(|listener| listener.get("metadata"));
    let own = |key: &str| listener_metadata.as_ref().and_then(|metadata| metadata.get(key));
    let trusted_proxies = own("trustedProxies").map_or(Some(Vec::new()), |at| trusted(&at, report));
    let reuse_port = own("reuseport").and_then(|at| report.boolean(&at)).unwrap_or(false);
    let preamble = get("proxyProtocol").filter(|at| report.integer(at).is_some_and(|n| n > 0));
    let (stack, trusted_proxies) = (stack?, trusted_proxies?);
    let preamble = preamble.filter(|at| {
        if stack.is_on_udp() {
            report.warning(at.key(), "`proxyProtocol` has no effect on `quic`: it is for TCP");
        }
        !stack.is_on_udp()
    });
    if let Some(at) = preamble.as_ref().filter(|_| trusted_proxies.is_empty()) {
        report
            .error(at.key(), "nobody is trusted to say in a PROXY preamble where a host comes from")
            .help("list the proxies as `trustedProxies` in the listener's metadata");
        return None;
    }
    let proxy_protocol = preamble.is_some();
    let (addr, place) = addr?;
    let sockets = ListenOptions { mark, netns, reuse_port };
    let listener = ListenerSettings { addr, stack, proxy_protocol, trusted_proxies, sockets };
    Some((listener, place))
}

fn stack(
    listener: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<TransportStack<ServerTls>> {
    let name = checked_type(listener, &LISTENERS, "tcp", report)?;
    if name == "tun" {
        let place = listener.get("type").map_or_else(|| At::from(listener), |at| At::from(&at));
        report.error(place, "a hub does not listen on a `tun` device").help("remove it");
        return None;
    }
    let transport = Transport { name: &name, side: Side::Listener, at: listener };
    if !transport.is_encrypted(report) {
        if let Some(tls) = listener.filled("tls") {
            let secure = encrypted_form(&name);
            report
                .warning(
                    tls.key(),
                    format!("`tls` has no effect: {} does not encrypt", quote(&name)),
                )
                .help(format!("write {secure} to encrypt"));
        }
        return transport.stack(None, report);
    }
    let tls = tls::server(listener, &context.tls, report);
    let stack = transport.stack(tls.clone(), report);
    quic_versions(&name, tls.as_ref().map(|tls| tls.versions), listener, report)?;
    tls?;
    stack
}

/// How a transport that does not encrypt is written so that it does.
pub(crate) fn encrypted_form(name: &str) -> &'static str {
    match name {
        "ws" => "`type: wss`",
        "mtcp" => "`type: mtls`",
        "mws" => "`type: mwss`",
        "h2c" => "`type: h2`",
        "grpc" => "`grpc.insecure: false`",
        _ => "`type: tls`",
    }
}

/// QUIC has no TLS but 1.3 (RFC 9001 section 4.2); `None` after an error was reported.
pub(super) fn quic_versions(
    name: &str,
    versions: Option<TlsVersions>,
    at: &Cursor<'_>,
    report: &mut Report,
) -> Option<()> {
    if name != "quic" || versions != Some(TlsVersions::Tls12) {
        return Some(());
    }
    let options = at.get("tls").and_then(|tls| tls.get("options"));
    let max = options.and_then(|options| options.get("maxVersion"));
    let place = max.map_or_else(|| At::from(at), |at| At::from(&at));
    report.error(place, "`quic` needs TLS 1.3").help("remove `maxVersion`");
    None
}

/// Addresses and prefixes; `None` after an error was reported.
fn trusted(at: &Cursor<'_>, report: &mut Report) -> Option<Vec<IpNet>> {
    let texts = report.texts(at, true);
    let nets: Vec<_> = texts.into_iter().map(|(text, at)| net(&text, &at, report)).collect();
    nets.into_iter().collect()
}

fn net(text: &str, at: &At, report: &mut Report) -> Option<IpNet> {
    let net = match text.parse::<std::net::IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => text.parse::<IpNet>(),
    };
    match net {
        Ok(net) if net.prefix_len() == 0 => {
            report
                .error(at, format!("{net} would trust everybody to say who they are"))
                .help("list the proxies' own addresses");
            None
        }
        Ok(net) => Some(net.trunc()),
        Err(_) => {
            report
                .error(at, format!("{} is neither an address nor a prefix", quote(text)))
                .help("write for example 192.0.2.7 or 2001:db8::/64");
            None
        }
    }
}

fn addr(at: &Cursor<'_>, report: &mut Report) -> Option<(String, At)> {
    let Some(addr) = at.filled("addr") else {
        report
            .error(at, "a hub needs an address to listen on")
            .help("add `addr:`, for example `addr: :8443`");
        return None;
    };
    let text = report.text(&addr)?;
    if let Err(error) = address::check(&text) {
        report.error(&addr, format!("{} is no address to listen on: {error}", quote(&text))).help(
            match text.parse::<u16>() {
                Ok(port) => format!("write :{port}"),
                Err(_) => {
                    "write for example :8443, 192.0.2.1:8443 or [2001:db8::1]:8443".to_owned()
                }
            },
        );
        return None;
    }
    Some((text, At::from(&addr)))
}

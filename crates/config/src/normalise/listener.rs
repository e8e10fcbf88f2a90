//! Where and how a hub listens.

use ipnet::IpNet;

use super::{
    Context, checked_type, sockets, tls,
    transport_stack::{self, Side, StackReader},
};
use crate::{
    address,
    findings::Report,
    location::{At, quote},
    schema::{
        LISTENERS, OneText, Setting, any_listener, listener_base, more_listener, service,
        service_metadata,
    },
    value::Cursor,
};
use rtun_settings::{ListenOptions, ListenerSettings, ServerTls, TransportStack};

/// Most listeners of one hub.
const MAX_LISTENERS: usize = 64;

/// The listeners of the service at `at`, at least one, and where their addresses are written; `None` after an error was
/// reported.
pub(super) fn read(
    at: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<Vec<(ListenerSettings, At)>> {
    let addr = match at.filled(&service::ADDR) {
        Some(addr) => self::addr(&addr, report),
        None => {
            let help = "add `addr:`, for example `addr: :8443`";
            report.refuse(at, "a hub needs an address to listen on", help)
        }
    };
    let first = at.get(&service::LISTENER).map(Setting::cursor);
    let first = one(at, first, addr.clone(), context, report);
    let more = at.items_of(&service::LISTENERS);
    if more.len() >= MAX_LISTENERS {
        report.error(at, format!("a hub has at most {MAX_LISTENERS} listeners"));
        return None;
    }
    let more = more.into_iter().map(|listener| {
        let addr = match listener.filled(&more_listener::ADDR) {
            Some(addr) => self::addr(&addr, report),
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
    if let Some(at) = sockets::interface_of(at) {
        let why = "a hub opens no connections; where it listens is said by `addr`";
        report.info(at.key(), format!("`interface` has no effect here: {why}"));
    }
    if let Some(at) = at.filled(&service_metadata::NETNS_OUT) {
        let why = "a hub opens no connections; where it listens is said by `netns`";
        report.info(at.key(), format!("`netns.out` has no effect here: {why}"));
    }
    let so_mark = sockets::so_mark_of(at, report);
    let netns = sockets::netns_of(at, report);
    let trusted_proxies = match &listener {
        Some(listener) => trusted(listener, report),
        None => Some(Vec::new()),
    };
    let preamble = at.get(&service_metadata::PROXY_PROTOCOL);
    let preamble = preamble.filter(|at| at.read().is_some_and(|version| version > 0));
    let (stack, trusted_proxies) = (stack?, trusted_proxies?);
    let proxy_protocol = preamble.is_some() && !stack.is_on_udp();
    match preamble {
        Some(at) if stack.is_on_udp() => {
            report.warning(at.key(), "`proxyProtocol` has no effect on `quic`: it is for TCP");
        }
        Some(at) if trusted_proxies.is_empty() => {
            let message = "nobody is trusted to say in a PROXY preamble where a host comes from";
            let help = "list the proxies as `trustedProxies` in the listener's metadata";
            return report.refuse(at.key(), message, help);
        }
        _ => {}
    }
    let reuse_port = listener.is_some_and(|at| at.or_default(&any_listener::REUSEPORT));
    let (addr, place) = addr?;
    let sockets = ListenOptions { so_mark, netns, reuse_port };
    let listener = ListenerSettings { addr, stack, proxy_protocol, trusted_proxies, sockets };
    Some((listener, place))
}

fn stack(
    listener: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<TransportStack<ServerTls>> {
    let name = checked_type(listener, &listener_base::TYPE, &LISTENERS, report)?;
    if matches!(name.as_str(), "tun" | "tap") {
        let place = listener.place_of(&listener_base::TYPE);
        let message = format!("a hub does not listen on a `{name}` device");
        return report.refuse(place, message, "remove it");
    }
    let reader = StackReader { name: &name, side: Side::Listener, at: listener };
    if !reader.is_encrypted() {
        if let Some(tls) = listener.filled(&listener_base::TLS) {
            let message = format!("`tls` has no effect: {} does not encrypt", quote(&name));
            let help = format!("write {} to encrypt", transport_stack::encrypted_form(&name));
            report.warning(tls.key(), message).help(help);
        }
        return reader.stack(None, report);
    }
    let tls_at = listener.get(&listener_base::TLS);
    let tls = tls::server(tls_at.as_deref(), &context.tls, report);
    let stack = reader.stack(tls.clone(), report);
    let tls = tls?;
    reader.check_versions(tls.versions, tls_at.as_deref(), report)?;
    stack
}

/// Addresses and prefixes; `None` after an error was reported.
fn trusted(listener: &Cursor<'_>, report: &mut Report) -> Option<Vec<IpNet>> {
    let texts = listener.read(&any_listener::TRUSTED_PROXIES).unwrap_or_default();
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
            let message = format!("{net} would trust everybody to say who they are");
            report.refuse(at, message, "list the proxies' own addresses")
        }
        Ok(net) => Some(net.trunc()),
        Err(_) => {
            let message = format!("{} is neither an address nor a prefix", quote(text));
            report.refuse(at, message, "write for example 192.0.2.7 or 2001:db8::/64")
        }
    }
}

fn addr(addr: &Setting<'_, OneText>, report: &mut Report) -> Option<(String, At)> {
    let text = addr.read()?;
    if let Err(error) = address::check(&text) {
        let message = format!("{} is no address to listen on: {error}", quote(&text));
        let help = match text.parse::<u16>() {
            Ok(port) => format!("write :{port}"),
            Err(_) => "write for example :8443, 192.0.2.1:8443 or [2001:db8::1]:8443".to_owned(),
        };
        return report.refuse(addr, message, help);
    }
    Some((text, At::from(addr)))
}

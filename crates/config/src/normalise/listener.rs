//! Where and how a hub listens.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    Context, checked_type, sockets, tls,
    transport_stack::{self, Side, StackReader},
};
use crate::{
    address,
    location::quote,
    report::At,
    schema::{
        LISTENERS, Setting, any_listener, listener_base, more_listener, service, service_metadata,
    },
    value::Cursor,
};
use rtun_settings::{ListenOptions, ListenerSettings, ServerTls, TransportStack};

/// Most listeners of one hub.
const MAX_LISTENERS: usize = 64;

/// Where proxies are that only this machine has.
const LOOPBACK: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];

/// The listeners of the service at `at` that can be used, and where their addresses are written.
pub(super) fn read<'a>(at: &Cursor<'a>, context: &Context<'_>) -> Vec<(ListenerSettings, At<'a>)> {
    let help = "add `addr:`, for example `addr: :8443`";
    let addr = at.required(&service::ADDR, "a hub needs an address to listen on", help);
    let addr = addr.and_then(self::addr);
    let more = at.items_of(&service::LISTENERS);
    if more.len() >= MAX_LISTENERS {
        at.error(format!("a hub has at most {MAX_LISTENERS} listeners"));
    }
    let first = one(at, &at.object(&service::LISTENER), addr.clone(), context);
    let more = more.iter().take(MAX_LISTENERS).map(|listener| {
        let addr = match listener.filled(&more_listener::ADDR) {
            Some(own) => own.read().and_then(|text| self::addr((text, own.at.clone()))),
            None => addr.clone(),
        };
        one(at, listener, addr, context)
    });
    std::iter::once(first).chain(more).flatten().collect()
}

/// One `listener` of the service at `at`.
fn one<'a>(
    at: &Cursor<'_>,
    listener: &Cursor<'_>,
    addr: Option<(String, At<'a>)>,
    context: &Context<'_>,
) -> Option<(ListenerSettings, At<'a>)> {
    let stack = stack(listener, context);
    if let Some(at) = sockets::interface_of(at) {
        let why = "a hub opens no connections; where it listens is said by `addr`";
        at.key().info(format!("`interface` has no effect here: {why}"));
    }
    if let Some(at) = at.filled(&service_metadata::NETNS_OUT) {
        let why = "a hub opens no connections; where it listens is said by `netns`";
        at.key().info(format!("`netns.out` has no effect here: {why}"));
    }
    let mptcp = listener.filled(&any_listener::MPTCP);
    let sockets = ListenOptions {
        so_mark: sockets::so_mark_of(at),
        netns: sockets::netns_of(at),
        reuse_port: listener.or_default(&any_listener::REUSEPORT),
        mptcp: mptcp.as_ref().and_then(Setting::read).unwrap_or_default(),
    };
    let trusted = listener.get(&any_listener::TRUSTED_PROXIES);
    let texts = trusted.as_ref().and_then(Setting::read).unwrap_or_default();
    let mut trusted_proxies: Vec<_> = texts.iter().filter_map(|(text, at)| net(text, at)).collect();
    let preamble = at.get(&service_metadata::PROXY_PROTOCOL);
    let preamble = preamble.filter(|at| at.read().is_some_and(|version| version > 0));
    let stack = stack?;
    let proxy_protocol = preamble.is_some() && !stack.is_on_udp();
    match preamble {
        Some(at) if stack.is_on_udp() => {
            at.key().warning("`proxyProtocol` has no effect on `quic`: it is for TCP");
        }
        Some(_) if texts.is_empty() && addr.as_ref().is_some_and(is_local) => {
            trusted_proxies.extend(LOOPBACK);
        }
        Some(at) if texts.is_empty() => {
            let message = "nobody is trusted to say in a PROXY preamble where a host comes from";
            let help = "list the proxies as `trustedProxies` in the listener's metadata";
            at.key().error(message).help(help);
        }
        _ => {}
    }
    if let Some(at) = mptcp.filter(|_| stack.is_on_udp()) {
        at.key().warning("`mptcp` has no effect on `quic`: it is for TCP");
    }
    let (addr, place) = addr?;
    let listener = ListenerSettings { addr, stack, proxy_protocol, trusted_proxies, sockets };
    Some((listener, place))
}

/// Whether only this machine can connect to an address.
fn is_local((addr, _): &(String, At<'_>)) -> bool {
    address::split_host_port(addr).is_some_and(|(host, _)| address::is_loopback(host))
}

fn stack(listener: &Cursor<'_>, context: &Context<'_>) -> Option<TransportStack<ServerTls>> {
    let name = checked_type(listener, &listener_base::TYPE, &LISTENERS)?;
    if matches!(name.as_str(), "tun" | "tap") {
        let place = listener.place_of(&listener_base::TYPE);
        return place.refuse(format!("a hub does not listen on a `{name}` device"), "remove it");
    }
    let reader = StackReader { name: &name, side: Side::Listener, at: listener };
    if !reader.is_encrypted() {
        if let Some(tls) = listener.filled(&listener_base::TLS) {
            let message = format!("`tls` has no effect: {} does not encrypt", quote(&name));
            let help = format!("write {} to encrypt", transport_stack::encrypted_form(&name));
            tls.key().warning(message).help(help);
        }
        return reader.stack(None);
    }
    let tls_at = listener.object(&listener_base::TLS);
    let tls = tls::server(&tls_at, &context.tls);
    reader.check_versions(tls.versions, &tls_at);
    reader.stack(Some(tls))
}

/// An address or a prefix.
fn net(text: &str, at: &At<'_>) -> Option<IpNet> {
    let net = match text.parse::<std::net::IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => text.parse::<IpNet>(),
    };
    match net {
        Ok(net) if net.prefix_len() == 0 => {
            let message = format!("{net} would trust everybody to say who they are");
            at.refuse(message, "list the proxies' own addresses")
        }
        Ok(net) => Some(net.trunc()),
        Err(_) => {
            let message = format!("{} is neither an address nor a prefix", quote(text));
            at.refuse(message, "write for example 192.0.2.7 or 2001:db8::/64")
        }
    }
}

/// The address and where it stands, if it is one.
fn addr((text, at): (String, At<'_>)) -> Option<(String, At<'_>)> {
    if let Err(error) = address::check(&text) {
        let message = format!("{} is no address to listen on: {error}", quote(&text));
        let help = match text.parse::<u16>() {
            Ok(port) => format!("write :{port}"),
            Err(_) => "write for example :8443, 192.0.2.1:8443 or [2001:db8::1]:8443".to_owned(),
        };
        return at.refuse(message, help);
    }
    Some((text, at))
}

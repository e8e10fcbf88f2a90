//! Services with a `tun` handler that are an end of a UDP tunnel: a server, or a client.

use std::{net::IpAddr, time::Duration};

use rtun_core::udp_tunnel::Passphrase;

use super::{Context, access, admissions, host, providers, sockets, tables};
use crate::{
    address,
    coerce::Place,
    findings::{At, Code, Report, quote},
    value::Cursor,
};
use rtun_settings::{
    ClientNetwork, DeviceSettings, Matcher, Named, Provider, UdpClientSettings, UdpServerRules,
    UdpServerSettings, User,
};

/// Between registers, unless `ttl` says otherwise.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The longest packet that fits into a datagram, over IPv4 and IPv6 alike, in bytes.
const MAX_MTU: u16 = 65_479;

const KEEPALIVE_KEYS: [&str; 2] = ["tun.keepalive", "keepalive"];
const TTL_KEYS: [&str; 2] = ["tun.ttl", "ttl"];
const PASSPHRASE_KEYS: [&str; 3] = ["tun.token", "token", "passphrase"];
const P2P_KEYS: [&str; 2] = ["tun.p2p", "p2p"];

/// What a `tun` service is.
pub(super) enum Role {
    /// A host of a routing tunnel.
    Host,
    /// The server of a UDP tunnel: it has no forwarder.
    Server,
    /// A client of a UDP tunnel: its forwarder's nodes have ports.
    Client,
}

/// What the `tun` service at `at` is; what is neither is a host, whose reader says what is wrong.
pub(super) fn role(at: &Cursor<'_>, context: &Context<'_>) -> Role {
    let Some(forwarder) = at.filled("forwarder") else {
        let names_chain =
            at.get("handler").is_some_and(|handler| handler.filled("chain").is_some());
        let addr = at.filled("addr").and_then(|addr| crate::coerce::text(addr.value).ok());
        let listens = addr.is_some_and(|addr| !matches!(addr.as_str(), "" | ":0"));
        return if listens && !names_chain { Role::Server } else { Role::Host };
    };
    let nodes = nodes(&forwarder, context);
    let has_port = |node: &Cursor<'_>| {
        let addr = node.filled("addr").and_then(|addr| crate::coerce::text(addr.value).ok());
        addr.is_some_and(|addr| address::split_host_port(&addr).is_some())
    };
    if nodes.iter().any(has_port) { Role::Client } else { Role::Host }
}

/// The nodes of the forwarder's hop, which may stand elsewhere.
fn nodes<'a>(forwarder: &Cursor<'a>, context: &Context<'a>) -> Vec<Cursor<'a>> {
    let hop = forwarder.first(&["hop", "name"]).filter(|hop| !hop.value.is_unset());
    let hop = match &hop {
        // That it is missing is said when the names are looked up.
        Some(hop) => {
            let name = crate::coerce::text(hop.value).unwrap_or_default();
            context.names.hops.get(&name).cloned()
        }
        None => Some(forwarder.clone()),
    };
    let nodes = hop.and_then(|hop| hop.get("nodes"));
    nodes.iter().flat_map(Cursor::items).collect()
}

/// Keys that count in another role; `why` follows the key.
fn without_effect(at: &Cursor<'_>, keys: &[&[&str]], why: &str, report: &mut Report) {
    let metadata = at.get("metadata");
    for keys in keys {
        if let Some(key) = metadata.as_ref().and_then(|m| m.first(keys)) {
            let name =
                keys.iter().find(|key| metadata.as_ref().is_some_and(|m| m.get(key).is_some()));
            let name = name.copied().unwrap_or_default();
            report.info(key.key(), format!("`{name}` has no effect here: {why}"));
        }
    }
}

/// What the handler of a host has of a UDP tunnel's.
pub(super) fn of_a_host(handler: &Cursor<'_>, listener: &Cursor<'_>, report: &mut Report) {
    let why = "it belongs to a UDP tunnel; a host keeps its connection alive itself";
    let keys: [&[&str]; 5] = [&KEEPALIVE_KEYS, &TTL_KEYS, &PASSPHRASE_KEYS, &P2P_KEYS, &["allow"]];
    without_effect(handler, &keys, why, report);
    let metadata = listener.get("metadata");
    if let Some(key) = metadata.as_ref().and_then(|m| m.first(&["router", "tun.router"])) {
        report
            .error(key.key(), "a host has no router: that is for the server of a UDP tunnel")
            .help("write the host's routes as `routes`");
    }
}

pub(super) fn server(
    at: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<UdpServerSettings> {
    let handler = at.get("handler")?;
    let listener = at.get("listener")?;
    let addr_at = at.filled("addr")?;
    let addr = report.text(&addr_at)?;
    if let Err(error) = address::check(&addr) {
        report
            .error(&addr_at, format!("{} is no address to listen on: {error}", quote(&addr)))
            .help("write for example :8421, 192.0.2.1:8421 or [2001:db8::1]:8421");
        return None;
    }
    let why = "it belongs to a client, and this service has no forwarder: it is a server";
    without_effect(&handler, &[&KEEPALIVE_KEYS, &TTL_KEYS, &PASSPHRASE_KEYS], why, report);
    for key in ["retries", "tls"] {
        if let Some(key) = handler.filled(key) {
            report.info(key.key(), "it has no effect on the server of a UDP tunnel");
        }
    }
    if let Some(listeners) = at.filled("listeners") {
        report
            .error(listeners.key(), "`listeners` is for hubs: a UDP tunnel has one socket")
            .help("remove it");
    }
    let metadata = handler.get("metadata");
    let get = |keys: &[&str]| metadata.as_ref().and_then(|m| m.first(keys));
    let point_to_point = get(&P2P_KEYS).and_then(|at| report.boolean(&at)).unwrap_or(false);
    let allowed = get(&["allow"]).map(|at| allowed(&at, report)).unwrap_or_default();
    let device = device(&listener, report)?;
    let networks = device
        .routes
        .iter()
        .filter_map(|route| Some(ClientNetwork { prefix: route.prefix, gateway: route.gateway? }));
    let networks: Vec<ClientNetwork> = networks.collect();
    let router = router(&listener, context, report);
    let authers = access::authers(&handler, context, report);
    check_users(&handler, authers.as_deref(), report);
    let admissions = admissions::of_service(at, &context.names, &context.admissions, report);
    for admission in &admissions {
        let Named { name, provider } = &admission.matchers;
        let is_known = providers::is_all_inline(provider);
        let has_names = inline(provider).any(|matcher| matches!(matcher, Matcher::Name(_)));
        if !is_known || has_names {
            report
                .error(at, format!("the admission {} is not one of addresses alone", quote(name)))
                .help("for a UDP tunnel write its `matchers` into the configuration, as addresses and prefixes");
        }
    }
    let has_auther = authers.is_some();
    exposure(&addr, &addr_at, has_auther, report);
    Some(UdpServerSettings {
        addr,
        mark: sockets::mark_of(at, report),
        netns: sockets::netns_of(at, report),
        device: DeviceSettings { netns: sockets::netns_of(at, report), ..device },
        rules: UdpServerRules { networks, router, allowed, authers, admissions, point_to_point },
    })
}

/// C02 and C03: this tunnel is clear text, whoever its users are.
fn exposure(addr: &str, at: &Cursor<'_>, has_auther: bool, report: &mut Report) {
    const HELP: &str =
        "a routing tunnel encrypts (docs/two-ways.md); or listen on a loopback address";
    let host = address::split_host_port(addr).map_or("", |(host, _)| host);
    if address::is_loopback(host) {
        return;
    }
    let addr = quote(addr);
    if has_auther {
        let message = format!(
            "packets and passphrases cross the network to {addr} readable, and who reads one can use it: \
             this tunnel has no encryption"
        );
        report.coded(Code::C03, at, message).help(HELP);
    } else {
        let message = format!(
            "anybody who reaches {addr} may register: there is no auther, and this tunnel has no encryption"
        );
        report
            .coded(Code::C02, at, message)
            .help(format!("name an `auther` in the handler; {HELP}"));
    }
}

pub(super) fn client(
    at: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<UdpClientSettings> {
    let handler = at.get("handler")?;
    let listener = at.get("listener")?;
    if let Some(addr) = at.filled("addr") {
        let text = report.text(&addr)?;
        if !text.is_empty() && text != ":0" {
            report
                .info(addr.key(), "`addr` has no effect on a client: it only sends to its server");
        }
    }
    let why = "it belongs to a server, and this service has a forwarder: it is a client";
    without_effect(&handler, &[&P2P_KEYS, &["allow"]], why, report);
    without_effect(&listener, &[&["router", "tun.router"]], why, report);
    for key in ["auther", "authers", "auth"] {
        if let Some(key) = handler.filled(key) {
            report
                .error(key.key(), "it has no effect on a client: nobody registers at it")
                .help("what a client is admitted by is the `passphrase` in its handler's metadata");
        }
    }
    for key in ["admission", "admissions"] {
        if let Some(key) = at.filled(key) {
            report
                .info(key.key(), "an admission has no effect on a client: nobody registers at it");
        }
    }
    if let Some(chain) = handler.filled("chain") {
        report
            .error(chain.key(), "a client of a UDP tunnel through a chain is not supported")
            .help("leave the chain out, or make the tunnel a routing tunnel: a name without a port in the forwarder");
    }
    let servers = servers(at, context, report);
    let metadata = handler.get("metadata");
    let get = |keys: &[&str]| metadata.as_ref().and_then(|m| m.first(keys));
    let keepalive_at = get(&KEEPALIVE_KEYS);
    let keepalive = keepalive_at.as_ref().and_then(|at| report.boolean(at)).unwrap_or(true);
    if let Some(at) = keepalive_at.filter(|_| !keepalive) {
        report
            .warning(
                at.key(),
                "without keepalive the server loses this client for good when it starts again",
            )
            .help("leave `keepalive` out: it is on unless configured");
    }
    let ttl = get(&TTL_KEYS).and_then(|at| report.span(&at, Place::Metadata));
    let ttl = ttl.filter(|ttl| !ttl.is_zero()).unwrap_or(KEEPALIVE);
    let passphrase_at = get(&PASSPHRASE_KEYS).filter(|at| !at.value.is_unset());
    let passphrase = passphrase_at.as_ref().and_then(|at| report.text(at)).unwrap_or_default();
    let passphrase = Passphrase::new(&passphrase).inspect_err(|error| {
        if let Some(at) = &passphrase_at {
            report
                .error(at, error.to_string())
                .help("choose one of at most 16 bytes, at both ends");
        }
    });
    let device = device(&listener, report)?;
    let (servers, passphrase) = (servers?, passphrase.ok()?);
    if let Some(at) = passphrase_at.filter(|_| passphrase != Passphrase::NONE)
        && !servers.iter().all(|server| {
            address::split_host_port(server).is_some_and(|(host, _)| address::is_loopback(host))
        })
    {
        report
            .coded(
                Code::C03,
                &at,
                "the passphrase crosses the network readable: this tunnel has no encryption",
            )
            .help("a routing tunnel encrypts (docs/two-ways.md)");
    }
    Some(UdpClientSettings {
        servers,
        device: DeviceSettings { netns: sockets::netns_of(at, report), ..device },
        passphrase,
        keepalive: keepalive.then_some(ttl),
        sockets: sockets::options(&[sockets::Level::service(at)], report),
    })
}

/// The addresses of the forwarder's nodes.
fn servers(at: &Cursor<'_>, context: &Context<'_>, report: &mut Report) -> Option<Vec<String>> {
    let forwarder = at.filled("forwarder")?;
    if let Some(selector) = forwarder.get("selector") {
        host::check_selector(&selector, report);
    }
    if let Some(hop) = forwarder.first(&["hop", "name"]).filter(|hop| !hop.value.is_unset()) {
        context.names.hops.resolve(&hop, report)?;
    }
    let mut servers = Vec::new();
    let mut failed = false;
    for node in nodes(&forwarder, context) {
        let Some(addr) = node.filled("addr") else {
            report.error(&node, "the node has no `addr`").help("write the server as HOST:PORT");
            failed = true;
            continue;
        };
        let text = report.text(&addr)?;
        let host = address::split_host_port(&text).map_or("", |(host, _)| host);
        if host.is_empty() || address::check(&text).is_err() || text.ends_with(":0") {
            report
                .error(&addr, format!("{} is no server to register at", quote(&text)))
                .help("write HOST:PORT, as 192.0.2.1:8421 or [2001:db8::1]:8421");
            failed = true;
            continue;
        }
        if servers.contains(&text) {
            report.warning(&addr, format!("{} is given twice", quote(&text)));
            continue;
        }
        servers.push(text);
    }
    (!failed && !servers.is_empty()).then_some(servers)
}

fn device(listener: &Cursor<'_>, report: &mut Report) -> Option<DeviceSettings> {
    let device = host::device(listener, report)?;
    let metadata = listener.get("metadata");
    if let Some(key) = metadata.as_ref().and_then(|m| m.get("superFrames")) {
        report.info(key.key(), "`superFrames` has no effect here: a datagram is one packet");
    }
    if device.mtu > MAX_MTU {
        let at = metadata.as_ref().and_then(|m| m.first(&["mtu", "tun.mtu"]));
        report
            .error(
                at.as_ref().map_or_else(|| At::from(listener), At::from),
                format!("the MTU is {}; a datagram carries at most {MAX_MTU} bytes", device.mtu),
            )
            .help("leave it out: 1420 bytes fit everywhere");
        return None;
    }
    Some(device)
}

/// Prefixes of addresses that clients may have besides those of the device's networks.
fn allowed(at: &Cursor<'_>, report: &mut Report) -> Vec<ipnet::IpNet> {
    let texts = report.texts(at, true);
    texts.iter().filter_map(|(text, at)| tables::prefix(text, at, report)).collect()
}

/// The router that the listener names, whose gateways are addresses of clients.
fn router(
    listener: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<Named<rtun_settings::Route>> {
    let metadata = listener.get("metadata")?;
    let at = metadata.first(&["router", "tun.router"]).filter(|at| !at.value.is_unset())?;
    let (name, _) = context.names.routers.resolve(&at, report)?;
    let table = context.tables.router(name)?;
    if !providers::is_all_inline(&table.router.provider) {
        report
            .error(&at, format!("the router {} has rows outside of the configuration", quote(name)))
            .help("for a UDP tunnel write its `routes` into the configuration");
        return None;
    }
    for (route, row) in inline(&table.router.provider).zip(&table.rows) {
        if route.gateway.as_str().parse::<IpAddr>().is_err() {
            report
                .error(
                    row.gateway.clone(),
                    format!("{} is no address of a client", quote(route.gateway.as_str())),
                )
                .help("in a UDP tunnel a gateway is an address that a client registers");
        }
    }
    Some(table.router.clone())
}

/// Users whom no client can be: a user's name is an address, and no more than 16 bytes of a passphrase go over the wire.
fn check_users(handler: &Cursor<'_>, authers: Option<&[Named<User>]>, report: &mut Report) {
    let at = ["auther", "authers", "auth"].iter().find_map(|key| handler.filled(key));
    let at = at.map_or_else(|| At::from(handler), |at| at.key());
    for auther in authers.into_iter().flatten() {
        if !providers::is_all_inline(&auther.provider) {
            let name = quote(&auther.name);
            report
                .error(
                    at.clone(),
                    format!("the auther {name} has users outside of the configuration"),
                )
                .help("for a UDP tunnel write its `auths` into the configuration");
        }
        for user in inline(&auther.provider) {
            let name = quote(&user.name);
            if user.name.parse::<IpAddr>().is_err() {
                report
                    .warning(
                        at.clone(),
                        format!("no client can be the user {name}: it is no address"),
                    )
                    .help("in a UDP tunnel a user's name is the address that the client registers");
            }
            if let Err(error) = Passphrase::new(user.password.expose()) {
                let message = format!("the password of the user {name} is never right: {error}");
                report.error(at.clone(), message).help("choose one of at most 16 bytes");
            }
        }
    }
}

fn inline<T>(provider: &Provider<T>) -> impl Iterator<Item = &T> {
    let rows = match provider {
        Provider::Rows(rows) => &rows.inline[..],
        Provider::Plugin(_) => &[],
    };
    rows.iter().map(|row| &row.value)
}

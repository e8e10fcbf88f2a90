//! Services with a `relay` handler: where they listen, who may connect, and where they lead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rtun_core::udp_tunnel::{FrameContent, RelayServer, RelayTargets};

use super::{
    Context, access, admissions,
    limiters::{self, LimitedTunnel},
    listener,
};
use crate::{
    address,
    location::quote,
    report::At,
    schema::{forwarder, handler, hop, relay_handler, service, target},
    value::Cursor,
};
use rtun_settings::{
    AdmissionSettings, Config, ListenerSettings, Matcher, Named, NetworkNamespace, RelayRules,
    RelaySettings, ServiceKind, User,
};

/// What the checks across objects need to know of a relay.
pub(crate) struct RelayView<'a> {
    pub(crate) has_users: bool,
    /// Where and how it listens, and where the address was written.
    pub(crate) listeners: Vec<(ListenerSettings, At<'a>)>,
}

/// The relay at `at`; without a forwarder its targets are found by [`lead_to_servers`].
pub(super) fn read<'a>(
    at: &Cursor<'a>,
    context: &Context<'a>,
) -> Option<(RelaySettings, RelayView<'a>)> {
    if at.filled(&service::ADDR).is_none() {
        let help = "add `addr:`, for example `addr: :8443`";
        return at.refuse("a relay needs an address to listen on", help);
    }
    let handler = at.get(&service::HANDLER)?;
    if let Some(chain) = handler.filled(&handler::CHAIN) {
        chain.key().info("`chain` has no effect on a relay: it leads to this machine only");
    }
    if let Some(retries) = handler.filled(&handler::RETRIES) {
        retries.key().info("`retries` has no effect on a relay");
    }
    let listeners = listener::read(at, context);
    for (listener, at) in &listeners {
        if listener.stack.tls().is_some_and(|tls| tls.bind_names) {
            at.info("`bindNames` has no effect on a relay: its clients report no names");
        }
    }
    let targets = targets(at, context);
    let authers = access::authers(&handler, context);
    check_users(&handler, authers.as_deref());
    let admissions = admissions::of_service(at, &context.names, &context.admissions);
    check_admissions(at, &admissions);
    let mut read = listeners.iter().map(|(listener, _)| listener.clone());
    let (first, more_listeners) = (read.next(), read.collect());
    let view = RelayView { has_users: authers.is_some(), listeners };
    let limits = limiters::of_tunnel(LimitedTunnel::Relay, at, context);
    let relay = RelaySettings {
        listener: first?,
        more_listeners,
        rules: RelayRules {
            targets: targets?,
            authers,
            admissions,
            takes_ethernet: handler.or_default(&relay_handler::BIND),
            limits,
            connections: limiters::of_connections(at, context),
            requests: limiters::of_requests(at, context),
        },
        handshake_timeout: handler.or_default(&relay_handler::READ_TIMEOUT),
    };
    Some((relay, view))
}

/// The forwarder's target, or no server yet; `None` after an error was reported.
fn targets(at: &Cursor<'_>, context: &Context<'_>) -> Option<RelayTargets> {
    const HELP: &str =
        "write the address of a UDP or Ethernet tunnel's server on this machine, as 127.0.0.1:8421";
    let Some(forwarder) = at.filled(&service::FORWARDER) else {
        return Some(RelayTargets::Servers(Vec::new()));
    };
    let nodes = match forwarder.filled(&forwarder::HOP) {
        Some(hop) => context.names.hops.resolve(&hop)?.1.items_of(&hop::NODES),
        None => forwarder.items_of(&forwarder::NODES),
    };
    let node = match &nodes[..] {
        [node] => node,
        [] => return forwarder.refuse("the forwarder has no node", HELP),
        [_, second, ..] => {
            let message = "the forwarder has several nodes: a relay leads to one";
            return second.refuse(message, HELP);
        }
    };
    let (text, at) = node.required(&target::ADDR, "the node has no `addr`", HELP)?;
    let found = address::check(&text).ok().and_then(|(host, port)| {
        let ip = match host {
            "" | "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
            host => host.parse::<IpAddr>().ok().filter(IpAddr::is_loopback),
        };
        Some(SocketAddr::new(ip?, port))
    });
    let Some(found) = found.filter(|found| found.port() != 0) else {
        let message = format!(
            "{} is no target of a relay: it leads to servers of UDP tunnels on this machine",
            quote(&text)
        );
        return at.refuse(message, HELP);
    };
    Some(RelayTargets::Fixed(found))
}

/// Refuses plugins, and says what of users has no effect.
fn check_users(handler: &Cursor<'_>, authers: Option<&[Named<User>]>) {
    for auther in authers.into_iter().flatten() {
        access::refuse_plugin(auther, &handler.key(), "for a relay ");
        for user in auther.inline().filter(|user| user.hosts.is_some()) {
            let name = quote(&user.name);
            handler.key().info(format!(
                "the `hosts` of the user {name} have no effect on a relay: its clients report no names"
            ));
        }
    }
}

/// Refuses admissions that are not of addresses alone.
fn check_admissions(at: &Cursor<'_>, admissions: &[AdmissionSettings]) {
    for AdmissionSettings { matchers, .. } in admissions {
        let has_names = matchers.inline().any(|matcher| matches!(matcher, Matcher::Name(_)));
        if !matchers.is_all_inline() || has_names {
            let name = quote(&matchers.name);
            at.error(format!("the admission {name} is not one of addresses alone"))
                .help("for a relay write its `matchers` into the configuration, as addresses and prefixes");
        }
    }
}

/// Leads every relay without a forwarder to the UDP servers of its process and network namespace.
pub(super) fn lead_to_servers(config: &mut Config, context: &Context<'_>) {
    let servers: Vec<TunnelServer> = config
        .services
        .iter()
        .filter_map(|service| {
            let (content, addr, netns, is_open) = match &service.kind {
                ServiceKind::UdpServer(server) => {
                    (FrameContent::Packets, &server.addr, &server.netns, true)
                }
                ServiceKind::TapServer(server) => {
                    let is_open = server.tap.cipher.is_none();
                    (FrameContent::Ethernet, &server.addr, &server.netns, is_open)
                }
                _ => return None,
            };
            let (name, netns) = (service.name.clone(), netns.clone());
            let server = relay_server(addr, content)?;
            Some(TunnelServer { name, addr: addr.clone(), netns, server, is_open })
        })
        .collect();
    for service in &mut config.services {
        let ServiceKind::Relay(relay) = &mut service.kind else { continue };
        let netns = relay.listener.sockets.netns.clone();
        if let RelayTargets::Servers(found) = &mut relay.rules.targets {
            let takes_ethernet = relay.rules.takes_ethernet;
            let reached = servers.iter().filter(|it| {
                it.netns == netns && (takes_ethernet || it.server.content == FrameContent::Packets)
            });
            found.extend(reached.map(|it| it.server));
            if let Some(at) = context.names.services.get(&service.name)
                && found.is_empty()
            {
                let message =
                    "this relay leads nowhere: there is no server of a UDP or Ethernet tunnel here";
                at.place_of(&service::HANDLER).error(message).help(
                    "add one, as -L tun://127.0.0.1:8421?net=ADDRESS/PREFIX; or a `forwarder` with the address of one",
                );
            }
        }
        for server in servers.iter().filter(|server| server.netns == netns) {
            suggest_loopback(server, &relay.rules.targets, context);
        }
    }
}

/// A server of a tunnel whose port is known.
struct TunnelServer {
    name: String,
    addr: String,
    netns: Option<NetworkNamespace>,
    server: RelayServer,
    /// Whether what reaches it directly is not encrypted.
    is_open: bool,
}

/// Where a server is reached on its own machine; `None` for one whose port the system chooses.
fn relay_server(addr: &str, content: FrameContent) -> Option<RelayServer> {
    let (host, port) = address::check(addr).ok()?;
    let on = host.parse::<IpAddr>().ok().filter(|ip| !ip.is_unspecified());
    (port != 0).then_some(RelayServer { on, port, content })
}

/// A server that its relay leads to and that is open to the network besides.
fn suggest_loopback(server: &TunnelServer, targets: &RelayTargets, context: &Context<'_>) {
    let TunnelServer { name, addr, server: found, is_open, .. } = server;
    let Some(at) = context.names.services.get(name).filter(|_| *is_open) else { return };
    let is_led_to = match targets {
        RelayTargets::Fixed(target) => {
            target.port() == found.port && found.on.is_none_or(|on| on == target.ip())
        }
        RelayTargets::Servers(servers) => servers.contains(found),
    };
    if is_led_to && !found.on.is_some_and(|on| on.is_loopback()) {
        let message = format!(
            "{} is open to the network besides its relay, and not encrypted there",
            quote(addr)
        );
        let scheme = match found.content {
            FrameContent::Packets => "tun",
            FrameContent::Ethernet => "tap",
        };
        let port = found.port;
        let help =
            format!("write {scheme}://127.0.0.1:{port} if all clients come through the relay");
        at.place_of(&service::ADDR).info(message).help(help);
    }
}

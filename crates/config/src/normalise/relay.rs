//! Services with a `relay` handler: where they listen, who may connect, and where they lead.

use std::net::{IpAddr, SocketAddr};

use rtun_core::udp_tunnel::{RelayServer, RelayTargets};

use super::{Context, access, admissions, listener, providers};
use crate::{
    address,
    findings::Report,
    location::{At, quote},
    schema::{forwarder, handler, hop, relay_handler, service, target},
    value::Cursor,
};
use rtun_settings::{
    AdmissionSettings, Config, ListenerSettings, Named, NetworkNamespace, RelayRules,
    RelaySettings, ServiceKind, UdpServerSettings, User,
};

/// What the checks across objects need to know of a relay.
pub(crate) struct RelayView {
    pub(crate) has_users: bool,
    /// Where and how it listens, and where the address was written.
    pub(crate) listeners: Vec<(ListenerSettings, At)>,
}

/// The relay at `at`; without a forwarder its targets are found by [`lead_to_servers`].
pub(super) fn read(
    at: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<(RelaySettings, RelayView)> {
    if at.filled(&service::ADDR).is_none() {
        let help = "add `addr:`, for example `addr: :8443`";
        return report.refuse(at, "a relay needs an address to listen on", help);
    }
    let handler = at.get(&service::HANDLER)?;
    if let Some(chain) = handler.filled(&handler::CHAIN) {
        report.info(chain.key(), "`chain` has no effect on a relay: it leads to this machine only");
    }
    if let Some(retries) = handler.filled(&handler::RETRIES) {
        report.info(retries.key(), "`retries` has no effect on a relay");
    }
    let listeners = listener::read(at, context, report);
    let targets = targets(at, context, report);
    let authers = access::authers(&handler, context, report);
    check_users(&handler, authers.as_deref(), report);
    let admissions = admissions::of_service(at, &context.names, &context.admissions, report);
    check_admissions(at, &admissions, report);
    let (listeners, targets) = (listeners?, targets?);
    for (listener, at) in &listeners {
        if listener.stack.tls().is_some_and(|tls| tls.bind_names) {
            report.info(at, "`bindNames` has no effect on a relay: its clients report no names");
        }
    }
    let mut read = listeners.iter().map(|(listener, _)| listener.clone());
    let (listener, more_listeners) = (read.next()?, read.collect());
    let view = RelayView { has_users: authers.is_some(), listeners };
    let relay = RelaySettings {
        listener,
        more_listeners,
        rules: RelayRules { targets, authers, admissions },
        handshake_timeout: handler.or_default(&relay_handler::READ_TIMEOUT),
    };
    Some((relay, view))
}

/// The forwarder's target, or no server yet; `None` after an error was reported.
fn targets(at: &Cursor<'_>, context: &Context<'_>, report: &mut Report) -> Option<RelayTargets> {
    const HELP: &str =
        "write the address of a UDP tunnel's server on this machine, as 127.0.0.1:8421";
    let Some(forwarder) = at.filled(&service::FORWARDER) else {
        return Some(RelayTargets::Servers(Vec::new()));
    };
    let nodes = match forwarder.filled(&forwarder::HOP) {
        Some(hop) => context.names.hops.resolve(&hop, report)?.1.items_of(&hop::NODES),
        None => forwarder.items_of(&forwarder::NODES),
    };
    let node = match &nodes[..] {
        [node] => node,
        [] => return report.refuse(&forwarder, "the forwarder has no node", HELP),
        [_, second, ..] => {
            let message = "the forwarder has several nodes: a relay leads to one";
            return report.refuse(second, message, HELP);
        }
    };
    let Some(addr) = node.filled(&target::ADDR) else {
        return report.refuse(node, "the node has no `addr`", HELP);
    };
    let text = addr.read()?;
    let found = match address::check(&text) {
        Ok(("" | "localhost", port)) => Some(SocketAddr::from(([127, 0, 0, 1], port))),
        Ok((host, port)) => {
            let ip = host.parse::<IpAddr>().ok().filter(IpAddr::is_loopback);
            ip.map(|ip| SocketAddr::new(ip, port))
        }
        Err(_) => None,
    };
    let Some(found) = found.filter(|found| found.port() != 0) else {
        let message = format!(
            "{} is no target of a relay: it leads to servers of UDP tunnels on this machine",
            quote(&text)
        );
        return report.refuse(&addr, message, HELP);
    };
    Some(RelayTargets::Fixed(found))
}

/// Users that are outside of the configuration.
fn check_users(handler: &Cursor<'_>, authers: Option<&[Named<User>]>, report: &mut Report) {
    for auther in authers.into_iter().flatten() {
        if !providers::is_all_inline(&auther.provider) {
            let message = format!(
                "the auther {} has users outside of the configuration",
                quote(&auther.name)
            );
            report
                .error(handler.key(), message)
                .help("for a relay write its `auths` into the configuration");
        }
        for user in providers::inline(&auther.provider).filter(|user| user.hosts.is_some()) {
            let name = quote(&user.name);
            report.info(
                handler.key(),
                format!("the `hosts` of the user {name} have no effect on a relay: its clients report no names"),
            );
        }
    }
}

/// Refuses admissions that are not of addresses alone.
fn check_admissions(at: &Cursor<'_>, admissions: &[AdmissionSettings], report: &mut Report) {
    for admission in admissions {
        if !providers::is_of_addresses(&admission.matchers.provider) {
            let name = quote(&admission.matchers.name);
            report
                .error(at, format!("the admission {name} is not one of addresses alone"))
                .help("for a relay write its `matchers` into the configuration, as addresses and prefixes");
        }
    }
}

/// Leads every relay without a forwarder to the UDP servers of its process and network namespace.
pub(super) fn lead_to_servers(config: &mut Config, context: &Context<'_>, report: &mut Report) {
    let servers: Vec<(String, UdpServerSettings)> = config
        .services
        .iter()
        .filter_map(|service| match &service.kind {
            ServiceKind::UdpServer(server) => Some((service.name.clone(), server.clone())),
            _ => None,
        })
        .collect();
    for service in &mut config.services {
        let ServiceKind::Relay(relay) = &mut service.kind else { continue };
        let netns = relay.listener.sockets.netns.clone();
        let at = context.names.services.get(&service.name);
        let at = at.map_or_else(At::default, |at| at.place_of(&service::HANDLER));
        if let RelayTargets::Servers(found) = &mut relay.rules.targets {
            let reached = servers.iter().filter(|(_, server)| server.netns == netns);
            found.extend(reached.filter_map(|(_, server)| relay_server(&server.addr)));
            if found.is_empty() {
                let message = "this relay leads nowhere: there is no server of a UDP tunnel here";
                report.error(&at, message).help(
                    "add one, as -L tun://127.0.0.1:8421?net=ADDRESS/PREFIX; or a `forwarder` with the address of one",
                );
            }
        }
        for (name, server) in &servers {
            suggest_loopback(name, server, &relay.rules.targets, &netns, context, report);
        }
    }
}

/// Where a server is reached on its own machine; `None` for one whose port the system chooses.
fn relay_server(addr: &str) -> Option<RelayServer> {
    let (host, port) = address::check(addr).ok()?;
    let on = host.parse::<IpAddr>().ok().filter(|ip| !ip.is_unspecified());
    (port != 0).then_some(RelayServer { on, port })
}

/// A server that its relay leads to and that is open to the network besides.
fn suggest_loopback(
    name: &str,
    server: &UdpServerSettings,
    targets: &RelayTargets,
    netns: &Option<NetworkNamespace>,
    context: &Context<'_>,
    report: &mut Report,
) {
    let Some(found) = relay_server(&server.addr).filter(|_| server.netns == *netns) else { return };
    let is_led_to = match targets {
        RelayTargets::Fixed(target) => {
            target.port() == found.port && found.on.is_none_or(|on| on == target.ip())
        }
        RelayTargets::Servers(servers) => servers.contains(&found),
    };
    if !is_led_to || found.on.is_some_and(|on| on.is_loopback()) {
        return;
    }
    let at = context.names.services.get(name);
    let at = at.map_or_else(At::default, |at| at.place_of(&service::ADDR));
    let message = format!(
        "{} is open to the network besides its relay, and not encrypted there",
        quote(&server.addr)
    );
    let help =
        format!("write tun://127.0.0.1:{} if all clients come through the relay", found.port);
    report.info(at, message).help(help);
}

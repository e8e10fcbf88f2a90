//! A client of a UDP tunnel: its servers, its passphrase, and how often it registers.

use rtun_core::udp_tunnel::Passphrase;

use super::{nodes, tunnel_device, without_effect, without_server_keys};
use crate::{
    address,
    findings::{Code, Report},
    location::{At, quote},
    normalise::{Context, selector, sockets},
    schema::{forwarder, handler, service, target, tun_handler, tun_listener},
    value::Cursor,
};
use rtun_settings::UdpClientSettings;

/// The client at `at`, which has a forwarder.
pub(in crate::normalise) fn read(
    at: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<UdpClientSettings> {
    let handler = at.get(&service::HANDLER)?;
    let listener = at.get(&service::LISTENER)?;
    without_effect_on_client(at, &handler, &listener, report);
    if let Some(chain) = handler.filled(&handler::CHAIN) {
        report
            .error(chain.key(), "a client of a UDP tunnel through a chain is not supported")
            .help("leave the chain out, or make the tunnel a routing tunnel: a name without a port in the forwarder");
    }
    let servers = servers(at, context, report);
    let keepalive = handler.or_default(&tun_handler::KEEPALIVE);
    if let Some(at) = handler.get(&tun_handler::KEEPALIVE).filter(|_| !keepalive) {
        let message =
            "without keepalive the server loses this client for good when it starts again";
        report.warning(at.key(), message).help("leave `keepalive` out: it is on unless configured");
    }
    let ttl = handler.or_default(&tun_handler::TTL);
    let passphrase = passphrase(&handler, report);
    let device = tunnel_device(at, &listener, report)?;
    let (servers, passphrase) = (servers?, passphrase?);
    exposure(&handler, &servers, passphrase, report);
    Some(UdpClientSettings {
        servers,
        device,
        passphrase,
        keepalive: keepalive.then_some(ttl),
        sockets: sockets::of_service(at, report),
    })
}

/// What is for servers only.
fn without_effect_on_client(
    at: &Cursor<'_>,
    handler: &Cursor<'_>,
    listener: &Cursor<'_>,
    report: &mut Report,
) {
    if let Some(addr) =
        at.filled(&service::ADDR).filter(|addr| addr.read().as_deref() != Some(":0"))
    {
        report.info(addr.key(), "`addr` has no effect on a client: it only sends to its server");
    }
    let why = "it belongs to a server, and this service has a forwarder: it is a client";
    without_server_keys(handler, why, report);
    without_effect(listener, &tun_listener::ROUTER, why, report);
    for key in [handler::AUTHER.name(), handler::AUTHERS.name(), handler::AUTH.name()] {
        let Some(at) = handler.child_named(key).filter(|at| !at.value.is_unset()) else { continue };
        report
            .error(at.key(), format!("`{key}` has no effect on a client: nobody registers at it"))
            .help("what a client is admitted by is the `passphrase` in its handler's metadata");
    }
    for key in [service::ADMISSION.name(), service::ADMISSIONS.name()] {
        let Some(at) = at.child_named(key).filter(|at| !at.value.is_unset()) else { continue };
        report.info(at.key(), "an admission has no effect on a client: nobody registers at it");
    }
}

/// What the client is admitted by; `None` after an error was reported.
fn passphrase(handler: &Cursor<'_>, report: &mut Report) -> Option<Passphrase> {
    let Some(at) = handler.filled(&tun_handler::TOKEN) else { return Some(Passphrase::NONE) };
    match Passphrase::new(&at.read()?) {
        Ok(passphrase) => Some(passphrase),
        Err(error) => {
            let help = "choose one of at most 16 bytes, at both ends";
            report.refuse(&at, error.to_string(), help)
        }
    }
}

/// C03: a passphrase that leaves the machine.
fn exposure(handler: &Cursor<'_>, servers: &[String], passphrase: Passphrase, report: &mut Report) {
    let is_local = |server: &String| {
        address::split_host_port(server).is_some_and(|(host, _)| address::is_loopback(host))
    };
    if passphrase != Passphrase::NONE && !servers.iter().all(is_local) {
        let message = "the passphrase crosses the network readable: this tunnel has no encryption";
        report
            .coded(Code::C03, handler.place_of(&tun_handler::TOKEN), message)
            .help("a routing tunnel encrypts (docs/two-ways.md)");
    }
}

/// The addresses of the forwarder's nodes; `None` after an error was reported.
pub(super) fn servers(
    at: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<Vec<String>> {
    let forwarder = at.filled(&service::FORWARDER)?;
    if let Some(selector) = forwarder.get(&forwarder::SELECTOR) {
        selector::of(Some(selector), report);
    }
    if let Some(hop) = forwarder.filled(&forwarder::HOP) {
        context.names.hops.resolve(&hop, report)?;
    }
    let mut servers = Vec::new();
    let mut failed = false;
    for node in nodes(&forwarder, context) {
        let Some(addr) = node.read(&target::ADDR) else {
            report.error(&node, "the node has no `addr`").help("write the server as HOST:PORT");
            failed = true;
            continue;
        };
        let place: At = node.place_of(&target::ADDR);
        let host = address::split_host_port(&addr).map_or("", |(host, _)| host);
        if host.is_empty() || address::check(&addr).is_err() || addr.ends_with(":0") {
            let message = format!("{} is no server to register at", quote(&addr));
            report
                .error(place, message)
                .help("write HOST:PORT, as 192.0.2.1:8421 or [2001:db8::1]:8421");
            failed = true;
            continue;
        }
        if servers.contains(&addr) {
            report.warning(place, format!("{} is given twice", quote(&addr)));
            continue;
        }
        servers.push(addr);
    }
    (!failed && !servers.is_empty()).then_some(servers)
}

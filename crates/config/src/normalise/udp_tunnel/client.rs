//! A client of a UDP tunnel: its servers, its passphrase, and how often it registers.

use rtun_core::udp_tunnel::Passphrase;

use super::{nodes, tunnel_device, without_effect, without_server_keys};
use crate::{
    address,
    findings::Code,
    location::quote,
    normalise::{
        Context,
        chain::{self, ChainEnd},
        limiters::{self, LimitedTunnel},
        selector, sockets,
    },
    schema::{forwarder, handler, service, service_metadata, target, tun_handler, tun_listener},
    value::Cursor,
};
use rtun_settings::{RelayChain, UdpClientSettings};

/// The client at `at`, which has a forwarder.
pub(in crate::normalise) fn read(
    at: &Cursor<'_>,
    context: &Context<'_>,
) -> Option<UdpClientSettings> {
    let handler = at.get(&service::HANDLER)?;
    let listener = at.get(&service::LISTENER)?;
    without_effect_on_client(at, &handler, &listener);
    let relay = relay_of(at, &handler, context);
    let servers = servers(at, relay.is_some(), context);
    let keepalive = handler.or_default(&tun_handler::KEEPALIVE);
    if let Some(at) = handler.get(&tun_handler::KEEPALIVE).filter(|_| !keepalive) {
        let message =
            "without keepalive the server loses this client for good when it starts again";
        at.key().warning(message).help("leave `keepalive` out: it is on unless configured");
    }
    let ttl = handler.or_default(&tun_handler::TTL);
    let passphrase = passphrase(&handler);
    let (device, _) = tunnel_device(at, &listener);
    exposure(&handler, &servers, relay.as_ref(), passphrase);
    Some(UdpClientSettings {
        servers,
        device,
        passphrase,
        keepalive: keepalive.then_some(ttl),
        sockets: sockets::of_service(at),
        relay,
        limits: limiters::of_tunnel(LimitedTunnel::Client, at, context),
    })
}

/// What is for servers only.
fn without_effect_on_client(at: &Cursor<'_>, handler: &Cursor<'_>, listener: &Cursor<'_>) {
    let addr = at.filled(&service::ADDR).filter(|addr| addr.read().as_deref() != Some(":0"));
    if let Some(addr) = addr {
        addr.key().info("`addr` has no effect on a client: it only sends to its server");
    }
    let why = "it belongs to a server, and this service has a forwarder: it is a client";
    without_server_keys(handler, why);
    without_effect(listener, &tun_listener::ROUTER, why);
    for field in [handler::AUTHER.any(), handler::AUTHERS.any(), handler::AUTH.any()] {
        let Some(at) = handler.filled(&field) else { continue };
        let key = field.name();
        at.key()
            .error(format!("`{key}` has no effect on a client: nobody registers at it"))
            .help("what a client is admitted by is the `passphrase` in its handler's metadata");
    }
    for field in [service::ADMISSION.any(), service::ADMISSIONS.any()] {
        let Some(at) = at.filled(&field) else { continue };
        at.key().info("an admission has no effect on a client: nobody registers at it");
    }
}

/// What the client is admitted by.
fn passphrase(handler: &Cursor<'_>) -> Passphrase {
    let Some(at) = handler.filled(&tun_handler::TOKEN) else { return Passphrase::NONE };
    Passphrase::new(&at.read().unwrap_or_default()).unwrap_or_else(|error| {
        at.error(error.to_string()).help("choose one of at most 16 bytes, at both ends");
        Passphrase::NONE
    })
}

/// C03: a passphrase that leaves the machine.
fn exposure(
    handler: &Cursor<'_>,
    servers: &[String],
    relay: Option<&RelayChain>,
    passphrase: Passphrase,
) {
    let is_safe = stays_here(servers, relay);
    if passphrase != Passphrase::NONE && !is_safe {
        let message = "the passphrase crosses the network readable: this tunnel has no encryption";
        handler
            .place_of(&tun_handler::TOKEN)
            .coded(Code::C03, message)
            .help("a relay over `wss`, `tls` or `quic` encrypts, and so does a routing tunnel (docs/two-ways.md)");
    }
}

/// Whether datagrams leave the machine encrypted, or not at all. What a relay does with them is its own affair.
pub(super) fn stays_here(servers: &[String], relay: Option<&RelayChain>) -> bool {
    let is_local = |server: &String| {
        address::split_host_port(server).is_some_and(|(host, _)| address::is_loopback(host))
    };
    let Some(relay) = relay else { return servers.iter().all(is_local) };
    let endpoints = relay.relays.iter().flat_map(|relay| &relay.endpoints);
    let mut endpoints = endpoints.filter(|endpoint| !is_local(&endpoint.addr));
    endpoints.all(|endpoint| endpoint.stack.tls().is_some())
}

/// The chain that the handler names, which has to lead to a relay.
pub(super) fn relay_of(
    at: &Cursor<'_>,
    handler: &Cursor<'_>,
    context: &Context<'_>,
) -> Option<RelayChain> {
    let group = handler.filled(&handler::CHAIN_GROUP);
    if handler.filled(&handler::CHAIN).is_none() && group.is_none() {
        return None;
    }
    if at.or_default(&service_metadata::IGNORE_CHAIN) {
        return None;
    }
    let chain = chain::read(at, handler, ChainEnd::Relay, context)?;
    Some(RelayChain {
        relays: chain.hubs,
        protocol: chain.protocol,
        selector: chain.selector,
        proxies: chain.proxies,
        lookups: chain.lookups,
        dial_timeout: at.read(&service_metadata::DIAL_TIMEOUT),
    })
}

/// The addresses of the forwarder's nodes; at least one unless an error was reported.
pub(super) fn servers(at: &Cursor<'_>, through_relay: bool, context: &Context<'_>) -> Vec<String> {
    let forwarder = at.object(&service::FORWARDER);
    selector::of(&forwarder.object(&forwarder::SELECTOR));
    if let Some(hop) = forwarder.filled(&forwarder::HOP) {
        context.names.hops.resolve(&hop);
    }
    let mut servers = Vec::new();
    for node in nodes(&forwarder, context) {
        let Some((addr, at)) =
            node.required(&target::ADDR, "the node has no `addr`", "write the server as HOST:PORT")
        else {
            continue;
        };
        let host = address::split_host_port(&addr).map_or("", |(host, _)| host);
        if host.is_empty() && !through_relay
            || address::check(&addr).is_err()
            || addr.ends_with(":0")
        {
            at.error(format!("{} is no server to register at", quote(&addr)))
                .help("write HOST:PORT, as 192.0.2.1:8421 or [2001:db8::1]:8421");
        } else if servers.contains(&addr) {
            at.warning(format!("{} is given twice", quote(&addr)));
        } else {
            servers.push(addr);
        }
    }
    servers
}

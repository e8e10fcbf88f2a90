//! Services with a `tun` handler that are an end of a UDP tunnel: which end, and what both have in common.

mod client;
mod server;
mod tap;

use super::{Context, device, sockets};
use crate::{
    address,
    schema::{
        Field, Setting, device_listener, forwarder, handler, hop, service, target, tun_handler,
        tun_listener,
    },
    value::Cursor,
};
use rtun_settings::{DeviceRoute, DeviceSettings, LocatedRow};

pub(super) use client::read as client;
pub(super) use server::read as server;
pub(super) use tap::read as tap;

/// The longest packet that fits into a datagram, over IPv4 and IPv6 alike, in bytes.
const MAX_MTU: u16 = 65_479;

/// What a `tun` service is.
pub(super) enum TunRole {
    /// A host of a routing tunnel.
    Host,
    /// The server of a UDP tunnel: it has no forwarder.
    Server,
    /// A client of a UDP tunnel: its forwarder's nodes have ports.
    Client,
}

/// What the `tun` service at `at` is; what is neither is a host, whose reader says what is wrong.
pub(super) fn role(at: &Cursor<'_>, context: &Context<'_>) -> TunRole {
    let Some(forwarder) = at.filled(&service::FORWARDER) else {
        let handler = at.get(&service::HANDLER);
        let names_chain = handler.is_some_and(|handler| handler.filled(&handler::CHAIN).is_some());
        let listens = at.read(&service::ADDR).is_some_and(|addr| addr != ":0");
        return if listens && !names_chain { TunRole::Server } else { TunRole::Host };
    };
    let has_port = |node: &Cursor<'_>| {
        node.read(&target::ADDR).is_some_and(|addr| address::split_host_port(&addr).is_some())
    };
    if nodes(&forwarder, context).iter().any(has_port) { TunRole::Client } else { TunRole::Host }
}

/// The nodes of the forwarder's hop, which may be one of `hops`. That a named one is missing is said where it is resolved.
fn nodes<'a>(forwarder: &Cursor<'a>, context: &Context<'a>) -> Vec<Cursor<'a>> {
    let Some(hop) = forwarder.filled(&forwarder::HOP) else {
        return forwarder.items_of(&forwarder::NODES);
    };
    let hop = hop.read().and_then(|name| context.names.hops.get(&name));
    hop.map(|hop| hop.items_of(&hop::NODES)).unwrap_or_default()
}

/// Says of a key of another role that it changes nothing, and `why`.
fn without_effect<S>(at: &Cursor<'_>, field: &Field<S>, why: &str) {
    if let Some(found) = at.get(field) {
        found.key().info(format!("`{}` has no effect here: {why}", written(&found)));
    }
}

/// The key as it was written.
fn written<S>(found: &Setting<'_, S>) -> String {
    let path = &found.path;
    path.split_once("metadata.").map_or(&**path, |(_, key)| key).to_owned()
}

/// Says of a client's keys that they change nothing, and `why`.
fn without_client_keys(handler: &Cursor<'_>, why: &str) {
    without_effect(handler, &tun_handler::KEEPALIVE, why);
    without_effect(handler, &tun_handler::TTL, why);
    without_effect(handler, &tun_handler::TOKEN, why);
}

/// Says of a server's keys that they change nothing, and `why`.
fn without_server_keys(handler: &Cursor<'_>, why: &str) {
    without_effect(handler, &tun_handler::P2P, why);
    without_effect(handler, &tun_handler::ALLOW, why);
}

/// Reports what a host has of a UDP tunnel's keys.
pub(super) fn without_effect_on_host(handler: &Cursor<'_>, listener: &Cursor<'_>) {
    let why = "it belongs to a UDP tunnel; a host keeps its connection alive itself";
    without_client_keys(handler, why);
    without_server_keys(handler, why);
    if let Some(router) = listener.get(&tun_listener::ROUTER) {
        router
            .key()
            .error("a host has no router: that is for the server of a UDP tunnel")
            .help("write the host's routes as `routes`");
    }
}

/// The device of the service at `at`, in the service's network namespace, and where its routes are written.
fn tunnel_device(
    at: &Cursor<'_>,
    listener: &Cursor<'_>,
) -> (DeviceSettings, Vec<LocatedRow<DeviceRoute>>) {
    let (device, routes) = device::read_with_routes(listener, sockets::netns_of(at));
    let why = "a datagram is one packet";
    without_effect(listener, &tun_listener::GSO_FRAMES, why);
    if device.mtu > MAX_MTU {
        let message =
            format!("the MTU is {}; a datagram carries at most {MAX_MTU} bytes", device.mtu);
        let help = "leave it out: 1420 bytes fit everywhere";
        listener.place_of(&device_listener::MTU).error(message).help(help);
    }
    (device, routes)
}

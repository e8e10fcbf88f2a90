//! Services with a `tun` handler: which device, which name, which hubs.

use std::net::IpAddr;

use rtun_core::HostName;

use super::{
    Context,
    chain::{self, ChainEnd},
    device, limiters, selector, sockets, tables, udp_tunnel, volumes,
};
use crate::{
    address,
    findings::Code,
    location::quote,
    schema::{device_listener, forwarder, handler, hop, service, service_metadata, target},
    value::Cursor,
};
use rtun_settings::{HostLimits, HostSettings};

/// What a GOST hub takes unless configured, in bytes: longer packets are cut off there.
const GOST_MTU: u16 = 4096;

pub(super) fn read(at: &Cursor<'_>, context: &Context<'_>) -> Option<HostSettings> {
    let handler = at.get(&service::HANDLER)?;
    let listener = at.get(&service::LISTENER)?;
    without_effect(at, &handler);
    udp_tunnel::without_effect_on_host(&handler, &listener);
    let name = host_name(at, context);
    let device = device::read(&listener, sockets::netns_of(at));
    let ignore_chain = at.get(&service_metadata::IGNORE_CHAIN);
    let chain = match ignore_chain.filter(|at| at.read() == Some(true)) {
        Some(at) => at.key().refuse("`ignoreChain` leaves this host without a hub", "remove it"),
        None => chain::read(at, &handler, ChainEnd::Hub, context),
    };
    if device.mtu > GOST_MTU {
        let message = format!("an MTU of {} is more than a GOST hub takes", device.mtu);
        listener
            .place_of(&device_listener::MTU)
            .coded(Code::C27, message)
            .help(format!("keep to {GOST_MTU} and less unless every hub is rtun"));
    }
    let chain = chain?;
    let host = HostSettings {
        name: name?,
        device,
        hubs: chain.hubs,
        selector: chain.selector,
        plugin: chain.plugin,
        proxies: chain.proxies,
        group: chain.group,
        lookups: chain.lookups,
        retries: handler.count(&handler::RETRIES),
        dial_timeout: at.read(&service_metadata::DIAL_TIMEOUT),
        limits: HostLimits {
            traffic: limiters::of_host(at, &handler, context),
            volumes: volumes::of_service(at, context),
        },
    };
    if let Some(addr) = connects_to_itself(&host) {
        let message = format!(
            "{} is an address of this host too: no connection from here leaves this machine",
            quote(addr)
        );
        listener
            .place_of(&device_listener::NET)
            .warning(message)
            .help("give the host another address, or write the hub's right one");
    }
    Some(host)
}

/// What is for hubs only.
fn without_effect(at: &Cursor<'_>, handler: &Cursor<'_>) {
    let addr = at.filled(&service::ADDR).filter(|addr| addr.read().as_deref() != Some(":0"));
    if let Some(addr) = addr {
        addr.key().info("`addr` has no effect on a host: it only connects outwards");
    }
    for field in [handler::AUTHER.any(), handler::AUTHERS.any(), handler::AUTH.any()] {
        let Some(at) = handler.filled(&field) else { continue };
        let key = field.name();
        at.key().error(format!("`{key}` has no effect on a host: nobody connects to it")).help(
            "what the host proves itself with is the `auth` of its connector, in the chain's node",
        );
    }
    for field in [service::ADMISSION.any(), service::ADMISSIONS.any()] {
        let Some(at) = at.filled(&field) else { continue };
        at.key().info("an admission has no effect on a host: nobody connects to it");
    }
    if let Some(at) = at.filled(&service::LISTENERS) {
        let message = "`listeners` has no effect on a host: nobody connects to it";
        at.key().error(message).help("remove it");
    }
    if let Some(at) = at.filled(&service_metadata::PROXY_PROTOCOL) {
        at.key()
            .info("`proxyProtocol` has no effect here: nobody connects to a host")
            .help("what a host sends first to a hub or proxy is said in the metadata of its node");
    }
}

/// The address of a hub, or of a proxy before it, that is one of the host's own.
fn connects_to_itself(host: &HostSettings) -> Option<&str> {
    let HostSettings { device, hubs, proxies, .. } = host;
    let hubs = hubs.iter().filter(|hub| hub.sockets.netns == device.netns);
    let hubs = hubs.flat_map(|hub| &hub.endpoints).map(|endpoint| &*endpoint.addr);
    let proxies = proxies.first().into_iter().flat_map(|hop| &hop.nodes);
    let proxies = proxies.filter(|node| node.sockets.netns == device.netns);
    let mut direct: Box<dyn Iterator<Item = &str>> = match host.proxies.is_empty() {
        true => Box::new(hubs),
        false => Box::new(proxies.map(|node| &*node.addr)),
    };
    direct.find(|addr| {
        let host = address::split_host_port(addr).and_then(|(host, _)| host.parse::<IpAddr>().ok());
        host.is_some_and(|host| device.addresses.iter().any(|own| own.addr() == host))
    })
}

/// The address of the forwarder's only node.
fn host_name(at: &Cursor<'_>, context: &Context<'_>) -> Option<HostName> {
    const HELP: &str =
        "a host says its name with `forwarder: {nodes: [{addr: NAME}]}`, or -L tun:///NAME?net=...";
    let Some(forwarder) = at.filled(&service::FORWARDER) else {
        return at.refuse("the host has no name: it has no forwarder", HELP);
    };
    selector::of(&forwarder.object(&forwarder::SELECTOR));
    let nodes = match forwarder.filled(&forwarder::HOP) {
        Some(hop) => context.names.hops.resolve(&hop)?.1.items_of(&hop::NODES),
        None => forwarder.items_of(&forwarder::NODES),
    };
    let node = match &nodes[..] {
        [node] => node,
        [] => {
            let message = "the forwarder has no node: the host has no name";
            return forwarder.refuse(message, HELP);
        }
        [_, second, ..] => {
            let message = "the forwarder has several nodes: a host has one name";
            let help = "make a service for each name, or keep one node";
            return second.refuse(message, help);
        }
    };
    let Some(addr) = node.filled(&target::ADDR) else {
        let message = "the forwarder's node has no `addr`: the host has no name";
        return node.refuse(message, HELP);
    };
    let text = addr.read()?;
    if address::split_host_port(&text).is_some() {
        let message = format!(
            "{} has a port: this is GOST's UDP tunnel, which is not supported",
            quote(&text)
        );
        let help = "a host's name has no port; the hub's address belongs into a chain, or after \
                    -F router://";
        return addr.refuse(message, help);
    }
    if text.starts_with('[') && text.ends_with(']') {
        addr.warning(format!("the brackets are part of the name {}", quote(&text)))
            .help("write the name without them");
    }
    if has_percent_escape(&text) {
        addr.warning(format!("the percent escapes are part of the name {}", quote(&text)))
            .help("write the name as it is, with quotes around the URL where a shell needs them; a name has no blanks");
    }
    tables::host_name(&text, &addr)
}

/// Whether a `%` and two hexadecimal digits stand somewhere in `text`.
fn has_percent_escape(text: &str) -> bool {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    (0..bytes.len())
        .any(|at| bytes[at] == b'%' && is_digit(bytes.get(at + 1)) && is_digit(bytes.get(at + 2)))
}

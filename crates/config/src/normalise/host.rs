//! Services with a `tun` handler: which device, which name, which hubs.

mod chain;
mod node;

use std::net::IpAddr;

use rtun_core::HostName;

use super::{Context, device, selector, sockets, tables, udp_tunnel};
use crate::{
    address,
    findings::{Code, Report},
    location::quote,
    schema::{device_listener, forwarder, handler, hop, service, service_metadata, target},
    value::Cursor,
};
use rtun_settings::HostSettings;

/// What a GOST hub takes unless configured, in bytes: longer packets are cut off there.
const GOST_MTU: u16 = 4096;

pub(super) fn read(
    at: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<HostSettings> {
    let handler = at.get(&service::HANDLER)?;
    let listener = at.get(&service::LISTENER)?;
    without_effect(at, &handler, report);
    udp_tunnel::without_effect_on_host(&handler, &listener, report);
    let name = host_name(at, context, report);
    let netns = sockets::netns_of(at, report);
    let device = device::read(&listener, netns, report);
    let ignore_chain = at.get(&service_metadata::IGNORE_CHAIN);
    let chain = match ignore_chain.filter(|at| at.read() == Some(true)) {
        Some(at) => {
            report.refuse(at.key(), "`ignoreChain` leaves this host without a hub", "remove it")
        }
        None => chain::read(at, &handler, context, report),
    };
    let retries = handler.or_default(&handler::RETRIES).max(0);
    let (device, chain) = (device?, chain?);
    if device.mtu > GOST_MTU {
        let message = format!("an MTU of {} is more than a GOST hub takes", device.mtu);
        report
            .coded(Code::C27, listener.place_of(&device_listener::MTU), message)
            .help(format!("keep to {GOST_MTU} and less unless every hub is rtun"));
    }
    let host = HostSettings {
        name: name?,
        device,
        hubs: chain.hubs,
        selector: chain.selector,
        proxies: chain.proxies,
        retries: u32::try_from(retries).unwrap_or(u32::MAX),
        dial_timeout: at.read(&service_metadata::DIAL_TIMEOUT),
    };
    if let Some(addr) = connects_to_itself(&host) {
        let message = format!(
            "{} is an address of this host too: no connection from here leaves this machine",
            quote(addr)
        );
        report
            .warning(listener.place_of(&device_listener::NET), message)
            .help("give the host another address, or write the hub's right one");
    }
    Some(host)
}

/// What is for hubs only.
fn without_effect(at: &Cursor<'_>, handler: &Cursor<'_>, report: &mut Report) {
    if let Some(addr) =
        at.filled(&service::ADDR).filter(|addr| addr.read().as_deref() != Some(":0"))
    {
        report.info(addr.key(), "`addr` has no effect on a host: it only connects outwards");
    }
    for key in [handler::AUTHER.name(), handler::AUTHERS.name(), handler::AUTH.name()] {
        let Some(at) = handler.child_named(key).filter(|at| !at.value.is_unset()) else { continue };
        report
            .error(at.key(), format!("`{key}` has no effect on a host: nobody connects to it"))
            .help(
                "what the host proves itself with is the `auth` of its connector, in the chain's \
                 node",
            );
    }
    for key in [service::ADMISSION.name(), service::ADMISSIONS.name()] {
        let Some(at) = at.child_named(key).filter(|at| !at.value.is_unset()) else { continue };
        report.info(at.key(), "an admission has no effect on a host: nobody connects to it");
    }
    if let Some(at) = at.filled(&service::LISTENERS) {
        let message = "`listeners` has no effect on a host: nobody connects to it";
        report.error(at.key(), message).help("remove it");
    }
    if let Some(at) = at.filled(&service_metadata::PROXY_PROTOCOL) {
        report
            .info(at.key(), "`proxyProtocol` has no effect here: nobody connects to a host")
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
fn host_name(at: &Cursor<'_>, context: &Context<'_>, report: &mut Report) -> Option<HostName> {
    const HELP: &str =
        "a host says its name with `forwarder: {nodes: [{addr: NAME}]}`, or -L tun:///NAME?net=...";
    let Some(forwarder) = at.filled(&service::FORWARDER) else {
        return report.refuse(at, "the host has no name: it has no forwarder", HELP);
    };
    if let Some(selector) = forwarder.get(&forwarder::SELECTOR) {
        selector::of(Some(selector), report);
    }
    let nodes = match forwarder.filled(&forwarder::HOP) {
        Some(hop) => context.names.hops.resolve(&hop, report)?.1.items_of(&hop::NODES),
        None => forwarder.items_of(&forwarder::NODES),
    };
    let node = match &nodes[..] {
        [node] => node,
        [] => {
            let message = "the forwarder has no node: the host has no name";
            return report.refuse(&forwarder, message, HELP);
        }
        [_, second, ..] => {
            let message = "the forwarder has several nodes: a host has one name";
            let help = "make a service for each name, or keep one node";
            return report.refuse(second, message, help);
        }
    };
    let Some(addr) = node.filled(&target::ADDR) else {
        let message = "the forwarder's node has no `addr`: the host has no name";
        return report.refuse(node, message, HELP);
    };
    let text = addr.read()?;
    if address::split_host_port(&text).is_some() {
        let message = format!(
            "{} has a port: this is GOST's UDP tunnel, which is not supported",
            quote(&text)
        );
        let help = "a host's name has no port; the hub's address belongs into a chain, or after \
                    -F router://";
        return report.refuse(&addr, message, help);
    }
    if text.starts_with('[') && text.ends_with(']') {
        report
            .warning(&addr, format!("the brackets are part of the name {}", quote(&text)))
            .help("write the name without them");
    }
    if has_percent_escape(&text) {
        report
            .warning(&addr, format!("the percent escapes are part of the name {}", quote(&text)))
            .help("write the name as it is, with quotes around the URL where a shell needs them; a name has no blanks");
    }
    tables::host_name(&text, &addr, report)
}

/// Whether a `%` and two hexadecimal digits stand somewhere in `text`.
fn has_percent_escape(text: &str) -> bool {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    (0..bytes.len())
        .any(|at| bytes[at] == b'%' && is_digit(bytes.get(at + 1)) && is_digit(bytes.get(at + 2)))
}

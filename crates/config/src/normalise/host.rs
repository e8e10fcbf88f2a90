//! Services with a `tun` handler: which device, which name, which hubs.

mod chain;
mod device;
mod node;
mod selector;

use std::net::IpAddr;

use rtun_core::HostName;

use super::{Context, sockets, udp_tunnel};
use crate::{
    address,
    coerce::Place,
    findings::{At, Code, Report, quote},
    value::Cursor,
};
use rtun_settings::{DeviceSettings, HostSettings};

pub(super) use device::read as device;

/// A forwarder's selector, which chooses nothing where there is one node, or where they are tried in order.
pub(super) fn check_selector(at: &Cursor<'_>, report: &mut Report) {
    selector::of(Some(at), report);
}

/// What a GOST hub takes unless configured, in bytes: longer packets are cut off there.
const GOST_MTU: u16 = 4096;

pub(super) fn read(
    at: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<HostSettings> {
    let handler = at.get("handler")?;
    let listener = at.get("listener")?;
    if let Some(addr) = at.filled("addr") {
        let text = report.text(&addr)?;
        if !text.is_empty() && text != ":0" {
            report.info(addr.key(), "`addr` has no effect on a host: it only connects outwards");
        }
    }
    for key in ["auther", "authers", "auth"] {
        if let Some(at) = handler.filled(key) {
            report
                .error(at.key(), format!("`{key}` has no effect on a host: nobody connects to it"))
                .help(
                    "what the host proves itself with is the `auth` of its connector, in the \
                     chain's node",
                );
        }
    }
    for key in ["admission", "admissions"] {
        if let Some(at) = at.filled(key) {
            let message = "an admission has no effect on a host: nobody connects to it";
            report.info(at.key(), message);
        }
    }
    if let Some(at) = at.filled("listeners") {
        let message = "`listeners` has no effect on a host: nobody connects to it";
        report.error(at.key(), message).help("remove it");
    }
    udp_tunnel::of_a_host(&handler, &listener, report);
    let name = host_name(at, context, report);
    let device = device::read(&listener, report);
    let metadata = at.get("metadata");
    let get = |key| metadata.as_ref().and_then(|m| m.get(key));
    let dial_timeout = get("dialTimeout").and_then(|at| report.span(&at, Place::Metadata));
    let ignore_chain = get("ignoreChain").filter(|at| report.boolean(at) == Some(true));
    let chain = match ignore_chain {
        Some(at) => {
            report
                .error(at.key(), "`ignoreChain` leaves this host without a hub")
                .help("remove it");
            None
        }
        None => chain::read(at, &handler, context, report),
    };
    let retries = handler.get("retries").and_then(|at| report.integer(&at)).filter(|n| *n > 0);
    let netns = sockets::netns_of(at, report);
    if let Some(at) = get("proxyProtocol").filter(|at| !at.value.is_unset()) {
        report
            .info(at.key(), "`proxyProtocol` has no effect here: nobody connects to a host")
            .help("what a host sends first to a hub or proxy is said in the metadata of its node");
    }
    let device = DeviceSettings { netns, ..device? };
    let chain = chain?;
    if device.mtu > GOST_MTU {
        let mtu = listener.get("metadata").and_then(|m| m.first(&["mtu", "tun.mtu"]));
        report
            .coded(
                Code::C27,
                mtu.as_ref().map_or_else(|| At::from(&listener), At::from),
                format!("an MTU of {} is more than a GOST hub takes", device.mtu),
            )
            .help(format!("keep to {GOST_MTU} and less unless every hub is rtun"));
    }
    let host = HostSettings {
        name: name?,
        device,
        hubs: chain.hubs,
        selector: chain.selector,
        proxies: chain.proxies,
        retries: retries.map_or(0, |retries| u32::try_from(retries).unwrap_or(u32::MAX)),
        dial_timeout: dial_timeout.filter(|t| !t.is_zero()),
    };
    if let Some(addr) = connects_to_itself(&host) {
        let net = listener.get("metadata").and_then(|m| m.first(&["net", "tun.net"]));
        report
            .warning(
                net.as_ref().map_or_else(|| At::from(&listener), At::from),
                format!(
                    "{} is an address of this host too: no connection from here leaves this machine",
                    quote(addr)
                ),
            )
            .help("give the host another address, or write the hub's right one");
    }
    Some(host)
}

/// The address of a hub, or of a proxy before it, that is one of the host's own.
fn connects_to_itself(host: &HostSettings) -> Option<&str> {
    let HostSettings { device, hubs, proxies, .. } = host;
    let hubs = hubs.iter().filter(|hub| hub.sockets.netns == device.netns);
    let ways = hubs.flat_map(|hub| &hub.endpoints).map(|way| &*way.addr);
    let proxies = proxies.first().into_iter().flat_map(|hop| &hop.nodes);
    let proxies = proxies.filter(|node| node.sockets.netns == device.netns);
    let mut direct: Box<dyn Iterator<Item = &str>> = match host.proxies.is_empty() {
        true => Box::new(ways),
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
    let Some(forwarder) = at.filled("forwarder") else {
        report.error(at, "the host has no name: it has no forwarder").help(HELP);
        return None;
    };
    if let Some(selector) = forwarder.get("selector") {
        selector::of(Some(&selector), report);
    }
    let hop = forwarder.first(&["hop", "name"]).filter(|hop| !hop.value.is_unset());
    let nodes = match &hop {
        Some(hop) => context.names.hops.resolve(hop, report)?.1.get("nodes"),
        None => forwarder.get("nodes"),
    };
    let nodes = nodes.iter().flat_map(Cursor::items).collect::<Vec<_>>();
    let node = match &nodes[..] {
        [node] => node,
        [] => {
            report.error(&forwarder, "the forwarder has no node: the host has no name").help(HELP);
            return None;
        }
        [_, second, ..] => {
            report
                .error(second, "the forwarder has several nodes: a host has one name")
                .help("make a service for each name, or keep one node");
            return None;
        }
    };
    let Some(addr) = node.filled("addr") else {
        report.error(node, "the forwarder's node has no `addr`: the host has no name").help(HELP);
        return None;
    };
    let text = report.text(&addr)?;
    if address::split_host_port(&text).is_some() {
        report
            .error(
                &addr,
                format!(
                    "{} has a port: this is GOST's UDP tunnel, which is not supported",
                    quote(&text)
                ),
            )
            .help(
                "a host's name has no port; the hub's address belongs into a chain, or behind \
                 -F router://",
            );
        return None;
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
    HostName::new(&text)
        .map_err(|error| {
            report.error(&addr, format!("{} is no host name: {error}", quote(&text)));
        })
        .ok()
}

/// Whether a `%` and two hexadecimal digits stand somewhere in `text`.
fn has_percent_escape(text: &str) -> bool {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    (0..bytes.len())
        .any(|at| bytes[at] == b'%' && is_digit(bytes.get(at + 1)) && is_digit(bytes.get(at + 2)))
}

//! How sockets are opened: interfaces, `SO_MARK`, network namespaces, PROXY preambles.

use crate::{
    location::quote,
    schema::{
        CommaTexts, Field, Int, OneText, Setting, node, node_metadata, service_metadata,
        socket_fields, sockopts, tcp_dialer,
    },
    value::Cursor,
};
use rtun_settings::{Bind, Interface, NetworkNamespace, ProxyProtocol, SocketOptions};

/// The longest name of a device, in bytes.
const MAX_NAME: usize = 15;

/// What Linux takes for `TCP_MAXSEG`.
const SEGMENT_MAX: std::ops::RangeInclusive<u16> = 88..=32_767;

/// What the node, else its hop, else the service says of each option.
pub(super) fn options<'a>(
    node: &Cursor<'a>,
    hop: &Cursor<'a>,
    service: &Cursor<'a>,
) -> SocketOptions {
    let interface = |at| interface(at, &node_metadata::INTERFACE);
    let interface = interface(node).or_else(|| interface(hop)).or_else(|| interface_of(service));
    let so_mark = |at| written_so_mark(at, &node_metadata::SO_MARK);
    let so_mark = so_mark(node).or_else(|| so_mark(hop));
    let so_mark = so_mark.or_else(|| written_so_mark(service, &service_metadata::SO_MARK));
    let netns =
        |at: &Cursor<'a>| set(at.get(&node_metadata::NETNS).or_else(|| at.get(&node::NETNS)));
    let netns = netns(node).or_else(|| netns(hop));
    let netns = netns.or_else(|| service.filled(&service_metadata::NETNS_OUT));
    SocketOptions {
        interfaces: interface.map(|at| interfaces(&at)).unwrap_or_default(),
        so_mark: so_mark.and_then(|at| self::so_mark(&at)),
        netns: netns.and_then(|at| namespace(&at)),
        mptcp: uses_mptcp(node),
    }
}

/// Whether one of the dialers of `node` has `mptcp`.
fn uses_mptcp(node: &Cursor<'_>) -> bool {
    let all = [node.object(&node::DIALER)].into_iter().chain(node.items_of(&node::DIALERS));
    all.into_iter().any(|dialer| dialer.or_default(&tcp_dialer::MPTCP))
}

/// What the service at `at` says of each option.
pub(super) fn of_service(at: &Cursor<'_>) -> SocketOptions {
    SocketOptions {
        interfaces: interface_of(at).map(|at| interfaces(&at)).unwrap_or_default(),
        so_mark: so_mark_of(at),
        netns: at.filled(&service_metadata::NETNS_OUT).and_then(|at| namespace(&at)),
        mptcp: false,
    }
}

/// In the metadata by `field`, or in the old place.
fn interface<'a>(at: &Cursor<'a>, field: &Field<CommaTexts>) -> Option<Setting<'a, CommaTexts>> {
    set(at.get(field).or_else(|| at.get(&socket_fields::INTERFACE)))
}

/// Likewise.
fn written_so_mark<'a>(at: &Cursor<'a>, field: &Field<Int>) -> Option<Setting<'a, Int>> {
    set(at.get(field).or_else(|| at.object(&socket_fields::SOCKOPTS).get(&sockopts::SO_MARK)))
}

fn set<S>(found: Option<Setting<'_, S>>) -> Option<Setting<'_, S>> {
    found.filter(|at| !at.value.is_unset())
}

/// The interface of the service at `at`.
pub(super) fn interface_of<'a>(at: &Cursor<'a>) -> Option<Setting<'a, CommaTexts>> {
    interface(at, &service_metadata::INTERFACE)
}

/// The `so_mark` or `sockopts` of the service at `at`.
pub(super) fn so_mark_of(at: &Cursor<'_>) -> Option<u32> {
    so_mark(&written_so_mark(at, &service_metadata::SO_MARK)?)
}

/// The `netns` in the metadata of the service at `at`.
pub(super) fn netns_of(at: &Cursor<'_>) -> Option<NetworkNamespace> {
    namespace(&at.filled(&service_metadata::NETNS)?)
}

fn interfaces(at: &Setting<'_, CommaTexts>) -> Vec<Interface> {
    let mut interfaces = Vec::new();
    for (text, at) in at.read().unwrap_or_default() {
        let (name, strict) = match text.strip_suffix('!') {
            Some(name) => (name, true),
            None => (text.as_str(), false),
        };
        if name == "auto" {
            at.info("`auto` has no effect: nobody connects to a host");
            continue;
        }
        // A socket bound to a link-local address is on the interface of the peer it connects to.
        let address = name.split_once('%').map_or(name, |(address, _)| address);
        let bind = match address.parse() {
            Ok(address) => Bind::Address(address),
            Err(_) if !is_device_name(name) => {
                at.error(format!("{} is neither a device nor an address", quote(name)))
                    .help("write for example `eth0`, `eth0!` or `192.0.2.1`");
                continue;
            }
            Err(_) => Bind::Device(name.to_owned()),
        };
        interfaces.push(Interface { bind, strict });
    }
    interfaces
}

/// Whether the kernel takes `name` for a device.
pub(super) fn is_device_name(name: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
    !name.is_empty() && name.len() <= MAX_NAME && !name.contains(bad)
}

/// The `mss` of a dialer; `None` if there is none, or after an error was reported.
pub(super) fn segment_max(dialer: &Cursor<'_>) -> Option<u16> {
    let at = dialer.filled(&tcp_dialer::MSS)?;
    let number = at.read()?;
    let bytes = u16::try_from(number).ok().filter(|bytes| SEGMENT_MAX.contains(bytes));
    let help = "write 88 to 32767 bytes; 1220 passes wherever IPv6 does";
    bytes.or_else(|| at.refuse(format!("{number} is no size of TCP segments"), help))
}

fn so_mark(at: &Setting<'_, Int>) -> Option<u32> {
    let number = at.read()?;
    let so_mark = u32::try_from(number).ok();
    so_mark.or_else(|| at.refuse(format!("{number} is no `so_mark`"), "write 1 to 4294967295"))
}

/// A path if it begins with a slash, as in GOST.
fn namespace(at: &Setting<'_, OneText>) -> Option<NetworkNamespace> {
    let text = at.read()?;
    if text.starts_with('/') {
        return Some(NetworkNamespace::Path(text.into()));
    }
    if text.contains(|c: char| c == '/' || c.is_control()) || matches!(text.as_str(), "." | "..") {
        let message = format!("{} is no network namespace", quote(&text));
        let help = "write a name of `ip netns`, or the path of a file that begins with a slash";
        return at.refuse(message, help);
    }
    Some(NetworkNamespace::Named(text))
}

/// The `proxyProtocol` of a node, or else of its hop.
pub(super) fn preamble(node: &Cursor<'_>, hop: &Cursor<'_>) -> Option<ProxyProtocol> {
    let field = &node_metadata::PROXY_PROTOCOL;
    let at = node.filled(field).or_else(|| hop.filled(field))?;
    match at.read()? {
        ..=0 => None,
        1 => Some(ProxyProtocol::V1),
        2 => Some(ProxyProtocol::V2),
        number => {
            let message = format!("there is no version {number} of the PROXY protocol");
            at.refuse(message, "write 1 or 2")
        }
    }
}

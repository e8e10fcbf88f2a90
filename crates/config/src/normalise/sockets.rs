//! How sockets are opened: interfaces, `SO_MARK`, network namespaces, PROXY preambles.

use crate::{
    findings::Report,
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

/// Where socket options may stand: in the metadata of `at` by these fields, or in old fields of `at` itself.
struct Level<'a> {
    at: &'a Cursor<'a>,
    interface: Field<CommaTexts>,
    so_mark: Field<Int>,
    netns: Field<OneText>,
    old_netns: Option<Field<OneText>>,
}

impl<'a> Level<'a> {
    fn service(at: &'a Cursor<'a>) -> Self {
        Self {
            at,
            interface: service_metadata::INTERFACE,
            so_mark: service_metadata::SO_MARK,
            netns: service_metadata::NETNS_OUT,
            old_netns: None,
        }
    }

    fn hop_or_node(at: &'a Cursor<'a>) -> Self {
        Self {
            at,
            interface: node_metadata::INTERFACE,
            so_mark: node_metadata::SO_MARK,
            netns: node_metadata::NETNS,
            old_netns: Some(node::NETNS),
        }
    }

    fn interface(&self) -> Option<Setting<'a, CommaTexts>> {
        let old = || self.at.get(&socket_fields::INTERFACE);
        set(self.at.get(&self.interface).or_else(old))
    }

    fn so_mark(&self) -> Option<Setting<'a, Int>> {
        let old = || self.at.get(&socket_fields::SOCKOPTS)?.get(&sockopts::SO_MARK);
        set(self.at.get(&self.so_mark).or_else(old))
    }

    fn netns(&self) -> Option<Setting<'a, OneText>> {
        let old = || self.at.get(self.old_netns.as_ref()?);
        set(self.at.get(&self.netns).or_else(old))
    }
}

fn set<S>(found: Option<Setting<'_, S>>) -> Option<Setting<'_, S>> {
    found.filter(|at| !at.value.is_unset())
}

/// What the node, else its hop, else the service says of each option.
pub(super) fn options(
    node: &Cursor<'_>,
    hop: &Cursor<'_>,
    service: &Cursor<'_>,
    report: &mut Report,
) -> SocketOptions {
    let levels = [Level::hop_or_node(node), Level::hop_or_node(hop), Level::service(service)];
    first(&levels, report)
}

/// What the service at `at` says of each option.
pub(super) fn of_service(at: &Cursor<'_>, report: &mut Report) -> SocketOptions {
    first(&[Level::service(at)], report)
}

/// Each option by the first level that has it.
fn first(levels: &[Level<'_>], report: &mut Report) -> SocketOptions {
    let interface = levels.iter().find_map(Level::interface);
    let so_mark = levels.iter().find_map(Level::so_mark);
    let netns = levels.iter().find_map(Level::netns);
    SocketOptions {
        interfaces: interface.map(|at| interfaces(&at, report)).unwrap_or_default(),
        so_mark: so_mark.and_then(|at| self::so_mark(&at, report)),
        netns: netns.and_then(|at| namespace(&at, report)),
    }
}

/// The interface of the service at `at`.
pub(super) fn interface_of<'a>(at: &'a Cursor<'a>) -> Option<Setting<'a, CommaTexts>> {
    Level::service(at).interface()
}

/// The `so_mark` or `sockopts` of the service at `at`.
pub(super) fn so_mark_of(at: &Cursor<'_>, report: &mut Report) -> Option<u32> {
    so_mark(&Level::service(at).so_mark()?, report)
}

/// The `netns` in the metadata of the service at `at`.
pub(super) fn netns_of(at: &Cursor<'_>, report: &mut Report) -> Option<NetworkNamespace> {
    namespace(&at.filled(&service_metadata::NETNS)?, report)
}

fn interfaces(at: &Setting<'_, CommaTexts>, report: &mut Report) -> Vec<Interface> {
    let mut interfaces = Vec::new();
    for (text, at) in at.read().unwrap_or_default() {
        let (name, strict) = match text.strip_suffix('!') {
            Some(name) => (name, true),
            None => (text.as_str(), false),
        };
        if name == "auto" {
            report.info(&at, "`auto` has no effect: nobody connects to a host");
            continue;
        }
        // A socket bound to a link-local address is on the interface of the peer it connects to.
        let address = name.split_once('%').map_or(name, |(address, _)| address);
        let bind = match address.parse() {
            Ok(address) => Bind::Address(address),
            Err(_) if !is_device_name(name) => {
                report
                    .error(&at, format!("{} is neither a device nor an address", quote(name)))
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
pub(super) fn segment_max(dialer: &Cursor<'_>, report: &mut Report) -> Option<u16> {
    let at = dialer.filled(&tcp_dialer::MSS)?;
    let number = at.read()?;
    let bytes = u16::try_from(number).ok().filter(|bytes| SEGMENT_MAX.contains(bytes));
    if bytes.is_none() {
        report
            .error(&at, format!("{number} is no size of TCP segments"))
            .help("write 88 to 32767 bytes; 1220 passes wherever IPv6 does");
    }
    bytes
}

fn so_mark(at: &Setting<'_, Int>, report: &mut Report) -> Option<u32> {
    let number = at.read()?;
    let so_mark = u32::try_from(number).ok();
    if so_mark.is_none() {
        report.error(at, format!("{number} is no `so_mark`")).help("write 1 to 4294967295");
    }
    so_mark
}

/// A path if it begins with a slash, as in GOST.
fn namespace(at: &Setting<'_, OneText>, report: &mut Report) -> Option<NetworkNamespace> {
    let text = at.read()?;
    if text.starts_with('/') {
        return Some(NetworkNamespace::Path(text.into()));
    }
    if text.contains(|c: char| c == '/' || c.is_control()) || matches!(text.as_str(), "." | "..") {
        let message = format!("{} is no network namespace", quote(&text));
        let help = "write a name of `ip netns`, or the path of a file that begins with a slash";
        return report.refuse(at, message, help);
    }
    Some(NetworkNamespace::Named(text))
}

/// The `proxyProtocol` of a node, or else of its hop.
pub(super) fn preamble(
    node: &Cursor<'_>,
    hop: &Cursor<'_>,
    report: &mut Report,
) -> Option<ProxyProtocol> {
    let field = &node_metadata::PROXY_PROTOCOL;
    let at = node.filled(field).or_else(|| hop.filled(field))?;
    match at.read()? {
        ..=0 => None,
        1 => Some(ProxyProtocol::V1),
        2 => Some(ProxyProtocol::V2),
        number => {
            let message = format!("there is no version {number} of the PROXY protocol");
            report.refuse(&at, message, "write 1 or 2")
        }
    }
}

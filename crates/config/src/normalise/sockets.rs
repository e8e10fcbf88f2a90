//! How sockets are opened: interfaces, marks, network namespaces, PROXY preambles.

use crate::{
    findings::{At, Report, quote},
    value::Cursor,
};
use rtun_settings::{Bind, Interface, NetworkNamespace, ProxyProtocol, SocketOptions};

/// The longest name of a device, in bytes.
const MAX_NAME: usize = 15;

/// What Linux takes for `TCP_MAXSEG`.
const SEGMENT_MAX: std::ops::RangeInclusive<u16> = 88..=32_767;

/// An object with `interface`, `sockopts`, `netns` and `metadata`, and the key of the last in that.
pub(super) struct Level<'a> {
    at: &'a Cursor<'a>,
    /// `netns`, or `netns.out` of a service.
    netns: &'static str,
}

impl<'a> Level<'a> {
    pub(super) fn service(at: &'a Cursor<'a>) -> Self {
        Self { at, netns: "netns.out" }
    }

    pub(super) fn hop_or_node(at: &'a Cursor<'a>) -> Self {
        Self { at, netns: "netns" }
    }

    /// The value of `key` in the metadata, else of the field, if either is set.
    fn either(&self, key: &str, field: Option<Cursor<'a>>) -> Option<Cursor<'a>> {
        let metadata = self.at.get("metadata").and_then(|metadata| metadata.get(key));
        metadata.or(field).filter(|at| !at.value.is_unset())
    }
}

/// What the most exact of `levels`, which come in that order, says of each option.
pub(super) fn options(levels: &[Level<'_>], report: &mut Report) -> SocketOptions {
    let interface =
        levels.iter().find_map(|level| level.either("interface", level.at.get("interface")));
    let mark = levels.iter().find_map(|level| {
        let field = level.at.get("sockopts").and_then(|options| options.get("mark"));
        level.either("so_mark", field)
    });
    let netns = levels.iter().find_map(|level| {
        let field = (level.netns == "netns").then(|| level.at.get("netns")).flatten();
        level.either(level.netns, field)
    });
    SocketOptions {
        interfaces: interface.map(|at| interfaces(&at, report)).unwrap_or_default(),
        mark: mark.and_then(|at| self::mark(&at, report)),
        netns: netns.and_then(|at| namespace(&at, report)),
    }
}

/// The `so_mark` or `sockopts` of the service at `at`.
pub(super) fn mark_of(at: &Cursor<'_>, report: &mut Report) -> Option<u32> {
    options(&[Level::service(at)], report).mark
}

/// The `netns` in the metadata of the service at `at`.
pub(super) fn netns_of(at: &Cursor<'_>, report: &mut Report) -> Option<NetworkNamespace> {
    let netns = at.get("metadata").and_then(|metadata| metadata.filled("netns"))?;
    namespace(&netns, report)
}

fn interfaces(at: &Cursor<'_>, report: &mut Report) -> Vec<Interface> {
    let mut interfaces = Vec::new();
    for (text, at) in report.texts(at, true) {
        let (name, strict) = match text.strip_suffix('!') {
            Some(name) => (name, true),
            None => (text.as_str(), false),
        };
        if name == "auto" {
            report.info(&at, "`auto` has no effect: nobody connects to a host");
            continue;
        }
        let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
        // A socket bound to a link-local address is on the interface of whom it is to reach.
        let address = name.split_once('%').map_or(name, |(address, _)| address);
        let bind = match address.parse() {
            Ok(address) => Bind::Address(address),
            Err(_) if name.is_empty() || name.len() > MAX_NAME || name.contains(bad) => {
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

/// The `mss` in the metadata of a dialer; `None` if there is none, or after an error was reported.
pub(super) fn segment_max(dialer: &Cursor<'_>, report: &mut Report) -> Option<u16> {
    let at = dialer.get("metadata").and_then(|metadata| metadata.filled("mss"))?;
    let number = report.integer(&at)?;
    let bytes = u16::try_from(number).ok().filter(|bytes| SEGMENT_MAX.contains(bytes));
    if bytes.is_none() {
        report
            .error(&at, format!("{number} is no size of TCP segments"))
            .help("write 88 to 32767 bytes; 1220 passes wherever IPv6 does");
    }
    bytes
}

fn mark(at: &Cursor<'_>, report: &mut Report) -> Option<u32> {
    let number = report.integer(at)?;
    let mark = u32::try_from(number).ok();
    if mark.is_none() {
        report.error(at, format!("{number} is no mark")).help("a mark is 1 to 4294967295");
    }
    mark
}

/// A path if it begins with a slash, as in GOST.
fn namespace(at: &Cursor<'_>, report: &mut Report) -> Option<NetworkNamespace> {
    let text = report.text(at)?;
    if text.starts_with('/') {
        return Some(NetworkNamespace::Path(text.into()));
    }
    if text.contains(|c: char| c == '/' || c.is_control()) || matches!(text.as_str(), "." | "..") {
        report
            .error(at, format!("{} is no network namespace", quote(&text)))
            .help("write a name of `ip netns`, or the path of a file that begins with a slash");
        return None;
    }
    Some(NetworkNamespace::Named(text))
}

/// The `proxyProtocol` of a node, of the most exact of `levels` that has one.
pub(super) fn preamble(levels: &[Level<'_>], report: &mut Report) -> Option<ProxyProtocol> {
    let at = levels.iter().find_map(|level| level.either("proxyProtocol", None))?;
    match report.integer(&at)? {
        ..=0 => None,
        1 => Some(ProxyProtocol::V1),
        2 => Some(ProxyProtocol::V2),
        number => {
            let message = format!("there is no version {number} of the PROXY protocol");
            report.error(At::from(&at), message).help("write 1 or 2");
            None
        }
    }
}

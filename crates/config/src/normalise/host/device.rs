//! The TUN device of a host, by the metadata of its listener.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    findings::{At, Report, quote},
    normalise::tables,
    value::Cursor,
};
use rtun_settings::{DeviceRoute, DeviceSettings};

/// Unless configured, in bytes.
const DEFAULT_MTU: u16 = 1420;
/// The smallest an IPv4 link may have (RFC 791).
const MIN_MTU: i64 = 68;
/// The smallest an IPv6 link may have (RFC 8200 section 5).
const MIN_MTU_V6: i64 = 1280;
/// The longest name the kernel takes, in bytes.
const MAX_NAME: usize = 15;

/// The device; `None` after an error was reported.
pub(in crate::normalise) fn read(
    listener: &Cursor<'_>,
    report: &mut Report,
) -> Option<DeviceSettings> {
    let metadata = listener.get("metadata");
    let get = |keys: &[&str]| metadata.as_ref().and_then(|m| m.first(keys));
    let name = device_name(get(&["name", "tun.name"]), report);
    let addresses = addresses(listener, get(&["net", "tun.net"]), report);
    let mtu = mtu(get(&["mtu", "tun.mtu"]), addresses.as_deref().unwrap_or(&[]), report);
    let gw_at = get(&["gw", "tun.gw"]).filter(|at| !at.value.is_unset());
    let gw = gw_at.as_ref().and_then(|at| {
        let text = report.text(at)?;
        address(&text, &At::from(at), "gateway", report)
    });
    let mut routes = Vec::new();
    if let Some(at) = get(&["route", "tun.route"]) {
        for (text, at) in report.texts(&at, true) {
            routes.extend(route(&text, None, gw, &at, report));
        }
    }
    if let Some(at) = get(&["routes", "tun.routes"]) {
        for (text, at) in report.texts(&at, true) {
            let mut words = text.split_whitespace();
            let (prefix, gateway) = (words.next(), words.next());
            if words.next().is_some() {
                report
                    .error(&at, format!("{} has more than a prefix and a gateway", quote(&text)))
                    .help("write `PREFIX` or `PREFIX GATEWAY`, one item for each route");
                continue;
            }
            routes.extend(prefix.and_then(|prefix| route(prefix, gateway, gw, &at, report)));
        }
    }
    let mut dns = Vec::new();
    if let Some(at) = get(&["dns", "tun.dns"]) {
        for (text, at) in report.texts(&at, true) {
            dns.extend(address(&text, &at, "name server", report));
        }
    }
    let offload = get(&["offload"]).and_then(|at| report.boolean(&at)).unwrap_or(true);
    let gso_frames = get(&["superFrames"]).and_then(|at| report.boolean(&at)).unwrap_or(true);
    Some(DeviceSettings {
        name: name?,
        addresses: addresses?,
        mtu: mtu?,
        routes,
        dns,
        offload,
        gso_frames,
        netns: None,
    })
}

/// The outer `None` after an error was reported.
fn device_name(at: Option<Cursor<'_>>, report: &mut Report) -> Option<Option<String>> {
    let Some((at, name)) = at.and_then(|at| report.some_text(Some(&at)).map(|name| (at, name)))
    else {
        return Some(None);
    };
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
    if name.len() > MAX_NAME || name.contains(bad) || matches!(name.as_str(), "." | "..") {
        report
            .error(&at, format!("{} is no name of a device", quote(&name)))
            .help(format!("up to {MAX_NAME} bytes, without blanks, `/`, `:` and `%`"));
        return None;
    }
    Some(Some(name))
}

fn addresses(
    listener: &Cursor<'_>,
    at: Option<Cursor<'_>>,
    report: &mut Report,
) -> Option<Vec<IpNet>> {
    const HELP: &str = "write an address with its prefix length, as in 192.168.123.1/24";
    let Some(at) = at.filter(|at| !at.value.is_unset()) else {
        report
            .error(listener, "the device has no address")
            .help("add `net:` to the listener's metadata, as in `net: 192.168.123.1/24`");
        return None;
    };
    let mut addresses = Vec::new();
    let mut failed = false;
    for (text, at) in report.texts(&at, true) {
        match text.parse::<IpNet>() {
            Ok(net) if addresses.contains(&net) => {
                report.warning(&at, format!("{net} is given twice"));
            }
            Ok(net) if net.addr().is_unspecified() || net.addr().is_multicast() => {
                failed = true;
                report
                    .error(&at, format!("{} is no address a device can have", quote(&text)))
                    .help(HELP);
            }
            Ok(net) => addresses.push(net),
            Err(_) => {
                failed = true;
                let help = match text.parse::<IpAddr>() {
                    Ok(IpAddr::V4(_)) => format!("add the prefix length, as in {text}/24"),
                    Ok(IpAddr::V6(_)) => format!("add the prefix length, as in {text}/64"),
                    Err(_) => HELP.to_owned(),
                };
                report
                    .error(&at, format!("{} is no address with a prefix length", quote(&text)))
                    .help(help);
            }
        }
    }
    if addresses.is_empty() && !failed {
        report.error(&at, "the device has no address").help(HELP);
    }
    (!failed && !addresses.is_empty()).then_some(addresses)
}

fn mtu(at: Option<Cursor<'_>>, addresses: &[IpNet], report: &mut Report) -> Option<u16> {
    let Some(at) = at else { return Some(DEFAULT_MTU) };
    let number = report.integer(&at)?;
    let v6 = addresses.iter().any(|net| matches!(net, IpNet::V6(_)));
    let least = if v6 { MIN_MTU_V6 } else { MIN_MTU };
    match u16::try_from(number) {
        // As GOST: no MTU is the default one.
        _ if number <= 0 => Some(DEFAULT_MTU),
        Ok(mtu) if number >= least => Some(mtu),
        _ => {
            let why = if v6 { " with an IPv6 address" } else { "" };
            report.error(&at, format!("the MTU is {number}; it must be {least} to 65535{why}"));
            None
        }
    }
}

fn address(text: &str, at: &At, what: &str, report: &mut Report) -> Option<IpAddr> {
    text.parse()
        .map_err(|_| {
            report
                .error(at, format!("{} is no address of a {what}", quote(text)))
                .help("write an IP address");
        })
        .ok()
}

fn route(
    prefix: &str,
    gateway: Option<&str>,
    default: Option<IpAddr>,
    at: &At,
    report: &mut Report,
) -> Option<DeviceRoute> {
    let own = match gateway {
        Some(text) => Some(address(text, at, "gateway", report)?),
        None => None,
    };
    let prefix = tables::prefix(prefix, at, report)?;
    let same_family = |addr: &IpAddr| addr.is_ipv4() == prefix.addr().is_ipv4();
    if let Some(addr) = own.filter(|addr| !same_family(addr)) {
        let message = format!("the gateway {addr} of {prefix} is of the other IP version");
        report.error(at, message);
        return None;
    }
    // A default gateway of one version does not concern routes of the other.
    Some(DeviceRoute { prefix, gateway: own.or(default.filter(same_family)) })
}

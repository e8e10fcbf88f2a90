//! The TUN device of a host or of an end of a UDP tunnel, by the metadata of its listener.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{sockets::is_device_name, tables};
use crate::{
    findings::Report,
    location::{At, quote},
    schema::{device_listener, tun_listener},
    value::Cursor,
};
use rtun_settings::{DeviceRoute, DeviceSettings, NetworkNamespace};

/// The smallest an IPv4 link may have (RFC 791).
const MIN_MTU: i64 = 68;
/// The smallest an IPv6 link may have (RFC 8200 section 5).
const MIN_MTU_V6: i64 = 1280;

/// The device, which is made in `netns`; `None` after an error was reported.
pub(super) fn read(
    listener: &Cursor<'_>,
    netns: Option<NetworkNamespace>,
    report: &mut Report,
) -> Option<DeviceSettings> {
    let name = device_name(listener, report);
    let addresses = addresses(listener, report);
    let mtu = mtu(listener, addresses.as_deref().unwrap_or(&[]), report);
    let gw = listener.filled(&device_listener::GW);
    let gw = gw.and_then(|at| address(&at.read()?, &At::from(&at), "gateway", report));
    let texts = |field| listener.read(field).unwrap_or_default();
    let mut routes = Vec::new();
    for (text, at) in texts(&device_listener::ROUTE) {
        routes.extend(route(&text, None, gw, &at, report));
    }
    for (text, at) in texts(&device_listener::ROUTES) {
        let mut words = text.split_whitespace();
        let (prefix, gateway) = (words.next(), words.next());
        if words.next().is_some() {
            let message = format!("{} has more than a prefix and a gateway", quote(&text));
            report
                .error(&at, message)
                .help("write `PREFIX` or `PREFIX GATEWAY`, one item for each route");
            continue;
        }
        routes.extend(prefix.and_then(|prefix| route(prefix, gateway, gw, &at, report)));
    }
    let dns = texts(&device_listener::DNS);
    let dns = dns.iter().filter_map(|(text, at)| address(text, at, "name server", report));
    Some(DeviceSettings {
        dns: dns.collect(),
        name: name?,
        addresses: addresses?,
        mtu: mtu?,
        routes,
        offload: listener.or_default(&tun_listener::OFFLOAD),
        gso_frames: listener.or_default(&tun_listener::GSO_FRAMES),
        netns,
    })
}

/// The outer `None` after an error was reported.
fn device_name(listener: &Cursor<'_>, report: &mut Report) -> Option<Option<String>> {
    let Some(name) = listener.read(&device_listener::NAME) else { return Some(None) };
    if !is_device_name(&name) || matches!(name.as_str(), "." | "..") {
        let message = format!("{} is no name of a device", quote(&name));
        let help = "up to 15 bytes, without blanks, `/`, `:` and `%`";
        return report.refuse(listener.place_of(&device_listener::NAME), message, help);
    }
    Some(Some(name))
}

fn addresses(listener: &Cursor<'_>, report: &mut Report) -> Option<Vec<IpNet>> {
    const HELP: &str = "write an address with its prefix length, as in 192.168.123.1/24";
    let Some(at) = listener.filled(&device_listener::NET) else {
        let help = "add `net:` to the listener's metadata, as in `net: 192.168.123.1/24`";
        return report.refuse(listener, "the device has no address", help);
    };
    let mut addresses = Vec::new();
    let mut failed = false;
    for (text, at) in at.read().unwrap_or_default() {
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

fn mtu(listener: &Cursor<'_>, addresses: &[IpNet], report: &mut Report) -> Option<u16> {
    let field = &device_listener::MTU;
    // As GOST: no MTU is the default one.
    let number = listener.read(field).filter(|mtu| *mtu > 0).unwrap_or_else(|| field.default());
    let v6 = addresses.iter().any(|net| matches!(net, IpNet::V6(_)));
    let least = if v6 { MIN_MTU_V6 } else { MIN_MTU };
    let mtu = u16::try_from(number).ok().filter(|_| number >= least);
    if mtu.is_none() {
        let why = if v6 { " with an IPv6 address" } else { "" };
        let message = format!("the MTU is {number}; it must be {least} to 65535{why}");
        report.error(listener.place_of(field), message);
    }
    mtu
}

fn address(text: &str, at: &At, what: &str, report: &mut Report) -> Option<IpAddr> {
    let address = text.parse().ok();
    if address.is_none() {
        let message = format!("{} is no address of a {what}", quote(text));
        report.error(at, message).help("write an IP address");
    }
    address
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

//! The TUN device of a host or of an end of a UDP tunnel, by the metadata of its listener.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{located::Located, sockets::is_device_name, tables};
use crate::{
    location::quote,
    report::At,
    schema::{device_listener, tun_listener},
    value::Cursor,
};
use rtun_settings::{DeviceRoute, DeviceSettings, LocatedRow, NetworkNamespace};

/// The smallest an IPv4 link may have (RFC 791).
const MIN_MTU: u16 = 68;
/// The smallest an IPv6 link may have (RFC 8200 section 5).
const MIN_MTU_V6: u16 = 1280;

/// The device, which is made in `netns`.
pub(super) fn read(listener: &Cursor<'_>, netns: Option<NetworkNamespace>) -> DeviceSettings {
    read_with_routes(listener, netns).0
}

/// The same, and where its routes are written.
pub(super) fn read_with_routes(
    listener: &Cursor<'_>,
    netns: Option<NetworkNamespace>,
) -> (DeviceSettings, Vec<LocatedRow<DeviceRoute>>) {
    let addresses = addresses(listener);
    let gw = listener.filled(&device_listener::GW);
    let gw = gw.and_then(|at| address(&at.read()?, &at, "gateway"));
    let texts = |field| listener.read(field).unwrap_or_default();
    let mut routes = Vec::new();
    for (text, at) in texts(&device_listener::ROUTE) {
        routes.extend(route(&text, None, gw, &at).map(|route| at.row(route)));
    }
    for (text, at) in texts(&device_listener::ROUTES) {
        let read = match text.split_whitespace().collect::<Vec<_>>()[..] {
            [] => None,
            [prefix] => route(prefix, None, gw, &at),
            [prefix, gateway] => route(prefix, Some(gateway), gw, &at),
            _ => at.refuse(
                format!("{} has more than a prefix and a gateway", quote(&text)),
                "write `PREFIX` or `PREFIX GATEWAY`, one item for each route",
            ),
        };
        routes.extend(read.map(|route| at.row(route)));
    }
    let dns = texts(&device_listener::DNS);
    let dns = dns.iter().filter_map(|(text, at)| address(text, at, "name server"));
    let settings = DeviceSettings {
        name: device_name(listener),
        mtu: mtu(listener, &addresses),
        addresses,
        routes: routes.iter().map(|row| row.value.clone()).collect(),
        dns: dns.collect(),
        offload: listener.or_default(&device_listener::OFFLOAD),
        gso_frames: listener.or_default(&tun_listener::GSO_FRAMES),
        netns,
    };
    (settings, routes)
}

fn device_name(listener: &Cursor<'_>) -> Option<String> {
    let at = listener.get(&device_listener::NAME)?;
    let name = at.read()?;
    if is_device_name(&name) && !matches!(name.as_str(), "." | "..") {
        return Some(name);
    }
    let help = "up to 15 bytes, without blanks, `/`, `:` and `%`";
    at.refuse(format!("{} is no name of a device", quote(&name)), help)
}

/// At least one, unless an error was reported.
fn addresses(listener: &Cursor<'_>) -> Vec<IpNet> {
    const HELP: &str = "write an address with its prefix length, as in 192.168.123.1/24";
    let mut addresses = Vec::new();
    let Some(at) = listener.filled(&device_listener::NET) else {
        let help = "add `net:` to the listener's metadata, as in `net: 192.168.123.1/24`";
        listener.error("the device has no address").help(help);
        return addresses;
    };
    let texts = at.read().unwrap_or_default();
    if texts.is_empty() {
        at.error("the device has no address").help(HELP);
    }
    for (text, at) in texts {
        match text.parse::<IpNet>() {
            Ok(net) if addresses.contains(&net) => {
                at.warning(format!("{net} is given twice"));
            }
            Ok(net) if net.addr().is_unspecified() || net.addr().is_multicast() => {
                at.error(format!("{} is no address a device can have", quote(&text))).help(HELP);
            }
            Ok(net) => addresses.push(net),
            Err(_) => {
                let help = match text.parse::<IpAddr>() {
                    Ok(IpAddr::V4(_)) => format!("add the prefix length, as in {text}/24"),
                    Ok(IpAddr::V6(_)) => format!("add the prefix length, as in {text}/64"),
                    Err(_) => HELP.to_owned(),
                };
                at.error(format!("{} is no address with a prefix length", quote(&text))).help(help);
            }
        }
    }
    addresses
}

fn mtu(listener: &Cursor<'_>, addresses: &[IpNet]) -> u16 {
    // As GOST: no MTU is the default one.
    let field = &device_listener::MTU;
    let number = listener.read(field).filter(|mtu| *mtu > 0).unwrap_or_else(|| field.default());
    let v6 = addresses.iter().any(|net| matches!(net, IpNet::V6(_)));
    let least = if v6 { MIN_MTU_V6 } else { MIN_MTU };
    u16::try_from(number).ok().filter(|mtu| *mtu >= least).unwrap_or_else(|| {
        let why = if v6 { " with an IPv6 address" } else { "" };
        let message = format!("the MTU is {number}; it must be {least} to 65535{why}");
        listener.place_of(field).error(message);
        least
    })
}

fn address(text: &str, at: &At<'_>, what: &str) -> Option<IpAddr> {
    let help = "write an IP address";
    let address = text.parse().ok();
    address.or_else(|| at.refuse(format!("{} is no address of a {what}", quote(text)), help))
}

fn route(
    prefix: &str,
    gateway: Option<&str>,
    default: Option<IpAddr>,
    at: &At<'_>,
) -> Option<DeviceRoute> {
    let own = match gateway {
        Some(text) => Some(address(text, at, "gateway")?),
        None => None,
    };
    let prefix = tables::prefix(prefix, at)?;
    let same_family = |addr: &IpAddr| addr.is_ipv4() == prefix.addr().is_ipv4();
    if let Some(addr) = own.filter(|addr| !same_family(addr)) {
        at.error(format!("the gateway {addr} of {prefix} is of the other IP version"));
        return None;
    }
    // A default gateway of one version does not concern routes of the other.
    Some(DeviceRoute { prefix, gateway: own.or(default.filter(same_family)) })
}

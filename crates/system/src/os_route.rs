//! Routes of the system: reading all of them, adding and removing rtun's own.

use std::fmt;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::netlink::{LinkError, PROTOCOL, errno};

/// The table that every packet's route is looked up in.
pub(crate) const MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;

/// A route of the system.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OsRoute {
    /// Where packets go; bits after the prefix are ignored.
    pub destination: IpNet,
    /// The next hop, through whatever device reaches it; `None` means the tunnel's own device.
    pub gateway: Option<IpAddr>,
}

impl fmt::Display for OsRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination.trunc())?;
        match self.gateway {
            Some(gateway) => write!(f, " via {gateway}"),
            None => Ok(()),
        }
    }
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn of(net: &IpNet) -> Self {
        if net.addr().is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(crate) fn netlink(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }
}

/// A route of rtun's and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) route: OsRoute,
    pub(crate) table: u32,
    /// Among routes to the same destination the lowest wins; the system's own choice if none.
    pub(crate) metric: Option<u32>,
    /// The source address of packets that have none yet.
    pub(crate) source: Option<IpAddr>,
}

/// A route that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundRoute {
    /// Its gateway is `None` where packets go out directly.
    pub(crate) route: OsRoute,
    /// The device's index; none where there are several, or where it leads nowhere.
    pub(crate) through: Option<u32>,
    pub(crate) table: u32,
    pub(crate) metric: u32,
    pub(crate) protocol: u8,
}

impl FoundRoute {
    /// Whether the system made it, for an address.
    pub(crate) fn is_the_systems(&self) -> bool {
        self.protocol == u8::from(RouteProtocol::Kernel)
    }

    /// Whether an rtun made it.
    pub(crate) fn is_rtuns(&self) -> bool {
        self.protocol == PROTOCOL
    }
}

/// Which routes are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scope {
    table: Option<u32>,
    protocol: Option<u8>,
    through: Option<u32>,
}

impl Scope {
    /// The whole main table.
    pub(crate) fn main() -> Self {
        Self { table: Some(MAIN), ..Self::default() }
    }

    /// What in the main table leads through the device `index`.
    pub(crate) fn main_through(index: u32) -> Self {
        Self { table: Some(MAIN), through: Some(index), ..Self::default() }
    }

    /// What any rtun has made, in all tables.
    pub(crate) fn of_rtuns() -> Self {
        Self { protocol: Some(PROTOCOL), ..Self::default() }
    }

    fn has(&self, found: &FoundRoute) -> bool {
        self.table.is_none_or(|table| table == found.table)
            && self.protocol.is_none_or(|protocol| protocol == found.protocol)
            && self.through.is_none_or(|index| Some(index) == found.through)
    }
}

/// The unicast routes of a family within `scope`.
pub(crate) async fn list(
    handle: &Handle,
    family: Family,
    scope: Scope,
) -> Result<Vec<FoundRoute>, LinkError> {
    let mut question = RouteMessage::default();
    question.header.address_family = family.netlink();
    question.header.table = scope.table.and_then(|table| table.try_into().ok()).unwrap_or_default();
    question.header.protocol = scope.protocol.unwrap_or_default().into();
    question.attributes.extend(scope.through.map(RouteAttribute::Oif));
    let mut found = Vec::new();
    let mut answers = handle.route().get(question).execute();
    loop {
        match answers.try_next().await {
            // A system without the family answers with the other.
            Ok(Some(message)) if message.header.address_family == family.netlink() => {
                found.extend(parse(&message).filter(|found| scope.has(found)));
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(found),
            // A table without a route need not exist, nor does a family that is switched off.
            Err(error)
                if matches!(
                    errno(&error),
                    Some(libc::ENOENT | libc::EAFNOSUPPORT | libc::EOPNOTSUPP)
                ) =>
            {
                return Ok(found);
            }
            Err(error) => return Err(LinkError::new("reading the routes".into(), error)),
        }
    }
}

/// The route in a message, if it is a unicast one.
pub(crate) fn parse(message: &RouteMessage) -> Option<FoundRoute> {
    let header = &message.header;
    let mut destination = match header.address_family {
        AddressFamily::Inet => IpAddr::from([0u8; 4]),
        AddressFamily::Inet6 => IpAddr::from([0u8; 16]),
        _ => return None,
    };
    if header.kind != RouteType::Unicast {
        return None;
    }
    let (mut gateway, mut through, mut metric) = (None, None, 0);
    let mut table = u32::from(header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Gateway(address) => gateway = Some(ip(address)?),
            RouteAttribute::Oif(index) => through = Some(*index),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    let destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
    let protocol = header.protocol.into();
    Some(FoundRoute { route: OsRoute { destination, gateway }, through, table, metric, protocol })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

/// Adds a route of rtun's to those that are there; without a gateway through the device `index`, named `device`. One that
/// is there already is fine.
pub(crate) async fn add(
    handle: &Handle,
    placed: &Placed,
    index: u32,
    device: &str,
) -> Result<(), LinkError> {
    let Placed { route, table, metric, source } = placed;
    let action = || adding(route, device);
    let mut message = message(route, index).ok_or_else(|| mixed_families(action()))?;
    message.header.protocol = PROTOCOL.into();
    if *table != MAIN {
        message.header.table = RouteHeader::RT_TABLE_UNSPEC;
        message.attributes.push(RouteAttribute::Table(*table));
    }
    message.attributes.extend(metric.map(RouteAttribute::Priority));
    message.attributes.extend(source.map(|source| {
        RouteAttribute::PrefSource(match source {
            IpAddr::V4(ip) => RouteAddress::Inet(ip),
            IpAddr::V6(ip) => RouteAddress::Inet6(ip),
        })
    }));
    match handle.route().add(message).execute().await {
        Err(error) if errno(&error) == Some(libc::EEXIST) => Ok(()),
        result => result.map_err(|error| LinkError::new(action(), error)),
    }
}

/// Installs `route` in the main table, in place of one to the same destination.
pub(crate) async fn replace(
    handle: &Handle,
    route: &OsRoute,
    index: u32,
    device: &str,
) -> Result<(), LinkError> {
    let action = || adding(route, device);
    let message = message(route, index).ok_or_else(|| mixed_families(action()))?;
    handle
        .route()
        .add(message)
        .replace()
        .execute()
        .await
        .map_err(|error| LinkError::new(action(), error))
}

/// Removes a route that was found; one already gone is fine.
pub(crate) async fn remove(handle: &Handle, found: &FoundRoute) -> Result<(), LinkError> {
    let action = || format!("removing route {}", found.route);
    let mut message = message(&found.route, found.through.unwrap_or_default())
        .ok_or_else(|| mixed_families(action()))?;
    // Any scope.
    message.header.scope = RouteScope::NoWhere;
    message.header.protocol = found.protocol.into();
    message.header.table = RouteHeader::RT_TABLE_UNSPEC;
    message.attributes.push(RouteAttribute::Table(found.table));
    if found.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(found.metric));
    }
    match handle.route().del(message).execute().await {
        Err(error) if errno(&error) == Some(libc::ESRCH) => Ok(()),
        result => result.map_err(|error| LinkError::new(action(), error)),
    }
}

fn adding(route: &OsRoute, device: &str) -> String {
    match route.gateway {
        Some(_) => format!("adding route {route}"),
        None => format!("adding route {route} through {device}"),
    }
}

/// The route as netlink says it, through the device `index` if it has no gateway; `None` when its gateway is of the other
/// family.
fn message(route: &OsRoute, index: u32) -> Option<RouteMessage> {
    let destination = route.destination.trunc();
    let builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(destination.addr(), destination.prefix_len())
        .ok()?;
    let builder = match route.gateway {
        Some(gateway) if gateway.is_ipv4() != destination.addr().is_ipv4() => return None,
        Some(gateway) => builder.gateway(gateway).ok()?,
        None => builder.scope(RouteScope::Link).output_interface(index),
    };
    Some(builder.build())
}

fn mixed_families(action: String) -> LinkError {
    LinkError {
        action,
        source: std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "destination and gateway must both be IPv4 or both be IPv6",
        ),
    }
}

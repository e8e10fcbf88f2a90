//! Routes of the system: one route, and the guard that takes back what outlives the device.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::link::{LinkError, errno};

/// A route of the system's main table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OsRoute {
    /// Where packets go; bits behind the prefix are ignored.
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

/// The routes that do not vanish with the device, because a gateway leads them through another
/// one. Whoever installed them calls [`remove_routes`](InstalledRoutes::remove_routes) at exit.
#[must_use = "routes via a gateway stay in the system until they are removed"]
#[derive(Debug)]
pub struct InstalledRoutes {
    pub(crate) handle: Handle,
    pub(crate) routes: Vec<OsRoute>,
}

impl InstalledRoutes {
    /// The routes that will be removed.
    pub fn routes(&self) -> &[OsRoute] {
        &self.routes
    }

    /// Removes every route of this guard; one already gone is fine. Goes on after a failure and
    /// answers the first one.
    pub async fn remove_routes(self) -> Result<(), LinkError> {
        let mut first_failure = Ok(());
        for route in &self.routes {
            let result = remove(&self.handle, route).await;
            first_failure = first_failure.and(result);
        }
        first_failure
    }
}

/// Installs `route`, in place of one to the same destination; without a gateway through the
/// device `index`, named `device`.
pub(crate) async fn replace(
    handle: &Handle,
    route: &OsRoute,
    index: u32,
    device: &str,
) -> Result<(), LinkError> {
    let action = || match route.gateway {
        Some(_) => format!("adding route {route}"),
        None => format!("adding route {route} through {device}"),
    };
    let mut message = message(route).ok_or_else(|| mixed_families(action()))?;
    if route.gateway.is_none() {
        message.attributes.push(netlink_packet_route::route::RouteAttribute::Oif(index));
    }
    handle
        .route()
        .add(message)
        .replace()
        .execute()
        .await
        .map_err(|error| LinkError::new(action(), error))
}

async fn remove(handle: &Handle, route: &OsRoute) -> Result<(), LinkError> {
    let action = || format!("removing route {route}");
    let message = message(route).ok_or_else(|| mixed_families(action()))?;
    match handle.route().del(message).execute().await {
        Err(error) if errno(&error) == Some(libc::ESRCH) => Ok(()),
        result => result.map_err(|error| LinkError::new(action(), error)),
    }
}

/// The route as netlink says it; `None` when its gateway is of the other family.
fn message(route: &OsRoute) -> Option<RouteMessage> {
    let destination = route.destination.trunc();
    let builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(destination.addr(), destination.prefix_len())
        .ok()?;
    let builder = match route.gateway {
        Some(gateway) if gateway.is_ipv4() != destination.addr().is_ipv4() => return None,
        Some(gateway) => builder.gateway(gateway).ok()?,
        None => builder.scope(RouteScope::Link),
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

//! The congestion control of TCP connections of other programs.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteMetric, RouteScope};
use nix::net::if_::if_nametoindex;
use rtnetlink::RouteMessageBuilder;

use crate::namespace::parse_address;
use crate::{LabError, NetNamespace};

/// How the congestion control was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CongestionSetting {
    /// For the whole namespace.
    Sysctl,
    /// For connections over one route (`ip route ... congctl`), if the system does not allow the setting of
    /// the namespace.
    Route,
}

impl fmt::Display for CongestionSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CongestionSetting::Sysctl => "sysctl net.ipv4.tcp_congestion_control",
            CongestionSetting::Route => "route attribute congctl",
        })
    }
}

/// Sets the congestion control `name` for all TCP connections between `namespace` and the network of its
/// `address` (`10.0.0.2/24`) on `device`: with the namespace's setting if that is allowed, else with the
/// route to that network.
pub fn congestion_control(
    namespace: &NetNamespace,
    device: &str,
    address: &str,
    name: &str,
) -> Result<CongestionSetting, LabError> {
    if namespace.tcp_congestion(name).is_ok() {
        return Ok(CongestionSetting::Sysctl);
    }
    let action = format!("in namespace {}: route with congctl {name}", namespace.name());
    let index = namespace
        .run(|| if_nametoindex(device))?
        .map_err(|error| LabError::system(action.clone(), error))?;
    let message = connected_route(address, index, name)?;
    namespace.block_on(async move {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|error| LabError::system("opening a netlink socket", error))?;
        tokio::spawn(connection);
        let request = handle.route().add(message).replace();
        request.execute().await.map_err(|error| LabError::netlink(action, error))
    })??;
    Ok(CongestionSetting::Route)
}

/// The route that the kernel made for `address`, with a congestion control.
fn connected_route(address: &str, index: u32, name: &str) -> Result<RouteMessage, LabError> {
    let net = parse_address(address)?;
    let wrong = |_| LabError::BadArgument {
        text: address.to_owned(),
        expected: "an address with its prefix length, like 10.0.0.1/24",
    };
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(net.network(), net.prefix_len())
        .map_err(wrong)?
        .pref_source(net.addr())
        .map_err(wrong)?
        .output_interface(index)
        .scope(RouteScope::Link);
    let metrics = vec![RouteMetric::CcAlgo(name.to_owned())];
    builder.get_mut().attributes.push(RouteAttribute::Metrics(metrics));
    Ok(builder.build())
}

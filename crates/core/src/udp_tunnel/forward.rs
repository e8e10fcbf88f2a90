//! Where a packet goes, and whether its sender may send it.

use std::net::IpAddr;

use ipnet::IpNet;
use rtun_proto::packet::{
    destination_is_for_many, destination_is_never_routed, source_is_never_valid,
};

use super::{AddressRules, ClientId, ClientTable, DatagramDrop};
use crate::table::PrefixMap;

/// A network behind a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayRoute {
    /// The network, host bits cleared.
    pub prefix: IpNet,
    /// An address that the client registers.
    pub gateway: IpAddr,
}

/// The networks behind clients; the longest prefix wins. Of equal prefixes the first whose client is registered.
#[derive(Default)]
pub struct GatewayRoutes {
    prefixes: PrefixMap,
    /// By value of the map.
    gateways: Vec<Box<[IpAddr]>>,
}

impl GatewayRoutes {
    /// Compiles `routes`, in order of preference.
    pub fn new(routes: impl IntoIterator<Item = GatewayRoute>) -> Self {
        let mut by_prefix: std::collections::BTreeMap<IpNet, Vec<IpAddr>> = Default::default();
        for GatewayRoute { prefix, gateway } in routes {
            let gateways = by_prefix.entry(prefix.trunc()).or_default();
            if !gateways.contains(&gateway) {
                gateways.push(gateway);
            }
        }
        let prefixes = by_prefix.keys().zip(0..).map(|(prefix, place)| (*prefix, place));
        Self {
            prefixes: PrefixMap::new(prefixes),
            gateways: by_prefix.into_values().map(Vec::into_boxed_slice).collect(),
        }
    }

    /// The gateways of the longest prefix that `address` is in; none: it is in none.
    #[inline]
    pub fn gateways(&self, address: IpAddr) -> &[IpAddr] {
        self.prefixes.lookup(address).map_or(&[], |place| &self.gateways[place as usize])
    }
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHop {
    /// To a client.
    Client(ClientId),
    /// To the server's device.
    Device,
}

/// All that a server decides by.
pub struct TunnelRouting {
    /// Which addresses may be registered.
    pub rules: AddressRules,
    /// The networks behind clients.
    pub routes: GatewayRoutes,
    /// Whether everything goes to the one client there is (`p2p`).
    pub point_to_point: bool,
    /// Who is there.
    pub clients: ClientTable,
}

/// In a point-to-point tunnel the one client has this one too, whatever it registers.
const EVERYTHING: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

impl TunnelRouting {
    /// What a register is given besides the addresses in it.
    pub fn also(&self) -> Option<IpAddr> {
        self.point_to_point.then_some(EVERYTHING)
    }

    /// Whether `client` may send packets from `source`: one of its addresses, or one in a network behind it.
    ///
    /// # Errors
    ///
    /// [`DatagramDrop::Local`] for a link-local source, else [`DatagramDrop::Spoofed`].
    #[inline]
    pub fn check_source(&self, client: ClientId, source: IpAddr) -> Result<(), DatagramDrop> {
        if self.clients.owner(source) == Some(client) {
            return Ok(());
        }
        self.check_network(client, source)
    }

    fn check_network(&self, client: ClientId, source: IpAddr) -> Result<(), DatagramDrop> {
        if source_is_never_valid(source) || self.rules.is_own(source) {
            return Err(DatagramDrop::Spoofed);
        }
        if destination_is_never_routed(source) {
            return Err(DatagramDrop::Local);
        }
        if self.point_to_point && self.clients.owner(EVERYTHING) == Some(client) {
            return Ok(());
        }
        let is_behind = |gateway: &IpAddr| self.clients.owner(*gateway) == Some(client);
        // An address that another client has is not this one's, whatever network it is in.
        let is_anothers = self.clients.owner(source).is_some();
        if !is_anothers && self.routes.gateways(source).iter().any(is_behind) {
            Ok(())
        } else {
            Err(DatagramDrop::Spoofed)
        }
    }

    /// Where a packet of `from`, or of the server's device where that is none, goes. Multicast and broadcast of clients go to
    /// the device alone.
    ///
    /// # Errors
    ///
    /// Nowhere: link-local, or multicast of the device; nobody, or back to its sender.
    #[inline]
    pub fn target(&self, from: Option<ClientId>, to: IpAddr) -> Result<NextHop, DatagramDrop> {
        if self.point_to_point {
            return match from {
                Some(_) if is_local(to) => Err(DatagramDrop::Local),
                Some(_) => Ok(NextHop::Device),
                None => {
                    self.clients.owner(EVERYTHING).map(NextHop::Client).ok_or(DatagramDrop::NoRoute)
                }
            };
        }
        if destination_is_never_routed(to) {
            let goes_to_device = from.is_some() && !is_local(to);
            return if goes_to_device { Ok(NextHop::Device) } else { Err(DatagramDrop::Local) };
        }
        if self.rules.is_own(to) {
            return from.map(|_| NextHop::Device).ok_or(DatagramDrop::NoRoute);
        }
        let owner = self.clients.owner(to).or_else(|| {
            let gateways = self.routes.gateways(to);
            gateways.iter().find_map(|gateway| self.clients.owner(*gateway))
        });
        match (owner, from) {
            (Some(owner), from) if Some(owner) != from => Ok(NextHop::Client(owner)),
            (None, Some(_)) => Ok(NextHop::Device),
            _ => Err(DatagramDrop::NoRoute),
        }
    }
}

/// Whether a packet to that address stays on its own link: it is neither routed nor for many.
fn is_local(to: IpAddr) -> bool {
    destination_is_never_routed(to) && !destination_is_for_many(to)
}

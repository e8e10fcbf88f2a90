//! A network device's settings in the system, over netlink: MTU, addresses, up, routes.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol,
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};

use crate::os_route::{self, InstalledRoutes, OsRoute};

/// Everything a tunnel's device is given before packets flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSetup {
    /// The longest packet, in bytes.
    pub mtu: u16,
    /// The device's own addresses; the prefix becomes a route through the device.
    pub addresses: Vec<IpNet>,
    /// Routes, in the order in which they are installed.
    pub routes: Vec<OsRoute>,
}

/// What the system says about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkState {
    /// The longest packet, in bytes.
    pub mtu: u32,
    /// Whether an administrator set it up.
    pub up: bool,
    /// Its addresses, each with its prefix length.
    pub addresses: Vec<IpNet>,
    /// The routes through it that somebody installed; those that come with an address are left
    /// out.
    pub routes: Vec<OsRoute>,
}

/// A step of setting up a device that the system refused.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {source}{}", hint(.source))]
pub struct LinkError {
    /// What was being done, with its object: `adding 10.0.0.1/24 to tun0`.
    pub action: String,
    /// What the system answered.
    pub source: io::Error,
}

/// One device of the network namespace in which it was opened.
#[derive(Debug, Clone)]
pub struct Link {
    handle: Handle,
    name: String,
    index: u32,
}

impl Link {
    /// Finds the device `name` in the network namespace of the calling thread. Must be called
    /// within a tokio runtime, on which a small task serves netlink until the last clone and the
    /// last guard are dropped.
    pub fn open(name: &str) -> Result<Link, LinkError> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|source| LinkError { action: "opening a netlink socket".into(), source })?;
        tokio::spawn(connection);
        let index = nix::net::if_::if_nametoindex(name).map_err(|errno| LinkError {
            action: format!("looking for network device {name}"),
            source: errno.into(),
        })?;
        Ok(Link { handle, name: name.to_owned(), index })
    }

    /// The device's index.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Applies `setup` in its order: MTU, no addresses made up by the system, addresses, up,
    /// routes. What is there already is fine, so a second call changes nothing. Stops at the
    /// first refusal, after taking back the routes via gateways that it had installed.
    pub async fn apply(&self, setup: &LinkSetup) -> Result<InstalledRoutes, LinkError> {
        self.set_mtu(setup.mtu).await?;
        self.no_made_up_addresses().await?;
        for address in &setup.addresses {
            self.add_address(*address).await?;
        }
        self.up().await?;
        let mut installed = InstalledRoutes { handle: self.handle.clone(), routes: Vec::new() };
        for route in &setup.routes {
            if let Err(error) = self.replace_route(route).await {
                // The refusal is what the caller must hear of; a failure to tidy up after it
                // would hide it.
                let _ = installed.remove_routes().await;
                return Err(error);
            }
            if route.gateway.is_some() {
                installed.routes.push(route.clone());
            }
        }
        Ok(installed)
    }

    /// Sets the longest packet, in bytes.
    pub async fn set_mtu(&self, mtu: u16) -> Result<(), LinkError> {
        self.change(self.builder().mtu(u32::from(mtu)))
            .await
            .map_err(|error| LinkError::new(format!("setting MTU {mtu} on {}", self.name), error))
    }

    /// Keeps the system from giving the device an IPv6 link-local address, and with it from
    /// sending router solicitations into the tunnel. Nothing to do where IPv6 is off.
    pub async fn no_made_up_addresses(&self) -> Result<(), LinkError> {
        let mode =
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
                In6AddrGenMode::None,
            )])]);
        match self.change(self.builder().append_extra_attribute(mode)).await {
            Err(error) if errno(&error) == Some(libc::EAFNOSUPPORT) => Ok(()),
            result => result.map_err(|error| {
                let action = format!(
                    "switching off IPv6 address generation (addr_gen_mode) on {}",
                    self.name
                );
                LinkError::new(action, error)
            }),
        }
    }

    /// Adds an address; one that is there already is fine. IPv6 addresses are usable at once (no
    /// duplicate address detection: there is nobody to ask on a tunnel).
    pub async fn add_address(&self, address: IpNet) -> Result<(), LinkError> {
        let mut request =
            self.handle.address().add(self.index, address.addr(), address.prefix_len());
        if address.addr().is_ipv6() {
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        match request.execute().await {
            Err(error) if errno(&error) == Some(libc::EEXIST) => Ok(()),
            result => result.map_err(|error| {
                LinkError::new(format!("adding {address} to {}", self.name), error)
            }),
        }
    }

    /// Sets the device up.
    pub async fn up(&self) -> Result<(), LinkError> {
        self.change(self.builder().up())
            .await
            .map_err(|error| LinkError::new(format!("setting {} up", self.name), error))
    }

    /// Installs a route in place of one to the same destination. One with a gateway outlives the
    /// device if the gateway is reached through another: prefer [`apply`](Link::apply), whose
    /// guard removes such.
    pub async fn replace_route(&self, route: &OsRoute) -> Result<(), LinkError> {
        os_route::replace(&self.handle, route, self.index, &self.name).await
    }

    /// Reads the settings back.
    pub async fn state(&self) -> Result<LinkState, LinkError> {
        let failed = |what: &str| {
            let action = format!("reading the {what} of {}", self.name);
            move |error| LinkError::new(action.clone(), error)
        };
        let link = self
            .handle
            .link()
            .get()
            .match_index(self.index)
            .execute()
            .try_next()
            .await
            .map_err(failed("settings"))?
            .ok_or_else(|| failed("settings")(rtnetlink::Error::RequestFailed))?;
        let mtu = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        });
        Ok(LinkState {
            mtu: mtu.unwrap_or_default(),
            up: link.header.flags.contains(LinkFlags::Up),
            addresses: self.addresses().await.map_err(failed("addresses"))?,
            routes: self.routes().await.map_err(failed("routes"))?,
        })
    }

    async fn addresses(&self) -> Result<Vec<IpNet>, rtnetlink::Error> {
        let mut found = Vec::new();
        let mut answers = self.handle.address().get().set_link_index_filter(self.index).execute();
        while let Some(message) = answers.try_next().await? {
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            });
            let address = local.or_else(|| {
                message.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Address(address) => Some(*address),
                    _ => None,
                })
            });
            found.extend(address.and_then(|ip| IpNet::new(ip, message.header.prefix_len).ok()));
        }
        Ok(found)
    }

    async fn routes(&self) -> Result<Vec<OsRoute>, rtnetlink::Error> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut question = RouteMessage::default();
            question.header.address_family = family;
            let mut answers = self.handle.route().get(question).execute();
            while let Some(message) = answers.try_next().await? {
                found.extend(self.own_route(&message));
            }
        }
        Ok(found)
    }

    /// The route in `message`, if somebody installed it in the main table through this device.
    fn own_route(&self, message: &RouteMessage) -> Option<OsRoute> {
        let header = &message.header;
        if header.table != RouteHeader::RT_TABLE_MAIN || header.protocol == RouteProtocol::Kernel {
            return None;
        }
        let mut destination = match header.address_family {
            AddressFamily::Inet => IpAddr::from([0u8; 4]),
            _ => IpAddr::from([0u8; 16]),
        };
        let mut gateway = None;
        let mut through = None;
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = ip(address)?,
                RouteAttribute::Gateway(address) => gateway = Some(ip(address)?),
                RouteAttribute::Oif(index) => through = Some(*index),
                _ => {}
            }
        }
        if through != Some(self.index) {
            return None;
        }
        let destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
        Some(OsRoute { destination, gateway })
    }

    fn builder(&self) -> LinkMessageBuilder<LinkUnspec> {
        LinkUnspec::new_with_index(self.index)
    }

    async fn change(
        &self,
        builder: LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), rtnetlink::Error> {
        self.handle.link().change(builder.build()).execute().await
    }
}

impl LinkError {
    pub(crate) fn new(action: String, error: rtnetlink::Error) -> LinkError {
        let source = match errno(&error) {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(error),
        };
        LinkError { action, source }
    }
}

/// The system's error number in a netlink answer.
pub(crate) fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|code| code.get().abs()),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

/// What to do about an answer of the system whose own words do not say it.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => "; it needs the capability CAP_NET_ADMIN",
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => {
            "; the gateway is not in any network this system is connected to"
        }
        Some(libc::ENETDOWN) => "; the device is down",
        Some(libc::EOPNOTSUPP | libc::EACCES) => "; is IPv6 switched off on this system?",
        _ => "",
    }
}

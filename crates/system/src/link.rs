//! A network device's settings in the system, over netlink: MTU, addresses, up, routes.

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressProtocol};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, LinkAttribute, LinkFlags, LinkInfo,
    LinkLayerType, LinkMessage,
};
use rtnetlink::packet_core::Nla;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};

use crate::netlink::{LinkError, PROTOCOL, errno};
use crate::os_route::{self, Family, OsRoute, Scope};

/// `IN6_ADDR_GEN_MODE_NONE` of Linux: no IPv6 address is made up.
pub(crate) const GEN_MODE_NONE: u8 = 1;

/// `IFLA_TUN_PERSIST` of Linux.
const TUN_PERSIST: u16 = 6;

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
    /// The routes of the main table through it that somebody installed; those that come with an
    /// address are left out.
    pub routes: Vec<OsRoute>,
}

/// The settings of a device itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkSettings {
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// Whether the device is a TUN device that outlives the program that holds it.
    pub(crate) persistent: bool,
    /// Whether it has a carrier; of a TUN device, whether a program holds it.
    pub(crate) running: bool,
    pub(crate) alias: Option<String>,
    /// How IPv6 addresses are made up; none where IPv6 is off.
    pub(crate) gen_mode: Option<u8>,
    /// Whether it is a network card, as a TAP device: it needs a link-local address (RFC 4291 section 2.8).
    pub(crate) is_ethernet: bool,
}

impl LinkSettings {
    /// Whether the system makes up addresses that nobody at the other end asks for.
    pub(crate) fn makes_up_addresses(&self) -> bool {
        !self.is_ethernet && self.gen_mode.is_some_and(|mode| mode != GEN_MODE_NONE)
    }
}

/// An address of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) net: IpNet,
    /// Whether rtun added it, also a run before this one.
    pub(crate) ours: bool,
}

/// One device of the network namespace in which it was opened.
#[derive(Debug, Clone)]
pub struct SystemLink {
    handle: Handle,
    name: String,
    index: u32,
}

impl SystemLink {
    /// Finds the device `name` in the network namespace of the calling thread. Must be called
    /// within a tokio runtime, on which a small task serves netlink until the last clone and the
    /// last guard are dropped.
    pub fn open(name: &str) -> Result<SystemLink, LinkError> {
        // Before Linux 4.20 the system does not filter what it is asked for; it is done here too.
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()
            .or_else(|_| rtnetlink::new_connection())
            .map_err(|source| LinkError { action: "opening a netlink socket".into(), source })?;
        tokio::spawn(connection);
        let index = nix::net::if_::if_nametoindex(name).map_err(|errno| LinkError {
            action: format!("looking for network device {name}"),
            source: errno.into(),
        })?;
        Ok(SystemLink { handle, name: name.to_owned(), index })
    }

    /// The device's index.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The device's name when it was found.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
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
        self.set_gen_mode(GEN_MODE_NONE).await
    }

    pub(crate) async fn set_gen_mode(&self, mode: u8) -> Result<(), LinkError> {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::from(mode));
        let mode = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
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
        self.add_address_as(address, true).await
    }

    /// The same; `with_route` says whether its prefix becomes a route through the device.
    pub(crate) async fn add_address_as(
        &self,
        address: IpNet,
        with_route: bool,
    ) -> Result<(), LinkError> {
        let mut request =
            self.handle.address().add(self.index, address.addr(), address.prefix_len());
        let mut flags = AddressFlags::empty();
        if address.addr().is_ipv6() {
            flags |= AddressFlags::Nodad;
        }
        if !with_route {
            flags |= AddressFlags::Noprefixroute;
        }
        let attributes = &mut request.message_mut().attributes;
        attributes.push(AddressAttribute::Flags(flags));
        // Systems before Linux 5.18 ignore it.
        attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
        match request.execute().await {
            Err(error) if errno(&error) == Some(libc::EEXIST) => Ok(()),
            result => result.map_err(|error| {
                LinkError::new(format!("adding {address} to {}", self.name), error)
            }),
        }
    }

    /// Takes an address away; one that is not there is fine.
    pub(crate) async fn remove_address(&self, address: IpNet) -> Result<(), LinkError> {
        let mut add = self.handle.address().add(self.index, address.addr(), address.prefix_len());
        let message = add.message_mut().clone();
        match self.handle.address().del(message).execute().await {
            Err(error) if errno(&error) == Some(libc::EADDRNOTAVAIL) => Ok(()),
            result => result.map_err(|error| {
                LinkError::new(format!("removing {address} from {}", self.name), error)
            }),
        }
    }

    /// Sets the device up.
    pub async fn up(&self) -> Result<(), LinkError> {
        self.change(self.builder().up())
            .await
            .map_err(|error| LinkError::new(format!("setting {} up", self.name), error))
    }

    /// Sets the device down.
    pub(crate) async fn down(&self) -> Result<(), LinkError> {
        self.change(self.builder().down())
            .await
            .map_err(|error| LinkError::new(format!("setting {} down", self.name), error))
    }

    /// Writes a text next to the device's name in `ip link`; an empty one removes it.
    pub(crate) async fn set_alias(&self, alias: &str) -> Result<(), LinkError> {
        self.change(self.builder().alias(alias))
            .await
            .map_err(|error| LinkError::new(format!("setting the alias of {}", self.name), error))
    }

    /// Installs a route in place of one to the same destination. One with a gateway outlives the
    /// device if the gateway is reached through another: an
    /// [`Installation`](crate::installation::Installation) removes such.
    pub async fn replace_route(&self, route: &OsRoute) -> Result<(), LinkError> {
        os_route::replace(&self.handle, route, self.index, &self.name).await
    }

    /// Reads the settings back.
    pub async fn state(&self) -> Result<LinkState, LinkError> {
        let LinkSettings { mtu, up, .. } = self.settings().await?;
        let addresses = self.addresses().await?.into_iter().map(|address| address.net).collect();
        let mut routes = Vec::new();
        for family in [Family::V4, Family::V6] {
            let scope = Scope::main_through(self.index);
            let found = os_route::list(&self.handle, family, scope).await?;
            let installed = found.into_iter().filter(|found| !found.is_the_systems());
            routes.extend(installed.map(|found| found.route));
        }
        Ok(LinkState { mtu, up, addresses, routes })
    }

    pub(crate) async fn settings(&self) -> Result<LinkSettings, LinkError> {
        let failed =
            |error| LinkError::new(format!("reading the settings of {}", self.name), error);
        let mut answers = self.handle.link().get().match_index(self.index).execute();
        let link = answers.try_next().await.map_err(failed)?;
        let link = link.ok_or_else(|| failed(rtnetlink::Error::RequestFailed))?;
        Ok(LinkSettings::of(&link))
    }

    pub(crate) async fn addresses(&self) -> Result<Vec<Address>, LinkError> {
        let failed =
            |error| LinkError::new(format!("reading the addresses of {}", self.name), error);
        let mut found = Vec::new();
        let mut request = self.handle.address().get().set_link_index_filter(self.index);
        request.message_mut().header.index = self.index;
        let mut answers = request.execute();
        while let Some(message) = answers.try_next().await.map_err(failed)? {
            let (mut local, mut peer, mut ours) = (None, None, false);
            for attribute in &message.attributes {
                match attribute {
                    AddressAttribute::Local(address) => local = Some(*address),
                    AddressAttribute::Address(address) => peer = Some(*address),
                    AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)) => ours = true,
                    _ => {}
                }
            }
            let net = local.or(peer).and_then(|ip| IpNet::new(ip, message.header.prefix_len).ok());
            found.extend(net.map(|net| Address { net, ours }));
        }
        Ok(found)
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

impl LinkSettings {
    pub(crate) fn of(link: &LinkMessage) -> Self {
        let mut settings = Self {
            mtu: 0,
            up: link.header.flags.contains(LinkFlags::Up),
            persistent: false,
            running: false,
            alias: None,
            gen_mode: None,
            is_ethernet: link.header.link_layer_type == LinkLayerType::Ether,
        };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => settings.mtu = *mtu,
                LinkAttribute::Carrier(carrier) => settings.running = *carrier != 0,
                LinkAttribute::IfAlias(alias) => settings.alias = Some(alias.clone()),
                LinkAttribute::LinkInfo(infos) => settings.persistent = is_persistent(infos),
                LinkAttribute::AfSpecUnspec(families) => {
                    settings.gen_mode = families.iter().find_map(gen_mode);
                }
                _ => {}
            }
        }
        settings
    }
}

fn is_persistent(infos: &[LinkInfo]) -> bool {
    let data = infos.iter().filter_map(|info| match info {
        LinkInfo::Data(InfoData::Tun(data)) => Some(data),
        _ => None,
    });
    data.flatten().any(|it| {
        let mut value = vec![0; it.value_len()];
        it.emit_value(&mut value);
        it.kind() == TUN_PERSIST && value.first() == Some(&1)
    })
}

fn gen_mode(family: &AfSpecUnspec) -> Option<u8> {
    let AfSpecUnspec::Inet6(attributes) = family else { return None };
    attributes.iter().find_map(|attribute| match attribute {
        AfSpecInet6::AddrGenMode(mode) => Some(mode.into()),
        _ => None,
    })
}

//! A host: its device, its name, how it reaches its hubs.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use rtun_core::{HostName, Selection};

use super::{
    HopPlugin, HubNode, LimiterSettings, LookedUpName, NetworkNamespace, NodePreference, ProxyHop,
    VolumeQuota,
};

/// A host: a TUN device and the hub it is joined to.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSettings {
    /// The name reported to the hub.
    pub name: HostName,
    /// The device.
    pub device: DeviceSettings,
    /// The nodes of the chain's last hop; at least one, unless `plugin` or a source names them.
    pub hubs: Vec<HubNode>,
    /// Which of them is used.
    pub selector: Selection,
    /// Who names the hub for each connection.
    pub plugin: Option<HopPlugin>,
    /// The chain's hops before that, the nearest first.
    pub proxies: Vec<ProxyHop>,
    /// More chains, one of which is chosen for each attempt (`chainGroup`).
    pub group: ChainGroup,
    /// Names of hubs and proxies that are not looked up as everywhere on the system, each once.
    pub lookups: Vec<LookedUpName>,
    /// As configured (`retries`); every other node is tried at once when one fails, whatever it says.
    pub retries: u32,
    /// Limit for connecting to one hub, proxies and handshakes included (`dialTimeout`), if configured.
    pub dial_timeout: Option<Duration>,
    /// May change while it is connected.
    pub limits: HostLimits,
}

impl HostSettings {
    /// The nodes of the last hops of all chains.
    pub fn all_hubs(&self) -> impl Iterator<Item = &HubNode> {
        self.hubs.iter().chain(self.group.more.iter().flat_map(|chain| &chain.hubs))
    }

    /// The plugins that name nodes for its connections; one that several hops have is there several times.
    pub fn hop_plugins(&self) -> impl Iterator<Item = &HopPlugin> {
        let of_hops = self.chains().flat_map(|(_, proxies)| proxies);
        let of_ends = self.plugin.iter();
        let of_more = self.group.more.iter().filter_map(|chain| chain.plugin.as_ref());
        of_hops.filter_map(|hop| hop.plugin.as_ref()).chain(of_ends).chain(of_more)
    }

    /// All chains: their hubs and the proxies before them.
    pub fn chains(&self) -> impl Iterator<Item = (&[HubNode], &[ProxyHop])> {
        let more = self.group.more.iter().map(|chain| (&chain.hubs[..], &chain.proxies[..]));
        std::iter::once((&self.hubs[..], &self.proxies[..])).chain(more)
    }
}

/// Several chains of one host.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChainGroup {
    /// Which of them is used.
    pub selector: Selection,
    /// The place of the host's first chain among them.
    pub first: NodePreference,
    /// All but the first.
    pub more: Vec<GroupedChain>,
}

/// A chain that is not the first of its group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupedChain {
    /// The nodes of its last hop; at least one, unless `plugin` names them.
    pub hubs: Vec<HubNode>,
    /// Which of them is used.
    pub selector: Selection,
    /// Who names the hub for each connection.
    pub plugin: Option<HopPlugin>,
    /// Its hops before that, the nearest first.
    pub proxies: Vec<ProxyHop>,
    /// Its place among the chains.
    pub preference: NodePreference,
}

/// What a host limits. In is what it reads from its device, out what it writes to it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostLimits {
    /// `limiter` of the service; only its rows for `$` count.
    pub traffic: Option<LimiterSettings>,
    /// How much may pass in all: nothing passes once one of these is used up.
    pub volumes: Vec<VolumeQuota>,
}

/// A TUN device, as it is to be set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSettings {
    /// `None`: the kernel chooses.
    pub name: Option<String>,
    /// Addresses with their prefix length, host bits kept; at least one.
    pub addresses: Vec<IpNet>,
    /// 68 to 65,535 bytes, 1280 and more with IPv6; 1420 unless configured.
    pub mtu: u16,
    /// Routes of the system that lead into the device.
    pub routes: Vec<DeviceRoute>,
    /// Name servers to be used through the device.
    pub dns: Vec<IpAddr>,
    /// Whether the kernel may hand over and take GSO packets, where it can; true unless configured.
    pub offload: bool,
    /// Whether packets of up to 64 KiB go whole to an rtun hub, and come from it; true unless configured.
    pub gso_frames: bool,
    /// Where the device is made, if not where rtun runs (`netns`).
    pub netns: Option<NetworkNamespace>,
}

/// A route of the system into a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRoute {
    /// Destination, host bits cleared.
    pub prefix: IpNet,
    /// Next hop; `None`: on the device.
    pub gateway: Option<IpAddr>,
}

//! The two ends of a UDP tunnel, of packets or Ethernet frames: a server and its clients.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use rtun_core::{
    HostName, Route, Selection, User,
    udp_tunnel::{Passphrase, RelayTargets},
};
use rtun_proto::{datagram_cipher::DatagramCipher, ethernet::MacAddress};

use super::{
    AdmissionSettings, DeviceSettings, HubNode, LimitRow, ListenerSettings, LocatedRow,
    LookedUpName, Named, NetworkNamespace, Provider, ProxyHop, SocketOptions, TunnelLimitSettings,
};

/// Handler and listener `tun` without a target: clients register at it, and packets pass between them and its device.
#[derive(Debug, Clone, PartialEq)]
pub struct UdpServerSettings {
    /// `host:port` as written; an empty host means every address.
    pub addr: String,
    /// The socket's `SO_MARK`.
    pub so_mark: Option<u32>,
    /// Where the socket is opened, if not where rtun runs (`netns`).
    pub netns: Option<NetworkNamespace>,
    /// The device; its addresses are the server's own.
    pub device: DeviceSettings,
    /// May change while clients are registered.
    pub rules: UdpServerRules,
}

/// Everything a server decides by.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UdpServerRules {
    /// Networks behind clients (`route` with `gw`, `routes`), in order of preference.
    pub networks: Vec<LocatedRow<ClientNetwork>>,
    /// More of them: each line's gateway is an address that a client registers (`router`).
    pub router: Option<Named<Route>>,
    /// What clients may register besides addresses of the device's networks (`allow`).
    pub allowed: Vec<IpNet>,
    /// Whose passphrases are right, by address: that of a client which one of these accepts. `None`: anybody may register.
    pub authers: Option<Vec<Named<User>>>,
    /// From where: each has to admit the outer address.
    pub admissions: Vec<AdmissionSettings>,
    /// Whether everything goes to one client (`p2p`).
    pub point_to_point: bool,
    /// How much may pass.
    pub limits: TunnelLimitSettings,
}

impl UdpServerRules {
    /// The networks behind clients, in order of preference, those of the router last. A row of the router whose gateway is no
    /// address is left out: it was reported as an error.
    pub fn client_networks(&self) -> impl Iterator<Item = LocatedRow<ClientNetwork>> {
        let router = self.router.as_ref().map(|router| &router.provider);
        let rows = match router {
            Some(Provider::Rows(rows)) => &rows.inline[..],
            Some(Provider::Plugin(_)) | None => &[],
        };
        let more = rows.iter().filter_map(|row| {
            let gateway = row.value.gateway.as_str().parse::<IpAddr>().ok()?.to_canonical();
            let value = ClientNetwork { prefix: row.value.prefix, gateway };
            Some(LocatedRow { value, file: row.file.clone(), line: row.line })
        });
        self.networks.iter().cloned().chain(more)
    }

    /// The same as routes, each to the address of its gateway as a name.
    pub fn client_routes(&self) -> Vec<LocatedRow<Route>> {
        let route = |row: LocatedRow<ClientNetwork>| {
            let ClientNetwork { prefix, gateway } = row.value;
            let gateway = HostName::new(&gateway.to_string()).ok()?;
            Some(LocatedRow { value: Route::new(prefix, gateway), file: row.file, line: row.line })
        };
        self.client_networks().filter_map(route).collect()
    }

    /// Whether a client that has this address may register it, as far as users go. What sources say is not known here.
    pub fn has_user(&self, address: IpAddr) -> bool {
        let is_it = |user: &User| {
            user.name.parse::<IpAddr>().is_ok_and(|name| name.to_canonical() == address)
        };
        let Some(authers) = &self.authers else { return true };
        authers.iter().any(|auther| !auther.is_all_inline() || auther.inline().any(is_it))
    }
}

/// A network behind a client of a UDP tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientNetwork {
    /// Host bits cleared.
    pub prefix: IpNet,
    /// An address that the client registers.
    pub gateway: IpAddr,
}

/// Handler and listener `tun` with a target that has a port: a device whose packets go to a server.
#[derive(Debug, Clone, PartialEq)]
pub struct UdpClientSettings {
    /// Servers as `host:port`, in the order in which they are tried; at least one. With a relay an empty host is the relay's
    /// machine.
    pub servers: Vec<String>,
    /// The device; its addresses are registered.
    pub device: DeviceSettings,
    /// What it is admitted by (`passphrase`).
    pub passphrase: Passphrase,
    /// Between registers (`ttl`), 10 s unless configured; `None`: it registers once for each connection (`keepalive: false`).
    pub keepalive: Option<Duration>,
    /// Of the connection, without a relay.
    pub sockets: SocketOptions,
    /// What leads to the servers, if they are not reached directly (`chain`).
    pub relay: Option<RelayChain>,
    /// How much may pass the device. May change while it runs.
    pub limits: TunnelLimitSettings,
}

/// How a client reaches a relay.
#[derive(Debug, Clone, PartialEq)]
pub struct RelayChain {
    /// The nodes of the chain's last hop; at least one. A relay has no namespaces.
    pub relays: Vec<HubNode>,
    /// What these speak.
    pub protocol: RelayProtocol,
    /// Which of them is used.
    pub selector: Selection,
    /// The chain's hops before that, the nearest first.
    pub proxies: Vec<ProxyHop>,
    /// Names of relays and proxies that are not looked up as everywhere on the system, each once.
    pub lookups: Vec<LookedUpName>,
    /// Limit for connecting to one relay, proxies and handshakes included (`dialTimeout`), if configured.
    pub dial_timeout: Option<Duration>,
}

/// What leads a client's datagrams to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayProtocol {
    /// A relay: connector `relay`.
    Relay,
    /// A SOCKS 5 proxy that takes datagrams on its streams, as GOST's do: connector `socks5`.
    Socks5,
}

/// Handler `relay`: clients of UDP tunnels connect to it, and their datagrams go to servers of the same machine.
#[derive(Debug, Clone, PartialEq)]
pub struct RelaySettings {
    /// Where and how it listens.
    pub listener: ListenerSettings,
    /// More listeners of the same relay (`listeners`).
    pub more_listeners: Vec<ListenerSettings>,
    /// May change while clients are connected.
    pub rules: RelayRules,
    /// From accepting to admitting; 10 s unless `readTimeout` says otherwise.
    pub handshake_timeout: Duration,
}

impl RelaySettings {
    /// All listeners.
    pub fn listeners(&self) -> impl Iterator<Item = &ListenerSettings> {
        std::iter::once(&self.listener).chain(&self.more_listeners)
    }
}

/// Everything a relay decides by.
#[derive(Debug, Clone, PartialEq)]
pub struct RelayRules {
    /// Where it leads.
    pub targets: RelayTargets,
    /// Who may connect: whom one of these accepts. `None`: anybody.
    pub authers: Option<Vec<Named<User>>>,
    /// From where: each has to admit the address.
    pub admissions: Vec<AdmissionSettings>,
    /// Whether clients of Ethernet tunnels are served (`bind`).
    pub takes_ethernet: bool,
    /// How much may pass.
    pub limits: TunnelLimitSettings,
    /// `climiter`: connections at once; 0: no limit.
    pub connections: Option<Named<LimitRow<u32>>>,
    /// `rlimiter`: requests a second; 0 and less: no limit.
    pub requests: Option<Named<LimitRow<f64>>>,
}

/// Handler and listener `tap` without a target: Ethernet frames pass between clients and its device.
#[derive(Debug, Clone, PartialEq)]
pub struct TapServerSettings {
    /// `host:port` as written; an empty host means every address.
    pub addr: String,
    /// The socket's `SO_MARK`.
    pub so_mark: Option<u32>,
    /// Where the socket is opened, if not where rtun runs (`netns`).
    pub netns: Option<NetworkNamespace>,
    /// The device and what frames are sealed with.
    pub tap: TapSettings,
    /// From where datagrams are taken: each has to admit the outer address. May change while clients are there.
    pub admissions: Vec<AdmissionSettings>,
    /// How much may pass. May change while clients are there.
    pub limits: TunnelLimitSettings,
}

/// Handler and listener `tap` with a target: a device whose frames go to a server.
#[derive(Debug, Clone, PartialEq)]
pub struct TapClientSettings {
    /// Servers as `host:port`, in the order in which they are tried; at least one. With a relay an empty host is the relay's
    /// machine.
    pub servers: Vec<String>,
    /// The device and what frames are sealed with.
    pub tap: TapSettings,
    /// Of the connection, without a relay.
    pub sockets: SocketOptions,
    /// What leads to the servers, if they are not reached directly (`chain`).
    pub relay: Option<RelayChain>,
    /// How much may pass the device. May change while it runs.
    pub limits: TunnelLimitSettings,
}

/// What both ends of an Ethernet tunnel have.
#[derive(Debug, Clone, PartialEq)]
pub struct TapSettings {
    /// The device; its MTU is that of the packets in frames.
    pub device: DeviceSettings,
    /// The device's hardware address (`mac`); `None`: one that stays the same from start to start.
    pub mac: Option<MacAddress>,
    /// What each frame is sealed with (`auth`, `key`); `None`: frames are clear text, and anybody may send some.
    pub cipher: Option<DatagramCipher>,
}

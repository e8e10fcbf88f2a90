//! The two ends of a UDP tunnel: a server, and clients that register at it.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use rtun_core::{Route, User, udp_tunnel::Passphrase};

use super::{AdmissionSettings, DeviceSettings, Named, NetworkNamespace, SocketOptions};

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
    pub networks: Vec<ClientNetwork>,
    /// More of them: each line's gateway is an address that a client registers (`router`).
    pub router: Option<Named<Route>>,
    /// What clients may register besides addresses of the device's networks (`allow`).
    pub allowed: Vec<IpNet>,
    /// Whose passphrases are right, by address: whomever one of these accepts. `None`: anybody may register.
    pub authers: Option<Vec<Named<User>>>,
    /// From where: each has to admit the outer address.
    pub admissions: Vec<AdmissionSettings>,
    /// Whether everything goes to one client (`p2p`).
    pub point_to_point: bool,
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
    /// Servers as `host:port`, in the order in which they are tried; at least one.
    pub servers: Vec<String>,
    /// The device; its addresses are registered.
    pub device: DeviceSettings,
    /// What it is admitted by (`passphrase`).
    pub passphrase: Passphrase,
    /// Between registers (`ttl`), 10 s unless configured; `None`: it registers once for each connection (`keepalive: false`).
    pub keepalive: Option<Duration>,
    /// Of the connection.
    pub sockets: SocketOptions,
}

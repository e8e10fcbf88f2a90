//! The reports of a UDP tunnel's server and client.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tracing::info;

use super::{ASKED, DeviceHealth, FailureReport};
use crate::json;

/// What passed in one direction and what did not. Bytes are those of IP packets.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatagramTraffic {
    /// Packets that came, whatever became of them.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Packets handed on.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Packets and registers that went nowhere, by reason.
    pub drops: BTreeMap<String, u64>,
}

/// The server of a UDP tunnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TunnelServerReport {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The device's name.
    pub device: String,
    /// The device's MTU in bytes.
    pub mtu: u16,
    /// What is not as it should be with the device.
    pub health: DeviceHealth,
    /// By their first address.
    pub clients: Vec<RegisteredReport>,
    /// In is what the device gave, out is what clients were sent.
    pub sent: DatagramTraffic,
    /// In is what clients sent, out is what the device and other clients were handed.
    pub received: DatagramTraffic,
    /// The registers refused last, one of each reason.
    pub refused: Vec<TunnelRefusal>,
}

/// A client as its server knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegisteredReport {
    /// What it has registered.
    pub addresses: Vec<IpAddr>,
    /// Where it sends from.
    pub outer: SocketAddr,
    /// For how long it has been registered from there.
    #[serde(with = "json::seconds")]
    pub since: Duration,
    /// How long ago it registered last.
    #[serde(with = "json::seconds")]
    pub registered: Duration,
    /// How long ago it sent data last, or registered first.
    #[serde(with = "json::seconds")]
    pub data: Duration,
    /// Packets from it.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Packets to it.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Packets of it and for it that went nowhere, by reason.
    pub drops: BTreeMap<String, u64>,
}

/// A register that was not answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TunnelRefusal {
    /// Why.
    pub reason: String,
    /// Where it came from.
    pub outer: SocketAddr,
    /// The address that it is about, if it is about one.
    pub address: Option<IpAddr>,
    /// The client that has the address, if one has.
    pub incumbent: Option<SocketAddr>,
    /// How long ago.
    #[serde(with = "json::seconds")]
    pub ago: Duration,
}

/// The client of a UDP tunnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TunnelClientReport {
    /// What it registers.
    pub addresses: Vec<IpAddr>,
    /// The device's name.
    pub device: String,
    /// The device's MTU in bytes.
    pub mtu: u16,
    /// What is not as it should be with the device.
    pub health: DeviceHealth,
    /// The server that it sends to, as configured, and where that is.
    pub server: Option<(String, SocketAddr)>,
    /// Where it sends from.
    pub local: Option<SocketAddr>,
    /// What the server said last about where it comes from; none: it has not answered yet.
    pub seen_as: Option<IpAddr>,
    /// How long ago the last datagram of the server came.
    #[serde(with = "json::maybe_seconds")]
    pub heard: Option<Duration>,
    /// Registers so far.
    pub registers: u64,
    /// Replies so far.
    pub replies: u64,
    /// Connections so far that were given up.
    pub failed: u64,
    /// Why the last one was.
    pub last_error: Option<FailureReport>,
    /// In is what the device gave, out is what was sent.
    pub sent: DatagramTraffic,
    /// In is what the server sent, out is what the device took.
    pub received: DatagramTraffic,
}

impl TunnelServerReport {
    /// Writes it to the log.
    pub(crate) fn log(&self, service: &str) {
        let Self { device, clients, sent, received, .. } = self;
        info!(
            target: ASKED,
            service,
            device,
            clients = clients.len(),
            sent = %sent,
            received = %received,
            "clients of a UDP tunnel"
        );
        for client in clients {
            let addresses: Vec<String> = client.addresses.iter().map(ToString::to_string).collect();
            info!(
                target: ASKED,
                service,
                client = %client.outer,
                addresses = addresses.join(" "),
                packets_in = client.packets_in,
                packets_out = client.packets_out,
                "client"
            );
        }
    }
}

impl TunnelClientReport {
    /// Writes it to the log.
    pub(crate) fn log(&self, service: &str) {
        let Self { device, server, seen_as, sent, received, .. } = self;
        let server = server.as_ref().map(|(name, _)| name);
        let seen_as = seen_as.map(|address| address.to_string());
        info!(
            target: ASKED,
            service,
            device,
            server,
            seen_as,
            sent = %sent,
            received = %received,
            "client of a UDP tunnel"
        );
    }
}

impl fmt::Display for DatagramTraffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets_in, packets_out, drops, .. } = self;
        write!(f, "{packets_in} packets in, {packets_out} out")?;
        for (reason, count) in drops {
            write!(f, ", {count} {reason}")?;
        }
        Ok(())
    }
}

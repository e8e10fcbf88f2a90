//! The reports of a UDP tunnel's server and client.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    ops::AddAssign,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tracing::info;

use super::{
    ASKED, DeviceHealth, FailureReport, LimitReport, ListenerReport, Queued, QuotaReport, Transport,
};
use crate::{counters::Happened, json};

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
    /// Packets that wait for limits.
    #[serde(default)]
    pub queued: Queued,
    /// How much may pass in all.
    #[serde(default)]
    pub quotas: Vec<QuotaReport>,
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
    /// The limits that its traffic has to keep to.
    #[serde(default)]
    pub limits: Vec<LimitReport>,
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

/// A relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayReport {
    /// Its listeners.
    pub listen: Vec<ListenerReport>,
    /// Where all datagrams go; none: to the servers of the same process.
    pub target: Option<SocketAddr>,
    /// Who is connected.
    pub clients: Vec<RelayedClientReport>,
    /// In is what servers sent, out is what clients were sent.
    pub sent: DatagramTraffic,
    /// In is what clients sent, out is what servers were sent.
    pub received: DatagramTraffic,
    /// Clients admitted so far.
    pub admitted: u64,
    /// Connections not admitted so far, by reason.
    pub refused: BTreeMap<String, Happened>,
    /// Connections of clients that have ended so far, by reason.
    pub ended: BTreeMap<String, Happened>,
    /// Connections that wait to be admitted.
    pub unadmitted: usize,
    /// Connections that count now.
    #[serde(default)]
    pub connections: u32,
    /// How much may pass in all.
    #[serde(default)]
    pub quotas: Vec<QuotaReport>,
}

/// A client of a relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayedClientReport {
    /// Where it connects from.
    pub peer: SocketAddr,
    /// The transport of its connection.
    pub transport: Transport,
    /// The server that its datagrams go to.
    pub target: SocketAddr,
    /// Where the server sees it.
    pub outer: SocketAddr,
    /// How long it has been connected.
    #[serde(with = "json::seconds")]
    pub connected: Duration,
    /// Packets queued for it.
    pub queued: Queued,
    /// In is what the server sent, out is what the client was sent.
    pub sent: DatagramTraffic,
    /// In is what the client sent, out is what the server was sent.
    pub received: DatagramTraffic,
    /// The limits that its traffic has to keep to.
    #[serde(default)]
    pub limits: Vec<LimitReport>,
}

/// A relay that a client goes through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayedReport {
    /// Its address, as configured.
    pub relay: String,
    /// The transport of the connection to it.
    pub transport: Transport,
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
    /// The server that it sends to, as configured.
    pub server: Option<String>,
    /// Where that is, without a relay.
    pub remote: Option<SocketAddr>,
    /// The relay that leads to it, if one does.
    pub relay: Option<RelayedReport>,
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
    /// Packets queued for a relay, and those that wait for limits.
    pub queued: Queued,
    /// In is what the device gave, out is what was sent.
    pub sent: DatagramTraffic,
    /// In is what the server sent, out is what the device took.
    pub received: DatagramTraffic,
    /// The limits in force.
    #[serde(default)]
    pub limits: Vec<LimitReport>,
    /// How much may pass in all.
    #[serde(default)]
    pub quotas: Vec<QuotaReport>,
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

impl RelayReport {
    /// Writes it to the log.
    pub(crate) fn log(&self, service: &str) {
        let Self { clients, admitted, sent, received, .. } = self;
        let refused: u64 = self.refused.values().map(|happened| happened.count).sum();
        info!(
            target: ASKED,
            service,
            clients = clients.len(),
            admitted,
            refused,
            sent = %sent,
            received = %received,
            "clients of a relay"
        );
    }
}

impl AddAssign<&DatagramTraffic> for DatagramTraffic {
    fn add_assign(&mut self, other: &DatagramTraffic) {
        self.packets_in += other.packets_in;
        self.bytes_in += other.bytes_in;
        self.packets_out += other.packets_out;
        self.bytes_out += other.bytes_out;
        for (reason, count) in &other.drops {
            *self.drops.entry(reason.clone()).or_default() += count;
        }
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

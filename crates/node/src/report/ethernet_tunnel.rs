//! The reports of an Ethernet tunnel's server and client.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};
use tracing::info;

use super::{
    ASKED, DatagramTraffic, DeviceHealth, FailureReport, LimitReport, Queued, QuotaReport,
    RelayedReport,
};
use crate::json;

/// The server of an Ethernet tunnel. Packets are frames here, and bytes those of frames; of what is sent, those of datagrams.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TapServerReport {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The device's name.
    pub device: String,
    /// The device's hardware address.
    pub mac: String,
    /// The device's MTU in bytes.
    pub mtu: u16,
    /// What frames are sealed with; none: clear text.
    pub cipher: Option<String>,
    /// What is not as it should be with the device.
    pub health: DeviceHealth,
    /// By where they send from.
    pub clients: Vec<TapPeerReport>,
    /// In is what the device gave, out is what clients were sent.
    pub sent: DatagramTraffic,
    /// In is what clients sent, out is what the device and other clients were handed.
    pub received: DatagramTraffic,
    /// Datagrams that wait for limits.
    #[serde(default)]
    pub queued: Queued,
    /// How much may pass in all.
    #[serde(default)]
    pub quotas: Vec<QuotaReport>,
}

/// A client as its server knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TapPeerReport {
    /// Where it sends from.
    pub outer: SocketAddr,
    /// The hardware addresses that are reached through it, with `@` and the number of the VLAN if they are in one.
    pub macs: Vec<String>,
    /// How long ago it was heard first.
    #[serde(with = "json::seconds")]
    pub since: Duration,
    /// How long ago it was heard last.
    #[serde(with = "json::seconds")]
    pub heard: Duration,
    /// Frames from it.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Frames to it.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// The limits that its traffic has to keep to.
    #[serde(default)]
    pub limits: Vec<LimitReport>,
}

/// The client of an Ethernet tunnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TapClientReport {
    /// The device's name.
    pub device: String,
    /// The device's hardware address.
    pub mac: String,
    /// The device's MTU in bytes.
    pub mtu: u16,
    /// What frames are sealed with; none: clear text.
    pub cipher: Option<String>,
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
    /// Whether the server has answered.
    pub answered: bool,
    /// How long ago the last datagram of the server came.
    #[serde(with = "json::maybe_seconds")]
    pub heard: Option<Duration>,
    /// Connections so far that were given up.
    pub failed: u64,
    /// Why the last one was.
    pub last_error: Option<FailureReport>,
    /// Frames queued for a relay, and those that wait for limits.
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

impl TapServerReport {
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
            "clients of an Ethernet tunnel"
        );
        for client in clients {
            info!(
                target: ASKED,
                service,
                client = %client.outer,
                macs = client.macs.join(" "),
                packets_in = client.packets_in,
                packets_out = client.packets_out,
                "client"
            );
        }
    }
}

impl TapClientReport {
    /// Writes it to the log.
    pub(crate) fn log(&self, service: &str) {
        let Self { device, server, answered, sent, received, .. } = self;
        info!(
            target: ASKED,
            service,
            device,
            server,
            answered,
            sent = %sent,
            received = %received,
            "client of an Ethernet tunnel"
        );
    }
}

//! What a node can say about itself at a moment, as values and as log lines.

use std::{net::SocketAddr, time::Duration};

use rtun_core::{HostName, NamespaceId};
use tracing::info;

use crate::counters::Traffic;

macro_rules! log_traffic {
    ($traffic:expr, $queued:expr, $message:literal, $($field:tt)*) => {{
        let traffic: &Traffic = $traffic;
        info!(
            $($field)*,
            packets_in = traffic.packets_in,
            bytes_in = traffic.bytes_in,
            packets_out = traffic.packets_out,
            bytes_out = traffic.bytes_out,
            queued = $queued,
            dropped = traffic.all_dropped(),
            drops = %traffic.drops(),
            $message
        );
    }};
}

/// A hub: its namespaces, and what is no longer attributed to one.
#[derive(Debug, Clone, Default)]
pub struct HubReport {
    /// By id.
    pub namespaces: Vec<NamespaceReport>,
    /// What namespaces had counted that no longer exist.
    pub gone: Traffic,
    /// Packets waiting for a plugin's answer.
    pub waiting_for_plugins: u64,
}

/// A namespace, its connected hosts included in its traffic.
#[derive(Debug, Clone)]
pub struct NamespaceReport {
    /// Which.
    pub id: NamespaceId,
    /// Connected now, by name; a name may stand several times.
    pub hosts: Vec<HostReport>,
    /// In is what hosts sent, out is what was handed to hosts.
    pub traffic: Traffic,
}

/// A connected host.
#[derive(Debug, Clone)]
pub struct HostReport {
    /// Its name.
    pub host: HostName,
    /// Where it connects from.
    pub peer: SocketAddr,
    /// For how long.
    pub connected: Duration,
    /// Name and version of its program, if it is an rtun host.
    pub software: Option<String>,
    /// The MTU of its device in bytes, if it is an rtun host.
    pub mtu: Option<u16>,
    /// In is what it sent, out is what it was handed; drops are of packets from it, and of packets queued for it.
    pub traffic: Traffic,
    /// Waiting for its socket.
    pub queued_packets: u64,
    /// Waiting for its socket, length prefixes included.
    pub queued_bytes: u64,
}

/// A host's own side: its device and its hub.
#[derive(Debug, Clone)]
pub struct DeviceReport {
    /// The device's name.
    pub device: String,
    /// Whether a hub has admitted it.
    pub connected: bool,
    /// Packets waiting for the connection to the hub.
    pub queued: u64,
    /// In is what the device gave for the hub, out is what the hub was handed; drops on that way.
    pub sent: Traffic,
    /// In is what came from the hub, out is what the device took; drops on that way.
    pub received: Traffic,
}

impl HubReport {
    /// Writes one line per namespace and host, and one for the whole.
    pub(crate) fn log(&self, service: &str) {
        let mut all = self.gone.clone();
        let (mut hosts, mut queued) = (0, self.waiting_for_plugins);
        for namespace in &self.namespaces {
            all += &namespace.traffic;
            let namespace_queued: u64 = namespace.hosts.iter().map(|h| h.queued_packets).sum();
            hosts += namespace.hosts.len();
            queued += namespace_queued;
            for host in &namespace.hosts {
                log_traffic!(
                    &host.traffic, host.queued_packets, "host report",
                    service, namespace = %namespace.id, host = %host.host, peer = %host.peer,
                    connected_seconds = host.connected.as_secs(), software = host.software, mtu = host.mtu
                );
            }
            log_traffic!(
                &namespace.traffic, namespace_queued, "namespace report",
                service, namespace = %namespace.id, hosts = namespace.hosts.len()
            );
        }
        log_traffic!(
            &all,
            queued,
            "hub report",
            service,
            namespaces = self.namespaces.len(),
            hosts
        );
    }
}

impl DeviceReport {
    /// Writes one line per direction.
    pub(crate) fn log(&self, service: &str) {
        let Self { device, connected, queued, sent, received } = self;
        log_traffic!(
            sent,
            *queued,
            "device report",
            service,
            device,
            connected,
            direction = "to hub"
        );
        log_traffic!(
            received,
            0u64,
            "device report",
            service,
            device,
            connected,
            direction = "from hub"
        );
    }
}

//! Reports as log lines: one per host, per namespace, and for the hub or the device.

use tracing::info;

use super::{DeviceReport, HubReport};
use crate::counters::Traffic;

/// The target of log lines that a user has asked for; the rate limit of the log does not apply to them.
pub const ASKED: &str = "rtun::asked";

macro_rules! log_traffic {
    ($traffic:expr, $queued:expr, $message:literal, $($field:tt)*) => {{
        let traffic: &Traffic = $traffic;
        info!(
            target: ASKED,
            $($field)*,
            packets_in = traffic.packets_in,
            bytes_in = traffic.bytes_in,
            packets_out = traffic.packets_out,
            bytes_out = traffic.bytes_out,
            queued = $queued,
            dropped = traffic.all_dropped(),
            drops = %traffic.drops(),
            copies = traffic.copies,
            answered = traffic.answered,
            $message
        );
    }};
}

impl HubReport {
    /// Writes one line per namespace and host, and one for the whole.
    pub(crate) fn log(&self, service: &str) {
        let mut all = self.gone.clone();
        let (mut hosts, mut queued) = (0, self.waiting_for_plugins);
        for namespace in &self.namespaces {
            all += &namespace.traffic;
            let namespace_queued: u64 = namespace.hosts.iter().map(|h| h.queued.packets).sum();
            hosts += namespace.hosts.len();
            queued += namespace_queued;
            for host in &namespace.hosts {
                log_traffic!(
                    &host.traffic, host.queued.packets, "host report",
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
        let Self { device, queued, sent, received, .. } = self;
        let connected = self.connection.is_some();
        log_traffic!(
            sent,
            queued.packets,
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

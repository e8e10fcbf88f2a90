//! What a service of any kind has counted, in GOST's terms.

use std::collections::BTreeMap;

use rtun_core::observer::ObservedStats;

use super::{DeviceHealth, KindReport};
use crate::counters::{Happened, Traffic};

/// Reasons for the end of an association that GOST does not count as errors.
const NO_ERRORS: [&str; 4] = ["peer_closed", "replaced", "revoked", "shutdown"];

/// What a hub has counted.
pub(crate) struct HubCounts<'a> {
    /// Hosts admitted so far.
    pub(crate) admitted: u64,
    /// Connections not admitted so far, by reason.
    pub(crate) refused: &'a BTreeMap<String, Happened>,
    /// Associations that have ended so far, by reason.
    pub(crate) ended: &'a BTreeMap<String, Happened>,
    /// Connections that wait to be admitted.
    pub(crate) unadmitted: usize,
    /// The number of connected hosts.
    pub(crate) hosts: usize,
    /// What passed.
    pub(crate) traffic: &'a Traffic,
}

impl From<HubCounts<'_>> for ObservedStats {
    fn from(counts: HubCounts<'_>) -> Self {
        let HubCounts { admitted, refused, ended, unadmitted, hosts, traffic } = counts;
        let all_refused: u64 = refused.values().map(|happened| happened.count).sum();
        Self {
            total_conns: admitted + all_refused,
            current_conns: (unadmitted + hosts) as u64,
            input_bytes: traffic.bytes_in,
            output_bytes: traffic.bytes_out,
            total_errs: all_refused + failed(ended),
        }
    }
}

/// Associations that have failed or were lost.
fn failed(ended: &BTreeMap<String, Happened>) -> u64 {
    let failed = ended.iter().filter(|(word, _)| !NO_ERRORS.contains(&word.as_str()));
    failed.map(|(_, happened)| happened.count).sum()
}

impl KindReport {
    /// All counts.
    pub(crate) fn counts(&self) -> ObservedStats {
        let (total_conns, current_conns) = self.connections();
        ObservedStats {
            total_conns,
            current_conns,
            input_bytes: self.bytes_in(),
            output_bytes: self.bytes_out(),
            total_errs: self.errors(),
        }
    }

    /// Bytes of packets that hosts sent to a hub, or that a device gave.
    pub(crate) fn bytes_in(&self) -> u64 {
        match self {
            Self::Hub(hub) => hub.traffic().bytes_in,
            Self::Host(device) => device.sent.bytes_in,
            Self::UdpServer(server) => server.received.bytes_in + server.sent.bytes_in,
            Self::UdpClient(client) => client.sent.bytes_in,
            Self::Relay(relay) => relay.received.bytes_in,
            Self::TapServer(server) => server.received.bytes_in + server.sent.bytes_in,
            Self::TapClient(client) => client.sent.bytes_in,
        }
    }

    /// Bytes of packets that a hub handed to hosts, or that a device took.
    pub(crate) fn bytes_out(&self) -> u64 {
        match self {
            Self::Hub(hub) => hub.traffic().bytes_out,
            Self::Host(device) => device.received.bytes_out,
            Self::UdpServer(server) => server.received.bytes_out + server.sent.bytes_out,
            Self::UdpClient(client) => client.received.bytes_out,
            Self::Relay(relay) => relay.sent.bytes_out,
            Self::TapServer(server) => server.received.bytes_out + server.sent.bytes_out,
            Self::TapClient(client) => client.received.bytes_out,
        }
    }

    /// Connections that were refused, failed or were lost.
    pub(crate) fn errors(&self) -> u64 {
        match self {
            Self::Hub(hub) => hub.all_refused() + failed(&hub.ended),
            Self::Host(device) => device.failed,
            Self::UdpServer(_) | Self::TapServer(_) => 0,
            Self::UdpClient(client) => client.failed,
            Self::Relay(relay) => relay.refused.values().map(|happened| happened.count).sum(),
            Self::TapClient(client) => client.failed,
        }
    }

    /// Connections so far, and those that stand. What has a device has one connection for each time that the device was made.
    fn connections(&self) -> (u64, u64) {
        match self {
            Self::Hub(hub) => {
                let total = hub.admitted + hub.all_refused();
                (total, (hub.unadmitted + hub.hosts().count()) as u64)
            }
            Self::Relay(relay) => {
                let refused: u64 = relay.refused.values().map(|happened| happened.count).sum();
                (relay.admitted + refused, (relay.unadmitted + relay.clients.len()) as u64)
            }
            Self::Host(device) => of_device(&device.health),
            Self::UdpServer(server) => of_device(&server.health),
            Self::UdpClient(client) => of_device(&client.health),
            Self::TapServer(server) => of_device(&server.health),
            Self::TapClient(client) => of_device(&client.health),
        }
    }
}

fn of_device(health: &DeviceHealth) -> (u64, u64) {
    let is_missing = u64::from(health.missing.is_some());
    (1 + health.times_gone - is_missing, 1 - is_missing)
}

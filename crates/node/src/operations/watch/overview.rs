//! A process at a glance.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    sample::ServiceRate,
    service::{WatchedKind, WatchedService},
    state::ServiceWatch,
};
use crate::{
    json,
    report::{KindReport, ListenerReport},
};

/// A process at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// The version of the program.
    pub version: String,
    /// The id of the process.
    pub pid: u32,
    /// When it started, in seconds of Unix time.
    pub started: u64,
    /// How long it has run, in seconds.
    #[serde(with = "json::seconds")]
    pub uptime: Duration,
    /// Its services, by name.
    pub services: Vec<ServiceOverview>,
    /// The number of connected hosts.
    pub hosts: usize,
    /// The number of namespaces.
    pub namespaces: usize,
    /// The number of problems that `rtun status` shows.
    pub problems: usize,
    /// What passes a second, between the last two samples.
    pub rate: ServiceRate,
}

/// A service in a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceOverview {
    /// As configured.
    pub name: String,
    /// `hub`, `host`, `udp_server`, `udp_client`, `relay`, `tap_server` or `tap_client`.
    pub kind: String,
    /// What it does now.
    pub summary: String,
}

impl ServiceWatch {
    /// The process at a glance, which started at this time, in seconds of Unix time, and has this number of problems.
    pub(crate) fn overview(
        &self,
        services: &[WatchedService<'_>],
        started: u64,
        uptime: Duration,
        problems: usize,
    ) -> Overview {
        let sampled = self.sampled(services);
        let hubs = || sampled.now.hubs().map(|(_, hub)| hub);
        let hosts_of = |id| {
            let hub = sampled.now.hubs().find(|(service, _)| service.id == id);
            hub.map_or(0, |(_, hub)| hub.hosts.len())
        };
        Overview {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started,
            uptime,
            services: services.iter().map(|it| summary(it, hosts_of(it.id))).collect(),
            hosts: sampled.now.hosts(),
            namespaces: hubs().map(|hub| hub.namespaces.len()).sum(),
            problems,
            rate: sampled.rates(),
        }
    }
}

fn summary(service: &WatchedService<'_>, hosts: usize) -> ServiceOverview {
    let (kind, summary) = match &service.kind {
        WatchedKind::Hub(hub) => {
            let listens: Vec<_> = hub.listens().map(|it| listens(&it)).collect();
            ("hub", format!("{}, listens on {}", count(hosts, "host"), listens.join(", ")))
        }
        WatchedKind::Other(report) => summary_of(report),
    };
    ServiceOverview { name: service.name.to_owned(), kind: kind.to_owned(), summary }
}

/// The word for its kind, and what it does.
fn summary_of(report: &KindReport) -> (&'static str, String) {
    match report {
        KindReport::Hub(hub) => ("hub", count(hub.hosts().count(), "host")),
        KindReport::Host(device) => {
            let hub = device.connection.as_ref().map(|it| it.hub.as_str());
            let state = hub.map_or("not connected".to_owned(), |hub| format!("connected to {hub}"));
            ("host", format!("{} on {}, {state}", device.host, device.device))
        }
        KindReport::UdpServer(server) => {
            let clients = count(server.clients.len(), "client");
            ("udp_server", format!("{clients}, listens on {}", server.listen))
        }
        KindReport::UdpClient(client) => {
            let server = client.server.as_deref().unwrap_or("no server");
            ("udp_client", format!("{} to {server}", client.device))
        }
        KindReport::Relay(relay) => {
            let listens: Vec<_> = relay.listen.iter().map(listens).collect();
            let clients = count(relay.clients.len(), "client");
            ("relay", format!("{clients}, listens on {}", listens.join(", ")))
        }
        KindReport::TapServer(server) => {
            let clients = count(server.clients.len(), "client");
            ("tap_server", format!("{clients}, listens on {}", server.listen))
        }
        KindReport::TapClient(client) => {
            let server = client.server.as_deref().unwrap_or("no server");
            ("tap_client", format!("{} to {server}", client.device))
        }
    }
}

fn listens(listener: &ListenerReport) -> String {
    format!("{} {}", listener.transport.as_str(), listener.address)
}

fn count(count: usize, of: &str) -> String {
    if count == 1 { format!("1 {of}") } else { format!("{count} {of}s") }
}

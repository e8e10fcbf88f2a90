//! Who is connected to a hub, what passed and what was lost.

use rtun_control::PluginStatus;
use rtun_core::{RoutingTable, prefix_is_for_many};

use crate::{
    counters::Traffic,
    hub::{
        association::HostAssociation,
        namespace::{Namespace, RoutingSnapshot},
    },
    report::{GatewayReport, HostReport, NamespaceReport, Queued, SharedReport},
};

/// Shared prefixes are reported for at most this many different lists of hosts.
const MAX_SHARED: usize = 64;

/// The registry's part of a hub's report.
pub(in crate::hub) struct RegistryStats {
    pub(in crate::hub) namespaces: Vec<NamespaceReport>,
    pub(in crate::hub) gone: Traffic,
    pub(in crate::hub) waiting_for_plugins: u64,
    pub(in crate::hub) plugins: Vec<PluginStatus>,
    pub(in crate::hub) queue_memory: usize,
    pub(in crate::hub) queue_budget: usize,
}

/// A namespace with its hosts; `configured`: whether the configuration names it.
pub(super) fn report(namespace: &Namespace, configured: bool) -> NamespaceReport {
    let snapshot = namespace.snapshot();
    let mut traffic = namespace.ended();
    let mut associations = namespace.associations();
    associations.sort_by(|a, b| a.host.cmp(&b.host).then(b.id.cmp(&a.id)));
    let mut hosts: Vec<HostReport> = Vec::with_capacity(associations.len());
    for association in associations {
        let newest = hosts.last().is_none_or(|before| before.host != association.host);
        let host = report_host(&association, newest, &snapshot);
        traffic += &host.traffic;
        hosts.push(host);
    }
    let routes = snapshot.routing.prefixes();
    let shared = shared(namespace, &snapshot);
    NamespaceReport { id: namespace.id, configured, routes, shared, hosts, traffic }
}

/// A connected host; `newest`: of those of its name it was the last to connect.
pub(in crate::hub) fn report_host(
    association: &HostAssociation,
    newest: bool,
    snapshot: &RoutingSnapshot,
) -> HostReport {
    let (packets, bytes) = association.link.queued();
    let greeting = association.greeting.get();
    HostReport {
        host: association.host.clone(),
        peer: association.peer,
        transport: association.transport,
        connected: association.since.elapsed(),
        carries: newest || !snapshot.one_active_per_host(),
        software: greeting.map(|greeting| greeting.software.clone()),
        mtu: greeting.map(|greeting| greeting.mtu),
        gso_frames: association.gso_frames(),
        datagrams: association.link.uses_datagrams(),
        round_trip: association.link.round_trip(),
        traffic: association.counters.read(),
        queued: Queued { packets, bytes: bytes as u64 },
        limits: association.shapers().report(),
    }
}

/// The prefixes that several hosts share, and which of these hosts are active.
fn shared(namespace: &Namespace, snapshot: &RoutingSnapshot) -> Vec<SharedReport> {
    let all = snapshot.routing.tables().flat_map(RoutingTable::shared);
    let reports = all.take(MAX_SHARED).map(|shared| {
        let mut carried = false;
        let one_carries = snapshot.one_active_per_host() && !prefix_is_for_many(shared.example);
        let gateways = shared.gateways.iter().map(|host| {
            let connected = namespace.has(host);
            let carries = connected && !(carried && one_carries);
            carried |= carries;
            GatewayReport { host: host.clone(), connected, carries }
        });
        let gateways = gateways.collect();
        SharedReport { prefix: shared.example, prefixes: shared.prefixes, gateways }
    });
    reports.collect()
}

//! What those who watch a hub see of it: its hosts and namespaces at one moment, who sends to whom, and which routes are used.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use rtun_core::{HostName, NamespaceId, explain::Origin};
use serde::{Deserialize, Serialize};

use super::{
    HubServiceView,
    explain::listings,
    namespace::Namespace,
    registry::report_host,
    use_meters::{MeteredRoute, Used},
};
use crate::{counters::Traffic, report::HostReport};

/// A hub at one moment.
pub(crate) struct HubMoment {
    /// By their number, which grows from connection to connection.
    pub(crate) hosts: Vec<HostMoment>,
    pub(crate) namespaces: Vec<NamespaceMoment>,
    /// How often a host had joined or left.
    pub(crate) changes: u64,
    /// What passed and was lost since the hub started.
    pub(crate) traffic: Traffic,
}

/// A connected host at one moment.
pub(crate) struct HostMoment {
    /// Of its connection, among those of the hub.
    pub(crate) id: u64,
    pub(crate) namespace: NamespaceId,
    pub(crate) host: HostName,
    pub(crate) peer: SocketAddr,
    pub(crate) connected: Duration,
    pub(crate) passed: Passed,
    pub(crate) queued_bytes: usize,
}

/// A namespace at one moment.
pub(crate) struct NamespaceMoment {
    pub(crate) id: NamespaceId,
    pub(crate) configured: bool,
    pub(crate) routes: usize,
    pub(crate) hosts: usize,
    pub(crate) traffic: Traffic,
}

/// What came, what was handed on, and what was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) input: Amounts,
    pub(crate) output: Amounts,
    /// Packets.
    pub(crate) drops: u64,
}

/// Packets and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Packets.
    pub packets: u64,
    /// Their bytes, those of IP packets.
    pub bytes: u64,
}

/// What a host has sent to another since it has connected.
pub(crate) struct PairMoment {
    pub(crate) namespace: NamespaceId,
    pub(crate) from: HostName,
    /// `None`: all those of which it has no count of their own.
    pub(crate) to: Option<HostName>,
    pub(crate) amounts: Amounts,
}

/// A row of a table that a namespace routes by.
pub(crate) struct RouteMoment<'a> {
    pub(crate) namespace: NamespaceId,
    pub(crate) router: &'a str,
    pub(crate) prefix: IpNet,
    pub(crate) host: &'a HostName,
    pub(crate) origin: Origin,
    pub(crate) source: &'a str,
    pub(crate) line: u32,
    present: Option<&'a Namespace>,
}

impl From<&Traffic> for Passed {
    fn from(traffic: &Traffic) -> Self {
        let Traffic { packets_in, bytes_in, packets_out, bytes_out, .. } = *traffic;
        Self {
            input: Amounts { packets: packets_in, bytes: bytes_in },
            output: Amounts { packets: packets_out, bytes: bytes_out },
            drops: traffic.all_dropped(),
        }
    }
}

impl RouteMoment<'_> {
    /// Whether its host is connected.
    pub(crate) fn connected(&self) -> bool {
        self.present.is_some_and(|namespace| namespace.has(self.host))
    }

    /// What it has carried.
    pub(crate) fn used(&self) -> Used {
        self.present.map_or_else(Used::default, |namespace| {
            let route = MeteredRoute { prefix: self.prefix.trunc(), host: self.host.clone() };
            namespace.routes.read(&route, namespace.since.elapsed())
        })
    }
}

impl HubServiceView {
    /// Who is connected now, and what has passed.
    pub(crate) fn moment(&self) -> HubMoment {
        let registry = &self.connections.served.registry;
        registry.with_namespaces(|namespaces, gone| {
            let mut moment = HubMoment {
                hosts: Vec::new(),
                namespaces: Vec::new(),
                changes: registry.changes(),
                traffic: gone,
            };
            for (namespace, configured) in namespaces {
                let mut traffic = namespace.ended();
                let associations = namespace.associations();
                for association in &associations {
                    let counted = association.counters.read();
                    moment.hosts.push(HostMoment {
                        id: association.id,
                        namespace: namespace.id,
                        host: association.host.clone(),
                        peer: association.peer,
                        connected: association.since.elapsed(),
                        passed: Passed::from(&counted),
                        queued_bytes: association.link.queued().1,
                    });
                    traffic += &counted;
                }
                moment.traffic += &traffic;
                moment.namespaces.push(NamespaceMoment {
                    id: namespace.id,
                    configured,
                    routes: namespace.snapshot().routing.prefixes(),
                    hosts: associations.len(),
                    traffic,
                });
            }
            moment.hosts.sort_unstable_by_key(|host| host.id);
            moment.namespaces.sort_unstable_by_key(|namespace| namespace.id);
            moment
        })
    }

    /// How often a host has joined or left.
    pub(crate) fn changes(&self) -> u64 {
        self.connections.served.registry.changes()
    }

    /// The host with the connection of this number, if it is there still.
    pub(crate) fn host(&self, seen: &HostMoment) -> Option<HostReport> {
        let (_, present) = self.connections.served.registry.moment(seen.namespace);
        let (namespace, snapshot) = present?;
        let claims = namespace.claims(&seen.host);
        let position = claims.iter().position(|claim| claim.id == seen.id)?;
        Some(report_host(&claims[position], position == 0, &snapshot))
    }

    /// Who has sent to whom, in this namespace or in all.
    pub(crate) fn pairs(&self, namespace: Option<NamespaceId>) -> Vec<PairMoment> {
        let mut pairs = Vec::new();
        for namespace in self.present(namespace) {
            let now = namespace.since.elapsed();
            for sender in namespace.associations() {
                let (hosts, others) = sender.sends_to.read(now);
                let others = (others.packets > 0).then_some((None, others));
                let hosts = hosts.into_iter().map(|(host, used)| (Some(host), used));
                pairs.extend(hosts.chain(others).map(|(to, Used { packets, bytes, .. })| {
                    PairMoment {
                        namespace: namespace.id,
                        from: sender.host.clone(),
                        to,
                        amounts: Amounts { packets, bytes },
                    }
                }));
            }
        }
        pairs
    }

    /// Calls `visit` for each row of the tables that this namespace, or each, routes by.
    pub(crate) fn each_route(
        &self,
        namespace: Option<NamespaceId>,
        visit: &mut dyn FnMut(&RouteMoment<'_>),
    ) {
        let registry = &self.connections.served.registry;
        for id in
            registry.namespaces().into_iter().filter(|id| namespace.is_none_or(|it| it == *id))
        {
            let (rules, present) = registry.moment(id);
            let present = present.map(|(namespace, _)| namespace);
            for listing in listings(&rules, id) {
                for row in listing.rows.into_iter().flatten() {
                    visit(&RouteMoment {
                        namespace: id,
                        router: listing.name,
                        prefix: row.route.prefix,
                        host: &row.route.gateway,
                        origin: row.origin,
                        source: row.source,
                        line: row.line,
                        present: present.as_deref(),
                    });
                }
            }
        }
    }

    /// To be called every few seconds: gives meters back that nothing needs any more.
    pub(crate) fn tend_meters(&self) {
        let registry = &self.connections.served.registry;
        for namespace in self.present(None) {
            let now = namespace.since.elapsed();
            for sender in namespace.associations() {
                sender.sends_to.make_room(now);
            }
            if namespace.has_replaced_routes() && !namespace.routes.is_empty() {
                let rules = registry.rules();
                let rows = listings(&rules, namespace.id).into_iter().filter_map(|it| it.rows);
                let routes = rows.flatten().map(|row| (row.route.prefix, &row.route.gateway));
                namespace.routes.retain(routes);
            }
        }
    }

    fn present(&self, only: Option<NamespaceId>) -> Vec<Arc<Namespace>> {
        let registry = &self.connections.served.registry;
        let ids = registry.namespaces().into_iter().filter(|id| only.is_none_or(|it| it == *id));
        ids.filter_map(|id| registry.moment(id).1).map(|(namespace, _)| namespace).collect()
    }
}

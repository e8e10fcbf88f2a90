//! Explains where a packet goes and why, by the current rules, rows and associations.

use std::{ptr, sync::Arc};

use rtun_core::{
    DropReason, HostName, NamespaceId, Placement,
    explain::{
        AppliedLimit, Conclusion, Connection, HubExplanation, LimitedDirection, Listed, Listing,
        Origin, Presence, Question, Scene, Unclear, choose_namespace, explain,
    },
};
use rtun_settings::{Provider, SourceSettings};

use super::{
    namespace::{Moment, Namespace, RoutingSnapshot},
    registry::Registry,
    rules::{CompiledTable, Rules},
};

/// Explains what the hub `service` does with the packet now.
pub(super) fn explain_at(
    registry: &Registry,
    service: &str,
    asked: &Question,
    namespace: Option<NamespaceId>,
) -> Result<HubExplanation, Unclear> {
    let id = choose_namespace(service, namespace, registry.namespaces())?;
    let (rules, present) = registry.moment(id);
    let (namespace, snapshot) = match present {
        Some((namespace, snapshot)) => (Some(namespace), snapshot),
        // What would apply if a host were connected.
        None => (None, Arc::new(RoutingSnapshot::new(id, &rules))),
    };
    let moment = Moment { snapshot: &snapshot, namespace: namespace.as_deref() };
    let scene = Scene {
        routing: &snapshot.routing,
        listings: listings(&rules, id),
        answers: &moment,
        takes_hops: snapshot.takes_hops,
        presence: &|host| {
            let connections = namespace.as_ref().map(|ns| connections(ns, &snapshot, host));
            match connections.filter(|connections| !connections.is_empty()) {
                Some(connections) => Presence::Connected { connections },
                None => absence(&rules, id, host),
            }
        },
    };
    let mut explanation = explain(scene, asked);
    let not_asked = explanation.sources_not_read();
    let mut limits = Vec::new();
    if let Some(namespace) = &namespace {
        let sender = explanation.sender.as_ref().map(|sender| &*sender.host);
        let others = explanation.others.iter().filter(|_| explanation.copies);
        let gateways = explanation.gateway.iter().chain(others).map(|gateway| &*gateway.host);
        limits.extend(sender.map(|it| limits_of(namespace, it, LimitedDirection::From)));
        limits.extend(gateways.map(|it| limits_of(namespace, it, LimitedDirection::To)));
    }
    if registry.is_over_quota() && explanation.conclusion.is_delivered() {
        explanation.conclusion = Conclusion::Dropped { reason: DropReason::QuotaExceeded };
    }
    let (service, limits) = (service.to_owned(), limits.concat());
    Ok(HubExplanation { service, explanation, not_asked, limits })
}

/// The limits of the newest connection of `host`.
fn limits_of(namespace: &Namespace, host: &str, direction: LimitedDirection) -> Vec<AppliedLimit> {
    let newest =
        HostName::new(host).ok().and_then(|host| namespace.claims(&host).into_iter().next());
    let limits = newest.map(|association| association.shapers().report()).unwrap_or_default();
    let applied = limits.into_iter().filter_map(|limit| {
        let bytes_per_second = match direction {
            LimitedDirection::From => limit.input,
            LimitedDirection::To => limit.output,
        };
        Some(AppliedLimit {
            host: host.to_owned(),
            direction,
            limiter: limit.limiter,
            scope: limit.scope,
            bytes_per_second: bytes_per_second?,
        })
    });
    applied.collect()
}

/// The rows of the routers that [`Rules::routing`] asks.
pub(super) fn listings(rules: &Rules, namespace: NamespaceId) -> Vec<Listing<'_>> {
    let default = rules.config.default_router.as_ref();
    let mut listings = Vec::new();
    for router in rules.routers(namespace) {
        let is_default = default.is_some_and(|default| ptr::eq(default, router));
        let (rows, not_read) = match &router.provider {
            Provider::Plugin(_) if rules.plugins.route_plugin(&router.name).is_some() => {
                (None, Vec::new())
            }
            Provider::Plugin(_) => continue,
            Provider::Rows(configured) => {
                let Some(table) = rules.tables.get(&router.name) else { continue };
                let origins: Vec<Origin> = configured.sources.iter().map(origin).collect();
                let empty = table.parts.iter().filter(|part| part.rows.is_empty());
                let not_read = empty.map(|part| format!("{} has given no rows", part.label));
                (Some(rows(table, origins)), not_read.collect())
            }
        };
        listings.push(Listing { name: &router.name, is_default, rows, not_read });
    }
    listings
}

/// `origins` are those of the table's sources, in their order.
fn rows(table: &CompiledTable, origins: Vec<Origin>) -> Box<dyn Iterator<Item = Listed<'_>> + '_> {
    let inline = table.inline.iter().map(|row| Listed {
        route: &row.value,
        origin: Origin::Inline,
        source: &row.file,
        line: row.line,
    });
    let read = table.parts.iter().zip(origins).flat_map(|(part, origin)| {
        part.rows.iter().map(move |row| Listed {
            route: &row.value,
            origin,
            source: &part.label,
            line: row.line,
        })
    });
    Box::new(inline.chain(read))
}

fn origin(source: &SourceSettings) -> Origin {
    match source {
        SourceSettings::File(_) => Origin::File,
        SourceSettings::Redis(_) => Origin::Redis,
        SourceSettings::Http(_) => Origin::Http,
    }
}

/// The connections of a host, the newest first.
fn connections(
    namespace: &Namespace,
    snapshot: &RoutingSnapshot,
    host: &HostName,
) -> Vec<Connection> {
    let newest_first = namespace.claims(host).into_iter().enumerate();
    let connections = newest_first.map(|(older, association)| {
        let (queued_packets, queued_bytes) = association.link.queued();
        Connection {
            peer: association.peer,
            transport: association.transport.as_str().to_owned(),
            seconds: association.since.elapsed().as_secs(),
            queued_packets,
            queued_bytes: queued_bytes as u64,
            standing_by: older > 0 && snapshot.one_active_per_host(),
        }
    });
    connections.collect()
}

/// Why a host is not connected, as far as the ingress shows it.
fn absence(rules: &Rules, namespace: NamespaceId, host: &HostName) -> Presence {
    let (Some(Placement::Rules(placement)), Some(ingress)) =
        (&rules.access.ingress, &rules.config.ingress)
    else {
        return Presence::NotConnected;
    };
    let because = match placement.namespace_of(host) {
        Some(admitted) if admitted == namespace => return Presence::NotConnected,
        Some(admitted) => format!("{} admits that name to {admitted} instead", ingress.name),
        None => format!("{} has no rule for that name", ingress.name),
    };
    Presence::Impossible { because }
}

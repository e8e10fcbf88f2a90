//! Which host may reach which, hub by hub and namespace by namespace.
//!
//! Packets never pass from one namespace to another. What two of them can have in common is a default router, whose
//! routes hold in each, and a host's name, under which somebody may stand in both.

use std::{collections::BTreeMap, fmt::Write};

use ipnet::IpNet;
use rtun_core::{
    MAX_COPIES, NamespaceId, prefix_is_for_many,
    reach::{Domain, Reach, in_several},
};
use serde::Serialize;

use crate::offline::Hub;

/// Pairs listed in all.
const MAX_PAIRS: usize = 100_000;

/// Hosts of a namespace that are shown as a matrix; of more only the numbers are.
const MAX_MATRIX: usize = 64;

/// How many names of a list are shown.
const MAX_NAMES: usize = 16;

/// The namespaces that nothing names, in which a default router answers alone.
const ANY_OTHER: &str = "*";

/// One hub.
#[derive(Serialize)]
pub(super) struct HubReach {
    service: String,
    namespaces: Vec<NamespaceReach>,
    shared: Shared,
}

/// One namespace.
#[derive(Serialize)]
struct NamespaceReach {
    /// Its UUID, or `*` for all that nothing names.
    namespace: String,
    hosts: Vec<String>,
    /// How many there are, listed or not.
    pairs_total: u64,
    /// Whether some are left out.
    truncated: bool,
    pairs: Vec<Pair>,
    /// Hosts that can send to nobody.
    silent: Vec<String>,
    /// Gateways of routes that can never join.
    barred: Vec<String>,
    /// The routes of multicast and broadcast; without one such packets are dropped.
    for_many: Vec<ForMany>,
    /// What was not asked and might name more.
    not_asked: Vec<String>,
    #[serde(skip)]
    reach: Reach,
}

/// A prefix of multicast or broadcast addresses alone.
#[derive(Serialize)]
struct ForMany {
    prefix: String,
    /// Each gets a copy.
    hosts: Vec<String>,
}

/// Somebody who can send to somebody.
#[derive(Serialize)]
struct Pair {
    from: String,
    to: String,
}

/// What namespaces of a hub have in common.
#[derive(Serialize)]
struct Shared {
    default_routers: Vec<SharedRouter>,
    hosts: Vec<SharedHost>,
    /// Whether no ingress says who may join which namespace.
    any_host_any_namespace: bool,
}

#[derive(Serialize)]
struct SharedRouter {
    router: String,
    namespaces: Vec<String>,
}

#[derive(Serialize)]
struct SharedHost {
    host: String,
    namespaces: Vec<String>,
}

/// Of each of these hubs.
pub(super) fn reach(hubs: &[Hub<'_>]) -> Vec<HubReach> {
    let mut room = MAX_PAIRS;
    hubs.iter().map(|hub| of_hub(hub, &mut room)).collect()
}

fn of_hub(hub: &Hub<'_>, room: &mut usize) -> HubReach {
    let mut namespaces: Vec<_> = hub
        .named_namespaces()
        .iter()
        .map(|id| of_namespace(hub, *id, id.to_string(), room))
        .collect();
    if hub.has_other_namespaces()
        && let Some(other) = unnamed(hub)
    {
        namespaces.push(of_namespace(hub, other, ANY_OTHER.to_owned(), room));
    }
    let several = in_several(namespaces.iter().map(|ns| (ns.namespace.clone(), &ns.reach)));
    let hosts = several
        .into_iter()
        .map(|(host, namespaces)| SharedHost { host: host.as_str().to_owned(), namespaces });
    let all: Vec<String> = namespaces.iter().map(|ns| ns.namespace.clone()).collect();
    let default = hub.default_router().filter(|_| all.len() > 1);
    let shared = Shared {
        hosts: hosts.collect(),
        default_routers: default
            .map(|router| SharedRouter { router: router.name.clone(), namespaces: all })
            .into_iter()
            .collect(),
        any_host_any_namespace: hub.rules.ingress.is_none(),
    };
    HubReach { service: hub.service.to_owned(), namespaces, shared }
}

/// A namespace that stands for all that nothing names: the first of those that would be.
fn unnamed(hub: &Hub<'_>) -> Option<NamespaceId> {
    let named = hub.named_namespaces();
    let mut ids = (0..=u128::MAX).map(|n| NamespaceId::from_bytes(n.to_be_bytes()));
    ids.find(|id| !named.contains(id))
}

fn of_namespace(
    hub: &Hub<'_>,
    id: NamespaceId,
    namespace: String,
    room: &mut usize,
) -> NamespaceReach {
    let reach = Reach::new(&Domain {
        tables: hub.routers(id).map(|(table, _)| table.routes().collect()).collect(),
        source_check: hub.rules.source_check,
        hosts: hub.named_hosts(id),
        may_join: &|host| hub.admits(host, id).is_ok(),
    });
    let pairs: Vec<Pair> = reach
        .pairs()
        .take(*room)
        .map(|(from, to)| Pair { from: from.as_str().to_owned(), to: to.as_str().to_owned() })
        .collect();
    *room -= pairs.len();
    let pairs_total = reach.pair_count();
    NamespaceReach {
        namespace,
        hosts: reach.hosts().map(|host| host.as_str().to_owned()).collect(),
        pairs_total,
        truncated: pairs.len() as u64 != pairs_total,
        pairs,
        silent: reach.silent().map(|host| host.as_str().to_owned()).collect(),
        barred: reach.barred().map(|host| host.as_str().to_owned()).collect(),
        for_many: for_many(hub, id),
        not_asked: hub.not_asked(id),
        reach,
    }
}

/// The routes of multicast and broadcast, in the order of their prefixes.
fn for_many(hub: &Hub<'_>, id: NamespaceId) -> Vec<ForMany> {
    let mut prefixes: BTreeMap<IpNet, Vec<String>> = BTreeMap::new();
    for (table, _) in hub.routers(id) {
        let routes = table.routes().filter(|route| prefix_is_for_many(route.prefix));
        let mut own: BTreeMap<IpNet, Vec<String>> = BTreeMap::new();
        for route in routes {
            let hosts = own.entry(route.prefix).or_default();
            let name = route.gateway.as_str();
            if hosts.len() < MAX_COPIES && !hosts.iter().any(|host| host == name) {
                hosts.push(name.to_owned());
            }
        }
        // A prefix of the first table hides all that it contains of the next.
        own.retain(|prefix, _| !prefixes.keys().any(|before| before.contains(prefix)));
        prefixes.extend(own);
    }
    let listed = prefixes.into_iter();
    listed.map(|(prefix, hosts)| ForMany { prefix: prefix.to_string(), hosts }).collect()
}

/// For people.
pub(super) fn text(hubs: &[HubReach]) -> String {
    let mut text = String::new();
    for HubReach { service, namespaces, shared } in hubs {
        let _ = writeln!(text, "\nhub {service}");
        for namespace in namespaces {
            write_namespace(&mut text, namespace, namespaces.len() == 1);
        }
        write_shared(&mut text, shared);
    }
    text
}

fn write_namespace(text: &mut String, namespace: &NamespaceReach, alone: bool) {
    let NamespaceReach { hosts, pairs_total, silent, barred, for_many, not_asked, reach, .. } =
        namespace;
    let title = match &*namespace.namespace {
        ANY_OTHER if alone => "every namespace".to_owned(),
        ANY_OTHER => spoken(ANY_OTHER).to_owned(),
        id => format!("namespace {id}"),
    };
    let (hosts, ways) = (count(hosts.len() as u64, "host"), count(*pairs_total, "way"));
    let _ = writeln!(text, "  {title}: {hosts}, {ways}");
    if reach.hosts().len() <= MAX_MATRIX {
        write_matrix(text, reach);
    }
    write_names(text, "can send to nobody", silent);
    write_names(text, "gateways that can never join", barred);
    for ForMany { prefix, hosts } in for_many.iter().take(MAX_NAMES) {
        write_names(text, &format!("{prefix} goes to"), hosts);
    }
    if for_many.is_empty() {
        text.push_str("  multicast and broadcast: dropped, no route is about them\n");
    }
    write_names(text, "not asked, may name more", not_asked);
}

/// A row for each sender, a column for each receiver.
fn write_matrix(text: &mut String, reach: &Reach) {
    let names = reach.hosts().map(|host| host.as_str().chars().count());
    let width = names.max().unwrap_or(0);
    let number = reach.hosts().len().to_string().len();
    let blank = number + 1 + width;
    if reach.hosts().len() == 0 {
        return;
    }
    let _ = write!(text, "    {:blank$} ", "");
    for n in 1..=reach.hosts().len() {
        let _ = write!(text, " {n:>number$}");
    }
    text.push('\n');
    for (n, from) in (1..).zip(reach.hosts()) {
        let _ = write!(text, "    {n:>number$} {:width$} ", from.as_str());
        for to in reach.hosts() {
            let cell = match () {
                () if from == to => "-",
                () if reach.reaches(from, to) => "x",
                () => ".",
            };
            let _ = write!(text, " {cell:>number$}");
        }
        text.push('\n');
    }
}

fn write_shared(text: &mut String, shared: &Shared) {
    for SharedRouter { router, namespaces } in &shared.default_routers {
        let title = format!("shared: default router {router} answers in");
        write_names(text, &title, namespaces);
    }
    for SharedHost { host, namespaces } in shared.hosts.iter().take(MAX_NAMES) {
        write_names(text, &format!("shared: a host named {host} may join"), namespaces);
    }
    if shared.hosts.len() > MAX_NAMES {
        let _ = writeln!(text, "  shared: and {} more names", shared.hosts.len() - MAX_NAMES);
    }
    if shared.any_host_any_namespace {
        text.push_str("  no ingress: any host may join any namespace whose UUID it knows\n");
    }
}

fn write_names(text: &mut String, title: &str, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let shown = names.iter().take(MAX_NAMES).map(|name| spoken(name));
    let mut shown = shown.collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMES {
        let _ = write!(shown, " and {} more", names.len() - MAX_NAMES);
    }
    let _ = writeln!(text, "  {title}: {shown}");
}

fn spoken(name: &str) -> &str {
    if name == ANY_OTHER { "every other namespace" } else { name }
}

fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

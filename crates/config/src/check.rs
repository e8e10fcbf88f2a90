//! What several objects say together: gateways nobody can be, tables that surprise, names that differ by case
//! only.

mod exposure;
mod quotas;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;
use rtun_core::{HostName, MAX_COPIES, MAX_GATEWAYS, NamespaceId, prefix_is_for_many};

use crate::{
    findings::Code,
    location::quote,
    normalise::{Context, HubView, IngressTable, ListenerViews, RouterTable},
    report::At,
    schema::{device_listener, service},
    suggest,
};
use rtun_settings::{Config, ListenerSettings, Named, ServiceKind, User};

/// Reports what only shows when all objects are known.
pub(crate) fn check(config: &Config, context: &Context<'_>, views: &ListenerViews<'_>) {
    let ListenerViews { hubs, relays } = views;
    for table in &context.tables.routers {
        order(table);
        default_routes(table);
        too_many_gateways(table);
    }
    // After an error, names that are missing are often missing because of it.
    let complete = !context.report.failed();
    for hub in hubs {
        if complete {
            unreachable_gateways(hub, context);
            endpoints_without_table(hub, context);
            exposure::check(hub);
        }
        quotas::check(hub, context);
        shared_default(hub, context);
    }
    if complete {
        relays.iter().for_each(exposure::check_relay);
    }
    let listeners = hubs.iter().map(|hub| &hub.listeners);
    listened_twice(listeners.chain(relays.iter().map(|relay| &relay.listeners)).flatten());
    devices_twice(config, context);
    names_by_case(config, context);
}

/// C17: where the first match (GOST) and the longest prefix (rtun) are different hosts.
fn order(table: &RouterTable<'_>) {
    let complete = table.router.is_all_inline();
    let routes: Vec<_> = table.routes().collect();
    let mut first: HashMap<IpNet, usize> = HashMap::new();
    for (i, (route, row)) in routes.iter().enumerate() {
        let earlier = (0..=route.prefix.prefix_len())
            .filter_map(|len| first.get(&IpNet::new(route.prefix.addr(), len).ok()?.trunc()))
            .min()
            .and_then(|j| routes.get(*j));
        first.entry(route.prefix).or_insert(i);
        // A source may have the same prefix once more, and then that counts.
        let earlier = earlier.filter(|(other, _)| complete || other.prefix == route.prefix);
        let Some((other, place)) = earlier.filter(|(other, _)| other.gateway != route.gateway)
        else {
            continue;
        };
        let line = place.dst.shown().unwrap_or_default();
        let prefix = route.prefix;
        let [gateway, first] = [&route.gateway, &other.gateway].map(|name| quote(name.as_str()));
        let (message, help) = if other.prefix == prefix && prefix_is_for_many(prefix) {
            (
                format!(
                    "{prefix} gives {gateway} a copy of what {first} gets; GOST takes the first only"
                ),
                format!("the first is at {line}"),
            )
        } else if other.prefix == prefix {
            (
                format!(
                    "{prefix} leads to {first} first; {gateway} carries it while that one is away; GOST takes the first only"
                ),
                format!("the first is at {line}; `router.sharing: flow` shares flows instead"),
            )
        } else {
            (
                format!(
                    "{prefix} leads to {gateway} by its longer prefix; GOST takes the first match, {} to {first}",
                    other.prefix
                ),
                format!("for the same answer from both put it before {line}"),
            )
        };
        row.dst.coded(Code::C17, message).help(help);
    }
}

/// C19: hosts that everything goes to, but for multicast and broadcast.
fn default_routes(table: &RouterTable<'_>) {
    for (route, row) in table.routes() {
        let (prefix, gateway) = (route.prefix, quote(route.gateway.as_str()));
        let for_many = ["224.0.0.0", "255.255.255.255", "ff00::"].map(|it| it.parse::<IpAddr>());
        let takes_many = for_many.iter().flatten().any(|address| prefix.contains(address));
        let own = if prefix.addr().is_ipv4() { "224.0.0.0/4" } else { "ff00::/8" };
        if prefix.prefix_len() == 0 {
            let message = format!(
                "{prefix} leads everything that has no other route to {gateway}, but for multicast and broadcast"
            );
            row.dst.coded(Code::C19, message).help(format!(
                "name the prefixes that this host leads to, unless everything else is meant to go there; \
                 for multicast add {own}"
            ));
        } else if takes_many && !prefix_is_for_many(prefix) {
            let message = format!(
                "{prefix} leads no multicast and broadcast to {gateway}: these follow prefixes of such addresses alone"
            );
            row.dst
                .coded(Code::C19, message)
                .help(format!("add a route for {own} where they are meant to be carried"));
        }
    }
}

/// Rows of one prefix past the number of hosts that it may be behind.
fn too_many_gateways(table: &RouterTable<'_>) {
    let mut hosts: HashMap<IpNet, BTreeSet<&HostName>> = HashMap::new();
    for (route, row) in table.routes() {
        let hosts = hosts.entry(route.prefix).or_default();
        let most = if prefix_is_for_many(route.prefix) { MAX_COPIES } else { MAX_GATEWAYS };
        if hosts.len() == most && !hosts.contains(&route.gateway) {
            let message = format!("{} is behind {most} hosts already", route.prefix);
            row.dst
                .warning(message)
                .help("this row and further ones of that prefix have no effect");
        }
        hosts.insert(&route.gateway);
    }
}

/// C15: gateways that neither the ingress nor any user may be.
fn unreachable_gateways(hub: &HubView<'_>, context: &Context<'_>) {
    let ingress = hub.ingress.as_ref().and_then(|name| context.tables.ingress(name));
    let ingress = ingress.filter(|table| table.ingress.is_all_inline());
    let rules = ingress.map(compiled);
    let names = hub.authers.as_deref().and_then(reported_names);
    for table in &context.tables.routers {
        let is_default = hub.default_router.as_ref().is_some_and(|(n, _)| *n == table.router.name);
        if table.id.is_none() && !is_default {
            continue;
        }
        // A default router serves every namespace.
        let namespace = table.id.filter(|_| !is_default);
        for (route, row) in table.routes() {
            let gateway = &route.gateway;
            if let (Some(ingress), Some(rules)) = (ingress, &rules)
                && !admits(rules, gateway, namespace)
            {
                not_admitted(ingress, gateway, namespace, &row.gateway);
            } else if let Some(names) = names.as_ref().filter(|names| !names.contains(gateway)) {
                not_reported(names, gateway, &row.gateway);
            }
        }
    }
}

fn compiled(ingress: &IngressTable<'_>) -> rtun_core::Ingress {
    let rules = ingress.rules().map(|(rule, _)| (rule.pattern.as_str(), rule.namespace));
    rtun_core::Ingress::new(rules)
}

/// Whether the rules let the host `name` into `namespace`, or into any.
fn admits(rules: &rtun_core::Ingress, name: &HostName, namespace: Option<NamespaceId>) -> bool {
    let allowed = rules.namespace_of(name);
    allowed.is_some_and(|allowed| namespace.is_none_or(|namespace| namespace == allowed))
}

/// The names that users may report; `None` if one of them may report any, or not all users are known here.
fn reported_names(authers: &[Named<User>]) -> Option<BTreeSet<&HostName>> {
    if !authers.iter().all(Named::is_all_inline) || authers.iter().all(Named::is_empty) {
        return None;
    }
    let users = authers.iter().flat_map(Named::inline);
    let names: Option<Vec<_>> = users.map(|user| user.hosts.as_ref()).collect();
    Some(names?.into_iter().flatten().collect())
}

fn not_admitted(
    ingress: &IngressTable<'_>,
    gateway: &HostName,
    namespace: Option<NamespaceId>,
    at: &At<'_>,
) {
    let (gateway, name) = (gateway.as_str(), quote(&ingress.ingress.name));
    let message = match namespace {
        Some(_) => format!(
            "no host can be {} in this namespace: {name} does not admit that name to it",
            quote(gateway)
        ),
        None => format!("no host can be {}: {name} does not admit that name", quote(gateway)),
    };
    at.coded(Code::C15, message).help_with(|| {
        let rules = ingress.rules().map(|(rule, _)| rule);
        let joins = rules.filter(|rule| namespace.is_none_or(|id| id == rule.namespace));
        let names: Vec<&str> = joins.map(|rule| &*rule.pattern).collect();
        match names.is_empty() {
            true => format!("add a rule for {}, or another gateway", quote(gateway)),
            false => suggest::name_of(gateway, "names it admits", &names),
        }
    });
}

fn not_reported(names: &BTreeSet<&HostName>, gateway: &HostName, at: &At<'_>) {
    let gateway = gateway.as_str();
    let message = format!("no host can be {}: no user may report that name", quote(gateway));
    at.coded(Code::C15, message).help_with(|| {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        suggest::name_of(gateway, "names that may be reported", &names)
    });
}

/// C16: rules that admit hosts to a namespace nobody routes for.
fn endpoints_without_table(hub: &HubView<'_>, context: &Context<'_>) {
    let ingress = hub.ingress.as_ref().filter(|_| hub.default_router.is_none());
    let Some(ingress) = ingress.and_then(|name| context.tables.ingress(name)) else { return };
    let tables: BTreeSet<_> = context.tables.routers.iter().filter_map(|t| t.id).collect();
    for (rule, at) in ingress.rules().filter(|(rule, _)| !tables.contains(&rule.namespace)) {
        at.coded(Code::C16, format!("the namespace {} has no routing table", rule.namespace))
            .help("add a router with that UUID as its name, or a default `router` to the handler");
    }
}

/// C28: a default router next to namespaces that have a table.
fn shared_default(hub: &HubView<'_>, context: &Context<'_>) {
    let Some((name, at)) = &hub.default_router else { return };
    let others = context.tables.routers.iter().filter(|table| table.router.name != *name);
    let own: Vec<_> = others.filter_map(|table| table.id).collect();
    let Some(first) = own.first() else { return };
    let others = match own.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let message = format!(
        "{} also answers for {first}{others} where that has no route of its own, as in GOST",
        quote(name)
    );
    at.coded(Code::C28, message).help(
        "give each namespace a table that covers what it may reach, or remove the default router",
    );
}

fn listened_twice<'v>(listeners: impl Iterator<Item = &'v (ListenerSettings, At<'v>)>) {
    let mut seen = HashMap::new();
    for (listener, at) in listeners.filter(|(listener, _)| !listener.sockets.reuse_port) {
        let ListenerSettings { addr, stack, sockets, .. } = listener;
        // UDP has ports of its own, and so has each network namespace.
        let key = (addr, stack.is_on_udp(), &sockets.netns);
        let first: Option<&At<'_>> = seen.insert(key, at);
        let Some(first) = first.filter(|_| !addr.ends_with(":0")) else { continue };
        let help = match first.shown().filter(|_| first.place != at.place) {
            Some(place) => format!("the first is at {place}; give one of them another port"),
            None => "give one of them an `addr` with another port".to_owned(),
        };
        at.error(format!("two listeners are on {}", quote(addr))).help(help);
    }
}

fn devices_twice(config: &Config, context: &Context<'_>) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for service in &config.services {
        let device = match &service.kind {
            ServiceKind::Hub(_) | ServiceKind::Relay(_) => continue,
            ServiceKind::Host(host) => &host.device,
            ServiceKind::UdpServer(server) => &server.device,
            ServiceKind::UdpClient(client) => &client.device,
            ServiceKind::TapServer(server) => &server.tap.device,
            ServiceKind::TapClient(client) => &client.tap.device,
        };
        let Some(device) = &device.name else { continue };
        let Some(first) = seen.insert(device, &service.name) else { continue };
        let Some(at) = context.names.services.get(&service.name) else { continue };
        let (first, second) = (quote(first), quote(&service.name));
        at.object(&service::LISTENER)
            .place_of(&device_listener::NAME)
            .error(format!("{first} and {second} have the same device {}", quote(device)))
            .help("give each service a device name of its own");
    }
}

/// Host names are compared exactly: two that differ by case only are probably one.
fn names_by_case<'a>(config: &Config, context: &Context<'a>) {
    let mut names: BTreeMap<String, (String, At<'a>)> = BTreeMap::new();
    let mut see = |name: &str, at: At<'a>| {
        let (first, _) =
            names.entry(name.to_lowercase()).or_insert_with(|| (name.to_owned(), at.clone()));
        if first != name {
            let (name, first) = (quote(name), quote(first));
            at.warning(format!("{name} and {first} are different hosts: case counts"))
                .help(format!("write {first} if they are the same"));
        }
    };
    for table in &context.tables.routers {
        for (route, row) in table.routes() {
            see(route.gateway.as_str(), row.gateway.clone());
        }
    }
    for (rule, at) in context.tables.ingresses.iter().flat_map(IngressTable::rules) {
        see(&rule.pattern, at.clone());
    }
    for service in &config.services {
        if let ServiceKind::Host(host) = &service.kind {
            let at = context.names.services.get(&service.name);
            see(host.name.as_str(), at.map_or(context.report.whole(), |at| at.at.clone()));
        }
    }
}

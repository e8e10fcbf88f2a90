//! What several objects say together: gateways nobody can be, tables that surprise, names that differ by case
//! only.

mod exposure;
mod quotas;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::IpNet;
use rtun_core::{HostName, NamespaceId, Route};

use crate::{
    findings::{Code, Report},
    location::{At, quote},
    normalise::{Context, HubView, IngressTable, RouterTable, is_all_inline},
    schema::{device_listener, service},
    suggest,
};
use rtun_settings::{Config, ListenerSettings, Named, Provider, ServiceKind, User};

/// Reports what only shows when all objects are known.
pub(crate) fn check(config: &Config, context: &Context<'_>, hubs: &[HubView], report: &mut Report) {
    for table in &context.tables.routers {
        order(table, report);
        default_routes(table, report);
    }
    // After an error, names that are missing are often missing because of it.
    let complete = !report.failed();
    for hub in hubs {
        if complete {
            unreachable_gateways(hub, context, report);
            endpoints_without_table(hub, context, report);
            exposure::check(hub, report);
        }
        quotas::check(hub, context, report);
        shared_default(hub, context, report);
    }
    listened_twice(hubs, report);
    devices_twice(config, context, report);
    names_by_case(config, context, report);
}

fn routes(table: &RouterTable) -> Vec<&Route> {
    match &table.router.provider {
        Provider::Rows(rows) => rows.inline.iter().map(|row| &row.value).collect(),
        Provider::Plugin(_) => Vec::new(),
    }
}

/// C17: where the first match (GOST) and the longest prefix (rtun) are different hosts.
fn order(table: &RouterTable, report: &mut Report) {
    let routes = routes(table);
    let complete = is_all_inline(&table.router.provider);
    let mut first: HashMap<IpNet, usize> = HashMap::new();
    for (i, (route, row)) in routes.iter().zip(&table.rows).enumerate() {
        let earlier = (0..=route.prefix.prefix_len())
            .filter_map(|len| first.get(&IpNet::new(route.prefix.addr(), len).ok()?.trunc()))
            .min()
            .and_then(|j| routes.get(*j).zip(table.rows.get(*j)));
        first.entry(route.prefix).or_insert(i);
        // A source may have the same prefix once more, and then that counts.
        let earlier = earlier.filter(|(other, _)| complete || other.prefix == route.prefix);
        let Some((other, place)) = earlier.filter(|(other, _)| other.gateway != route.gateway)
        else {
            continue;
        };
        let line = place.dst.place.map(|place| report.texts.show(place));
        let line = line.unwrap_or_default();
        let (message, help) = if other.prefix == route.prefix {
            (
                format!(
                    "{} leads to {} first; {} carries it while that one is away; GOST takes the first only",
                    route.prefix,
                    quote(other.gateway.as_str()),
                    quote(route.gateway.as_str())
                ),
                format!("the first is at {line}; `router.sharing: flow` shares flows instead"),
            )
        } else {
            (
                format!(
                    "{} leads to {} by its longer prefix; GOST takes the first match, {} to {}",
                    route.prefix,
                    quote(route.gateway.as_str()),
                    other.prefix,
                    quote(other.gateway.as_str())
                ),
                format!("for the same answer from both put it before {line}"),
            )
        };
        report.coded(Code::C17, row.dst.clone(), message).help(help);
    }
}

/// C19: hosts that everything goes to.
fn default_routes(table: &RouterTable, report: &mut Report) {
    for (route, row) in routes(table).into_iter().zip(&table.rows) {
        if route.prefix.prefix_len() == 0 {
            let (prefix, gateway) = (route.prefix, quote(route.gateway.as_str()));
            let message = format!("{prefix} leads everything that has no other route to {gateway}");
            report
                .coded(Code::C19, row.dst.clone(), message)
                .help("name the prefixes that this host leads to, unless everything else is meant to go there");
        }
    }
}

/// C15: gateways that neither the ingress nor any user may be.
fn unreachable_gateways(hub: &HubView, context: &Context<'_>, report: &mut Report) {
    let ingress = hub.ingress.as_ref().and_then(|name| ingress(context, name));
    let ingress = ingress.filter(|ingress| is_all_inline(&ingress.provider));
    let rules = ingress.map(compiled);
    let names = hub.authers.as_deref().and_then(reported_names);
    for table in &context.tables.routers {
        let is_default = hub.default_router.as_ref().is_some_and(|(n, _)| *n == table.router.name);
        if table.id.is_none() && !is_default {
            continue;
        }
        // A default router serves every namespace.
        let namespace = table.id.filter(|_| !is_default);
        for (route, row) in routes(table).into_iter().zip(&table.rows) {
            let gateway = &route.gateway;
            if let (Some(ingress), Some(rules)) = (ingress, &rules)
                && !admits(rules, gateway, namespace)
            {
                not_admitted(ingress, gateway, namespace, &row.gateway, report);
            } else if let Some(names) = names.as_ref().filter(|names| !names.contains(gateway)) {
                not_reported(names, gateway, &row.gateway, report);
            }
        }
    }
}

fn compiled(ingress: &IngressTable) -> rtun_core::Ingress {
    let rules = ingress.rules.iter().map(|(rule, _)| (rule.pattern.as_str(), rule.namespace));
    rtun_core::Ingress::new(rules)
}

/// Whether the rules let the host `name` into `namespace`, or into any.
fn admits(rules: &rtun_core::Ingress, name: &HostName, namespace: Option<NamespaceId>) -> bool {
    let allowed = rules.namespace_of(name);
    allowed.is_some_and(|allowed| namespace.is_none_or(|namespace| namespace == allowed))
}

/// The names that users may report; `None` if one of them may report any, or not all users are known here.
fn reported_names(authers: &[Named<User>]) -> Option<BTreeSet<&HostName>> {
    let mut users = Vec::new();
    for auther in authers {
        match &auther.provider {
            Provider::Rows(rows) if rows.sources.is_empty() => {
                users.extend(rows.inline.iter().map(|row| &row.value));
            }
            _ => return None,
        }
    }
    if users.is_empty() {
        return None;
    }
    let names: Option<Vec<_>> = users.iter().map(|user| user.hosts.as_ref()).collect();
    Some(names?.into_iter().flatten().collect())
}

fn not_admitted(
    ingress: &IngressTable,
    gateway: &HostName,
    namespace: Option<NamespaceId>,
    at: &At,
    report: &mut Report,
) {
    let (gateway, name) = (gateway.as_str(), quote(&ingress.name));
    let message = match namespace {
        Some(_) => format!(
            "no host can be {} in this namespace: {name} does not admit that name to it",
            quote(gateway)
        ),
        None => format!("no host can be {}: {name} does not admit that name", quote(gateway)),
    };
    report.coded(Code::C15, at, message).help_with(|| {
        let rules = ingress.rules.iter().map(|(rule, _)| rule);
        let joins = rules.filter(|rule| namespace.is_none_or(|id| id == rule.namespace));
        let names: Vec<&str> = joins.map(|rule| &*rule.pattern).collect();
        match names.is_empty() {
            true => format!("add a rule for {}, or another gateway", quote(gateway)),
            false => suggest::name_of(gateway, "names it admits", &names),
        }
    });
}

fn not_reported(names: &BTreeSet<&HostName>, gateway: &HostName, at: &At, report: &mut Report) {
    let gateway = gateway.as_str();
    let message = format!("no host can be {}: no user may report that name", quote(gateway));
    report.coded(Code::C15, at, message).help_with(|| {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        suggest::name_of(gateway, "names that may be reported", &names)
    });
}

fn ingress<'c>(context: &'c Context<'_>, name: &str) -> Option<&'c IngressTable> {
    context.tables.ingresses.iter().find(|ingress| ingress.name == name)
}

/// C16: rules that admit hosts to a namespace nobody routes for.
fn endpoints_without_table(hub: &HubView, context: &Context<'_>, report: &mut Report) {
    let Some(ingress) = hub.ingress.as_ref().and_then(|name| ingress(context, name)) else {
        return;
    };
    if hub.default_router.is_some() {
        return;
    }
    let tables: BTreeSet<_> = context.tables.routers.iter().filter_map(|t| t.id).collect();
    for (rule, at) in &ingress.rules {
        if !tables.contains(&rule.namespace) {
            report
                .coded(
                    Code::C16,
                    at.clone(),
                    format!("the namespace {} has no routing table", rule.namespace),
                )
                .help(
                    "add a router with that UUID as its name, or a default `router` to the handler",
                );
        }
    }
}

/// C28: a default router next to namespaces that have a table.
fn shared_default(hub: &HubView, context: &Context<'_>, report: &mut Report) {
    let Some((name, at)) = &hub.default_router else { return };
    let own: Vec<String> = context
        .tables
        .routers
        .iter()
        .filter(|table| table.router.name != *name)
        .filter_map(|table| table.id.map(|id| id.to_string()))
        .collect();
    let Some(first) = own.first() else { return };
    let others = match own.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    report
        .coded(
            Code::C28,
            at.clone(),
            format!(
                "{} also answers for {first}{others} where that has no route of its own, as in GOST",
                quote(name)
            ),
        )
        .help(
            "give each namespace a table that covers what it may reach, or remove the default \
             router",
        );
}

fn listened_twice(hubs: &[HubView], report: &mut Report) {
    let mut seen = HashMap::new();
    let listeners = hubs.iter().flat_map(|hub| &hub.listeners);
    for (listener, at) in listeners.filter(|(listener, _)| !listener.sockets.reuse_port) {
        let ListenerSettings { addr, stack, sockets, .. } = listener;
        // UDP has ports of its own, and so has each network namespace.
        let key = (addr, stack.is_on_udp(), &sockets.netns);
        let first: Option<&At> = seen.insert(key, at);
        let Some(first) = first.filter(|_| !addr.ends_with(":0")) else { continue };
        let place = first.place.filter(|place| Some(*place) != at.place);
        let help = match place.map(|place| report.texts.show(place)) {
            Some(place) => format!("the first is at {place}; give one of them another port"),
            None => "give one of them an `addr` with another port".to_owned(),
        };
        report.error(at.clone(), format!("two listeners are on {}", quote(addr))).help(help);
    }
}

fn devices_twice(config: &Config, context: &Context<'_>, report: &mut Report) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for service in &config.services {
        let device = match &service.kind {
            ServiceKind::Hub(_) => continue,
            ServiceKind::Host(host) => &host.device,
            ServiceKind::UdpServer(server) => &server.device,
            ServiceKind::UdpClient(client) => &client.device,
            ServiceKind::TapServer(server) => &server.tap.device,
            ServiceKind::TapClient(client) => &client.tap.device,
        };
        let Some(device) = &device.name else { continue };
        let Some(first) = seen.insert(device, &service.name) else { continue };
        let at = context.names.services.get(&service.name);
        let place = at.map_or_else(At::default, |at| {
            at.get(&service::LISTENER)
                .map_or_else(|| At::from(at), |listener| listener.place_of(&device_listener::NAME))
        });
        report
            .error(
                place,
                format!(
                    "{} and {} have the same device {}",
                    quote(first),
                    quote(&service.name),
                    quote(device)
                ),
            )
            .help("give each service a device name of its own");
    }
}

/// Host names are compared exactly: two that differ by case only are probably one.
fn names_by_case(config: &Config, context: &Context<'_>, report: &mut Report) {
    let mut names: BTreeMap<String, (String, At)> = BTreeMap::new();
    let mut see = |name: &str, at: At, report: &mut Report| {
        let (first, _) =
            names.entry(name.to_lowercase()).or_insert_with(|| (name.to_owned(), at.clone()));
        if first != name {
            report
                .warning(
                    at,
                    format!(
                        "{} and {} are different hosts: case counts",
                        quote(name),
                        quote(first)
                    ),
                )
                .help(format!("write {} if they are the same", quote(first)));
        }
    };
    for table in &context.tables.routers {
        for (route, row) in routes(table).into_iter().zip(&table.rows) {
            see(route.gateway.as_str(), row.gateway.clone(), report);
        }
    }
    for (rule, at) in context.tables.ingresses.iter().flat_map(|ingress| &ingress.rules) {
        see(&rule.pattern, at.clone(), report);
    }
    for service in &config.services {
        if let ServiceKind::Host(host) = &service.kind {
            let at = context.names.services.get(&service.name);
            let at = at.map_or_else(At::default, At::from);
            see(host.name.as_str(), at, report);
        }
    }
}

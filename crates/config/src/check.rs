//! What several objects say together: gateways nobody can be, tables that surprise, names that differ by case only.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use rtun_core::{NamespaceId, Route};

use crate::{
    findings::{At, Code, Report, quote},
    model::{Config, IngressRule, RouterSource, ServiceKind},
    normalise::{Context, HubView, Ingress, Table},
    suggest,
    value::Cursor,
};

/// Reports what only shows when all objects are known.
pub(crate) fn check(config: &Config, context: &Context<'_>, hubs: &[HubView], report: &mut Report) {
    for table in &context.tables.routers {
        order(table, report);
    }
    for hub in hubs {
        unreachable_gateways(hub, context, report);
        endpoints_without_table(hub, context, report);
        shared_default(hub, context, report);
    }
    listened_twice(hubs, report);
    devices_twice(config, context, report);
    names_by_case(config, context, report);
}

fn routes(table: &Table) -> &[Route] {
    match &table.router.source {
        RouterSource::Routes(routes) => routes,
        RouterSource::Http(_) => &[],
    }
}

/// C17: where the first match (GOST) and the longest prefix (rtun) are different hosts.
fn order(table: &Table, report: &mut Report) {
    let routes = routes(table);
    let mut first: HashMap<IpNet, usize> = HashMap::new();
    for (i, (route, row)) in routes.iter().zip(&table.rows).enumerate() {
        let earlier = (0..=route.prefix.prefix_len())
            .filter_map(|len| first.get(&IpNet::new(route.prefix.addr(), len).ok()?.trunc()))
            .min()
            .and_then(|j| routes.get(*j).zip(table.rows.get(*j)));
        first.entry(route.prefix).or_insert(i);
        let Some((other, place)) = earlier.filter(|(other, _)| other.gateway != route.gateway)
        else {
            continue;
        };
        let line = place.dst.place.map(|place| report.texts.locate(place).to_string());
        let line = line.unwrap_or_default();
        let (message, help) = if other.prefix == route.prefix {
            (
                format!(
                    "{} leads to {} already; this route is never used",
                    route.prefix,
                    quote(other.gateway.as_str())
                ),
                format!("the first is at {line}; remove one of them"),
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

/// C15: gateways that neither the ingress nor any user may be.
fn unreachable_gateways(hub: &HubView, context: &Context<'_>, report: &mut Report) {
    let ingress = hub.ingress.as_ref().and_then(|name| ingress(context, name));
    for table in &context.tables.routers {
        let is_default = hub.default_router.as_ref().is_some_and(|(n, _)| *n == table.router.name);
        for (route, row) in routes(table).iter().zip(&table.rows) {
            let gateway = route.gateway.as_str();
            // A default router serves every namespace, so only the users' names can exclude a gateway there.
            if let (Some(ingress), Some(id), false) = (ingress, table.id, is_default)
                && !admits(ingress, gateway, id)
            {
                not_admitted(ingress, gateway, id, &row.gateway, report);
            } else if let Some(users) = hub.users.as_ref().filter(|users| !users.is_empty())
                && users
                    .iter()
                    .all(|u| u.hosts.as_ref().is_some_and(|h| !h.contains(&route.gateway)))
                && (table.id.is_some() || is_default)
            {
                let names = users.iter().filter_map(|u| u.hosts.as_ref()).flatten();
                let names: Vec<&str> = names.map(|name| name.as_str()).collect();
                report
                    .coded(
                        Code::C15,
                        row.gateway.clone(),
                        format!("no host can be {}: no user may report that name", quote(gateway)),
                    )
                    .help(suggest::name_of(gateway, "names that may be reported", &names));
            }
        }
    }
}

fn not_admitted(ingress: &Ingress, gateway: &str, id: NamespaceId, at: &At, report: &mut Report) {
    let names: Vec<&str> =
        ingress.rules.iter().filter(|(r, _)| r.namespace == id).map(|(r, _)| &*r.pattern).collect();
    report
        .coded(
            Code::C15,
            at.clone(),
            format!(
                "no host can be {} in this namespace: {} does not admit that name to it",
                quote(gateway),
                quote(&ingress.name)
            ),
        )
        .help(match names.is_empty() {
            true => format!("add a rule for {}, or another gateway", quote(gateway)),
            false => suggest::name_of(gateway, "names it admits", &names),
        });
}

fn ingress<'c>(context: &'c Context<'_>, name: &str) -> Option<&'c Ingress> {
    context.tables.ingresses.iter().find(|ingress| ingress.name == name)
}

/// Whether `ingress` lets the host `name` into `namespace` (spec: tables.md section 2): the rule for the name, else for
/// the longest domain it is in; a name without a rule may join the default namespace only.
fn admits(ingress: &Ingress, name: &str, namespace: NamespaceId) -> bool {
    let rule = |pattern: &str| ingress.rules.iter().map(|(r, _)| r).find(|r| r.pattern == pattern);
    let dots = name.match_indices('.').map(|(i, _)| i).filter(|i| *i > 0);
    let found: Option<&IngressRule> = rule(name)
        .or_else(|| rule(&format!(".{name}")))
        .or_else(|| dots.filter_map(|i| rule(&name[i..])).next());
    found.map_or(NamespaceId::DEFAULT, |rule| rule.namespace) == namespace
}

/// C16: rules that admit hosts to a namespace nobody routes for.
fn endpoints_without_table(hub: &HubView, context: &Context<'_>, report: &mut Report) {
    let Some(ingress) = hub.ingress.as_ref().and_then(|name| ingress(context, name)) else {
        return;
    };
    if hub.default_router.is_some() {
        return;
    }
    for (rule, at) in &ingress.rules {
        if !context.tables.routers.iter().any(|table| table.id == Some(rule.namespace)) {
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

/// C28: a default router beside namespaces that have a table.
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
        .help("give each namespace a table that covers what it may reach, or remove the default router");
}

fn listened_twice(hubs: &[HubView], report: &mut Report) {
    for (i, hub) in hubs.iter().enumerate() {
        let (addr, at) = &hub.listen;
        let Some(first) = hubs[..i].iter().find(|h| h.listen.0 == *addr && !addr.ends_with(":0"))
        else {
            continue;
        };
        let place = first.listen.1.place.map(|place| report.texts.locate(place).to_string());
        report.error(at.clone(), format!("two hubs listen on {}", quote(addr))).maybe_help(
            place.map(|place| format!("the first is at {place}; give one of them another port")),
        );
    }
}

fn devices_twice(config: &Config, context: &Context<'_>, report: &mut Report) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for service in &config.services {
        let ServiceKind::Host(host) = &service.kind else { continue };
        let Some(device) = &host.device.name else { continue };
        let Some(first) = seen.insert(device, &service.name) else { continue };
        let at = context.names.services.list.iter().find(|(name, _)| *name == service.name);
        let place = at.map_or_else(At::default, |(_, at)| device_place(at));
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
            .help("give each host a device name of its own");
    }
}

fn device_place(service: &Cursor<'_>) -> At {
    let metadata = service.get("listener").and_then(|l| l.get("metadata"));
    let name = metadata.and_then(|m| m.first(&["name", "tun.name"]));
    name.map_or_else(|| At::from(service), |name| At::from(&name))
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
        for (route, row) in routes(table).iter().zip(&table.rows) {
            see(route.gateway.as_str(), row.gateway.clone(), report);
        }
    }
    for (rule, at) in context.tables.ingresses.iter().flat_map(|ingress| &ingress.rules) {
        see(&rule.pattern, at.clone(), report);
    }
    for service in &config.services {
        if let ServiceKind::Host(host) = &service.kind {
            let at = context.names.services.list.iter().find(|(name, _)| *name == service.name);
            let at = at.map_or_else(At::default, |(_, at)| At::from(at));
            see(host.name.as_str(), at, report);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> NamespaceId {
        NamespaceId::from_bytes([n; 16])
    }

    #[test]
    fn an_ingress_admits_by_the_longest_rule() {
        let rule = |pattern: &str, n| {
            (IngressRule { pattern: pattern.to_owned(), namespace: id(n) }, At::default())
        };
        let ingress = Ingress {
            name: "i".to_owned(),
            rules: vec![rule("a", 1), rule(".example.org", 2), rule(".b.example.org", 3)],
        };
        for (name, n) in [
            ("a", 1),
            ("example.org", 2),
            ("x.example.org", 2),
            ("b.example.org", 3),
            ("x.y.b.example.org", 3),
            ("A", 0),
            ("xexample.org", 0),
            ("", 0),
        ] {
            assert!(admits(&ingress, name, id(n)), "{name}");
            assert!(!admits(&ingress, name, id(9)), "{name}");
        }
    }
}

//! Routers and ingresses: routing tables, plugins, and who may join which namespace.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use rtun_core::{HostName, NamespaceId, PatternError, Route, parse_prefix, unmapped};

use super::{DocumentNames, providers::provider, sources};
use crate::{
    findings::{Code, Report},
    location::{At, quote},
    schema::{ingress, route, router, rule},
    value::Cursor,
};
use rtun_settings::{IngressRule, LocatedRow, Named, Provider};

/// All routers and ingresses, in order.
pub(crate) struct HubTables {
    pub(crate) routers: Vec<RouterTable>,
    pub(crate) ingresses: Vec<IngressTable>,
}

/// A router with the places of its rows, those in the configuration.
pub(crate) struct RouterTable {
    /// The namespace it is the table of: its name, if that is a UUID.
    pub(crate) id: Option<NamespaceId>,
    pub(crate) router: Named<Route>,
    /// One for each route.
    pub(crate) rows: Vec<RowPlace>,
}

/// Where a route was written.
pub(crate) struct RowPlace {
    pub(crate) dst: At,
    pub(crate) gateway: At,
}

/// An ingress with its rules in the configuration and their places; a plugin leaves none.
pub(crate) struct IngressTable {
    pub(crate) name: String,
    pub(crate) rules: Vec<(IngressRule, At)>,
    pub(crate) provider: Provider<IngressRule>,
}

impl HubTables {
    pub(super) fn read(names: &DocumentNames<'_>, report: &mut Report) -> Self {
        let mut routers = Vec::new();
        let mut ids: HashMap<NamespaceId, String> = HashMap::new();
        for (name, at) in &names.routers.list {
            let table = table(name, at, report);
            if let Some(id) = table.id
                && let Some(first) = ids.insert(id, name.clone())
            {
                let message =
                    format!("{} and {} are the same namespace", quote(&first), quote(name));
                report
                    .error(at.place_of(&router::NAME), message)
                    .help("put all routes of a namespace into one router");
            }
            routers.push(table);
        }
        let ingresses = names.ingresses.list.iter().map(|(name, at)| ingress(name, at, report));
        Self { routers, ingresses: ingresses.collect() }
    }

    pub(super) fn router(&self, name: &str) -> Option<&RouterTable> {
        self.routers.iter().find(|table| table.router.name == name)
    }

    pub(super) fn ingress(&self, name: &str) -> Option<&IngressTable> {
        self.ingresses.iter().find(|ingress| ingress.name == name)
    }
}

fn table(name: &str, at: &Cursor<'_>, report: &mut Report) -> RouterTable {
    let mut rows = Vec::new();
    let mut routes = Vec::new();
    for item in at.items_of(&router::ROUTES) {
        if let Some((route, row)) = route(&item, report) {
            routes.push(located(route, &row.dst, report));
            rows.push(row);
        }
    }
    let provider = provider(at, &sources::ROUTER, routes, report);
    if matches!(provider, Provider::Plugin(_)) {
        rows.clear();
    }
    let router = Named { name: name.to_owned(), provider };
    RouterTable { id: name.parse().ok(), router, rows }
}

/// `value` with the file and line it was written on.
pub(super) fn located<T>(value: T, at: &At, report: &Report) -> LocatedRow<T> {
    let (file, line) = match at.place {
        Some(place) => report.texts.file_and_line(place),
        None => ("?".into(), 0),
    };
    LocatedRow { value, file, line }
}

/// The host name `text`; `None` after an error was reported.
pub(super) fn host_name(text: &str, at: impl Into<At>, report: &mut Report) -> Option<HostName> {
    HostName::new(text)
        .map_err(|error| {
            drop(report.error(at, format!("{} is no host name: {error}", quote(text))))
        })
        .ok()
}

fn route(at: &Cursor<'_>, report: &mut Report) -> Option<(Route, RowPlace)> {
    let dst_at = at.filled(&route::DST).or_else(|| at.get(&route::NET));
    let Some((dst, dst_at)) = dst_at.and_then(|at| Some((at.read()?, At::from(&at)))) else {
        let help = "add `dst:` with a prefix or an address";
        return report.refuse(at, "the route has no destination", help);
    };
    let Some(gateway) = at.read(&route::GATEWAY) else {
        let help = "add `gateway:` with the name of the host it leads to";
        return report.refuse(at, "the route has no gateway", help);
    };
    let gateway_at = at.place_of(&route::GATEWAY);
    let gateway = host_name(&gateway, &gateway_at, report)?;
    if gateway.as_str().parse::<IpAddr>().is_ok() {
        let message =
            format!("the gateway {} is taken as the name of a host", quote(gateway.as_str()));
        report.coded(Code::C20, &gateway_at, message).help(
            "a hub never changes the system's routes; name the host that leads to the destination",
        );
    }
    let prefix = prefix(&dst, &dst_at, report)?;
    let row = RowPlace { dst: dst_at, gateway: gateway_at };
    Some((Route::new(prefix, gateway), row))
}

/// A prefix, or an address as the prefix of itself, host bits cleared; C18 where that is not what was
/// written.
pub(super) fn prefix(text: &str, at: &At, report: &mut Report) -> Option<IpNet> {
    let Some(written) = parse_prefix(text) else {
        report
            .coded(Code::C18, at, format!("{} names no prefix; the route is left out", quote(text)))
            .help("write an address or a prefix, as in 192.168.100.0/24");
        return None;
    };
    Some(normal_prefix(written, text, at, report))
}

/// `written` with host bits cleared and as IPv4 where it is that, `text` in the configuration; C18 where that is
/// not the same.
pub(super) fn normal_prefix(written: IpNet, text: &str, at: &At, report: &mut Report) -> IpNet {
    let prefix = unmapped(written).trunc();
    if prefix != written {
        let reason = if unmapped(written) == written {
            "has bits set after the prefix length"
        } else {
            "is an IPv4 prefix in IPv6 form"
        };
        report
            .coded(Code::C18, at, format!("{} {reason}; it is read as {prefix}", quote(text)))
            .help(format!("write {prefix}"));
    }
    prefix
}

fn ingress(name: &str, at: &Cursor<'_>, report: &mut Report) -> IngressTable {
    let mut rules: Vec<(IngressRule, At)> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for item in at.items_of(&ingress::RULES) {
        let Some((rule, place)) = rule(&item, report) else { continue };
        let Some(&i) = index.get(&rule.pattern) else {
            index.insert(rule.pattern.clone(), rules.len());
            rules.push((rule, place));
            continue;
        };
        if rules[i].0.namespace != rule.namespace {
            let first = rules[i].1.place.map(|place| report.texts.show(place));
            report
                .coded(
                    Code::C13,
                    place.clone(),
                    format!(
                        "{} has two endpoints, {} and {}; the last one counts",
                        quote(&rule.pattern),
                        rules[i].0.namespace,
                        rule.namespace
                    ),
                )
                .maybe_help(
                    first.map(|first| format!("the first is at {first}; remove one of them")),
                );
        }
        rules[i] = (rule, place);
    }
    let inline = rules.iter().map(|(rule, at)| located(rule.clone(), at, report)).collect();
    let provider = provider(at, &sources::INGRESS, inline, report);
    if matches!(provider, Provider::Plugin(_)) {
        rules.clear();
    }
    IngressTable { name: name.to_owned(), rules, provider }
}

fn rule(at: &Cursor<'_>, report: &mut Report) -> Option<(IngressRule, At)> {
    let Some(hostname) = at.read(&rule::HOSTNAME) else {
        return report.refuse(at, "the rule has no host name", "add `hostname:`");
    };
    let Some(endpoint) = at.read(&rule::ENDPOINT) else {
        let help = "add `endpoint:` with the UUID of the namespace the host may join";
        return report.refuse(at, "the rule has no endpoint", help);
    };
    let (name_at, endpoint_at) = (at.place_of(&rule::HOSTNAME), at.place_of(&rule::ENDPOINT));
    let namespace: NamespaceId = match endpoint.parse() {
        Ok(id) => id,
        Err(error) => {
            report.coded(Code::C12, endpoint_at, format!("{} is {error}", quote(&endpoint)));
            return None;
        }
    };
    if namespace.is_default() {
        report
            .coded(
                Code::C12,
                endpoint_at,
                "the zero UUID is what hosts without a `router.id` have, not an endpoint",
            )
            .help("name a namespace; a host that may join none needs no rule");
        return None;
    }
    let pattern = pattern(&hostname, &name_at, report)?;
    Some((IngressRule { pattern, namespace }, name_at))
}

/// The pattern in the form `name` or `.domain`: a leading `*` is cut off.
fn pattern(hostname: &str, at: &At, report: &mut Report) -> Option<String> {
    let pattern = match IngressRule::pattern(hostname) {
        Ok(pattern) => pattern,
        Err(PatternError::Nothing) => {
            report
                .coded(
                    Code::C14,
                    at,
                    format!("{} matches no host; the rule is left out", quote(hostname)),
                )
                .help("a pattern is a name, or *.domain for the domain and every name below it");
            return None;
        }
        Err(PatternError::HostName(error)) => {
            report.error(at, format!("{} is no host name: {error}", quote(hostname)));
            return None;
        }
    };
    if hostname.starts_with('*') && !pattern.starts_with('.') {
        report
            .coded(Code::C14, at, format!("{} matches only {}", quote(hostname), quote(pattern)))
            .help(format!("write {pattern}, or *.{pattern} for every name below it"));
    } else if pattern.contains('*') {
        report
            .coded(Code::C14, at, format!("the `*` in {} stands for itself", quote(hostname)))
            .help("only a leading *. stands for every name below a domain");
    }
    Some(pattern.to_owned())
}

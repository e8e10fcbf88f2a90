//! Routers and ingresses: routing tables, plugins, and who may join which namespace.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use rtun_core::{HostName, NamespaceId, PatternError, Route, parse_prefix, unmapped};

use super::{
    Names,
    providers::{self, provider},
};
use crate::{
    findings::{At, Code, Report, quote},
    value::Cursor,
};
use rtun_settings::{IngressRule, Located, Named, Provider};

/// All routers and ingresses, in order.
pub(crate) struct Tables {
    pub(crate) routers: Vec<Table>,
    pub(crate) ingresses: Vec<Ingress>,
}

/// A router with the places of its rows, those in the configuration.
pub(crate) struct Table {
    /// The namespace it is the table of: its name, if that is a UUID.
    pub(crate) id: Option<NamespaceId>,
    pub(crate) router: Named<Route>,
    /// One for each route.
    pub(crate) rows: Vec<Row>,
}

/// Where a route was written.
pub(crate) struct Row {
    pub(crate) dst: At,
    pub(crate) gateway: At,
}

/// An ingress with its rules in the configuration and their places; a plugin leaves none.
pub(crate) struct Ingress {
    pub(crate) name: String,
    pub(crate) rules: Vec<(IngressRule, At)>,
    pub(crate) provider: Provider<IngressRule>,
}

impl Tables {
    pub(super) fn read(names: &Names<'_>, report: &mut Report) -> Self {
        let mut routers = Vec::new();
        let mut ids: HashMap<NamespaceId, String> = HashMap::new();
        for (name, at) in &names.routers.list {
            let table = table(name, at, report);
            if let Some(id) = table.id
                && let Some(first) = ids.insert(id, name.clone())
            {
                let message =
                    format!("{} and {} are the same namespace", quote(&first), quote(name));
                let place = at.get("name").map_or_else(|| At::from(at), |name| At::from(&name));
                report.error(place, message).help("put all routes of a namespace into one router");
            }
            routers.push(table);
        }
        let ingresses = names.ingresses.list.iter().map(|(name, at)| ingress(name, at, report));
        Self { routers, ingresses: ingresses.collect() }
    }

    pub(super) fn router(&self, name: &str) -> Option<&Table> {
        self.routers.iter().find(|table| table.router.name == name)
    }

    pub(super) fn ingress(&self, name: &str) -> Option<&Ingress> {
        self.ingresses.iter().find(|ingress| ingress.name == name)
    }
}

fn table(name: &str, at: &Cursor<'_>, report: &mut Report) -> Table {
    let mut rows = Vec::new();
    let mut routes = Vec::new();
    for item in at.get("routes").iter().flat_map(Cursor::items) {
        if let Some((route, row)) = route(&item, report) {
            routes.push(located(route, &row.dst, report));
            rows.push(row);
        }
    }
    let provider = provider(at, &providers::ROUTER, routes, report);
    if matches!(provider, Provider::Plugin(_)) {
        rows.clear();
    }
    let router = Named { name: name.to_owned(), provider };
    Table { id: name.parse().ok(), router, rows }
}

/// `value` with the file and line it was written on.
pub(super) fn located<T>(value: T, at: &At, report: &Report) -> Located<T> {
    let (file, line) = match at.place {
        Some(place) => report.texts.file_and_line(place),
        None => ("?".into(), 0),
    };
    Located { value, file, line }
}

fn route(at: &Cursor<'_>, report: &mut Report) -> Option<(Route, Row)> {
    let dst_at = at.filled("dst").or_else(|| at.get("net"));
    let gateway_at = at.get("gateway");
    let dst = report.some_text(dst_at.as_ref());
    let gateway = report.some_text(gateway_at.as_ref());
    let (Some(dst_at), Some(dst)) = (&dst_at, dst) else {
        report
            .error(at, "the route has no destination")
            .help("add `dst:` with a prefix or an address");
        return None;
    };
    let (Some(gateway_at), Some(gateway)) = (&gateway_at, gateway) else {
        report
            .error(at, "the route has no gateway")
            .help("add `gateway:` with the name of the host it leads to");
        return None;
    };
    let gateway = match HostName::new(&gateway) {
        Ok(name) => name,
        Err(error) => {
            report.error(gateway_at, format!("{} is no host name: {error}", quote(&gateway)));
            return None;
        }
    };
    if gateway.as_str().parse::<IpAddr>().is_ok() {
        report
            .coded(
                Code::C20,
                gateway_at,
                format!("the gateway {} is taken as the name of a host", quote(gateway.as_str())),
            )
            .help(
                "a hub never changes the system's routes; name the host the destination is behind",
            );
    }
    let dst_at = At::from(dst_at);
    let prefix = prefix(&dst, &dst_at, report)?;
    let row = Row { dst: dst_at, gateway: gateway_at.into() };
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
            "has bits set behind the prefix length"
        } else {
            "is an IPv4 prefix in IPv6 form"
        };
        report
            .coded(Code::C18, at, format!("{} {reason}; it is read as {prefix}", quote(text)))
            .help(format!("write {prefix}"));
    }
    prefix
}

fn ingress(name: &str, at: &Cursor<'_>, report: &mut Report) -> Ingress {
    let mut rules: Vec<(IngressRule, At)> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for item in at.get("rules").iter().flat_map(Cursor::items) {
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
    let provider = provider(at, &providers::INGRESS, inline, report);
    if matches!(provider, Provider::Plugin(_)) {
        rules.clear();
    }
    Ingress { name: name.to_owned(), rules, provider }
}

fn rule(at: &Cursor<'_>, report: &mut Report) -> Option<(IngressRule, At)> {
    let (name_at, endpoint_at) = (at.get("hostname"), at.get("endpoint"));
    let (Some(name_at), Some(hostname)) = (&name_at, report.some_text(name_at.as_ref())) else {
        report.error(at, "the rule has no host name").help("add `hostname:`");
        return None;
    };
    let (Some(endpoint_at), Some(endpoint)) =
        (&endpoint_at, report.some_text(endpoint_at.as_ref()))
    else {
        report
            .error(at, "the rule has no endpoint")
            .help("add `endpoint:` with the UUID of the namespace the host may join");
        return None;
    };
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
    let pattern = pattern(&hostname, name_at, report)?;
    Some((IngressRule { pattern, namespace }, name_at.into()))
}

/// The pattern in the form `name` or `.domain`: a leading `*` is cut off (spec: tables.md section 2).
fn pattern(hostname: &str, at: &Cursor<'_>, report: &mut Report) -> Option<String> {
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

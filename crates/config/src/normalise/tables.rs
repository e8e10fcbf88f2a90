//! Routers and ingresses: routing tables, plugins, and who may join which namespace.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use rtun_core::{HostName, NamespaceId, PatternError, Route, parse_prefix, unmapped};

use super::{DocumentNames, located::Located, providers::named, sources};
use crate::{
    findings::Code,
    location::quote,
    report::At,
    schema::{ingress, route, router, rule},
    value::Cursor,
};
use rtun_settings::{IngressRule, Named};

/// All routers and ingresses, in order.
pub(crate) struct HubTables<'a> {
    pub(crate) routers: Vec<RouterTable<'a>>,
    pub(crate) ingresses: Vec<IngressTable<'a>>,
}

/// A router with the places of its routes in the configuration; a plugin leaves none.
pub(crate) struct RouterTable<'a> {
    /// The namespace it is the table of: its name, if that is a UUID.
    pub(crate) id: Option<NamespaceId>,
    pub(crate) router: Named<Route>,
    places: Vec<RoutePlace<'a>>,
}

/// Where a route was written.
pub(crate) struct RoutePlace<'a> {
    pub(crate) dst: At<'a>,
    pub(crate) gateway: At<'a>,
}

impl<'a> RouterTable<'a> {
    /// Those in the configuration.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (&Route, &RoutePlace<'a>)> {
        self.router.inline().zip(&self.places)
    }
}

/// An ingress with the places of its rules in the configuration; a plugin leaves none.
pub(crate) struct IngressTable<'a> {
    pub(crate) ingress: Named<IngressRule>,
    places: Vec<At<'a>>,
}

impl<'a> IngressTable<'a> {
    /// Those in the configuration.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (&IngressRule, &At<'a>)> {
        self.ingress.inline().zip(&self.places)
    }
}

impl<'a> HubTables<'a> {
    pub(super) fn read(names: &DocumentNames<'a>) -> Self {
        let mut routers = Vec::new();
        let mut ids: HashMap<NamespaceId, String> = HashMap::new();
        for (name, at) in &names.routers.list {
            let table = table(name, at);
            if let Some(id) = table.id
                && let Some(first) = ids.insert(id, name.clone())
            {
                let message =
                    format!("{} and {} are the same namespace", quote(&first), quote(name));
                at.place_of(&router::NAME)
                    .error(message)
                    .help("put all routes of a namespace into one router");
            }
            routers.push(table);
        }
        let ingresses = names.ingresses.list.iter().map(|(name, at)| ingress(name, at));
        Self { routers, ingresses: ingresses.collect() }
    }

    pub(super) fn router(&self, name: &str) -> Option<&RouterTable<'a>> {
        self.routers.iter().find(|table| table.router.name == name)
    }

    pub(crate) fn ingress(&self, name: &str) -> Option<&IngressTable<'a>> {
        self.ingresses.iter().find(|table| table.ingress.name == name)
    }
}

fn table<'a>(name: &str, at: &Cursor<'a>) -> RouterTable<'a> {
    let routes = at.items_of(&router::ROUTES);
    let (routes, places): (Vec<_>, Vec<_>) =
        routes.iter().filter_map(route).map(|(route, place)| (place.dst.row(route), place)).unzip();
    let router = named(name, at, &sources::ROUTER, routes);
    RouterTable { id: name.parse().ok(), router, places }
}

/// The host name `text`; `None` after an error was reported.
pub(super) fn host_name(text: &str, at: &At<'_>) -> Option<HostName> {
    HostName::new(text)
        .map_err(|error| drop(at.error(format!("{} is no host name: {error}", quote(text)))))
        .ok()
}

fn route<'a>(at: &Cursor<'a>) -> Option<(Route, RoutePlace<'a>)> {
    let dst_at = at.filled(&route::DST).or_else(|| at.get(&route::NET));
    let Some((dst, dst_at)) = dst_at.and_then(|at| Some((at.read()?, at.at.clone()))) else {
        let help = "add `dst:` with a prefix or an address";
        return at.refuse("the route has no destination", help);
    };
    let help = "add `gateway:` with the name of the host it leads to";
    let (gateway, gateway_at) = at.required(&route::GATEWAY, "the route has no gateway", help)?;
    let gateway = host_name(&gateway, &gateway_at)?;
    if gateway.as_str().parse::<IpAddr>().is_ok() {
        let message =
            format!("the gateway {} is taken as the name of a host", quote(gateway.as_str()));
        gateway_at.coded(Code::C20, message).help(
            "a hub never changes the system's routes; name the host that leads to the destination",
        );
    }
    let prefix = prefix(&dst, &dst_at)?;
    let place = RoutePlace { dst: dst_at, gateway: gateway_at };
    Some((Route::new(prefix, gateway), place))
}

/// A prefix, or an address as the prefix of itself, host bits cleared; C18 where that is not what was
/// written.
pub(super) fn prefix(text: &str, at: &At<'_>) -> Option<IpNet> {
    let Some(written) = parse_prefix(text) else {
        at.coded(Code::C18, format!("{} names no prefix; the route is left out", quote(text)))
            .help("write an address or a prefix, as in 192.168.100.0/24");
        return None;
    };
    Some(normal_prefix(written, text, at))
}

/// `written` with host bits cleared and as IPv4 where it is that, `text` in the configuration; C18 where that is
/// not the same.
pub(super) fn normal_prefix(written: IpNet, text: &str, at: &At<'_>) -> IpNet {
    let prefix = unmapped(written).trunc();
    if prefix != written {
        let reason = if unmapped(written) == written {
            "has bits set after the prefix length"
        } else {
            "is an IPv4 prefix in IPv6 form"
        };
        at.coded(Code::C18, format!("{} {reason}; it is read as {prefix}", quote(text)))
            .help(format!("write {prefix}"));
    }
    prefix
}

fn ingress<'a>(name: &str, at: &Cursor<'a>) -> IngressTable<'a> {
    let mut rules: Vec<(IngressRule, At<'a>)> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for item in at.items_of(&ingress::RULES) {
        let Some((rule, place)) = rule(&item) else { continue };
        let Some(&i) = index.get(&rule.pattern) else {
            index.insert(rule.pattern.clone(), rules.len());
            rules.push((rule, place));
            continue;
        };
        if rules[i].0.namespace != rule.namespace {
            let first = rules[i].1.shown();
            let message = format!(
                "{} has two endpoints, {} and {}; the last one counts",
                quote(&rule.pattern),
                rules[i].0.namespace,
                rule.namespace
            );
            let help = first.map(|first| format!("the first is at {first}; remove one of them"));
            place.coded(Code::C13, message).maybe_help(help);
        }
        rules[i] = (rule, place);
    }
    let (rules, places): (Vec<_>, Vec<_>) =
        rules.into_iter().map(|(rule, at)| (at.row(rule), at)).unzip();
    IngressTable { ingress: named(name, at, &sources::INGRESS, rules), places }
}

fn rule<'a>(at: &Cursor<'a>) -> Option<(IngressRule, At<'a>)> {
    let (hostname, name_at) =
        at.required(&rule::HOSTNAME, "the rule has no host name", "add `hostname:`")?;
    let help = "add `endpoint:` with the UUID of the namespace the host may join";
    let (endpoint, endpoint_at) = at.required(&rule::ENDPOINT, "the rule has no endpoint", help)?;
    let namespace: NamespaceId = match endpoint.parse() {
        Ok(id) => id,
        Err(error) => {
            endpoint_at.coded(Code::C12, format!("{} is {error}", quote(&endpoint)));
            return None;
        }
    };
    if namespace.is_default() {
        let message = "the zero UUID is what hosts without a `router.id` have, not an endpoint";
        endpoint_at
            .coded(Code::C12, message)
            .help("name a namespace; a host that may join none needs no rule");
        return None;
    }
    let pattern = pattern(&hostname, &name_at)?;
    Some((IngressRule { pattern, namespace }, name_at))
}

/// The pattern in the form `name` or `.domain`: a leading `*` is cut off.
fn pattern(hostname: &str, at: &At<'_>) -> Option<String> {
    let pattern = match IngressRule::pattern(hostname) {
        Ok(pattern) => pattern,
        Err(PatternError::Nothing) => {
            let message = format!("{} matches no host; the rule is left out", quote(hostname));
            at.coded(Code::C14, message)
                .help("a pattern is a name, or *.domain for the domain and every name below it");
            return None;
        }
        Err(PatternError::HostName(error)) => {
            at.error(format!("{} is no host name: {error}", quote(hostname)));
            return None;
        }
    };
    if hostname.starts_with('*') && !pattern.starts_with('.') {
        at.coded(Code::C14, format!("{} matches only {}", quote(hostname), quote(pattern)))
            .help(format!("write {pattern}, or *.{pattern} for every name below it"));
    } else if pattern.contains('*') {
        at.coded(Code::C14, format!("the `*` in {} stands for itself", quote(hostname)))
            .help("only a leading *. stands for every name below a domain");
    }
    Some(pattern.to_owned())
}

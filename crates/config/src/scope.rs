//! Which services of a document are tunnels, and what only the others use.

use std::collections::HashSet;

use crate::{
    address,
    location::quote,
    schema::{self, HANDLERS, forwarder, handler, hop, root, service, target},
    value::{Cursor, Data, Value, same_key},
};

/// Lists of objects, and the keys whose texts name one of them.
const REFERENCES: [(&str, &[&str]); 18] = [
    ("chains", &["chain", "chains"]),
    ("hops", &["hop", "hops"]),
    ("authers", &["auther", "authers"]),
    ("admissions", &["admission", "admissions"]),
    ("bypasses", &["bypass", "bypasses"]),
    ("resolvers", &["resolver"]),
    ("hosts", &["hosts"]),
    ("ingresses", &["ingress"]),
    ("sds", &["sd"]),
    ("recorders", &["recorder", "recorders"]),
    ("rewriters", &["rewriter"]),
    ("caches", &["cache"]),
    ("limiters", &["limiter"]),
    ("quotas", &["quotas"]),
    ("climiters", &["climiter"]),
    ("rlimiters", &["rlimiter"]),
    ("observers", &["observer"]),
    ("loggers", &["logger", "loggers"]),
];

/// A service as the document describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSummary {
    /// Empty if it has none.
    pub name: String,
    /// The type of its handler, as in `router` or `socks5`.
    pub handler: String,
    /// What becomes of it.
    pub fate: ServiceFate,
}

/// What becomes of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceFate {
    /// It runs, if nothing stops the whole.
    Runs,
    /// It is none that rtun has, and is left out because that was asked for.
    LeftOut,
    /// What is found about it stops the whole.
    Stops,
}

/// What is left of a document.
pub(crate) struct TunnelScope {
    /// Without what is left out, in whose place nothing stands; `None` if that is nothing.
    pub(crate) document: Option<Value>,
    /// All services, in order.
    pub(crate) services: Vec<ServiceSummary>,
}

/// Takes services of other kinds, and what only they use, out of the document at `root`. They are an error unless only tunnels
/// are asked for, by `only_tunnels` or by the document itself.
pub(crate) fn narrow(root: &Cursor<'_>, only_tunnels: bool) -> TunnelScope {
    let only_tunnels = only_tunnels || root.or_default(&root::ONLY_TUNNELS);
    let services = root.items_of(&root::SERVICES);
    let mut scope = TunnelScope { document: None, services: Vec::new() };
    let (mut kept, mut others) = (Vec::new(), Vec::new());
    let has_server = services.iter().any(is_server);
    for at in &services {
        let handler = at.get(&service::HANDLER);
        let kind = handler.as_ref().and_then(|handler| handler.read(&handler::TYPE));
        // What is no map is reported by the check of the keys.
        let is_map = |at: &Cursor<'_>| matches!(at.value.data, Data::Map(_));
        let is_wrong = !is_map(at) || handler.is_some_and(|handler| !is_map(&handler));
        let is_other = kind.as_deref().is_none_or(is_other_kind)
            // One that is to stay is checked as what rtun runs, which says what is missing.
            || only_tunnels && kind.as_deref() == Some("relay") && leads_elsewhere(at, root, has_server);
        let is_other = !is_wrong && is_other;
        let other = kind.clone().unwrap_or_else(|| HANDLERS.unset.to_owned());
        let name = at.read(&service::NAME).unwrap_or_default();
        let fate = match (is_other, only_tunnels) {
            (false, _) => ServiceFate::Runs,
            (true, true) => ServiceFate::LeftOut,
            (true, false) => ServiceFate::Stops,
        };
        if fate == ServiceFate::Stops {
            refuse(at, &name, kind.as_deref());
        }
        scope.services.push(ServiceSummary { name, handler: other, fate });
        if is_other { others.push(at) } else { kept.push(at) }
    }
    let rest = ["metrics", "api"].iter().filter_map(|key| root.child_named(key));
    let rest: Vec<_> = rest.collect();
    let used = used_by(root, kept.into_iter().chain(&rest).map(|at| at.value));
    let mut gone = used_by(root, others.iter().map(|at| at.value));
    gone.retain(|object| !used.contains(object));
    useless_lists(root, &used, &gone);
    if others.is_empty() {
        return scope;
    }
    if only_tunnels {
        list(root, &scope.services);
    }
    gone.extend(scope.services.iter().enumerate().filter_map(|(index, service)| {
        (service.fate != ServiceFate::Runs).then_some((root::SERVICES.name(), index))
    }));
    let mut document = root.value.clone();
    take_out(&mut document, &gone);
    scope.document = Some(document);
    scope
}

/// Whether GOST has a handler of this name, and rtun none, nor one that is a tunnel.
fn is_other_kind(handler: &str) -> bool {
    let is_refused = HANDLERS.refused(handler).is_some();
    (HANDLERS.is_elsewhere(handler) || is_refused) && handler != "tap"
}

/// Whether it is the server of a UDP or Ethernet tunnel, by which a relay is one of rtun's.
fn is_server(service: &Cursor<'_>) -> bool {
    let handler = service.get(&service::HANDLER);
    let kind = handler.and_then(|at| at.read(&handler::TYPE));
    matches!(kind.as_deref(), Some("tun" | "tap"))
        && service.filled(&service::ADDR).is_some()
        && service.filled(&service::FORWARDER).is_none()
}

/// Whether a relay serves other uses of GOST: it leads to no server of a UDP or Ethernet tunnel, neither one of this document nor one that
/// it names.
fn leads_elsewhere(relay: &Cursor<'_>, root: &Cursor<'_>, has_server: bool) -> bool {
    match relay.filled(&service::FORWARDER) {
        Some(forwarder) => {
            let nodes = match forwarder.get(&forwarder::HOP).and_then(|hop| hop.read()) {
                Some(name) => {
                    let mut hops = root.items_of(&root::HOPS).into_iter();
                    let hop = hops.find(|hop| hop.read(&hop::NAME).as_ref() == Some(&name));
                    hop.map(|hop| hop.items_of(&hop::NODES)).unwrap_or_default()
                }
                None => forwarder.items_of(&forwarder::NODES),
            };
            let is_local = |node: &Cursor<'_>| {
                let addr = node.read(&target::ADDR).unwrap_or_default();
                let host = address::split_host_port(&addr).map(|(host, _)| host);
                host.is_some_and(|host| host.is_empty() || address::is_loopback(host))
            };
            !nodes.iter().any(is_local)
        }
        None => !has_server,
    }
}

fn refuse(at: &Cursor<'_>, name: &str, handler: Option<&str>) {
    const HELP: &str = "run it with another program, and the tunnels here with --only-tunnels or `onlyTunnels: true`, which leave it out";
    let name = match name {
        "" => "this service".to_owned(),
        name => format!("the service {}", quote(name)),
    };
    let place =
        at.get(&service::HANDLER).map_or_else(|| at.at.clone(), |at| at.place_of(&handler::TYPE));
    match handler {
        None => place.error(format!("{name} is no tunnel: its handler has no type")).help(
            "write `type: router` for a hub, `type: tun` for a host; --only-tunnels leaves services of other kinds out",
        ),
        Some(handler) => match HANDLERS.refused(handler) {
            Some(refused) => {
                let handler = quote(handler);
                let message = format!("{name} has the handler {handler}, which is not supported: {}", refused.reason);
                place.error(message).help(refused.instead);
            }
            None => place
                .error(format!("{name} is no tunnel: its handler is {}", quote(handler)))
                .help(HELP),
        },
    }
}

/// Says once what is left out.
fn list(root: &Cursor<'_>, services: &[ServiceSummary]) {
    let left_out = services.iter().filter(|service| service.fate == ServiceFate::LeftOut);
    let names: Vec<String> = left_out.map(ServiceSummary::to_string).collect();
    let message = format!("left out, because only tunnels are to run: {}", names.join(", "));
    root.report.whole().info(message);
}

/// As `web (http)`.
impl std::fmt::Display for ServiceSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name =
            if self.name.is_empty() { "`` without a name".to_owned() } else { quote(&self.name) };
        write!(f, "{name} ({})", quote(&self.handler).trim_matches('`'))
    }
}

/// An object of a list: the list's key, and its place in the list.
type ListedObject = (&'static str, usize);

/// The objects that `values` name, and those that these name.
fn used_by<'a>(
    root: &Cursor<'a>,
    values: impl Iterator<Item = &'a Value>,
) -> HashSet<ListedObject> {
    let mut used = HashSet::new();
    let mut next: Vec<&Value> = values.collect();
    while let Some(value) = next.pop() {
        let mut names = Vec::new();
        references(value, &mut names);
        for (list, name) in names {
            let objects =
                root.value.get(list).map(|member| items(&member.value)).unwrap_or_default();
            let named = |object: &&Value| text_of(object, "name") == Some(name);
            let Some(index) = objects.iter().position(named) else { continue };
            if used.insert((list, index)) {
                next.push(objects[index]);
            }
        }
    }
    used
}

fn items(value: &Value) -> Vec<&Value> {
    match &value.data {
        Data::List(items) => items.iter().collect(),
        _ => vec![value],
    }
}

fn text_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    match &value.get(key)?.value.data {
        Data::Text(text) => Some(text),
        _ => None,
    }
}

/// Adds what `value` names anywhere in it.
fn references<'a>(value: &'a Value, names: &mut Vec<(&'static str, &'a str)>) {
    if let Data::List(items) = &value.data {
        items.iter().for_each(|item| references(item, names));
    }
    for member in value.entries() {
        let mut keys =
            REFERENCES.iter().filter(|(_, keys)| keys.iter().any(|key| same_key(key, &member.key)));
        if let Some((list, _)) = keys.next() {
            for item in items(&member.value) {
                match &item.data {
                    Data::Text(text) => names.push((list, text)),
                    _ => names.extend(text_of(item, "name").map(|name| (*list, name))),
                }
            }
        }
        // The old spelling of a forwarder's `hop`.
        if same_key(&member.key, "forwarder") {
            names.extend(text_of(&member.value, "name").map(|name| ("hops", name)));
        }
        references(&member.value, names);
    }
}

/// Warns of lists that rtun does not use itself and of which nothing names an object.
fn useless_lists(root: &Cursor<'_>, used: &HashSet<ListedObject>, gone: &HashSet<ListedObject>) {
    for (list, _) in REFERENCES {
        let Some(at) = root.child_named(list).filter(|at| !at.value.is_unset()) else { continue };
        if schema::is_by_name(list) && !used.iter().chain(gone).any(|(of, _)| *of == list) {
            let message = format!("{} has no effect: nothing here uses it", quote(list));
            at.key().warning(message);
        }
    }
}

fn take_out(document: &mut Value, gone: &HashSet<ListedObject>) {
    let Data::Map(members) = &mut document.data else { return };
    for (list, index) in gone {
        let Some(member) = members.iter_mut().find(|member| same_key(&member.key, list)) else {
            continue;
        };
        let object = match &mut member.value.data {
            Data::List(items) => items.get_mut(*index),
            _ => Some(&mut member.value),
        };
        if let Some(object) = object {
            object.data = Data::Null;
        }
        // A list of nothing is as good as none.
        if items(&member.value).iter().all(|item| matches!(item.data, Data::Null)) {
            member.value.data = Data::Null;
        }
    }
}

//! What a host needs in order to join a hub: the listener, a user or none, and the lines that the hub's lists lack for it.

use std::sync::Arc;

use ipnet::IpNet;
use rtun_core::{HostName, NamespaceId, Placement};
use rtun_settings::{Named, Provider};
use serde::Serialize;

use super::{
    HubServiceView,
    namespace::{Moment, RoutingSnapshot},
    rules::Rules,
};
use crate::report::ListenerReport;

/// A host that shall join a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinQuery {
    /// Its name.
    pub host: String,
    /// The addresses of its device with their prefix lengths, between commas.
    pub addresses: String,
    /// The namespace; `None`: the default one.
    pub namespace: Option<NamespaceId>,
    /// The hub; `None`: the only one.
    pub service: Option<String>,
    /// The transport; `None`: one with a certificate if there is one.
    pub transport: Option<String>,
}

/// What the host needs.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinNeeds {
    /// The hub.
    pub service: String,
    /// The host's name.
    pub host: String,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Its namespace.
    pub namespace: NamespaceId,
    /// Where it connects to.
    pub listener: ListenerReport,
    /// Whether it needs a user and a password.
    pub needs_user: bool,
    /// What the lists of the hub lack.
    pub missing: Vec<MissingLine>,
}

/// What a list of the configuration lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingLine {
    /// `routers` or `ingresses`.
    pub list: &'static str,
    /// The object of the list.
    pub name: String,
    /// The line to be added, as YAML: to the object, or where there is none of that name, to the list. `None`: a plugin or
    /// another line decides.
    pub line: Option<String>,
    /// Why the host needs it.
    pub because: String,
}

/// A query that is valid.
pub(crate) struct UnderstoodJoin {
    host: HostName,
    addresses: Vec<IpNet>,
    namespace: NamespaceId,
    transport: Option<String>,
}

impl JoinQuery {
    /// Checks it; the error says what is wrong with it.
    pub(crate) fn understand(&self) -> Result<UnderstoodJoin, String> {
        let host = HostName::new(self.host.trim()).map_err(|error| error.to_string())?;
        let texts = self.addresses.split([',', ' ']).filter(|text| !text.is_empty());
        let read = texts.map(|text| {
            text.parse::<IpNet>().map_err(|_| {
                let text = text.escape_debug();
                format!("`{text}` is no address with its prefix length, as in 192.168.123.3/24")
            })
        });
        let addresses = read.collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            return Err("`addresses` is missing: the addresses of the host's device".into());
        }
        Ok(UnderstoodJoin {
            host,
            addresses,
            namespace: self.namespace.unwrap_or(NamespaceId::from_bytes([0; 16])),
            transport: self.transport.clone(),
        })
    }
}

impl HubServiceView {
    /// What the host needs to join this hub; the error says why it cannot.
    pub(crate) fn joining(&self, asked: &UnderstoodJoin) -> Result<JoinNeeds, String> {
        let UnderstoodJoin { host, addresses, namespace, transport } = asked;
        let mut listeners = self.listens().collect::<Vec<_>>();
        let chosen = match transport {
            Some(transport) => listeners.iter().position(|it| it.transport.as_str() == transport),
            // The one that proves who it is, if there is one.
            None => listeners.iter().position(|it| it.certificate.is_some()).or(Some(0)),
        };
        let service = self.connections.service.clone();
        let Some(chosen) = chosen else {
            let there = listeners.iter().map(|it| it.transport.as_str()).collect::<Vec<_>>();
            return Err(format!("{service} does not listen so; it does with {}", there.join(", ")));
        };
        let registry = &self.connections.served.registry;
        let (rules, present) = registry.moment(*namespace);
        let (present, snapshot) = match present {
            Some((present, snapshot)) => (Some(present), snapshot),
            None => (None, Arc::new(RoutingSnapshot::new(*namespace, &rules))),
        };
        let moment = Moment { snapshot: &snapshot, namespace: present.as_deref() };
        let mut missing: Vec<_> = addresses
            .iter()
            .filter_map(|net| {
                let leads = snapshot.routing.leads_to(host, net.addr(), &moment);
                (leads != Some(true)).then(|| route(&rules, *namespace, host, *net, leads))
            })
            .collect();
        missing.extend(ingress(&rules, *namespace, host));
        Ok(JoinNeeds {
            service,
            host: host.to_string(),
            addresses: addresses.clone(),
            namespace: *namespace,
            listener: listeners.swap_remove(chosen),
            needs_user: rules.access.users.is_some(),
            missing,
        })
    }
}

/// The route of an address that does not lead to its host; `leads` is `None` where a plugin decides.
fn route(
    rules: &Rules,
    namespace: NamespaceId,
    host: &HostName,
    net: IpNet,
    leads: Option<bool>,
) -> MissingLine {
    let is_plugin =
        |router: &&Named<rtun_settings::Route>| matches!(router.provider, Provider::Plugin(_));
    let mut routers = rules.routers(namespace);
    let address = net.addr();
    if leads.is_none() {
        let plugin = routers.find(is_plugin).map(|router| router.name.clone());
        return MissingLine {
            list: "routers",
            name: plugin.unwrap_or_default(),
            line: None,
            because: format!("its plugin decides whether {address} is at {host}"),
        };
    }
    let row = format!("{{dst: {}, gateway: {}}}", IpNet::from(address), quoted(host.as_str()));
    let because = format!("packets to {address} do not go to {host}");
    match routers.find(|router| !is_plugin(router)) {
        Some(router) => {
            let (name, line) = (router.name.clone(), Some(format!("- {row}")));
            MissingLine { list: "routers", name, line, because }
        }
        None => {
            let name = namespace.to_string();
            let line = Some(format!("- {{name: {}, routes: [{row}]}}", quoted(&name)));
            MissingLine { list: "routers", name, line, because }
        }
    }
}

/// The rule without which the host may not join this namespace.
fn ingress(rules: &Rules, namespace: NamespaceId, host: &HostName) -> Option<MissingLine> {
    let name = rules.config.ingress.as_ref()?.name.clone();
    let (line, because) = match rules.access.ingress.as_ref()? {
        Placement::Asked => (None, format!("its plugin decides whether {host} may join")),
        Placement::Rules(placement) => match placement.namespace_of(host) {
            Some(allowed) if allowed == namespace => return None,
            Some(allowed) => (None, format!("a rule of it admits {host} to {allowed} only")),
            None => {
                let (hostname, endpoint) = (quoted(host.as_str()), quoted(&namespace.to_string()));
                let line = format!("- {{hostname: {hostname}, endpoint: {endpoint}}}");
                (Some(line), format!("no rule admits {host}"))
            }
        },
    };
    Some(MissingLine { list: "ingresses", name, line, because })
}

/// As a YAML text between quotes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

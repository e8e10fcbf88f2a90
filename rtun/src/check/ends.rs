//! Hosts whose hub stands in the same configuration: what they would send or ask for, and that hub would not take.
//!
//! A host is taken for one of a hub if the port that it connects to is one that the hub listens on. Hubs with tables that were not
//! read, or plugins, are not judged by these.

use std::collections::BTreeMap;

use ipnet::IpNet;
use rtun_config::findings::{Finding, Severity};
use rtun_core::{NamespaceId, NoAnswers, Routing, SourceCheck, prefix_is_for_many};
use rtun_settings::{Config, HostSettings, HubSettings, ServiceKind};

use crate::offline::{Barred, Hub};

/// What there is to say of the hosts of the configuration at its hubs.
pub(super) fn findings(hubs: &[Hub<'_>], config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for hub in hubs {
        let mut at_hub = AtHub { hub, routings: BTreeMap::new(), findings: &mut findings };
        let ports = ports(hub, config);
        for service in &config.services {
            let ServiceKind::Host(host) = &service.kind else { continue };
            for id in namespaces(host, &ports) {
                at_hub.look(host, id);
            }
        }
    }
    findings
}

/// The ports that the hub listens on.
fn ports(hub: &Hub<'_>, config: &Config) -> Vec<String> {
    let settings = config.services.iter().find_map(|service| match &service.kind {
        ServiceKind::Hub(settings) if service.name == hub.service => Some(settings),
        _ => None,
    });
    let listeners = settings.into_iter().flat_map(HubSettings::listeners);
    listeners.filter_map(|listener| port(&listener.addr)).collect()
}

/// What stands after the last colon.
fn port(addr: &str) -> Option<String> {
    addr.rsplit_once(':').map(|(_, port)| port.to_owned())
}

/// The namespaces that the host joins by nodes at one of these ports, each once.
fn namespaces(host: &HostSettings, ports: &[String]) -> Vec<NamespaceId> {
    let mut ids: Vec<NamespaceId> = Vec::new();
    for node in &host.hubs {
        let mut addrs = node.endpoints.iter().filter_map(|endpoint| port(&endpoint.addr));
        if addrs.any(|port| ports.contains(&port)) && !ids.contains(&node.namespace) {
            ids.push(node.namespace);
        }
    }
    ids
}

struct AtHub<'a, 'h> {
    hub: &'a Hub<'h>,
    /// Of namespaces that were looked at.
    routings: BTreeMap<NamespaceId, Routing>,
    findings: &'a mut Vec<Finding>,
}

impl AtHub<'_, '_> {
    fn look(&mut self, host: &HostSettings, id: NamespaceId) {
        let (name, hub) = (host.name.as_str(), self.hub.service);
        if let Err(barred) = self.hub.admits(&host.name, id) {
            let why = barred.to_string();
            let gost = matches!(barred, Barred::NoRule(_)) && id.is_default();
            let gost = if gost { "; GOST lets it in, as it has no `router.id`" } else { "" };
            let help = match barred {
                Barred::NoNamespace => format!("add a router named {id}, or correct `router.id`"),
                Barred::NoUser => format!("add {name} to the `hosts` of its user"),
                Barred::NoRule(ingress) => format!("add a rule for {name} to {ingress}"),
                Barred::Elsewhere(_, to) => format!("write `router.id: {to}`, or correct the rule"),
            };
            self.warn(
                format!("the hub `{hub}` does not admit the host `{name}`: {why}{gost}"),
                help,
            );
            return;
        }
        if !self.hub.not_asked(id).is_empty() {
            return;
        }
        let lost = match self.hub.rules.source_check {
            SourceCheck::Strict => "what it sends from there is dropped, and nothing gets there",
            SourceCheck::Loose | SourceCheck::Off => "nothing gets there",
        };
        for address in host.device.addresses.iter().map(IpNet::addr) {
            let routing = self.routings.entry(id).or_insert_with(|| self.hub.routing(id));
            if routing.leads_to(&host.name, address, &NoAnswers) == Some(false) {
                self.warn(
                    format!("`{name}` has {address}, and no route of the hub `{hub}` leads there: {lost}"),
                    format!("add a route for {address} to {name}"),
                );
            }
        }
        for route in &host.device.routes {
            let prefix = route.prefix;
            let is_covered = |known: &IpNet| {
                (known.contains(&prefix) || prefix.contains(known))
                    && (!prefix_is_for_many(prefix) || prefix_is_for_many(*known))
            };
            let mut known = self.hub.routers(id).flat_map(|(table, _)| table.routes());
            if !known.any(|route| is_covered(&route.prefix)) {
                self.warn(
                    format!(
                        "`{name}` sends what is for {prefix} into the tunnel, and the hub `{hub}` has no route for it: \
                         packets to it are dropped, and packets from it too"
                    ),
                    format!("add a route for {prefix} to the host that it is behind"),
                );
            }
        }
    }

    fn warn(&mut self, message: String, help: String) {
        let finding = Finding {
            code: None,
            severity: Severity::Warning,
            location: None,
            path: String::new(),
            message,
            help: Some(help),
        };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }
}

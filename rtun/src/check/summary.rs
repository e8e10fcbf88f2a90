//! What a check ends with: what runs, what is left out, what stops it.

use rtun_config::{
    Outcome, ServiceFate,
    findings::{Finding, Severity},
};
use rtun_settings::{HostSettings, ListenerSettings, Service, ServiceKind};
use serde_json::{Value, json};

/// Most errors that are named again.
const MAX_NAMED: usize = 8;

/// The lines of a person's summary; empty if the configuration could not be read at all.
pub(super) fn text(outcome: &Outcome) -> String {
    if outcome.document.is_none() {
        return String::new();
    }
    let mut lines = Vec::new();
    let named = |fate| outcome.services.iter().filter(move |service| service.fate == fate);
    match &outcome.config {
        Some(config) if stopping(outcome).next().is_none() => {
            let metrics =
                config.metrics.iter().map(|metrics| format!("metrics on {}", metrics.addr));
            let api = config.api.iter().map(|api| format!("Web API on {}", api.addr));
            let running = config.services.iter().map(shown).chain(metrics).chain(api).collect();
            lines.push(("runs", running));
        }
        _ => {
            let rest: Vec<_> = named(ServiceFate::Runs).map(ToString::to_string).collect();
            lines.push(("would run", rest));
        }
    }
    lines.push(("left out", named(ServiceFate::LeftOut).map(ToString::to_string).collect()));
    let stopping: Vec<_> = stopping(outcome).collect();
    let mut named: Vec<String> =
        stopping.iter().take(MAX_NAMED).map(|finding| of(finding)).collect();
    if stopping.len() > MAX_NAMED {
        named.push(format!("{} more", stopping.len() - MAX_NAMED));
    }
    lines.push(("stopped by", named));
    let lines = lines.into_iter().filter(|(_, what)| !what.is_empty());
    lines.map(|(label, what)| format!("{label}: {}\n", what.join(", "))).collect()
}

/// Each service with its handler and what becomes of it.
pub(super) fn as_json(outcome: &Outcome) -> Vec<Value> {
    let fate = |fate| match fate {
        ServiceFate::Runs if stopping(outcome).next().is_some() => "would run",
        ServiceFate::Runs => "runs",
        ServiceFate::LeftOut => "left out",
        ServiceFate::Stops => "stops",
    };
    let services = outcome.services.iter().map(|service| {
        json!({ "name": service.name, "handler": service.handler, "fate": fate(service.fate) })
    });
    services.collect()
}

fn stopping(outcome: &Outcome) -> impl Iterator<Item = &Finding> {
    outcome.findings.iter().filter(|finding| finding.severity == Severity::Error)
}

/// The key of a finding and where it stands, or what it says if it is about no key.
fn of(finding: &Finding) -> String {
    match &finding.location {
        Some(place) if !finding.path.is_empty() => format!("{} ({place})", finding.path),
        Some(place) => place.to_string(),
        None => finding.message.clone(),
    }
}

/// The addresses of a host's hubs.
pub(super) fn hubs(host: &HostSettings) -> String {
    let hubs: Vec<_> = host.all_hubs().map(|hub| &*hub.addr).collect();
    match hubs.is_empty() {
        false => hubs.join(", "),
        true if host.hop_plugins().next().is_some() => "hubs that a plugin names".to_owned(),
        true => "hubs that its sources name".to_owned(),
    }
}

fn shown(service: &Service) -> String {
    match &service.kind {
        ServiceKind::Hub(hub) => {
            format!("hub `{}` ({})", service.name, shown_listeners(hub.listeners()))
        }
        ServiceKind::Relay(relay) => {
            let listeners = shown_listeners(relay.listeners());
            format!("relay `{}` of UDP tunnels ({listeners})", service.name)
        }
        ServiceKind::Host(host) => {
            format!("host `{}` (service `{}`, to {})", host.name, service.name, hubs(host))
        }
        ServiceKind::UdpServer(server) => {
            format!("server `{}` of a UDP tunnel (on {})", service.name, server.addr)
        }
        ServiceKind::UdpClient(client) => {
            let servers = client.servers.join(", ");
            format!("client `{}` of a UDP tunnel (to {servers})", service.name)
        }
        ServiceKind::TapServer(server) => {
            format!("server `{}` of an Ethernet tunnel (on {})", service.name, server.addr)
        }
        ServiceKind::TapClient(client) => {
            let servers = client.servers.join(", ");
            format!("client `{}` of an Ethernet tunnel (to {servers})", service.name)
        }
    }
}

fn shown_listeners<'a>(listeners: impl Iterator<Item = &'a ListenerSettings>) -> String {
    let listeners = listeners.map(|it| format!("{} on {}", it.stack.name(), it.addr));
    listeners.collect::<Vec<_>>().join(", ")
}

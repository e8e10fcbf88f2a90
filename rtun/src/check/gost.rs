//! What is the same as with GOST, better, different and missing, for one configuration.

use super::summary::hubs;
use rtun_config::{
    Outcome, ServiceFate,
    findings::{Code, Finding, Severity},
};
use rtun_settings::{
    Config, HostSettings, HubSettings, ServiceKind, Sharing, SourceCheck, TlsVersions,
};

/// Most findings of one kind that are listed.
const MAX_LISTED: usize = 12;

/// One page for a person who thinks of running this configuration with rtun.
pub(super) fn text(outcome: &Outcome) -> String {
    let mut page = Comparison::default();
    if let Some(config) = &outcome.config {
        page.read(config);
    }
    page.findings(&outcome.findings);
    let left_out = outcome.services.iter().filter(|it| it.fate == ServiceFate::LeftOut);
    page.missing.extend(left_out.map(|it| format!("{it}: left out, run it with GOST")));
    let Comparison { same, better, different, missing } = page;
    let sections =
        [("the same", same), ("better", better), ("different", different), ("missing", missing)];
    let mut text = "Against GOST 3\n".to_owned();
    for (title, lines) in sections {
        let lines = if lines.is_empty() { vec!["nothing".to_owned()] } else { lines };
        text += &format!("{title}:\n");
        text.extend(lines.iter().map(|line| format!("  - {line}\n")));
    }
    text + "more: docs/from-gost.md\n\n"
}

#[derive(Default)]
struct Comparison {
    same: Vec<String>,
    better: Vec<String>,
    different: Vec<String>,
    missing: Vec<String>,
}

impl Comparison {
    fn read(&mut self, config: &Config) {
        let hubs: Vec<_> = config
            .services
            .iter()
            .filter_map(|service| match &service.kind {
                ServiceKind::Hub(hub) => Some((&*service.name, hub)),
                _ => None,
            })
            .collect();
        let hosts: Vec<_> = config
            .services
            .iter()
            .filter_map(|service| match &service.kind {
                ServiceKind::Host(host) => Some((&*service.name, host)),
                _ => None,
            })
            .collect();
        hubs.iter().for_each(|(name, hub)| self.hub(name, hub));
        hosts.iter().for_each(|(name, host)| self.host(name, host));
        let is_udp = |kind: &ServiceKind| {
            matches!(kind, ServiceKind::UdpServer(_) | ServiceKind::UdpClient(_))
        };
        if config.services.iter().any(|service| is_udp(&service.kind)) {
            self.same
                .push("UDP tunnels: servers and clients of both speak with each other".to_owned());
        }
        let is_tap = |kind: &ServiceKind| {
            matches!(kind, ServiceKind::TapServer(_) | ServiceKind::TapClient(_))
        };
        if config.services.iter().any(|service| is_tap(&service.kind)) {
            let both = "Ethernet tunnels: servers and clients of both speak with each other";
            self.same.push(both.to_owned());
        }
        if !hubs.is_empty() {
            self.of_hubs(hubs.iter().map(|(_, hub)| *hub));
        }
        if !hosts.is_empty() {
            self.of_hosts();
        }
        let versions = hubs.iter().flat_map(|(_, hub)| hub.listeners());
        let mut versions = versions.filter_map(|it| it.stack.tls()).map(|tls| tls.versions);
        if versions.any(|versions| versions == TlsVersions::Tls13) {
            let line =
                "TLS 1.3 alone is spoken where `minVersion` is not given; GOST also takes 1.2";
            self.different.push(line.to_owned());
        }
        if let Some(metrics) = &config.metrics {
            self.same.push(format!("metrics under GOST's names on {}", metrics.addr));
        }
        self.same.push("flags, keys and the wire: rtun and GOST may be mixed".to_owned());
    }

    fn hub(&mut self, name: &str, hub: &HubSettings) {
        for listener in hub.listeners() {
            let (stack, addr) = (listener.stack.name(), &listener.addr);
            self.same.push(format!("hub `{name}`: GOST's hosts join it over `{stack}` on {addr}"));
        }
        let rules = &hub.rules;
        let (routers, users) = (rules.routers().count(), rules.authers.is_some());
        let users = if users { "users" } else { "no users" };
        let ingress = if rules.ingress.is_some() { ", ingress" } else { "" };
        self.same.push(format!("hub `{name}`: tables ({routers}), {users}{ingress}"));
        if rules.source_check != SourceCheck::Off {
            self.different.push(format!(
                "hub `{name}` drops packets whose source is not routed to the host that sends them; add such routes, or \
                 `sourceCheck: off`"
            ));
        }
        if rules.sharing == Sharing::Newest {
            let line = "of two connections of one host the newest carries all; GOST spreads packets over both";
            self.different.push(format!("hub `{name}`: {line}"));
        }
        if rules.ingress.is_some() {
            let line =
                "a host that no rule of the ingress names is refused, also without `router.id`";
            self.different.push(format!("hub `{name}`: {line}"));
        }
    }

    fn host(&mut self, name: &str, host: &HostSettings) {
        let host_name = &host.name;
        self.same.push(format!(
            "host `{host_name}` (service `{name}`) joins GOST's hubs: {}",
            hubs(host)
        ));
        if host.dial_timeout.is_none() {
            let line = "connecting takes at most 3 s, with layers or proxies 6 s, then the next is tried; GOST takes 15 s";
            self.different.push(format!("host `{host_name}`: {line}"));
        }
    }

    fn of_hubs<'a>(&mut self, hubs: impl Iterator<Item = &'a HubSettings> + Clone) {
        let lines = [
            "a packet takes the longest prefix, whatever the order of the routes",
            "a host that is gone is noticed within 10 s; busy hosts do not delay others",
            "a changed configuration ends only connections that lost their permission",
            "who reaches whom is known before the start: rtun check --reach, rtun explain",
        ];
        self.better.extend(lines.map(str::to_owned));
        if hubs.clone().any(|hub| hub.rules.sources().next().is_some()) {
            let line = "rows from files, redis and HTTP stay when their source fails, also over a new start";
            self.better.push(line.to_owned());
        }
        if hubs.clone().any(|hub| hub.rules.plugins().next().is_some()) {
            let line = "plugins are asked off the packet path, once for each question";
            self.better.push(line.to_owned());
        }
    }

    fn of_hosts(&mut self) {
        let lines = [
            "the device, its addresses and routes stay while the hub is away; back within 2 s of its start",
            "the machine's own routes are never replaced; a route that covers the hub works",
        ];
        self.better.extend(lines.map(str::to_owned));
    }

    /// Sorts what the check found.
    fn findings(&mut self, findings: &[Finding]) {
        let (mut missing, mut different) = (Vec::new(), Vec::new());
        for finding in findings {
            let place = finding.location.as_ref().map(|place| format!(" ({place})"));
            let line = format!("{}{}", finding.message, place.unwrap_or_default());
            match (finding.severity, finding.code) {
                (Severity::Error, _) => missing.push(format!("stops it: {line}")),
                (_, Some(Code::C26)) => missing.push(line),
                (_, Some(Code::C15 | Code::C16 | Code::C17 | Code::C20 | Code::C27)) => {
                    different.push(line);
                }
                (_, None) if finding.message.contains("has no effect") => missing.push(line),
                (Severity::Info, None) if finding.message.contains("names no chain") => {
                    different.push(format!("{line}; GOST would connect to no hub"));
                }
                _ => {}
            }
        }
        self.missing.extend(shortened(missing));
        self.different.extend(shortened(different));
    }
}

fn shortened(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(MAX_LISTED);
    lines.truncate(MAX_LISTED);
    lines.extend((more > 0).then(|| format!("{more} more, as listed above")));
    lines
}

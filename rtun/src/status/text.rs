//! A process's status as text: what is wrong first, then each service, aligned for a terminal of 100 columns.

mod tunnel;

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use rtun_node::{
    DeviceHealth, DeviceReport, FeedState, Happened, HappenedReport, HostReport, HubReport,
    KindReport, ListenerReport, NamespaceReport, NodeStatus, PluginStatus, RecorderStatus,
    ServiceReport, Traffic,
    problems::{SHOWN_SHARED, carriers, end_of_certificate, problems},
    units::{bytes, count, duration, number, printable, seconds, short},
};

use super::limits;
use crate::table::table;

/// Characters of a line of what to do about a problem.
const WIDTH: usize = 76;

/// Hosts shown of each namespace, and namespaces of each hub.
const SHOWN: usize = 50;

/// One look at a process.
pub(super) struct Look<'a> {
    pub(super) now: &'a NodeStatus,
    /// An earlier look, and how long before: rates are shown then.
    pub(super) before: Option<(&'a NodeStatus, Duration)>,
    pub(super) colour: bool,
}

impl Look<'_> {
    /// All of it, ending in a line break.
    pub(super) fn text(&self) -> String {
        let NodeStatus { version, pid, uptime, services, .. } = self.now;
        let title = self.bold(&format!("rtun {}", printable(version)));
        let mut text = format!("{title}   pid {pid}   up {}\n", duration(*uptime));
        text += &self.problems();
        text += &self.sources();
        for service in services {
            text.push('\n');
            text += &self.service(service);
        }
        if !self.now.observers.is_empty() {
            text.push('\n');
            let rows = plugin_rows(&self.now.observers);
            text += &format!("{}\n{}", self.bold("Observers"), table("  ", "llrrrll", rows));
        }
        if !self.now.recorders.is_empty() {
            text.push('\n');
            let rows = recorder_rows(&self.now.recorders);
            text += &format!("{}\n{}", self.bold("Recorders"), table("  ", "lrrrrll", rows));
        }
        text
    }

    fn problems(&self) -> String {
        let problems = problems(self.now);
        if problems.is_empty() {
            return String::new();
        }
        let rows = problems.iter().flat_map(|problem| {
            let when = match problem.ago {
                Duration::ZERO => "now".to_owned(),
                ago => format!("{} ago", duration(ago)),
            };
            let first = vec![when, printable(&problem.service), problem.what.clone()];
            let remedy = wrapped(&problem.remedy).into_iter();
            let remedy = remedy.map(|line| vec![String::new(), String::new(), format!("  {line}")]);
            std::iter::once(first).chain(remedy)
        });
        let table = table("  ", "lll", rows.collect());
        format!("\n{}\n{table}", self.paint("1;31", "Problems"))
    }

    fn sources(&self) -> String {
        let sources = &self.now.sources;
        if sources.is_empty() {
            return String::new();
        }
        let mut rows =
            vec![["FOR", "NAME", "ROWS", "STATE", "READ", "SOURCE"].map(str::to_owned).to_vec()];
        rows.extend(sources.iter().take(SHOWN).map(|source| {
            let state = match source.state {
                FeedState::Loading => "loading",
                FeedState::Fresh => "fresh",
                FeedState::Snapshot => "kept from before",
                FeedState::Failing => "failing",
            };
            let read =
                source.last_success.map_or("never".into(), |ago| format!("{} ago", seconds(ago)));
            let rows = count(source.rows as f64);
            let kind = printable(&source.kind);
            vec![kind, short(&source.name), rows, state.into(), read, printable(&source.source)]
        }));
        let table = table("  ", "llrlll", rows);
        format!("\n{}\n{table}{}", self.bold("Sources"), more(sources.len(), "sources", "  "))
    }

    fn service(&self, service: &ServiceReport) -> String {
        let before = self.before.and_then(|(status, ago)| {
            let same = status.services.iter().find(|then| then.name == service.name)?;
            Some((&same.kind, ago))
        });
        let name = printable(&service.name);
        match (&service.kind, before) {
            (KindReport::Hub(hub), Some((KindReport::Hub(then), ago))) => {
                self.hub(&name, hub, Some((then, ago)))
            }
            (KindReport::Hub(hub), _) => self.hub(&name, hub, None),
            (KindReport::Host(host), Some((KindReport::Host(then), ago))) => {
                self.host(&name, host, Some((then, ago)))
            }
            (KindReport::Host(host), _) => self.host(&name, host, None),
            (KindReport::UdpServer(server), _) => self.udp_server(&name, server),
            (KindReport::UdpClient(client), _) => self.udp_client(&name, client),
            (KindReport::Relay(relay), _) => self.relay(&name, relay),
            (KindReport::TapServer(server), _) => self.tap_server(&name, server),
            (KindReport::TapClient(client), _) => self.tap_client(&name, client),
        }
    }

    fn hub(&self, name: &str, hub: &HubReport, before: Option<(&HubReport, Duration)>) -> String {
        let hosts = hub.hosts().count();
        let mut ways = hub.listen.iter().map(listener);
        let mut text = format!(
            "{}   listens on {}\n",
            self.bold(&format!("Hub {name}")),
            ways.next().unwrap_or_default()
        );
        let mut facts: Vec<_> = ways.map(|way| fact("and on", way)).collect();
        facts.extend([
            fact("hosts", format!("{hosts} connected, {} admitted so far", hub.admitted)),
            fact("refused", happened(&hub.refused)),
            fact("ended", happened(&hub.ended)),
            fact(
                "queues",
                format!("{} of {}", bytes(hub.queue_memory as f64), bytes(hub.queue_budget as f64)),
            ),
        ]);
        facts.extend(hub.quotas.iter().map(|it| fact("quota", limits::quota(it))));
        if hub.unadmitted > 0 {
            facts.push(fact("joining", format!("{} not admitted yet", hub.unadmitted)));
        }
        if hub.waiting_for_plugins > 0 {
            facts.push(fact(
                "parked",
                format!("{} packets wait for plugins", hub.waiting_for_plugins),
            ));
        }
        if hub.gone.all_dropped() > 0 {
            facts.push(fact("drops gone by", drops(&hub.gone)));
        }
        text += &table("  ", "ll", facts);
        text += &self.plugins(&hub.plugins);
        for namespace in hub.namespaces.iter().take(SHOWN) {
            let then = before.and_then(|(hub, ago)| {
                let same = hub.namespaces.iter().find(|then| then.id == namespace.id)?;
                Some((same, ago))
            });
            text.push('\n');
            text += &self.namespace(namespace, then);
        }
        text + &more(hub.namespaces.len(), "namespaces", "  ")
    }

    fn plugins(&self, plugins: &[PluginStatus]) -> String {
        if plugins.is_empty() {
            return String::new();
        }
        let table = table("    ", "llrrrll", plugin_rows(plugins));
        format!("\n  {}\n{table}", self.bold("Plugins"))
    }

    fn namespace(
        &self,
        namespace: &NamespaceReport,
        before: Option<(&NamespaceReport, Duration)>,
    ) -> String {
        let NamespaceReport { id, routes, shared, hosts, traffic, .. } = namespace;
        let title = match id.is_default() {
            true => "Namespace default".to_owned(),
            false => format!("Namespace {id}"),
        };
        let mut text = format!(
            "  {}   {}, {}\n",
            self.bold(&title),
            number(*routes, "route"),
            number(hosts.len(), "host")
        );
        let mut facts = vec![
            fact("from hosts", passed(traffic, before.map(|(then, ago)| (&then.traffic, ago)), IN)),
            fact("to hosts", passed(traffic, before.map(|(then, ago)| (&then.traffic, ago)), OUT)),
            fact("drops", drops(traffic)),
        ];
        if traffic.answered > 0 {
            facts.push(fact("ICMP errors", count(traffic.answered as f64)));
        }
        facts.extend(shared.iter().take(SHOWN_SHARED).map(|it| fact("shared", carriers(it))));
        facts.extend(limits::of_hosts(hosts).into_iter().map(|it| fact("limit", it)));
        text += &table("    ", "ll", facts);
        if hosts.is_empty() {
            return text;
        }
        let rate = if before.is_some() { "/s" } else { "" };
        let mut rows = vec![
            [
                "HOST", "FROM", "FOR", "IN", "PACKETS", "OUT", "PACKETS", "QUEUED", "DROPS",
                "PROGRAM",
            ]
            .map(str::to_owned)
            .to_vec(),
        ];
        for (title, column) in [("IN", 3), ("PACKETS", 4), ("OUT", 5), ("PACKETS", 6)] {
            rows[0][column] = format!("{title}{rate}");
        }
        for host in hosts.iter().take(SHOWN) {
            let then = before.map(|(namespace, ago)| {
                let same = |then: &&HostReport| then.host == host.host && then.peer == host.peer;
                (namespace.hosts.iter().find(same), ago)
            });
            rows.push(host_row(host, then));
        }
        // Columns that say nothing about anybody.
        for (column, nothing) in [(8, "0"), (7, "0 B")] {
            if rows[1..].iter().all(|row| row[column] == nothing) {
                for row in &mut rows {
                    row.remove(column);
                }
            }
        }
        let alignment = match rows[0].len() {
            8 => "lllrrrrl",
            9 => "lllrrrrrl",
            _ => "lllrrrrrrl",
        };
        text + &table("    ", alignment, rows) + &more(hosts.len(), "hosts", "    ")
    }

    fn host(
        &self,
        name: &str,
        report: &DeviceReport,
        before: Option<(&DeviceReport, Duration)>,
    ) -> String {
        let DeviceReport { host, device, mtu, connection, last_error, .. } = report;
        let mut text = format!(
            "{}   reports {host}, device {}, MTU {mtu}\n",
            self.bold(&format!("Host {name}")),
            printable(device)
        );
        let mut facts = Vec::new();
        match connection {
            Some(hub) => {
                let kind = if hub.rtun { "rtun hub" } else { "GOST hub" };
                let whole = if hub.gso_frames { ", packets of up to 64 KiB whole" } else { "" };
                let datagrams = if hub.datagrams { ", datagrams" } else { "" };
                let (transport, since) = (hub.transport.as_str(), duration(hub.connected));
                let address = printable(&hub.hub);
                facts.push(fact(
                    "hub",
                    format!("{address} over {transport} for {since}; {kind}{whole}{datagrams}"),
                ));
                if !hub.namespace.is_default() {
                    facts.push(fact("namespace", hub.namespace.to_string()));
                }
            }
            None => facts.push(fact("hub", self.paint("31", "not connected"))),
        }
        facts.extend(health(&report.health));
        if let Some(error) = last_error {
            let what = printable(&error.error);
            let hub = printable(&error.hub);
            let ago = duration(error.ago);
            facts.push(fact("last failure", format!("{ago} ago, {hub}: {what}")));
        }
        let joined = report.joined;
        facts.push(fact("connections", format!("{joined} made, {} failed or lost", report.failed)));
        for (label, now, then) in [
            ("sent", &report.sent, before.map(|(then, ago)| (&then.sent, ago))),
            ("received", &report.received, before.map(|(then, ago)| (&then.received, ago))),
        ] {
            facts.push(fact(label, passed(now, then, OUT)));
            if now.all_dropped() > 0 {
                facts.push(fact("  drops", drops(now)));
            }
        }
        facts.extend(limits::of_device(&report.limits).into_iter().map(|it| fact("limit", it)));
        facts.extend(report.quotas.iter().map(|it| fact("quota", limits::quota(it))));
        if report.queued.packets > 0 {
            let (packets, size) = (report.queued.packets, bytes(report.queued.bytes as f64));
            facts.push(fact("queued", format!("{packets} packets, {size}")));
        }
        text += &table("  ", "ll", facts);
        text + &self.plugins(&report.plugins)
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// What is not as it should be with a host's device.
fn health(health: &DeviceHealth) -> Vec<Vec<String>> {
    let DeviceHealth { missing, times_gone, times_put_back, last_put_back, left, failing } = health;
    let mut facts = Vec::new();
    if let Some(HappenedReport { what, ago }) = missing {
        facts.push(fact("device", format!("none for {}: {}", duration(*ago), printable(what))));
    }
    if *times_gone > 0 {
        facts.push(fact("device gone", times(*times_gone)));
    }
    if let Some(HappenedReport { what, ago }) = last_put_back {
        let times = times(*times_put_back);
        let (ago, what) = (duration(*ago), printable(what));
        facts.push(fact("put back", format!("{times}, last {ago} ago: {what}")));
    }
    for (label, missing) in [("left", left), ("refused", failing)] {
        if !missing.is_empty() {
            facts.push(fact(label, printable(&missing.join(", "))));
        }
    }
    facts
}

/// `tls [::]:8443`, and when its certificate ends if that is soon.
fn listener(way: &ListenerReport) -> String {
    let (transport, address) = (way.transport.as_str(), way.address);
    match end_of_certificate(way) {
        Some(end) => format!("{transport} {address}, certificate {end}"),
        None => format!("{transport} {address}"),
    }
}

fn host_row(host: &HostReport, before: Option<(Option<&HostReport>, Duration)>) -> Vec<String> {
    let standby = if host.carries { "" } else { " (standby)" };
    let traffic = &host.traffic;
    let (seconds, shown) = match before {
        Some((then, ago)) => {
            let then = then.map(|then| then.traffic.clone()).unwrap_or_default();
            (ago.as_secs_f64(), traffic.since(&then))
        }
        None => (1.0, traffic.clone()),
    };
    let program = match &host.software {
        Some(software) => {
            let whole = if host.gso_frames { "" } else { ", no GSO" };
            let datagrams = if host.datagrams { ", datagrams" } else { "" };
            format!("{}{whole}{datagrams}", short(software))
        }
        None => "-".into(),
    };
    vec![
        format!("{}{standby}", short(host.host.as_str())),
        host.peer.to_string(),
        duration(host.connected),
        bytes(shown.bytes_in as f64 / seconds),
        count(shown.packets_in as f64 / seconds),
        bytes(shown.bytes_out as f64 / seconds),
        count(shown.packets_out as f64 / seconds),
        bytes(host.queued.bytes as f64),
        count(traffic.all_dropped() as f64),
        program,
    ]
}

/// Packets and bytes of one direction.
type CountDirection = fn(&Traffic) -> (u64, u64);
const IN: CountDirection = |traffic| (traffic.packets_in, traffic.bytes_in);
const OUT: CountDirection = |traffic| (traffic.packets_out, traffic.bytes_out);

/// What passed in one direction, and how fast if there was an earlier look.
fn passed(now: &Traffic, before: Option<(&Traffic, Duration)>, of: CountDirection) -> String {
    let (packets, size) = of(now);
    let mut text = format!("{} packets, {}", count(packets as f64), bytes(size as f64));
    if let Some((then, ago)) = before {
        let (packets, size) = of(&now.since(then));
        let seconds = ago.as_secs_f64();
        let (packets, size) = (count(packets as f64 / seconds), bytes(size as f64 / seconds));
        let _ = write!(text, "; now {packets} packets/s, {size}/s");
    }
    text
}

/// `no_route 12, hairpin 1`: the most frequent first.
fn drops(traffic: &Traffic) -> String {
    let mut drops: Vec<_> = traffic.dropped_by_reason().collect();
    drops.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let drops: Vec<_> = drops.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    if drops.is_empty() { "none".into() } else { drops.join(", ") }
}

/// `auth_failed 3, bad_version 1`: the latest first.
fn happened(events: &BTreeMap<String, Happened>) -> String {
    let mut events: Vec<_> = events.iter().collect();
    events.sort_by_key(|(_, event)| event.ago);
    let events: Vec<_> =
        events.iter().map(|(word, event)| format!("{} {}", printable(word), event.count)).collect();
    if events.is_empty() { "none".into() } else { events.join(", ") }
}

fn times(count: u64) -> String {
    number(usize::try_from(count).unwrap_or(usize::MAX), "time")
}

fn more(count: usize, of: &str, indent: &str) -> String {
    match count.checked_sub(SHOWN) {
        None | Some(0) => String::new(),
        Some(left) => format!("{indent}and {left} more {of}: --json has all\n"),
    }
}

fn fact(label: &str, value: String) -> Vec<String> {
    vec![label.to_owned(), value]
}

/// A table of recorders, its head included.
fn recorder_rows(recorders: &[RecorderStatus]) -> Vec<Vec<String>> {
    let head = ["NAME", "RECORDS", "LOST", "WAITING", "FAILED", "WRITTEN", "TARGET"];
    let rows = recorders.iter().take(SHOWN).map(|recorder| {
        let RecorderStatus { target, records, dropped } = recorder;
        let numbers = [*records, *dropped, target.waiting as u64, target.failed];
        let last = target.last_success;
        let last = last.map_or("never".into(), |ago| format!("{} ago", seconds(ago as f64)));
        let mut row = vec![short(&target.name)];
        row.extend(numbers.map(|number| count(number as f64)));
        row.extend([last, printable(&target.address)]);
        row
    });
    std::iter::once(head.map(str::to_owned).to_vec()).chain(rows).collect()
}

/// A table of plugins, its head included.
fn plugin_rows(plugins: &[PluginStatus]) -> Vec<Vec<String>> {
    let head = ["FOR", "NAME", "ASKED", "FAILED", "WAITING", "ANSWERED", "PLUGIN"];
    let rows = plugins.iter().take(SHOWN).map(|plugin| {
        let kind = plugin.kind.as_str();
        let last = plugin.last_success;
        let last = last.map_or("never".into(), |ago| format!("{} ago", seconds(ago as f64)));
        let (asked, failed) = (count(plugin.asked as f64), count(plugin.failed as f64));
        let (waiting, address) = (plugin.waiting.to_string(), printable(&plugin.address));
        vec![kind.into(), short(&plugin.name), asked, failed, waiting, last, address]
    });
    std::iter::once(head.map(str::to_owned).to_vec()).chain(rows).collect()
}

/// Lines of at most [`WIDTH`] characters, cut between words.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn traffic(packets: u64, bytes: u64) -> Value {
        json!({
            "packets_in": packets, "bytes_in": bytes, "packets_out": 0, "bytes_out": 0,
            "drops": {"no_route": 2, "hairpin": 9, "of_a_later_version": 1}
        })
    }

    /// A hub with one host, which has sent this much, and a host that has lost its hub.
    fn status(packets: u64, bytes: u64) -> NodeStatus {
        let host = json!({
            "host": "host-1", "peer": "10.0.0.2:49108", "transport": "tcp", "connected": 3700.5,
            "carries": true, "software": "\u{1b}[2Jevil\u{202e}", "mtu": 1420, "super_frames": true, "datagrams": true,
            "traffic": traffic(packets, bytes), "queued": {"packets": 1, "bytes": 1500}
        });
        let namespace = json!({
            "id": "e87f56dd-fd57-4921-9ab8-a0847662daae", "configured": true, "routes": 1,
            "hosts": [host], "traffic": traffic(packets, bytes)
        });
        let way = |transport: &str, address: &str, expires_in: Option<f64>| {
            let certificate = expires_in.map(|expires_in| {
                json!({"subject": "CN=hub", "names": [], "fingerprint": "00", "expires_in": expires_in})
            });
            json!({"transport": transport, "address": address, "certificate": certificate})
        };
        let listen = [
            way("tcp", "[::]:8443", None),
            way("tls", "[::]:443", Some(40.0 * 86_400.0)),
            way("quic", "[::]:443", Some(9.5 * 86_400.0)),
            way("wss", "10.0.0.1:444", Some(-7200.0)),
        ];
        let hub = json!({
            "name": "hub", "kind": "hub", "listen": listen, "namespaces": [namespace],
            "gone": traffic(0, 0), "waiting_for_plugins": 0, "plugins": [], "behind": null,
            "admitted": 1, "unadmitted": 0, "queue_memory": 95, "queue_budget": 100,
            "refused": {
                "auth_failed": {"count": 3, "ago": 41.0}, "bad_version": {"count": 1, "ago": 5000.0}
            },
            "ended": {"peer_closed": {"count": 7, "ago": 1.0}}
        });
        let device = json!({
            "name": "tun", "kind": "host", "host": "host-1", "device": "tun0", "mtu": 1420,
            "connection": null, "joined": 1, "failed": 2,
            "last_error": {"hub": "hub:8443", "error": "bad\u{1b}]0;title\u{7}", "ago": 7.0},
            "queued": {"packets": 0, "bytes": 0}, "sent": traffic(0, 0), "received": traffic(0, 0)
        });
        let status = json!({
            "version": "0.1.0", "pid": 1, "started": 1, "uptime": 100_000.0,
            "tasks": {"main": 9, "workers": [4, 2]},
            "services": [hub, device], "sources": []
        });
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn the_newest_problem_stands_first_and_nothing_reaches_the_terminal_raw() {
        let now = status(1000, 2_000_000);
        let text = Look { now: &now, before: None, colour: false }.text();
        let mut sections = text.split("\n\n");
        assert_eq!(sections.next(), Some("rtun 0.1.0   pid 1   up 1d 3h"));
        let problems: Vec<_> = sections.next().unwrap().lines().skip(1).collect();
        let expected = [
            "  now      hub  quic [::]:443: its certificate ends in 9d 12h",
            "  now      hub  wss 10.0.0.1:444: its certificate has ended 2h 0m ago",
            "  now      hub  the memory for queues is nearly used up",
            "  7s ago   tun  not connected: hub:8443: bad\\u{1b}]0;title\\u{7}",
            "  41s ago  hub  connection refused: auth_failed (3 so far)",
        ];
        // Under each stands what to do about it.
        let (remedies, what): (Vec<_>, Vec<_>) =
            problems.into_iter().partition(|line| line.starts_with("        "));
        assert_eq!(what, expected);
        let remedies = remedies.iter().map(|line| line.trim_start()).collect::<Vec<_>>().join(" ");
        assert!(remedies.starts_with("Put a new certificate"), "{remedies}");
        assert!(remedies.contains("(`auth` of its connector) with"), "{remedies}");
        assert!(text.contains("drops       hairpin 9, no_route 2\n"), "{text}");
        let listens = "\nHub hub   listens on tcp [::]:8443\n  and on         tls [::]:443\n  \
                       and on         quic [::]:443, certificate ends in 9d 12h\n";
        assert!(text.contains(listens), "{text}");
        assert!(
            text.contains("1.9 MiB     1.0k  0 B        0  1.5 KiB     11  \\u{1b}[2Jevil"),
            "{text}"
        );
        let program = text.lines().find(|line| line.contains("evil")).unwrap();
        assert!(program.ends_with(", datagrams"), "{program}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }

    #[test]
    fn two_looks_give_rates() {
        let (then, now) = (status(1000, 0), status(3000, 4 * 1024 * 1024));
        let before = Some((&then, Duration::from_secs(2)));
        let text = Look { now: &now, before, colour: false }.text();
        assert!(text.contains("now 1.0k packets/s, 2.0 MiB/s"), "{text}");
        assert!(text.contains("IN/s"), "{text}");
        let row = text.lines().find(|line| line.contains("10.0.0.2:49108")).unwrap();
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!(cells[4..7], ["2.0", "MiB", "1.0k"], "{row}");
    }
}

//! A process's status as text: what is wrong first, then each service, aligned for a terminal of 100 columns.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use rtun_node::{
    DeviceReport, FeedProblem, FeedState, FeedStatus, Happened, HostReport, HubReport, KindReport,
    NamespaceReport, PluginKind, PluginStatus, ServiceReport, Status, Traffic,
};

use super::units::{bytes, count, duration, printable, seconds, short};

/// What went wrong longer ago than this is no problem any more, unless it lasts.
const RECENT: Duration = Duration::from_secs(15 * 60);

/// Hosts shown of each namespace, and namespaces of each hub.
const SHOWN: usize = 50;

/// Ways for an association to end that are nobody's problem.
const NORMAL_ENDS: [&str; 3] = ["peer_closed", "replaced", "shutdown"];

/// One look at a process.
pub(super) struct Look<'a> {
    pub(super) now: &'a Status,
    /// An earlier look, and how long before: rates are shown then.
    pub(super) before: Option<(&'a Status, Duration)>,
    pub(super) colour: bool,
}

/// Something an operator should look at.
struct Problem {
    /// How long ago it happened; zero: it lasts.
    ago: Duration,
    service: String,
    what: String,
}

impl Look<'_> {
    /// All of it, ending in a line break.
    pub(super) fn text(&self) -> String {
        let Status { version, pid, uptime, services, .. } = self.now;
        let title = self.bold(&format!("rtun {}", printable(version)));
        let mut text = format!("{title}   pid {pid}   up {}\n", duration(*uptime));
        text += &self.problems();
        text += &self.sources();
        for service in services {
            text.push('\n');
            text += &self.service(service);
        }
        text
    }

    fn problems(&self) -> String {
        let mut problems: Vec<_> =
            self.now.services.iter().flat_map(|service| problems_of(service, self.now)).collect();
        problems.extend(self.now.sources.iter().flat_map(problems_of_source));
        if problems.is_empty() {
            return String::new();
        }
        problems.sort_by_key(|problem| problem.ago);
        let rows = problems.iter().map(|problem| {
            let when = match problem.ago {
                Duration::ZERO => "now".to_owned(),
                ago => format!("{} ago", duration(ago)),
            };
            vec![when, printable(&problem.service), problem.what.clone()]
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
        }
    }

    fn hub(&self, name: &str, hub: &HubReport, before: Option<(&HubReport, Duration)>) -> String {
        let hosts = hub.hosts().count();
        let mut text =
            format!("{}   listens on {}\n", self.bold(&format!("Hub {name}")), hub.listen);
        let mut facts = vec![
            fact("hosts", format!("{hosts} connected, {} admitted so far", hub.admitted)),
            fact("refused", happened(&hub.refused)),
            fact("ended", happened(&hub.ended)),
            fact(
                "queues",
                format!("{} of {}", bytes(hub.queue_memory as f64), bytes(hub.queue_budget as f64)),
            ),
        ];
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
        let mut rows = vec![
            ["FOR", "NAME", "ASKED", "FAILED", "WAITING", "ANSWERED", "PLUGIN"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(plugins.iter().take(SHOWN).map(|plugin| {
            let kind = match plugin.kind {
                PluginKind::Router => "router",
                PluginKind::Ingress => "ingress",
                PluginKind::Auther => "auther",
                PluginKind::Admission => "admission",
            };
            let last = plugin.last_success;
            let last = last.map_or("never".into(), |ago| format!("{} ago", seconds(ago as f64)));
            let (asked, failed) = (count(plugin.asked as f64), count(plugin.failed as f64));
            let (waiting, address) = (plugin.waiting.to_string(), printable(&plugin.address));
            vec![kind.into(), short(&plugin.name), asked, failed, waiting, last, address]
        }));
        let table = table("    ", "llrrrll", rows);
        format!("\n  {}\n{table}", self.bold("Plugins"))
    }

    fn namespace(
        &self,
        namespace: &NamespaceReport,
        before: Option<(&NamespaceReport, Duration)>,
    ) -> String {
        let NamespaceReport { id, routes, hosts, traffic, .. } = namespace;
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
        let facts = vec![
            fact("from hosts", passed(traffic, before.map(|(then, ago)| (&then.traffic, ago)), IN)),
            fact("to hosts", passed(traffic, before.map(|(then, ago)| (&then.traffic, ago)), OUT)),
            fact("drops", drops(traffic)),
        ];
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
                let kind = match (hub.rtun, hub.super_frames) {
                    (true, true) => "rtun hub, packets of up to 64 KiB whole",
                    (true, false) => "rtun hub",
                    (false, _) => "GOST hub",
                };
                let (transport, since) = (hub.transport.as_str(), duration(hub.connected));
                let address = printable(&hub.hub);
                facts.push(fact("hub", format!("{address} over {transport} for {since}; {kind}")));
                if !hub.namespace.is_default() {
                    facts.push(fact("namespace", hub.namespace.to_string()));
                }
            }
            None => facts.push(fact("hub", self.paint("31", "not connected"))),
        }
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
        if report.queued.packets > 0 {
            let (packets, size) = (report.queued.packets, bytes(report.queued.bytes as f64));
            facts.push(fact("queued", format!("{packets} packets, {size}")));
        }
        text += &table("  ", "ll", facts);
        text
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn problems_of(service: &ServiceReport, status: &Status) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |ago, what| problems.push(Problem { ago, service: service.name.clone(), what });
    match &service.kind {
        KindReport::Hub(hub) => {
            let recent = |events: &BTreeMap<String, Happened>| {
                let events = events.iter().filter(|(_, it)| it.ago < RECENT);
                events.map(|(word, it)| (printable(word), *it)).collect::<Vec<_>>()
            };
            if let Some(why) = &hub.behind {
                add(Duration::ZERO, format!("does not go by its sources: {}", printable(why)));
            }
            for plugin in &hub.plugins {
                let Some(error) = &plugin.last_error else { continue };
                let ago = Duration::from_secs(error.age);
                let (name, error) = (printable(&plugin.name), printable(&error.text));
                if plugin.paused {
                    add(ago, format!("plugin {name} is left alone for a while: {error}"));
                } else if ago < RECENT {
                    add(ago, format!("plugin {name}: {error}"));
                }
            }
            for (word, Happened { count, ago }) in recent(&hub.refused) {
                add(ago, format!("connection refused: {word} ({count} so far)"));
            }
            for (word, Happened { count, ago }) in recent(&hub.ended) {
                if !NORMAL_ENDS.contains(&word.as_str()) {
                    add(ago, format!("connection of a host ended: {word} ({count} so far)"));
                }
            }
            if hub.traffic().dropped_by_reason().any(|(reason, _)| reason == "internal") {
                add(Duration::ZERO, "packets lost by a bug in rtun: please report it".into());
            }
            if hub.queue_memory > hub.queue_budget / 10 * 8 {
                add(Duration::ZERO, "the memory for queues is nearly used up".into());
            }
        }
        KindReport::Host(host) => match (&host.connection, &host.last_error) {
            (None, None) => add(status.uptime, "not connected to a hub yet".into()),
            (connection, Some(error)) if connection.is_none() || error.ago < RECENT => {
                let state = match connection {
                    Some(_) => "connected again after",
                    None => "not connected:",
                };
                let (hub, what) = (printable(&error.hub), printable(&error.error));
                add(error.ago, format!("{state} {hub}: {what}"));
            }
            _ => {}
        },
    }
    problems
}

fn problems_of_source(source: &FeedStatus) -> Vec<Problem> {
    let mut problems = Vec::new();
    let name = format!("{} {}", source.kind, source.name);
    let mut add = |ago, what| problems.push(Problem { ago, service: name.clone(), what });
    if let Some(FeedProblem { text, age, failing_for }) = &source.problem {
        let text = printable(text);
        let ago = Duration::try_from_secs_f64(*age).unwrap_or(Duration::MAX);
        match failing_for {
            Some(since) => add(ago, format!("source fails for {}: {text}", seconds(*since))),
            None if ago < RECENT => add(ago, format!("source failed: {text}")),
            None => {}
        }
    }
    if let Some(first) = source.first_bad_lines.first() {
        let left_out = number(source.bad_lines, "line");
        let (line, text) = (first.line, printable(&first.text));
        add(Duration::ZERO, format!("{left_out} left out; line {line}: {text}"));
    }
    problems
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
    let program = match (&host.software, host.super_frames) {
        (Some(software), true) => short(software),
        (Some(software), false) => format!("{}, no GSO", short(software)),
        (None, _) => "-".into(),
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
type Direction = fn(&Traffic) -> (u64, u64);
const IN: Direction = |traffic| (traffic.packets_in, traffic.bytes_in);
const OUT: Direction = |traffic| (traffic.packets_out, traffic.bytes_out);

/// What passed in one direction, and how fast if there was an earlier look.
fn passed(now: &Traffic, before: Option<(&Traffic, Duration)>, of: Direction) -> String {
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

fn number(count: usize, of: &str) -> String {
    if count == 1 { format!("1 {of}") } else { format!("{count} {of}s") }
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

/// Rows with their cells under each other, each column aligned as its letter says: `l`eft or `r`ight.
fn table(indent: &str, alignment: &str, rows: Vec<Vec<String>>) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count())).max()
    };
    let widths: Vec<_> = (0..alignment.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = indent.to_owned();
        for ((cell, width), align) in row.iter().zip(&widths).zip(alignment.chars()) {
            let _ = match align {
                'r' => write!(line, "{cell:>width$}  "),
                _ => write!(line, "{cell:<width$}  "),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

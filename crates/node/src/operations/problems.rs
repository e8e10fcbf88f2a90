//! What is wrong with a process, as its status tells.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rtun_control::{FeedProblem, FeedStatus, PluginStatus};
use rtun_core::prefix_is_for_many;

use super::units::{number, printable, seconds, short};
use crate::{
    counters::Happened,
    report::{
        DescriptorReport, DeviceHealth, HappenedReport, HubReport, KindReport, ListenerReport,
        NodeStatus, QuotaReport, ServiceReport, SharedReport, TunnelRefusal,
    },
    runtime::{duties::TaskReport, hook_failures::HookReport},
};

/// What went wrong longer ago than this is no problem any more, unless it lasts.
const RECENT: Duration = Duration::from_secs(15 * 60);

/// A certificate is mentioned that ends within this time, in seconds: 30 days.
const ENDS_SOON: f64 = 30.0 * 24.0 * 60.0 * 60.0;

/// Shared prefixes shown of each namespace, one line for all behind the same hosts.
pub const SHOWN_SHARED: usize = 8;

/// Ways for an association to end that are nobody's problem.
const NORMAL_ENDS: [&str; 3] = ["peer_closed", "replaced", "shutdown"];

/// Something an operator should look at.
pub struct Problem {
    /// How long ago it happened; zero: it lasts.
    pub ago: Duration,
    /// The service, or the list of a source; `-`: the process.
    pub service: String,
    /// A sentence for people, without anything that a terminal would act on.
    pub what: String,
}

/// What an operator should look at, the newest first.
pub fn problems(status: &NodeStatus) -> Vec<Problem> {
    let mut problems: Vec<_> =
        status.services.iter().flat_map(|service| problems_of(service, status)).collect();
    problems.extend(status.sources.iter().flat_map(problems_of_source));
    problems.extend(status.failed_tasks.iter().map(problem_of_task));
    problems.extend(status.failed_hooks.iter().filter_map(problem_of_hook));
    problems.extend(status.observers.iter().filter_map(|it| problem_of_informed(it, "events")));
    let recorders = status.recorders.iter().map(|recorder| &recorder.target);
    problems.extend(recorders.filter_map(|it| problem_of_informed(it, "records")));
    problems.extend(problem_of_descriptors(&status.descriptors));
    problems.sort_by_key(|problem| problem.ago);
    problems
}

fn problem_of_hook(hook: &HookReport) -> Option<Problem> {
    let HookReport { service, failures, ago, error, .. } = hook;
    (*ago < RECENT).then(|| Problem {
        ago: *ago,
        service: service.clone(),
        what: format!("a hook fails: {} ({failures} so far)", printable(error)),
    })
}

/// An observer or recorder that has not taken what it was sent last.
fn problem_of_informed(informed: &PluginStatus, what: &str) -> Option<Problem> {
    let error = informed.last_error.as_ref()?;
    let is_over = informed.last_success.is_some_and(|success| success < error.age);
    (!is_over && informed.waiting > 0).then(|| Problem {
        ago: Duration::from_secs(error.age),
        service: String::new(),
        what: format!(
            "{} {}: {}; {} {what} wait for it",
            informed.kind.as_str(),
            printable(&informed.name),
            printable(&error.text),
            informed.waiting
        ),
    })
}

fn used_up(quota: &QuotaReport) -> String {
    format!("the quota {} is used up, so nothing passes", short(&quota.name))
}

/// When the certificate of a listener ends, if that is soon or was.
pub fn end_of_certificate(way: &ListenerReport) -> Option<String> {
    let left = way.certificate.as_ref()?.expires_in;
    match left {
        left if left < 0.0 => Some(format!("has ended {} ago", seconds(-left))),
        left if left < ENDS_SOON => Some(format!("ends in {}", seconds(left))),
        _ => None,
    }
}

fn problems_of(service: &ServiceReport, status: &NodeStatus) -> Vec<Problem> {
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
            for way in &hub.listen {
                if let Some(end) = end_of_certificate(way) {
                    let (transport, address) = (way.transport.as_str(), way.address);
                    add(Duration::ZERO, format!("{transport} {address}: its certificate {end}"));
                }
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
            for quota in hub.quotas.iter().filter(|quota| quota.exceeded) {
                add(Duration::ZERO, used_up(quota));
            }
            for namespace in &hub.namespaces {
                let missing = |it: &&SharedReport| {
                    !it.gateways[0].connected && !prefix_is_for_many(it.prefix)
                };
                for shared in namespace.shared.iter().filter(missing).take(SHOWN_SHARED) {
                    add(Duration::ZERO, carriers(shared));
                }
            }
            if hub.traffic().dropped_by_reason().any(|(reason, _)| reason == "internal") {
                add(Duration::ZERO, "packets lost by a bug in rtun: please report it".into());
            }
            for (host, addresses) in twice(hub) {
                let host = short(&host);
                let addresses = addresses.join(", ");
                add(
                    Duration::ZERO,
                    format!("{host} is reported by {addresses}; the newest carries"),
                );
            }
            if hub.queue_memory > hub.queue_budget / 10 * 8 {
                add(Duration::ZERO, "the memory for queues is nearly used up".into());
            }
        }
        KindReport::Host(host) => {
            let notice = host.connection.as_ref().and_then(|it| it.notice.as_ref());
            if let Some(notice) = notice {
                add(Duration::ZERO, format!("the hub says: {}", printable(notice)));
            }
            for quota in host.quotas.iter().filter(|quota| quota.exceeded) {
                add(Duration::ZERO, used_up(quota));
            }
            problems_of_device(&host.health, &mut add);
            match (&host.connection, &host.last_error) {
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
            }
        }
        KindReport::UdpServer(server) => {
            problems_of_device(&server.health, &mut add);
            for refusal in server.refused.iter().filter(|refusal| refusal.ago < RECENT) {
                let TunnelRefusal { reason, outer, address, incumbent, ago } = refusal;
                let about = address.map_or(String::new(), |address| format!(" of {address}"));
                let by = incumbent.map_or(String::new(), |it| format!(", which {it} has"));
                add(
                    *ago,
                    format!("register refused: {}{about} from {outer}{by}", printable(reason)),
                );
            }
        }
        KindReport::Relay(relay) => {
            for way in &relay.listen {
                if let Some(end) = end_of_certificate(way) {
                    let (transport, address) = (way.transport.as_str(), way.address);
                    add(Duration::ZERO, format!("{transport} {address}: its certificate {end}"));
                }
            }
            for (reason, refused) in relay.refused.iter().filter(|(_, it)| it.ago < RECENT) {
                let (reason, count) = (printable(reason), refused.count);
                add(refused.ago, format!("connection refused: {reason} ({count} so far)"));
            }
        }
        KindReport::TapServer(server) => problems_of_device(&server.health, &mut add),
        KindReport::TapClient(client) => {
            problems_of_device(&client.health, &mut add);
            match (client.answered, &client.last_error) {
                (false, None) => add(status.uptime, "no server has answered yet".into()),
                (answered, Some(error)) if !answered || error.ago < RECENT => {
                    let state = if answered { "answered again after" } else { "no answer:" };
                    let (server, what) = (printable(&error.hub), printable(&error.error));
                    add(error.ago, format!("{state} {server}: {what}"));
                }
                _ => {}
            }
        }
        KindReport::UdpClient(client) => {
            problems_of_device(&client.health, &mut add);
            match (client.seen_as, &client.last_error) {
                (None, None) => add(status.uptime, "no server has answered yet".into()),
                (seen_as, Some(error)) if seen_as.is_none() || error.ago < RECENT => {
                    let state = match seen_as {
                        Some(_) => "registered again after",
                        None => "not registered:",
                    };
                    let (server, what) = (printable(&error.hub), printable(&error.error));
                    add(error.ago, format!("{state} {server}: {what}"));
                }
                _ => {}
            }
        }
    }
    problems
}

fn problems_of_device(health: &DeviceHealth, add: &mut impl FnMut(Duration, String)) {
    if let Some(HappenedReport { what, ago }) = &health.missing {
        add(*ago, format!("there is no device: {}", printable(what)));
    }
    if let Some(HappenedReport { what, ago }) =
        health.last_put_back.as_ref().filter(|last| last.ago < RECENT)
    {
        add(*ago, format!("put back what somebody took from the device: {}", printable(what)));
    }
    if !health.left.is_empty() {
        let what = printable(&health.left.join(", "));
        add(
            Duration::ZERO,
            format!("missing at the device, somebody takes it away again and again: {what}"),
        );
    }
    for what in &health.failing {
        add(Duration::ZERO, format!("the device is not as it should be: {}", printable(what)));
    }
}

fn problem_of_task(task: &TaskReport) -> Problem {
    let state = if task.running { "has failed and runs again" } else { "does not run" };
    Problem {
        ago: task.ago,
        service: "rtun".into(),
        what: format!("{}: {state}: {}", printable(&task.task), printable(&task.error)),
    }
}

/// Names that machines at different addresses report while one of them carries all packets, with two of these addresses.
fn twice(hub: &HubReport) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for namespace in &hub.namespaces {
        for same in namespace.hosts.chunk_by(|one, other| one.host == other.host) {
            let addresses: BTreeSet<_> = same.iter().map(|host| host.peer.ip()).collect();
            if addresses.len() > 1 && same.iter().any(|host| !host.carries) {
                let addresses = addresses.iter().take(2).map(ToString::to_string);
                found.push((same[0].host.as_str().to_owned(), addresses.collect()));
            }
        }
    }
    found
}

fn problem_of_descriptors(descriptors: &DescriptorReport) -> Option<Problem> {
    let limit = descriptors.limit;
    let Happened { count, ago } = descriptors.exhausted.filter(|it| it.ago < RECENT)?;
    let what =
        format!("all {limit} descriptors are in use: connections wait ({count} times so far)");
    Some(Problem { ago, service: "-".into(), what })
}

/// `10.1.0.0/16 and 3 more: site-a is away, site-b carries`
pub fn carriers(shared: &SharedReport) -> String {
    let SharedReport { prefix, prefixes, gateways } = shared;
    let more = match prefixes - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let carries = if prefix_is_for_many(*prefix) { "gets a copy" } else { "carries" };
    let gateways = gateways.iter().map(|gateway| {
        let state = match (gateway.carries, gateway.connected) {
            (true, _) => carries,
            (false, true) => "stands by",
            (false, false) => "is away",
        };
        format!("{} {state}", short(gateway.host.as_str()))
    });
    format!("{prefix}{more}: {}", gateways.collect::<Vec<_>>().join(", "))
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

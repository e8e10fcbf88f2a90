//! What is wrong with a process, as its status tells, and what to do about it.

mod remedies;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rtun_control::{FeedProblem, FeedStatus, PluginStatus};
use rtun_core::prefix_is_for_many;

use self::remedies::{
    A_BUG, CONNECTING, DEVICE, PLUGIN, RENEW, SERVER, SOURCE, USED_UP, of_end, of_refusal,
};
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
    /// What to do about it, in the same way.
    pub remedy: String,
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
        remedy: "Run the command by hand as rtun's user, and correct it or the service's metadata."
            .into(),
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
        remedy: "Start the observer's plugin, or correct its address; nothing is lost meanwhile."
            .into(),
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
    let mut add = |ago, what, remedy: &str| {
        let (service, remedy) = (service.name.clone(), remedy.to_owned());
        problems.push(Problem { ago, service, what, remedy });
    };
    match &service.kind {
        KindReport::Hub(hub) => {
            let recent = |events: &BTreeMap<String, Happened>| {
                let events = events.iter().filter(|(_, it)| it.ago < RECENT);
                events.map(|(word, it)| (printable(word), *it)).collect::<Vec<_>>()
            };
            if let Some(why) = &hub.behind {
                let what = format!("does not go by its sources: {}", printable(why));
                add(
                    Duration::ZERO,
                    what,
                    "Correct the source that is named; the rules from before stay in force.",
                );
            }
            for way in &hub.listen {
                if let Some(end) = end_of_certificate(way) {
                    let (transport, address) = (way.transport.as_str(), way.address);
                    add(
                        Duration::ZERO,
                        format!("{transport} {address}: its certificate {end}"),
                        RENEW,
                    );
                }
            }
            problems_of_plugins(&hub.plugins, &mut add);
            for (word, Happened { count, ago }) in recent(&hub.refused) {
                let what = format!("connection refused: {word} ({count} so far)");
                add(ago, what, of_refusal(&word));
            }
            for (word, Happened { count, ago }) in recent(&hub.ended) {
                if !NORMAL_ENDS.contains(&word.as_str()) {
                    let what = format!("connection of a host ended: {word} ({count} so far)");
                    add(ago, what, of_end(&word));
                }
            }
            for quota in hub.quotas.iter().filter(|quota| quota.exceeded) {
                add(Duration::ZERO, used_up(quota), USED_UP);
            }
            for namespace in &hub.namespaces {
                let missing = |it: &&SharedReport| {
                    !it.gateways[0].connected && !prefix_is_for_many(it.prefix)
                };
                for shared in namespace.shared.iter().filter(missing).take(SHOWN_SHARED) {
                    let away = short(shared.gateways[0].host.as_str());
                    let remedy = format!(
                        "Start {away}, or look at its log: the next host carries meanwhile, if there is one."
                    );
                    add(Duration::ZERO, carriers(shared), &remedy);
                }
            }
            if hub.traffic().dropped_by_reason().any(|(reason, _)| reason == "internal") {
                add(Duration::ZERO, "packets lost by a bug in rtun".into(), A_BUG);
            }
            for (host, addresses) in twice(hub) {
                let host = short(&host);
                let what =
                    format!("{host} is reported by {}; the newest carries", addresses.join(", "));
                let remedy = "Give each machine a name of its own, and tie names to users (`hosts` in the auther) or certificates (`bindNames`).";
                add(Duration::ZERO, what, remedy);
            }
            if hub.queue_memory > hub.queue_budget / 10 * 8 {
                let what = "the memory for queues is nearly used up".into();
                add(
                    Duration::ZERO,
                    what,
                    "Look in `rtun hosts --sort queue` for hosts with slow links; or raise `queueBudget`.",
                );
            }
        }
        KindReport::Host(host) => {
            let notice = host.connection.as_ref().and_then(|it| it.notice.as_ref());
            if let Some(notice) = notice {
                let what = format!("the hub says: {}", printable(notice));
                add(
                    Duration::ZERO,
                    what,
                    "If another machine has this host's name, give one of them another.",
                );
            }
            for quota in host.quotas.iter().filter(|quota| quota.exceeded) {
                add(Duration::ZERO, used_up(quota), USED_UP);
            }
            problems_of_plugins(&host.plugins, &mut add);
            problems_of_device(&host.health, &mut add);
            match (&host.connection, &host.last_error) {
                (None, None) => add(status.uptime, "not connected to a hub yet".into(), CONNECTING),
                (connection, Some(error)) if connection.is_none() || error.ago < RECENT => {
                    let state = match connection {
                        Some(_) => "connected again after",
                        None => "not connected:",
                    };
                    let (hub, what) = (printable(&error.hub), printable(&error.error));
                    let remedy = match connection {
                        Some(_) => {
                            "Nothing, if it stays connected. Else look at the hub's log and the network on the way."
                        }
                        None => {
                            "Look whether the hub runs and lets this host in (`rtun status` there), and at the network on the way; it is tried again and again."
                        }
                    };
                    add(error.ago, format!("{state} {hub}: {what}"), remedy);
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
                let what =
                    format!("register refused: {}{about} from {outer}{by}", printable(reason));
                add(
                    *ago,
                    what,
                    "Compare the client's passphrase and addresses with the server's, and give each client its own address.",
                );
            }
        }
        KindReport::Relay(relay) => {
            for way in &relay.listen {
                if let Some(end) = end_of_certificate(way) {
                    let (transport, address) = (way.transport.as_str(), way.address);
                    add(
                        Duration::ZERO,
                        format!("{transport} {address}: its certificate {end}"),
                        RENEW,
                    );
                }
            }
            for (reason, refused) in relay.refused.iter().filter(|(_, it)| it.ago < RECENT) {
                let (reason, count) = (printable(reason), refused.count);
                let what = format!("connection refused: {reason} ({count} so far)");
                add(refused.ago, what, of_refusal(&reason));
            }
        }
        KindReport::TapServer(server) => problems_of_device(&server.health, &mut add),
        KindReport::TapClient(client) => {
            problems_of_device(&client.health, &mut add);
            match (client.answered, &client.last_error) {
                (false, None) => add(status.uptime, "no server has answered yet".into(), SERVER),
                (answered, Some(error)) if !answered || error.ago < RECENT => {
                    let state = if answered { "answered again after" } else { "no answer:" };
                    let (server, what) = (printable(&error.hub), printable(&error.error));
                    add(error.ago, format!("{state} {server}: {what}"), SERVER);
                }
                _ => {}
            }
        }
        KindReport::UdpClient(client) => {
            problems_of_device(&client.health, &mut add);
            match (client.seen_as, &client.last_error) {
                (None, None) => add(status.uptime, "no server has answered yet".into(), SERVER),
                (seen_as, Some(error)) if seen_as.is_none() || error.ago < RECENT => {
                    let state = match seen_as {
                        Some(_) => "registered again after",
                        None => "not registered:",
                    };
                    let (server, what) = (printable(&error.hub), printable(&error.error));
                    add(error.ago, format!("{state} {server}: {what}"), SERVER);
                }
                _ => {}
            }
        }
    }
    problems
}

fn problems_of_plugins(plugins: &[PluginStatus], add: &mut impl FnMut(Duration, String, &str)) {
    for plugin in plugins {
        let Some(error) = &plugin.last_error else { continue };
        let ago = Duration::from_secs(error.age);
        let (name, error) = (printable(&plugin.name), printable(&error.text));
        if plugin.paused {
            add(ago, format!("plugin {name} is left alone for a while: {error}"), PLUGIN);
        } else if ago < RECENT {
            add(ago, format!("plugin {name}: {error}"), PLUGIN);
        }
    }
}

fn problems_of_device(health: &DeviceHealth, add: &mut impl FnMut(Duration, String, &str)) {
    if let Some(HappenedReport { what, ago }) = &health.missing {
        let what = format!("there is no device: {}", printable(what));
        add(
            *ago,
            what,
            "Give rtun the right to make it (CAP_NET_ADMIN, /dev/net/tun); it is tried again and again.",
        );
    }
    if let Some(HappenedReport { what, ago }) =
        health.last_put_back.as_ref().filter(|last| last.ago < RECENT)
    {
        let what = format!("put back what somebody took from the device: {}", printable(what));
        add(*ago, what, DEVICE);
    }
    if !health.left.is_empty() {
        let what = printable(&health.left.join(", "));
        let what = format!("missing at the device, somebody takes it away again and again: {what}");
        add(Duration::ZERO, what, DEVICE);
    }
    for what in &health.failing {
        let what = format!("the device is not as it should be: {}", printable(what));
        add(
            Duration::ZERO,
            what,
            "Correct the address, route or rule that is named, or what else has it on this machine.",
        );
    }
}

fn problem_of_task(task: &TaskReport) -> Problem {
    let state = if task.running { "has failed and runs again" } else { "does not run" };
    Problem {
        ago: task.ago,
        service: "rtun".into(),
        what: format!("{}: {state}: {}", printable(&task.task), printable(&task.error)),
        remedy: A_BUG.into(),
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
    let remedy = "Raise the limit: `LimitNOFILE=` in the unit, or `ulimit -n`.".into();
    Some(Problem { ago, service: "-".into(), what, remedy })
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
    let mut add = |ago, what, remedy: &str| {
        let (service, remedy) = (name.clone(), remedy.to_owned());
        problems.push(Problem { ago, service, what, remedy });
    };
    if let Some(FeedProblem { text, age, failing_for }) = &source.problem {
        let text = printable(text);
        let ago = Duration::try_from_secs_f64(*age).unwrap_or(Duration::MAX);
        match failing_for {
            Some(since) => {
                add(ago, format!("source fails for {}: {text}", seconds(*since)), SOURCE);
            }
            None if ago < RECENT => add(ago, format!("source failed: {text}"), SOURCE),
            None => {}
        }
    }
    if let Some(first) = source.first_bad_lines.first() {
        let left_out = number(source.bad_lines, "line");
        let (line, text) = (first.line, printable(&first.text));
        let what = format!("{left_out} left out; line {line}: {text}");
        add(Duration::ZERO, what, "Correct the line: it is read again by itself.");
    }
    problems
}

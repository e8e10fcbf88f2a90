//! Limits and quotas as facts about a service.

use std::collections::{BTreeMap, BTreeSet};

use rtun_node::{
    HostReport, LimitReport, QuotaReport,
    units::{bytes, short},
};

/// Hosts named of each limit.
const NAMED: usize = 8;

/// Limits shown of each namespace.
const SHOWN: usize = 16;

/// `in 1.0 MiB/s, out 2.0 MiB/s for each connection (limiter): host-1, host-2`, for each different limit.
pub(super) fn of_hosts(hosts: &[HostReport]) -> Vec<String> {
    of_peers(hosts.iter().map(|host| (host.host.as_str().to_owned(), &host.limits[..])))
}

/// The same of any peers, by their names.
pub(super) fn of_peers<'a>(
    peers: impl Iterator<Item = (String, &'a [LimitReport])>,
) -> Vec<String> {
    /// Limiter, scope and both rates.
    type Limit<'a> = (&'a str, &'a str, Option<u64>, Option<u64>);
    let mut peers_of: BTreeMap<Limit<'_>, BTreeSet<String>> = BTreeMap::new();
    for (name, limits) in peers {
        for LimitReport { limiter, scope, input, output } in limits {
            let names = peers_of.entry((limiter, scope, *input, *output)).or_default();
            names.insert(name.clone());
        }
    }
    let all = peers_of.len();
    let mut lines: Vec<_> = peers_of
        .into_iter()
        .take(SHOWN)
        .map(|((limiter, scope, input, output), names)| {
            let (rates, whose) = (rates(input, output), whose(scope));
            match scope {
                "service" => format!("{rates} {whose} ({limiter})"),
                _ => format!("{rates} {whose} ({limiter}): {}", listed(&names)),
            }
        })
        .collect();
    if let Some(more) = all.checked_sub(SHOWN).filter(|more| *more > 0) {
        lines.push(format!("and {more} more: --json has all"));
    }
    lines
}

/// The same of a host's device.
pub(super) fn of_device(limits: &[LimitReport]) -> Vec<String> {
    let line = |it: &LimitReport| format!("{} ({})", rates(it.input, it.output), it.limiter);
    limits.iter().map(line).collect()
}

/// `month: 3.0 GiB of 100 GiB`.
pub(super) fn quota(quota: &QuotaReport) -> String {
    let QuotaReport { name, used, limit, exceeded, .. } = quota;
    let (name, used) = (short(name), bytes(*used as f64));
    let state = if *exceeded { ", used up: nothing passes" } else { "" };
    match limit {
        0 => format!("{name}: {used}, no limit"),
        limit => format!("{name}: {used} of {}{state}", bytes(*limit as f64)),
    }
}

fn rates(input: Option<u64>, output: Option<u64>) -> String {
    let rate = |word: &str, rate: Option<u64>| Some(format!("{word} {}/s", bytes(rate? as f64)));
    let both: Vec<_> = [rate("in", input), rate("out", output)].into_iter().flatten().collect();
    both.join(", ")
}

fn whose(scope: &str) -> &'static str {
    match scope {
        "service" => "for all together",
        "address" => "for each address",
        "connection" => "for each connection",
        "namespace" => "for the namespace",
        _ => "for each host",
    }
}

fn listed(names: &BTreeSet<String>) -> String {
    let shown: Vec<_> = names.iter().take(NAMED).map(|name| short(name)).collect();
    match names.len().checked_sub(NAMED) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_and_a_quota_are_one_line_each() {
        let limit = |scope: &str, input, output| LimitReport {
            limiter: "limiter".into(),
            scope: scope.into(),
            input,
            output,
        };
        let limits = [limit("service", Some(1 << 20), None)];
        assert_eq!(of_device(&limits), ["in 1.0 MiB/s (limiter)"]);
        let report = QuotaReport {
            name: "month".into(),
            used: 3 << 30,
            limit: 100 << 30,
            direction: rtun_core::limit::QuotaDirection::Total,
            starts: None,
            expires: None,
            exceeded: false,
        };
        assert_eq!(quota(&report), "month: 3.0 GiB of 100 GiB");
        let unlimited = QuotaReport { limit: 0, ..report.clone() };
        assert_eq!(quota(&unlimited), "month: 3.0 GiB, no limit");
        let used_up = QuotaReport { used: report.limit, exceeded: true, ..report };
        assert_eq!(quota(&used_up), "month: 100 GiB of 100 GiB, used up: nothing passes");
    }
}

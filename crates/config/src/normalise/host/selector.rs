//! Which of several nodes is used, and how a node stands among the others (spec: config.md section 3).

use crate::{
    findings::{Report, quote},
    suggest,
    value::Cursor,
};
use rtun_settings::{NodePreference, ProbeSettings, Selection, Strategy};

/// The selector at `at`, or the one there is without it.
pub(super) fn of(at: Option<&Cursor<'_>>, report: &mut Report) -> Selection {
    let default = Selection::default();
    let Some(at) = at else { return default };
    let fails = at.get("maxFails").and_then(|at| report.integer(&at));
    let fails = fails.filter(|fails| *fails > 0);
    let timeout = at.get("failTimeout").and_then(|at| report.period(&at));
    Selection {
        strategy: at.get("strategy").map(|at| strategy(&at, report)).unwrap_or_default(),
        max_fails: fails
            .map_or(default.max_fails, |fails| u32::try_from(fails).unwrap_or(u32::MAX)),
        fail_timeout: timeout.unwrap_or(default.fail_timeout),
    }
}

fn strategy(at: &Cursor<'_>, report: &mut Report) -> Strategy {
    let name = report.some_text(Some(at)).unwrap_or_default();
    match name.as_str() {
        "" | "round" | "rr" => Strategy::Round,
        "random" | "rand" => Strategy::Random,
        "fifo" | "ha" => Strategy::Fifo,
        "hash" => Strategy::Hash,
        "parallel" | "lowestlatency" | "lowest" | "ll" => {
            report.error(at, format!("the strategy {} is not supported", quote(&name))).help(
                "a host races the transports of one node by itself; among several nodes choose by \
                     `round`, `random`, `fifo` or `hash`",
            );
            Strategy::Round
        }
        _ => {
            let names = ["round", "random", "fifo", "hash"];
            report
                .warning(
                    at,
                    format!("there is no strategy {}; nodes are taken in turn", quote(&name)),
                )
                .maybe_help(suggest::did_you_mean(&name, names));
            Strategy::Round
        }
    }
}

/// What the metadata and `probe` of the node at `at` say.
pub(super) fn preference(at: &Cursor<'_>, report: &mut Report) -> NodePreference {
    let metadata = at.get("metadata");
    let get = |key: &str| metadata.as_ref().and_then(|metadata| metadata.get(key));
    let weight = get("weight").and_then(|at| report.integer(&at)).filter(|weight| *weight > 0);
    NodePreference {
        weight: weight.map_or(1, |weight| u32::try_from(weight).unwrap_or(u32::MAX)),
        backup: get("backup").and_then(|at| report.boolean(&at)).unwrap_or(false),
        probe: at.get("probe").and_then(|at| probe(&at, report)),
    }
}

fn probe(at: &Cursor<'_>, report: &mut Report) -> Option<ProbeSettings> {
    let kind_at = at.get("type");
    if let Some((kind, kind_at)) = report.some_text(kind_at.as_ref()).zip(kind_at) {
        match kind.as_str() {
            "tcp" => {}
            "http" | "cmd" => {
                report
                    .error(&kind_at, format!("probes of type {} are not supported", quote(&kind)))
                    .help("with `tcp` the node is connected to");
                return None;
            }
            _ => {
                report
                    .warning(&kind_at, format!("{} is taken as `tcp`, as in GOST", quote(&kind)))
                    .maybe_help(suggest::did_you_mean(&kind, ["tcp"]));
            }
        }
    }
    let default = ProbeSettings::default();
    let interval = at.get("interval").and_then(|at| report.period(&at));
    let timeout = at.get("timeout").and_then(|at| report.period(&at));
    Some(ProbeSettings {
        interval: interval.unwrap_or(default.interval),
        timeout: timeout.unwrap_or(default.timeout),
    })
}

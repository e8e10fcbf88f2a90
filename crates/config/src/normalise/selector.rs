//! Which of several nodes is used, and how a node is preferred to the others.

use crate::{
    findings::Report,
    location::quote,
    schema::{In, Setting, node, node_metadata, probe, selector},
    suggest,
    value::Cursor,
};
use rtun_settings::{NodePreference, ProbeSettings, Selection, Strategy};

/// The selector at `at`, or the one there is without it.
pub(super) fn of(at: Option<Setting<'_, In>>, report: &mut Report) -> Selection {
    let default = Selection::default();
    let Some(at) = at else { return default };
    let fails = at.read(&selector::MAX_FAILS).filter(|fails| *fails > 0);
    Selection {
        strategy: strategy(&at, report),
        max_fails: fails
            .map_or(default.max_fails, |fails| u32::try_from(fails).unwrap_or(u32::MAX)),
        fail_timeout: at.or_default(&selector::FAIL_TIMEOUT),
    }
}

fn strategy(at: &Cursor<'_>, report: &mut Report) -> Strategy {
    let name = at.or_default(&selector::STRATEGY);
    let at = at.place_of(&selector::STRATEGY);
    match name.as_str() {
        "round" | "rr" => return Strategy::Round,
        "random" | "rand" => return Strategy::Random,
        "fifo" | "ha" => return Strategy::Fifo,
        "hash" => return Strategy::Hash,
        "parallel" | "lowestlatency" | "lowest" | "ll" => {
            report.error(at, format!("the strategy {} is not supported", quote(&name))).help(
                "a host races the transports of one node by itself; among several nodes choose by \
                 `round`, `random`, `fifo` or `hash`",
            );
        }
        _ => report
            .warning(at, format!("there is no strategy {}; nodes are taken in turn", quote(&name)))
            .maybe_help(suggest::did_you_mean(&name, ["round", "random", "fifo", "hash"])),
    }
    Strategy::Round
}

/// What the metadata and `probe` of the node at `at` say.
pub(super) fn preference(at: &Cursor<'_>, report: &mut Report) -> NodePreference {
    let weight = at.read(&node_metadata::WEIGHT).filter(|weight| *weight > 0);
    NodePreference {
        weight: weight.map_or(1, |weight| u32::try_from(weight).unwrap_or(u32::MAX)),
        backup: at.or_default(&node_metadata::BACKUP),
        probe: at.get(&node::PROBE).and_then(|at| probe(&at, report)),
    }
}

fn probe(at: &Cursor<'_>, report: &mut Report) -> Option<ProbeSettings> {
    let kind = at.or_default(&probe::TYPE);
    let place = at.place_of(&probe::TYPE);
    match kind.as_str() {
        "tcp" => {}
        "http" | "cmd" => {
            let message = format!("probes of type {} are not supported", quote(&kind));
            return report.refuse(place, message, "with `tcp` the node is connected to");
        }
        _ => report
            .warning(place, format!("{} is taken as `tcp`, as in GOST", quote(&kind)))
            .maybe_help(suggest::did_you_mean(&kind, ["tcp"])),
    }
    let interval = at.or_default(&probe::INTERVAL);
    Some(ProbeSettings { interval, timeout: at.or_default(&probe::TIMEOUT) })
}

//! Which of several nodes is used, and how a node is preferred to the others.

use crate::{
    location::quote,
    schema::{node, node_metadata, probe, selector},
    suggest,
    value::Cursor,
};
use rtun_settings::{NodePreference, ProbeSettings, Selection, Strategy};

/// The selector at `at`.
pub(super) fn of(at: &Cursor<'_>) -> Selection {
    Selection {
        strategy: strategy(at),
        max_fails: at.count(&selector::MAX_FAILS),
        fail_timeout: at.or_default(&selector::FAIL_TIMEOUT),
    }
}

fn strategy(at: &Cursor<'_>) -> Strategy {
    let name = at.or_default(&selector::STRATEGY);
    let at = at.place_of(&selector::STRATEGY);
    match name.as_str() {
        "round" | "rr" => return Strategy::Round,
        "random" | "rand" => return Strategy::Random,
        "fifo" | "ha" => return Strategy::Fifo,
        "hash" => return Strategy::Hash,
        "parallel" | "lowestlatency" | "lowest" | "ll" => {
            at.error(format!("the strategy {} is not supported", quote(&name))).help(
                "a host races the transports of one node by itself; among several nodes choose by \
                 `round`, `random`, `fifo` or `hash`",
            );
        }
        _ => at
            .warning(format!("there is no strategy {}; nodes are taken in turn", quote(&name)))
            .maybe_help(suggest::did_you_mean(&name, ["round", "random", "fifo", "hash"])),
    }
    Strategy::Round
}

/// What the metadata and `probe` of the node at `at` say.
pub(super) fn preference(at: &Cursor<'_>) -> NodePreference {
    NodePreference {
        weight: at.count(&node_metadata::WEIGHT),
        backup: at.or_default(&node_metadata::BACKUP),
        probe: at.get(&node::PROBE).and_then(|at| probe(&at)),
    }
}

fn probe(at: &Cursor<'_>) -> Option<ProbeSettings> {
    let kind = at.or_default(&probe::TYPE);
    let place = at.place_of(&probe::TYPE);
    match kind.as_str() {
        "tcp" => {}
        "http" | "cmd" => {
            let message = format!("probes of type {} are not supported", quote(&kind));
            return place.refuse(message, "with `tcp` the node is connected to");
        }
        _ => place
            .warning(format!("{} is taken as `tcp`, as in GOST", quote(&kind)))
            .maybe_help(suggest::did_you_mean(&kind, ["tcp"])),
    }
    let interval = at.or_default(&probe::INTERVAL);
    Some(ProbeSettings { interval, timeout: at.or_default(&probe::TIMEOUT) })
}

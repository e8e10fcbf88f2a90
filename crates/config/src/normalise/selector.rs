//! Which of several nodes is used, and how a node is preferred to the others.

use super::transport_stack;
use crate::{
    location::quote,
    schema::{Field, Int, chain_metadata, node, node_metadata, probe, selector},
    suggest,
    value::Cursor,
};
use rtun_settings::{HttpProbe, NodePreference, ProbeKind, ProbeSettings, Selection, Strategy};

/// The selector at `at`.
pub(super) fn of(at: &Cursor<'_>) -> Selection {
    Selection {
        strategy: strategy(at),
        max_fails: at.count(&selector::MAX_FAILS),
        fail_timeout: at.or_default(&selector::FAIL_TIMEOUT),
        max_latency: at.read(&selector::MAX_LATENCY).filter(|it| !it.is_zero()),
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
        "parallel" => return Strategy::Parallel,
        "lowestlatency" | "lowest" | "ll" => return Strategy::LowestLatency,
        _ => at
            .warning(format!("there is no strategy {}; nodes are taken in turn", quote(&name)))
            .maybe_help(suggest::did_you_mean(
                &name,
                ["round", "random", "fifo", "hash", "parallel", "lowestlatency"],
            )),
    }
    Strategy::Round
}

/// What the metadata and `probe` of the node at `at` say.
pub(super) fn preference(at: &Cursor<'_>, addr: &str) -> NodePreference {
    NodePreference {
        weight: at.count(&node_metadata::WEIGHT),
        backup: at.or_default(&node_metadata::BACKUP),
        probe: at.get(&node::PROBE).and_then(|at| probe(&at, addr)),
        max_fails: own_count(at, &node_metadata::MAX_FAILS),
        fail_timeout: at.read(&node_metadata::FAIL_TIMEOUT).filter(|it| !it.is_zero()),
    }
}

/// What the metadata of the chain at `at` says.
pub(super) fn of_chain(at: &Cursor<'_>) -> NodePreference {
    NodePreference {
        weight: at.count(&chain_metadata::WEIGHT),
        backup: at.or_default(&chain_metadata::BACKUP),
        probe: None,
        max_fails: own_count(at, &chain_metadata::MAX_FAILS),
        fail_timeout: at.read(&chain_metadata::FAIL_TIMEOUT).filter(|it| !it.is_zero()),
    }
}

/// What is less than 1 counts as 1, as for GOST.
fn own_count(at: &Cursor<'_>, field: &Field<Int>) -> Option<u32> {
    Some(u32::try_from(at.read(field)?.max(1)).unwrap_or(u32::MAX))
}

fn probe(at: &Cursor<'_>, addr: &str) -> Option<ProbeSettings> {
    let kind = at.or_default(&probe::TYPE);
    let place = at.place_of(&probe::TYPE);
    let kind = match kind.as_str() {
        "tcp" => ProbeKind::Connect,
        "http" => ProbeKind::Http(http_probe(at, addr)?),
        "cmd" => {
            let help = "add `command:`, for example `command: ping -c 1 192.0.2.1`";
            let (command, _) = at.required(&probe::COMMAND, "the probe has no command", help)?;
            ProbeKind::Command(command)
        }
        _ => {
            place
                .warning(format!("{} is taken as `tcp`, as in GOST", quote(&kind)))
                .maybe_help(suggest::did_you_mean(&kind, ["tcp", "http", "cmd"]));
            ProbeKind::Connect
        }
    };
    let unused = [
        (probe::HTTP_PATH.any(), "http"),
        (probe::HTTP_HOST.any(), "http"),
        (probe::HTTP_HEADERS.any(), "http"),
        (probe::EXPECTED_STATUS.any(), "http"),
        (probe::COMMAND.any(), "cmd"),
    ];
    for (field, of) in &unused {
        let is_used = match &kind {
            ProbeKind::Connect => false,
            ProbeKind::Http(_) => *of == "http",
            ProbeKind::Command(_) => *of == "cmd",
        };
        if let Some(at) = at.filled(field).filter(|_| !is_used) {
            at.key().warning(format!(
                "`{}` has no effect: it is for probes of type `{of}`",
                field.name()
            ));
        }
    }
    let interval = at.or_default(&probe::INTERVAL);
    Some(ProbeSettings { kind, interval, timeout: at.or_default(&probe::TIMEOUT) })
}

fn http_probe(at: &Cursor<'_>, addr: &str) -> Option<HttpProbe> {
    let is_word =
        |text: &str| !text.is_empty() && text.bytes().all(|it| (b'!'..=b'~').contains(&it));
    let path = at.or_default(&probe::HTTP_PATH);
    if !path.starts_with('/') || !is_word(&path) {
        let message = format!("{} is no path", quote(&path));
        return at.place_of(&probe::HTTP_PATH).refuse(message, "write for example /health");
    }
    let host = at.read(&probe::HTTP_HOST).unwrap_or_else(|| addr.to_owned());
    if !is_word(&host) {
        let message = format!("{} is no host", quote(&host));
        return at.place_of(&probe::HTTP_HOST).refuse(message, "write for example hub.example");
    }
    let status = at.or_default(&probe::EXPECTED_STATUS);
    let status = match u16::try_from(status).ok().filter(|it| (200..600).contains(it)) {
        Some(status) => status,
        None => {
            let message = format!("{status} is no status of an answer");
            return at.place_of(&probe::EXPECTED_STATUS).refuse(message, "write 200 to 599");
        }
    };
    let headers = at.get(&probe::HTTP_HEADERS);
    let headers = headers.map(|at| transport_stack::headers(&at)).unwrap_or_default();
    Some(HttpProbe { path, host, headers, status })
}

//! The chain of a host: proxies, then the hubs it connects to.

use super::{
    node::{self, Hop},
    selector,
};
use crate::{
    findings::{Report, quote},
    normalise::Context,
    value::Cursor,
};
use rtun_settings::{HubNode, ProxyHop, Selection};

/// Most hops of a chain.
const MAX_HOPS: usize = 8;

/// How a host gets to its hubs.
pub(super) struct Chain {
    /// At least one.
    pub(super) hubs: Vec<HubNode>,
    pub(super) selector: Selection,
    pub(super) proxies: Vec<ProxyHop>,
}

/// The chain of the service at `at`; `None` after an error was reported.
pub(super) fn read(
    at: &Cursor<'_>,
    handler: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<Chain> {
    let chain = match named(handler, context, report)? {
        Some(chain) => chain,
        None => only_chain(at, context, report)?,
    };
    let hops = chain.get("hops").iter().flat_map(Cursor::items).collect::<Vec<_>>();
    let Some((last, before)) = hops.split_last() else {
        report.error(&chain, "the chain has no hop").help("add a hop with the hub as its node");
        return None;
    };
    if before.len() >= MAX_HOPS {
        report.error(last, format!("a chain has at most {MAX_HOPS} hops"));
        return None;
    }
    // All of them, so that every error is reported.
    let proxies: Vec<_> = before
        .iter()
        .enumerate()
        .map(|(i, hop)| {
            let hop = resolved_hop(hop, context, report)?;
            let selector = selector::of(hop.get("selector").as_ref(), report);
            let hop = Hop { service: at, at: &hop, behind_proxy: i > 0 };
            Some(ProxyHop { nodes: nodes(&hop, node::proxy, report)?, selector })
        })
        .collect();
    let last = resolved_hop(last, context, report)?;
    let selector = selector::of(last.get("selector").as_ref(), report);
    let last = Hop { service: at, at: &last, behind_proxy: !before.is_empty() };
    let hubs = nodes(&last, node::hub, report);
    let proxies: Option<Vec<_>> = proxies.into_iter().collect();
    Some(Chain { hubs: hubs?, selector, proxies: proxies? })
}

/// The nodes of `hop`, at least one, read by `read`; `None` after an error was reported.
fn nodes<T>(
    hop: &Hop<'_>,
    read: fn(&Cursor<'_>, &Hop<'_>, &mut Report) -> Option<T>,
    report: &mut Report,
) -> Option<Vec<T>> {
    let nodes = hop.at.get("nodes").iter().flat_map(Cursor::items).collect::<Vec<_>>();
    if nodes.is_empty() {
        report.error(hop.at, "the hop has no node").help("add a node with an address");
        return None;
    }
    let nodes: Vec<_> = nodes.iter().map(|node| read(node, hop, report)).collect();
    nodes.into_iter().collect()
}

/// The chain that the handler names, if it names one; the outer `None` after an error was reported.
fn named<'a>(
    handler: &Cursor<'a>,
    context: &Context<'a>,
    report: &mut Report,
) -> Option<Option<Cursor<'a>>> {
    let chain = handler.filled("chain");
    let group = handler.get("chainGroup").and_then(|group| group.get("chains"));
    let group = group.iter().flat_map(Cursor::items).collect::<Vec<_>>();
    let reference = match (chain, &group[..]) {
        (None, []) => return Some(None),
        (Some(chain), []) => chain,
        (None, [entry]) => match entry.get("chain") {
            Some(chain) => chain,
            None => entry.clone(),
        },
        (_, [entry, ..]) => {
            report
                .error(entry, "several chains for one service are not supported yet")
                .help("keep one of them");
            return None;
        }
    };
    context.names.chains.resolve(&reference, report).map(|(_, chain)| Some(chain.clone()))
}

/// Where none is named: the only chain whose last hop has a `router` connector.
fn only_chain<'a>(
    at: &Cursor<'_>,
    context: &Context<'a>,
    report: &mut Report,
) -> Option<Cursor<'a>> {
    let leads_to_a_hub = |chain: &Cursor<'_>| {
        let last = chain.get("hops").and_then(|hops| hops.items().pop());
        let last = last.and_then(|hop| referenced(&hop, context).or(Some(hop)));
        let nodes = last.and_then(|hop| hop.get("nodes"));
        nodes.iter().flat_map(Cursor::items).any(|node| {
            let connector = node.get("connector").and_then(|c| c.get("type"));
            connector.is_some_and(|c| crate::coerce::text(c.value).as_deref() == Ok("router"))
        })
    };
    let candidates: Vec<_> =
        context.names.chains.list.iter().filter(|(_, chain)| leads_to_a_hub(chain)).collect();
    let place = at.get("handler").unwrap_or_else(|| at.clone());
    match candidates[..] {
        [(name, chain)] => {
            report.info(
                &place,
                format!(
                    "the service names no chain and uses {}, the only one that leads to a hub",
                    quote(name)
                ),
            );
            Some(chain.clone())
        }
        [] => {
            report
                .error(&place, "the host has no hub to connect to")
                .help("add a chain whose node has a `router` connector, or -F router://HUB:8443");
            None
        }
        [..] => {
            let names: Vec<String> = candidates.iter().map(|(name, _)| quote(name)).collect();
            report
                .error(
                    &place,
                    format!(
                        "the service names no chain, and several lead to a hub: {}",
                        names.join(", ")
                    ),
                )
                .help("add `chain:` with one of them to the handler");
            None
        }
    }
}

/// The named hop that a hop without nodes stands for.
fn referenced<'a>(hop: &Cursor<'_>, context: &Context<'a>) -> Option<Cursor<'a>> {
    if hop.get("nodes").is_some_and(|nodes| !nodes.value.is_unset()) {
        return None;
    }
    let name = crate::coerce::text(hop.get("name")?.value).ok()?;
    context.names.hops.get(&name).cloned()
}

/// The hop itself, or the one that its name stands for; `None` after an error was reported.
fn resolved_hop<'a>(
    hop: &Cursor<'a>,
    context: &Context<'a>,
    report: &mut Report,
) -> Option<Cursor<'a>> {
    if hop.get("nodes").is_some_and(|nodes| !nodes.value.is_unset()) {
        return Some(hop.clone());
    }
    let Some(name) = hop.get("name") else {
        report
            .error(hop, "the hop has neither nodes nor a name")
            .help("add `nodes:`, or `name:` with the name of one of `hops`");
        return None;
    };
    context.names.hops.resolve(&name, report).map(|(_, hop)| hop.clone())
}

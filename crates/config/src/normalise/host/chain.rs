//! The hubs a host connects to: the nodes of its chain's only hop.

use rtun_core::NamespaceId;

use crate::{
    address,
    coerce::Place,
    findings::{Report, quote},
    model::HubNode,
    normalise::{Context, access, checked_type},
    schema::{CONNECTORS, DIALERS},
    value::Cursor,
};

/// The hubs of the service at `at`, in order; at least one, else `None` after an error was reported.
pub(super) fn hubs(
    at: &Cursor<'_>,
    handler: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<Vec<HubNode>> {
    let chain = match named(handler, context, report)? {
        Some(chain) => chain,
        None => only_chain(at, context, report)?,
    };
    let hops = chain.get("hops").iter().flat_map(Cursor::items).collect::<Vec<_>>();
    let hop = match &hops[..] {
        [hop] => hop,
        [] => {
            report.error(&chain, "the chain has no hop").help("add a hop with the hub as its node");
            return None;
        }
        [_, second, ..] => {
            report
                .error(second, "a chain of more than one hop is not supported yet")
                .help("keep the hop whose nodes have a `router` connector");
            return None;
        }
    };
    let hop = resolved_hop(hop, context, report)?;
    if let Some(selector) = hop.get("selector") {
        self::selector(&selector, report);
    }
    let nodes = hop.get("nodes").iter().flat_map(Cursor::items).collect::<Vec<_>>();
    if nodes.is_empty() {
        report.error(&hop, "the hop has no node").help("add a node with the hub's address");
        return None;
    }
    // All of them, so that every error is reported.
    let hubs: Vec<_> = nodes.iter().map(|node| self::node(node, report)).collect();
    hubs.into_iter().collect()
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

/// Nodes are tried in turn: strategies that ask for more are refused.
pub(super) fn selector(at: &Cursor<'_>, report: &mut Report) {
    let strategy = at.get("strategy");
    let Some(name) = report.some_text(strategy.as_ref()) else { return };
    let Some(at) = strategy else { return };
    match name.as_str() {
        "round" | "rr" | "fifo" | "ha" => {}
        "random" | "rand" | "hash" | "parallel" | "lowestlatency" | "lowest" | "ll" => {
            report
                .error(&at, format!("the strategy {} is not supported yet", quote(&name)))
                .help("with `fifo` nodes are tried in turn");
        }
        _ => {
            let names = ["round", "fifo", "random", "hash", "parallel", "lowestlatency"];
            report
                .warning(
                    &at,
                    format!("there is no strategy {}; nodes are tried in turn", quote(&name)),
                )
                .maybe_help(crate::suggest::did_you_mean(&name, names));
        }
    }
}

fn node(at: &Cursor<'_>, report: &mut Report) -> Option<HubNode> {
    let addr = node_addr(at, report);
    let connector = match at.get("connector") {
        Some(connector) => checked_type(&connector, &CONNECTORS, "http", report).map(|_| connector),
        None => {
            report.error(at, "the node has no connector").help("add `connector: {type: router}`");
            None
        }
    };
    let dialer = at.get("dialer");
    let dialer =
        dialer.map_or(Some(()), |dialer| checked_type(&dialer, &DIALERS, "tcp", report).map(drop));
    let connector = connector?;
    let metadata = connector.get("metadata");
    let id_at = metadata.as_ref().and_then(|m| m.get("router.id"));
    let timeout_at = metadata.as_ref().and_then(|m| m.get("connectTimeout"));
    let namespace = match (report.some_text(id_at.as_ref()), &id_at) {
        (Some(text), Some(at)) => match text.parse::<NamespaceId>() {
            Ok(id) => Some(id),
            Err(error) => {
                report.error(at, format!("{} is {error}", quote(&text)));
                None
            }
        },
        _ => Some(NamespaceId::DEFAULT),
    };
    let auth = match connector.filled("auth") {
        Some(auth) => Some(access::credentials(&auth, report)?),
        None => None,
    };
    let connect_timeout = timeout_at.and_then(|at| report.span(&at, Place::Metadata));
    let name = report.some_text(at.get("name").as_ref());
    let addr = addr?;
    dialer?;
    Some(HubNode {
        name: name.unwrap_or_else(|| addr.clone()),
        namespace: namespace?,
        auth,
        connect_timeout: connect_timeout.filter(|t| !t.is_zero()),
        ..HubNode::tcp(addr)
    })
}

fn node_addr(at: &Cursor<'_>, report: &mut Report) -> Option<String> {
    const HELP: &str = "write for example hub.example:8443";
    let Some(addr) = at.filled("addr") else {
        report.error(at, "the node has no `addr`: where is the hub?").help(HELP);
        return None;
    };
    let text = report.text(&addr)?;
    let checked = match address::check(&text) {
        Ok(("", _)) => Err(address::AddressError::NoHost),
        Ok((_, 0)) => Err(address::AddressError::BadPort),
        other => other,
    };
    checked
        .map_err(|error| {
            report
                .error(&addr, format!("{} is no address of a hub: {error}", quote(&text)))
                .help(HELP);
        })
        .ok()?;
    Some(text)
}

//! The chain of a service: proxies, then the hubs or relays it connects to.

mod node;

use self::node::ChainHop;
use super::{Context, selector};
use crate::{
    coerce,
    location::quote,
    schema::{chain, chain_group, connector, handler, hop, node as node_keys, service},
    value::Cursor,
};
use rtun_settings::{HubNode, ProxyHop, RelayProtocol, Selection};

/// Most hops of a chain.
const MAX_HOPS: usize = 8;

/// What a chain leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ChainEnd {
    /// A hub of routing tunnels: a `router` connector.
    Hub,
    /// A relay of UDP tunnels: a `relay` or a `socks5` connector.
    Relay,
}

/// How a service gets to its hubs or relays.
pub(super) struct Chain {
    /// At least one.
    pub(super) hubs: Vec<HubNode>,
    pub(super) selector: Selection,
    pub(super) proxies: Vec<ProxyHop>,
    /// What relays speak.
    pub(super) protocol: RelayProtocol,
}

/// The chain of the service at `at`; `None` after an error was reported.
pub(super) fn read(
    at: &Cursor<'_>,
    handler: &Cursor<'_>,
    end: ChainEnd,
    context: &Context<'_>,
) -> Option<Chain> {
    let chain = chain_of(at, handler, context)?;
    let hops = chain.items_of(&chain::HOPS);
    let Some((last, before)) = hops.split_last() else {
        return chain.refuse("the chain has no hop", "add a hop with the hub as its node");
    };
    if before.len() >= MAX_HOPS {
        last.error(format!("a chain has at most {MAX_HOPS} hops"));
    }
    let mut proxies = Vec::new();
    for (i, hop) in before.iter().take(MAX_HOPS).enumerate() {
        let Some(hop) = resolved_hop(hop, context) else { continue };
        let selector = selector::of(&hop.object(&hop::SELECTOR));
        let hop = ChainHop { service: at, at: &hop, after_proxy: i > 0 };
        proxies.push(ProxyHop { nodes: nodes(&hop, node::proxy), selector });
    }
    let last = resolved_hop(last, context)?;
    let selector = selector::of(&last.object(&hop::SELECTOR));
    let last = ChainHop { service: at, at: &last, after_proxy: !before.is_empty() };
    let protocol = match end {
        ChainEnd::Hub => RelayProtocol::Relay,
        ChainEnd::Relay => relay_protocol(&last)?,
    };
    let hubs = match (end, protocol) {
        (ChainEnd::Hub, _) => nodes(&last, node::hub),
        (ChainEnd::Relay, RelayProtocol::Relay) => nodes(&last, node::relay),
        (ChainEnd::Relay, RelayProtocol::Socks5) => nodes(&last, node::socks5_relay),
    };
    Some(Chain { hubs, selector, proxies, protocol })
}

/// What the relays of a hop speak, all the same; `None` after an error was reported.
fn relay_protocol(hop: &ChainHop<'_>) -> Option<RelayProtocol> {
    let nodes = hop.at.items_of(&hop::NODES);
    match nodes.iter().filter(|node| node::is_socks5(node)).count() {
        0 => Some(RelayProtocol::Relay),
        all if all == nodes.len() => Some(RelayProtocol::Socks5),
        _ => {
            let message = "the last hop has SOCKS5 proxies and others";
            hop.at.refuse(message, "give its nodes connectors of one type: `relay` or `socks5`")
        }
    }
}

/// The nodes of `hop`, read by `read`; at least one unless an error was reported.
fn nodes<T>(hop: &ChainHop<'_>, read: fn(&Cursor<'_>, &ChainHop<'_>) -> Option<T>) -> Vec<T> {
    let nodes = hop.at.items_of(&hop::NODES);
    if nodes.is_empty() {
        hop.at.error("the hop has no node").help("add a node with an address");
    }
    nodes.iter().filter_map(|node| read(node, hop)).collect()
}

/// The chain that the handler names, or else the only one that leads to a hub; `None` after an error was reported.
fn chain_of<'a>(
    at: &Cursor<'a>,
    handler: &Cursor<'a>,
    context: &Context<'a>,
) -> Option<Cursor<'a>> {
    let chain = handler.filled(&handler::CHAIN);
    let group = handler.object(&handler::CHAIN_GROUP).items_of(&chain_group::CHAINS);
    let found = match (chain, &group[..]) {
        (None, []) => return only_chain(at, context),
        (Some(chain), []) => context.names.chains.resolve(&chain),
        (None, [entry]) => {
            let chain = entry.child_named("chain").unwrap_or_else(|| entry.clone());
            let name = coerce::text(chain.value).ok().filter(|name| !name.is_empty());
            let Some(name) = name else {
                let message =
                    format!("expected the name of a chain, found {}", chain.value.describe());
                return chain.refuse(message, "write `chains: [NAME]`");
            };
            context.names.chains.find(&name, &chain)
        }
        (_, [entry, ..]) => {
            let message = "several chains for one service are not supported yet";
            return entry.refuse(message, "keep one of them");
        }
    };
    found.map(|(_, chain)| chain.clone())
}

/// Where none is named: the only chain whose last hop has a `router` connector.
fn only_chain<'a>(at: &Cursor<'_>, context: &Context<'a>) -> Option<Cursor<'a>> {
    let leads_to_a_hub = |chain: &Cursor<'a>| {
        let last = chain.items_of(&chain::HOPS).pop();
        let last = last.and_then(|hop| match hop.filled(&hop::NODES) {
            Some(_) => Some(hop),
            None => context.names.hops.get(&hop.read(&hop::NAME)?).cloned(),
        });
        let nodes = last.map(|hop| hop.items_of(&hop::NODES)).unwrap_or_default();
        nodes
            .iter()
            .filter_map(|node| node.get(&node_keys::CONNECTOR))
            .any(|connector| connector.read(&connector::TYPE).as_deref() == Some("router"))
    };
    let chains = context.names.chains.list.iter();
    let candidates: Vec<_> = chains.filter(|(_, chain)| leads_to_a_hub(chain)).collect();
    let place = at.place_of(&service::HANDLER);
    match candidates[..] {
        [(name, chain)] => {
            let message = format!(
                "the service names no chain and uses {}, the only one that leads to a hub",
                quote(name)
            );
            place.info(message);
            Some(chain.clone())
        }
        [] => {
            let help = "add a chain whose node has a `router` connector, or -F router://HUB:8443";
            place.refuse("the host has no hub to connect to", help)
        }
        [..] => {
            let names: Vec<String> = candidates.iter().map(|(name, _)| quote(name)).collect();
            let names = names.join(", ");
            let message = format!("the service names no chain, and several lead to a hub: {names}");
            place.refuse(message, "add `chain:` with one of them to the handler")
        }
    }
}

/// The hop itself, or the one that its name stands for; `None` after an error was reported.
fn resolved_hop<'a>(hop: &Cursor<'a>, context: &Context<'a>) -> Option<Cursor<'a>> {
    if hop.filled(&hop::NODES).is_some() {
        return Some(hop.clone());
    }
    let Some(name) = hop.get(&hop::NAME) else {
        let help = "add `nodes:`, or `name:` with the name of one of `hops`";
        return hop.refuse("the hop has neither nodes nor a name", help);
    };
    context.names.hops.resolve(&name).map(|(_, hop)| hop.clone())
}

//! The chain of a service: proxies, then the hubs or relays it connects to.

mod node;

use self::node::ChainHop;
use super::{Context, lookups::ChainNames, plugins, providers, selector, sources};
use crate::{
    coerce,
    location::quote,
    schema::{
        chain, chain_group, connector, handler, hop, node as node_keys, selector as selector_keys,
        service,
    },
    value::Cursor,
};
use rtun_settings::{
    ChainGroup, GroupedChain, HopPlugin, HubNode, LookedUpName, ProxyHop, ProxyNode, RelayProtocol,
    Selection, SocketOptions, Strategy,
};

/// Most chains of a host.
const MAX_CHAINS: usize = 8;

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

/// How a service gets to its hubs or relays: by the first chain, or by those of the group.
pub(super) struct Chain {
    /// At least one.
    pub(super) hubs: Vec<HubNode>,
    pub(super) selector: Selection,
    /// Who names the hub for each connection.
    pub(super) plugin: Option<HopPlugin>,
    pub(super) proxies: Vec<ProxyHop>,
    /// What relays speak.
    pub(super) protocol: RelayProtocol,
    /// More chains.
    pub(super) group: ChainGroup,
    /// Names that are not looked up as everywhere on the system.
    pub(super) lookups: Vec<LookedUpName>,
}

/// A node that is connected to.
trait ReachedNode {
    /// Its addresses, `host:port`.
    fn addrs(&self) -> impl Iterator<Item = &str>;

    fn sockets(&self) -> &SocketOptions;
}

impl ReachedNode for HubNode {
    fn addrs(&self) -> impl Iterator<Item = &str> {
        self.endpoints.iter().map(|endpoint| &*endpoint.addr)
    }

    fn sockets(&self) -> &SocketOptions {
        &self.sockets
    }
}

impl ReachedNode for ProxyNode {
    fn addrs(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.addr)
    }

    fn sockets(&self) -> &SocketOptions {
        &self.sockets
    }
}

/// The chain of the service at `at`, and its group; `None` after an error was reported.
pub(super) fn read<'a>(
    at: &Cursor<'a>,
    handler: &Cursor<'a>,
    end: ChainEnd,
    context: &Context<'a>,
) -> Option<Chain> {
    let chains = chains_of(at, handler, context)?;
    if let ([_, second, ..], ChainEnd::Relay) = (&chains[..], end) {
        let message = "the client of a UDP tunnel has one chain";
        return second.refuse(message, "list several relays as nodes of one hop");
    }
    if chains.len() > MAX_CHAINS {
        at.error(format!("a host has at most {MAX_CHAINS} chains"));
    }
    let mut names = ChainNames::default();
    let read = chains.iter().take(MAX_CHAINS);
    let read = read.map(|chain| chain_at(chain, at, end, &mut names, context));
    let mut read = read.collect::<Option<Vec<_>>>()?;
    // A chain whose nodes are not known yet is none; where there is no other, the host waits for them.
    let is_known = |(chain, _): &(GroupedChain, RelayProtocol)| {
        !chain.hubs.is_empty() || chain.plugin.is_some()
    };
    match read.iter().any(is_known) {
        true => read.retain(is_known),
        false => read.truncate(1),
    }
    let mut read = read.into_iter();
    let (chain, protocol) = read.next()?;
    let GroupedChain { hubs, selector, plugin, proxies, preference: first } = chain;
    let more: Vec<_> = read.map(|(chain, _)| chain).collect();
    let group = match more.is_empty() {
        true => ChainGroup::default(),
        false => {
            let group = handler.object(&handler::CHAIN_GROUP);
            let selector_at = group.object(&chain_group::SELECTOR);
            let selector = selector::of(&selector_at);
            if matches!(selector.strategy, Strategy::Parallel | Strategy::LowestLatency) {
                selector_at
                    .place_of(&selector_keys::STRATEGY)
                    .warning("this strategy is for nodes; chains are taken in turn, as in GOST");
            }
            ChainGroup { selector, first, more }
        }
    };
    let lookups = names.in_their_own_way();
    Some(Chain { hubs, selector, plugin, proxies, protocol, group, lookups })
}

/// One chain of the service at `service`.
fn chain_at<'a>(
    chain: &Cursor<'a>,
    service: &Cursor<'a>,
    end: ChainEnd,
    names: &mut ChainNames<'a>,
    context: &Context<'a>,
) -> Option<(GroupedChain, RelayProtocol)> {
    let name = chain.read(&chain::NAME).unwrap_or_default();
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
        let selector_at = hop.object(&hop::SELECTOR);
        let selector = selector::of(&selector_at);
        if selector.strategy == Strategy::Parallel {
            selector_at
                .place_of(&selector_keys::STRATEGY)
                .error("only the hubs of a chain are tried at once, not its proxies")
                .help("write `lowestlatency`, `fifo` or `round`");
        }
        let hop = ChainHop { service, at: &hop, chain: &name, after_proxy: i > 0 };
        let plugin = plugin_of(&hop, end);
        let nodes = match &plugin {
            Some(_) => Vec::new(),
            None => nodes(&hop, node::proxy, names, context),
        };
        proxies.push(ProxyHop { nodes, selector, plugin });
    }
    let last = resolved_hop(last, context)?;
    let selector = selector::of(&last.object(&hop::SELECTOR));
    let last = ChainHop { service, at: &last, chain: &name, after_proxy: !before.is_empty() };
    let plugin = plugin_of(&last, end);
    let protocol = match end {
        ChainEnd::Hub => RelayProtocol::Relay,
        ChainEnd::Relay => relay_protocol(&last)?,
    };
    let mut hubs = match (end, protocol) {
        _ if plugin.is_some() => Vec::new(),
        (ChainEnd::Hub, _) => nodes(&last, node::hub, names, context),
        (ChainEnd::Relay, RelayProtocol::Relay) => nodes(&last, node::relay, names, context),
        (ChainEnd::Relay, RelayProtocol::Socks5) => {
            nodes(&last, node::socks5_relay, names, context)
        }
    };
    let has_hub = !hubs.is_empty() || plugin.is_some();
    let is_known =
        has_hub && proxies.iter().all(|hop| !hop.nodes.is_empty() || hop.plugin.is_some());
    if !is_known {
        if end == ChainEnd::Relay && !context.report.failed() {
            let message = "the sources of this chain give no node yet";
            chain.error(message).help("add a node to the hop: only hosts wait for theirs");
        }
        hubs.clear();
        proxies.clear();
    }
    let preference = selector::of_chain(chain);
    Some((GroupedChain { hubs, selector, plugin, proxies, preference }, protocol))
}

/// What the relays of a hop speak, all the same; `None` after an error was reported.
fn relay_protocol(hop: &ChainHop<'_, '_>) -> Option<RelayProtocol> {
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

/// Who names the node of `hop` for each connection. What its nodes would have from the hop they do not have then, as in GOST.
fn plugin_of(hop: &ChainHop<'_, '_>, end: ChainEnd) -> Option<HopPlugin> {
    let plugin = hop.at.filled(&hop::PLUGIN)?;
    if end == ChainEnd::Relay {
        let message = "the client of a tunnel asks no plugin for its nodes";
        return plugin.key().refuse(message, "list them as `nodes`: only hosts ask");
    }
    providers::not_used(hop.at, &sources::HOP);
    for key in ["selector", "resolver", "hosts", "interface", "sockopts", "metadata"] {
        let Some(unused) = hop.at.child_named(key).filter(|at| !at.value.is_unset()) else {
            continue;
        };
        let message = format!("`{key}` is not used: the plugin names whole nodes");
        unused.key().warning(message).help("have the plugin put it into its nodes");
    }
    let name = hop.at.read(&hop::NAME).unwrap_or_else(|| hop.at.path.clone());
    Some(HopPlugin { hop: name, chain: hop.chain.to_owned(), plugin: plugins::read(&plugin)? })
}

/// The nodes of `hop`, read by `read`; at least one unless an error was reported, or they are to come from a source.
fn nodes<'a, T: ReachedNode>(
    hop: &ChainHop<'_, 'a>,
    read: fn(&Cursor<'_>, &ChainHop<'_, '_>) -> Option<T>,
    names: &mut ChainNames<'a>,
    context: &Context<'a>,
) -> Vec<T> {
    let nodes = hop.at.items_of(&hop::NODES);
    if nodes.is_empty() && !are_named_elsewhere(hop.at) {
        hop.at.error("the hop has no node").help("add a node with an address");
    }
    let read = |at: &Cursor<'a>| {
        let node = read(at, hop)?;
        names.add(node.addrs(), node.sockets(), at, hop.at, context);
        Some(node)
    };
    nodes.iter().filter_map(read).collect()
}

/// The chains that the handler names, or else the only one that leads to a hub; `None` after an error was reported.
fn chains_of<'a>(
    at: &Cursor<'a>,
    handler: &Cursor<'a>,
    context: &Context<'a>,
) -> Option<Vec<Cursor<'a>>> {
    let chain = handler.filled(&handler::CHAIN);
    let group = handler.object(&handler::CHAIN_GROUP).items_of(&chain_group::CHAINS);
    if chain.is_none() && group.is_empty() {
        return only_chain(at, context).map(|chain| vec![chain]);
    }
    let mut found = Vec::new();
    if let Some(chain) = chain {
        found.push(context.names.chains.resolve(&chain)?.1.clone());
    }
    for entry in group {
        for key in ["matcher", "probe"] {
            if let Some(at) = entry.child_named(key).filter(|at| !at.value.is_unset()) {
                let help = "leave it out; nodes may have a `probe`";
                return at.key().refuse(format!("`{key}` of a chain is not supported"), help);
            }
        }
        let chain = entry.child_named("chain").unwrap_or_else(|| entry.clone());
        let name = coerce::text(chain.value).ok().filter(|name| !name.is_empty());
        let Some(name) = name else {
            let message = format!("expected the name of a chain, found {}", chain.value.describe());
            return chain.refuse(message, "write `chains: [NAME]`");
        };
        found.push(context.names.chains.find(&name, &chain)?.1.clone());
    }
    Some(found)
}

/// Where none is named: the only chain whose last hop has a `router` connector.
fn only_chain<'a>(at: &Cursor<'_>, context: &Context<'a>) -> Option<Cursor<'a>> {
    let leads_to_a_hub = |chain: &Cursor<'a>| {
        let last = chain.items_of(&chain::HOPS).pop();
        let last = last.and_then(|hop| match hop.filled(&hop::NODES) {
            Some(_) => Some(hop),
            None if are_named_elsewhere(&hop) => Some(hop),
            None => context.names.hops.get(&hop.read(&hop::NAME)?).cloned(),
        });
        let nodes = last.as_ref().map(|hop| hop.items_of(&hop::NODES)).unwrap_or_default();
        if nodes.is_empty() && last.is_some_and(|hop| are_named_elsewhere(&hop)) {
            return true;
        }
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
    if hop.filled(&hop::NODES).is_some() || are_named_elsewhere(hop) {
        return Some(hop.clone());
    }
    let Some(name) = hop.get(&hop::NAME) else {
        let help = "add `nodes:`, or `name:` with the name of one of `hops`";
        return hop.refuse("the hop has neither nodes nor a name", help);
    };
    context.names.hops.resolve(&name).map(|(_, hop)| hop.clone())
}

/// Whether the nodes of the hop are with sources or a plugin.
fn are_named_elsewhere(hop: &Cursor<'_>) -> bool {
    sources::are_in(hop) || hop.filled(&hop::PLUGIN).is_some()
}

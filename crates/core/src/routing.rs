//! Where a packet goes: the routers of one namespace, and the decision about a packet.

mod for_many;
mod gateways;
mod plugin;
mod source_check;
mod verdict;

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use rtun_proto::packet::{
    Packet, destination_is_for_many, destination_is_never_routed, source_is_never_valid,
};

pub(crate) use self::gateways::Gateways;
pub use self::{
    plugin::{Answers, NoAnswers, PluginId, PluginRoute},
    source_check::SourceCheck,
    verdict::Verdict,
};
use crate::{DropReason, HostName, NamespaceId, RoutingTable, Sharing};

/// How a namespace routes: an immutable routing snapshot. It belongs to one namespace, so that no lookup can be made in
/// another one's tables.
pub struct Routing {
    namespace: NamespaceId,
    routers: Vec<Router>,
    source_check: SourceCheck,
    sharing: Sharing,
}

/// One of the routers of a namespace: its own or the default router.
#[derive(Clone)]
pub enum Router {
    /// A compiled table.
    Table(Arc<RoutingTable>),
    /// A plugin. Its number tells the caller which one to ask.
    Plugin(PluginId),
}

/// What a namespace's routers answer about an address.
pub(crate) enum RouteLookup<'a> {
    /// The router at this position names these hosts. `cacheable`: the answer holds until the routing snapshot changes.
    Hosts { gateways: Gateways<'a>, router: usize, cacheable: bool },
    /// The router at this position is this plugin, and it has to be asked.
    Ask { plugin: PluginId, router: usize },
    /// No router has a route.
    NoRoute(DropReason),
}

impl Routing {
    /// A namespace that asks `routers` in turn until one has a route.
    pub fn new(
        namespace: NamespaceId,
        routers: Vec<Router>,
        source_check: SourceCheck,
        sharing: Sharing,
    ) -> Self {
        Self { namespace, routers, source_check, sharing }
    }

    /// The namespace this routing snapshot belongs to.
    pub fn namespace(&self) -> NamespaceId {
        self.namespace
    }

    /// The number of prefixes in its tables. What plugins know is not counted.
    pub fn prefixes(&self) -> usize {
        let prefixes = |router: &Router| match router {
            Router::Table(table) => table.len(),
            Router::Plugin(_) => 0,
        };
        self.routers.iter().map(prefixes).sum()
    }

    /// How strictly sources are checked.
    pub fn source_check(&self) -> SourceCheck {
        self.source_check
    }

    /// How packets are shared among several connections or hosts.
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// The tables, in the order in which they are asked.
    pub fn tables(&self) -> impl Iterator<Item = &RoutingTable> {
        self.routers.iter().filter_map(|router| match router {
            Router::Table(table) => Some(&**table),
            Router::Plugin(_) => None,
        })
    }

    /// The routers, in the order in which they are asked.
    pub(crate) fn routers(&self) -> &[Router] {
        &self.routers
    }

    /// Decides about a packet that the host `sender` sent.
    pub fn forward(
        &self,
        sender: &HostName,
        packet: &Packet<'_>,
        answers: &impl Answers,
    ) -> Verdict {
        self.decide(Some(sender), packet.source(), packet.destination(), Some(packet), answers)
    }

    /// Decides by the addresses. A `packet` adds its flow, and whether it is an ICMP error. Without a `sender` no source
    /// passes a strict check.
    pub(crate) fn decide(
        &self,
        sender: Option<&HostName>,
        source: IpAddr,
        destination: IpAddr,
        packet: Option<&Packet<'_>>,
        answers: &impl Answers,
    ) -> Verdict {
        if destination_is_never_routed(destination) {
            return self.decide_for_many(sender, source, destination, packet, answers);
        }
        if self.routers.is_empty() {
            return Verdict::Drop(DropReason::NoTable);
        }
        if source_is_never_valid(source) {
            return Verdict::Drop(DropReason::SrcNotAllowed);
        }
        let source_cacheable = match self.check_source(sender, source, destination, packet, answers)
        {
            Ok(cacheable) => cacheable,
            Err(verdict) => return verdict,
        };
        match self.find(destination, answers) {
            RouteLookup::Hosts { gateways, cacheable, .. } => {
                let gateway = self.choose(&gateways, sender, packet, answers);
                if Some(gateway) == sender {
                    return Verdict::Drop(DropReason::Hairpin);
                }
                let by_flow = gateways.all().len() > 1 && self.sharing == Sharing::Flow;
                let cacheable = cacheable && source_cacheable && !by_flow;
                Verdict::Deliver { gateway: gateway.clone(), cacheable }
            }
            RouteLookup::Ask { plugin, .. } => Verdict::Ask(plugin, destination),
            RouteLookup::NoRoute(reason) => Verdict::Drop(reason),
        }
    }

    /// Whether packets to `addr` go to `host`, at least while other hosts are not connected; `None` as long as a plugin
    /// has to be asked first.
    pub fn leads_to(&self, host: &HostName, addr: IpAddr, answers: &impl Answers) -> Option<bool> {
        match self.find(addr, answers) {
            RouteLookup::Hosts { gateways, .. } => Some(gateways.contains(Some(host))),
            RouteLookup::NoRoute(_) => Some(false),
            RouteLookup::Ask { .. } => None,
        }
    }

    /// The prefix of the route by which packets to `addr` go to `host`; `None`: no table has one.
    pub fn prefix_of(&self, addr: IpAddr, host: &HostName) -> Option<IpNet> {
        let lookup = match destination_is_for_many(addr) {
            true => RoutingTable::lookup_for_many,
            false => RoutingTable::lookup,
        };
        let table = self.tables().find(|table| lookup(table, addr).is_some())?;
        let is_behind = lookup(table, addr)?.contains(host);
        table.matched(addr).filter(|_| is_behind)
    }

    /// Asks the routers in turn until one has a route to `addr`.
    pub(crate) fn find(&self, addr: IpAddr, answers: &impl Answers) -> RouteLookup<'_> {
        self.find_by(RoutingTable::lookup, addr, answers)
    }

    /// The same, where this is how a table is asked.
    fn find_by(
        &self,
        lookup: impl Fn(&RoutingTable, IpAddr) -> Option<&[HostName]>,
        addr: IpAddr,
        answers: &impl Answers,
    ) -> RouteLookup<'_> {
        let mut reason = DropReason::NoRoute;
        let mut cacheable = true;
        for (router, asked) in self.routers.iter().enumerate() {
            match asked {
                Router::Table(table) => {
                    if let Some(gateways) = lookup(table, addr) {
                        let gateways = Gateways::Listed(gateways);
                        return RouteLookup::Hosts { gateways, router, cacheable };
                    }
                }
                Router::Plugin(plugin) => {
                    cacheable = false;
                    match answers.known(*plugin, self.namespace, addr) {
                        PluginRoute::Gateway(gateway) => {
                            let gateways = Gateways::Named(gateway);
                            return RouteLookup::Hosts { gateways, router, cacheable: false };
                        }
                        PluginRoute::Nothing => reason = DropReason::RouteDenied,
                        PluginRoute::Unasked => {
                            return RouteLookup::Ask { plugin: *plugin, router };
                        }
                    }
                }
            }
        }
        RouteLookup::NoRoute(reason)
    }
}

#[cfg(test)]
mod tests;

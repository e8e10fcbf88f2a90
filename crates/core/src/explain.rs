//! Why a packet goes where it goes: the decision of [`Routing`], and the rows of tables that it follows from.

mod candidates;
mod choice;
mod report;
mod switch;
mod tunnel;

use std::{cell::RefCell, net::IpAddr};

use rtun_proto::packet::{
    destination_is_for_many, destination_is_never_routed, source_is_never_valid,
};

use self::candidates::{AddressRole, RowCandidates};
pub use self::{
    choice::{
        AddressKind, AppliedLimit, HubExplanation, LimitedDirection, Unclear, choose_namespace,
        choose_services,
    },
    report::{
        Because, Conclusion, Connection, Explanation, Gateway, LocatedAddress, Origin, PassedOver,
        Presence, RouterInfo, Sender, Special, TableRow,
    },
    switch::{Station, StationPlace, SwitchExplanation, explain_frame},
    tunnel::{
        ClientView, LiveClient, NetworkRows, RefusedRegister, TunnelAddress, TunnelConclusion,
        TunnelEnd, TunnelExplanation, TunnelPlace, TunnelQuestion, TunnelScene, TunnelSender,
        TunnelSenderError, assume_clients, explain_tunnel,
    },
};
use crate::{
    Answers, DropReason, HostName, NamespaceId, PluginId, PluginRoute, Route, Router, Routing,
    Sharing, SourceCheck, Verdict,
    routing::{Gateways, RouteLookup},
};

/// What a decision depends on: a namespace's routing, the rows it was compiled from, and which hosts are connected.
pub struct Scene<'a, A> {
    /// Makes the decision.
    pub routing: &'a Routing,
    /// One for each router of `routing`, in the same order.
    pub listings: Vec<Listing<'a>>,
    /// The answers of plugins. `presence` is asked whether a host is connected.
    pub answers: &'a A,
    /// Whether the hub takes a hop from each packet.
    pub takes_hops: bool,
    /// Whether a host of this name is connected.
    pub presence: &'a dyn Fn(&HostName) -> Presence,
}

/// A router, as the configuration names it.
pub struct Listing<'a> {
    /// As configured.
    pub name: &'a str,
    /// Whether it is the default router, and not the namespace's own.
    pub is_default: bool,
    /// The rows its table was compiled from. Rows of one source are in the order of their lines; sources are in any order.
    /// `None`: a plugin.
    pub rows: Option<Box<dyn Iterator<Item = Listed<'a>> + 'a>>,
    /// Sources whose rows are not known, as text.
    pub not_read: Vec<String>,
}

/// A row of a table, and where it is written.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Its content.
    pub route: &'a Route,
    /// The kind of its source.
    pub origin: Origin,
    /// Its file, URL or key.
    pub source: &'a str,
    /// The line in its source, from 1.
    pub line: u32,
}

/// The packet to explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The host that sends it; `None`: the host that its source is behind.
    pub sender: Option<HostName>,
    /// Its source address.
    pub source: IpAddr,
    /// Its destination address, of the same family.
    pub destination: IpAddr,
    /// Its TTL or hop limit when it arrives at the hub.
    pub hops: u8,
}

/// Explains what [`Routing::forward`] decides, and what the hub then does.
///
/// It makes that decision itself; the rows only say where it is written. Reads every row once.
pub fn explain<A: Answers>(scene: Scene<'_, A>, question: &Question) -> Explanation {
    let Scene { routing, listings, answers, takes_hops, presence } = scene;
    let Question { sender, source, destination, hops } = question;
    let (source, destination) = (*source, *destination);
    let answers = FixedAnswers { answers, presence, known: RefCell::default() };
    let routers: Vec<RouterInfo> = listings
        .iter()
        .map(|listing| RouterInfo {
            name: listing.name.to_owned(),
            is_default: listing.is_default,
            is_plugin: listing.rows.is_none(),
            not_read: listing.not_read.clone(),
        })
        .collect();
    let for_many = destination_is_for_many(destination);
    let [source_rows, destination_rows] =
        candidates::gather([(source, false), (destination, for_many)], listings);

    let source_found = routing.find(source, &answers);
    let destination_found = match for_many {
        true => routing.find_for_many(destination, &answers),
        false => routing.find(destination, &answers),
    };
    let owner = gateways_of(&source_found).map(|all| routing.choose(all, None, None, &answers));
    let from = sender.as_ref().or(owner);
    let destination_gateways = gateways_of(&destination_found);
    let gateway = destination_gateways.map(|all| routing.choose(all, from, None, &answers));
    let is_shared = destination_gateways.is_some_and(|gateways| gateways.all().len() > 1);
    let share_flows = is_shared && !for_many && routing.sharing() == Sharing::Flow;
    let copies = is_shared && for_many;
    let is_carried = for_many && !matches!(destination_found, RouteLookup::NoRoute(_));
    let conclusion = match routing.decide(from, source, destination, None, &answers) {
        Verdict::Drop(reason) => Conclusion::Dropped { reason },
        Verdict::Ask(plugin, address) => {
            Conclusion::Asks { plugin: plugin_name(routing, &routers, plugin), address }
        }
        Verdict::Deliver { gateway, .. } => handed_to(&[gateway], &answers, takes_hops, *hops),
        Verdict::Copy => {
            let hosts = routing.receivers(destination, &answers);
            let others: Vec<_> = hosts.iter().filter(|host| Some(*host) != from).cloned().collect();
            handed_to(&others, &answers, takes_hops, *hops)
        }
    };
    let locate = |address, never, rows, found: &RouteLookup<'_>, gateway, role| {
        let special = special(address).filter(|_| never);
        located(address, special, rows, found, gateway, role, &routers)
    };
    let is_owner = gateways_of(&source_found).is_some_and(|gateways| gateways.contains(from));
    let owner = if is_owner { from } else { owner };
    let as_gateway =
        |host: &HostName| Gateway { host: host.as_str().to_owned(), presence: presence(host) };
    let others = destination_gateways.iter().flat_map(|gateways| gateways.all());
    let others = others.filter(|host| Some(*host) != gateway).map(as_gateway).collect();
    Explanation {
        namespace: routing.namespace().to_string(),
        source_check: check_word(routing.source_check()).to_owned(),
        sender: from.map(|host| Sender {
            host: host.as_str().to_owned(),
            named: sender.is_some(),
            presence: presence(host),
        }),
        source: locate(
            source,
            source_is_never_valid(source),
            source_rows,
            &source_found,
            owner,
            AddressRole::Source,
        ),
        destination: locate(
            destination,
            destination_is_never_routed(destination) && !is_carried,
            destination_rows,
            &destination_found,
            gateway,
            AddressRole::Destination { sender: from, share_flows, copies },
        ),
        gateway: gateway.map(as_gateway),
        others,
        share_flows,
        copies,
        conclusion,
        routers,
    }
}

/// What becomes of a packet for these hosts.
fn handed_to(hosts: &[HostName], answers: &impl Answers, takes_hops: bool, hops: u8) -> Conclusion {
    let connected = hosts.iter().filter(|host| answers.is_connected(host));
    let mut to: Vec<String> = connected.map(|host| host.as_str().to_owned()).collect();
    match to.pop() {
        None => Conclusion::Dropped { reason: DropReason::NoGatewayConnected },
        Some(_) if takes_hops && hops < 2 => Conclusion::Dropped { reason: DropReason::TtlExpired },
        Some(only) if to.is_empty() => Conclusion::Delivered { to: only },
        Some(last) => {
            to.push(last);
            Conclusion::Copied { to }
        }
    }
}

fn gateways_of<'a, 'b>(found: &'a RouteLookup<'b>) -> Option<&'a Gateways<'b>> {
    match found {
        RouteLookup::Hosts { gateways, .. } => Some(gateways),
        RouteLookup::Ask { .. } | RouteLookup::NoRoute(_) => None,
    }
}

fn plugin_name(routing: &Routing, routers: &[RouterInfo], plugin: PluginId) -> String {
    let is_it = |router: &Router| matches!(router, Router::Plugin(id) if *id == plugin);
    let position = routing.routers().iter().position(is_it);
    position.and_then(|at| routers.get(at)).map_or_else(String::new, |router| router.name.clone())
}

fn located(
    address: IpAddr,
    special: Option<Special>,
    rows: RowCandidates<'_>,
    found: &RouteLookup<'_>,
    gateway: Option<&HostName>,
    role: AddressRole<'_>,
    routers: &[RouterInfo],
) -> LocatedAddress {
    let name = |router: usize| routers.get(router).map(|router| router.name.clone());
    let (answering, asks) = match found {
        RouteLookup::Hosts { router, .. } => (Some(*router), None),
        RouteLookup::Ask { router, .. } => (None, name(*router)),
        RouteLookup::NoRoute(_) => (None, None),
    };
    let (row, passed_over, passed_over_more) = rows.judge(answering, gateway, role, routers);
    LocatedAddress {
        address,
        special,
        router: answering.and_then(name),
        gateway: gateway.map(|gateway| gateway.as_str().to_owned()),
        row,
        asks,
        passed_over,
        passed_over_more,
    }
}

fn special(address: IpAddr) -> Option<Special> {
    let mapped = |address: std::net::Ipv6Addr| address.to_ipv4_mapped().is_some();
    Some(match address {
        address if address.is_unspecified() => Special::Unspecified,
        address if address.is_loopback() => Special::Loopback,
        address if address.is_multicast() => Special::Multicast,
        IpAddr::V4(address) if address.is_broadcast() => Special::Broadcast,
        IpAddr::V4(address) if address.is_link_local() => Special::LinkLocal,
        IpAddr::V6(address) if address.is_unicast_link_local() => Special::LinkLocal,
        IpAddr::V6(address) if mapped(address) => Special::Ipv4Mapped,
        _ => return None,
    })
}

fn check_word(check: SourceCheck) -> &'static str {
    match check {
        SourceCheck::Strict => "strict",
        SourceCheck::Loose => "loose",
        SourceCheck::Off => "off",
    }
}

/// Answers that stay the same during one explanation, also when they expire meanwhile.
struct FixedAnswers<'a, A> {
    answers: &'a A,
    presence: &'a dyn Fn(&HostName) -> Presence,
    known: RefCell<Vec<(PluginId, IpAddr, PluginRoute)>>,
}

impl<A: Answers> Answers for FixedAnswers<'_, A> {
    fn known(&self, plugin: PluginId, namespace: NamespaceId, addr: IpAddr) -> PluginRoute {
        let mut known = self.known.borrow_mut();
        if let Some((.., answer)) = known.iter().find(|(p, a, _)| (*p, *a) == (plugin, addr)) {
            return answer.clone();
        }
        let answer = self.answers.known(plugin, namespace, addr);
        known.push((plugin, addr, answer.clone()));
        answer
    }

    fn is_connected(&self, host: &HostName) -> bool {
        matches!((self.presence)(host), Presence::Unknown | Presence::Connected { .. })
    }
}

#[cfg(test)]
mod tests;

//! Why a packet goes where it goes: the decision of [`Routing`], and the rows of tables that are behind it.

mod candidates;
mod choice;

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
};

use rtun_proto::packet::{destination_is_never_routed, source_is_never_valid};
use serde::{Deserialize, Serialize};

use self::candidates::{Candidates, End};
pub use self::choice::{HubExplanation, Unclear, choose_hubs, choose_namespace};
use crate::{
    Answers, DropReason, HostName, Known, NamespaceId, PluginId, Route, Router, Routing, Sharing,
    SourceCheck, Verdict,
    hub::{Found, Gateways},
};

/// What a packet meets: a namespace's routing, the rows it was made of, and who is connected.
pub struct Scene<'a, A> {
    /// Decides.
    pub routing: &'a Routing,
    /// One for each router of `routing`, in the same order.
    pub listings: Vec<Listing<'a>>,
    /// Of the plugins; who is connected is asked of `presence`.
    pub answers: &'a A,
    /// Whether the hub takes a hop from each packet.
    pub takes_hops: bool,
    /// Whether a host of this name is connected.
    pub presence: &'a dyn Fn(&HostName) -> Presence,
}

/// A router, as a person knows it.
pub struct Listing<'a> {
    /// As configured.
    pub name: &'a str,
    /// Whether it is the default router, and not the namespace's own.
    pub is_default: bool,
    /// The rows its table was compiled of, in any order between sources and in their own within one; `None`: a plugin.
    pub rows: Option<Box<dyn Iterator<Item = Listed<'a>> + 'a>>,
    /// Sources whose rows are not known, in words.
    pub not_read: Vec<String>,
}

/// A row of a table, and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// What it says.
    pub route: &'a Route,
    /// The kind of its source.
    pub origin: Origin,
    /// Its file, URL or key.
    pub source: &'a str,
    /// In its source, from 1.
    pub line: u32,
}

/// The kinds of sources of rows; of equal prefixes the one of the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The configuration itself.
    Inline,
    /// A file.
    File,
    /// A key of a redis server.
    Redis,
    /// A URL.
    Http,
}

/// A packet one wonders about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who sends it; `None`: whoever its source is behind.
    pub sender: Option<HostName>,
    /// Its source address.
    pub source: IpAddr,
    /// Its destination address, of the same family.
    pub destination: IpAddr,
    /// Its TTL or hop limit, when it comes to the hub.
    pub hops: u8,
}

/// What becomes of a packet, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The namespace's UUID.
    pub namespace: String,
    /// `strict`, `loose` or `off`.
    pub source_check: String,
    /// In the order in which they are asked.
    pub routers: Vec<RouterInfo>,
    /// Who sends the packet; `None` if that was not said and the source is behind nobody.
    pub sender: Option<Sender>,
    /// Where the source is.
    pub source: Located,
    /// Where the destination is.
    pub destination: Located,
    /// The host that the destination is behind and that carries its packets; of several that share flows the first.
    pub gateway: Option<Gateway>,
    /// Other hosts that the same prefix is behind, in order of preference.
    #[serde(default)]
    pub others: Vec<Gateway>,
    /// Whether those that are connected share flows, rather than one of them carrying all.
    #[serde(default)]
    pub share_flows: bool,
    /// What becomes of the packet.
    pub conclusion: Conclusion,
}

/// A router of the namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterInfo {
    /// As configured.
    pub name: String,
    /// Whether it is the default router, and not the namespace's own.
    pub is_default: bool,
    /// Whether it is a plugin, and not a table.
    pub is_plugin: bool,
    /// Sources whose rows are not known: with them the answer may be another.
    pub not_read: Vec<String>,
}

/// The host that sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Its name.
    pub host: String,
    /// Whether it was named, and not found by the source address.
    pub named: bool,
    /// Whether it is connected.
    pub presence: Presence,
}

/// The host that would get the packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Its name.
    pub host: String,
    /// Whether it is connected.
    pub presence: Presence,
}

/// What the routers say of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// Which.
    pub address: IpAddr,
    /// What it is, if packets from there, or to there, are dropped whatever the tables say.
    pub special: Option<Special>,
    /// The router that answers.
    pub router: Option<String>,
    /// The host that router names.
    pub gateway: Option<String>,
    /// The row that names it; `None` if a plugin does.
    pub row: Option<Row>,
    /// The plugin that has to be asked before anything is known.
    pub asks: Option<String>,
    /// Other rows that contain the address, the best first.
    pub passed_over: Vec<PassedOver>,
    /// How many more of them there are.
    pub passed_over_more: u64,
}

/// Addresses that no packet between hosts may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Special {
    Unspecified,
    Loopback,
    Multicast,
    Broadcast,
    LinkLocal,
    Ipv4Mapped,
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Destination prefix.
    pub prefix: String,
    /// The host behind which it is.
    pub gateway: String,
    /// The kind of source it is from.
    pub origin: Origin,
    /// The file, URL or key it is from.
    pub source: String,
    /// In its source, from 1.
    pub line: u32,
}

/// A row that contains an address, and does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// The router whose it is.
    pub router: String,
    /// What it says and where.
    #[serde(flatten)]
    pub row: Row,
    /// Why it does not count.
    pub because: Because,
}

/// Why a row does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// A longer prefix of the same router contains the address.
    ShorterPrefix,
    /// The same prefix is in a source that comes first.
    LowerSource,
    /// The same prefix stands further up in the same source.
    ListedLater,
    /// The same prefix, whose host is used while those of the rows before are away.
    StandsBy,
    /// The same prefix comes first, but its host is not connected.
    Away,
    /// The same prefix comes first, but its host is the one that sends.
    Sends,
    /// The same prefix, whose host gets some of the flows.
    SharesFlows,
    /// The same prefix, whose host may send from there too.
    MaySendToo,
    /// Another router answers before this one is asked.
    RouterNotAsked,
}

/// Whether a host is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Presence {
    /// No running hub was asked.
    Unknown,
    /// No host of this name can ever be admitted to the namespace.
    Impossible {
        /// In words.
        because: String,
    },
    /// It is not.
    NotConnected,
    /// It is.
    Connected {
        /// The newest first.
        connections: Vec<Connection>,
    },
}

/// A live connection of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Its transport, as configured.
    pub transport: String,
    /// For how long it has been there.
    pub seconds: u64,
    /// Waiting for its socket.
    pub queued_packets: u64,
    /// Waiting for its socket, length prefixes included.
    pub queued_bytes: u64,
    /// Whether it carries nothing as long as a newer one does.
    pub standing_by: bool,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Conclusion {
    /// It is handed to this host, if that is connected where that is not known.
    Delivered {
        /// Its name.
        to: String,
    },
    /// It is dropped, and counted under this reason.
    Dropped {
        /// As a word.
        #[serde(with = "word")]
        reason: DropReason,
    },
    /// It waits until this plugin has said where this address is.
    Asks {
        /// Its router's name.
        plugin: String,
        /// Which.
        address: IpAddr,
    },
}

/// Explains what [`Routing::forward`] decides, and what the hub then does.
///
/// It is that decision itself; the rows only tell where it is written. Reads every row once.
pub fn explain<A: Answers>(scene: Scene<'_, A>, question: &Question) -> Explanation {
    let Scene { routing, listings, answers, takes_hops, presence } = scene;
    let Question { sender, source, destination, hops } = question;
    let (source, destination) = (*source, *destination);
    let answers = Remembered { answers, presence, known: RefCell::default() };
    let routers: Vec<RouterInfo> = listings
        .iter()
        .map(|listing| RouterInfo {
            name: listing.name.to_owned(),
            is_default: listing.is_default,
            is_plugin: listing.rows.is_none(),
            not_read: listing.not_read.clone(),
        })
        .collect();
    let [source_rows, destination_rows] = candidates::gather([source, destination], listings);

    let source_found = routing.find(source, &answers);
    let destination_found = routing.find(destination, &answers);
    let owner = gateways_of(&source_found).map(|all| routing.choose(all, None, None, &answers));
    let from = sender.as_ref().or(owner);
    let destination_gateways = gateways_of(&destination_found);
    let gateway = destination_gateways.map(|all| routing.choose(all, from, None, &answers));
    let share_flows = routing.sharing() == Sharing::Flow
        && destination_gateways.is_some_and(|gateways| gateways.all().len() > 1);
    let conclusion = match routing.decide(from, source, destination, None, &answers) {
        Verdict::Drop(reason) => Conclusion::Dropped { reason },
        Verdict::Ask(plugin, address) => {
            Conclusion::Asks { plugin: plugin_name(routing, &routers, plugin), address }
        }
        Verdict::Deliver { gateway, .. } => match presence(&gateway) {
            Presence::NotConnected | Presence::Impossible { .. } => {
                Conclusion::Dropped { reason: DropReason::NoGatewayConnected }
            }
            Presence::Unknown | Presence::Connected { .. } if takes_hops && *hops < 2 => {
                Conclusion::Dropped { reason: DropReason::TtlExpired }
            }
            Presence::Unknown | Presence::Connected { .. } => {
                Conclusion::Delivered { to: gateway.as_str().to_owned() }
            }
        },
    };
    let locate = |address, never, rows, found: &Found<'_>, gateway, end| {
        let special = special(address).filter(|_| never);
        located(address, special, rows, found, gateway, end, &routers)
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
            End::Source,
        ),
        destination: locate(
            destination,
            destination_is_never_routed(destination),
            destination_rows,
            &destination_found,
            gateway,
            End::Destination { sender: from, share_flows },
        ),
        gateway: gateway.map(as_gateway),
        others,
        share_flows,
        conclusion,
        routers,
    }
}

impl Explanation {
    /// Of the routers that were asked, the sources that might have had a better row, in words.
    pub fn sources_not_read(&self) -> Vec<String> {
        let Self { routers, source, destination, .. } = self;
        let last = [source, destination].map(|located| {
            let answering = located.router.as_ref().or(located.asks.as_ref());
            answering.and_then(|name| routers.iter().position(|router| router.name == *name))
        });
        let [Some(a), Some(b)] = last.map(|last| last.or(routers.len().checked_sub(1))) else {
            return Vec::new();
        };
        let asked = routers.iter().take(a.max(b) + 1);
        let sources = asked.flat_map(|router| {
            router.not_read.iter().map(|source| format!("router {}: {source}", router.name))
        });
        sources.collect()
    }
}

impl Conclusion {
    /// Whether the packet arrives.
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered { .. })
    }
}

fn gateways_of<'a, 'b>(found: &'a Found<'b>) -> Option<&'a Gateways<'b>> {
    match found {
        Found::Behind { gateways, .. } => Some(gateways),
        Found::Ask { .. } | Found::Nowhere(_) => None,
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
    rows: Candidates<'_>,
    found: &Found<'_>,
    gateway: Option<&HostName>,
    end: End<'_>,
    routers: &[RouterInfo],
) -> Located {
    let name = |router: usize| routers.get(router).map(|router| router.name.clone());
    let (answering, asks) = match found {
        Found::Behind { router, .. } => (Some(*router), None),
        Found::Ask { router, .. } => (None, name(*router)),
        Found::Nowhere(_) => (None, None),
    };
    let (row, passed_over, passed_over_more) = rows.judge(answering, gateway, end, routers);
    Located {
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

/// Answers that stay the same for one explanation, however they age meanwhile.
struct Remembered<'a, A> {
    answers: &'a A,
    presence: &'a dyn Fn(&HostName) -> Presence,
    known: RefCell<Vec<(PluginId, IpAddr, Known)>>,
}

impl<A: Answers> Answers for Remembered<'_, A> {
    fn known(&self, plugin: PluginId, namespace: NamespaceId, addr: IpAddr) -> Known {
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

/// A reason as its word.
mod word {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::DropReason;

    pub(super) fn serialize<S: Serializer>(reason: &DropReason, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(reason.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DropReason, D::Error> {
        let word = String::deserialize(from)?;
        let reason = DropReason::ALL.into_iter().find(|reason| reason.as_str() == word);
        reason.ok_or_else(|| D::Error::custom(format!("{word:?} is no reason")))
    }
}

#[cfg(test)]
mod tests;

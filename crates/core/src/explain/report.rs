//! An explanation as `rtun explain --json` writes it.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::DropReason;

/// What happens to a packet, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The namespace's UUID.
    pub namespace: String,
    /// `strict`, `loose` or `off`.
    pub source_check: String,
    /// In the order in which they are asked.
    pub routers: Vec<RouterInfo>,
    /// The host that sends the packet; `None` if the question names none and the source is behind no host.
    pub sender: Option<Sender>,
    /// Where the source is.
    pub source: LocatedAddress,
    /// Where the destination is.
    pub destination: LocatedAddress,
    /// The host that gets the packets to the destination; the first one if several share the flows.
    pub gateway: Option<Gateway>,
    /// Other hosts that the same prefix is behind, in order of preference.
    #[serde(default)]
    pub others: Vec<Gateway>,
    /// Whether the connected ones share the flows. Otherwise one of them carries all packets.
    #[serde(default)]
    pub share_flows: bool,
    /// Whether each connected one but the sender gets a copy.
    #[serde(default)]
    pub copies: bool,
    /// What happens to the packet.
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
    /// Sources whose rows are not known. With their rows the result may be different.
    pub not_read: Vec<String>,
}

/// The host that sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Its name.
    pub host: String,
    /// Whether the question named it. Otherwise the source address led to it.
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

/// What the routers answer about an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocatedAddress {
    /// The address.
    pub address: IpAddr,
    /// The kind of special address, if packets from it, or to it, are dropped for that.
    pub special: Option<Special>,
    /// The router that answers.
    pub router: Option<String>,
    /// The host that router names.
    pub gateway: Option<String>,
    /// The row that names it; `None` if a plugin does.
    pub row: Option<TableRow>,
    /// The plugin that has to be asked first.
    pub asks: Option<String>,
    /// Other rows that contain the address, the best first.
    pub passed_over: Vec<PassedOver>,
    /// How many more there are.
    pub passed_over_more: u64,
}

/// Kinds of addresses that no packet between hosts may carry; to multicast and broadcast addresses none that no route is about.
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

/// A row of a table, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRow {
    /// Destination prefix.
    pub prefix: String,
    /// The host that it is behind.
    pub gateway: String,
    /// The kind of source it is from.
    pub origin: Origin,
    /// The file, URL or key it is from.
    pub source: String,
    /// The line in its source, from 1.
    pub line: u32,
}

/// A row that contains an address and is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// The router it belongs to.
    pub router: String,
    /// The row.
    #[serde(flatten)]
    pub row: TableRow,
    /// Why it is not used.
    pub because: Because,
}

/// Why a row is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// A longer prefix of the same router contains the address.
    ShorterPrefix,
    /// The same prefix is in a source that comes first.
    LowerSource,
    /// The same prefix is in an earlier line of the same source.
    ListedLater,
    /// The same prefix; its host is used while the hosts of the rows before it are not connected.
    StandsBy,
    /// The same prefix comes first, but its host is not connected.
    Away,
    /// The same prefix comes first, but its host sends the packet.
    Sends,
    /// The same prefix; its host gets some of the flows.
    SharesFlows,
    /// The same prefix; its host gets a copy while it is connected.
    GetsCopy,
    /// Packets for many, which the address is of, only follow prefixes of such addresses alone.
    NotForMany,
    /// The same prefix; its host may send from the address too.
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
    /// The rules admit no host of this name to the namespace.
    Impossible {
        /// Why, as text.
        because: String,
    },
    /// The host is not connected.
    NotConnected,
    /// The host is connected.
    Connected {
        /// The newest first.
        connections: Vec<Connection>,
    },
}

/// A live connection of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The remote address.
    pub peer: SocketAddr,
    /// Its transport, as configured.
    pub transport: String,
    /// Its age in seconds.
    pub seconds: u64,
    /// Packets that wait for its socket.
    pub queued_packets: u64,
    /// Bytes that wait for its socket, length prefixes included.
    pub queued_bytes: u64,
    /// Whether it stands by: a newer connection carries the packets.
    pub standing_by: bool,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Conclusion {
    /// It is handed to this host. If the presence of the host is unknown: if it is connected.
    Delivered {
        /// Its name.
        to: String,
    },
    /// Each of these hosts gets a copy; if their presence is unknown: those that are connected.
    Copied {
        /// Their names, at least two.
        to: Vec<String>,
    },
    /// It is dropped, and counted under this reason.
    Dropped {
        /// Its fixed word, and as `help` what it means and what to do.
        #[serde(flatten, with = "helpful")]
        reason: DropReason,
    },
    /// It waits until this plugin has answered about this address.
    Asks {
        /// Its router's name.
        plugin: String,
        /// The address.
        address: IpAddr,
    },
}

impl Explanation {
    /// Sources of the asked routers that were not read and could have a better row, as text.
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
        matches!(self, Self::Delivered { .. } | Self::Copied { .. })
    }
}

/// Writes a reason as its fixed word.
mod word {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::DropReason;

    pub(super) fn serialize<S: Serializer>(reason: &DropReason, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(reason.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DropReason, D::Error> {
        let word = String::deserialize(from)?;
        let reason = DropReason::ALL.into_iter().find(|reason| reason.as_str() == word);
        reason.ok_or_else(|| D::Error::custom(format!("{word:?} is no drop reason")))
    }
}

/// Writes a reason as its fixed word, together with its help.
mod helpful {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::DropReason;

    #[derive(Serialize, Deserialize)]
    struct HelpfulReason {
        #[serde(with = "super::word")]
        reason: DropReason,
        #[serde(skip_deserializing)]
        help: &'static str,
    }

    pub(super) fn serialize<S: Serializer>(reason: &DropReason, to: S) -> Result<S::Ok, S::Error> {
        HelpfulReason { reason: *reason, help: reason.help() }.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DropReason, D::Error> {
        HelpfulReason::deserialize(from).map(|it| it.reason)
    }
}

/// The kind of source of a row. Of equal prefixes, the row from the greatest kind is used.
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

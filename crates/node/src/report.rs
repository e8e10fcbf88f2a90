//! What a process can say about itself at a moment: values that are the same in the log, in the answer to `rtun status`
//! and in its JSON, whose names and units are those of the fields here.

mod log;

pub use self::log::ASKED;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use ipnet::IpNet;
use rtun_control::{FeedStatus, PluginStatus};
use rtun_core::{HostName, NamespaceId};
use rtun_settings::TransportStack;
use serde::{Deserialize, Serialize};

use crate::{
    counters::{Happened, Traffic},
    json,
    runtime::duties::TaskReport,
    udp_tunnel::{TapClientReport, TapServerReport, TunnelClientReport, TunnelServerReport},
};

/// A process and its services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Of the program.
    pub version: String,
    /// Of the process, as it sees itself.
    pub pid: u32,
    /// When it started, in seconds of Unix time.
    pub started: u64,
    /// For how long it runs.
    #[serde(with = "json::seconds")]
    pub uptime: Duration,
    /// Tasks that have not ended.
    pub tasks: Tasks,
    /// What it may open.
    #[serde(default)]
    pub descriptors: DescriptorReport,
    /// By name.
    pub services: Vec<ServiceReport>,
    /// Where rows are read from, by kind and name of what they are for.
    pub sources: Vec<FeedStatus>,
    /// Tasks that have failed: defects.
    #[serde(default)]
    pub failed_tasks: Vec<TaskReport>,
}

/// How many tasks have not ended, by the event loop they run on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tasks {
    /// Of the one for accepting, configuration, signals and plugins.
    pub main: usize,
    /// Of each thread that moves packets.
    pub workers: Vec<usize>,
}

/// Files and connections that a process may have open.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DescriptorReport {
    /// How many at a time.
    pub limit: u64,
    /// How often a connection had to wait because there were no more.
    pub exhausted: Option<Happened>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// As configured.
    pub name: String,
    /// What it does, and how that goes.
    #[serde(flatten)]
    pub kind: KindReport,
}

/// A service of any kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum KindReport {
    /// Hosts connect to it.
    Hub(Box<HubReport>),
    /// A device, connected to a hub.
    Host(Box<DeviceReport>),
    /// A UDP tunnel's clients register at it.
    UdpServer(Box<TunnelServerReport>),
    /// A device, registered at a UDP tunnel's server.
    UdpClient(Box<TunnelClientReport>),
    /// An Ethernet tunnel's clients send to it.
    TapServer(Box<TapServerReport>),
    /// A device whose frames go to an Ethernet tunnel's server.
    TapClient(Box<TapClientReport>),
}

/// A hub: its namespaces, and what is no longer attributed to one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HubReport {
    /// Where and how it listens.
    pub listen: Vec<ListenerReport>,
    /// By id.
    pub namespaces: Vec<NamespaceReport>,
    /// What namespaces had counted that no longer exist.
    pub gone: Traffic,
    /// Packets waiting for a plugin's answer.
    pub waiting_for_plugins: u64,
    /// Whom it asks.
    pub plugins: Vec<PluginStatus>,
    /// Why it does not go by what its sources say now, if it does not.
    pub behind: Option<String>,
    /// Hosts admitted so far.
    pub admitted: u64,
    /// Connections not admitted so far, by reason.
    pub refused: BTreeMap<String, Happened>,
    /// Associations that have ended so far, by reason.
    pub ended: BTreeMap<String, Happened>,
    /// Connections that wait to be admitted.
    pub unadmitted: usize,
    /// Memory the queues for hosts hold together, in bytes.
    pub queue_memory: usize,
    /// The most they may hold together, in bytes.
    pub queue_budget: usize,
}

/// A way into a hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenerReport {
    /// Where it listens.
    pub address: SocketAddr,
    /// What carries connections that come in.
    pub transport: Transport,
    /// What is shown to hosts now, if connections are encrypted.
    pub certificate: Option<CertificateReport>,
}

/// A hub's certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CertificateReport {
    /// Whose it is, as `CN=hub.example`.
    pub subject: String,
    /// The DNS names and addresses it is for.
    pub names: Vec<String>,
    /// The SHA-256 of its DER form, in hexadecimal digits.
    pub fingerprint: String,
    /// Seconds until its time is over; negative afterwards.
    pub expires_in: f64,
}

/// A namespace, its connected hosts included in its traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamespaceReport {
    /// Which.
    #[serde(with = "json::text")]
    pub id: NamespaceId,
    /// Whether the configuration names it; it stays without hosts then.
    pub configured: bool,
    /// Prefixes in the tables it routes by, a default router's included; what plugins know is not counted.
    pub routes: usize,
    /// Prefixes that are behind several hosts, the first ones by the hosts they are behind.
    #[serde(default)]
    pub shared: Vec<SharedReport>,
    /// Connected now, by name; of several with one name the newest comes first.
    pub hosts: Vec<HostReport>,
    /// In is what hosts sent, out is what was handed to hosts.
    pub traffic: Traffic,
}

/// Prefixes that are behind the same hosts in the same order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SharedReport {
    /// One of them.
    #[serde(with = "json::text")]
    pub prefix: IpNet,
    /// How many they are.
    pub prefixes: usize,
    /// The hosts, in order of preference.
    pub gateways: Vec<GatewayReport>,
}

/// A host that shares prefixes with others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatewayReport {
    /// Its name.
    #[serde(with = "json::text")]
    pub host: HostName,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether packets go to it now: all of them, or where flows are shared some.
    pub carries: bool,
}

/// A connected host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostReport {
    /// Its name.
    #[serde(with = "json::text")]
    pub host: HostName,
    /// Where it connects from.
    pub peer: SocketAddr,
    /// What carries its connection.
    pub transport: Transport,
    /// For how long.
    #[serde(with = "json::seconds")]
    pub connected: Duration,
    /// Whether packets for its name may go to it; otherwise it stands by for one of the same name.
    pub carries: bool,
    /// Name and version of its program, if it is an rtun host.
    pub software: Option<String>,
    /// The MTU of its device in bytes, if it is an rtun host.
    pub mtu: Option<u16>,
    /// Whether packets of up to 64 KiB go whole to it and come from it.
    pub gso_frames: bool,
    /// Whether packets go as datagrams beside the connection's stream where they fit.
    pub datagrams: bool,
    /// In is what it sent, out is what it was handed; drops are of packets from it, and of packets queued for it.
    pub traffic: Traffic,
    /// For its socket.
    pub queued: Queued,
}

/// What carries a connection between a host and a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "GOST's words for them")]
pub enum Transport {
    Tcp,
    Tls,
    Ws,
    Wss,
    Mtcp,
    Mtls,
    Mws,
    Mwss,
    Quic,
    H2,
    H2c,
    Grpc,
}

impl Transport {
    /// All there are.
    pub const ALL: [Self; 12] = [
        Self::Tcp,
        Self::Tls,
        Self::Ws,
        Self::Wss,
        Self::Mtcp,
        Self::Mtls,
        Self::Mws,
        Self::Mwss,
        Self::Quic,
        Self::H2,
        Self::H2c,
        Self::Grpc,
    ];

    /// That of a listener or a dialer.
    pub fn of<T>(stack: &TransportStack<T>) -> Self {
        let name = stack.name();
        Self::ALL.into_iter().find(|transport| transport.as_str() == name).unwrap_or(Self::Tcp)
    }

    /// The fixed word used in reports and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Mtcp => "mtcp",
            Self::Mtls => "mtls",
            Self::Mws => "mws",
            Self::Mwss => "mwss",
            Self::Quic => "quic",
            Self::H2 => "h2",
            Self::H2c => "h2c",
            Self::Grpc => "grpc",
        }
    }
}

/// What waits for a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// How many packets.
    pub packets: u64,
    /// Their bytes, length prefixes included.
    pub bytes: u64,
}

/// A host's own side: its device and its hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// The name it reports to hubs.
    #[serde(with = "json::text")]
    pub host: HostName,
    /// The device's name.
    pub device: String,
    /// The device's MTU in bytes.
    pub mtu: u16,
    /// What is not as it should be with the device.
    #[serde(default)]
    pub health: DeviceHealth,
    /// The hub that has admitted it, if one has.
    pub connection: Option<ConnectionReport>,
    /// Connections so far that a hub has admitted.
    pub joined: u64,
    /// Connections so far that could not be made, or were lost.
    pub failed: u64,
    /// Why the last connection ended or could not be made, if any.
    pub last_error: Option<FailureReport>,
    /// For the connection to the hub.
    pub queued: Queued,
    /// In is what the device gave for the hub, out is what the hub was handed; drops on that way.
    pub sent: Traffic,
    /// In is what came from the hub, out is what the device took; drops on that way.
    pub received: Traffic,
}

/// How a host's device has fared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceHealth {
    /// Why there is no device at the moment, and since when; none if there is one.
    pub missing: Option<HappenedReport>,
    /// How often the device was gone so far.
    pub times_gone: u64,
    /// How often something was put back so far that somebody had taken from it.
    pub times_put_back: u64,
    /// What that was the last time.
    pub last_put_back: Option<HappenedReport>,
    /// What is missing and is not put back any more, since somebody takes it away again and again.
    pub left: Vec<String>,
    /// What is missing because the system refuses it, and why.
    pub failing: Vec<String>,
}

/// Something that happened, or lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HappenedReport {
    /// In words.
    pub what: String,
    /// How long ago it happened or began.
    #[serde(with = "json::seconds")]
    pub ago: Duration,
}

/// A host's connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionReport {
    /// The hub's address, as configured.
    pub hub: String,
    /// The namespace that was asked for.
    #[serde(with = "json::text")]
    pub namespace: NamespaceId,
    /// What carries it.
    pub transport: Transport,
    /// For how long.
    #[serde(with = "json::seconds")]
    pub connected: Duration,
    /// Whether the hub is an rtun hub.
    pub rtun: bool,
    /// Whether packets of up to 64 KiB go whole to the hub and come from it.
    pub gso_frames: bool,
    /// Whether packets go as datagrams beside the connection's stream where they fit.
    pub datagrams: bool,
    /// What the hub has noticed last that the host should know.
    #[serde(default)]
    pub notice: Option<String>,
}

/// A connection that could not be made, or ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureReport {
    /// The hub's address, as configured.
    pub hub: String,
    /// What was wrong.
    pub error: String,
    /// How long ago.
    #[serde(with = "json::seconds")]
    pub ago: Duration,
}

impl HubReport {
    /// What passed and what was lost since it started.
    pub fn traffic(&self) -> Traffic {
        let mut all = self.gone.clone();
        for namespace in &self.namespaces {
            all += &namespace.traffic;
        }
        all
    }

    /// Everybody connected.
    pub fn hosts(&self) -> impl Iterator<Item = &HostReport> {
        self.namespaces.iter().flat_map(|namespace| &namespace.hosts)
    }

    /// Connections not admitted so far.
    pub fn all_refused(&self) -> u64 {
        self.refused.values().map(|happened| happened.count).sum()
    }
}

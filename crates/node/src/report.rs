//! The state of a process at one moment. The log, `rtun status` and its JSON show the same values; the JSON has the names and
//! units of the fields here.

mod counts;
mod ethernet_tunnel;
mod legs;
mod log;
mod udp_tunnel;

pub(crate) use self::counts::HubCounts;
pub use self::{
    ethernet_tunnel::{TapClientReport, TapPeerReport, TapServerReport},
    legs::{LegOutcome, MAX_PROBE, PathLeg, PathQuery, PathView},
    log::ASKED,
    udp_tunnel::{
        DatagramTraffic, RegisteredReport, RelayReport, RelayedClientReport, RelayedReport,
        TunnelClientReport, TunnelRefusal, TunnelServerReport,
    },
};

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use ipnet::IpNet;
use rtun_control::{FeedStatus, PluginStatus, RecorderStatus};
use rtun_core::{
    HostName, NamespaceId,
    limit::{QuotaDirection, QuotaTerms, TrafficLimit, TrafficRate},
};
use rtun_settings::TransportStack;
use serde::{Deserialize, Serialize};

use crate::{
    counters::{Happened, NamedMeter, QuotaGroup, Traffic},
    json,
    runtime::{duties::TaskReport, hook_failures::HookReport},
};

/// A process and its services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The version of the program.
    pub version: String,
    /// The id of the process, as the process sees it.
    pub pid: u32,
    /// When it started, in seconds of Unix time.
    pub started: u64,
    /// How long it has run.
    #[serde(with = "json::seconds")]
    pub uptime: Duration,
    /// Tasks that have not ended.
    pub tasks: Tasks,
    /// The files and connections that it may open.
    #[serde(default)]
    pub descriptors: DescriptorReport,
    /// The services, by name.
    pub services: Vec<ServiceReport>,
    /// The sources that rows are read from, by kind and name of the list.
    pub sources: Vec<FeedStatus>,
    /// Supervised tasks that have failed: defects of the program.
    #[serde(default)]
    pub failed_tasks: Vec<TaskReport>,
    /// Hooks of services of which commands have failed, those of services that have stopped included.
    #[serde(default)]
    pub failed_hooks: Vec<HookReport>,
    /// The observers that services name.
    #[serde(default)]
    pub observers: Vec<PluginStatus>,
    /// The recorders that services name.
    #[serde(default)]
    pub recorders: Vec<RecorderStatus>,
}

/// How many tasks have not ended, by the event loop they run on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tasks {
    /// On the event loop for accepting, configuration, signals and plugins.
    pub main: usize,
    /// On each thread that moves packets.
    pub workers: Vec<usize>,
}

/// Files and connections that a process may have open.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DescriptorReport {
    /// The limit at a time.
    pub limit: u64,
    /// How often a connection had to wait because there were no more.
    pub exhausted: Option<Happened>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// As configured.
    pub name: String,
    /// What kind of service it is, and its state.
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
    /// Clients of UDP tunnels connect to it.
    Relay(Box<RelayReport>),
    /// An Ethernet tunnel's clients send to it.
    TapServer(Box<TapServerReport>),
    /// A device whose frames go to an Ethernet tunnel's server.
    TapClient(Box<TapClientReport>),
}

/// A hub: its namespaces, and what is no longer attributed to one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HubReport {
    /// Its listeners.
    pub listen: Vec<ListenerReport>,
    /// The namespaces, by id.
    pub namespaces: Vec<NamespaceReport>,
    /// The counts of namespaces that no longer exist.
    pub gone: Traffic,
    /// Packets waiting for a plugin's answer.
    pub waiting_for_plugins: u64,
    /// The plugins that it asks.
    pub plugins: Vec<PluginStatus>,
    /// Why its rules are not those of its sources, if they are not.
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
    /// Connections that count against its `climiter`.
    #[serde(default)]
    pub connections: u32,
    /// How much may pass in all.
    #[serde(default)]
    pub quotas: Vec<QuotaReport>,
}

/// A listener of a hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenerReport {
    /// Where it listens.
    pub address: SocketAddr,
    /// The transport of its connections.
    pub transport: Transport,
    /// The path that hosts have to name, if it is not the transport's usual one.
    #[serde(default)]
    pub path: Option<String>,
    /// The certificate that hosts see now, with TLS.
    pub certificate: Option<CertificateReport>,
}

/// A hub's certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CertificateReport {
    /// Its subject, as `CN=hub.example`.
    pub subject: String,
    /// The DNS names and addresses it is for.
    pub names: Vec<String>,
    /// The SHA-256 hash of its DER form, in hexadecimal digits.
    pub fingerprint: String,
    /// Seconds until it expires; negative afterwards.
    pub expires_in: f64,
}

/// A namespace, its connected hosts included in its traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamespaceReport {
    /// Its id.
    #[serde(with = "json::text")]
    pub id: NamespaceId,
    /// Whether the configuration names it; then it exists also without hosts.
    pub configured: bool,
    /// The number of prefixes in its tables, those of a default router included. What plugins answer is not counted.
    pub routes: usize,
    /// Prefixes that several hosts share, grouped by their hosts; the first groups.
    #[serde(default)]
    pub shared: Vec<SharedReport>,
    /// The connected hosts, by name; of several with one name the newest first.
    pub hosts: Vec<HostReport>,
    /// In: packets from hosts. Out: packets to hosts.
    pub traffic: Traffic,
}

/// Prefixes that the same hosts share, in the same order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SharedReport {
    /// One of them.
    #[serde(with = "json::text")]
    pub prefix: IpNet,
    /// The number of prefixes.
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
    /// The address it connects from.
    pub peer: SocketAddr,
    /// The transport of its connection.
    pub transport: Transport,
    /// How long it has been connected.
    #[serde(with = "json::seconds")]
    pub connected: Duration,
    /// Whether packets for its name may go to it; otherwise it is a standby for a newer connection of the same name.
    pub carries: bool,
    /// Name and version of its program, if it is an rtun host.
    pub software: Option<String>,
    /// The MTU of its device in bytes, if it is an rtun host.
    pub mtu: Option<u16>,
    /// Whether packets of up to 64 KiB go whole to it and come from it.
    #[serde(rename = "super_frames")]
    pub gso_frames: bool,
    /// Whether packets go as datagrams where they fit, and not in the connection's stream.
    pub datagrams: bool,
    /// The round trip to it, if its program has answered window stamps lately.
    #[serde(default, with = "json::maybe_seconds")]
    pub round_trip: Option<Duration>,
    /// In: packets from it. Out: packets to it. Drops: packets from it, and packets that were queued for it.
    pub traffic: Traffic,
    /// Packets queued for its socket.
    pub queued: Queued,
    /// The limits that its traffic has to keep to.
    #[serde(default)]
    pub limits: Vec<LimitReport>,
}

/// A limit in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitReport {
    /// The key that it is from: `limiter` of the service, or `handler.limiter`, with `limits` of the handler.
    pub limiter: String,
    /// Who shares it: `service`, `address`, `connection`, `namespace` or `host`.
    pub scope: String,
    /// Bytes a second that the service may receive; none: any number.
    #[serde(rename = "in")]
    pub input: Option<u64>,
    /// Bytes a second that the service may send.
    #[serde(rename = "out")]
    pub output: Option<u64>,
}

impl LimitReport {
    /// Unless there is no limit.
    pub(crate) fn of(limiter: &str, scope: &str, limit: TrafficLimit) -> Option<Self> {
        let bytes = |rate: Option<TrafficRate>| rate.map(|rate| rate.bytes_per_second.get());
        let (input, output) = (bytes(limit.input), bytes(limit.output));
        (input.is_some() || output.is_some()).then(|| Self {
            limiter: limiter.to_owned(),
            scope: scope.to_owned(),
            input,
            output,
        })
    }
}

/// A quota of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaReport {
    /// As configured.
    pub name: String,
    /// Bytes counted.
    pub used: u64,
    /// Bytes allowed; 0: any number.
    pub limit: u64,
    /// Which bytes count.
    pub direction: QuotaDirection,
    /// When it begins, in seconds of Unix time.
    pub starts: Option<u64>,
    /// When it ends, in seconds of Unix time.
    pub expires: Option<u64>,
    /// Whether it is used up, so that nothing passes.
    pub exceeded: bool,
}

/// The quotas of a service.
pub(crate) fn quota_reports(quotas: &QuotaGroup) -> Vec<QuotaReport> {
    let report = |(name, meter): &NamedMeter| {
        let QuotaTerms { limit, direction, starts, expires } = meter.terms();
        QuotaReport {
            name: name.clone(),
            used: meter.used(),
            limit,
            direction,
            starts,
            expires,
            exceeded: meter.is_exceeded(),
        }
    };
    quotas.meters().iter().map(report).collect()
}

/// The transport of a connection between a host and a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "GOST's names")]
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
    /// All transports.
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

    /// The transport of a listener or a dialer.
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

/// Packets queued for a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// The number of packets.
    pub packets: u64,
    /// Their bytes, length prefixes included.
    pub bytes: u64,
}

impl std::ops::Add for Queued {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self { packets: self.packets + more.packets, bytes: self.bytes + more.bytes }
    }
}

/// A host service: its device and its connection to a hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// The name it reports to hubs.
    #[serde(with = "json::text")]
    pub host: HostName,
    /// The device's name.
    pub device: String,
    /// The device's MTU in bytes.
    pub mtu: u16,
    /// What is wrong with the device.
    #[serde(default)]
    pub health: DeviceHealth,
    /// The connection to the hub that has admitted it, if there is one.
    pub connection: Option<ConnectionReport>,
    /// Connections so far that a hub has admitted.
    pub joined: u64,
    /// Connections so far that could not be made, or were lost.
    pub failed: u64,
    /// Why the last connection ended or could not be made, if any.
    pub last_error: Option<FailureReport>,
    /// Packets queued for the hub.
    pub queued: Queued,
    /// In: packets from the device. Out: packets to the hub. Drops: between the two.
    pub sent: Traffic,
    /// In: packets from the hub. Out: packets to the device. Drops: between the two.
    pub received: Traffic,
    /// The limits in force.
    #[serde(default)]
    pub limits: Vec<LimitReport>,
    /// The plugin of its limiter.
    #[serde(default)]
    pub plugins: Vec<PluginStatus>,
    /// How much may pass in all.
    #[serde(default)]
    pub quotas: Vec<QuotaReport>,
}

/// What went wrong with a device, and what was repaired.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceHealth {
    /// Why there is no device now, and since when; none if there is one.
    pub missing: Option<HappenedReport>,
    /// How often the device was gone so far.
    pub times_gone: u64,
    /// How often something that was removed from it was restored.
    pub times_put_back: u64,
    /// What was restored last.
    pub last_put_back: Option<HappenedReport>,
    /// What is missing and is not restored any more, since it was removed again and again.
    pub left: Vec<String>,
    /// What the system refuses to set up, and why.
    pub failing: Vec<String>,
}

/// An event, or a state that lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HappenedReport {
    /// A text.
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
    /// Its transport.
    pub transport: Transport,
    /// How long it has been connected.
    #[serde(with = "json::seconds")]
    pub connected: Duration,
    /// Whether the hub is an rtun hub.
    pub rtun: bool,
    /// Whether packets of up to 64 KiB go whole to the hub and come from it.
    #[serde(rename = "super_frames")]
    pub gso_frames: bool,
    /// Whether packets go as datagrams where they fit, and not in the connection's stream.
    pub datagrams: bool,
    /// The last notice of the hub.
    #[serde(default)]
    pub notice: Option<String>,
}

/// A connection that could not be made, or ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureReport {
    /// The address of the hub, as configured, or of the plugin that was to name one.
    pub hub: String,
    /// The text of the error.
    pub error: String,
    /// How long ago.
    #[serde(with = "json::seconds")]
    pub ago: Duration,
}

impl HubReport {
    /// Packets that passed and that were lost since the hub started.
    pub fn traffic(&self) -> Traffic {
        let mut all = self.gone.clone();
        for namespace in &self.namespaces {
            all += &namespace.traffic;
        }
        all
    }

    /// All connected hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &HostReport> {
        self.namespaces.iter().flat_map(|namespace| &namespace.hosts)
    }

    /// Connections not admitted so far.
    pub fn all_refused(&self) -> u64 {
        self.refused.values().map(|happened| happened.count).sum()
    }
}

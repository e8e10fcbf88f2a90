//! What a configuration means: types that cannot be wrong, the only ones the rest of rtun sees.
//!
//! Names are resolved here: a service holds the tables, rules and users it uses, not their names. Two models
//! compare equal exactly when nothing would have to change, which is what a reload compares.

mod hub_node;
mod sockets;
mod tls;
mod transport_stack;
mod udp_tunnel;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

pub use hub_node::*;
use ipnet::IpNet;
use rtun_core::{HostName, NamespaceId};
pub use rtun_core::{
    IngressRule, Matcher, Route, Secret, Selection, Sharing, SourceCheck, Strategy, User,
};
pub use sockets::*;
pub use tls::*;
pub use transport_stack::*;
pub use udp_tunnel::*;

use rtun_core::redact::{self, without_user_info};

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// In the order of the sources; names are unique.
    pub services: Vec<Service>,
    /// Where log lines go.
    pub log: LogSettings,
    /// Where metrics are served, if anywhere.
    pub metrics: Option<MetricsSettings>,
}

/// One configured listener or device.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Unique within a configuration; never empty.
    pub name: String,
    /// What it does.
    pub kind: ServiceKind,
}

/// The kinds of service.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there are a handful of services")]
pub enum ServiceKind {
    /// Handler `router`: hosts connect to it and packets are routed between them.
    Hub(HubSettings),
    /// Handler and listener `tun` with a chain that ends in a `router` connector: a TUN device joined to a
    /// hub.
    Host(HostSettings),
    /// Handler and listener `tun` without a target.
    UdpServer(UdpServerSettings),
    /// Handler and listener `tun` with a target that has a port.
    UdpClient(UdpClientSettings),
    /// The server of an Ethernet tunnel.
    TapServer(TapServerSettings),
    /// A client of an Ethernet tunnel.
    TapClient(TapClientSettings),
}

/// A hub: its listeners and its rules.
#[derive(Debug, Clone, PartialEq)]
pub struct HubSettings {
    /// Where and how it listens.
    pub listener: ListenerSettings,
    /// More ways in to the same hub (`listeners`).
    pub more_listeners: Vec<ListenerSettings>,
    /// May change while hosts are connected.
    pub rules: HubRules,
    /// Accept to admitted, TLS and upgrade included; 10 s unless `readTimeout` says otherwise.
    pub handshake_timeout: Duration,
}

impl HubSettings {
    /// Every way in.
    pub fn listeners(&self) -> impl Iterator<Item = &ListenerSettings> {
        std::iter::once(&self.listener).chain(&self.more_listeners)
    }
}

/// Everything a hub decides by.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HubRules {
    /// Routers whose name is a UUID: the namespaces known by name.
    pub namespaces: BTreeMap<NamespaceId, Named<Route>>,
    /// Asked where a namespace has no router of its own or that one has no route (`router` in the metadata).
    pub default_router: Option<Named<Route>>,
    /// Which host may join which namespace; `None`: any host, any known namespace.
    pub ingress: Option<Named<IngressRule>>,
    /// Who may connect: whomever one of these accepts. `None`: anyone.
    pub authers: Option<Vec<Named<User>>>,
    /// From where: each has to admit the address.
    pub admissions: Vec<AdmissionSettings>,
    /// How strictly a packet's source address is checked.
    pub source_check: SourceCheck,
    /// How packets are shared out among associations of one host name, and among hosts that one prefix is behind.
    pub sharing: Sharing,
    /// ICMP errors to hosts about packets of theirs that are not delivered; `None`: none. Sent unless configured.
    pub icmp: Option<IcmpErrors>,
    /// Whether the hub decrements TTL and hop limit.
    pub ttl: bool,
    /// Whether rtun hosts may send packets of up to 64 KiB whole, and get them; true unless configured.
    pub gso_frames: bool,
    /// The memory in bytes that the queues for all hosts may hold together; at least 16 MiB, 256 MiB unless configured.
    pub queue_budget: usize,
    /// Of everything else.
    pub quotas: Quotas,
}

/// From where a hub's ICMP errors come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IcmpErrors {
    /// About IPv4 packets; `None`: from the destination of the packet.
    pub v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl HubRules {
    /// Every router: the namespaces' own, then the default one.
    pub fn routers(&self) -> impl Iterator<Item = &Named<Route>> {
        self.namespaces.values().chain(&self.default_router)
    }

    /// Every source of rows, whatever they are rows of.
    pub fn sources(&self) -> impl Iterator<Item = &SourceSettings> {
        let routers = self.routers().flat_map(Named::sources);
        let ingress = self.ingress.iter().flat_map(Named::sources);
        let authers = self.authers.iter().flatten().flat_map(Named::sources);
        let admissions = self.admissions.iter().flat_map(|admission| admission.matchers.sources());
        routers.chain(ingress).chain(authers).chain(admissions)
    }

    /// Every plugin, whatever it is asked for.
    pub fn plugins(&self) -> impl Iterator<Item = &PluginSettings> {
        let routers = self.routers().filter_map(Named::plugin);
        let ingress = self.ingress.iter().filter_map(Named::plugin);
        let authers = self.authers.iter().flatten().filter_map(Named::plugin);
        let admissions = self.admissions.iter().filter_map(|admission| admission.matchers.plugin());
        routers.chain(ingress).chain(authers).chain(admissions)
    }
}

/// A table or list that a hub decides by, under its name, wherever its rows are.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T> {
    /// As written; the one of a handler's inline `auth` is empty.
    pub name: String,
    /// Its rows, or who is asked instead.
    pub provider: Provider<T>,
}

impl<T> Named<T> {
    /// What its rows are read from, besides the configuration.
    pub fn sources(&self) -> &[SourceSettings] {
        match &self.provider {
            Provider::Rows(rows) => &rows.sources,
            Provider::Plugin(_) => &[],
        }
    }

    /// Who is asked in the place of rows.
    pub fn plugin(&self) -> Option<&PluginSettings> {
        match &self.provider {
            Provider::Rows(_) => None,
            Provider::Plugin(plugin) => Some(plugin),
        }
    }
}

/// Where a table's or list's rows are.
#[derive(Debug, Clone, PartialEq)]
pub enum Provider<T> {
    /// Known in advance.
    Rows(Rows<T>),
    /// Asked one by one.
    Plugin(PluginSettings),
}

/// Rows written in the configuration, and those that are read, and read again, from elsewhere.
///
/// Where two sources contradict each other http comes before redis, redis before a file, and a file before what
/// the configuration says (design: overlapping routes; spec: tables.md section 2).
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<T> {
    /// In the configuration's order.
    pub inline: Vec<Located<T>>,
    /// In rising order of priority, at most one of each kind.
    pub sources: Vec<SourceSettings>,
    /// Time between two readings of the sources, at least 1 s; `None`: at start, when told to, and files as they
    /// change.
    pub reload: Option<Duration>,
}

impl<T> Rows<T> {
    /// Only what the configuration says.
    pub fn inline(inline: Vec<Located<T>>) -> Self {
        Self { inline, sources: Vec::new(), reload: None }
    }
}

/// A row and where in the configuration it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Located<T> {
    /// What it says.
    pub value: T,
    /// The configuration's file, or whatever else it was read from.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
}

/// A source of lines.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceSettings {
    /// A file, followed as it changes.
    File(PathBuf),
    /// A key of a redis server.
    Redis(RedisSettings),
    /// A URL.
    Http(HttpSourceSettings),
}

/// A key of a redis server (spec: config.md section 3).
#[derive(Debug, Clone, PartialEq)]
pub struct RedisSettings {
    /// `host:port`.
    pub addr: String,
    /// The database's number; 0 unless configured.
    pub db: i64,
    /// With servers that know users.
    pub username: Option<String>,
    /// If the server wants one.
    pub password: Option<Secret>,
    /// `gost` unless configured.
    pub key: String,
    /// What is stored there.
    pub kind: RedisKind,
    /// Whether and how the connection is encrypted.
    pub tls: Option<ClientTls>,
}

/// What a redis key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisKind {
    /// Each field and its value, with a blank between them, are a line.
    Hash,
    /// Each member is a line.
    Set,
    /// Each element is a line.
    List,
}

/// A URL whose content is lines; printed without its user info.
#[derive(Clone, PartialEq)]
pub struct HttpSourceSettings {
    /// `http://` or `https://`.
    pub url: String,
    /// For one reading, from connecting to the last byte; 10 s unless configured.
    pub timeout: Duration,
}

impl HttpSourceSettings {
    /// For people: the URL without user info, query and fragment, where secrets are kept.
    pub fn label(&self) -> String {
        without_user_info(self.url.split(['?', '#']).next().unwrap_or_default())
    }
}

impl fmt::Debug for HttpSourceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, timeout } = self;
        let url = redact::line(url);
        f.debug_struct("HttpSource").field("url", &url).field("timeout", timeout).finish()
    }
}

/// How the other end of a TLS connection is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// Whether its certificate is verified (`secure`).
    pub verify: bool,
    /// The name expected in the certificate, if not the address's.
    pub server_name: Option<String>,
}

/// A plugin (spec: tables.md sections 4 and 5); printed without the user info of its URL.
#[derive(Clone, PartialEq)]
pub struct PluginSettings {
    /// What it speaks.
    pub protocol: PluginProtocol,
    /// HTTP: an `http://` or `https://` URL. gRPC: `host:port`.
    pub addr: String,
    /// HTTP: sent as `Authorization: Bearer`. gRPC: sent as metadata `token`.
    pub token: Option<Secret>,
    /// For one question; 2 s unless configured.
    pub timeout: Duration,
    /// HTTP: how an https server is checked, `None` for an http:// URL. gRPC: whether the connection is encrypted at all, and
    /// how the server is checked.
    pub tls: Option<ClientTls>,
}

impl fmt::Debug for PluginSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, addr, token, timeout, tls } = self;
        f.debug_struct("Plugin")
            .field("protocol", protocol)
            .field("addr", &redact::line(addr))
            .field("token", token)
            .field("timeout", timeout)
            .field("tls", tls)
            .finish()
    }
}

/// What a plugin speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginProtocol {
    /// GOST's HTTP and JSON.
    Http,
    /// GOST's gRPC.
    Grpc,
}

/// Who may connect at all, by where they come from.
#[derive(Debug, Clone, PartialEq)]
pub struct AdmissionSettings {
    /// Whether only what matches is admitted; otherwise all but what matches.
    pub whitelist: bool,
    /// What there is to match.
    pub matchers: Named<Matcher>,
}

/// How much a hub holds; what is past it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quotas {
    /// Routes of one router (`maxRoutesPerRouter`).
    pub routes_per_router: usize,
    /// Routes of all routers (`maxRoutes`).
    pub routes: usize,
    /// Namespaces with a host (`maxNamespaces`).
    pub namespaces: usize,
    /// Hosts connected (`maxHosts`).
    pub hosts: usize,
    /// Hosts connected as one user (`maxHostsPerUser`); `None`: as many as there may be hosts.
    pub hosts_per_user: Option<usize>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            routes_per_router: 2_000_000,
            routes: 4_000_000,
            namespaces: 65_536,
            hosts: 65_536,
            hosts_per_user: None,
        }
    }
}

/// Where metrics are served.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsSettings {
    /// `host:port`, or `unix://path`.
    pub addr: String,
    /// `/metrics` unless configured.
    pub path: String,
    /// Who may read them, by HTTP Basic authentication; `None`: anyone.
    pub auther: Option<Named<User>>,
}

/// A host: a TUN device and the hub it is joined to.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSettings {
    /// The name reported to the hub.
    pub name: HostName,
    /// The device.
    pub device: DeviceSettings,
    /// The nodes of the chain's last hop; at least one.
    pub hubs: Vec<HubNode>,
    /// Which of them is used.
    pub selector: Selection,
    /// The chain's hops before that, the nearest first.
    pub proxies: Vec<ProxyHop>,
    /// As configured (`retries`); every other node is tried at once when one fails, whatever it says.
    pub retries: u32,
    /// Limit for connecting to one hub, proxies and handshakes included (`dialTimeout`), if configured.
    pub dial_timeout: Option<Duration>,
}

/// A TUN device, as it is to be set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSettings {
    /// `None`: the kernel chooses.
    pub name: Option<String>,
    /// Addresses with their prefix length, host bits kept; at least one.
    pub addresses: Vec<IpNet>,
    /// 68 to 65,535 bytes, 1280 and more with IPv6; 1420 unless configured.
    pub mtu: u16,
    /// Routes of the system that lead into the device.
    pub routes: Vec<DeviceRoute>,
    /// Name servers to be used through the device.
    pub dns: Vec<IpAddr>,
    /// Whether the kernel may hand over and take GSO packets, where it can; true unless configured.
    pub offload: bool,
    /// Whether packets of up to 64 KiB go whole to an rtun hub, and come from it; true unless configured.
    pub gso_frames: bool,
    /// Where the device is made, if not where rtun runs (`netns`).
    pub netns: Option<NetworkNamespace>,
}

/// A route of the system into a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRoute {
    /// Destination, host bits cleared.
    pub prefix: IpNet,
    /// Next hop; `None`: on the device.
    pub gateway: Option<IpAddr>,
}

/// A user name and its password.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// At most 255 bytes.
    pub user: String,
    /// At most 255 bytes.
    pub password: Secret,
}

/// Where log lines go and which.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// The least severe level written.
    pub level: LogLevel,
    /// Their form.
    pub format: LogFormat,
    /// Their destination.
    pub output: LogOutput,
}

/// Severity of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum LogLevel {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum LogFormat {
    #[default]
    Json,
    Text,
}

/// Destination of log lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum LogOutput {
    #[default]
    Stderr,
    Stdout,
    None,
    File(PathBuf),
}

//! What a configuration means: types that cannot be wrong, the only ones the rest of rtun sees.
//!
//! Names are resolved here: a service holds the tables, rules and users it uses, not their names. Two models
//! compare equal exactly when nothing would have to change, which is what a reload compares.

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use rtun_core::{HostName, NamespaceId, Route};
pub use rtun_core::{Sharing, SourceCheck};

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// In the order of the sources; names are unique.
    pub services: Vec<Service>,
    /// Where log lines go.
    pub log: Log,
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
pub enum ServiceKind {
    /// Handler `router`: hosts connect to it and packets are routed between them.
    Hub(Hub),
    /// Handler and listener `tun` with a chain that ends in a `router` connector: a TUN device joined to a
    /// hub.
    Host(Host),
}

/// A hub: one listening address with its rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Hub {
    /// `host:port` as written; an empty host means every address.
    pub listen: String,
    /// May change while hosts are connected.
    pub rules: HubRules,
    /// Accept to admitted, TLS and upgrade included; 10 s unless `readTimeout` says otherwise.
    pub handshake_timeout: Duration,
}

/// Everything a hub decides by.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HubRules {
    /// Routers whose name is a UUID: the namespaces known by name.
    pub namespaces: BTreeMap<NamespaceId, Router>,
    /// Asked where a namespace has no router of its own or that one has no route (`router` in the metadata).
    pub default_router: Option<Router>,
    /// Which host may join which namespace; `None`: any host, any known namespace.
    pub ingress: Option<Vec<IngressRule>>,
    /// Who may connect; `None`: anyone.
    pub users: Option<Vec<User>>,
    /// How strictly a packet's source address is checked.
    pub source_check: SourceCheck,
    /// What two associations of one host name do.
    pub sharing: Sharing,
    /// Whether the hub decrements TTL and hop limit.
    pub ttl: bool,
    /// Whether rtun hosts may send packets of up to 64 KiB whole, and get them; true unless configured.
    pub super_frames: bool,
    /// The memory in bytes that the queues for all hosts may hold together; at least 16 MiB, 256 MiB unless configured.
    pub queue_budget: usize,
}

/// A named routing table or a plugin in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Router {
    /// As written.
    pub name: String,
    /// Where its routes are.
    pub source: RouterSource,
}

/// Where a router's routes are.
#[derive(Debug, Clone, PartialEq)]
pub enum RouterSource {
    /// In the configuration, in its order; of equal prefixes the first counts.
    Routes(Vec<Route>),
    /// Asked over HTTP, per destination.
    Http(HttpPlugin),
}

/// An HTTP plugin (spec: tables.md sections 4 and 5).
#[derive(Debug, Clone, PartialEq)]
pub struct HttpPlugin {
    /// `http://` or `https://` URL.
    pub url: String,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<Secret>,
    /// For one question; 2 s unless configured.
    pub timeout: Duration,
    /// Whether an https server's certificate is verified (`tls.secure`).
    pub verify: bool,
    /// The name expected in the certificate, if not the URL's.
    pub server_name: Option<String>,
}

/// One line of an ingress: hosts that match may join the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressRule {
    /// A host name, or `*.example.org` / `.example.org` for the name and everything below it.
    pub pattern: String,
    /// The namespace it may join.
    pub namespace: NamespaceId,
}

/// A user that hosts connect as.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// 1 to 255 bytes.
    pub name: String,
    /// At most 255 bytes; empty: the user is never admitted.
    pub password: Secret,
    /// The host names this user may report; `None`: any.
    pub hosts: Option<Vec<HostName>>,
}

/// A host: a TUN device and the hub it is joined to.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// The name reported to the hub.
    pub name: HostName,
    /// The device.
    pub device: Device,
    /// At least one; tried in turn.
    pub hubs: Vec<HubNode>,
    /// Limit for connecting to one hub (`dialTimeout`), if configured.
    pub dial_timeout: Option<Duration>,
}

/// A TUN device, as it is to be set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
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
    /// Whether the kernel may hand over and take super-packets, where it can; true unless configured.
    pub offload: bool,
    /// Whether packets of up to 64 KiB go whole to an rtun hub, and come from it; true unless configured.
    pub super_frames: bool,
}

/// A route of the system into a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRoute {
    /// Destination, host bits cleared.
    pub prefix: IpNet,
    /// Next hop; `None`: on the device.
    pub gateway: Option<IpAddr>,
}

/// One hub a host may connect to.
#[derive(Debug, Clone, PartialEq)]
pub struct HubNode {
    /// The node's name, for log lines.
    pub name: String,
    /// `host:port`.
    pub addr: String,
    /// The namespace to join (`router.id`).
    pub namespace: NamespaceId,
    /// What the host proves itself with.
    pub auth: Option<Auth>,
    /// Limit for the hub's answer (`connectTimeout`), if configured.
    pub connect_timeout: Option<Duration>,
}

/// A user name and its password.
#[derive(Debug, Clone, PartialEq)]
pub struct Auth {
    /// At most 255 bytes.
    pub user: String,
    /// At most 255 bytes.
    pub password: Secret,
}

/// A password or token: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where log lines go and which.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
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

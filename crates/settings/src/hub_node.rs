//! Where a hub listens, and how a host gets to it: nodes and the proxies before them.

use std::time::Duration;

use ipnet::IpNet;
use rtun_core::{NamespaceId, Selection};

use super::{DialTls, ListenOptions, PluginSettings, ServerTls, SocketOptions, TransportStack};

/// Where and how a hub listens.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerSettings {
    /// `host:port` as written; an empty host means every address.
    pub addr: String,
    /// What it accepts.
    pub stack: TransportStack<ServerTls>,
    /// Whether connections begin with a PROXY preamble (`proxyProtocol`); those from elsewhere than `trusted_proxies` are
    /// refused. Only with transports on TCP.
    pub proxy_protocol: bool,
    /// From where PROXY preambles and headers such as `X-Forwarded-For` are trusted (`trustedProxies`).
    pub trusted_proxies: Vec<IpNet>,
    /// How its socket is opened.
    pub sockets: ListenOptions,
}

impl ListenerSettings {
    /// Plain TCP on `addr`.
    pub fn tcp(addr: impl Into<String>) -> Self {
        Self {
            addr: addr.into(),
            stack: TransportStack::tcp(),
            proxy_protocol: false,
            trusted_proxies: Vec::new(),
            sockets: ListenOptions::default(),
        }
    }
}

/// One hub a host may connect to.
#[derive(Debug, Clone, PartialEq)]
pub struct HubNode {
    /// The node's name, for log lines.
    pub name: String,
    /// The name of the chain that leads to it, for the metrics; empty if it has none.
    pub chain: String,
    /// `host:port`: that of the first of `endpoints`.
    pub addr: String,
    /// How it is reached, the preferred way first; at least one.
    pub endpoints: Vec<Endpoint>,
    /// The namespace to join (`router.id`).
    pub namespace: NamespaceId,
    /// What the host proves itself with.
    pub auth: Option<super::Login>,
    /// Limit for the hub's answer (`connectTimeout`), if configured.
    pub connect_timeout: Option<Duration>,
    /// Of the connections to it; without effect after a proxy.
    pub sockets: SocketOptions,
    /// Sent first on connections on TCP (`proxyProtocol`).
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Its place among the nodes of its hop.
    pub preference: NodePreference,
}

impl HubNode {
    /// A hub named as its address, reached over plain TCP.
    pub fn tcp(addr: impl Into<String>) -> Self {
        let addr = addr.into();
        Self {
            name: addr.clone(),
            chain: String::new(),
            addr: addr.clone(),
            endpoints: vec![Endpoint { addr, stack: TransportStack::tcp(), segment_max: None }],
            namespace: NamespaceId::DEFAULT,
            auth: None,
            connect_timeout: None,
            sockets: SocketOptions::default(),
            proxy_protocol: None,
            preference: NodePreference::default(),
        }
    }
}

/// One way to a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// `host:port`.
    pub addr: String,
    /// What is opened there.
    pub stack: TransportStack<DialTls>,
    /// The most bytes of a TCP segment, in both directions (`mss`); `None`: what the system thinks that the way takes.
    pub segment_max: Option<u16>,
}

/// A hop before the last: each connection goes through one of its proxies.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyHop {
    /// At least one, unless `plugin` names them.
    pub nodes: Vec<ProxyNode>,
    /// Which of them is used.
    pub selector: Selection,
    /// Who names the proxy for each connection.
    pub plugin: Option<HopPlugin>,
}

/// A plugin that names the node of a hop for each connection.
#[derive(Debug, Clone, PartialEq)]
pub struct HopPlugin {
    /// The hop's name.
    pub hop: String,
    /// The name of its chain, for the metrics; empty if it has none.
    pub chain: String,
    /// How it is asked.
    pub plugin: PluginSettings,
}

/// A proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyNode {
    /// The node's name, for log lines.
    pub name: String,
    /// `host:port`.
    pub addr: String,
    /// What it speaks.
    pub protocol: ProxyKind,
    /// What the host proves itself with to it.
    pub auth: Option<super::Login>,
    /// What is opened to it.
    pub stack: TransportStack<DialTls>,
    /// As [`Endpoint::segment_max`].
    pub segment_max: Option<u16>,
    /// Limit for its answer (`connectTimeout`), if configured.
    pub connect_timeout: Option<Duration>,
    /// HTTP: sent with the request (`header`).
    pub headers: Vec<super::HttpHeader>,
    /// Of the connections to it; without effect after another proxy.
    pub sockets: SocketOptions,
    /// Sent first (`proxyProtocol`).
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Its place among the nodes of its hop.
    pub preference: NodePreference,
}

/// What proxies speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// CONNECT of HTTP/1.1 (RFC 9110 section 9.3.6).
    Http,
    /// SOCKS version 4.
    Socks4 {
        /// Whether names are looked up by the proxy (4A), not by this machine (`disable4a`).
        names: bool,
    },
    /// SOCKS version 5 (RFC 1928).
    Socks5,
    /// GOST's relay protocol: a stream of bytes to a target.
    Relay {
        /// Whether its answer is waited for (`nodelay`).
        answers_at_once: bool,
    },
}

/// A node among others of its hop.
#[derive(Debug, Clone, PartialEq)]
pub struct NodePreference {
    /// With `random`: how often it is taken, compared to the others; 1 unless configured, never 0.
    pub weight: u32,
    /// Whether it is only used when no other can be.
    pub backup: bool,
    /// Whether and how often it is tried without need.
    pub probe: Option<ProbeSettings>,
    /// `maxFails` of its own.
    pub max_fails: Option<u32>,
    /// `failTimeout` of its own.
    pub fail_timeout: Option<Duration>,
}

impl Default for NodePreference {
    fn default() -> Self {
        Self { weight: 1, backup: false, probe: None, max_fails: None, fail_timeout: None }
    }
}

/// How a node is tried without need.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeSettings {
    /// What is tried.
    pub kind: ProbeKind,
    /// Between two attempts; 30 s unless configured.
    pub interval: Duration,
    /// For one; 10 s unless configured.
    pub timeout: Duration,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            kind: ProbeKind::Connect,
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
        }
    }
}

/// What a probe tries.
#[derive(Debug, Clone, PartialEq)]
pub enum ProbeKind {
    /// The node is connected to, and the connection is closed again.
    Connect,
    /// An HTTP request, on TCP or TLS as the node's first dialer has it.
    Http(HttpProbe),
    /// A command of the system's shell; its exit status 0 is a success.
    Command(String),
}

/// A `GET` of HTTP/1.1.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpProbe {
    /// Of the request; it begins with a slash.
    pub path: String,
    /// The header `Host`.
    pub host: String,
    /// More headers.
    pub headers: Vec<super::HttpHeader>,
    /// The status of a success.
    pub status: u16,
}

/// Forms of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// Text.
    V1,
    /// Binary.
    V2,
}

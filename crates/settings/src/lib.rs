//! What a configuration means: types that cannot be wrong, the only ones the rest of rtun sees.
//!
//! Names are resolved here: a service holds the tables, rules and users it uses, not their names. Two models
//! compare equal exactly when nothing would have to change, which is what a reload compares.

mod hooks;
mod host;
mod hub;
mod hub_node;
mod limits;
mod log;
mod name_lookup;
mod observers;
mod plugin;
mod recorders;
mod rows;
mod sockets;
mod tls;
mod transport_stack;
mod udp_tunnel;

pub use hooks::*;
pub use host::*;
pub use hub::*;
pub use hub_node::*;
pub use limits::*;
pub use log::*;
pub use name_lookup::*;
pub use observers::*;
pub use plugin::*;
pub use recorders::*;
pub use rows::*;
pub use rtun_core::{
    IngressRule, Matcher, Route, Secret, Selection, Sharing, SourceCheck, Strategy, User,
};
pub use sockets::*;
pub use tls::*;
pub use transport_stack::*;
pub use udp_tunnel::*;

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// In the order of the sources; names are unique.
    pub services: Vec<Service>,
    /// Where log lines go.
    pub log: LogSettings,
    /// More logs, for services that name them.
    pub loggers: Vec<LoggerSettings>,
    /// Where metrics are served, if anywhere.
    pub metrics: Option<MetricsSettings>,
    /// Where the Web API is served, if anywhere.
    pub api: Option<ApiSettings>,
}

impl Config {
    /// The lists of those who may read the metrics or use the Web API.
    pub fn operators(&self) -> impl Iterator<Item = &Named<User>> {
        let scrapers = self.metrics.iter().filter_map(|metrics| metrics.auther.as_ref());
        scrapers.chain(self.api.iter().filter_map(|api| api.auther.as_ref()))
    }
}

/// One configured listener or device.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Unique within a configuration; never empty.
    pub name: String,
    /// What it does.
    pub kind: ServiceKind,
    /// What runs as it starts and stops.
    pub hooks: ServiceHooks,
    /// Names of the loggers that its log lines go to, each once; none: the log of the process.
    pub loggers: Vec<String>,
    /// Who is informed of what it counts, and of its state.
    pub observers: ServiceObservers,
    /// Who is given the addresses of its connections; hubs and relays only.
    pub recordings: Vec<Recording>,
}

impl Service {
    /// A service without hooks, loggers, observers and recorders.
    pub fn new(name: impl Into<String>, kind: ServiceKind) -> Self {
        Self {
            name: name.into(),
            kind,
            hooks: ServiceHooks::default(),
            loggers: Vec::new(),
            observers: ServiceObservers::default(),
            recordings: Vec::new(),
        }
    }
}

impl ServiceKind {
    /// Names that it looks up in ways of their own.
    pub fn lookups(&self) -> &[LookedUpName] {
        match self {
            Self::Host(host) => &host.lookups,
            Self::UdpClient(client) => client.relay.as_ref().map_or(&[], |relay| &relay.lookups),
            Self::TapClient(client) => client.relay.as_ref().map_or(&[], |relay| &relay.lookups),
            Self::Hub(_) | Self::UdpServer(_) | Self::TapServer(_) | Self::Relay(_) => &[],
        }
    }

    /// The lists of users that it names.
    pub fn authers(&self) -> &[Named<User>] {
        let authers = match self {
            Self::Hub(hub) => &hub.rules.authers,
            Self::UdpServer(server) => &server.rules.authers,
            Self::Relay(relay) => &relay.rules.authers,
            Self::Host(_) | Self::UdpClient(_) | Self::TapServer(_) | Self::TapClient(_) => &None,
        };
        authers.as_deref().unwrap_or_default()
    }

    /// Every source of rows, whatever they are rows of.
    pub fn sources(&self) -> impl Iterator<Item = &SourceSettings> {
        let (hub, other) = match self {
            Self::Hub(hub) => (Some(hub), None),
            other => (None, Some(other)),
        };
        let of_hub = hub.into_iter().flat_map(|hub| hub.rules.sources());
        let of_other = other.into_iter().flat_map(|kind| {
            kind.authers().iter().flat_map(Named::sources).chain(kind.limiters().sources())
        });
        of_hub.chain(of_other)
    }

    /// The limiters that it names.
    pub fn limiters(&self) -> NamedLimiters<'_> {
        let of_tunnel = |limits| NamedLimiters::of_traffic(TunnelLimitSettings::limiter(limits));
        match self {
            Self::Hub(hub) => hub.rules.limits.limiters(),
            Self::Host(host) => NamedLimiters::of_traffic(host.limits.traffic.as_ref()),
            Self::UdpServer(server) => of_tunnel(&server.rules.limits),
            Self::UdpClient(client) => of_tunnel(&client.limits),
            Self::TapServer(server) => of_tunnel(&server.limits),
            Self::TapClient(client) => of_tunnel(&client.limits),
            Self::Relay(relay) => NamedLimiters {
                connections: relay.rules.connections.as_ref(),
                requests: relay.rules.requests.as_ref(),
                ..of_tunnel(&relay.rules.limits)
            },
        }
    }

    /// The quotas of what may pass in all.
    pub fn volumes(&self) -> &[VolumeQuota] {
        match self {
            Self::Hub(hub) => &hub.rules.volumes,
            Self::Host(host) => &host.limits.volumes,
            Self::UdpServer(server) => &server.rules.limits.volumes,
            Self::UdpClient(client) => &client.limits.volumes,
            Self::TapServer(server) => &server.limits.volumes,
            Self::TapClient(client) => &client.limits.volumes,
            Self::Relay(relay) => &relay.rules.limits.volumes,
        }
    }
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
    /// Handler `relay`: leads clients of UDP tunnels to servers.
    Relay(RelaySettings),
    /// The server of an Ethernet tunnel.
    TapServer(TapServerSettings),
    /// A client of an Ethernet tunnel.
    TapClient(TapClientSettings),
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

/// Where the Web API is served, and who may do what there.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiSettings {
    /// `host:port`, or `unix://path`.
    pub addr: String,
    /// What all paths begin with, without an ending slash; empty: nothing.
    pub path_prefix: String,
    /// Whether each request that only reads is logged, too.
    pub access_log: bool,
    /// Who may ask, by HTTP Basic authentication; `None`: anyone who can connect.
    pub auther: Option<Named<User>>,
    /// Its users who may read and change nothing.
    pub readers: Vec<String>,
    /// Origins, in lower case, whose pages may ask in a browser.
    pub origins: Vec<String>,
    /// Served over TLS with this.
    pub tls: Option<ServerTls>,
}

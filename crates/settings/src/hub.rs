//! A hub: where it listens, what it decides by, how much it holds.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use ipnet::IpNet;
use rtun_core::{IngressRule, Matcher, NamespaceId, Route, Sharing, SourceCheck, User};

use super::{ListenerSettings, Named, PluginSettings, SourceSettings};

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
    /// Who may connect: one of these has to accept the user. `None`: anyone.
    pub authers: Option<Vec<Named<User>>>,
    /// From where hosts need neither user nor password (`skipauth`): the address that is trusted to be the host's.
    pub skip_auth: Vec<IpNet>,
    /// From where: each has to admit the address.
    pub admissions: Vec<AdmissionSettings>,
    /// How strictly a packet's source address is checked.
    pub source_check: SourceCheck,
    /// How packets are shared out among associations of one host name, and among hosts with the same prefix.
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

//! How names of hubs and proxies are looked up: resolvers, tables of names, and which node uses which.

use std::{cell::RefCell, collections::HashMap, net::IpAddr, time::Duration};

use super::{Context, located::Located, providers::named, sources};
use crate::{
    address,
    findings::Code,
    location::quote,
    report::At,
    schema::{Field, OneText, hop, host_mapping, hosts_table, name_server, node, resolver},
    value::Cursor,
};
use rtun_settings::{
    AddressFamilies, DnsProtocol, DnsTls, HostsLine, LookedUpName, NameServer, Named,
    ResolverSettings, SocketOptions,
};

/// The limit of one question unless configured.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The resolvers and tables of names that are used. Others belong to services that have no tunnels.
#[derive(Default)]
pub(crate) struct Lookups {
    resolvers: RefCell<HashMap<String, Option<ResolverSettings>>>,
    hosts: RefCell<HashMap<String, Option<Named<HostsLine>>>>,
}

impl Lookups {
    /// The resolver at `at`; `None` after an error was reported, once.
    fn resolver(&self, name: &str, at: &Cursor<'_>) -> Option<ResolverSettings> {
        let mut read = self.resolvers.borrow_mut();
        read.entry(name.to_owned()).or_insert_with(|| resolver(name, at)).clone()
    }

    /// The table of names at `at`; `None` after an error was reported, once.
    fn hosts(&self, name: &str, at: &Cursor<'_>) -> Option<Named<HostsLine>> {
        let mut read = self.hosts.borrow_mut();
        read.entry(name.to_owned()).or_insert_with(|| table(name, at)).clone()
    }
}

/// The names of a chain, each with how it is looked up and where it was written.
#[derive(Default)]
pub(super) struct ChainNames<'a>(Vec<(LookedUpName, At<'a>)>);

impl<'a> ChainNames<'a> {
    /// Adds the hosts of `addrs`, those of the node at `at`, which is reached through `sockets`. A name that is looked up in two
    /// ways is an error: nobody could say which counts.
    pub(super) fn add<'b>(
        &mut self,
        addrs: impl IntoIterator<Item = &'b str>,
        sockets: &SocketOptions,
        at: &Cursor<'a>,
        hop: &Cursor<'a>,
        context: &Context<'a>,
    ) {
        let either = |own: &Field<OneText>, hops: &Field<OneText>| {
            at.filled(own).or_else(|| hop.filled(hops))
        };
        let resolver = either(&node::RESOLVER, &hop::RESOLVER);
        let resolver = resolver.and_then(|it| context.names.resolvers.resolve(&it));
        let resolver = resolver.and_then(|(name, at)| context.lookups.resolver(name, at));
        let table = either(&node::HOSTS, &hop::HOSTS);
        let table = table.and_then(|it| context.names.hosts.resolve(&it));
        let table = table.and_then(|(name, at)| context.lookups.hosts(name, at));
        for addr in addrs {
            let Some((name, _)) = address::split_host_port(addr) else { continue };
            let bare = name.split('%').next().unwrap_or(name);
            if bare.parse::<IpAddr>().is_ok() || bare.is_empty() {
                continue;
            }
            let name = LookedUpName {
                name: name.to_owned(),
                hosts: table.clone(),
                resolver: resolver.clone(),
                sockets: sockets.clone(),
            };
            match self.0.iter().find(|(it, _)| it.name == name.name) {
                None => self.0.push((name, at.at.clone())),
                Some((it, _)) if (&it.hosts, &it.resolver) == (&name.hosts, &name.resolver) => {}
                Some((_, first)) => {
                    let first = first.shown().unwrap_or_default();
                    let message =
                        format!("{} is looked up in two ways in one chain", quote(&name.name));
                    at.error(message).help(format!(
                        "name the same `resolver` and `hosts` as the node at {first}"
                    ));
                }
            }
        }
    }

    /// Those that are not looked up as everywhere on the system.
    pub(super) fn in_their_own_way(self) -> Vec<LookedUpName> {
        let names = self.0.into_iter().map(|(name, _)| name);
        names.filter(|name| name.hosts.is_some() || name.resolver.is_some()).collect()
    }
}

fn resolver(name: &str, at: &Cursor<'_>) -> Option<ResolverSettings> {
    if let Some(plugin) = at.filled(&resolver::PLUGIN) {
        let help = "list name servers as `nameservers`";
        return plugin.key().refuse(
            "`plugin` of a resolver is not supported: rtun asks name servers itself",
            help,
        );
    }
    let servers = at.items_of(&resolver::NAMESERVERS);
    if servers.is_empty() {
        let help = "add `nameservers:` with an `addr`, for example tls://9.9.9.9";
        return at.refuse("the resolver has no name server", help);
    }
    let servers = servers.iter().filter_map(name_server).collect();
    Some(ResolverSettings { name: name.to_owned(), servers })
}

fn name_server(at: &Cursor<'_>) -> Option<NameServer> {
    const HELP: &str =
        "write for example udp://192.0.2.53, tls://9.9.9.9 or https://dns.example/dns-query";
    let (text, addr_at) = at.required(&name_server::ADDR, "the name server has no `addr`", HELP)?;
    if let Some(chain) = at.filled(&name_server::CHAIN) {
        let help = "leave it out: a name server is asked from where the node is connected to";
        return chain.key().refuse("`chain` of a name server is not supported", help);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("udp", &text));
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let scheme = scheme.to_ascii_lowercase();
    let usual_port = match scheme.as_str() {
        "udp" | "tcp" => 53,
        "tls" | "dot" => 853,
        "https" => 443,
        _ => {
            let message = format!("{} is no way to ask a name server", quote(&scheme));
            return addr_at.refuse(message, HELP);
        }
    };
    let addr = match with_port(authority, usual_port) {
        Some(addr)
            if address::check(&addr).is_ok_and(|(host, port)| !host.is_empty() && port != 0) =>
        {
            addr
        }
        _ => {
            let message = format!("{} is no address of a name server", quote(&text));
            return addr_at.refuse(message, HELP);
        }
    };
    let tls = || {
        let hostname = at.read(&name_server::HOSTNAME);
        if hostname.is_none() {
            let message =
                format!("the certificate of the name server {} is not verified", quote(&addr));
            addr_at
                .coded(Code::C07, message)
                .help("add `hostname:` with the name in its certificate");
        }
        let host = address::split_host_port(&addr).map_or(&*addr, |(host, _)| host);
        DnsTls { verify: hostname.is_some(), name: hostname.unwrap_or_else(|| host.to_owned()) }
    };
    let protocol = match scheme.as_str() {
        "udp" => DnsProtocol::Udp,
        "tcp" => DnsProtocol::Tcp,
        "https" => {
            let path = if path.is_empty() { "/dns-query" } else { path };
            DnsProtocol::Https { path: path.to_owned(), tls: tls() }
        }
        _ => DnsProtocol::Tls(tls()),
    };
    let is_encrypted = matches!(protocol, DnsProtocol::Tls(_) | DnsProtocol::Https { .. });
    if let Some(hostname) = at.filled(&name_server::HOSTNAME).filter(|_| !is_encrypted) {
        hostname.key().warning(format!("`hostname` has no effect: {scheme} does not encrypt"));
    }
    let lifetime = at.get(&name_server::TTL);
    let is_negative = lifetime.as_ref().is_some_and(|at| at.value.describe().contains('-'));
    let lifetime = match is_negative {
        true => Some(Duration::ZERO),
        false => lifetime.and_then(|at| at.read()).filter(|it| !it.is_zero()),
    };
    let timeout = at.or_default(&name_server::TIMEOUT);
    Some(NameServer {
        addr,
        protocol,
        families: families(at),
        timeout: if timeout.is_zero() { TIMEOUT } else { timeout },
        lifetime,
    })
}

/// `host:port` with the usual port where there is none.
fn with_port(authority: &str, usual: u16) -> Option<String> {
    if authority.is_empty() {
        return None;
    }
    match address::split_host_port(authority) {
        Some(_) => Some(authority.to_owned()),
        None if authority.parse::<std::net::Ipv6Addr>().is_ok() => {
            Some(format!("[{authority}]:{usual}"))
        }
        None => Some(format!("{authority}:{usual}")),
    }
}

/// Another word counts as none, as for GOST.
fn families(at: &Cursor<'_>) -> AddressFamilies {
    let read = |field: &Field<OneText>| {
        let text = at.read(field)?;
        match text.as_str() {
            "ipv4" | "ip4" => Some(true),
            "ipv6" | "ip6" => Some(false),
            _ => {
                at.place_of(field)
                    .warning(format!("{} is no family of addresses", quote(&text)))
                    .help("write `ipv4` or `ipv6`");
                None
            }
        }
    };
    match (read(&name_server::ONLY), read(&name_server::PREFER)) {
        (Some(true), _) => AddressFamilies::Ipv4,
        (Some(false), _) => AddressFamilies::Ipv6,
        (None, Some(false)) => AddressFamilies::Ipv6First,
        (None, _) => AddressFamilies::Ipv4First,
    }
}

fn table(name: &str, at: &Cursor<'_>) -> Option<Named<HostsLine>> {
    if let Some(plugin) = at.filled(&hosts_table::PLUGIN) {
        let help = "list names as `mappings`, or in a `file`, `redis` or `http` source";
        return plugin.key().refuse("`plugin` of a table of names is not supported: rtun looks names up in tables and at name servers", help);
    }
    let lines = at.items_of(&hosts_table::MAPPINGS);
    let lines = lines.iter().filter_map(|at| Some(at.at.row(mapping(at)?))).collect();
    Some(named(name, at, &sources::HOSTS, lines))
}

fn mapping(at: &Cursor<'_>) -> Option<HostsLine> {
    let (hostname, _) =
        at.required(&host_mapping::HOSTNAME, "there is no name", "add `hostname:`")?;
    let (ip, ip_at) = at.required(&host_mapping::IP, "the name has no address", "add `ip:`")?;
    let Ok(address) = ip.parse() else {
        let help = "write for example 192.0.2.1 or 2001:db8::1";
        return ip_at.refuse(format!("{} is no address", quote(&ip)), help);
    };
    let aliases = at.read(&host_mapping::ALIASES).into_iter().flatten().map(|(name, _)| name);
    Some(HostsLine { address, names: std::iter::once(hostname).chain(aliases).collect() })
}

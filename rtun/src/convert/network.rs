//! Which prefix is behind which host, so that packets go where the UDP tunnel's server would send them.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use rtun_core::NamespaceId;
use rtun_settings::{Config, Service, ServiceKind, UdpServerSettings};
use uuid::Uuid;

use super::members::{ConvertedHost, HostOrigin, Members, SharedAddress, host_and_port};

/// The hub's name where no configuration has one.
const UNKNOWN_HUB: &str = "HUB";

/// A network as hub and host files say it.
#[derive(Debug)]
pub(super) struct ConvertedNetwork {
    /// Drawn anew for each network.
    pub(super) namespace: NamespaceId,
    /// The server's machine first.
    pub(super) hosts: Vec<ConvertedHost>,
    /// A prefix and the name of the host that has it; of each prefix one.
    pub(super) rows: Vec<(IpNet, String)>,
    /// The host part of where the hub listens; empty: everywhere.
    pub(super) listen: String,
    /// How hosts name the hub's machine; at least one.
    pub(super) hub_names: Vec<String>,
    /// What differs, and what is left to do.
    pub(super) notes: Vec<String>,
}

/// Why there is nothing to convert.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConvertError {
    #[error("there is no UDP tunnel in it: name the file of its server, and those of its clients")]
    NoTunnel,
    #[error(
        "{0} is an Ethernet tunnel, and a routing tunnel carries IP packets only: it cannot be converted"
    )]
    Ethernet(String),
    #[error("{first} and {second} are both servers: convert each with its own clients")]
    TwoServers { first: String, second: String },
    #[error(transparent)]
    Address(#[from] SharedAddress),
}

/// The network that these configurations, each of one machine, are parts of; `hub` is the name of the hub's machine for all hosts.
pub(super) fn of(configs: &[Config], hub: Option<&str>) -> Result<ConvertedNetwork, ConvertError> {
    let services = || configs.iter().flat_map(|config| &config.services);
    let mut members = Members::default();
    let mut server: Option<(&Service, &UdpServerSettings)> = None;
    for service in services() {
        let ServiceKind::UdpServer(settings) = &service.kind else { continue };
        if let Some((first, _)) = server {
            let (first, second) = (first.name.clone(), service.name.clone());
            return Err(ConvertError::TwoServers { first, second });
        }
        members.server(service, settings)?;
        server = Some((service, settings));
    }
    let rules = server.map(|(_, server)| &server.rules);
    for service in services() {
        if let ServiceKind::UdpClient(client) = &service.kind {
            members.client(service, client, rules)?;
        }
    }
    if let Some((_, server)) = server {
        members.of_server(server)?;
    }
    if members.hosts.is_empty() {
        let is_tap = |kind: &ServiceKind| {
            matches!(kind, ServiceKind::TapServer(_) | ServiceKind::TapClient(_))
        };
        let tap = services().find(|service| is_tap(&service.kind));
        return Err(
            tap.map_or(ConvertError::NoTunnel, |tap| ConvertError::Ethernet(tap.name.clone()))
        );
    }
    let rows = rows(&members, server.map(|(_, server)| server));
    let mut notes = about_server(server.map(|(_, server)| server), members.hosts.len());
    notes.extend(members.summary());
    notes.append(&mut members.notes);
    notes.extend(services().filter_map(about_service));
    notes.extend(about_devices(&members.hosts));

    let mut hub_names: Vec<String> = Vec::new();
    for name in members.hosts.iter().filter_map(|host| host.hub.as_ref()) {
        if !hub_names.contains(name) {
            hub_names.push(name.clone());
        }
    }
    if let Some(hub) = hub {
        hub_names = vec![hub.to_owned()];
        members.hosts.iter_mut().for_each(|host| host.hub = None);
    } else if hub_names.is_empty() {
        hub_names.push(UNKNOWN_HUB.to_owned());
        notes.push(format!("no client says where the server is reached: write its name or address in the place of {UNKNOWN_HUB}, or give it with --hub"));
    }
    let listen = server.and_then(|(_, server)| host_and_port(&server.addr));
    let listen = listen.map_or("", |(host, _)| host);
    // A server on a loopback address is behind a relay, and so on a machine that others reach.
    let is_loopback = listen.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let listen = if is_loopback { "" } else { listen }.to_owned();
    let namespace = NamespaceId::from_bytes(*Uuid::new_v4().as_bytes());
    Ok(ConvertedNetwork { namespace, hosts: members.hosts, rows, listen, hub_names, notes })
}

/// What each host has: its addresses, the networks behind it, and the server what clients lead into the tunnel and nobody else has.
fn rows(members: &Members, server: Option<&UdpServerSettings>) -> Vec<(IpNet, String)> {
    let hosts = &members.hosts;
    let mut rows: BTreeMap<IpNet, usize> = BTreeMap::new();
    for (index, host) in hosts.iter().enumerate() {
        for address in &host.device.addresses {
            rows.insert(IpNet::from(address.addr()), index);
        }
    }
    if let Some(server) = server {
        let rules = &server.rules;
        for network in rules.client_networks() {
            if let Some(owner) = members.owner(network.value.gateway) {
                rows.entry(network.value.prefix).or_insert(owner);
            }
        }
        let client = hosts.iter().position(|host| host.origin != HostOrigin::Server);
        if let Some(client) = client.filter(|_| rules.point_to_point) {
            for route in &server.device.routes {
                rows.entry(route.prefix).or_insert(client);
            }
        }
        let of_clients = hosts.iter().filter(|host| host.origin == HostOrigin::Client);
        for route in of_clients.flat_map(|host| &host.device.routes) {
            if !rows.keys().any(|row| row.contains(&route.prefix)) {
                rows.insert(route.prefix, 0);
            }
        }
    }
    rows.into_iter().map(|(prefix, host)| (prefix, hosts[host].name.clone())).collect()
}

fn about_server(server: Option<&UdpServerSettings>, hosts: usize) -> Vec<String> {
    let Some(server) = server else {
        return vec!["the server is not among these: the hub knows neither its address nor its networks; name its file too".to_owned()];
    };
    let mut notes = vec![
        "the server's machine runs hub.yaml and its own host file: a hub has no device, its machine is a host like the others".to_owned(),
        "a packet passes if its source belongs to the host that sends it, also if that is the server's; add rows for what the server's machine forwards from elsewhere".to_owned(),
    ];
    if hosts == 1 {
        notes.push("no client is known: name the files of clients too, or add a row, a user and a file for each".to_owned());
    }
    if !server.rules.allowed.is_empty() {
        notes.push("`allow` is gone: a host has the addresses of its rows".to_owned());
    }
    if !server.rules.admissions.is_empty() {
        notes.push("add the server's `admission` to the hub".to_owned());
    }
    if server.rules.point_to_point && hosts > 2 {
        notes.push(
            "`p2p` has one client at a time: the first that is named here has the server's routes"
                .to_owned(),
        );
    }
    notes
}

/// What is not taken over of a service, or that it stays.
fn about_service(service: &Service) -> Option<String> {
    let Service { name, kind, hooks, loggers, observers, .. } = service;
    match kind {
        ServiceKind::UdpServer(_) | ServiceKind::UdpClient(_) => {
            let is_plain = *hooks == Default::default()
                && loggers.is_empty()
                && observers.iter().next().is_none();
            let what = "its hooks, loggers and observers";
            (!is_plain).then(|| format!("{name}: add {what} to the host's file"))
        }
        ServiceKind::TapServer(_) | ServiceKind::TapClient(_) => {
            Some(format!("{name} stays as it is: a routing tunnel carries no Ethernet frames"))
        }
        ServiceKind::Relay(_) => {
            Some(format!("{name}: no relay is needed, the hub is encrypted itself"))
        }
        ServiceKind::Hub(_) | ServiceKind::Host(_) => Some(format!("{name} stays as it is")),
    }
}

fn about_devices(hosts: &[ConvertedHost]) -> Option<String> {
    let named = hosts.iter().filter(|host| host.device.name.is_some());
    let names: Vec<_> = named.map(|host| &*host.name).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{}: the device has the same name as before: end the UDP tunnel first",
            names.join(", ")
        )
    })
}

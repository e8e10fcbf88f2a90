//! The machines of a UDP tunnel as hosts: their names, devices and passwords, as far as configurations say.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use rtun_settings::{
    DeviceSettings, Service, UdpClientSettings, UdpServerRules, UdpServerSettings,
};
use uuid::Uuid;

use crate::generate::host_name;

/// A machine of the tunnel.
#[derive(Debug)]
pub(super) struct ConvertedHost {
    /// Can be the name of a file.
    pub(super) name: String,
    /// Its routes have no gateways.
    pub(super) device: DeviceSettings,
    pub(super) password: String,
    /// How it names the machine that is to be the hub; the server itself has it on its own.
    pub(super) hub: Option<String>,
    pub(super) origin: HostOrigin,
}

/// What a host was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostOrigin {
    Server,
    Client,
    /// A client that only the server's configuration speaks of.
    OnlyKnownToServer,
}

/// Two machines that cannot be in one network.
#[derive(Debug, thiserror::Error)]
#[error("{first} and {second} both have the address {address}: in a network each has its own")]
pub(super) struct SharedAddress {
    address: IpAddr,
    first: String,
    second: String,
}

/// The hosts so far, and what there is to say about them.
#[derive(Default)]
pub(super) struct Members {
    pub(super) hosts: Vec<ConvertedHost>,
    pub(super) notes: Vec<String>,
    names: BTreeSet<String>,
    by_address: BTreeMap<IpAddr, usize>,
    generated: Vec<String>,
    taken_over: Vec<String>,
    only_known_to_server: Vec<String>,
}

impl Members {
    /// The host that has this address.
    pub(super) fn owner(&self, address: IpAddr) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    /// The machine of the server.
    pub(super) fn server(
        &mut self,
        service: &Service,
        server: &UdpServerSettings,
    ) -> Result<(), SharedAddress> {
        let name = own_name(service).unwrap_or_else(|| "server".to_owned());
        self.add(name, &server.device, None, None, HostOrigin::Server)
    }

    /// The machine of a client.
    pub(super) fn client(
        &mut self,
        service: &Service,
        client: &UdpClientSettings,
        rules: Option<&UdpServerRules>,
    ) -> Result<(), SharedAddress> {
        let device = &client.device;
        let by_address = || name_of(device.addresses[0].addr());
        let name = own_name(service).filter(|name| !self.names.contains(&name.to_lowercase()));
        let name = name.unwrap_or_else(by_address);
        let own = String::from_utf8_lossy(client.passphrase.as_bytes()).into_owned();
        let known = rules.and_then(|rules| {
            device.addresses.iter().find_map(|net| passphrase(rules, net.addr()))
        });
        if let Some(known) = &known
            && *known != own
        {
            self.notes.push(format!("{name}: its passphrase is not the one that the server has, which became its password"));
        }
        let password = known.or(Some(own)).filter(|password| !password.is_empty());
        let nodes = client.relay.iter().flat_map(|relay| &relay.relays).map(|relay| &relay.addr);
        let hub = nodes.chain(&client.servers).find_map(|addr| reachable(addr));
        if let Some(relay) = &client.relay
            && !relay.proxies.is_empty()
        {
            let proxies: Vec<_> =
                relay.proxies.iter().flat_map(|hop| &hop.nodes).map(|node| &*node.addr).collect();
            self.notes.push(format!(
                "{name}: add the hops of its proxies ({}) before that of the hub",
                proxies.join(", ")
            ));
        }
        if client.sockets != Default::default() {
            self.notes.push(format!(
                "{name}: add `interface` or `so_mark` to its node, as the client has them"
            ));
        }
        self.add(name, device, password, hub, HostOrigin::Client)
    }

    /// Clients whose addresses only the server's users and networks name.
    pub(super) fn of_server(&mut self, server: &UdpServerSettings) -> Result<(), SharedAddress> {
        let rules = &server.rules;
        for auther in rules.authers.iter().flatten().filter(|auther| !auther.is_all_inline()) {
            self.notes.push(format!(
                "users that only the sources of the auther {} name are left out",
                auther.name
            ));
        }
        let users = rules.authers.iter().flatten().flat_map(|auther| auther.inline());
        let users = users.filter_map(|user| user.name.parse::<IpAddr>().ok());
        let gateways = rules.client_networks().map(|network| network.value.gateway);
        let all: BTreeSet<IpAddr> = users.chain(gateways).collect();
        let rest: Vec<_> =
            all.into_iter().filter(|address| !self.by_address.contains_key(address)).collect();
        let mut by_passphrase: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for address in &rest {
            let passphrase = passphrase(rules, *address).unwrap_or_default();
            by_passphrase.entry(passphrase).or_default().push(*address);
        }
        for address in rest {
            if self.by_address.contains_key(&address) {
                continue;
            }
            let password = passphrase(rules, address).filter(|password| !password.is_empty());
            let mut addresses = vec![address];
            let alike = password.as_ref().and_then(|password| by_passphrase.get(password));
            // One passphrase for an address of each family is one machine.
            if let Some([first, second]) = alike.map(Vec::as_slice)
                && first.is_ipv4() != second.is_ipv4()
            {
                addresses = vec![*first, *second];
            }
            let addresses = addresses.into_iter().map(|address| with_prefix(address, server));
            let device = DeviceSettings {
                name: None,
                addresses: addresses.collect(),
                routes: Vec::new(),
                dns: Vec::new(),
                netns: None,
                ..server.device.clone()
            };
            let name = name_of(address);
            self.only_known_to_server.push(name.clone());
            self.add(name, &device, password, None, HostOrigin::OnlyKnownToServer)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        name: String,
        device: &DeviceSettings,
        password: Option<String>,
        hub: Option<String>,
        origin: HostOrigin,
    ) -> Result<(), SharedAddress> {
        for net in &device.addresses {
            let address = net.addr();
            if let Some(first) = self.by_address.insert(address, self.hosts.len()) {
                let first = self.hosts[first].name.clone();
                return Err(SharedAddress { address, first, second: name });
            }
        }
        self.names.insert(name.to_lowercase());
        let list = match (&password, origin) {
            (_, HostOrigin::Server) => None,
            (Some(_), _) => Some(&mut self.taken_over),
            (None, _) => Some(&mut self.generated),
        };
        list.into_iter().for_each(|list| list.push(name.clone()));
        let password = password.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
        self.hosts.push(ConvertedHost { name, device: device.clone(), password, hub, origin });
        Ok(())
    }

    /// What is to be said about all of them.
    pub(super) fn summary(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let mut note = |names: &[String], text: &str| {
            if !names.is_empty() {
                notes.push(format!("{}: {text}", names.join(", ")));
            }
        };
        note(
            &self.taken_over,
            "their passphrases became passwords; where those have crossed a network without a relay that encrypts, others may know them: choose new ones",
        );
        note(&self.generated, "they had no passphrase: their passwords are generated");
        note(
            &self.only_known_to_server,
            "only the server's configuration names them: add the routes that they have, or convert their configurations too",
        );
        notes
    }
}

/// The name that somebody has given to a service, if a host and a file can have it.
fn own_name(service: &Service) -> Option<String> {
    let counted = service.name.strip_prefix("service-");
    let is_given = counted.is_none_or(|rest| !rest.bytes().all(|byte| byte.is_ascii_digit()));
    host_name(&service.name).ok().filter(|_| is_given)
}

/// A name for the machine with this address.
fn name_of(address: IpAddr) -> String {
    let text: String = address.to_string();
    format!("host-{}", text.replace(['.', ':'], "-").trim_end_matches('-'))
}

/// What a client with this address is admitted by; empty: by anything.
fn passphrase(rules: &UdpServerRules, address: IpAddr) -> Option<String> {
    let mut users = rules.authers.iter().flatten().flat_map(|auther| auther.inline());
    let user = users.find(|user| user.name.parse() == Ok(address))?;
    Some(user.password.expose().to_owned())
}

/// The address with the length of the server's network that it is in.
fn with_prefix(address: IpAddr, server: &UdpServerSettings) -> IpNet {
    let network = server.device.addresses.iter().find(|net| net.contains(&address));
    let network = network.and_then(|net| IpNet::new(address, net.prefix_len()).ok());
    network.unwrap_or_else(|| IpNet::from(address))
}

/// The host of `addr`, if other machines can reach it by that.
fn reachable(addr: &str) -> Option<String> {
    let (host, _) = host_and_port(addr)?;
    let is_loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    (!host.is_empty() && !is_loopback && host != "localhost").then(|| host.to_owned())
}

/// `HOST:PORT` apart, the host without brackets.
pub(super) fn host_and_port(addr: &str) -> Option<(&str, &str)> {
    let (host, port) = addr.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    Some((bare.unwrap_or(host), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_makes_a_name() {
        for (address, name) in [
            ("192.168.123.2", "host-192-168-123-2"),
            ("fd99::2", "host-fd99--2"),
            ("fd99::", "host-fd99"),
        ] {
            assert_eq!(name_of(address.parse().unwrap()), name);
            assert_eq!(host_name(name).as_deref(), Ok(name));
        }
    }

    #[test]
    fn only_what_others_can_reach_is_a_hub() {
        assert_eq!(reachable("192.0.2.1:8421").as_deref(), Some("192.0.2.1"));
        assert_eq!(reachable("[2001:db8::1]:8421").as_deref(), Some("2001:db8::1"));
        for addr in [":8421", "127.0.0.1:8421", "[::1]:8421", "localhost:8421", "8421"] {
            assert_eq!(reachable(addr), None, "{addr}");
        }
    }
}

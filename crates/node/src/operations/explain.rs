//! What happens to a packet or frame, and why: asked of everything in a process that decides about some.

use std::{net::IpAddr, str::FromStr};

use rtun_core::{
    HostName, NamespaceIdError,
    explain::{
        AddressKind, HubExplanation, Question, SwitchExplanation, TunnelExplanation,
        TunnelQuestion, TunnelSenderError, Unclear, choose_services,
    },
    udp_tunnel::MacAddress,
};
use serde::{Deserialize, Serialize};

use crate::{
    hub::HubServiceView,
    udp_tunnel::{TapServerState, UdpServerState},
};

/// A question about a packet, or about a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inquiry {
    /// Its source address.
    pub source: AskedAddress,
    /// Its destination address, of the same kind.
    pub destination: AskedAddress,
    /// Who sends it: a host by its name, a client by an address of it or by where it sends from, or `device`. `None`: the one
    /// that its source address leads to.
    pub from: Option<String>,
    /// The namespace's UUID; `None`: the only one there is.
    pub namespace: Option<String>,
    /// The service name of the hub or server; `None`: every one.
    pub service: Option<String>,
    /// Its TTL or hop limit when it arrives at the hub.
    pub ttl: u8,
    /// The VLAN of a frame; 0: it has no tag.
    #[serde(default)]
    pub vlan: u16,
}

/// An address of a packet or of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AskedAddress {
    /// Of a packet.
    Ip(IpAddr),
    /// Of a frame.
    Hardware(MacAddress),
}

/// A text is no [`AskedAddress`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an address is an IP address, or a hardware address as 02:00:5e:10:00:01")]
pub struct AskedAddressError;

impl FromStr for AskedAddress {
    type Err = AskedAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ip = text.parse().map(Self::Ip);
        ip.or_else(|_| text.parse().map(Self::Hardware)).map_err(|_| AskedAddressError)
    }
}

impl TryFrom<String> for AskedAddress {
    type Error = AskedAddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AskedAddress> for String {
    fn from(address: AskedAddress) -> Self {
        match address {
            AskedAddress::Ip(ip) => ip.to_string(),
            AskedAddress::Hardware(mac) => mac.to_string(),
        }
    }
}

/// The two ends of a packet or frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedEnds {
    /// Source and destination of a packet, of one IP version.
    Packet(IpAddr, IpAddr),
    /// Source and destination of a frame.
    Frame(MacAddress, MacAddress),
}

/// Two addresses are not the ends of one packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("source and destination must both be IPv4, or both IPv6, or both hardware addresses")]
pub struct AskedEndsError;

impl AskedEnds {
    /// From one to the other.
    ///
    /// # Errors
    ///
    /// They are of two kinds.
    pub fn of(source: AskedAddress, destination: AskedAddress) -> Result<Self, AskedEndsError> {
        match (source, destination) {
            (AskedAddress::Ip(source), AskedAddress::Ip(destination))
                if source.is_ipv4() == destination.is_ipv4() =>
            {
                Ok(Self::Packet(source, destination))
            }
            (AskedAddress::Hardware(source), AskedAddress::Hardware(destination)) => {
                Ok(Self::Frame(source, destination))
            }
            _ => Err(AskedEndsError),
        }
    }

    /// What a hub or server goes by that is asked.
    pub fn kind(self) -> AddressKind {
        match self {
            Self::Packet(..) => AddressKind::Ip,
            Self::Frame(..) => AddressKind::Hardware,
        }
    }
}

/// What happens to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Explained {
    /// At each hub or server.
    Found(Explanations),
    /// It was not clear which hub, server or namespace was meant.
    Unclear(Unclear),
}

/// Of each hub and server that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Explanations {
    /// One for each hub.
    pub hubs: Vec<HubExplanation>,
    /// One for each server of a UDP tunnel.
    pub tunnels: Vec<TunnelExplanation>,
    /// One for each server of an Ethernet tunnel.
    pub switches: Vec<SwitchExplanation>,
}

impl Explanations {
    /// Whether nobody was asked.
    pub fn is_empty(&self) -> bool {
        self.hubs.is_empty() && self.tunnels.is_empty() && self.switches.is_empty()
    }

    /// Adds those of another process.
    pub fn append(&mut self, mut more: Self) {
        self.hubs.append(&mut more.hubs);
        self.tunnels.append(&mut more.tunnels);
        self.switches.append(&mut more.switches);
    }

    fn is_delivered(&self) -> bool {
        self.hubs.iter().all(|hub| hub.explanation.conclusion.is_delivered())
            && self.tunnels.iter().all(|tunnel| tunnel.conclusion.is_delivered())
            && self.switches.iter().all(|switch| switch.conclusion.is_delivered())
    }
}

/// All that is said, as `rtun explain --json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainReport {
    /// The exit status: 0 if each hub and server delivers the packet, else 1.
    pub status: u8,
    /// Whether running ones say so, and not a configuration.
    live: bool,
    #[serde(flatten)]
    found: Explanations,
}

impl ExplainReport {
    /// Of what these say.
    pub fn new(live: bool, found: Explanations) -> Self {
        Self { status: u8::from(!found.is_delivered()), live, found }
    }
}

/// What can be asked.
pub(crate) enum Explainer<'a> {
    Hub(&'a HubServiceView),
    Tunnel(&'a UdpServerState),
    Switch(&'a TapServerState),
}

impl Explainer<'_> {
    fn kind(&self) -> AddressKind {
        match self {
            Self::Hub(_) | Self::Tunnel(_) => AddressKind::Ip,
            Self::Switch(_) => AddressKind::Hardware,
        }
    }
}

impl Inquiry {
    /// Asks those of these services that it is for; the error says what is wrong with it.
    pub(crate) fn ask(&self, services: &[(&str, Explainer<'_>)]) -> Result<Explained, String> {
        let ends = AskedEnds::of(self.source, self.destination);
        let ends = ends.map_err(|error| error.to_string())?;
        let service = self.service.as_deref();
        let chosen = choose_services(services, |it| it.0, |it| it.1.kind(), ends.kind(), service);
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(unclear) => return Ok(Explained::Unclear(unclear)),
        };
        match ends {
            AskedEnds::Packet(source, destination) => {
                self.ask_of_packet(source, destination, &chosen)
            }
            AskedEnds::Frame(source, destination) => {
                let asked = chosen.iter().filter_map(|(_, explainer)| match explainer {
                    Explainer::Switch(it) => Some(it.explain(self.vlan, source, destination)),
                    Explainer::Hub(_) | Explainer::Tunnel(_) => None,
                });
                let switches = asked.collect();
                Ok(Explained::Found(Explanations { switches, ..Explanations::default() }))
            }
        }
    }

    fn ask_of_packet(
        &self,
        source: IpAddr,
        destination: IpAddr,
        services: &[&(&str, Explainer<'_>)],
    ) -> Result<Explained, String> {
        let namespace = self.namespace.as_ref().map(|id| id.parse()).transpose();
        let namespace = namespace.map_err(|error: NamespaceIdError| error.to_string())?;
        let hubs = || services.iter().filter(|(_, it)| matches!(it, Explainer::Hub(_)));
        let has_hubs = hubs().next().is_some();
        let mut found = Explanations::default();
        for (_, explainer) in services {
            match explainer {
                Explainer::Hub(hub) => {
                    let question = self.of_hub(source, destination)?;
                    match hub.explain(&question, namespace) {
                        Ok(explanation) => found.hubs.push(explanation),
                        Err(unclear) => return Ok(Explained::Unclear(unclear)),
                    }
                }
                // A namespace is a hub's.
                Explainer::Tunnel(_) if namespace.is_some() && has_hubs => {}
                Explainer::Tunnel(server) => match self.of_tunnel(source, destination) {
                    Ok(question) => found.tunnels.push(server.explain(&question)),
                    // A host of the hub's is meant.
                    Err(_) if has_hubs => {}
                    Err(error) => return Err(error.to_string()),
                },
                Explainer::Switch(_) => {}
            }
        }
        Ok(Explained::Found(found))
    }

    /// The question for a hub.
    fn of_hub(&self, source: IpAddr, destination: IpAddr) -> Result<Question, String> {
        let sender = self.from.as_ref().map(|name| HostName::new(name)).transpose();
        let sender = sender.map_err(|error| error.to_string())?;
        Ok(Question { sender, source, destination, hops: self.ttl })
    }

    /// The question for a server.
    fn of_tunnel(
        &self,
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<TunnelQuestion, TunnelSenderError> {
        let sender = self.from.as_ref().map(|from| from.parse()).transpose()?;
        Ok(TunnelQuestion { sender, source, destination })
    }
}

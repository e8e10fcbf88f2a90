//! Where a relay may lead: to servers of its own process, or to one target that is configured.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rtun_proto::{
    frame_content::FrameContent,
    relay::{Addr, AddrFeature, Status},
};

/// Where a relay leads; never anywhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayTargets {
    /// To this target, whatever is asked for.
    Fixed(SocketAddr),
    /// To the servers of the same process.
    Servers(Vec<RelayServer>),
}

/// A server that a relay of its process leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayServer {
    /// The address that it listens on; `None`: all of this machine.
    pub on: Option<IpAddr>,
    /// Its port; not 0.
    pub port: u16,
    /// What its clients send.
    pub content: FrameContent,
}

/// Why a relay refuses a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum RelayRefusal {
    /// It is not about datagrams to a server, or about those of an Ethernet tunnel where `bind` is off. Look at: what connects.
    #[error("the request is not for datagrams to a server")]
    NotServed,
    /// User and password are missing or wrong.
    #[error("user and password are missing or wrong")]
    Unauthorized,
    /// The target is no server of this process. Look at: the client's target.
    #[error("the target is no server of this relay")]
    Target,
    /// As many clients as may be are connected.
    #[error("too many clients are connected")]
    Limit,
    /// The system gives no socket to the target.
    #[error("there is no socket to the server")]
    Unreachable,
}

impl RelayTargets {
    /// Where datagrams of this kind for this target go; `None`: nowhere. An empty host, `localhost`, a loopback address and an
    /// unspecified one are this machine.
    pub fn find(&self, target: &AddrFeature, content: FrameContent) -> Option<SocketAddr> {
        let servers = match self {
            Self::Fixed(target) => return Some(*target),
            Self::Servers(servers) => servers,
        };
        let asked = match &target.addr {
            Addr::Ip(ip) => Some(ip.to_canonical()),
            Addr::Name(name) if name.is_empty() || name == "localhost" => None,
            Addr::Name(name) => Some(name.parse::<IpAddr>().ok()?.to_canonical()),
        };
        let serves = |server: &&RelayServer| {
            let is_local = asked.is_none_or(|ip| ip.is_loopback() || ip.is_unspecified());
            server.port == target.port
                && server.content == content
                && match server.on {
                    None => is_local,
                    Some(on) => {
                        asked == Some(on) || is_local && (on.is_loopback() || asked.is_none())
                    }
                }
        };
        servers.iter().find(serves).map(RelayServer::address)
    }

    /// Whether datagrams of this kind go anywhere.
    pub fn take(&self, content: FrameContent) -> bool {
        match self {
            Self::Fixed(_) => true,
            Self::Servers(servers) => servers.iter().any(|server| server.content == content),
        }
    }

    /// Where all datagrams of this kind go, if there is only one place.
    pub fn only(&self, content: FrameContent) -> Option<SocketAddr> {
        let servers = match self {
            Self::Fixed(target) => return Some(*target),
            Self::Servers(servers) => servers,
        };
        let mut servers = servers.iter().filter(|server| server.content == content);
        servers.next().filter(|_| servers.next().is_none()).map(RelayServer::address)
    }
}

impl RelayServer {
    /// Where it is reached on its own machine.
    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.on.unwrap_or(Ipv4Addr::LOCALHOST.into()), self.port)
    }
}

impl RelayRefusal {
    /// What the client gets (docs/wire-udp-tunnel.md).
    pub const fn status(self) -> Status {
        match self {
            Self::NotServed | Self::Target => Status::Forbidden,
            Self::Unauthorized => Status::Unauthorized,
            Self::Limit => Status::ServiceUnavailable,
            Self::Unreachable => Status::HostUnreachable,
        }
    }

    /// The fixed word used in logs, metrics and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotServed => "not_served",
            Self::Unauthorized => "auth_failed",
            Self::Target => "target_refused",
            Self::Limit => "limit_total",
            Self::Unreachable => "target_unreachable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(servers: &[(&str, u16)], target: &str) -> Option<String> {
        let targets = servers_of(servers);
        let target = AddrFeature::from_text(target);
        targets.find(&target, FrameContent::Packets).map(|found| found.to_string())
    }

    fn servers_of(servers: &[(&str, u16)]) -> RelayTargets {
        let content = FrameContent::Packets;
        let server =
            |(on, port): &(&str, u16)| RelayServer { on: on.parse().ok(), port: *port, content };
        RelayTargets::Servers(servers.iter().map(server).collect())
    }

    #[test]
    fn a_relay_leads_to_servers_of_its_process_and_nowhere_else() {
        let all = [("", 8421), ("192.0.2.1", 8422), ("127.0.0.1", 8423), ("::1", 8424)];
        for (target, found) in [
            (":8421", Some("127.0.0.1:8421")),
            ("localhost:8421", Some("127.0.0.1:8421")),
            ("127.0.0.1:8421", Some("127.0.0.1:8421")),
            ("[::1]:8421", Some("127.0.0.1:8421")),
            ("192.0.2.9:8421", None),
            ("example.org:8421", None),
            (":8420", None),
            (":0", None),
            ("192.0.2.1:8422", Some("192.0.2.1:8422")),
            (":8422", Some("192.0.2.1:8422")),
            ("127.0.0.1:8422", None),
            ("127.0.0.1:8423", Some("127.0.0.1:8423")),
            (":8424", Some("[::1]:8424")),
            ("10.0.0.1:22", None),
        ] {
            assert_eq!(find(&all, target).as_deref(), found, "{target}");
        }
        assert_eq!(find(&[], ":8421"), None);
        let target = AddrFeature::from_text(":8421");
        assert_eq!(servers_of(&all).find(&target, FrameContent::Ethernet), None);
    }

    #[test]
    fn the_only_server_of_a_kind_needs_not_be_asked_for() {
        let one: SocketAddr = ([127, 0, 0, 1], 8421).into();
        assert_eq!(servers_of(&[("", 8421)]).only(FrameContent::Packets), Some(one));
        assert_eq!(servers_of(&[("", 8421)]).only(FrameContent::Ethernet), None);
        assert_eq!(servers_of(&[("", 8421), ("", 8422)]).only(FrameContent::Packets), None);
    }

    #[test]
    fn a_fixed_target_is_the_answer_to_everything() {
        let fixed: SocketAddr = ([127, 0, 0, 1], 8421).into();
        let targets = RelayTargets::Fixed(fixed);
        let elsewhere = AddrFeature::from_text("10.0.0.1:22");
        for content in [FrameContent::Packets, FrameContent::Ethernet] {
            assert_eq!(targets.find(&elsewhere, content), Some(fixed));
            assert_eq!(targets.only(content), Some(fixed));
        }
    }
}

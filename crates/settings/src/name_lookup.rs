//! How the names of hubs and proxies are looked up.

use std::time::Duration;

pub use rtun_core::{HostsLine, HostsTable};

use super::{Named, SocketOptions, SourceSettings};

/// A name of hubs or proxies, and how it is looked up: by a table first, then by name servers.
#[derive(Debug, Clone, PartialEq)]
pub struct LookedUpName {
    /// The host of their addresses.
    pub name: String,
    /// What is known without asking (`hosts`).
    pub hosts: Option<Named<HostsLine>>,
    /// Who is asked (`resolver`); `None`: the system.
    pub resolver: Option<ResolverSettings>,
    /// How name servers are reached.
    pub sockets: SocketOptions,
}

impl LookedUpName {
    /// What the table is read from.
    pub fn sources(&self) -> impl Iterator<Item = &SourceSettings> {
        self.hosts.iter().flat_map(Named::sources)
    }
}

/// A resolver under its name.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolverSettings {
    /// As written.
    pub name: String,
    /// In the order in which they are asked, until one knows an address; at least one.
    pub servers: Vec<NameServer>,
}

/// A name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServer {
    /// `host:port`. A host that is a name is looked up by the system.
    pub addr: String,
    /// How it is asked.
    pub protocol: DnsProtocol,
    /// Which addresses it is asked for (`prefer`, `only`).
    pub families: AddressFamilies,
    /// For one question; 5 s unless configured.
    pub timeout: Duration,
    /// How long an answer counts (`ttl`); `None`: as long as it says itself. Zero: it is asked each time.
    pub lifetime: Option<Duration>,
}

/// How a name server is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsProtocol {
    /// By datagrams, and by TCP where an answer is too long for one.
    Udp,
    /// By TCP.
    Tcp,
    /// By TLS (RFC 7858).
    Tls(DnsTls),
    /// By HTTP/2 with TLS (RFC 8484).
    Https {
        /// Of the URL.
        path: String,
        /// Its encryption.
        tls: DnsTls,
    },
}

/// The encryption of questions to a name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsTls {
    /// The name in the server's certificate.
    pub name: String,
    /// Whether the certificate is verified, by the system's authorities: only where a name is configured (`hostname`).
    pub verify: bool,
}

/// Which addresses of a name are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressFamilies {
    /// IPv4, and IPv6 if there is none.
    #[default]
    Ipv4First,
    /// IPv6, and IPv4 if there is none.
    Ipv6First,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

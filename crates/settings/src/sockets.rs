//! How sockets are opened: in which network namespace, bound to what, with which options.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

/// How the socket of a connection is opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SocketOptions {
    /// What it is bound to, one after the other until one works (`interface`); empty: nothing.
    pub interfaces: Vec<Interface>,
    /// For the system's routing rules: `SO_MARK` (`so_mark`).
    pub so_mark: Option<u32>,
    /// Where it is opened, if not where rtun runs (`netns`).
    pub netns: Option<NetworkNamespace>,
    /// Whether it is Multipath TCP, RFC 8684 (`mptcp` of the dialer), where the kernel has that.
    pub mptcp: bool,
}

/// How a listening socket is opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListenOptions {
    /// For the system's routing rules: `SO_MARK` (`so_mark`). Accepted sockets take it over.
    pub so_mark: Option<u32>,
    /// Where it is opened, if not where rtun runs (`netns`).
    pub netns: Option<NetworkNamespace>,
    /// Whether other processes of the same user may listen on the same address: `SO_REUSEPORT` (`reuseport`).
    pub reuse_port: bool,
    /// Whether it accepts Multipath TCP, RFC 8684, besides TCP (`mptcp`), where the kernel has that.
    pub mptcp: bool,
}

/// What a socket is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// A device of the system, or one of its addresses.
    pub bind: Bind,
    /// Whether the interfaces after this one are left out when it does not work (`eth0!`).
    pub strict: bool,
}

/// A device of the system, or one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// By its name, of at most 15 bytes (`SO_BINDTODEVICE`).
    Device(String),
    /// Of this machine.
    Address(IpAddr),
}

/// A network namespace of the system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NetworkNamespace {
    /// As `ip netns` has it, in `/run/netns`.
    Named(String),
    /// A file.
    Path(PathBuf),
}

impl NetworkNamespace {
    /// Its file.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Named(name) => Path::new("/run/netns").join(name),
            Self::Path(path) => path.clone(),
        }
    }
}

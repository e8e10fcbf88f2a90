//! How the sockets of connections are opened: in which network namespace, bound to what, marked how.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use socket2::{Domain, Protocol, Socket, Type};

use rtun_system::netns;

/// How the socket of a connection that is to be made is opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SocketOptions {
    /// What it is bound to; each is tried until one works. Empty: nothing.
    pub interfaces: Vec<Interface>,
    /// For the system's routing rules (`SO_MARK`).
    pub mark: Option<u32>,
    /// Where it is opened: the file of a network namespace.
    pub netns: Option<PathBuf>,
    /// TCP: the most bytes of a segment, in both directions (`TCP_MAXSEG`); `None`: what the system thinks that the way
    /// takes.
    pub segment_max: Option<u16>,
}

/// What a socket is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Which.
    pub bind: Bind,
    /// Whether those behind it are not tried when it does not work.
    pub strict: bool,
}

/// A device of the system, or one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// By its name (`SO_BINDTODEVICE`).
    Device(String),
    /// Of this machine.
    Address(IpAddr),
}

impl SocketOptions {
    /// What a socket towards `remote` is to be bound to, in the order to be tried: at least one, `None` being nothing.
    /// Addresses of the other family are left out.
    pub(crate) fn bindings(&self, remote: SocketAddr) -> Vec<Option<&Interface>> {
        if self.interfaces.is_empty() {
            return vec![None];
        }
        let fits = |interface: &&Interface| match interface.bind {
            Bind::Device(_) => true,
            Bind::Address(addr) => addr.is_ipv4() == remote.is_ipv4(),
        };
        self.interfaces.iter().filter(fits).map(Some).collect()
    }

    /// A non-blocking socket towards `remote`, bound to `interface` and not connected yet.
    pub(crate) fn open(
        &self,
        remote: SocketAddr,
        kind: Type,
        protocol: Protocol,
        interface: Option<&Interface>,
    ) -> io::Result<Socket> {
        let open = || Socket::new(Domain::for_address(remote), kind, Some(protocol));
        let socket = netns::within(self.netns.as_deref(), open).map_err(io::Error::other)??;
        socket.set_nonblocking(true)?;
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        if let Some(bytes) = self.segment_max.filter(|_| kind == Type::STREAM) {
            socket.set_tcp_mss(bytes.into())?;
        }
        match interface.map(|interface| &interface.bind) {
            None => {}
            Some(Bind::Device(name)) => socket
                .bind_device(Some(name.as_bytes()))
                .map_err(|error| naming(&format!("interface {name}"), error))?,
            Some(Bind::Address(addr)) => {
                let mut own = SocketAddr::new(*addr, 0);
                if let (SocketAddr::V6(own), SocketAddr::V6(remote)) = (&mut own, remote)
                    && own.ip().is_unicast_link_local()
                {
                    own.set_scope_id(remote.scope_id());
                }
                socket
                    .bind(&own.into())
                    .map_err(|error| naming(&format!("interface {addr}"), error))?;
            }
        }
        Ok(socket)
    }
}

/// The error with what it is about, of the same kind.
fn naming(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Whether this process may mark sockets in the network namespace at `netns`, or here: it needs CAP_NET_ADMIN, or
/// CAP_NET_RAW since Linux 5.17.
pub fn may_mark(netns: Option<&Path>) -> bool {
    let socket = netns::within(netns, || Socket::new(Domain::IPV4, Type::DGRAM, None));
    socket.is_ok_and(|socket| socket.is_ok_and(|socket| socket.set_mark(1).is_ok()))
}

/// How a listening socket is opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListenOptions {
    /// For the system's routing rules (`SO_MARK`); accepted sockets take it over.
    pub mark: Option<u32>,
    /// Where it is opened: the file of a network namespace.
    pub netns: Option<PathBuf>,
    /// Whether other processes of the same user may listen on the same address (`SO_REUSEPORT`).
    pub reuse_port: bool,
}

impl ListenOptions {
    /// A non-blocking socket that is not bound yet, of `address`'s family: of both, where that is `[::]`.
    pub(crate) fn open(
        &self,
        address: SocketAddr,
        kind: Type,
        protocol: Protocol,
    ) -> io::Result<Socket> {
        let open = || Socket::new(Domain::for_address(address), kind, Some(protocol));
        let socket = netns::within(self.netns.as_deref(), open).map_err(io::Error::other)??;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            // One socket for both families on the unspecified address, whatever net.ipv6.bindv6only.
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        socket.set_reuse_port(self.reuse_port)?;
        Ok(socket)
    }
}

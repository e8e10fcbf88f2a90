//! How the sockets of connections are opened: in which network namespace, bound to what, marked how.

use std::{io, net::SocketAddr, path::Path};

use rtun_settings::{Bind, Interface, ListenOptions, NetworkNamespace, SocketOptions};
use rtun_system::netns;
use socket2::{Domain, Protocol, Socket, Type};

/// What a socket towards `remote` is to be bound to, in the order to be tried: at least one, `None` being nothing. Addresses of the
/// other family are left out.
pub(crate) fn bindings(options: &SocketOptions, remote: SocketAddr) -> Vec<Option<&Interface>> {
    if options.interfaces.is_empty() {
        return vec![None];
    }
    let fits = |interface: &&Interface| match interface.bind {
        Bind::Device(_) => true,
        Bind::Address(addr) => addr.is_ipv4() == remote.is_ipv4(),
    };
    options.interfaces.iter().filter(fits).map(Some).collect()
}

/// A non-blocking socket towards `remote`, bound to `interface` and not connected yet.
pub(crate) fn open_towards(
    remote: SocketAddr,
    kind: Type,
    protocol: Protocol,
    options: &SocketOptions,
    interface: Option<&Interface>,
) -> io::Result<Socket> {
    let socket = open_in(options.netns.as_ref(), remote, kind, protocol)?;
    if let Some(so_mark) = options.so_mark {
        socket.set_mark(so_mark)?;
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

/// A non-blocking socket that is not bound yet, of `address`'s family: of both, where that is `[::]`.
pub(crate) fn open_listening(
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
    options: &ListenOptions,
) -> io::Result<Socket> {
    let socket = open_in(options.netns.as_ref(), address, kind, protocol)?;
    if address.is_ipv6() {
        // One socket for both families on the unspecified address, whatever net.ipv6.bindv6only.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    if let Some(so_mark) = options.so_mark {
        socket.set_mark(so_mark)?;
    }
    socket.set_reuse_port(options.reuse_port)?;
    Ok(socket)
}

/// What `open` opens: for Multipath TCP (RFC 8684) if that is `wanted` and the kernel has it, otherwise for TCP.
pub(crate) fn multipath_or_tcp(
    wanted: bool,
    open: impl Fn(Protocol) -> io::Result<Socket>,
) -> io::Result<Socket> {
    if wanted && let Ok(socket) = open(Protocol::MPTCP) {
        return Ok(socket);
    }
    open(Protocol::TCP)
}

/// Whether the kernel has Multipath TCP and lets this process use it in the network namespace at `netns`, or here.
pub fn has_multipath(netns: Option<&Path>) -> bool {
    let open = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
    netns::within(netns, open).is_ok_and(|socket| socket.is_ok())
}

fn open_in(
    netns: Option<&NetworkNamespace>,
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
) -> io::Result<Socket> {
    let open = || Socket::new(Domain::for_address(address), kind, Some(protocol));
    let netns = netns.map(NetworkNamespace::path);
    let socket = netns::within(netns.as_deref(), open).map_err(io::Error::other)??;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The error with what it is about, of the same kind.
fn naming(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Whether this process may set `SO_MARK` in the network namespace at `netns`, or here: it needs CAP_NET_ADMIN, or
/// CAP_NET_RAW since Linux 5.17.
pub fn may_set_so_mark(netns: Option<&Path>) -> bool {
    let socket = netns::within(netns, || Socket::new(Domain::IPV4, Type::DGRAM, None));
    socket.is_ok_and(|socket| socket.is_ok_and(|socket| socket.set_mark(1).is_ok()))
}

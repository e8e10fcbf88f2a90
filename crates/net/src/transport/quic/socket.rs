//! The UDP sockets under QUIC.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use socket2::{Domain, Protocol, Socket, Type};

/// Bytes, counted as the kernel does, that may wait to be read from a socket, where the system allows as many. All connections
/// of a listener share one socket, and its usual 208 KiB hold fewer than a hundred packets: a burst of hosts is more.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

/// A socket bound to `local`; on the unspecified IPv6 address one for both families.
pub(super) fn bind(local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        // Whatever net.ipv6.bindv6only.
        socket.set_only_v6(!local.ip().is_unspecified())?;
    }
    // Beyond the system's limit if rtun may, else up to it; without harm if not even that.
    if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
    socket.set_nonblocking(true)?;
    socket.bind(&local.into())?;
    Ok(socket.into())
}

/// A socket to reach `remote` from whatever address the routes choose, now and after a change.
pub(super) fn bind_towards(remote: SocketAddr) -> io::Result<UdpSocket> {
    bind(match remote {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    })
}

/// `address` as its own family writes it: a socket for both sees IPv4 as part of IPv6.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

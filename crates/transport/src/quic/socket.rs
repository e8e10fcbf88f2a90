//! The UDP sockets under QUIC.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use rtun_settings::{Bind, Interface, ListenOptions, SocketOptions};
use socket2::{Protocol, Socket, Type};

use crate::socket::{open_listening, open_towards};

/// Bytes, counted as the kernel does, that may wait to be read from a socket, where the system allows as many. All connections
/// of a listener share one socket, and its usual 208 KiB hold fewer than a hundred packets: a burst of hosts is more.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

/// A socket bound to `local`; on the unspecified IPv6 address one for both families.
pub(super) fn bind(local: SocketAddr, options: &ListenOptions) -> io::Result<UdpSocket> {
    let socket = open_listening(local, Type::DGRAM, Protocol::UDP, options)?;
    make_room(&socket);
    socket.bind(&local.into())?;
    Ok(socket.into())
}

/// A socket to reach `remote` from whatever address the routes choose, now and after a change, unless it is to be bound to
/// one.
pub(super) fn bind_towards(
    remote: SocketAddr,
    options: &SocketOptions,
    interface: Option<&Interface>,
) -> io::Result<UdpSocket> {
    let socket = open_towards(remote, Type::DGRAM, Protocol::UDP, options, interface)?;
    make_room(&socket);
    if !matches!(interface, Some(Interface { bind: Bind::Address(_), .. })) {
        let any = match remote {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        socket.bind(&any.into())?;
    }
    Ok(socket.into())
}

fn make_room(socket: &Socket) {
    // Beyond the system's limit if rtun may, else up to it; without harm if not even that.
    if setsockopt(socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
}

/// `address` as its own family writes it: a socket for both sees IPv4 as part of IPv6.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::from((v4, address.port())),
        IpAddr::V6(_) => address,
    }
}

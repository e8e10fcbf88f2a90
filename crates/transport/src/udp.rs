//! A UDP socket that takes and gives many datagrams in one system call (`UDP_SEGMENT`, `UDP_GRO`, `recvmmsg`).

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    ops::Range,
};

use nix::sys::socket::setsockopt;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use rtun_settings::{Bind, Interface, ListenOptions, SocketOptions};
use socket2::{Protocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

use crate::{
    socket::{bindings, open_listening, open_towards},
    tcp::{ListenError, bind_first},
};

/// Bytes that may wait in a socket in either direction, where the system allows as many; the kernel counts its own overhead against
/// twice this. When full, the kernel drops what arrives: a loaded tunnel keeps it full, so that it is also the delay that load adds.
const BUFFER: usize = 2 * 1024 * 1024;

/// The longest datagram, and the most bytes of one send, over IPv4.
pub const MAX_DATAGRAM: usize = 65_507;

/// What one system call receives for one place: as many bytes of one sender as the kernel joins.
const PLACE: usize = 65_536;

/// The most places of one receive.
const PLACES: usize = quinn_udp::BATCH_SIZE;

/// A UDP socket, bound or connected.
pub struct DatagramSocket {
    io: UdpSocket,
    state: UdpSocketState,
    is_v6: bool,
    is_connected: bool,
}

impl fmt::Debug for DatagramSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.io.fmt(f)
    }
}

impl DatagramSocket {
    /// A socket bound to `addr`, which is `host:port`: an empty host means every address, of both families where there are both.
    ///
    /// Must be called within a tokio runtime; a host name in `addr` is looked up and blocks for it.
    pub fn listen(addr: &str, options: &ListenOptions) -> Result<Self, ListenError> {
        bind_first(addr, options.netns.as_ref(), |local| Self::bind(local, options))
    }

    fn bind(local: SocketAddr, options: &ListenOptions) -> io::Result<Self> {
        let socket = open_listening(local, Type::DGRAM, Protocol::UDP, options)?;
        socket.bind(&local.into())?;
        Self::watch(socket, local.is_ipv6(), false)
    }

    /// A socket connected to `remote`, so that nothing of anybody else is received, from whatever address the routes choose unless
    /// it is to be bound to one. Bound to the port `port` if nobody else has it, not even a socket of the same process that is
    /// about to go. Must be called within a tokio runtime.
    pub fn connect(remote: SocketAddr, options: &SocketOptions, port: u16) -> io::Result<Self> {
        let mut last = None;
        for interface in bindings(options, remote) {
            match Self::connect_from(remote, options, interface, port) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = Some(error),
            }
            if interface.is_some_and(|interface| interface.strict) {
                break;
            }
        }
        Err(last.unwrap_or_else(|| {
            io::Error::new(io::ErrorKind::AddrNotAvailable, "no interface of that family")
        }))
    }

    fn connect_from(
        remote: SocketAddr,
        options: &SocketOptions,
        interface: Option<&Interface>,
        port: u16,
    ) -> io::Result<Self> {
        let socket = open_towards(remote, Type::DGRAM, Protocol::UDP, options, interface)?;
        if !matches!(interface, Some(Interface { bind: Bind::Address(_), .. })) {
            let any: IpAddr = match remote {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            if socket.bind(&SocketAddr::new(any, port).into()).is_err() {
                socket.bind(&SocketAddr::new(any, 0).into())?;
            }
        }
        socket.connect(&remote.into())?;
        Self::watch(socket, remote.is_ipv6(), true)
    }

    fn watch(socket: Socket, is_v6: bool, is_connected: bool) -> io::Result<Self> {
        make_room(&socket);
        let io = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&io).into())?;
        allow_fragments(&io, is_v6)?;
        Ok(Self { io, state, is_v6, is_connected })
    }

    /// Where it is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Waits until [`try_receive`](Self::try_receive) is worth calling.
    pub async fn readable(&self) -> io::Result<()> {
        self.io.ready(Interest::READABLE | Interest::ERROR).await.map(drop)
    }

    /// Waits until [`try_send`](Self::try_send) is worth calling.
    pub async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    /// Takes what has arrived, as much as `into` has places for.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`]: nothing has. Of a connected socket [`io::ErrorKind::ConnectionRefused`] and what else ICMP
    /// errors tell: hints, which anybody can forge; the socket goes on.
    pub fn try_receive(&self, into: &mut ReceivedDatagrams) -> io::Result<()> {
        into.filled = 0;
        let ReceivedDatagrams { buffer, meta, filled } = into;
        let mut places = buffer.chunks_exact_mut(PLACE).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; PLACES] =
            std::array::from_fn(|_| places.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        let mut receive = |interest| {
            self.io.try_io(interest, || self.state.recv((&self.io).into(), &mut slices, meta))
        };
        *filled = match receive(Interest::READABLE) {
            // One interest at a time: `try_io` takes a combined one for never ready.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => receive(Interest::ERROR)?,
            result => result?,
        };
        Ok(())
    }

    /// The most datagrams of one [`try_send`](Self::try_send); 1 where the system cannot cut them.
    pub fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Hands over `bytes`, which are datagrams of `segment` bytes each, the last one of at most as many: all or none. At most
    /// [`max_segments`](Self::max_segments) and [`MAX_DATAGRAM`] bytes. From `local`, if that is an address of this machine;
    /// a connected socket sends to where it is connected.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`]: the socket takes none now. Any other error is about these datagrams; the socket goes on.
    pub fn try_send(
        &self,
        to: SocketAddr,
        local: Option<IpAddr>,
        bytes: &[u8],
        segment: usize,
    ) -> io::Result<()> {
        let transmit = Transmit {
            destination: self.in_own_family(to),
            ecn: None,
            contents: bytes,
            segment_size: (bytes.len() > segment).then_some(segment),
            src_ip: local.filter(|_| !self.is_connected).map(|ip| match ip {
                IpAddr::V4(ip) if self.is_v6 => ip.to_ipv6_mapped().into(),
                ip => ip,
            }),
        };
        self.io.try_io(Interest::WRITABLE, || self.state.try_send((&self.io).into(), &transmit))
    }

    /// A socket for both families writes IPv4 as part of IPv6.
    fn in_own_family(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if self.is_v6 => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            to => to,
        }
    }
}

/// Datagrams that have been received. Keeps its memory: 2 MiB, of which pages that nothing has reached cost none.
pub struct ReceivedDatagrams {
    buffer: Box<[u8]>,
    meta: [RecvMeta; PLACES],
    filled: usize,
}

impl Default for ReceivedDatagrams {
    fn default() -> Self {
        Self {
            buffer: vec![0; PLACES * PLACE].into(),
            meta: [RecvMeta::default(); PLACES],
            filled: 0,
        }
    }
}

/// Datagrams of one sender that follow on each other in the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatagramRun {
    /// The sender; IPv4 where it is mapped.
    pub from: SocketAddr,
    /// The address of this machine that they came to, where the system names it.
    pub to: Option<IpAddr>,
    /// Where they stand in the buffer.
    pub at: Range<usize>,
    /// The length of each but the last, which may be shorter; not 0.
    pub segment: usize,
}

impl DatagramRun {
    /// Where each datagram stands in the buffer; one of no bytes is one.
    pub fn datagrams(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Range { start, end } = self.at;
        let segment = self.segment;
        let count = (end - start).div_ceil(segment).max(1);
        (0..count).map(move |n| start + n * segment..(start + (n + 1) * segment).min(end))
    }
}

impl ReceivedDatagrams {
    /// The buffer that the runs stand in.
    pub fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// The same, to change datagrams in place.
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    /// What was received last, in order.
    pub fn runs(&self) -> impl Iterator<Item = DatagramRun> + '_ {
        self.meta[..self.filled].iter().enumerate().map(|(place, meta)| {
            let start = place * PLACE;
            let ip = meta.addr.ip().to_canonical();
            DatagramRun {
                from: if ip.is_ipv4() { SocketAddr::new(ip, meta.addr.port()) } else { meta.addr },
                to: meta.dst_ip.map(|ip| ip.to_canonical()).filter(|ip| !ip.is_unspecified()),
                at: start..start + meta.len.min(PLACE),
                segment: meta.stride.max(1),
            }
        })
    }
}

/// Beyond the system's limits if rtun may, else up to them; without harm if not even that.
fn make_room(socket: &Socket) {
    use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};
    if setsockopt(socket, RcvBufForce, &BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(BUFFER);
    }
    if setsockopt(socket, SndBufForce, &BUFFER).is_err() {
        let _ = socket.set_send_buffer_size(BUFFER);
    }
}

/// How IPv4 finds out what a path takes (`IP_MTU_DISCOVER`).
#[derive(Debug, Clone, Copy)]
struct Ipv4Discovery;

/// How IPv6 finds out what a path takes (`IPV6_MTU_DISCOVER`).
#[derive(Debug, Clone, Copy)]
struct Ipv6Discovery;

nix::setsockopt_impl!(
    Ipv4Discovery,
    libc::IPPROTO_IP,
    libc::IP_MTU_DISCOVER,
    libc::c_int,
    nix::sys::socket::sockopt::SetStruct<'_, libc::c_int>
);
nix::setsockopt_impl!(
    Ipv6Discovery,
    libc::IPPROTO_IPV6,
    libc::IPV6_MTU_DISCOVER,
    libc::c_int,
    nix::sys::socket::sockopt::SetStruct<'_, libc::c_int>
);

/// A datagram that is longer than the path takes is cut into fragments, as of any other socket.
fn allow_fragments(socket: &UdpSocket, is_v6: bool) -> io::Result<()> {
    setsockopt(socket, Ipv4Discovery, &libc::IP_PMTUDISC_WANT)?;
    if is_v6 {
        setsockopt(socket, Ipv6Discovery, &libc::IPV6_PMTUDISC_WANT)?;
        setsockopt(socket, nix::sys::socket::sockopt::Ipv6DontFrag, &false)?;
    }
    Ok(())
}

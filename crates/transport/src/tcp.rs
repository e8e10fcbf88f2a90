//! TCP: connecting to one of several addresses, listening on both families, socket options.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::task::{Context, Poll};
use std::time::Duration;

use rtun_settings::{Interface, ListenOptions, NetworkNamespace, SocketOptions};
use socket2::{SockRef, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::Stream;
use super::names::{self, NameError, ResolvedAddr};
use super::race::{AddressRace, Tried};
use super::socket;

/// Connections that may wait to be accepted: Linux's own default of `net.core.somaxconn`, which
/// caps it. Past it the system leaves new ones without an answer, and their senders try again.
pub const BACKLOG: i32 = 4096;

/// Bytes a socket holds that are not sent yet, before it stops being writable. Small, so that
/// packets wait in rtun's own queue, where they can be dropped by age, instead of in the kernel's.
pub const NOTSENT_LOWAT: u32 = 16 * 1024;

/// Silence after which the other side is asked whether it is still there.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(2);

/// Time between two such questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// Unanswered questions after which the connection is dead.
pub const KEEPALIVE_PROBES: u32 = 3;

/// How long sent bytes may stay unacknowledged, or the other side's window closed, before the
/// connection is dead.
pub const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Every address refused or was unreachable.
    #[error("cannot connect to {addr}: {tried}")]
    Failed {
        /// What was to be reached.
        addr: String,
        /// Each address tried.
        tried: Tried<io::Error>,
    },
    /// Time was up before any address answered.
    #[error("cannot connect to {addr} within {} s: {tried}", .after.as_secs_f32())]
    TimedOut {
        /// What was to be reached.
        addr: String,
        /// How long it was tried.
        after: Duration,
        /// Each address tried.
        tried: Tried<io::Error>,
    },
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// It is not `host:port`, or the name has no address.
    #[error("cannot listen on {addr:?}: {source}; write it as host:port or :port")]
    BadAddress {
        /// The address as configured.
        addr: String,
        /// What is wrong.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot listen on {addr:?}: {source}")]
    Bind {
        /// The address as configured.
        addr: String,
        /// What the system answered.
        source: io::Error,
    },
}

/// Connects to one of the addresses of `to`, each tried a little later than the one before; the first
/// to answer wins and the others are given up. It all takes at most `within`. The stream is
/// [`tune`]d.
///
/// `segment_max`: the most bytes of a segment, in both directions (`TCP_MAXSEG`); `None`: what the system takes the path for.
pub async fn connect(
    to: &ResolvedAddr,
    options: &SocketOptions,
    segment_max: Option<u16>,
    within: Duration,
) -> Result<TcpStream, ConnectError> {
    let race = AddressRace::default();
    let attempt = |address| connect_one(address, options, segment_max);
    let won = timeout(within, race.run(to, attempt)).await;
    let (addr, tried) = (to.addr.clone(), || race.tried(to));
    match won {
        Ok(Some(stream)) => Ok(stream),
        Ok(None) => Err(ConnectError::Failed { addr, tried: tried() }),
        Err(_) => Err(ConnectError::TimedOut { addr, after: within, tried: tried() }),
    }
}

/// Listens on `addr`, `host:port`. With an empty host on all addresses: of both families through
/// one socket, or of IPv4 alone where IPv6 is off.
///
/// Must be called within a tokio runtime; a host name in `addr` is looked up and blocks for it.
pub fn listen(addr: &str, options: &ListenOptions) -> Result<TcpListener, ListenError> {
    bind_first(addr, options.netns.as_ref(), |address| listen_on(address, options))
}

/// Gives `bind` the addresses of `addr` until one works: the unspecified ones where its host is
/// empty, IPv6 first, which `bind` opens for both families. A zone is that of an interface where
/// `netns` is.
pub(super) fn bind_first<T>(
    addr: &str,
    netns: Option<&NetworkNamespace>,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> Result<T, ListenError> {
    let bad = |source| ListenError::BadAddress { addr: addr.to_owned(), source };
    let refused = |source| ListenError::Bind { addr: addr.to_owned(), source };
    if let Some(port) = addr.strip_prefix(':') {
        let port = port.parse().map_err(|error| bad(io::Error::other(error)))?;
        let both = bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
        return match both {
            Err(error) if no_ipv6(&error) => bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
            result => result,
        }
        .map_err(refused);
    }
    let netns = netns.map(NetworkNamespace::path);
    let literal = match names::literal(addr, netns.as_deref()) {
        Err(error @ NameError::Zone { .. }) => return Err(refused(io::Error::other(error))),
        literal => literal.ok().flatten(),
    };
    let addresses = match literal {
        Some(address) => vec![address],
        None => addr.to_socket_addrs().map_err(bad)?.collect(),
    };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match bind(address) {
            Ok(bound) => return Ok(bound),
            Err(error) => failure = names::explain(address, error),
        }
    }
    Err(refused(failure))
}

/// Gives a stream, dialled or accepted, the options every tunnel runs with.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(NOTSENT_LOWAT)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES),
    )?;
    match socket.set_tcp_user_timeout(Some(USER_TIMEOUT)) {
        // Multipath TCP has none (Linux 6.18); its own timers and the tunnel's pings notice a dead connection.
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(()),
        result => result,
    }
}

impl Stream for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        Self::try_read(self, into)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_ready(cx)
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match pieces {
            [piece] => self.try_write(piece),
            pieces => Self::try_write_vectored(self, pieces),
        }
    }

    fn poll_shutdown(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match SockRef::from(self).shutdown(std::net::Shutdown::Write) {
            // Both directions are over.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        })
    }
}

async fn connect_one(
    address: SocketAddr,
    options: &SocketOptions,
    segment_max: Option<u16>,
) -> io::Result<TcpStream> {
    let none = "no interface has an address of this family";
    let mut failure = io::Error::new(io::ErrorKind::AddrNotAvailable, none);
    for interface in socket::bindings(options, address) {
        match connect_by(address, options, segment_max, interface).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
        if interface.is_some_and(|interface| interface.strict) {
            break;
        }
    }
    Err(failure)
}

async fn connect_by(
    address: SocketAddr,
    options: &SocketOptions,
    segment_max: Option<u16>,
    interface: Option<&Interface>,
) -> io::Result<TcpStream> {
    let open = |protocol| socket::open_towards(address, Type::STREAM, protocol, options, interface);
    let socket = socket::multipath_or_tcp(options.mptcp, open)?;
    if let Some(bytes) = segment_max {
        socket.set_tcp_mss(bytes.into())?;
    }
    let connected = TcpSocket::from_std_stream(socket.into()).connect(address).await;
    let stream = connected.map_err(|error| names::explain(address, error))?;
    tune(&stream)?;
    Ok(stream)
}

fn listen_on(address: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
    let open = |protocol| socket::open_listening(address, Type::STREAM, protocol, options);
    let socket = socket::multipath_or_tcp(options.mptcp, open)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Whether the system has no IPv6, or none it may use.
fn no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Protocol, Socket};

    use super::*;
    use crate::race::ATTEMPT_DELAY;

    fn found(addresses: Vec<SocketAddr>) -> ResolvedAddr {
        ResolvedAddr { addr: "name:1".into(), addresses, outdated: None }
    }

    /// A listener whose queue is full leaves the next connection without any answer.
    fn silent() -> (Socket, Vec<std::net::TcpStream>, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        let short = Duration::from_millis(100);
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, short) {
            queued.push(stream);
        }
        (socket, queued, address)
    }

    #[tokio::test]
    async fn a_silent_address_delays_the_next_and_no_more() {
        let (_socket, _queued, silent) = silent();
        let listener = listen("127.0.0.1:0", &ListenOptions::default()).unwrap();
        let answering = listener.local_addr().unwrap();
        let start = std::time::Instant::now();
        let both = found(vec![silent, answering]);
        let stream =
            connect(&both, &SocketOptions::default(), None, ATTEMPT_DELAY * 20).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answering);
        assert!((ATTEMPT_DELAY..ATTEMPT_DELAY * 20).contains(&start.elapsed()));
    }

    #[tokio::test]
    async fn a_refusing_address_delays_nothing_and_every_refusal_is_told() {
        // Taken, so that nobody else can listen there meanwhile.
        let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        taken.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let closed = taken.local_addr().unwrap().as_socket().unwrap();
        let listener = listen("127.0.0.1:0", &ListenOptions::default()).unwrap();
        let answering = listener.local_addr().unwrap();
        let start = std::time::Instant::now();
        let mut addresses = vec![closed; 10];
        addresses.push(answering);
        let patience = ATTEMPT_DELAY * 20;
        connect(&found(addresses), &SocketOptions::default(), None, patience).await.unwrap();
        assert!(start.elapsed() < ATTEMPT_DELAY * 10);
        let refusing = found(vec![closed, closed]);
        let error =
            connect(&refusing, &SocketOptions::default(), None, patience).await.unwrap_err();
        let error = error.to_string();
        assert_eq!(error.matches(&closed.to_string()).count(), 2, "{error}");
    }

    #[tokio::test]
    async fn multipath_tcp_where_the_kernel_has_it_and_tcp_elsewhere() {
        let options = ListenOptions { mptcp: true, ..ListenOptions::default() };
        let listener = listen("127.0.0.1:0", &options).unwrap();
        let address = listener.local_addr().unwrap();
        let protocol = |socket: SockRef<'_>| socket.protocol().unwrap();
        let here = if socket::has_multipath(None) { Protocol::MPTCP } else { Protocol::TCP };
        assert_eq!(protocol(SockRef::from(&listener)), Some(here));
        for (mptcp, expected) in [(true, here), (false, Protocol::TCP)] {
            let options = SocketOptions { mptcp, ..SocketOptions::default() };
            let to = found(vec![address]);
            let (dialled, accepted) = tokio::join!(
                connect(&to, &options, Some(1220), ATTEMPT_DELAY * 20),
                listener.accept()
            );
            let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap().0);
            assert_eq!(protocol(SockRef::from(&dialled)), Some(expected));
            tune(&accepted).unwrap();
            dialled.writable().await.unwrap();
            dialled.try_write(b"over it").unwrap();
            accepted.readable().await.unwrap();
            assert_eq!(accepted.try_read(&mut [0; 32]).unwrap(), 7);
        }
    }

    #[tokio::test]
    async fn those_that_did_not_answer_are_told_beside_those_that_refused() {
        let (_socket, _queued, silent) = silent();
        let closed = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let outdated = Some("still looking name up".to_owned());
        let both = ResolvedAddr { outdated, ..found(vec![silent, closed]) };
        let error =
            connect(&both, &SocketOptions::default(), None, ATTEMPT_DELAY * 3).await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains("name:1 within 0.75 s"), "{error}");
        assert!(
            error.contains(&format!("{silent}: no answer; {closed}: Connection refused")),
            "{error}"
        );
        assert!(error.ends_with("(known from before: still looking name up)"), "{error}");
    }
}

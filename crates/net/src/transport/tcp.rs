//! TCP: connecting to names with several addresses, listening on both families, socket options.

use std::fmt::{self, Write as _};
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socket2::{Protocol, SockRef, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::Stream;
use super::socket::{Interface, ListenOptions, SocketOptions};

/// How long one address is tried before the next is tried beside it (RFC 8305 section 5).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The most addresses of one name that are tried; further ones are ignored, so that a name with
/// thousands cannot open thousands of sockets.
pub const ADDRESSES_MAX: usize = 16;

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

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not `host:port`, or the name has no address.
    #[error("cannot find {addr}: {source}")]
    Resolve {
        /// What was to be reached.
        addr: String,
        /// What the resolver answered.
        source: io::Error,
    },
    /// Every address refused or was unreachable.
    #[error("cannot connect to {addr}: {}", list(.attempts))]
    Failed {
        /// What was to be reached.
        addr: String,
        /// Each address tried, with what it answered, in that order.
        attempts: Vec<(SocketAddr, io::Error)>,
    },
    /// Time was up before any address answered.
    #[error("cannot connect to {addr}: no answer within {} s", .after.as_secs_f32())]
    TimedOut {
        /// What was to be reached.
        addr: String,
        /// How long it was tried.
        after: Duration,
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

/// Connects to `addr` (`host:port`), trying all addresses of a name, IPv6 and IPv4 in turn, each
/// a little later than the one before; the first to answer wins and the others are given up. It
/// all takes at most `within`, the name's resolution included. The stream is [`tune`]d.
pub async fn connect(
    addr: &str,
    options: &SocketOptions,
    within: Duration,
) -> Result<TcpStream, ConnectError> {
    match timeout(within, connect_any(addr, options)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::TimedOut { addr: addr.to_owned(), after: within }),
    }
}

/// Listens on `addr`, `host:port`. With an empty host on all addresses: of both families through
/// one socket, or of IPv4 alone where IPv6 is off.
///
/// Must be called within a tokio runtime; a host name in `addr` is looked up and blocks for it.
pub fn listen(addr: &str, options: &ListenOptions) -> Result<TcpListener, ListenError> {
    bind_first(addr, |address| listen_on(address, options))
}

/// Gives `bind` the addresses of `addr` until one works: the unspecified ones where its host is
/// empty, IPv6 first, which `bind` opens for both families.
pub(super) fn bind_first<T>(
    addr: &str,
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
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addr.to_socket_addrs().map_err(bad)? {
        match bind(address) {
            Ok(bound) => return Ok(bound),
            Err(error) => failure = error,
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
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
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

async fn connect_any(addr: &str, options: &SocketOptions) -> Result<TcpStream, ConnectError> {
    let addresses = resolve(addr)
        .await
        .map_err(|source| ConnectError::Resolve { addr: addr.to_owned(), source })?;
    connect_first(addr, addresses, options).await
}

async fn connect_first(
    addr: &str,
    addresses: Vec<SocketAddr>,
    options: &SocketOptions,
) -> Result<TcpStream, ConnectError> {
    let mut attempts = Vec::new();
    let stream = race(addresses, &mut attempts, |address| connect_one(address, options)).await;
    stream.ok_or_else(|| ConnectError::Failed { addr: addr.to_owned(), attempts })
}

/// Makes an attempt at each of `addresses` in turn; the next begins when one has failed or has
/// been silent for [`ATTEMPT_DELAY`]. The first to succeed wins. What fails is added to `failures`
/// as it happens; `None` when all have.
pub(super) async fn race<T, E, F: Future<Output = Result<T, E>>>(
    addresses: Vec<SocketAddr>,
    failures: &mut Vec<(SocketAddr, E)>,
    attempt: impl Fn(SocketAddr) -> F,
) -> Option<T> {
    let mut waiting = addresses.into_iter();
    let mut running = FuturesUnordered::new();
    loop {
        if let Some(address) = waiting.next() {
            let attempt = attempt(address);
            running.push(async move { (address, attempt.await) });
        }
        let next_at = async {
            match waiting.len() {
                0 => std::future::pending().await,
                _ => sleep(ATTEMPT_DELAY).await,
            }
        };
        tokio::select! {
            finished = running.next() => match finished {
                Some((_, Ok(won))) => return Some(won),
                Some((address, Err(error))) => failures.push((address, error)),
                None => return None,
            },
            () = next_at => {}
        }
    }
}

async fn connect_one(address: SocketAddr, options: &SocketOptions) -> io::Result<TcpStream> {
    let none = "no interface has an address of this family";
    let mut failure = io::Error::new(io::ErrorKind::AddrNotAvailable, none);
    for interface in options.bindings(address) {
        match connect_by(address, options, interface).await {
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
    interface: Option<&Interface>,
) -> io::Result<TcpStream> {
    let socket = options.open(address, Type::STREAM, Protocol::TCP, interface)?;
    let stream = TcpSocket::from_std_stream(socket.into()).connect(address).await?;
    tune(&stream)?;
    Ok(stream)
}

/// The addresses behind `host:port`, the families taking turns (RFC 8305 section 4). An empty
/// host is this machine.
pub(super) async fn resolve(addr: &str) -> io::Result<Vec<SocketAddr>> {
    let local;
    let name = if addr.starts_with(':') {
        local = format!("localhost{addr}");
        &local
    } else {
        addr
    };
    let found: Vec<SocketAddr> = tokio::net::lookup_host(name).await?.collect();
    let addresses = take_turns(found);
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

/// Keeps the resolver's order within each family and lets the families take turns, beginning
/// with the one the resolver put first.
fn take_turns(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_ipv6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv6() == first_is_ipv6);
    let mut second = second.into_iter();
    let mut turns = Vec::new();
    for address in first {
        turns.push(address);
        turns.extend(second.next());
    }
    turns.extend(second);
    turns.truncate(ADDRESSES_MAX);
    turns
}

fn listen_on(address: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
    let socket = options.open(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Whether the system has no IPv6, or none it may use.
fn no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// Each attempt's address and why it failed.
pub(super) fn list(attempts: &[(SocketAddr, impl fmt::Display)]) -> String {
    let mut text = String::new();
    for (address, error) in attempts {
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{address}: {error}");
    }
    text
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket};

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_from_the_resolvers_first() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"]);
        let turns = addresses(&["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]);
        assert_eq!(take_turns(found), turns);
        let found = addresses(&["1.0.0.1:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(take_turns(found.clone()), found);
        assert_eq!(take_turns(vec!["1.0.0.1:1".parse().unwrap(); 100]).len(), ADDRESSES_MAX);
        assert_eq!(take_turns(Vec::new()), []);
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
        let stream = connect_first("name:1", vec![silent, answering], &SocketOptions::default())
            .await
            .unwrap();
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
        connect_first("name:1", addresses, &SocketOptions::default()).await.unwrap();
        assert!(start.elapsed() < ATTEMPT_DELAY * 10);
        let error = connect_first("name:1", vec![closed, closed], &SocketOptions::default())
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(error.matches(&closed.to_string()).count(), 2, "{error}");
    }
}

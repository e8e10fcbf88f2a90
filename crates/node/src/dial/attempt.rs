//! One attempt to open a connection: its limits, its stages, and why it failed.

use std::{
    borrow::Cow,
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use rtun_settings::{NetworkNamespace, ProxyProtocol, SocketOptions};
use rtun_tls::TlsError;
use rtun_transport::{
    Stream,
    http2::HttpError,
    mux::MuxError,
    names::{NameError, Names, ResolvedAddr},
    proxy::{ProxyError, write_proxy_header},
    quic::QuicError,
    tcp::{self, ConnectError},
    ws::WsError,
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::wire::Wire;

/// Limit for resolving the first name of an attempt, apart from the limit for all stages after it. The lookup continues after
/// it.
const NAME_TIMEOUT: Duration = Duration::from_secs(3);

/// A hub or a proxy cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Its TLS settings cannot be used.
    #[error("TLS settings for {addr} cannot be used: {source}")]
    Tls {
        /// The address of the hub or proxy.
        addr: String,
        /// Why not.
        source: TlsError,
    },
}

/// Why nothing was opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The name was not resolved.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The address was not reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A proxy refused or failed.
    #[error("proxy {0}: {1}")]
    Proxy(String, ProxyError),
    /// A proxy takes only IPv4 addresses, and the target has none.
    #[error(
        "proxy {0}: {1} has no IPv4 address, which SOCKS 4 needs; without `disable4a` the proxy is asked for the name"
    )]
    NoIpv4(String, String),
    /// The connection broke before its PROXY preamble was sent.
    #[error("the connection to {0} broke: {1}")]
    Broken(String, io::Error),
    /// The TLS handshake failed.
    #[error("TLS with {0}: {1}")]
    Tls(String, TlsError),
    /// The address was not reached over QUIC.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// The HTTP/2 connection failed.
    #[error("HTTP/2 with {0}: {1}")]
    Http(String, HttpError),
    /// The smux session failed.
    #[error("smux with {0}: {1}")]
    Mux(String, MuxError),
    /// The WebSocket handshake failed.
    #[error("WebSocket with {0}: {1}")]
    Ws(String, WsError),
    /// The path drops large packets without an ICMP error.
    #[error(
        "packets with TCP segments of {used} bytes are lost in silence on the path to {addr}, small ones pass: a router \
         there has a smaller MTU, and ICMP is blocked"
    )]
    LargeLost {
        /// The address of the hub.
        addr: String,
        /// The most bytes of a TCP segment.
        used: u32,
    },
    /// The limit was reached at this stage.
    #[error(
        "{stage} with {addr}: no answer within {} s{}", .after.as_secs_f32(),
        .peer.map_or_else(String::new, |peer| format!(", connected to {peer}"))
    )]
    Slow {
        /// The stage.
        stage: &'static str,
        /// The address of its other end.
        addr: String,
        /// The limit for all stages together.
        after: Duration,
        /// The peer of the connection: the one at `addr`, or the first proxy.
        peer: Option<SocketAddr>,
    },
}

/// A connection that was opened.
pub(crate) struct Opened {
    pub(crate) stream: Arc<dyn Stream>,
    /// The connection over TCP under it.
    pub(crate) wire: Option<Wire>,
}

/// One attempt to open a connection, and its limits.
pub(crate) struct Attempt<'a> {
    names: &'a Names,
    /// For all stages together, once the first name is resolved.
    pub(crate) limit: Duration,
    /// The most bytes of a TCP segment, if a limit of the path is known.
    segment_max: Option<u16>,
    /// When the limit is reached.
    end: OnceLock<Instant>,
    /// The peer, once connected.
    peer: OnceLock<SocketAddr>,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(names: &'a Names, limit: Duration, segment_max: Option<u16>) -> Self {
        Self { names, limit, segment_max, end: OnceLock::new(), peer: OnceLock::new() }
    }

    /// Resolves `addr`; then the limit begins.
    pub(crate) async fn find(
        &self,
        addr: &str,
        sockets: &SocketOptions,
    ) -> Result<ResolvedAddr, DialError> {
        let within = NAME_TIMEOUT.min(self.limit);
        let netns = sockets.netns.as_ref().map(NetworkNamespace::path);
        let found = self.names.find(addr, netns.as_deref(), within).await;
        self.end();
        Ok(found?)
    }

    /// What a proxy is asked for: `addr` as it is, or with its address where its name is looked up here in a way of its own.
    pub(crate) async fn named_or_found<'b>(
        &self,
        addr: &'b str,
    ) -> Result<Cow<'b, str>, DialError> {
        if !self.names.has_source(addr) {
            return Ok(addr.into());
        }
        let found = self.find(addr, &SocketOptions::default()).await?;
        // There is at least one.
        Ok(found.addresses.first().map_or_else(|| addr.into(), |it| it.to_string().into()))
    }

    fn end(&self) -> Instant {
        *self.end.get_or_init(|| Instant::now() + self.limit)
    }

    /// Does `work`, the stage of this name with the peer at `addr`, within the limit.
    pub(crate) async fn stage<T>(
        &self,
        stage: &'static str,
        addr: &str,
        work: impl Future<Output = Result<T, DialError>>,
    ) -> Result<T, DialError> {
        self.stage_within(stage, addr, None, work).await
    }

    /// The same, with a limit for this stage too.
    pub(crate) async fn stage_within<T>(
        &self,
        stage: &'static str,
        addr: &str,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T, DialError>>,
    ) -> Result<T, DialError> {
        let end = self.end();
        let own = limit.map(|limit| (Instant::now() + limit, limit));
        let (end, after) = own.filter(|(own, _)| *own < end).unwrap_or((end, self.limit));
        timeout_at(end, work).await.unwrap_or_else(|_| {
            let (addr, peer) = (addr.to_owned(), self.peer.get().copied());
            Err(DialError::Slow { stage, addr, after, peer })
        })
    }

    /// Opens a connection over TCP.
    pub(crate) async fn connect(
        &self,
        addr: &str,
        sockets: &SocketOptions,
        segment_max: Option<u16>,
        preamble: Option<ProxyProtocol>,
    ) -> Result<Arc<TcpStream>, DialError> {
        let found = self.find(addr, sockets).await?;
        let segment_max = segment_max.into_iter().chain(self.segment_max).min();
        let stream = tcp::connect(&found, sockets, segment_max, self.limit).await?;
        let broken = |error| DialError::Broken(addr.to_owned(), error);
        let peer = stream.peer_addr().map_err(broken)?;
        let _ = self.peer.set(peer);
        if let Some(preamble) = preamble {
            let own = stream.local_addr().map_err(broken)?;
            let written =
                async { write_proxy_header(&stream, preamble, own, peer).await.map_err(broken) };
            self.stage("the PROXY preamble", addr, written).await?;
        }
        Ok(Arc::new(stream))
    }
}

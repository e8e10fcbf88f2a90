//! One attempt to open a connection: its limits, its stages, and why it failed.

use std::{
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

/// Limit for finding the first address of an attempt, apart from the limit for all that comes after it. The lookup goes on
/// when it is up.
const NAME_TIMEOUT: Duration = Duration::from_secs(3);

/// A way cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Its TLS cannot.
    #[error("{addr}: {source}")]
    Tls {
        /// Where it leads.
        addr: String,
        /// Why.
        source: TlsError,
    },
}

/// Nothing was opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The address was not found.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The address was not reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A proxy does not let through.
    #[error("proxy {0}: {1}")]
    Proxy(String, ProxyError),
    /// The connection broke before its PROXY preamble was sent.
    #[error("the connection to {0} broke: {1}")]
    Broken(String, io::Error),
    /// There is no encrypted connection.
    #[error("TLS with {0}: {1}")]
    Tls(String, TlsError),
    /// The address was not reached over QUIC.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// There is no HTTP/2 stream.
    #[error("HTTP/2 with {0}: {1}")]
    Http(String, HttpError),
    /// There is no smux session.
    #[error("smux with {0}: {1}")]
    Mux(String, MuxError),
    /// There is no WebSocket.
    #[error("WebSocket with {0}: {1}")]
    Ws(String, WsError),
    /// The way loses large packets in silence.
    #[error(
        "packets with TCP segments of {used} bytes are lost in silence on the way to {addr}, small ones pass: a router \
         there has a smaller MTU, and ICMP is blocked"
    )]
    LargeLost {
        /// Whom it was to lead to.
        addr: String,
        /// The most bytes of a segment.
        used: u32,
    },
    /// Time was up at this stage of it.
    #[error(
        "{stage} with {addr}: no answer within {} s{}", .after.as_secs_f32(),
        .peer.map_or_else(String::new, |peer| format!(", connected to {peer}"))
    )]
    Slow {
        /// What was under way.
        stage: &'static str,
        /// With whom.
        addr: String,
        /// The limit for all stages together.
        after: Duration,
        /// Whom the connection leads to: the one at `addr`, or the first proxy.
        peer: Option<SocketAddr>,
    },
}

/// What was opened.
pub(super) struct Opened {
    pub(super) stream: Arc<dyn Stream>,
    /// The connection over TCP under it.
    pub(super) wire: Option<Wire>,
}

/// One attempt to open a way, and its limits.
pub(super) struct Attempt<'a> {
    names: &'a Names,
    /// For everything together, once the first address is found.
    pub(super) limit: Duration,
    /// The most bytes of a TCP segment, if that is known of the way.
    segment_max: Option<u16>,
    /// When the limit is up.
    end: OnceLock<Instant>,
    /// Whom it is connected to.
    peer: OnceLock<SocketAddr>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(names: &'a Names, limit: Duration, segment_max: Option<u16>) -> Self {
        Self { names, limit, segment_max, end: OnceLock::new(), peer: OnceLock::new() }
    }

    /// Where `addr` is; from then on the limit counts.
    pub(super) async fn find(
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

    fn end(&self) -> Instant {
        *self.end.get_or_init(|| Instant::now() + self.limit)
    }

    /// Does what is called `stage`, with the one at `addr`, within the limit.
    pub(super) async fn stage<T>(
        &self,
        stage: &'static str,
        addr: &str,
        work: impl Future<Output = Result<T, DialError>>,
    ) -> Result<T, DialError> {
        self.stage_within(stage, addr, None, work).await
    }

    /// The same, which has a limit of its own besides.
    pub(super) async fn stage_within<T>(
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

    /// A connection over TCP.
    pub(super) async fn connect(
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

//! Opening what carries a session: through the proxies of a chain to a hub, layer upon layer.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use rtun_core::{LossWatch, Silence};
use rtun_settings::{
    DialTls, Endpoint, HubNode, NetworkNamespace, ProxyProtocol, QuicSettings, SocketOptions,
    TransportStack,
};
use rtun_tls::{Connector, TlsError};
use rtun_transport::{
    Stream, grpc,
    http2::{self, HttpError},
    mux::{MuxError, MuxSession},
    names::{NameError, Names, ResolvedAddr, host_of},
    proxy::{ProxyError, write_proxy_header},
    quic::{self, Congestion, QuicError},
    stream_only::StreamOnly,
    tcp::{self, ConnectError},
    tls,
    ws::{self, WsError},
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tracing::warn;

use super::{proxies::Proxies, wire::Wire};
use crate::{report::Transport, runtime::surroundings::Surroundings};

/// Limit for connecting over plain TCP unless configured: a lost packet of the handshake is repeated after 1 s, so a
/// network that works answers within it, and one that was cut is tried again soon after it is back.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// The same where layers and proxies take round trips of their own.
const LAYERED_DIAL_TIMEOUT: Duration = Duration::from_secs(6);

/// Limit for finding the first address of an attempt, apart from the limit for all that comes after it. The lookup goes on
/// when it is up.
const NAME_TIMEOUT: Duration = Duration::from_secs(3);

/// Opens one way to a hub, or to a proxy.
pub(super) struct Dialer {
    addr: String,
    stack: TransportStack<DialTls>,
    tls: Option<Encryption>,
    sockets: SocketOptions,
    /// The most bytes of a TCP segment, if configured.
    segment_max: Option<u16>,
    proxy_protocol: Option<ProxyProtocol>,
    surroundings: Surroundings,
}

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
    limit: Duration,
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
    async fn find(&self, addr: &str, sockets: &SocketOptions) -> Result<ResolvedAddr, DialError> {
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

impl Dialer {
    pub(super) fn to_hub(
        way: &Endpoint,
        hub: &HubNode,
        surroundings: &Surroundings,
    ) -> Result<Self, SetupError> {
        let failed = |source| SetupError::Tls { addr: way.addr.clone(), source };
        Ok(Self {
            addr: way.addr.clone(),
            stack: way.stack.clone(),
            tls: Encryption::of(&way.stack).map_err(failed)?,
            sockets: hub.sockets.clone(),
            segment_max: way.segment_max,
            proxy_protocol: hub.proxy_protocol,
            surroundings: surroundings.clone(),
        })
    }

    pub(super) fn transport(&self) -> Transport {
        Transport::of(&self.stack)
    }

    /// How long it may take unless configured.
    pub(super) fn usual_limit(&self, proxies: &Proxies) -> Duration {
        match self.transport() {
            Transport::Tcp if !proxies.are_there() => DIAL_TIMEOUT,
            _ => LAYERED_DIAL_TIMEOUT,
        }
    }

    /// Opens it.
    pub(super) async fn open(
        &self,
        attempt: &Attempt<'_>,
        proxies: &Proxies,
    ) -> Result<Opened, DialError> {
        if let (TransportStack::Quic { quic, .. }, Some(tls)) = (&self.stack, &self.tls) {
            let stream = self.open_quic(attempt, quic, tls).await?;
            return Ok(Opened { stream, wire: None });
        }
        let Opened { stream, wire } =
            match (proxies.reach(&self.addr, attempt).await?, &self.surroundings) {
                (Some(opened), _) => opened,
                (None, Surroundings::System) => {
                    let Self { addr, sockets, segment_max, proxy_protocol, .. } = self;
                    let tcp = attempt.connect(addr, sockets, *segment_max, *proxy_protocol).await?;
                    let wire = Some(Wire::of(&tcp));
                    Opened { stream: tcp, wire }
                }
                (None, Surroundings::Twin(twin)) => {
                    let connecting = async { Ok(twin.connect(&self.addr).await?) };
                    let stream = attempt.stage("connecting", &self.addr, connecting).await?;
                    Opened { stream, wire: None }
                }
            };
        let handshakes = self.open_layers(attempt, stream);
        let Some(wire) = wire else {
            return Ok(Opened { stream: handshakes.await?, wire });
        };
        // A certificate is larger than what comes before it: a handshake may be the first to get stuck.
        let (used, mut losses) = (wire.segment_max().unwrap_or_default(), LossWatch::default());
        let done = tokio::select! {
            done = handshakes => Some(done),
            () = wire.loses_large(&mut losses) => None,
        };
        match done {
            Some(Err(DialError::Slow { .. })) if losses.silence() == Silence::WithGap => {}
            Some(done) => return Ok(Opened { stream: done?, wire: Some(wire) }),
            None => {}
        }
        Err(DialError::LargeLost { addr: self.addr.clone(), used })
    }

    /// TLS and what is on top of it.
    async fn open_layers(
        &self,
        attempt: &Attempt<'_>,
        mut stream: Arc<dyn Stream>,
    ) -> Result<Arc<dyn Stream>, DialError> {
        if let Some(tls) = &self.tls {
            let encrypting = tls.connect(stream, &self.addr);
            stream = attempt.stage("TLS", &self.addr, encrypting).await?;
        }
        let stage = match &self.stack {
            TransportStack::Http2 { .. } | TransportStack::Grpc { .. } => "HTTP/2",
            _ => "WebSocket",
        };
        attempt.stage(stage, &self.addr, self.open_upper_layers(stream)).await
    }

    /// What is on top of the connection and its TLS.
    async fn open_upper_layers(
        &self,
        mut stream: Arc<dyn Stream>,
    ) -> Result<Arc<dyn Stream>, DialError> {
        let addr = &*self.addr;
        let failed = |error| DialError::Http(addr.to_owned(), error);
        match &self.stack {
            TransportStack::Http2 { http, tls } => {
                http2::connect(stream, http, addr, tls.is_some()).await.map_err(failed)
            }
            TransportStack::Grpc { grpc, tls } => {
                grpc::connect(stream, grpc, addr, tls.is_some()).await.map_err(failed)
            }
            TransportStack::Tcp { ws, mux, .. } => {
                if let Some(ws) = ws {
                    let connected = ws::connect(stream, ws, addr).await;
                    stream = connected.map_err(|error| DialError::Ws(addr.to_owned(), error))?;
                }
                if let Some(mux) = mux {
                    let session = MuxSession::client(stream, *mux);
                    let opened = session.open();
                    stream = opened.map_err(|error| DialError::Mux(addr.to_owned(), error))?;
                    // It ends with its only stream.
                    session.release();
                }
                Ok(stream)
            }
            TransportStack::Quic { .. } => Ok(stream),
        }
    }

    async fn open_quic(
        &self,
        attempt: &Attempt<'_>,
        quic: &QuicSettings,
        tls: &Encryption,
    ) -> Result<Arc<dyn Stream>, DialError> {
        let found = attempt.find(&self.addr, &self.sockets).await?;
        let failed = |error| DialError::Tls(self.addr.clone(), error);
        let connector = tls.connector();
        let name = connector.name_for(host_of(&self.addr)).map_err(failed)?;
        let (tls, diagnostics) = connector.quic_config().map_err(failed)?;
        let (name, tls, congestion) = (name.to_str(), Arc::new(tls), Congestion::default());
        let (sockets, limit) = (&self.sockets, attempt.limit);
        let opened = quic::connect(&found, &name, tls, quic, congestion, sockets, limit).await;
        match opened {
            Ok(stream) if quic.datagrams => Ok(stream),
            Ok(stream) => Ok(Arc::new(StreamOnly(stream))),
            Err(error) => Err(match diagnostics.refusal() {
                Some(refusal) => failed(refusal),
                None => error.into(),
            }),
        }
    }
}

/// A dialer's TLS. Its files are read again for each connection; while they cannot be used those read before count.
pub(super) struct Encryption {
    config: DialTls,
    protocols: &'static [&'static str],
    last: Mutex<Connector>,
}

impl Encryption {
    pub(super) fn of(stack: &TransportStack<DialTls>) -> Result<Option<Self>, TlsError> {
        let Some(config) = stack.tls() else { return Ok(None) };
        let protocols = stack.protocols();
        let last = Mutex::new(Connector::new(config, protocols)?);
        Ok(Some(Self { config: config.clone(), protocols, last }))
    }

    /// Encrypts `stream`, which leads to `addr`.
    pub(super) async fn connect(
        &self,
        stream: Arc<dyn Stream>,
        addr: &str,
    ) -> Result<Arc<dyn Stream>, DialError> {
        match tls::connect(&self.connector(), stream, host_of(addr)).await {
            Ok(connected) => Ok(connected.stream),
            Err(error) => Err(DialError::Tls(addr.to_owned(), error)),
        }
    }

    fn connector(&self) -> Connector {
        // A poisoned lock still guards a whole connector: it is only ever replaced.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match Connector::new(&self.config, self.protocols) {
            Ok(connector) => *last = connector,
            Err(error) => warn!("the files of TLS are used as they were before: {error}"),
        }
        last.clone()
    }
}

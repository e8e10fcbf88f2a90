//! Where hosts come in: the listening socket, and the transport's handshakes on each connection.

use std::{
    future::pending,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use rtun_settings::{
    GrpcSettings, Http2Settings, ListenerSettings, MuxSettings, QuicSettings, TransportStack,
    WebSocketSettings,
};
use rtun_state::StateDir;
use rtun_tls::{Acceptor, CertificateInfo, Fault, TlsError};
use rtun_transport::{
    Stream,
    forwarded::Forwarded,
    grpc,
    http2::{self, HttpError},
    mux::{MuxError, MuxSession},
    proxy::{ReadHeaderError, read_proxy_header},
    quic::{self, BindError, Congestion, QuicConnection, QuicHandshakeError, QuicListener},
    stream_only::StreamOnly,
    tcp::{self, ListenError},
    tls,
    ws::{self, WsError},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::sleep,
};

use super::{certificate, way_in::WayIn};
use crate::{
    report::Transport,
    runtime::{
        machine::Machine,
        surroundings::{self, Surroundings},
        workers::Workers,
    },
};

/// A QUIC listener whose socket has failed is opened again after this long.
const REOPEN_AFTER: Duration = Duration::from_millis(50);

/// A listening hub's socket with all that a connection goes through before its request is read.
pub(super) struct Entrance {
    door: Door,
    transport: Transport,
    tls: Option<Encryption>,
    layer: Layer,
    trusted: Trusted,
    /// Whether QUIC carries packets as datagrams too.
    datagrams: bool,
    /// Whether connections over TCP begin with where they come from.
    proxy_protocol: bool,
    local_addr: SocketAddr,
}

/// What is on TCP, or on TLS on it.
enum Layer {
    /// WebSocket, if that is there, and smux, if that is.
    Stream(Option<WebSocketSettings>, Option<MuxSettings>),
    Http2(Http2Settings),
    Grpc(GrpcSettings),
}

struct Encryption {
    acceptor: Acceptor,
    /// Has its files read at once.
    reread: Arc<Notify>,
    /// Whether a host may only report names that stand in its certificate.
    binds_names: bool,
}

enum Door {
    Tcp(TcpListener),
    Twin(Box<dyn surroundings::Door>),
    Quic {
        listener: ArcSwap<QuicListener>,
        /// Listens once more, where the socket has failed.
        again: Box<dyn Fn() -> Result<QuicListener, BindError> + Send + Sync>,
    },
}

/// A connection that nothing has been read of.
pub(super) enum Caller {
    Tcp(TcpStream),
    Twin(Arc<dyn Stream>),
    Quic(Box<quic::Incoming>),
}

/// Who is there.
pub(super) enum Received {
    One(Guest),
    Many(Guests),
}

/// A stream on which a host may ask to join.
pub(super) struct Guest {
    pub(super) stream: Arc<dyn Stream>,
    /// Where it comes from, as far as that is believed.
    pub(super) peer: SocketAddr,
    pub(super) transport: Transport,
    /// The only host names it may report, if its certificate says.
    pub(super) names: Option<Arc<[String]>>,
}

/// A connection that carries many streams.
pub(super) struct Guests {
    streams: Streams,
    peer: SocketAddr,
    transport: Transport,
    names: Option<Arc<[String]>>,
}

enum Streams {
    Mux(MuxSession),
    /// What each request says of its client is believed of these.
    Http(http2::Server, Trusted),
    /// Whether datagrams are used.
    Quic(QuicConnection, bool),
}

impl Guests {
    /// The next stream; none when the connection has ended, after the error that ended it.
    pub(super) async fn next(&mut self) -> Option<Result<Guest, EntranceError>> {
        self.accept().await.transpose()
    }

    async fn accept(&mut self) -> Result<Option<Guest>, EntranceError> {
        let mut from = self.peer;
        let stream: Option<Arc<dyn Stream>> = match &mut self.streams {
            Streams::Http(server, trusted) => match server.next().await? {
                Some((stream, forwarded)) => {
                    from = trusted.client(from, &forwarded)?;
                    Some(stream)
                }
                None => None,
            },
            Streams::Mux(session) => session.accept().await?,
            Streams::Quic(connection, datagrams) => match connection.accept_stream().await? {
                Some(stream) if *datagrams => Some(stream),
                Some(stream) => Some(Arc::new(StreamOnly(stream))),
                None => None,
            },
        };
        let Self { transport, names, .. } = self;
        let guest =
            |stream| Guest { stream, peer: from, transport: *transport, names: names.clone() };
        Ok(stream.map(guest))
    }

    /// Ends the connection in order, within that time.
    pub(super) async fn shutdown(self, within: Duration) {
        match self.streams {
            Streams::Http(server, _) => server.shutdown(within).await,
            Streams::Mux(session) => session.shutdown(within).await,
            Streams::Quic(connection, _) => connection.shutdown(within).await,
        }
    }
}

/// A hub cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Its address cannot be listened on with QUIC.
    #[error(transparent)]
    Quic(#[from] BindError),
    /// Its TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Why a connection never got as far as its request.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntranceError {
    /// There is no encrypted connection.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no QUIC connection.
    #[error("QUIC: {0}")]
    Quic(#[from] QuicHandshakeError),
    /// There is no smux session.
    #[error(transparent)]
    Mux(#[from] MuxError),
    /// Where a connection comes from is not told as it has to be.
    #[error(transparent)]
    ProxyHeader(#[from] ReadHeaderError),
    /// There is no HTTP/2 stream.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// There is no WebSocket.
    #[error(transparent)]
    Ws(#[from] WsError),
    /// Somebody who is no trusted proxy says for whom it connects.
    #[error("forwarding headers come from {0}, which is none of `trustedProxies`")]
    UntrustedForwarder(IpAddr),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

impl EntranceError {
    /// The fixed word used in logs and metrics.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Tls(error) if error.fault() == Fault::Network => "closed_early",
            Self::Tls(_) => "tls_error",
            Self::Quic(QuicHandshakeError::Tls { .. } | QuicHandshakeError::TlsRefused { .. }) => {
                "tls_error"
            }
            Self::Quic(_) => "closed_early",
            Self::Mux(_) | Self::Http(_) => "upgrade_error",
            Self::ProxyHeader(ReadHeaderError::Io(_)) => "closed_early",
            Self::ProxyHeader(_) => "upgrade_error",
            Self::Ws(WsError::Io(_)) => "closed_early",
            Self::Ws(_) => "upgrade_error",
            Self::UntrustedForwarder(_) => "untrusted_forwarder",
            Self::Broken(_) => "closed_early",
        }
    }
}

/// Who may say for whom it connects.
#[derive(Clone)]
struct Trusted(Arc<[IpNet]>);

impl Trusted {
    fn contains(&self, addr: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&addr))
    }

    /// Where a client comes from whose request has these forwarding headers: believed from trusted proxies, refused from
    /// others where there are any, and else not looked at.
    fn client(&self, peer: SocketAddr, forwarded: &Forwarded) -> Result<SocketAddr, EntranceError> {
        if self.contains(peer.ip()) {
            let client = forwarded.client_behind(|addr| self.contains(addr));
            return Ok(client.map_or(peer, |addr| SocketAddr::new(addr, 0)));
        }
        match forwarded.present && !self.0.is_empty() {
            true => Err(EntranceError::UntrustedForwarder(peer.ip())),
            false => Ok(peer),
        }
    }
}

impl Entrance {
    /// Listens.
    pub(super) fn open(
        service: &str,
        config: &ListenerSettings,
        workers: &Workers,
        machine: &Machine,
    ) -> Result<Self, OpenError> {
        let tls = match config.stack.tls() {
            Some(tls) => Some(Encryption {
                acceptor: certificate::acceptor(
                    service,
                    tls,
                    config.stack.protocols(),
                    machine.state.as_deref().map(StateDir::path),
                )?,
                reread: Arc::default(),
                binds_names: tls.bind_names,
            }),
            None => None,
        };
        let options = config.sockets.clone();
        let (door, local_addr) = match (&config.stack, &tls, &machine.surroundings) {
            (TransportStack::Quic { quic, .. }, Some(tls), _) => {
                let tls = Arc::new(tls.acceptor.quic_config()?);
                // Where its packets are moved.
                let seat = workers.seat();
                let (addr, quic) = (config.addr.clone(), quic.clone());
                let again = move || {
                    let _moved_by = seat.handle().enter();
                    let (tls, congestion) = (Arc::clone(&tls), Congestion::default());
                    QuicListener::bind(&addr, tls, &quic, congestion, &options)
                };
                let listener = again()?;
                let local_addr = listener.local_addr()?;
                let listener = ArcSwap::from_pointee(listener);
                (Door::Quic { listener, again: Box::new(again) }, local_addr)
            }
            (_, _, Surroundings::Twin(twin)) => {
                let door = twin.listen(&config.addr)?;
                let local_addr = door.address();
                (Door::Twin(door), local_addr)
            }
            (_, _, Surroundings::System) => {
                let listener = tcp::listen(&config.addr, &options)?;
                let local_addr = listener.local_addr()?;
                (Door::Tcp(listener), local_addr)
            }
        };
        Ok(Self {
            door,
            transport: Transport::of(&config.stack),
            tls,
            layer: match &config.stack {
                TransportStack::Tcp { ws, mux, .. } => Layer::Stream(ws.clone(), *mux),
                TransportStack::Http2 { http, .. } => Layer::Http2(http.clone()),
                TransportStack::Grpc { grpc, .. } => Layer::Grpc(grpc.clone()),
                TransportStack::Quic { .. } => Layer::Stream(None, None),
            },
            datagrams: matches!(
                &config.stack,
                TransportStack::Quic { quic: QuicSettings { datagrams: true, .. }, .. }
            ),
            proxy_protocol: config.proxy_protocol,
            trusted: Trusted(config.trusted_proxies.clone().into()),
            local_addr,
        })
    }

    /// Whether this address may say for whom it connects.
    pub(super) fn trusts(&self, addr: IpAddr) -> bool {
        self.trusted.contains(addr)
    }

    /// For whoever asks. Does not keep it open.
    pub(super) fn way_in(&self) -> WayIn {
        WayIn {
            address: self.local_addr,
            transport: self.transport,
            tls: self.tls.as_ref().map(|tls| (tls.acceptor.clone(), Arc::clone(&tls.reread))),
        }
    }

    /// Follows the files of its certificate as they change, without end.
    pub(super) async fn follow_certificate(&self, service: &str) {
        match &self.tls {
            Some(tls) => certificate::follow(service, &tls.acceptor, &tls.reread).await,
            None => pending().await,
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<(Caller, SocketAddr)> {
        match &self.door {
            Door::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Caller::Tcp(stream), SocketAddr::new(peer.ip().to_canonical(), peer.port())))
            }
            Door::Twin(door) => {
                let (stream, peer) = door.accept().await;
                Ok((Caller::Twin(stream), peer))
            }
            Door::Quic { listener, again } => loop {
                if let Some(incoming) = listener.load_full().accept().await {
                    let peer = incoming.remote();
                    return Ok((Caller::Quic(Box::new(incoming)), peer));
                }
                // Its socket has failed, which may be for good.
                sleep(REOPEN_AFTER).await;
                listener.store(Arc::new(again().map_err(io::Error::other)?));
            },
        }
    }

    /// Goes through the transport's handshakes; `speaks` is called when the other side has said something. Has to be
    /// called where the connection is going to be served.
    pub(super) async fn receive(
        &self,
        caller: Caller,
        peer: SocketAddr,
        speaks: impl FnOnce(),
    ) -> Result<Received, EntranceError> {
        match caller {
            Caller::Tcp(stream) => {
                // From now on it is this worker's event loop that watches the socket.
                let stream = TcpStream::from_std(stream.into_std()?)?;
                tcp::tune(&stream)?;
                self.receive_stream(Arc::new(stream), peer, speaks).await
            }
            Caller::Twin(stream) => self.receive_stream(stream, peer, speaks).await,
            Caller::Quic(incoming) => {
                let connection = incoming.accept().await?;
                let own = connection.peer_certificates().into_iter().next();
                let names = own
                    .filter(|_| self.tls.as_ref().is_some_and(|tls| tls.binds_names))
                    .map(|own| CertificateInfo::of(&own).map_or_else(Vec::new, |info| info.names));
                Ok(Received::Many(Guests {
                    streams: Streams::Quic(connection, self.datagrams),
                    peer,
                    transport: self.transport,
                    names: names.map(Arc::from),
                }))
            }
        }
    }

    /// The same on TCP, or its twin.
    async fn receive_stream(
        &self,
        mut stream: Arc<dyn Stream>,
        mut peer: SocketAddr,
        speaks: impl FnOnce(),
    ) -> Result<Received, EntranceError> {
        stream.readable().await?;
        speaks();
        if self.proxy_protocol {
            if !self.trusts(peer.ip()) {
                return Err(EntranceError::UntrustedForwarder(peer.ip()));
            }
            peer = read_proxy_header(&*stream).await?.unwrap_or(peer);
        }
        let mut names = None;
        if let Some(tls) = &self.tls {
            let accepted = tls::accept(&tls.acceptor, stream).await?;
            stream = accepted.stream;
            names = accepted.client_names.filter(|_| tls.binds_names).map(Arc::from);
        }
        let mut from = peer;
        let transport = self.transport;
        let many =
            |streams, peer, names| Ok(Received::Many(Guests { streams, peer, transport, names }));
        match &self.layer {
            Layer::Http2(settings) => {
                let server = http2::serve(stream, settings);
                return many(Streams::Http(server, self.trusted.clone()), peer, names);
            }
            Layer::Grpc(settings) => {
                let server = grpc::serve(stream, settings);
                return many(Streams::Http(server, self.trusted.clone()), peer, names);
            }
            Layer::Stream(ws, mux) => {
                if let Some(settings) = ws {
                    let (socket, forwarded) = ws::accept(stream, settings).await?;
                    stream = socket;
                    from = self.trusted.client(peer, &forwarded)?;
                }
                if let Some(settings) = mux {
                    let session = MuxSession::server(stream, *settings);
                    return many(Streams::Mux(session), from, names);
                }
            }
        }
        Ok(Received::One(Guest { stream, peer: from, transport, names }))
    }
}

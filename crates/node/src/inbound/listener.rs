//! A hub's listener: its socket, and the transport's handshakes on each connection.

mod certificate;
mod error;
mod pending;
mod trusted;
mod view;

use std::{
    future::pending,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rtun_settings::{
    GrpcSettings, Http2Settings, ListenerSettings, MuxSettings, QuicSettings, TransportStack,
    WebSocketSettings,
};
use rtun_state::StateDir;
use rtun_tls::{Acceptor, CertificateInfo, TlsError};
use rtun_transport::{
    Stream, grpc, http2,
    mux::MuxSession,
    proxy::read_proxy_header,
    quic::{self, BindError, QuicListener},
    tcp::{self, ListenError},
    tls, ws,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::sleep,
};

pub(crate) use self::{
    error::ListenerError,
    pending::{Established, PendingStream, PendingStreams},
    view::ListenerView,
};
use self::{pending::StreamSource, trusted::TrustedProxies};
use crate::{
    report::Transport,
    runtime::{
        machine::Machine,
        surroundings::{Surroundings, TwinListener},
        workers::Workers,
    },
};

/// A QUIC listener whose socket has failed is opened again after this long.
const REOPEN_AFTER: Duration = Duration::from_millis(50);

/// A listening socket, and the handshakes that a connection goes through before its request is read.
pub(crate) struct HubListener {
    socket: ListenerSocket,
    transport: Transport,
    tls: Option<ListenerTls>,
    upper_layers: UpperLayers,
    trusted: TrustedProxies,
    /// Whether QUIC carries packets as datagrams too.
    datagrams: bool,
    /// Whether connections over TCP begin with the PROXY protocol, which names their client.
    proxy_protocol: bool,
    local_addr: SocketAddr,
}

/// The transport above TCP, or above TLS on TCP.
enum UpperLayers {
    /// WebSocket, if configured, then smux, if configured.
    Stream(Option<WebSocketSettings>, Option<MuxSettings>),
    Http2(Http2Settings),
    Grpc(GrpcSettings),
}

impl UpperLayers {
    /// The path that hosts have to name, if it is not the usual one.
    fn path(&self) -> Option<String> {
        let unusual = |path: &String, usual: String| (*path != usual).then(|| path.clone());
        match self {
            Self::Stream(ws, _) => unusual(&ws.as_ref()?.path, WebSocketSettings::default().path),
            Self::Http2(http) => http.path.clone(),
            Self::Grpc(grpc) => unusual(&grpc.path, GrpcSettings::default().path),
        }
    }
}

struct ListenerTls {
    acceptor: Acceptor,
    /// Reads its files at once.
    reread: Arc<Notify>,
    /// Whether a host may only report names that are in its certificate.
    binds_names: bool,
}

enum ListenerSocket {
    Tcp(TcpListener),
    Twin(Box<dyn TwinListener>),
    Quic {
        listener: ArcSwap<QuicListener>,
        /// Listens again, after the socket has failed.
        again: Box<dyn Fn() -> Result<QuicListener, BindError> + Send + Sync>,
    },
}

/// A connection of which nothing has been read.
pub(crate) enum IncomingConnection {
    Tcp(TcpStream),
    Twin(Arc<dyn Stream>),
    Quic(Box<quic::Incoming>),
}

/// A hub cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum HubListenError {
    /// It cannot listen on its address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// It cannot listen on its address with QUIC.
    #[error(transparent)]
    Quic(#[from] BindError),
    /// Its TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl HubListener {
    /// Listens.
    pub(crate) fn open(
        service: &str,
        config: &ListenerSettings,
        workers: &Workers,
        machine: &Machine,
    ) -> Result<Self, HubListenError> {
        let tls = match config.stack.tls() {
            Some(tls) => Some(ListenerTls {
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
        let (socket, local_addr) = match (&config.stack, &tls, &machine.surroundings) {
            (TransportStack::Quic { quic, .. }, Some(tls), _) => {
                let tls = Arc::new(tls.acceptor.quic_config()?);
                // The worker that moves its packets.
                let slot = workers.take_slot();
                let (addr, quic) = (config.addr.clone(), quic.clone());
                let again = move || {
                    let _moved_by = slot.handle().enter();
                    let tls = Arc::clone(&tls);
                    QuicListener::bind(&addr, tls, &quic, &options)
                };
                let listener = again()?;
                let local_addr = listener.local_addr()?;
                let listener = ArcSwap::from_pointee(listener);
                (ListenerSocket::Quic { listener, again: Box::new(again) }, local_addr)
            }
            (_, _, Surroundings::Twin(twin)) => {
                let socket = twin.listen(&config.addr)?;
                let local_addr = socket.address();
                (ListenerSocket::Twin(socket), local_addr)
            }
            (_, _, Surroundings::System) => {
                let listener = tcp::listen(&config.addr, &options)?;
                let local_addr = listener.local_addr()?;
                (ListenerSocket::Tcp(listener), local_addr)
            }
        };
        Ok(Self {
            socket,
            transport: Transport::of(&config.stack),
            tls,
            upper_layers: match &config.stack {
                TransportStack::Tcp { ws, mux, .. } => UpperLayers::Stream(ws.clone(), *mux),
                TransportStack::Http2 { http, .. } => UpperLayers::Http2(http.clone()),
                TransportStack::Grpc { grpc, .. } => UpperLayers::Grpc(grpc.clone()),
                TransportStack::Quic { .. } => UpperLayers::Stream(None, None),
            },
            datagrams: matches!(
                &config.stack,
                TransportStack::Quic { quic: QuicSettings { datagrams: true, .. }, .. }
            ),
            proxy_protocol: config.proxy_protocol,
            trusted: TrustedProxies(config.trusted_proxies.clone().into()),
            local_addr,
        })
    }

    /// Whether the proxy at this address is trusted to name its client.
    pub(crate) fn trusts(&self, addr: IpAddr) -> bool {
        self.trusted.contains(addr)
    }

    /// The listener as reports see it. Does not keep it open.
    pub(crate) fn view(&self) -> ListenerView {
        ListenerView {
            address: self.local_addr,
            transport: self.transport,
            path: self.upper_layers.path(),
            tls: self.tls.as_ref().map(|tls| (tls.acceptor.clone(), Arc::clone(&tls.reread))),
        }
    }

    /// Follows the files of its certificate as they change, without end.
    pub(crate) async fn follow_certificate(&self, service: &str) {
        match &self.tls {
            Some(tls) => certificate::follow(service, &tls.acceptor, &tls.reread).await,
            None => pending().await,
        }
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<(IncomingConnection, SocketAddr)> {
        match &self.socket {
            ListenerSocket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((
                    IncomingConnection::Tcp(stream),
                    SocketAddr::new(peer.ip().to_canonical(), peer.port()),
                ))
            }
            ListenerSocket::Twin(socket) => {
                let (stream, peer) = socket.accept().await;
                Ok((IncomingConnection::Twin(stream), peer))
            }
            ListenerSocket::Quic { listener, again } => loop {
                if let Some(incoming) = listener.load_full().accept().await {
                    let peer = incoming.remote();
                    return Ok((IncomingConnection::Quic(Box::new(incoming)), peer));
                }
                // Its socket has failed, and may not recover.
                sleep(REOPEN_AFTER).await;
                listener.store(Arc::new(again().map_err(io::Error::other)?));
            },
        }
    }

    /// Does the transport's handshakes; `speaks` is called when the peer has sent something. Call this on the worker that is
    /// going to serve the connection.
    pub(crate) async fn receive(
        &self,
        incoming: IncomingConnection,
        peer: SocketAddr,
        speaks: impl FnOnce(),
    ) -> Result<Established, ListenerError> {
        match incoming {
            IncomingConnection::Tcp(stream) => {
                // From now on this worker's event loop watches the socket.
                let stream = TcpStream::from_std(stream.into_std()?)?;
                tcp::tune(&stream)?;
                self.receive_stream(Arc::new(stream), peer, speaks).await
            }
            IncomingConnection::Twin(stream) => self.receive_stream(stream, peer, speaks).await,
            IncomingConnection::Quic(incoming) => {
                let connection = incoming.accept().await?;
                let own = connection.peer_certificates().into_iter().next();
                let names = own
                    .filter(|_| self.tls.as_ref().is_some_and(|tls| tls.binds_names))
                    .map(|own| CertificateInfo::of(&own).map_or_else(Vec::new, |info| info.names));
                Ok(Established::Many(PendingStreams {
                    streams: StreamSource::Quic(connection, self.datagrams),
                    peer,
                    transport: self.transport,
                    names: names.map(Arc::from),
                }))
            }
        }
    }

    /// The handshakes on TCP, or on its twin.
    async fn receive_stream(
        &self,
        mut stream: Arc<dyn Stream>,
        mut peer: SocketAddr,
        speaks: impl FnOnce(),
    ) -> Result<Established, ListenerError> {
        stream.readable().await?;
        speaks();
        if self.proxy_protocol {
            if !self.trusts(peer.ip()) {
                return Err(ListenerError::UntrustedForwarder(peer.ip()));
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
        let many = |streams, peer, names| {
            Ok(Established::Many(PendingStreams { streams, peer, transport, names }))
        };
        match &self.upper_layers {
            UpperLayers::Http2(settings) => {
                let server = http2::serve(stream, settings);
                return many(StreamSource::Http(server, self.trusted.clone()), peer, names);
            }
            UpperLayers::Grpc(settings) => {
                let server = grpc::serve(stream, settings);
                return many(StreamSource::Http(server, self.trusted.clone()), peer, names);
            }
            UpperLayers::Stream(ws, mux) => {
                if let Some(settings) = ws {
                    let (socket, forwarded) = ws::accept(stream, settings).await?;
                    stream = socket;
                    from = self.trusted.client(peer, &forwarded)?;
                }
                if let Some(settings) = mux {
                    let session = MuxSession::server(stream, *settings);
                    return many(StreamSource::Mux(session), from, names);
                }
            }
        }
        Ok(Established::One(PendingStream { stream, peer: from, transport, names }))
    }
}

//! Opening what carries a session: through the proxies of a chain to a hub, layer upon layer.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rtun_config::model::{self, Carriage, DialTls, Header, HubNode, ProxyProtocol, Way, WebSocket};
use rtun_net::{
    tls::{Connector, TlsError},
    transport::{
        Stream, grpc,
        http2::{self, HttpError},
        mux::{self, MuxError},
        proxy::{HeaderVersion, ProxyError, write_proxy_header},
        quic::{self, QuicError},
        socket::SocketOptions,
        stream_only::StreamOnly,
        tcp::{self, ConnectError},
        ws::{self, WsError},
    },
};
use tracing::warn;

use super::proxies::Proxies;
use crate::{
    encryption,
    report::Transport,
    sockets::{mux_settings, quic_settings, socket_options},
    surroundings::Surroundings,
};

/// Limit for connecting over plain TCP unless configured: a lost packet of the handshake is repeated after 1 s, so a
/// network that works answers within it, and one that was cut is tried again soon after it is back.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// The same where layers and proxies take round trips of their own.
const LAYERED_DIAL_TIMEOUT: Duration = Duration::from_secs(6);

/// Opens one way to a hub, or to a proxy.
pub(super) struct Dialer {
    addr: String,
    carriage: Carriage<DialTls>,
    tls: Option<Encryption>,
    sockets: SocketOptions,
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
    /// It all took too long.
    #[error("not connected within {} s", .0.as_secs_f32())]
    Timeout(Duration),
}

impl Dialer {
    pub(super) fn to_hub(
        way: &Way,
        hub: &HubNode,
        surroundings: &Surroundings,
    ) -> Result<Self, SetupError> {
        let failed = |source| SetupError::Tls { addr: way.addr.clone(), source };
        Ok(Self {
            addr: way.addr.clone(),
            carriage: way.carriage.clone(),
            tls: Encryption::of(&way.carriage).map_err(failed)?,
            sockets: socket_options(&hub.sockets),
            proxy_protocol: hub.proxy_protocol,
            surroundings: surroundings.clone(),
        })
    }

    pub(super) fn transport(&self) -> Transport {
        Transport::of(&self.carriage)
    }

    /// How long it may take unless configured.
    pub(super) fn usual_limit(&self, proxies: &Proxies) -> Duration {
        match self.transport() {
            Transport::Tcp if !proxies.are_there() => DIAL_TIMEOUT,
            _ => LAYERED_DIAL_TIMEOUT,
        }
    }

    pub(super) async fn open(&self, proxies: &Proxies) -> Result<Arc<dyn Stream>, DialError> {
        if let (Carriage::Quic { quic, .. }, Some(tls)) = (&self.carriage, &self.tls) {
            return self.open_quic(quic, tls).await;
        }
        let mut stream = match (&self.surroundings, proxies.reach(&self.addr).await?) {
            (_, Some(stream)) => stream,
            (Surroundings::System, None) => {
                connect_tcp(&self.addr, &self.sockets, self.proxy_protocol).await?
            }
            (Surroundings::Twin(twin), None) => twin.connect(&self.addr).await?,
        };
        if let Some(tls) = &self.tls {
            stream = tls.connect(stream, &self.addr).await?;
        }
        let failed = |error| DialError::Http(self.addr.clone(), error);
        match &self.carriage {
            Carriage::Http2 { http, tls } => {
                let settings = http2::ClientSettings {
                    path: http.path.clone(),
                    host: http.host.clone().unwrap_or_else(|| self.addr.clone()),
                    headers: headers(&http.headers),
                    is_tls: tls.is_some(),
                };
                http2::connect(stream, &settings).await.map_err(failed)
            }
            Carriage::Grpc { grpc, tls } => {
                let authority = || host_of(&self.addr).to_owned();
                let settings = grpc::ClientSettings {
                    path: grpc.path.clone(),
                    host: grpc.authority.clone().unwrap_or_else(authority),
                    headers: Vec::new(),
                    is_tls: tls.is_some(),
                };
                grpc::connect(stream, &settings).await.map_err(failed)
            }
            Carriage::Tcp { ws, mux, .. } => {
                if let Some(ws) = ws {
                    let connected = ws::connect(stream, &web_socket(ws, &self.addr)).await;
                    stream = connected.map_err(|error| DialError::Ws(self.addr.clone(), error))?;
                }
                if let Some(mux) = mux {
                    let session = mux::Session::client(stream, mux_settings(mux));
                    let opened = session.open();
                    stream = opened.map_err(|error| DialError::Mux(self.addr.clone(), error))?;
                    // It ends with its only stream.
                    session.release();
                }
                Ok(stream)
            }
            Carriage::Quic { .. } => Ok(stream),
        }
    }

    async fn open_quic(
        &self,
        quic: &model::Quic,
        tls: &Encryption,
    ) -> Result<Arc<dyn Stream>, DialError> {
        let failed = |error| DialError::Tls(self.addr.clone(), error);
        let connector = tls.connector();
        let name = connector.name_for(host_of(&self.addr)).map_err(failed)?;
        let (protocols, witness) = connector.quic_config(&[]).map_err(failed)?;
        let (name, protocols, settings) = (name.to_str(), Arc::new(protocols), quic_settings(quic));
        let (sockets, limit) = (&self.sockets, LAYERED_DIAL_TIMEOUT);
        let opened = quic::connect(&self.addr, &name, protocols, &settings, sockets, limit).await;
        match opened {
            Ok(stream) if quic.datagrams => Ok(stream),
            Ok(stream) => Ok(Arc::new(StreamOnly(stream))),
            Err(error) => Err(match witness.refusal() {
                Some(refusal) => failed(refusal),
                None => error.into(),
            }),
        }
    }
}

/// A connection over TCP; it is the caller who limits the time for the whole.
pub(super) async fn connect_tcp(
    addr: &str,
    sockets: &SocketOptions,
    preamble: Option<ProxyProtocol>,
) -> Result<Arc<dyn Stream>, DialError> {
    let stream = tcp::connect(addr, sockets, LAYERED_DIAL_TIMEOUT).await?;
    let broken = |error| DialError::Broken(addr.to_owned(), error);
    let ends = stream.local_addr().and_then(|own| Ok((own, stream.peer_addr()?)));
    let stream: Arc<dyn Stream> = Arc::new(stream);
    if let Some(preamble) = preamble {
        let version = match preamble {
            ProxyProtocol::V1 => HeaderVersion::One,
            ProxyProtocol::V2 => HeaderVersion::Two,
        };
        let (source, destination) = ends.map_err(broken)?;
        let written = write_proxy_header(&*stream, version, source, destination).await;
        written.map_err(broken)?;
    }
    Ok(stream)
}

/// A dialer's TLS. Its files are read again for each connection; while they cannot be used those read before count.
pub(super) struct Encryption {
    config: DialTls,
    protocols: &'static [&'static str],
    last: Mutex<Connector>,
}

impl Encryption {
    pub(super) fn of(carriage: &Carriage<DialTls>) -> Result<Option<Self>, TlsError> {
        let Some(config) = carriage.tls() else { return Ok(None) };
        let protocols = encryption::usual_protocols(carriage);
        let last = Mutex::new(encryption::connector(config, protocols)?);
        Ok(Some(Self { config: config.clone(), protocols, last }))
    }

    /// Encrypts `stream`, which leads to `addr`.
    pub(super) async fn connect(
        &self,
        stream: Arc<dyn Stream>,
        addr: &str,
    ) -> Result<Arc<dyn Stream>, DialError> {
        match self.connector().connect(stream, host_of(addr)).await {
            Ok(connected) => Ok(connected.stream),
            Err(error) => Err(DialError::Tls(addr.to_owned(), error)),
        }
    }

    fn connector(&self) -> Connector {
        // A poisoned lock still guards a whole connector: it is only ever replaced.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match encryption::connector(&self.config, self.protocols) {
            Ok(connector) => *last = connector,
            Err(error) => warn!("the files of TLS are used as they were before: {error}"),
        }
        last.clone()
    }
}

pub(super) fn headers(config: &[Header]) -> Vec<(String, String)> {
    config.iter().map(|it| (it.name.clone(), it.value.expose().to_owned())).collect()
}

fn web_socket(config: &WebSocket, addr: &str) -> ws::ClientSettings {
    ws::ClientSettings {
        path: config.path.clone(),
        host: config.host.clone().unwrap_or_else(|| addr.to_owned()),
        headers: headers(&config.headers),
        ping_every: config.ping_every,
    }
}

/// The host of `host:port`, without brackets.
fn host_of(addr: &str) -> &str {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

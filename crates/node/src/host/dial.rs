//! Opening what carries a session: through the proxies of a chain to a hub, layer upon layer.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rtun_config::model::{self, Carriage, DialTls, Header, HubNode, ProxyHop, Way, WebSocket};
use rtun_net::{
    tls::{Connector, TlsError},
    transport::{
        Stream, grpc,
        http2::{self, HttpError},
        quic::{self, QuicError},
        socket::SocketOptions,
        tcp::{self, ConnectError},
        ws::{self, WsError},
    },
};
use tracing::warn;

use crate::{
    encryption,
    report::Transport,
    sockets::{quic_settings, socket_options},
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
}

/// The proxies that each connection goes through.
pub(super) struct Proxies {}

impl Proxies {
    pub(super) fn new(_hops: &[ProxyHop]) -> Result<Self, SetupError> {
        Ok(Self {})
    }
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
    /// There is no encrypted connection.
    #[error("TLS with {0}: {1}")]
    Tls(String, TlsError),
    /// The address was not reached over QUIC.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// There is no HTTP/2 stream.
    #[error("HTTP/2 with {0}: {1}")]
    Http(String, HttpError),
    /// There is no WebSocket.
    #[error("WebSocket with {0}: {1}")]
    Ws(String, WsError),
    /// It all took too long.
    #[error("not connected within {} s", .0.as_secs_f32())]
    Timeout(Duration),
}

impl Dialer {
    pub(super) fn to_hub(way: &Way, hub: &HubNode) -> Result<Self, SetupError> {
        let failed = |source| SetupError::Tls { addr: way.addr.clone(), source };
        Ok(Self {
            addr: way.addr.clone(),
            carriage: way.carriage.clone(),
            tls: Encryption::of(&way.carriage).map_err(failed)?,
            sockets: socket_options(&hub.sockets),
        })
    }

    pub(super) fn transport(&self) -> Transport {
        Transport::of(&self.carriage)
    }

    /// How long it may take unless configured.
    pub(super) fn usual_limit(&self) -> Duration {
        match self.transport() {
            Transport::Tcp => DIAL_TIMEOUT,
            _ => LAYERED_DIAL_TIMEOUT,
        }
    }

    pub(super) async fn open(&self, _proxies: &Proxies) -> Result<Arc<dyn Stream>, DialError> {
        if let (Carriage::Quic { quic, .. }, Some(tls)) = (&self.carriage, &self.tls) {
            return self.open_quic(quic, tls).await;
        }
        let mut stream: Arc<dyn Stream> =
            Arc::new(tcp::connect(&self.addr, &self.sockets, self.usual_limit()).await?);
        if let Some(tls) = &self.tls {
            let connected = tls.connector().connect(stream, host_of(&self.addr)).await;
            stream = connected.map_err(|error| DialError::Tls(self.addr.clone(), error))?.stream;
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
            Carriage::Tcp { ws: Some(ws), .. } => {
                let connected = ws::connect(stream, &web_socket(ws, &self.addr)).await;
                connected.map_err(|error| DialError::Ws(self.addr.clone(), error))
            }
            Carriage::Tcp { .. } | Carriage::Quic { .. } => Ok(stream),
        }
    }
}

impl Dialer {
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
        let limit = self.usual_limit();
        let opened =
            quic::connect(&self.addr, &name, protocols, &settings, &self.sockets, limit).await;
        match opened {
            Ok(stream) => Ok(stream),
            Err(error) => Err(match witness.refusal() {
                Some(refusal) => failed(refusal),
                None => error.into(),
            }),
        }
    }
}

/// A dialer's TLS. Its files are read again for each connection; while they cannot be used those read before count.
struct Encryption {
    config: DialTls,
    protocols: &'static [&'static str],
    last: Mutex<Connector>,
}

impl Encryption {
    fn of(carriage: &Carriage<DialTls>) -> Result<Option<Self>, TlsError> {
        let Some(config) = carriage.tls() else { return Ok(None) };
        let protocols = encryption::usual_protocols(carriage);
        let last = Mutex::new(encryption::connector(config, protocols)?);
        Ok(Some(Self { config: config.clone(), protocols, last }))
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

fn headers(config: &[Header]) -> Vec<(String, String)> {
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

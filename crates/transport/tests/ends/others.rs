//! Sources of streams of every kind, and other sides of them that are not rtun's.

use std::{any::Any, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request};
use quinn::{ClientConfig, Endpoint, VarInt, crypto::rustls::QuicClientConfig};
use rtun_proto::mux::{Command, header};
use rtun_settings::{
    GrpcSettings, Http2Settings, ListenOptions, MuxSettings, MuxVersion, QuicSettings,
    SocketOptions,
};
use rtun_transport::{
    Stream, grpc, grpc_message, http2,
    io_stream::IoStream,
    mux,
    quic::{QuicConnection, QuicListener},
    tcp,
};
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::certificates::{Ca, NAME};

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The transports that carry many streams.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Mux(MuxVersion),
    Http2,
    Grpc,
    Quic,
}

pub(crate) const KINDS: [Kind; 5] =
    [Kind::Mux(MuxVersion::One), Kind::Mux(MuxVersion::Two), Kind::Http2, Kind::Grpc, Kind::Quic];

/// What streams come from.
pub(crate) enum Source {
    Mux(mux::MuxSession),
    Http(http2::Server),
    Quic(QuicConnection, Box<QuicListener>),
}

impl Source {
    pub(crate) async fn next(&mut self) -> Result<Option<Arc<dyn Stream>>, String> {
        match self {
            Self::Mux(session) => session.accept().await.map_err(|error| error.to_string()),
            Self::Http(server) => {
                let next = server.next().await.map_err(|error| error.to_string())?;
                Ok(next.map(|(stream, _)| stream))
            }
            Self::Quic(connection, _) => {
                let next = connection.accept_stream().await.map_err(|error| error.to_string())?;
                Ok(next.map(|stream| stream as _))
            }
        }
    }

    pub(crate) async fn shutdown(self, within: Duration) {
        match self {
            Self::Mux(session) => session.shutdown(within).await,
            Self::Http(server) => server.shutdown(within).await,
            Self::Quic(connection, _listener) => connection.shutdown(within).await,
        }
    }
}

/// The other side of a source: a library that is not rtun's, or bytes.
pub(crate) enum Other {
    /// Of smux, byte by byte; streams that were opened.
    Mux(TcpStream, MuxVersion, u32),
    Http {
        requests: h2::client::SendRequest<Bytes>,
        driver: JoinHandle<()>,
        below: Arc<TcpStream>,
        kind: Kind,
    },
    Quic(quinn::Connection, Endpoint, Apart),
}

/// A runtime of its own, whose end is that of all its tasks.
pub(crate) struct Apart(Option<Runtime>);

impl Drop for Apart {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// What keeps a stream open at its other side.
pub(crate) struct OtherStream {
    _held: Box<dyn Any>,
}

impl OtherStream {
    fn of(held: impl Any) -> Self {
        Self { _held: Box::new(held) }
    }
}

/// The two ends of a connection on which no stream was opened.
pub(crate) async fn connection(kind: Kind) -> (Source, Other) {
    if kind == Kind::Quic {
        return quic_connection().await;
    }
    let (client, server) = tcp_pair().await;
    let server: Arc<dyn Stream> = Arc::new(server);
    let source = match kind {
        Kind::Mux(version) => {
            let settings = MuxSettings { version, ..MuxSettings::default() };
            return (
                Source::Mux(mux::MuxSession::server(server, settings)),
                Other::Mux(client, version, 0),
            );
        }
        Kind::Grpc => grpc::serve(server, &GrpcSettings::default()),
        Kind::Http2 | Kind::Quic => http2::serve(server, &Http2Settings::default()),
    };
    let below = Arc::new(client);
    let io = IoStream(Arc::clone(&below) as _);
    let (requests, connection) = h2::client::handshake(io).await.unwrap();
    let driver = tokio::spawn(async { drop(connection.await) });
    let requests = timeout(PATIENCE, requests.ready()).await.unwrap().unwrap();
    (Source::Http(source), Other::Http { requests, driver, below, kind })
}

async fn quic_connection() -> (Source, Other) {
    let ca = Ca::new();
    let settings = QuicSettings {
        keepalive: None,
        idle_timeout: Duration::from_millis(700),
        ..QuicSettings::default()
    };
    let options = ListenOptions::default();
    let listener = QuicListener::bind("127.0.0.1:0", ca.server(), &settings, &options).unwrap();
    let mut tls = Arc::unwrap_or_clone(ca.client());
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let apart = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (endpoint, connecting) = {
        let _in = apart.enter();
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap();
        let connecting = endpoint.connect_with(config, addr, NAME).unwrap();
        (endpoint, connecting)
    };
    let accepting = async { listener.accept().await.unwrap().accept().await.unwrap() };
    let (connection, accepted) = tokio::join!(connecting, accepting);
    let other = Other::Quic(connection.unwrap(), endpoint, Apart(Some(apart)));
    (Source::Quic(accepted, Box::new(listener)), other)
}

pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = tcp::listen("127.0.0.1:0", &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let client =
        tcp::connect(&address.into(), &SocketOptions::default(), None, PATIENCE).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (client, server)
}

impl Other {
    /// Opens a stream and says `bytes` on it.
    pub(crate) async fn open(&mut self, bytes: &'static [u8]) -> OtherStream {
        match self {
            Self::Mux(below, version, opened) => {
                let id = 3 + 2 * *opened;
                *opened += 1;
                let length = u16::try_from(bytes.len()).unwrap();
                let mut frames = header(*version, Command::Syn, 0, id).to_vec();
                frames.extend(header(*version, Command::Psh, length, id));
                frames.extend(bytes);
                (below as &dyn Stream).write_all(&frames).await.unwrap();
                OtherStream::of(())
            }
            Self::Http { requests, kind, .. } => {
                let request = match kind {
                    Kind::Grpc => Request::post("http://hub/GostTunel/Tunnel")
                        .header("content-type", "application/grpc")
                        .header("te", "trailers"),
                    _ => Request::builder().method(Method::CONNECT).uri("hub:443"),
                };
                let opened = requests.send_request(request.body(()).unwrap(), false);
                let (response, mut body) = opened.unwrap();
                let mut message = match kind {
                    Kind::Grpc => {
                        grpc_message::GrpcHeader::new(bytes.len() as u32).bytes().to_vec()
                    }
                    _ => Vec::new(),
                };
                message.extend(bytes);
                body.send_data(message.into(), false).unwrap();
                OtherStream::of((response, body))
            }
            Self::Quic(connection, ..) => {
                let (mut send, recv) = connection.open_bi().await.unwrap();
                send.write_all(bytes).await.unwrap();
                OtherStream::of((send, recv))
            }
        }
    }

    /// Waits until the connection is gone, with whatever comes before discarded.
    pub(crate) async fn gone(&self) {
        let gone = async {
            match self {
                Self::Mux(below, ..) => gone(below).await,
                Self::Http { driver, .. } => {
                    while !driver.is_finished() {
                        sleep(Duration::from_millis(1)).await;
                    }
                }
                Self::Quic(connection, ..) => drop(connection.closed().await),
            }
        };
        timeout(Duration::from_secs(1), gone).await.expect("the connection is gone at once");
    }

    /// Ends the connection as its standard says.
    pub(crate) fn close(self) {
        match self {
            // With nothing unread, for which the system would reset the connection.
            Self::Mux(below, ..) => drop(tokio::spawn(async move {
                (&below as &dyn Stream).shutdown().await.unwrap();
                gone(&below).await;
            })),
            Self::Http { requests, .. } => drop(requests),
            Self::Quic(connection, endpoint, apart) => {
                connection.close(VarInt::from_u32(0), b"bye");
                // The runtime says it.
                tokio::spawn(async move {
                    endpoint.wait_idle().await;
                    drop(apart);
                });
            }
        }
    }

    /// Is killed: over TCP with a reset.
    pub(crate) fn vanish(self) {
        match self {
            Self::Mux(below, ..) => resets(&below),
            Self::Http { below, driver, .. } => {
                resets(&below);
                driver.abort();
            }
            Self::Quic(_, _, apart) => drop(apart),
        }
    }

    /// What a connection over TCP stands on.
    pub(crate) fn below(&self) -> &TcpStream {
        match self {
            Self::Mux(below, ..) => below,
            Self::Http { below, .. } => below,
            Self::Quic(..) => panic!("there is no TCP below QUIC"),
        }
    }
}

/// Has the system reset a connection whose descriptor is closed, instead of ending it.
fn resets(below: &TcpStream) {
    SockRef::from(below).set_linger(Some(Duration::ZERO)).unwrap();
}

async fn gone(below: &TcpStream) {
    let below: &dyn Stream = below;
    while matches!(below.read(&mut [0; 1000]).await, Ok(1..)) {}
}

//! A listener on loopback and streams to it.

use std::{sync::Arc, time::Duration};

use rtun_transport::{
    Stream,
    names::Names,
    quic::{self, BindError, Connection, Listener, QuicError, QuicStream, Settings},
    socket::{ListenOptions, SocketOptions},
};

use super::certificates::{Ca, NAME};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A listener and the authority of its certificate.
pub(crate) struct Server {
    pub(crate) ca: Ca,
    pub(crate) listener: Listener,
}

/// Listens on a usual socket.
pub(crate) fn bind(
    addr: &str,
    tls: Arc<rustls::ServerConfig>,
    settings: &Settings,
) -> Result<Listener, BindError> {
    Listener::bind(addr, tls, settings, &ListenOptions::default())
}

/// Dials an address from a usual socket.
pub(crate) async fn connect(
    addr: &str,
    server_name: &str,
    tls: Arc<rustls::ClientConfig>,
    settings: &Settings,
    within: Duration,
) -> Result<Arc<QuicStream>, QuicError> {
    let addr = Names::default().find(addr, None, within).await.expect("an address");
    quic::connect(&addr, server_name, tls, settings, &SocketOptions::default(), within).await
}

pub(crate) fn server() -> Server {
    server_with(&Settings::default())
}

pub(crate) fn server_with(settings: &Settings) -> Server {
    let ca = Ca::new();
    let listener = bind("127.0.0.1:0", ca.server(), settings).unwrap();
    Server { ca, listener }
}

impl Server {
    pub(crate) fn addr(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// Dials with what the server accepts.
    pub(crate) async fn dial(&self, settings: &Settings) -> Result<Arc<QuicStream>, QuicError> {
        connect(&self.addr(), NAME, self.ca.client(), settings, PATIENCE).await
    }

    /// Makes the next connection.
    pub(crate) async fn accept(&self) -> Connection {
        self.listener.accept().await.unwrap().accept().await.unwrap()
    }
}

/// The dialled and the accepted end of a new stream, and what the latter belongs to.
pub(crate) async fn pair(server: &Server) -> (Arc<QuicStream>, Arc<QuicStream>, Connection) {
    let settings = Settings::default();
    let (client, connection) = tokio::join!(server.dial(&settings), server.accept());
    let client = client.unwrap();
    let accepted = first_stream(&client, &connection).await;
    (client, accepted, connection)
}

/// The accepted end of `client`'s stream, which tells of itself with a byte.
pub(crate) async fn first_stream(
    client: &Arc<QuicStream>,
    connection: &Connection,
) -> Arc<QuicStream> {
    as_stream(client).write_all(b"!").await.unwrap();
    let accepted = connection.accept_stream().await.unwrap().unwrap();
    let mut byte = [0];
    as_stream(&accepted).read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"!");
    accepted
}

pub(crate) fn as_stream(stream: &Arc<QuicStream>) -> &dyn Stream {
    &**stream
}

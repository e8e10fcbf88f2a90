//! A listener on loopback and streams to it.

use std::{sync::Arc, time::Duration};

use rtun_settings::{ListenOptions, QuicSettings, SocketOptions};
use rtun_transport::{
    Stream,
    names::Names,
    quic::{self, BindError, QuicConnection, QuicError, QuicListener, QuicStream},
};

use super::certificates::{Ca, NAME};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A listener and the authority of its certificate.
pub(crate) struct Server {
    pub(crate) ca: Ca,
    pub(crate) listener: QuicListener,
}

/// Listens on a usual socket.
pub(crate) fn bind(
    addr: &str,
    tls: Arc<rustls::ServerConfig>,
    settings: &QuicSettings,
) -> Result<QuicListener, BindError> {
    QuicListener::bind(addr, tls, settings, &ListenOptions::default())
}

/// Dials an address from a usual socket.
pub(crate) async fn connect(
    addr: &str,
    server_name: &str,
    tls: Arc<rustls::ClientConfig>,
    settings: &QuicSettings,
    within: Duration,
) -> Result<Arc<QuicStream>, QuicError> {
    let addr = Names::default().find(addr, None, within).await.expect("an address");
    let options = SocketOptions::default();
    quic::connect(&addr, server_name, tls, settings, &options, within).await
}

pub(crate) fn server() -> Server {
    server_with(&QuicSettings::default())
}

pub(crate) fn server_with(settings: &QuicSettings) -> Server {
    let ca = Ca::new();
    let listener = bind("127.0.0.1:0", ca.server(), settings).unwrap();
    Server { ca, listener }
}

impl Server {
    pub(crate) fn addr(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// Dials with what the server accepts.
    pub(crate) async fn dial(&self, settings: &QuicSettings) -> Result<Arc<QuicStream>, QuicError> {
        connect(&self.addr(), NAME, self.ca.client(), settings, PATIENCE).await
    }

    /// Makes the next connection.
    pub(crate) async fn accept(&self) -> QuicConnection {
        self.listener.accept().await.unwrap().accept().await.unwrap()
    }
}

/// The dialled and the accepted end of a new stream, and what the latter belongs to.
pub(crate) async fn pair(server: &Server) -> (Arc<QuicStream>, Arc<QuicStream>, QuicConnection) {
    let settings = QuicSettings::default();
    let (client, connection) = tokio::join!(server.dial(&settings), server.accept());
    let client = client.unwrap();
    let accepted = first_stream(&client, &connection).await;
    (client, accepted, connection)
}

/// The accepted end of `client`'s stream, which tells of itself with a byte.
pub(crate) async fn first_stream(
    client: &Arc<QuicStream>,
    connection: &QuicConnection,
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

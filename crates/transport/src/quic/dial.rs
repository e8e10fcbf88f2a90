//! Connecting: all addresses of a name, one socket each, and the first to finish its handshake.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{
    ClientConfig, ConnectError, Endpoint, EndpointConfig, TokioRuntime,
    crypto::rustls::{NoInitialCipherSuite, QuicClientConfig},
};
use rtun_settings::{QuicSettings, SocketOptions};
use tokio::time::timeout;

use super::{
    datagrams::QuicDatagrams,
    error::{QuicHandshakeError, ended},
    flow::QuicFlow,
    settings::{handshake_limit, offering, transport},
    socket,
    stream::{Owner, QuicStream},
};
use crate::{
    names::ResolvedAddr,
    race::{AddressRace, Tried},
    socket::bindings,
};

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// The TLS settings lack what QUIC needs.
    #[error("TLS settings unfit for QUIC, which needs TLS 1.3 with AES-128-GCM: {0}")]
    Tls(#[from] NoInitialCipherSuite),
    /// No address led to a connection.
    #[error("cannot connect to {addr}: {tried}")]
    Failed {
        /// What was to be reached.
        addr: String,
        /// Each address tried.
        tried: Tried<QuicHandshakeError>,
    },
    /// Time was up before any handshake was done. Where nobody listens there is no answer either.
    #[error("cannot connect to {addr} within {} s: {tried}", .after.as_secs_f32())]
    TimedOut {
        /// What was to be reached.
        addr: String,
        /// How long it was tried.
        after: Duration,
        /// Each address tried.
        tried: Tried<QuicHandshakeError>,
    },
    /// The other side ended the connection before it let a stream be opened.
    #[error("cannot open a stream to {addr}: {source}")]
    Stream {
        /// What was to be reached.
        addr: String,
        /// What happened.
        source: io::Error,
    },
}

/// Connects to one of the addresses of `to` and opens a stream, trying them as
/// [`tcp::connect`](crate::tcp::connect) does. It all takes at most `within`, and each handshake at most what the
/// settings give it. `server_name`, a DNS name or an IP address, is what the other side's certificate has to be for, if `tls`
/// verifies that. `tls` is given [`ALPN`](super::ALPN) if it names no protocols.
///
/// The other side learns of the stream with its first byte. With TLS 1.3 it also judges a client certificate later than this
/// returns: a refusal is an error of the stream.
pub async fn connect(
    to: &ResolvedAddr,
    server_name: &str,
    tls: Arc<rustls::ClientConfig>,
    settings: &QuicSettings,
    options: &SocketOptions,
    within: Duration,
) -> Result<Arc<QuicStream>, QuicError> {
    let client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(offering(tls))?));
    let race = AddressRace::default();
    let connect = async {
        let begin = |socket, address| {
            handshake_from(socket, address, server_name, client.clone(), settings)
        };
        let attempt = |address| handshake(address, options, begin);
        match race.run(to, attempt).await {
            Some(connection) => open(&to.addr, connection).await.map(Some),
            None => Ok(None),
        }
    };
    let connected = timeout(within, connect).await;
    let (addr, tried) = (to.addr.clone(), || race.tried(to));
    match connected {
        Ok(Ok(Some(stream))) => Ok(Arc::new(stream)),
        Ok(Ok(None)) => Err(QuicError::Failed { addr, tried: tried() }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(QuicError::TimedOut { addr, after: within, tried: tried() }),
    }
}

async fn open(
    addr: &str,
    (connection, flow): (quinn::Connection, Arc<QuicFlow>),
) -> Result<QuicStream, QuicError> {
    let ends = connection
        .open_bi()
        .await
        .map_err(|error| QuicError::Stream { addr: addr.to_owned(), source: ended(error) })?;
    let datagrams = QuicDatagrams::of(&connection, &flow);
    Ok(QuicStream::new(connection, flow, ends, datagrams, Owner::Stream))
}

/// A handshake by each interface until one works.
async fn handshake<T, F: Future<Output = Result<T, QuicHandshakeError>>>(
    address: SocketAddr,
    options: &SocketOptions,
    begin: impl Fn(UdpSocket, SocketAddr) -> F,
) -> Result<T, QuicHandshakeError> {
    let none = "no interface has an address of this family";
    let mut failure =
        QuicHandshakeError::Socket(io::Error::new(io::ErrorKind::AddrNotAvailable, none));
    for interface in bindings(options, address) {
        let socket =
            socket::bind_towards(address, options, interface).map_err(QuicHandshakeError::Socket);
        let connected = match socket {
            Ok(socket) => begin(socket, address).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(connection) => return Ok(connection),
            Err(error) => failure = error,
        }
        if interface.is_some_and(|interface| interface.strict) {
            break;
        }
    }
    Err(failure)
}

/// One handshake from a socket of its own, so that a change of address concerns this connection alone.
async fn handshake_from(
    socket: UdpSocket,
    address: SocketAddr,
    server_name: &str,
    mut client: ClientConfig,
    settings: &QuicSettings,
) -> Result<(quinn::Connection, Arc<QuicFlow>), QuicHandshakeError> {
    let limit = handshake_limit(settings);
    let flow = QuicFlow::new();
    // The listening side of a tunnel opens no streams.
    client.transport_config(Arc::new(transport(settings, 0, &flow)));
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
        .map_err(QuicHandshakeError::Socket)?;
    let connecting =
        endpoint.connect_with(client, address, server_name).map_err(|error| match error {
            ConnectError::InvalidServerName(name) => QuicHandshakeError::ServerName { name },
            error => QuicHandshakeError::Socket(io::Error::new(io::ErrorKind::InvalidInput, error)),
        })?;
    match timeout(limit, connecting).await {
        Ok(connection) => Ok((connection?, flow)),
        Err(_) => Err(QuicHandshakeError::TimedOut { after: limit }),
    }
}

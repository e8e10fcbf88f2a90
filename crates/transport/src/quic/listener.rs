//! Listening: one UDP socket for all connections, with a bound on handshakes that are not done.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use quinn::{
    Endpoint, EndpointConfig, ServerConfig, TokioRuntime,
    crypto::rustls::{NoInitialCipherSuite, QuicServerConfig},
};
use rtun_settings::{ListenOptions, QuicSettings};
use tokio::time::timeout;

use super::{
    connection::QuicConnection,
    error::QuicHandshakeError,
    flow::QuicFlow,
    settings::{accepting, handshake_limit, max_streams, transport},
    socket,
};
use crate::tcp::{ListenError, bind_first};

/// Open handshakes above which senders are left without an answer; they try again, as with a full TCP backlog. So when many
/// hosts come at once, all get in, one after the other.
pub const HANDSHAKES_MAX: usize = 512;

/// First packets that wait for [`QuicListener::accept`]; further ones are dropped, and their senders try again.
const INCOMING_MAX: usize = 1024;

/// Bytes that follow one first packet and wait with it, and the same of all.
const INCOMING_BUFFER: u64 = 16 * 1024;
const INCOMING_BUFFERS: u64 = 4 * 1024 * 1024;

/// Why QUIC cannot be listened for.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is none, or the system refused it.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The TLS settings lack what QUIC needs.
    #[error("TLS settings unfit for QUIC, which needs TLS 1.3 with AES-128-GCM: {0}")]
    Tls(#[from] NoInitialCipherSuite),
    /// The runtime does not take the socket.
    #[error("cannot serve a UDP socket: {0}")]
    Socket(#[source] io::Error),
}

/// What was not let in so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedHandshakes {
    /// First packets whose senders had to prove their address.
    pub retried: u64,
    /// Left without an answer because too many were open.
    pub ignored: u64,
}

/// A socket that takes connections. Dropping it takes no more; those there are live on.
#[derive(Debug)]
pub struct QuicListener {
    endpoint: Endpoint,
    settings: QuicSettings,
    server: Mutex<ServerConfig>,
    open: Arc<AtomicUsize>,
    retried: AtomicU64,
    ignored: AtomicU64,
}

/// A sender that wants a connection, has proven its address and was not answered since. Dropping it refuses.
#[derive(Debug)]
pub struct Incoming {
    inner: quinn::Incoming,
    server: ServerConfig,
    settings: QuicSettings,
    open: OpenHandshake,
}

/// One open handshake.
#[derive(Debug)]
struct OpenHandshake(Arc<AtomicUsize>);

impl OpenHandshake {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for OpenHandshake {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl QuicListener {
    /// Listens on `addr`, as [`tcp::listen`](crate::tcp::listen) does: `host:port`, or `:port` for all addresses of
    /// both families. `tls` is given [`ALPN`](super::ALPN) if it names no protocols.
    ///
    /// Must be called within a tokio runtime; a host name in `addr` is looked up and blocks for it.
    pub fn bind(
        addr: &str,
        tls: Arc<rustls::ServerConfig>,
        settings: &QuicSettings,
        options: &ListenOptions,
    ) -> Result<Self, BindError> {
        let mut server =
            ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(accepting(tls))?));
        server
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BUFFER)
            .incoming_buffer_size_total(INCOMING_BUFFERS);
        let socket =
            bind_first(addr, options.netns.as_ref(), |address| socket::bind(address, options))?;
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            Some(server.clone()),
            socket,
            Arc::new(TokioRuntime),
        )
        .map_err(BindError::Socket)?;
        Ok(Self {
            endpoint,
            settings: settings.clone(),
            server: Mutex::new(server),
            open: Arc::default(),
            retried: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
        })
    }

    /// The address listened on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Has connections from now on made with `tls`.
    pub fn set_tls(&self, tls: Arc<rustls::ServerConfig>) -> Result<(), NoInitialCipherSuite> {
        let crypto = Arc::new(QuicServerConfig::try_from(accepting(tls))?);
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.crypto = crypto;
        self.endpoint.set_server_config(Some(server.clone()));
        Ok(())
    }

    /// Waits for the next sender that wants a connection and has proven its address. All others have to prove theirs by a
    /// Retry (RFC 9000 section 8.1.2), for which nothing is kept here: a sender that forges addresses takes no place, and less is sent
    /// to them than in their name. Without that quinn answers with up to a packet more than the three times which
    /// section 8.1 allows. Above [`HANDSHAKES_MAX`] open handshakes senders get no answer. `None` when the listener is closed.
    /// Loses nothing when dropped.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let incoming = self.endpoint.accept().await?;
            if !incoming.remote_address_validated() {
                self.retried.fetch_add(1, Ordering::Relaxed);
                // Fails only where the address is proven.
                let _ = incoming.retry();
            } else if self.open.load(Ordering::Relaxed) >= HANDSHAKES_MAX {
                self.ignored.fetch_add(1, Ordering::Relaxed);
                incoming.ignore();
            } else {
                return Some(Incoming {
                    inner: incoming,
                    server: self.server.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                    settings: self.settings.clone(),
                    open: OpenHandshake::take(&self.open),
                });
            }
        }
    }

    /// Handshakes that are open now.
    pub fn open_handshakes(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// What was not let in so far.
    pub fn counts(&self) -> RefusedHandshakes {
        RefusedHandshakes {
            retried: self.retried.load(Ordering::Relaxed),
            ignored: self.ignored.load(Ordering::Relaxed),
        }
    }

    /// Waits until every connection has ended and the other sides were informed, for an orderly end of the process.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

impl Drop for QuicListener {
    fn drop(&mut self) {
        self.endpoint.set_server_config(None);
    }
}

impl Incoming {
    /// Where the sender is.
    pub fn remote(&self) -> SocketAddr {
        socket::canonical(self.inner.remote_address())
    }

    /// Whether the sender has proven that it is at [`Incoming::remote`], as each has that [`QuicListener::accept`] yields.
    pub fn is_validated(&self) -> bool {
        self.inner.remote_address_validated()
    }

    /// Tells the sender that it gets no connection.
    pub fn refuse(self) {
        self.inner.refuse();
    }

    /// Makes the connection: the whole handshake, within the time the settings give it.
    pub async fn accept(self) -> Result<QuicConnection, QuicHandshakeError> {
        let Self { inner, mut server, settings, open: _open } = self;
        let limit = handshake_limit(&settings);
        let flow = QuicFlow::new();
        let streams = max_streams(&settings);
        server.transport_config(Arc::new(transport(&settings, streams, &flow)));
        let connecting = inner.accept_with(Arc::new(server))?;
        match timeout(limit, connecting).await {
            Ok(connection) => Ok(QuicConnection::new(connection?, flow)),
            Err(_) => Err(QuicHandshakeError::TimedOut { after: limit }),
        }
    }
}

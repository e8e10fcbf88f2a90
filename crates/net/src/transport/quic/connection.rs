//! A connection as the listening side sees it: the streams that the other side opens on it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use quinn::{ConnectionError, VarInt, crypto::rustls::HandshakeData};
use rustls::pki_types::CertificateDer;

use super::{
    datagrams::QuicDatagrams, error::ended, flow::Flow, socket::canonical, stream::QuicStream,
};

/// A connection whose handshake is done. It lives while this or a stream of it does.
#[derive(Debug)]
pub struct Connection {
    inner: quinn::Connection,
    flow: Arc<Flow>,
    /// A stream was accepted, and has the datagrams.
    has_stream: AtomicBool,
}

impl Connection {
    pub(super) fn new(inner: quinn::Connection, flow: Arc<Flow>) -> Self {
        Self { inner, flow, has_stream: AtomicBool::new(false) }
    }

    /// Waits for the next stream that the other side opens; `None` when it has closed the connection, or
    /// [`Connection::close`] was called. After an error there are no more. The first has the connection's datagrams, if both
    /// sides have agreed on having any. Loses nothing when dropped.
    pub async fn accept_stream(&self) -> Option<io::Result<Arc<QuicStream>>> {
        match self.inner.accept_bi().await {
            Ok(ends) => {
                let is_first = !self.has_stream.swap(true, Ordering::Relaxed);
                let datagrams =
                    is_first.then(|| QuicDatagrams::of(&self.inner, &self.flow)).flatten();
                let (connection, flow) = (self.inner.clone(), Arc::clone(&self.flow));
                Some(Ok(Arc::new(QuicStream::new(connection, flow, ends, datagrams))))
            }
            Err(ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed) => None,
            Err(error) => Some(Err(ended(error))),
        }
    }

    /// Where the other side is now; it may move.
    pub fn remote(&self) -> SocketAddr {
        canonical(self.inner.remote_address())
    }

    /// The certificates by which the other side proved itself, its own first; none if it was not asked to.
    pub fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        let identity = self.inner.peer_identity();
        identity
            .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
            .map(|certificates| *certificates)
            .unwrap_or_default()
    }

    /// The name by which the other side asked for this one, if it did.
    pub fn server_name(&self) -> Option<String> {
        let data = self.inner.handshake_data()?.downcast::<HandshakeData>().ok()?;
        data.server_name
    }

    /// Ends the connection and all its streams at once.
    pub fn close(&self) {
        self.inner.close(VarInt::from_u32(0), b"closed");
    }
}

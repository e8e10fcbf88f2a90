//! A connection as the listening side sees it: the streams that the other side opens on it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quinn::{ConnectionError, VarInt, crypto::rustls::HandshakeData};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{
    datagrams::QuicDatagrams,
    error::ended,
    flow::QuicFlow,
    socket::canonical,
    stream::{NO_ERROR, Owner, QuicStream},
};

/// A connection whose handshake is done, and all its streams: dropping it ends them at once.
/// [`QuicConnection::shutdown`] is the orderly end.
#[derive(Debug)]
pub struct QuicConnection {
    inner: quinn::Connection,
    flow: Arc<QuicFlow>,
    /// A stream was accepted, and has the datagrams.
    has_stream: AtomicBool,
    /// Streams that somebody holds.
    held: TaskTracker,
    /// `accept` has returned the end of the connection.
    end_told: AtomicBool,
}

impl QuicConnection {
    pub(super) fn new(inner: quinn::Connection, flow: Arc<QuicFlow>) -> Self {
        let (has_stream, end_told) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { inner, flow, has_stream, held: TaskTracker::new(), end_told }
    }

    /// Waits for the next stream that the other side opens. After the connection's end, `None`; where that is no orderly one,
    /// the error that ended it first, once. The first stream has the connection's datagrams, if both sides have agreed on having
    /// any. Loses nothing when dropped.
    pub async fn accept_stream(&self) -> io::Result<Option<Arc<QuicStream>>> {
        match self.inner.accept_bi().await {
            Ok(ends) => {
                let is_first = !self.has_stream.swap(true, Ordering::Relaxed);
                let datagrams =
                    is_first.then(|| QuicDatagrams::of(&self.inner, &self.flow)).flatten();
                let (connection, flow) = (self.inner.clone(), Arc::clone(&self.flow));
                let owner = Owner::Connection { _held: self.held.token() };
                Ok(Some(Arc::new(QuicStream::new(connection, flow, ends, datagrams, owner))))
            }
            Err(ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed) => Ok(None),
            Err(_) if self.end_told.swap(true, Ordering::Relaxed) => Ok(None),
            Err(error) => Err(ended(error)),
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

    /// Takes no more streams, waits until nobody holds one and ends the connection. Past `within` it ends at once, with its
    /// streams.
    pub async fn shutdown(self, within: Duration) {
        self.inner.set_max_concurrent_bi_streams(VarInt::from_u32(0));
        self.held.close();
        // Past it the drop does the same.
        let _ = timeout(within, self.held.wait()).await;
    }
}

impl Drop for QuicConnection {
    fn drop(&mut self) {
        self.inner.close(NO_ERROR, &[]);
    }
}

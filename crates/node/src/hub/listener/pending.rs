//! Streams on which a host may ask to join: one, or those that a connection carries.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rtun_transport::{
    Stream, http2, mux::MuxSession, quic::QuicConnection, stream_only::StreamOnly,
};

use super::{error::ListenerError, trusted::TrustedProxies};
use crate::report::Transport;

/// A connection after its handshakes.
pub(in crate::hub) enum Established {
    One(PendingStream),
    Many(PendingStreams),
}

/// A stream on which a host may ask to join.
pub(in crate::hub) struct PendingStream {
    pub(in crate::hub) stream: Arc<dyn Stream>,
    /// The address of its client, as a trusted proxy says or as the connection shows.
    pub(in crate::hub) peer: SocketAddr,
    pub(in crate::hub) transport: Transport,
    /// The only host names it may report, if its certificate binds them.
    pub(in crate::hub) names: Option<Arc<[String]>>,
}

/// A connection that carries many streams.
pub(in crate::hub) struct PendingStreams {
    pub(super) streams: StreamSource,
    pub(super) peer: SocketAddr,
    pub(super) transport: Transport,
    pub(super) names: Option<Arc<[String]>>,
}

pub(super) enum StreamSource {
    Mux(MuxSession),
    /// The proxies that are trusted to name the client of each request.
    Http(http2::Server, TrustedProxies),
    /// The flag: whether datagrams are used.
    Quic(QuicConnection, bool),
}

impl PendingStreams {
    /// The next stream, or the error that ended the connection; none after that.
    pub(in crate::hub) async fn next(&mut self) -> Option<Result<PendingStream, ListenerError>> {
        self.accept().await.transpose()
    }

    async fn accept(&mut self) -> Result<Option<PendingStream>, ListenerError> {
        let mut from = self.peer;
        let stream: Option<Arc<dyn Stream>> = match &mut self.streams {
            StreamSource::Http(server, trusted) => match server.next().await? {
                Some((stream, forwarded)) => {
                    from = trusted.client(from, &forwarded)?;
                    Some(stream)
                }
                None => None,
            },
            StreamSource::Mux(session) => session.accept().await?,
            StreamSource::Quic(connection, datagrams) => match connection.accept_stream().await? {
                Some(stream) if *datagrams => Some(stream),
                Some(stream) => Some(Arc::new(StreamOnly(stream))),
                None => None,
            },
        };
        let Self { transport, names, .. } = self;
        let pending = |stream| PendingStream {
            stream,
            peer: from,
            transport: *transport,
            names: names.clone(),
        };
        Ok(stream.map(pending))
    }

    /// Closes the connection in order, within this time.
    pub(in crate::hub) async fn shutdown(self, within: Duration) {
        match self.streams {
            StreamSource::Http(server, _) => server.shutdown(within).await,
            StreamSource::Mux(session) => session.shutdown(within).await,
            StreamSource::Quic(connection, _) => connection.shutdown(within).await,
        }
    }
}

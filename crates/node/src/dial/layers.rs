//! What a dialer opens on a connection: TLS and the layers above it, or QUIC, which makes the connection itself.

use std::sync::Arc;

use rtun_settings::{DialTls, QuicSettings, SocketOptions, TransportStack};
use rtun_transport::{
    Stream, grpc, http2, mux::MuxSession, names::host_of, quic, stream_only::StreamOnly, ws,
};

use super::{
    attempt::{Attempt, DialError, SetupError},
    dial_tls::DialerTls,
};
use crate::report::Transport;

/// The layers of connections to one address.
pub(super) struct Layers {
    /// `host:port`.
    pub(super) addr: String,
    stack: TransportStack<DialTls>,
    tls: Option<DialerTls>,
}

impl Layers {
    pub(super) fn new(addr: &str, stack: &TransportStack<DialTls>) -> Result<Self, SetupError> {
        let failed = |source| SetupError::Tls { addr: addr.to_owned(), source };
        let tls = DialerTls::of(stack).map_err(failed)?;
        Ok(Self { addr: addr.to_owned(), stack: stack.clone(), tls })
    }

    pub(super) fn transport(&self) -> Transport {
        Transport::of(&self.stack)
    }

    /// Opens TLS and the layers above it.
    pub(super) async fn open(
        &self,
        attempt: &Attempt<'_>,
        stream: Arc<dyn Stream>,
    ) -> Result<Arc<dyn Stream>, DialError> {
        let stream = self.open_tls(attempt, stream).await?;
        let stage = match &self.stack {
            TransportStack::Http2 { .. } | TransportStack::Grpc { .. } => "HTTP/2",
            _ => "WebSocket",
        };
        attempt.stage(stage, &self.addr, self.open_upper(stream)).await
    }

    /// Opens TLS, if there is any.
    pub(super) async fn open_tls(
        &self,
        attempt: &Attempt<'_>,
        stream: Arc<dyn Stream>,
    ) -> Result<Arc<dyn Stream>, DialError> {
        match &self.tls {
            Some(tls) => attempt.stage("TLS", &self.addr, tls.connect(stream, &self.addr)).await,
            None => Ok(stream),
        }
    }

    /// Opens the layers above TLS.
    async fn open_upper(&self, mut stream: Arc<dyn Stream>) -> Result<Arc<dyn Stream>, DialError> {
        let addr = &*self.addr;
        let failed = |error| DialError::Http(addr.to_owned(), error);
        match &self.stack {
            TransportStack::Http2 { http, tls } => {
                http2::connect(stream, http, addr, tls.is_some()).await.map_err(failed)
            }
            TransportStack::Grpc { grpc, tls } => {
                grpc::connect(stream, grpc, addr, tls.is_some()).await.map_err(failed)
            }
            TransportStack::Tcp { ws, mux, .. } => {
                if let Some(ws) = ws {
                    let connected = ws::connect(stream, ws, addr).await;
                    stream = connected.map_err(|error| DialError::Ws(addr.to_owned(), error))?;
                }
                if let Some(mux) = mux {
                    let session = MuxSession::client(stream, *mux);
                    let opened = session.open();
                    stream = opened.map_err(|error| DialError::Mux(addr.to_owned(), error))?;
                    // It ends with its only stream.
                    session.release();
                }
                Ok(stream)
            }
            TransportStack::Quic { .. } => Ok(stream),
        }
    }

    /// Connects by QUIC; `None` where the layers are on TCP.
    pub(super) async fn connect_quic(
        &self,
        attempt: &Attempt<'_>,
        sockets: &SocketOptions,
    ) -> Result<Option<Arc<dyn Stream>>, DialError> {
        match (&self.stack, &self.tls) {
            (TransportStack::Quic { quic, .. }, Some(tls)) => {
                self.open_quic(attempt, quic, tls, sockets).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn open_quic(
        &self,
        attempt: &Attempt<'_>,
        quic: &QuicSettings,
        tls: &DialerTls,
        sockets: &SocketOptions,
    ) -> Result<Arc<dyn Stream>, DialError> {
        let found = attempt.find(&self.addr, sockets).await?;
        let failed = |error| DialError::Tls(self.addr.clone(), error);
        let connector = tls.connector();
        let name = connector.name_for(host_of(&self.addr)).map_err(failed)?;
        let (tls, diagnostics) = connector.quic_config().map_err(failed)?;
        let (name, tls) = (name.to_str(), Arc::new(tls));
        let opened = quic::connect(&found, &name, tls, quic, sockets, attempt.limit).await;
        match opened {
            Ok(stream) if quic.datagrams => Ok(stream),
            Ok(stream) => Ok(Arc::new(StreamOnly(stream))),
            Err(error) => Err(match diagnostics.refusal() {
                Some(refusal) => failed(refusal),
                None => error.into(),
            }),
        }
    }
}

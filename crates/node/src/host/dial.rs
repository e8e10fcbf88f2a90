//! Opens the connection of a session: through the proxies of a chain to a hub, then layer by layer.

use std::{sync::Arc, time::Duration};

use rtun_core::{LossWatch, Silence};
use rtun_settings::{
    DialTls, Endpoint, HubNode, ProxyProtocol, QuicSettings, SocketOptions, TransportStack,
};
use rtun_transport::{
    Stream, grpc, http2, mux::MuxSession, names::host_of, quic, stream_only::StreamOnly, ws,
};

use super::{
    attempt::{Attempt, DialError, Opened, SetupError},
    dial_tls::DialerTls,
    proxies::Proxies,
    wire::Wire,
};
use crate::{report::Transport, runtime::surroundings::Surroundings};

/// Limit for connecting over plain TCP unless configured. A lost packet of the handshake is sent again after 1 s, so a working
/// network answers within this limit, and after an outage the next attempt comes soon.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// The same limit where layers and proxies need additional round trips.
const LAYERED_DIAL_TIMEOUT: Duration = Duration::from_secs(6);

/// Opens connections to one endpoint of a hub.
pub(super) struct Dialer {
    addr: String,
    stack: TransportStack<DialTls>,
    tls: Option<DialerTls>,
    sockets: SocketOptions,
    /// The most bytes of a TCP segment, if configured.
    segment_max: Option<u16>,
    proxy_protocol: Option<ProxyProtocol>,
    surroundings: Surroundings,
}

impl Dialer {
    pub(super) fn to_hub(
        endpoint: &Endpoint,
        hub: &HubNode,
        surroundings: &Surroundings,
    ) -> Result<Self, SetupError> {
        let failed = |source| SetupError::Tls { addr: endpoint.addr.clone(), source };
        Ok(Self {
            addr: endpoint.addr.clone(),
            stack: endpoint.stack.clone(),
            tls: DialerTls::of(&endpoint.stack).map_err(failed)?,
            sockets: hub.sockets.clone(),
            segment_max: endpoint.segment_max,
            proxy_protocol: hub.proxy_protocol,
            surroundings: surroundings.clone(),
        })
    }

    pub(super) fn transport(&self) -> Transport {
        Transport::of(&self.stack)
    }

    /// The limit for opening it, unless configured.
    pub(super) fn usual_limit(&self, proxies: &Proxies) -> Duration {
        match self.transport() {
            Transport::Tcp if !proxies.are_there() => DIAL_TIMEOUT,
            _ => LAYERED_DIAL_TIMEOUT,
        }
    }

    /// Opens a connection.
    pub(super) async fn open(
        &self,
        attempt: &Attempt<'_>,
        proxies: &Proxies,
    ) -> Result<Opened, DialError> {
        if let (TransportStack::Quic { quic, .. }, Some(tls)) = (&self.stack, &self.tls) {
            let stream = self.open_quic(attempt, quic, tls).await?;
            return Ok(Opened { stream, wire: None });
        }
        let Opened { stream, wire } =
            match (proxies.reach(&self.addr, attempt).await?, &self.surroundings) {
                (Some(opened), _) => opened,
                (None, Surroundings::System) => {
                    let Self { addr, sockets, segment_max, proxy_protocol, .. } = self;
                    let tcp = attempt.connect(addr, sockets, *segment_max, *proxy_protocol).await?;
                    let wire = Some(Wire::of(&tcp));
                    Opened { stream: tcp, wire }
                }
                (None, Surroundings::Twin(twin)) => {
                    let connecting = async { Ok(twin.connect(&self.addr).await?) };
                    let stream = attempt.stage("connecting", &self.addr, connecting).await?;
                    Opened { stream, wire: None }
                }
            };
        let handshakes = self.open_layers(attempt, stream);
        let Some(wire) = wire else {
            return Ok(Opened { stream: handshakes.await?, wire });
        };
        // Certificates are the first large packets of a connection, so a handshake may be where the loss of large packets shows.
        let (used, mut losses) = (wire.segment_max().unwrap_or_default(), LossWatch::default());
        let done = tokio::select! {
            done = handshakes => Some(done),
            () = wire.loses_large(&mut losses) => None,
        };
        match done {
            Some(Err(DialError::Slow { .. })) if losses.silence() == Silence::WithGap => {}
            Some(done) => return Ok(Opened { stream: done?, wire: Some(wire) }),
            None => {}
        }
        Err(DialError::LargeLost { addr: self.addr.clone(), used })
    }

    /// Opens TLS and the layers above it.
    async fn open_layers(
        &self,
        attempt: &Attempt<'_>,
        mut stream: Arc<dyn Stream>,
    ) -> Result<Arc<dyn Stream>, DialError> {
        if let Some(tls) = &self.tls {
            let encrypting = tls.connect(stream, &self.addr);
            stream = attempt.stage("TLS", &self.addr, encrypting).await?;
        }
        let stage = match &self.stack {
            TransportStack::Http2 { .. } | TransportStack::Grpc { .. } => "HTTP/2",
            _ => "WebSocket",
        };
        attempt.stage(stage, &self.addr, self.open_upper_layers(stream)).await
    }

    /// Opens the layers above TLS.
    async fn open_upper_layers(
        &self,
        mut stream: Arc<dyn Stream>,
    ) -> Result<Arc<dyn Stream>, DialError> {
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

    async fn open_quic(
        &self,
        attempt: &Attempt<'_>,
        quic: &QuicSettings,
        tls: &DialerTls,
    ) -> Result<Arc<dyn Stream>, DialError> {
        let found = attempt.find(&self.addr, &self.sockets).await?;
        let failed = |error| DialError::Tls(self.addr.clone(), error);
        let connector = tls.connector();
        let name = connector.name_for(host_of(&self.addr)).map_err(failed)?;
        let (tls, diagnostics) = connector.quic_config().map_err(failed)?;
        let (name, tls) = (name.to_str(), Arc::new(tls));
        let (sockets, limit) = (&self.sockets, attempt.limit);
        let opened = quic::connect(&found, &name, tls, quic, sockets, limit).await;
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

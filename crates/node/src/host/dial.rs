//! Opening what carries a session: through the proxies of a chain to a hub, layer upon layer.

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

/// Limit for connecting over plain TCP unless configured: a lost packet of the handshake is repeated after 1 s, so a
/// network that works answers within it, and one that was cut is tried again soon after it is back.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// The same where layers and proxies take round trips of their own.
const LAYERED_DIAL_TIMEOUT: Duration = Duration::from_secs(6);

/// Opens one way to a hub, or to a proxy.
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
        way: &Endpoint,
        hub: &HubNode,
        surroundings: &Surroundings,
    ) -> Result<Self, SetupError> {
        let failed = |source| SetupError::Tls { addr: way.addr.clone(), source };
        Ok(Self {
            addr: way.addr.clone(),
            stack: way.stack.clone(),
            tls: DialerTls::of(&way.stack).map_err(failed)?,
            sockets: hub.sockets.clone(),
            segment_max: way.segment_max,
            proxy_protocol: hub.proxy_protocol,
            surroundings: surroundings.clone(),
        })
    }

    pub(super) fn transport(&self) -> Transport {
        Transport::of(&self.stack)
    }

    /// How long it may take unless configured.
    pub(super) fn usual_limit(&self, proxies: &Proxies) -> Duration {
        match self.transport() {
            Transport::Tcp if !proxies.are_there() => DIAL_TIMEOUT,
            _ => LAYERED_DIAL_TIMEOUT,
        }
    }

    /// Opens it.
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
        // A certificate is larger than what comes before it: a handshake may be the first to get stuck.
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

    /// TLS and what is on top of it.
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

    /// What is on top of the connection and its TLS.
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

//! Opens the connection of a session: through the proxies of a chain to a hub, then layer by layer.

use std::{sync::Arc, time::Duration};

use rtun_core::{LossWatch, Silence};
use rtun_settings::{Endpoint, HubNode, ProxyProtocol, SocketOptions};
use rtun_transport::Stream;

use super::{
    attempt::{Attempt, DialError, Opened, SetupError},
    layers::Layers,
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
pub(crate) struct Dialer {
    layers: Layers,
    sockets: SocketOptions,
    /// The most bytes of a TCP segment, if configured.
    segment_max: Option<u16>,
    proxy_protocol: Option<ProxyProtocol>,
    surroundings: Surroundings,
}

impl Dialer {
    pub(crate) fn to_hub(
        endpoint: &Endpoint,
        hub: &HubNode,
        surroundings: &Surroundings,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            layers: Layers::new(&endpoint.addr, &endpoint.stack)?,
            sockets: hub.sockets.clone(),
            segment_max: endpoint.segment_max,
            proxy_protocol: hub.proxy_protocol,
            surroundings: surroundings.clone(),
        })
    }

    pub(crate) fn transport(&self) -> Transport {
        self.layers.transport()
    }

    /// The limit for opening it, unless configured.
    pub(crate) fn usual_limit(&self, proxies: &Proxies) -> Duration {
        match self.transport() {
            Transport::Tcp if !proxies.are_there() => DIAL_TIMEOUT,
            _ => LAYERED_DIAL_TIMEOUT,
        }
    }

    /// Opens a connection.
    pub(crate) async fn open(
        &self,
        attempt: &Attempt<'_>,
        proxies: &Proxies,
    ) -> Result<Opened, DialError> {
        let layers = &self.layers;
        let addr = &layers.addr;
        if let Some(stream) = layers.connect_quic(attempt, &self.sockets).await? {
            return Ok(Opened { stream, wire: None });
        }
        let Opened { stream, wire } = self.reach(attempt, proxies).await?;
        let handshakes = layers.open(attempt, stream);
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
        Err(DialError::LargeLost { addr: addr.clone(), used })
    }

    /// Opens a connection for a request of HTTP: over TLS where the layers have that.
    pub(crate) async fn open_for_http(
        &self,
        attempt: &Attempt<'_>,
        proxies: &Proxies,
    ) -> Result<Arc<dyn Stream>, DialError> {
        let Opened { stream, .. } = self.reach(attempt, proxies).await?;
        self.layers.open_tls(attempt, stream).await
    }

    /// Connects over TCP, directly or through proxies.
    async fn reach(&self, attempt: &Attempt<'_>, proxies: &Proxies) -> Result<Opened, DialError> {
        let Self { layers, sockets, segment_max, proxy_protocol, surroundings } = self;
        let addr = &layers.addr;
        match (proxies.reach(addr, attempt).await?, surroundings) {
            (Some(opened), _) => Ok(opened),
            (None, Surroundings::System) => {
                let tcp = attempt.connect(addr, sockets, *segment_max, *proxy_protocol).await?;
                let wire = Some(Wire::of(&tcp));
                Ok(Opened { stream: tcp, wire })
            }
            (None, Surroundings::Twin(twin)) => {
                let connecting = async { Ok(twin.connect(addr).await?) };
                let stream = attempt.stage("connecting", addr, connecting).await?;
                Ok(Opened { stream, wire: None })
            }
        }
    }
}

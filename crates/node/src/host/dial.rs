//! Opening what carries a session: through the proxies of a chain to a hub, layer upon layer.

use std::{io, sync::Arc, time::Duration};

use rtun_config::model::{HubNode, ProxyHop, Way};
use rtun_net::transport::{
    Stream,
    socket::SocketOptions,
    tcp::{self, ConnectError},
};

use crate::{report::Transport, sockets::socket_options};

/// Limit for connecting over plain TCP unless configured: a lost packet of the handshake is repeated after 1 s, so a
/// network that works answers within it, and one that was cut is tried again soon after it is back.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// The same where layers and proxies take round trips of their own.
const LAYERED_DIAL_TIMEOUT: Duration = Duration::from_secs(6);

/// Opens one way to a hub, or to a proxy.
pub(super) struct Dialer {
    addr: String,
    transport: Transport,
    sockets: SocketOptions,
}

/// The proxies that each connection goes through.
pub(super) struct Proxies {}

impl Proxies {
    pub(super) fn new(_hops: &[ProxyHop]) -> Result<Self, SetupError> {
        Ok(Self {})
    }
}

/// A way cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {}

/// Nothing was opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The address was not reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke on the way.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// It all took too long.
    #[error("not connected within {} s", .0.as_secs_f32())]
    Timeout(Duration),
}

impl Dialer {
    pub(super) fn to_hub(way: &Way, hub: &HubNode) -> Result<Self, SetupError> {
        Ok(Self {
            addr: way.addr.clone(),
            transport: Transport::of(&way.carriage),
            sockets: socket_options(&hub.sockets),
        })
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    /// How long it may take unless configured.
    pub(super) fn usual_limit(&self) -> Duration {
        match self.transport {
            Transport::Tcp => DIAL_TIMEOUT,
            _ => LAYERED_DIAL_TIMEOUT,
        }
    }

    pub(super) async fn open(&self, _proxies: &Proxies) -> Result<Arc<dyn Stream>, DialError> {
        Ok(Arc::new(tcp::connect(&self.addr, &self.sockets, self.usual_limit()).await?))
    }
}

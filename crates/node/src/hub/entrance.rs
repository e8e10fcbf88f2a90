//! Where hosts come in: the listening socket, and the transport's handshakes on each connection.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use rtun_config::model::Listener;
use rtun_net::transport::{
    Stream,
    tcp::{self, ListenError},
};
use tokio::net::{TcpListener, TcpStream};

use crate::{report::Transport, sockets::listen_options};

/// A listening hub's socket with all that a connection goes through before its request is read.
pub(super) struct Entrance {
    door: Door,
    transport: Transport,
    trusted_proxies: Vec<IpNet>,
    local_addr: SocketAddr,
}

enum Door {
    Tcp(TcpListener),
}

/// A connection that nothing has been read of.
pub(super) enum Caller {
    Tcp(TcpStream),
}

/// Who is there.
pub(super) enum Received {
    One(Guest),
    Many(Guests),
}

/// A stream on which a host may ask to join.
pub(super) struct Guest {
    pub(super) stream: Arc<dyn Stream>,
    /// Where it comes from, as far as that is believed.
    pub(super) peer: SocketAddr,
    pub(super) transport: Transport,
    /// The only host names it may report, if its certificate says.
    pub(super) names: Option<Arc<[String]>>,
}

/// A connection that carries many streams.
pub(super) enum Guests {}

impl Guests {
    /// The next stream; none when the connection has ended.
    pub(super) async fn next(&mut self) -> Option<Result<Guest, EntranceError>> {
        match *self {}
    }
}

/// A hub cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Why a connection never got as far as its request.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntranceError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

impl EntranceError {
    /// The fixed word used in logs and metrics.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Broken(_) => "closed_early",
        }
    }
}

impl Entrance {
    /// Listens.
    pub(super) fn open(config: &Listener) -> Result<Self, OpenError> {
        let listener = tcp::listen(&config.addr, &listen_options(config))?;
        let local_addr = listener.local_addr()?;
        Ok(Self {
            door: Door::Tcp(listener),
            transport: Transport::of(&config.carriage),
            trusted_proxies: config.trusted_proxies.clone(),
            local_addr,
        })
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether this address may say for whom it connects.
    pub(super) fn trusts(&self, addr: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&addr))
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<(Caller, SocketAddr)> {
        match &self.door {
            Door::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Caller::Tcp(stream), SocketAddr::new(peer.ip().to_canonical(), peer.port())))
            }
        }
    }

    /// Goes through the transport's handshakes. Has to be called where the connection is going to be served.
    pub(super) async fn receive(
        &self,
        caller: Caller,
        peer: SocketAddr,
    ) -> Result<Received, EntranceError> {
        match caller {
            Caller::Tcp(stream) => {
                // From now on it is this worker's event loop that watches the socket.
                let stream = TcpStream::from_std(stream.into_std()?)?;
                tcp::tune(&stream)?;
                let (stream, transport) = (Arc::new(stream), self.transport);
                Ok(Received::One(Guest { stream, peer, transport, names: None }))
            }
        }
    }
}

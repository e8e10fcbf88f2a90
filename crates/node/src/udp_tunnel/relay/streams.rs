//! What a relay does with the streams that clients open: it reads the request, and serves the client until it leaves.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rtun_core::udp_tunnel::RelayRefusal;
use rtun_proto::{
    frame::FrameBuffer,
    relay::{AddrFeature, Request, Response, Status},
};
use rtun_settings::{NetworkNamespace, SocketOptions};
use rtun_transport::{Stream, udp::DatagramSocket};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    super::counters::DatagramCounters,
    client::{MAX_RELAYED, RelayClients, Relayed, RelayedClient},
    rules::{CompiledRelay, ProvenUser, RelayIdentity},
};
use crate::{
    inbound::{AdmissionError, PendingStream, StreamService},
    link::{FAREWELL, Link, read_message},
};

/// The clients of a relay.
pub(super) struct RelayStreams {
    pub(super) service: String,
    pub(super) rules: ArcSwap<CompiledRelay>,
    /// Where the sockets to servers are opened.
    pub(super) netns: Option<NetworkNamespace>,
    pub(super) clients: Arc<RelayClients>,
}

impl StreamService for RelayStreams {
    type Admitted = (Relayed, FrameBuffer);

    /// A relay has no limits of its own.
    type CountedConnection = ();

    fn admits_address(&self, address: IpAddr) -> bool {
        self.rules.load().admits_address(address)
    }

    fn count_connection(&self, _: IpAddr) -> Result<(), AdmissionError> {
        Ok(())
    }

    fn count_request(&self, _: IpAddr) -> Result<(), AdmissionError> {
        Ok(())
    }

    async fn admit(&self, stream: PendingStream) -> Result<Self::Admitted, AdmissionError> {
        let PendingStream { stream, peer, transport, .. } = stream;
        let mut buffer = FrameBuffer::new();
        let request = read_message(&*stream, &mut buffer, Request::decode).await?;
        // Nothing has been written yet, so the answer below fits at once.
        stream.writable().await?;
        let opened = self.open(&request);
        let (client, socket) = match opened {
            Ok((asked, target, user, socket)) => {
                let local = socket.local_addr()?;
                // Until the event loop has seen the socket it takes nothing, and the first register would be lost.
                socket.writable().await?;
                let sent = Arc::default();
                stream.write_all(&encode(Status::Ok)).await?;
                let link = Link::new(stream, self.clients.budget(), Arc::clone(&sent));
                let client = RelayedClient {
                    identity: RelayIdentity { peer, asked, target, user },
                    transport,
                    local,
                    since: Instant::now(),
                    link: Arc::new(link),
                    sent,
                    received: DatagramCounters::default(),
                };
                (client, socket)
            }
            Err(refusal) => return Err(refuse(refusal, &*stream).await),
        };
        Ok((Relayed::begin(&self.clients, client, socket), buffer))
    }

    async fn run(&self, (relayed, buffer): Self::Admitted, stop: &CancellationToken) {
        let RelayedClient { identity, local, .. } = &*relayed.client;
        let RelayIdentity { peer, target, .. } = identity;
        let service = &self.service;
        info!(service, client = %peer, target = %target, outer = %local, "relaying for a client");
        relayed.run(buffer, stop).await;
        let farewell = relayed.client.link.farewell();
        drop(relayed);
        farewell.await;
    }
}

impl RelayStreams {
    /// Decides about a request, and opens the socket to its server.
    fn open(&self, request: &Request) -> Result<OpenedTarget, RelayRefusal> {
        let rules = self.rules.load();
        let user = rules.user(request)?;
        let asked = request.datagram_target().ok_or(RelayRefusal::NotServed)?;
        let target = rules.targets.find(asked).ok_or(RelayRefusal::Target)?;
        if self.clients.len() >= MAX_RELAYED {
            return Err(RelayRefusal::Limit);
        }
        let options = SocketOptions { netns: self.netns.clone(), ..SocketOptions::default() };
        let socket = DatagramSocket::connect(target, &options, 0);
        Ok((asked.clone(), target, user, socket.map_err(|_| RelayRefusal::Unreachable)?))
    }
}

/// What was asked for, the server, the user and the socket.
type OpenedTarget = (AddrFeature, SocketAddr, Option<ProvenUser>, DatagramSocket);

async fn refuse(refusal: RelayRefusal, stream: &dyn Stream) -> AdmissionError {
    let answered = async {
        stream.write_all(&encode(refusal.status())).await?;
        // If the peer does not close its end, the connection is closed anyway.
        let _ = stream.close(FAREWELL).await;
        Ok::<_, io::Error>(())
    };
    match answered.await {
        Ok(()) => AdmissionError::RelayRefused(refusal),
        Err(error) => error.into(),
    }
}

fn encode(status: Status) -> Vec<u8> {
    Response::refusal(status).encode().expect("a response without features is below the limit")
}

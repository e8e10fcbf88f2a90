//! What a relay does with the streams that clients open: it reads the request, and serves the client until it leaves.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;
use rtun_core::{
    limit::ConnectionGuard,
    udp_tunnel::{DatagramDrop, RelayRefusal},
};
use rtun_proto::{
    frame::FrameBuffer,
    frame_content::FrameContent,
    relay::{Addr, AddrFeature, Request, Response, Status},
};
use rtun_settings::{NetworkNamespace, RelayRules, SocketOptions};
use rtun_transport::{
    Stream,
    addressed::{AddressedStream, first_address},
    udp::DatagramSocket,
};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    super::{
        counters::{DatagramCounters, DatagramSampling},
        followed::FollowedRules,
        service::say_of_client,
    },
    client::{MAX_RELAYED, RelayClients, Relayed, RelayedClient},
    limiters::RelayLimiters,
    rules::{CompiledRelay, ProvenUser, RelayIdentity},
};
use crate::{
    counters::Counters,
    inbound::{AdmissionError, PendingStream, StreamService},
    link::{EndReason, FAREWELL, Link, read_message},
    runtime::events::{EventLog, NodeEventKind},
};

/// How long a client may take to send its first datagram where it need not name its server.
const FIRST_DATAGRAM: Duration = Duration::from_secs(2);

/// The clients of a relay.
pub(super) struct RelayStreams {
    pub(super) service: String,
    pub(super) rules: ArcSwap<CompiledRelay>,
    /// What the rules are compiled from.
    pub(super) followed: FollowedRules<RelayRules>,
    /// Where the sockets to servers are opened.
    pub(super) netns: Option<NetworkNamespace>,
    pub(super) clients: Arc<RelayClients>,
    pub(super) limiters: RelayLimiters,
    pub(super) sampling: DatagramSampling,
    pub(super) events: Arc<EventLog>,
}

impl StreamService for RelayStreams {
    type Admitted = (Relayed, FrameBuffer);

    type CountedConnection = ConnectionGuard;

    fn admits_address(&self, address: IpAddr) -> bool {
        self.rules.load().admits_address(address)
    }

    fn count_connection(&self, address: IpAddr) -> Result<ConnectionGuard, AdmissionError> {
        Ok(self.limiters.connection(address)?)
    }

    fn count_request(&self, address: IpAddr) -> Result<(), AdmissionError> {
        Ok(self.limiters.request(address)?)
    }

    async fn admit(&self, stream: PendingStream) -> Result<Self::Admitted, AdmissionError> {
        let PendingStream { stream, peer, transport, .. } = stream;
        let mut buffer = FrameBuffer::new();
        let request = read_message(&*stream, &mut buffer, Request::decode).await?;
        // Nothing has been written yet, so the answer below fits at once.
        stream.writable().await?;
        let opened = if request.is_for_bound_datagrams() {
            self.open_bound(stream, &request, &mut buffer).await?
        } else {
            self.open_to_target(stream, &request).await?
        };
        let local = opened.socket.local_addr()?;
        let OpenedTarget { stream, content, asked, target, user, socket, received } = opened;
        let quotas = &self.limiters.quotas;
        let sent = self.counted(Counters::with_quotas(None, Some(Arc::clone(quotas))), content);
        let limited = self.counted(Counters::with_quotas(Some(Arc::clone(quotas)), None), content);
        let budget = self.clients.budget();
        let link = Link::carrying(content, stream, budget, Arc::clone(&sent));
        let client = RelayedClient {
            identity: RelayIdentity { peer, content, asked, target, user },
            transport,
            local,
            since: Instant::now(),
            link: Arc::new(link),
            sent,
            received,
            limited,
            shapers: Mutex::default(),
        };
        Ok((Relayed::begin(&self.clients, client, socket, &self.limiters), buffer))
    }

    async fn run(&self, (relayed, buffer): Self::Admitted, stop: &CancellationToken) {
        let RelayedClient { identity, local, .. } = &*relayed.client;
        let RelayIdentity { peer, target, .. } = identity;
        let service = &self.service;
        info!(service, client = %peer, target = %target, outer = %local, "relaying for a client");
        let say = |kind, text: &str| say_of_client(&self.events, service, kind, *peer, text);
        say(NodeEventKind::HostJoined, &format!("relayed to {target}, seen there as {local}"));
        relayed.run(buffer, stop).await;
        let end = relayed.client.link.end_reason().map_or("stopped", EndReason::as_str);
        say(NodeEventKind::HostLeft, end);
        let farewell = relayed.client.link.farewell();
        drop(relayed);
        farewell.await;
    }
}

/// A client that is served, before its link runs.
struct OpenedTarget {
    /// Datagrams pass on it as frames.
    stream: Arc<dyn Stream>,
    content: FrameContent,
    asked: AddrFeature,
    target: SocketAddr,
    user: Option<ProvenUser>,
    socket: DatagramSocket,
    received: Arc<DatagramCounters>,
}

impl RelayStreams {
    /// A client whose request names its server.
    async fn open_to_target(
        &self,
        stream: Arc<dyn Stream>,
        request: &Request,
    ) -> Result<OpenedTarget, AdmissionError> {
        let content = FrameContent::Packets;
        let decided = || {
            let rules = self.rules.load();
            let user = rules.user(request)?;
            let asked = request.datagram_target().ok_or(RelayRefusal::NotServed)?;
            let target = rules.targets.find(asked, content).ok_or(RelayRefusal::Target)?;
            Ok((asked.clone(), target, user, self.connect(target)?))
        };
        let (asked, target, user, socket) = match decided() {
            Ok(decided) => decided,
            Err(refusal) => return Err(refuse(refusal, &*stream).await),
        };
        // Until the event loop has seen the socket it takes nothing, and the first register would be lost.
        socket.writable().await?;
        stream.write_all(&encode(&Response::refusal(Status::Ok))).await?;
        let received = self.received(content);
        Ok(OpenedTarget { stream, content, asked, target, user, socket, received })
    }

    /// A client whose datagrams name its server: all the one that the first of them names.
    async fn open_bound(
        &self,
        stream: Arc<dyn Stream>,
        request: &Request,
        buffer: &mut FrameBuffer,
    ) -> Result<OpenedTarget, AdmissionError> {
        let content = FrameContent::Ethernet;
        let rules = self.rules.load_full();
        let decided = match rules.user(request) {
            Ok(_) if !rules.takes_ethernet => Err(RelayRefusal::NotServed),
            Ok(_) if !rules.targets.take(content) => Err(RelayRefusal::Target),
            Ok(_) if self.clients.len() >= MAX_RELAYED => Err(RelayRefusal::Limit),
            decided => decided,
        };
        let user = match decided {
            Ok(user) => user,
            Err(refusal) => return Err(refuse(refusal, &*stream).await),
        };
        // The socket is opened once it is known to which server, and nobody but that can send to it: its port says nothing.
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        stream.write_all(&encode(&Response::bound_to(nowhere))).await?;
        let mut rest = buffer.filled().to_vec();
        buffer.consume(rest.len());
        let first = first_address(&*stream, &mut rest);
        let (asked, target) = match rules.targets.only(content) {
            // Who is silent is served all the same where there is only one server.
            Some(only) => match timeout(FIRST_DATAGRAM, first).await {
                Ok(asked) => {
                    let asked = asked?;
                    let target = rules.targets.find(&asked, content);
                    (asked, target)
                }
                Err(_) => {
                    let asked = AddrFeature { addr: Addr::Ip(only.ip()), port: only.port() };
                    (asked, Some(only))
                }
            },
            None => {
                let asked = first.await?;
                let target = rules.targets.find(&asked, content);
                (asked, target)
            }
        };
        let connected = target.ok_or(RelayRefusal::Target);
        let connected = connected.and_then(|target| Ok((target, self.connect(target)?)));
        let (target, socket) = match connected {
            Ok(connected) => connected,
            // The answer has gone; the end of the stream is all that can still be said.
            Err(refusal) => return Err(refusal.into()),
        };
        socket.writable().await?;
        let received = self.received(content);
        let counters = Arc::clone(&received);
        let is_for_server = move |asked: &AddrFeature, len: usize| {
            let is_it = rules.targets.find(asked, content) == Some(target);
            if !is_it {
                counters.count_in(1, len as u64);
                counters.count_drops(DatagramDrop::NoRoute, 1);
            }
            is_it
        };
        let stream = AddressedStream::new(stream, rest, target, Box::new(is_for_server));
        let stream = Arc::new(stream);
        Ok(OpenedTarget { stream, content, asked, target, user, socket, received })
    }

    /// Counts what a client sends.
    fn received(&self, content: FrameContent) -> Arc<DatagramCounters> {
        let counters = DatagramCounters::with_quotas_in(&self.limiters.quotas);
        let sampling = self.sampling.clone();
        // Frames may be sealed.
        let content = (content == FrameContent::Packets).then_some(content);
        Arc::new(counters.sampled(sampling.of(content)))
    }

    /// Samples of packets that are lost there may be kept; those of frames, which may be sealed, tell nothing.
    fn counted(&self, counters: Counters, content: FrameContent) -> Arc<Counters> {
        Arc::new(match content {
            FrameContent::Packets => counters.counted_at(self.sampling.counted_at()),
            FrameContent::Ethernet => counters,
        })
    }

    /// A socket that leads to this server.
    fn connect(&self, target: SocketAddr) -> Result<DatagramSocket, RelayRefusal> {
        if self.clients.len() >= MAX_RELAYED {
            return Err(RelayRefusal::Limit);
        }
        let options = SocketOptions { netns: self.netns.clone(), ..SocketOptions::default() };
        DatagramSocket::connect(target, &options, 0).map_err(|_| RelayRefusal::Unreachable)
    }
}

async fn refuse(refusal: RelayRefusal, stream: &dyn Stream) -> AdmissionError {
    let answered = async {
        stream.write_all(&encode(&Response::refusal(refusal.status()))).await?;
        // If the peer does not close its end, the connection is closed anyway.
        let _ = stream.close(FAREWELL).await;
        Ok::<_, io::Error>(())
    };
    match answered.await {
        Ok(()) => refusal.into(),
        Err(error) => error.into(),
    }
}

fn encode(response: &Response) -> Vec<u8> {
    response.encode().expect("a response with at most an address is below the limit")
}

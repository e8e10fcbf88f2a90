//! A client's stream to a relay or a SOCKS5 proxy: datagrams of the server and for it, each as a frame.
//!
//! A stream that a relay leads to one server begins with the first keepalive: the request goes with it, and nothing waits for the
//! relay's answer, which GOST's holds back until the server has sent something. Other streams carry an address with each datagram,
//! and are answered at once.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    slice,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use rtun_core::LossWatch;
use rtun_proto::{
    frame::{FrameBuffer, write_frame},
    frame_content::FrameContent,
    relay::{Addr, AddrFeature, Decoded, Request, Response, Status},
};
use rtun_settings::{HubNode, NetworkNamespace, RelayChain, RelayProtocol};
use rtun_transport::{Stream, addressed::AddressedStream, names::Names, proxy::socks5_datagrams};
use tokio::time::timeout;

use super::{
    clock::{KeepaliveClock, until},
    conversation::{ConnectionEnd, Conversation},
};
use crate::{
    dial::{HubConnection, HubTarget, Hubs, NameTables, SetupError, Wire},
    link::{EndReason, Link, Receiver, read_message},
    report::RelayedReport,
    runtime::{budget::Budget, surroundings::Surroundings},
};

/// How long a new stream may take the request, and the other side to answer one that is answered at once.
const ASKING: Duration = Duration::from_secs(5);

/// Bytes that the one queue of a stream may hold: enough that only the limit of the queue itself applies.
const QUEUE_BUDGET: usize = 256 * 1024 * 1024;

/// The number of the only sender of packets to a relay.
const ITSELF: u64 = 0;

/// The relays or SOCKS5 proxies that lead to a client's servers.
pub(super) struct RelayPath {
    hubs: Hubs,
    protocol: RelayProtocol,
    dial_timeout: Option<Duration>,
}

/// A stream on which datagrams pass as frames.
struct OpenedStream {
    stream: Arc<dyn Stream>,
    /// Whether the relay has still to answer.
    is_asked: bool,
}

impl RelayPath {
    pub(super) fn new(
        config: &RelayChain,
        service: &str,
        surroundings: &Surroundings,
        names: Arc<Names>,
        tables: NameTables,
    ) -> Result<Self, SetupError> {
        let RelayChain { relays, protocol, selector, proxies, dial_timeout, lookups: _ } = config;
        let hubs = Hubs::new(relays, *selector, proxies, service, surroundings, names)?;
        let hubs = hubs.following(tables);
        Ok(Self { hubs, protocol: *protocol, dial_timeout: *dial_timeout })
    }

    /// Probes relays and follows tables of names, without end.
    pub(super) async fn look_after(&self) {
        self.hubs.look_after().await;
    }

    /// Connects to a relay, and serves until the server or the relay counts as gone. `interval` is that between keepalives.
    pub(super) async fn serve<C: Conversation>(
        &self,
        conversation: &C,
        server: &str,
        interval: Option<Duration>,
    ) -> ConnectionEnd {
        let Self { hubs, dial_timeout, .. } = self;
        conversation.dialled().relayed.link.store(None);
        let (node, connected) = hubs.connect(*dial_timeout).await;
        let relay = &hubs.nodes[node];
        let end = match connected {
            Ok(connection) => {
                let clock = KeepaliveClock::new(interval);
                self.serve_on(conversation, server, clock, relay, connection).await
            }
            Err(error) => ConnectionEnd { why: error.to_string(), answered: false },
        };
        let what = match self.protocol {
            RelayProtocol::Relay => "relay",
            RelayProtocol::Socks5 => "SOCKS5 proxy",
        };
        let why = format!("through the {what} {}: {}", relay.config.addr, end.why);
        match end.answered {
            true => hubs.choice.succeeded(node),
            false => hubs.choice.failed(node),
        }
        if !hubs.choice.has_fresh() {
            hubs.choice.begin_round();
        }
        ConnectionEnd { why, ..end }
    }

    async fn serve_on<C: Conversation>(
        &self,
        conversation: &C,
        server: &str,
        mut clock: KeepaliveClock,
        relay: &HubTarget,
        connection: HubConnection,
    ) -> ConnectionEnd {
        let HubConnection { stream, transport, wire, .. } = connection;
        let dialled = conversation.dialled();
        let opened = timeout(ASKING, self.open(conversation, server, &relay.config, stream)).await;
        let late = || Err("it does not answer the request".to_owned());
        let OpenedStream { stream, is_asked } = match opened.unwrap_or_else(|_| late()) {
            Ok(opened) => opened,
            Err(why) => return ConnectionEnd { why, answered: false },
        };
        if is_asked {
            clock.registers(Instant::now());
        }
        let sent = Arc::clone(&dialled.relayed.sent);
        let link = Link::carrying(C::CONTENT, stream, &Budget::new(QUEUE_BUDGET), sent);
        link.open();
        let link = Arc::new(link);
        dialled.relayed.link.store(Some(Arc::clone(&link)));
        let connected = RelayedReport { relay: relay.config.addr.clone(), transport };
        dialled.relayed.relay.store(Some(Arc::new(connected)));
        dialled.with(|story| {
            story.keepalives += u64::from(is_asked);
            story.server = Some(server.to_owned());
        });
        let shared = RelayedStream {
            conversation,
            server,
            relay: &relay.config.addr,
            link: &link,
            clock: Mutex::new(clock),
            refused: OnceLock::new(),
        };
        let mut losses = LossWatch::default();
        let segment_max = wire.as_ref().and_then(Wire::segment_max).unwrap_or_default();
        let losing = async {
            match &wire {
                Some(wire) => wire.loses_large(&mut losses).await,
                None => std::future::pending().await,
            }
        };
        let mut downlink = RelayDownlink {
            shared: &shared,
            intake: conversation.intake(),
            is_admitted: !is_asked,
        };
        let gone = tokio::select! {
            _ = link.run(&mut downlink, FrameBuffer::new()) => None,
            why = shared.keep_alive() => Some(why),
            () = losing => {
                relay.endpoints.segments.lower(segment_max);
                Some("large packets are lost on the path to it".to_owned())
            }
        };
        link.end(EndReason::Shutdown);
        dialled.relayed.link.store(None);
        let why = gone.unwrap_or_else(|| shared.cause());
        let answered = shared.clock().answered;
        link.farewell().await;
        ConnectionEnd { why, answered }
    }

    /// Asks for a stream of datagrams.
    async fn open<C: Conversation>(
        &self,
        conversation: &C,
        server: &str,
        relay: &HubNode,
        stream: Arc<dyn Stream>,
    ) -> Result<OpenedStream, String> {
        let failed = |error: io::Error| format!("the request cannot be sent: {error}");
        let user = relay.auth.as_ref().map(|auth| {
            (auth.user.as_bytes().to_vec(), auth.password.expose().as_bytes().to_vec())
        });
        if self.protocol == RelayProtocol::Relay && C::CONTENT == FrameContent::Packets {
            let asked = async {
                let request = Request::datagrams_to(AddrFeature::from_text(server), user);
                let mut bytes = request.encode().map_err(io::Error::other)?;
                write_frame(&conversation.keepalive(), &mut bytes).map_err(io::Error::other)?;
                stream.write_all(&bytes).await
            };
            asked.await.map_err(failed)?;
            return Ok(OpenedStream { stream, is_asked: true });
        }
        let server = self.address_of(server, relay).await?;
        let mut buffer = FrameBuffer::new();
        match self.protocol {
            RelayProtocol::Relay => {
                let request = Request::bound_datagrams(user).encode();
                let request = request.map_err(|error| error.to_string())?;
                stream.write_all(&request).await.map_err(failed)?;
                let answer = read_message(&*stream, &mut buffer, Response::decode).await;
                let answer = answer.map_err(|error| format!("no answer: {error}"))?;
                if answer.status != Status::Ok {
                    return Err(refusal(answer.status));
                }
            }
            RelayProtocol::Socks5 => {
                let asked = socks5_datagrams(&*stream, relay.auth.as_ref()).await;
                asked.map_err(|error| error.to_string())?;
            }
        }
        let is_server = move |from: &AddrFeature, _| is_answer(server, from);
        let rest = buffer.filled().to_vec();
        let stream = AddressedStream::new(stream, rest, server, Box::new(is_server));
        Ok(OpenedStream { stream: Arc::new(stream), is_asked: false })
    }

    /// Where a server is that each datagram names; an empty host is the other side's own machine.
    async fn address_of(&self, server: &str, relay: &HubNode) -> Result<SocketAddr, String> {
        let asked = AddrFeature::from_text(server);
        match asked.addr {
            Addr::Ip(ip) => return Ok(SocketAddr::new(ip, asked.port)),
            Addr::Name(name) if name.is_empty() || name == "localhost" => {
                return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), asked.port));
            }
            Addr::Name(_) => {}
        }
        let netns = relay.sockets.netns.as_ref().map(NetworkNamespace::path);
        let found = self.hubs.names.find(server, netns.as_deref(), ASKING).await;
        let found = found.map_err(|error| error.to_string())?;
        found.addresses.first().copied().ok_or_else(|| format!("{server} has no address"))
    }
}

/// Whether a datagram from there is one of the server that datagrams for `server` reach.
fn is_answer(server: SocketAddr, from: &AddrFeature) -> bool {
    let is_this_machine = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    let Addr::Ip(ip) = from.addr else { return false };
    let (asked, ip) = (server.ip().to_canonical(), ip.to_canonical());
    from.port == server.port() && (ip == asked || is_this_machine(ip) && is_this_machine(asked))
}

/// A stream that is served.
struct RelayedStream<'a, C> {
    conversation: &'a C,
    server: &'a str,
    relay: &'a str,
    link: &'a Link,
    clock: Mutex<KeepaliveClock>,
    /// Why the relay does not serve the client, if it does not.
    refused: OnceLock<String>,
}

impl<C: Conversation> RelayedStream<'_, C> {
    /// Says that the client is there when that is due; returns why the server counts as gone.
    async fn keep_alive(&self) -> String {
        loop {
            let next = {
                let mut clock = self.clock();
                let now = Instant::now();
                if let Some(why) = clock.is_over(now) {
                    return why;
                }
                if clock.is_due(now) {
                    clock.registers(now);
                    self.conversation.dialled().with(|story| story.keepalives += 1);
                    let mut frame = Vec::new();
                    if write_frame(&self.conversation.keepalive(), &mut frame).is_ok() {
                        // One that does not go is one that is lost.
                        self.link.send_answer(&frame);
                    }
                }
                clock.next()
            };
            until(next).await;
        }
    }

    /// Why the stream has ended.
    fn cause(&self) -> String {
        if let Some(why) = self.refused.get() {
            return why.clone();
        }
        match (self.link.end_reason(), self.link.end_error()) {
            (Some(EndReason::PeerClosed), _) => "it closed the connection".to_owned(),
            (_, Some(error)) => error.to_string(),
            (reason, None) => reason.map_or("stopped", EndReason::as_str).to_owned(),
        }
    }

    /// A poisoned lock still guards a usable clock: each change is a few assignments.
    fn clock(&self) -> MutexGuard<'_, KeepaliveClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a relay sends: its answer, if that has still to come, then datagrams of the server.
struct RelayDownlink<'a, C: Conversation> {
    shared: &'a RelayedStream<'a, C>,
    intake: C::Intake,
    is_admitted: bool,
}

impl<C: Conversation> Receiver for RelayDownlink<'_, C> {
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut start = 0;
        if !self.is_admitted {
            match self.answer(bytes) {
                Ok(Some(len)) => start = len,
                Ok(None) => return 0,
                Err(why) => {
                    let _ = self.shared.refused.set(why);
                    self.shared.link.end(EndReason::PeerClosed);
                    return bytes.len();
                }
            }
        }
        start + self.deliver(&bytes[start..])
    }

    fn asks_after(&self) -> Option<Duration> {
        None
    }
}

impl<C: Conversation> RelayDownlink<'_, C> {
    /// The length of the relay's answer once it is whole; the error says why it does not serve.
    fn answer(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        match Response::decode(bytes) {
            Ok(Decoded::Incomplete { .. }) => Ok(None),
            Ok(Decoded::Complete { value: Response { status: Status::Ok, .. }, len }) => {
                self.is_admitted = true;
                Ok(Some(len))
            }
            Ok(Decoded::Complete { value, .. }) => Err(refusal(value.status)),
            Err(error) => Err(format!("answered something else than the relay protocol: {error}")),
        }
    }

    /// Moves whole frames; returns how many bytes they were.
    fn deliver(&mut self, bytes: &[u8]) -> usize {
        let Self { shared, intake, .. } = self;
        let RelayedStream { conversation, server, relay, .. } = shared;
        let taken = conversation.take_frames(server, relay, bytes, intake);
        if taken.len > 0 {
            conversation.dialled().heard(taken.answered);
            let mut clock = shared.clock();
            clock.hears(Instant::now());
            if taken.answered {
                clock.is_answered();
            }
        }
        taken.len
    }
}

fn refusal(status: Status) -> String {
    let hint = match status {
        Status::Unauthorized => "the user or the password of the relay",
        Status::Forbidden => {
            "the relay does not lead to this server; GOST's needs `bind=true` for an Ethernet tunnel"
        }
        Status::HostUnreachable => "the server is not there",
        _ => return format!("refused: {status}"),
    };
    format!("refused: {status} ({hint})")
}

/// Sends the frames of packets to the relay; what its stream does not take waits in a queue, or is lost and counted there.
pub(super) fn send_frames(link: &Link, frames: &[u8]) {
    link.send(ITSELF, frames, slice::from_ref(&(0..frames.len())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_server_answers() {
        for (server, from, expected) in [
            ("10.0.0.1:8421", "10.0.0.1:8421", true),
            ("10.0.0.1:8421", "10.0.0.1:8422", false),
            ("10.0.0.1:8421", "10.0.0.2:8421", false),
            ("127.0.0.1:8421", "[::1]:8421", true),
            ("127.0.0.1:8421", "10.0.0.1:8421", false),
            ("10.0.0.1:8421", "[::ffff:10.0.0.1]:8421", true),
            ("10.0.0.1:8421", "server.example:8421", false),
        ] {
            let from = AddrFeature::from_text(from);
            assert_eq!(is_answer(server.parse().unwrap(), &from), expected, "{server} {from:?}");
        }
    }
}

//! What a client and its servers say to each other, and how it went so far.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use arc_swap::ArcSwapOption;
use rtun_proto::frame_content::FrameContent;
use rtun_transport::udp::{DatagramSocket, ReceivedDatagrams};

use crate::{
    counters::Counters,
    link::Link,
    report::{FailureReport, Queued, RelayedReport},
};

/// What a client and its server say to each other.
pub(super) trait Conversation: Send + Sync + 'static {
    /// What it takes to move what has arrived; keeps its memory.
    type Intake: Send;

    /// What the datagrams are.
    const CONTENT: FrameContent;

    /// Why a server may never answer.
    const CAUSES: &'static str;

    /// Where it is noted how it goes.
    fn dialled(&self) -> &DialledServer;

    /// The datagram by which the client says that it is there.
    fn keepalive(&self) -> Vec<u8>;

    fn intake(&self) -> Self::Intake;

    /// Moves what the server has sent; whether an answer to a keepalive was among it.
    fn take(
        &self,
        server: &str,
        remote: SocketAddr,
        received: &ReceivedDatagrams,
        intake: &mut Self::Intake,
    ) -> bool;

    /// Moves the whole frames at the beginning of `bytes`, which the server has sent through `relay`.
    fn take_frames(
        &self,
        server: &str,
        relay: &str,
        bytes: &[u8],
        intake: &mut Self::Intake,
    ) -> TakenFrames;
}

/// What was moved of a stream's bytes.
pub(super) struct TakenFrames {
    /// Bytes of whole frames.
    pub(super) len: usize,
    /// Whether an answer to a keepalive was among them.
    pub(super) answered: bool,
}

/// A socket and where it is connected.
pub(super) struct ServerSocket {
    pub(super) socket: DatagramSocket,
    pub(super) remote: SocketAddr,
}

/// The server that a client sends to, and how it went so far.
#[derive(Default)]
pub(super) struct DialledServer {
    /// What packets are sent through, while there is one.
    pub(super) socket: ArcSwapOption<ServerSocket>,
    pub(super) relayed: RelayedState,
    story: Mutex<ClientStory>,
}

/// How it goes through relays. Keeps no connection.
#[derive(Default)]
pub(super) struct RelayedState {
    /// The stream that packets are sent through, while there is one.
    pub(super) link: ArcSwapOption<Link>,
    /// What was sent through relays, and what their queues lost.
    pub(super) sent: Arc<Counters>,
    /// The last relay that was connected.
    pub(super) relay: ArcSwapOption<RelayedReport>,
}

/// What datagrams for the server are sent through.
pub(super) enum ServerPath {
    Socket(Arc<ServerSocket>),
    /// A stream to a relay.
    Relay(Arc<Link>),
}

/// What happened between a client and its servers.
#[derive(Default)]
pub(super) struct ClientStory {
    /// As configured.
    pub(super) server: Option<String>,
    /// Where its socket is connected.
    pub(super) remote: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    /// Whether this server has answered.
    pub(super) answered: bool,
    /// What it said about where the client comes from.
    pub(super) seen_as: Option<IpAddr>,
    pub(super) heard: Option<Instant>,
    pub(super) keepalives: u64,
    pub(super) answers: u64,
    pub(super) failed: u64,
    last_error: Option<(String, String, Instant)>,
}

impl DialledServer {
    /// What there is now.
    pub(super) fn path(&self) -> Option<ServerPath> {
        let link = self.relayed.link.load_full().map(ServerPath::Relay);
        link.or_else(|| self.socket.load_full().map(ServerPath::Socket))
    }

    /// There is no server any more.
    pub(super) fn leave(&self) {
        self.socket.store(None);
        self.relayed.link.store(None);
    }

    /// What waits for a relay's stream.
    pub(super) fn queued(&self) -> Queued {
        let Some(link) = self.relayed.link.load_full() else { return Queued::default() };
        let (packets, bytes) = link.queued();
        Queued { packets, bytes: bytes as u64 }
    }

    /// A poisoned lock still guards a whole story: each change is a few assignments.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut ClientStory) -> T) -> T {
        look(&mut self.story.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that the server has sent something, and whether an answer to a keepalive was among it.
    pub(super) fn heard(&self, answered: bool) {
        self.with(|story| {
            story.heard = Some(Instant::now());
            story.answers += u64::from(answered);
            story.answered |= answered;
        });
    }
}

impl ClientStory {
    /// The connection to this server has failed.
    pub(super) fn note_failure(&mut self, server: &str, why: &str) {
        self.last_error = Some((server.to_owned(), why.to_owned(), Instant::now()));
    }

    /// The last failure, for a report.
    pub(super) fn failure(&self) -> Option<FailureReport> {
        self.last_error.as_ref().map(|(server, error, when)| FailureReport {
            hub: server.clone(),
            error: error.clone(),
            ago: when.elapsed(),
        })
    }
}

/// Why a connection is given up.
pub(super) struct ConnectionEnd {
    pub(super) why: String,
    /// Whether the server had answered.
    pub(super) answered: bool,
}

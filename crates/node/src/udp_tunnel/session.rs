//! Keeping a server that knows a client: which one is dialled, when the client registers there, when the server counts as gone.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use rtun_settings::{NetworkNamespace, SocketOptions};
use rtun_transport::{
    names::Names,
    udp::{DatagramSocket, ReceivedDatagrams},
};
use tokio::time::sleep;
use tracing::warn;

use super::clock::{KeepaliveClock, until};
use crate::{link::ReadTurns, report::FailureReport};

/// The longest pause before the next server is tried.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// For name servers.
const LOOK_UP: Duration = Duration::from_secs(5);

/// After this many connections without an answer the likely causes are named.
const NAME_CAUSES_AFTER: u32 = 3;

/// After an error of the socket, which is a hint, so that one that lasts takes no time of others.
const PAUSE_ON_ERROR: Duration = Duration::from_millis(10);

/// What a client and its server say to each other.
pub(super) trait Conversation: Send + Sync + 'static {
    /// What it takes to move what has arrived; keeps its memory.
    type Intake: Send;

    /// Why a server may never answer.
    const CAUSES: &'static str;

    /// Where it is noted how it goes.
    fn dialled(&self) -> &DialledServer;

    /// The datagram by which the client says that it is there.
    fn keepalive(&self) -> Vec<u8>;

    fn intake(&self) -> Self::Intake;

    /// Keeps the server by another way than a socket, until it counts as gone; `None` if there is no such way.
    fn serve_otherwise(&self, _server: &str) -> impl Future<Output = Option<ConnectionEnd>> + Send {
        std::future::ready(None)
    }

    /// Moves what the server has sent; whether an answer to a keepalive was among it.
    fn take(
        &self,
        server: &str,
        remote: SocketAddr,
        received: &ReceivedDatagrams,
        intake: &mut Self::Intake,
    ) -> bool;
}

/// What it takes to keep a server.
pub(super) struct ServerSession<C> {
    pub(super) service: String,
    pub(super) servers: Vec<String>,
    /// Between keepalives; none: only until the first answer.
    pub(super) interval: Option<Duration>,
    pub(super) sockets: SocketOptions,
    pub(super) names: Arc<Names>,
    pub(super) conversation: C,
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
    story: Mutex<ClientStory>,
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

impl<C: Conversation> ServerSession<C> {
    /// Keeps a server for as long as it is let.
    pub(super) async fn run(&self) {
        let (mut place, mut unanswered, mut pause) = (0, 0_u32, PAUSE_FIRST);
        // The next socket has the port of the one before: servers and firewalls know the client by it.
        let mut port = 0;
        loop {
            let server = &self.servers[place % self.servers.len()];
            let began = Instant::now();
            let end = match self.conversation.serve_otherwise(server).await {
                Some(end) => end,
                None => self.serve_directly(server, &mut port).await,
            };
            self.dialled().with(|story| (story.answered, story.seen_as) = (false, None));
            self.failed(server, &end, &mut unanswered);
            place += 1;
            if end.answered && began.elapsed() >= PAUSE_MAX {
                pause = PAUSE_FIRST;
            } else {
                sleep(pause.mul_f64(fastrand::f64())).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    fn dialled(&self) -> &DialledServer {
        self.conversation.dialled()
    }

    /// Connects to the server, and serves until it counts as gone.
    async fn serve_directly(&self, server: &str, port: &mut u16) -> ConnectionEnd {
        let connected = match self.connect(server, port).await {
            Ok(connected) => connected,
            Err(why) => return ConnectionEnd { why, answered: false },
        };
        self.dialled().socket.store(Some(Arc::clone(&connected)));
        // Until the event loop has seen the socket it takes nothing, and the first keepalive would be lost.
        if let Err(error) = connected.socket.writable().await {
            return ConnectionEnd { why: error.to_string(), answered: false };
        }
        self.serve(server, &connected).await
    }

    async fn connect(&self, server: &str, port: &mut u16) -> Result<Arc<ServerSocket>, String> {
        let netns = self.sockets.netns.as_ref().map(NetworkNamespace::path);
        let found = self.names.find(server, netns.as_deref(), LOOK_UP).await;
        let found = found.map_err(|error| error.to_string())?;
        // Packets are dropped for as long as there is no socket: a moment.
        self.dialled().socket.store(None);
        let mut why = format!("{server} has no address");
        for remote in found.addresses {
            match DatagramSocket::connect(remote, &self.sockets, *port) {
                Ok(socket) => {
                    let local = socket.local_addr().ok();
                    *port = local.map_or(0, |local| local.port());
                    self.dialled().with(|story| {
                        story.server = Some(server.to_owned());
                        (story.remote, story.local) = (Some(remote), local);
                    });
                    return Ok(Arc::new(ServerSocket { socket, remote }));
                }
                Err(error) => why = format!("no way to {remote}: {error}"),
            }
        }
        Err(why)
    }

    /// Says that the client is there, and moves what the server sends, until it counts as gone.
    async fn serve(&self, server: &str, connected: &ServerSocket) -> ConnectionEnd {
        let ServerSocket { socket, remote } = connected;
        let mut clock = KeepaliveClock::new(self.interval);
        let mut received = ReceivedDatagrams::default();
        let mut intake = self.conversation.intake();
        let mut turns = ReadTurns::default();
        loop {
            let now = Instant::now();
            if let Some(why) = clock.is_over(now) {
                return ConnectionEnd { why, answered: clock.answered };
            }
            if clock.is_due(now) {
                clock.registers(now);
                self.dialled().with(|story| story.keepalives += 1);
                let keepalive = self.conversation.keepalive();
                // One that does not go is one that is lost.
                let _ = socket.try_send(*remote, None, &keepalive, keepalive.len());
            }
            let is_there = tokio::select! {
                ready = socket.readable() => {
                    ready.and_then(|()| socket.try_receive(&mut received))
                }
                () = until(clock.next()) => continue,
            };
            match is_there {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    clock.is_hinted(error.to_string(), Instant::now());
                    sleep(PAUSE_ON_ERROR).await;
                    continue;
                }
            }
            clock.hears(Instant::now());
            let answered = self.conversation.take(server, *remote, &received, &mut intake);
            self.dialled().heard(answered);
            if answered {
                clock.is_answered();
            }
            turns.after_read().await;
        }
    }

    fn failed(&self, server: &str, end: &ConnectionEnd, unanswered: &mut u32) {
        self.dialled().with(|story| {
            story.failed += 1;
            story.last_error = Some((server.to_owned(), end.why.clone(), Instant::now()));
        });
        let (service, why) = (&self.service, &end.why);
        if end.answered {
            *unanswered = 0;
            warn!(service, server, "the server is gone: {why}");
            return;
        }
        *unanswered = unanswered.saturating_add(1);
        match *unanswered {
            1 => warn!(service, server, "no answer: {why}; trying on"),
            NAME_CAUSES_AFTER => warn!(service, server, "still no answer: {why}. {}", C::CAUSES),
            _ => {}
        }
    }
}

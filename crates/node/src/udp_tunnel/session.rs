//! Keeping a server that knows a client: which one is dialled, when the client registers there, when the server counts as gone.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use rtun_settings::{NetworkNamespace, SocketOptions};
use rtun_transport::{
    names::Names,
    udp::{DatagramSocket, ReceivedDatagrams},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    clock::{KeepaliveClock, until},
    conversation::{ConnectionEnd, Conversation, DialledServer, ServerSocket},
    relayed::RelayPath,
};
use crate::link::ReadTurns;

/// The longest pause before the next server is tried.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// For name servers.
const LOOK_UP: Duration = Duration::from_secs(5);

/// After this many connections without an answer the likely causes are named.
const NAME_CAUSES_AFTER: u32 = 3;

/// After an error of the socket, which is a hint, so that one that lasts takes no time of others.
const PAUSE_ON_ERROR: Duration = Duration::from_millis(10);

/// What it takes to keep a server.
pub(super) struct ServerSession<C> {
    pub(super) service: String,
    pub(super) servers: Vec<String>,
    /// Between keepalives; none: only until the first answer.
    pub(super) interval: Option<Duration>,
    pub(super) sockets: SocketOptions,
    pub(super) names: Arc<Names>,
    /// What leads to the servers, if they are not reached directly.
    pub(super) relay: Option<RelayPath>,
    pub(super) conversation: C,
}

impl<C: Conversation> ServerSession<C> {
    /// Keeps a server until `ended`, and looks after the relays.
    pub(super) async fn run_until(&self, ended: &CancellationToken) {
        let looking_after = async {
            match &self.relay {
                Some(relay) => relay.look_after().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.run() => {}
            () = looking_after => {}
            () = ended.cancelled() => {}
        }
        self.dialled().leave();
    }

    /// Keeps a server for as long as it is let.
    async fn run(&self) {
        let (mut place, mut unanswered, mut pause) = (0, 0_u32, PAUSE_FIRST);
        // The next socket has the port of the one before: servers and firewalls know the client by it.
        let mut port = 0;
        loop {
            let server = &self.servers[place % self.servers.len()];
            let began = Instant::now();
            let end = match &self.relay {
                Some(relay) => relay.serve(&self.conversation, server, self.interval).await,
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
                // One that does not go is one that is lost, but for the socket whose address this machine has no more.
                let sent = socket.try_send(*remote, None, &keepalive, keepalive.len());
                if sent.is_err() && self.has_lost_address(socket) {
                    clock.is_hinted("the address that it was reached from is gone".to_owned(), now);
                }
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

    /// Whether the address that the socket sends from is not this machine's any more. The errors of sending do not tell that from an
    /// interface that is down for a while. In another network namespace it is not known.
    fn has_lost_address(&self, socket: &DatagramSocket) -> bool {
        let Ok(mut local) = socket.local_addr() else { return false };
        local.set_port(0);
        let bound = std::net::UdpSocket::bind(local);
        self.sockets.netns.is_none()
            && bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
    }

    fn failed(&self, server: &str, end: &ConnectionEnd, unanswered: &mut u32) {
        self.dialled().with(|story| {
            story.failed += 1;
            story.note_failure(server, &end.why);
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

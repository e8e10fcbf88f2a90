//! Keeping a client registered: when it registers, when a server counts as gone, and which one is next.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rtun_settings::{NetworkNamespace, SocketOptions};
use rtun_transport::{
    names::Names,
    udp::{DatagramSocket, ReceivedDatagrams},
};
use tokio::time::sleep;
use tracing::warn;

use super::{
    super::delivery::DeviceBatch,
    ServerPath, ServerSocket,
    clock::{KeepaliveClock, until},
    registration::{ArrivedDatagrams, ClientRegistration, ConnectionEnd},
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

/// What it takes to stay registered.
pub(super) struct Registering {
    pub(super) registration: ClientRegistration,
    pub(super) servers: Vec<String>,
    pub(super) sockets: SocketOptions,
    pub(super) names: Arc<Names>,
    /// What leads to the servers, if they are not reached directly.
    pub(super) relay: Option<RelayPath>,
}

impl Registering {
    /// Stays registered for as long as it is let.
    pub(super) async fn run(&self) {
        let (mut place, mut unanswered, mut pause) = (0, 0_u32, PAUSE_FIRST);
        // The next socket has the port of the one before: servers and firewalls know the client by it.
        let mut port = 0;
        loop {
            let server = &self.servers[place % self.servers.len()];
            let began = Instant::now();
            let end = match &self.relay {
                Some(relay) => relay.serve(&self.registration, server).await,
                None => self.serve_directly(server, &mut port).await,
            };
            self.registration.state.with(|story| story.seen_as = None);
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

    /// Probes the relays that are configured to be, without end.
    pub(super) async fn probe(&self) {
        match &self.relay {
            Some(relay) => relay.probe().await,
            None => std::future::pending().await,
        }
    }

    /// Connects to the server, and serves until it counts as gone.
    async fn serve_directly(&self, server: &str, port: &mut u16) -> ConnectionEnd {
        let connected = match self.connect(server, port).await {
            Ok(connected) => connected,
            Err(why) => return ConnectionEnd { why, answered: false },
        };
        let ServerPath::Socket(socket) = &*connected else {
            return ConnectionEnd { why: "no socket".to_owned(), answered: false };
        };
        self.registration.state.path.store(Some(Arc::clone(&connected)));
        // Until the event loop has seen the socket it takes nothing, and the first register would be lost.
        if let Err(error) = socket.socket.writable().await {
            return ConnectionEnd { why: error.to_string(), answered: false };
        }
        self.serve(server, socket).await
    }

    async fn connect(&self, server: &str, port: &mut u16) -> Result<Arc<ServerPath>, String> {
        let netns = self.sockets.netns.as_ref().map(NetworkNamespace::path);
        let found = self.names.find(server, netns.as_deref(), LOOK_UP).await;
        let found = found.map_err(|error| error.to_string())?;
        // Packets are dropped for as long as there is no socket: a moment.
        self.registration.state.path.store(None);
        let mut why = format!("{server} has no address");
        for remote in found.addresses {
            match DatagramSocket::connect(remote, &self.sockets, *port) {
                Ok(socket) => {
                    let local = socket.local_addr().ok();
                    *port = local.map_or(0, |local| local.port());
                    self.registration.state.with(|story| {
                        story.server = Some(server.to_owned());
                        (story.remote, story.local) = (Some(remote), local);
                    });
                    return Ok(Arc::new(ServerPath::Socket(ServerSocket { socket, remote })));
                }
                Err(error) => why = format!("no way to {remote}: {error}"),
            }
        }
        Err(why)
    }

    /// Registers, and moves what the server sends, until it counts as gone.
    async fn serve(&self, server: &str, connected: &ServerSocket) -> ConnectionEnd {
        let ServerSocket { socket, remote } = connected;
        let mut clock = KeepaliveClock::new(self.registration.keepalive);
        let mut received = ReceivedDatagrams::default();
        let mut delivery = DeviceBatch::new(&*self.registration.port);
        let mut turns = ReadTurns::default();
        loop {
            let now = Instant::now();
            if let Some(why) = clock.is_over(now) {
                return ConnectionEnd { why, answered: clock.answered };
            }
            if clock.is_due(now) {
                clock.registers(now);
                self.registration.state.with(|story| story.registers += 1);
                // One that does not go is one that is lost.
                let _ = socket.try_send(
                    *remote,
                    None,
                    &self.registration.register,
                    self.registration.register.len(),
                );
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
            self.take(server, *remote, &received, &mut delivery, &mut clock);
            delivery.deliver(
                received.buffer(),
                &*self.registration.port,
                &self.registration.state.received,
            );
            turns.after_read().await;
        }
    }

    /// Takes what has arrived apart.
    fn take(
        &self,
        server: &str,
        remote: SocketAddr,
        received: &ReceivedDatagrams,
        delivery: &mut DeviceBatch,
        clock: &mut KeepaliveClock,
    ) {
        let mut arrived = ArrivedDatagrams::default();
        for run in received.runs() {
            for at in run.datagrams() {
                self.registration.sort(
                    &received.buffer()[at.clone()],
                    at.start,
                    delivery,
                    &mut arrived,
                );
            }
        }
        self.registration.note(server, &remote, &arrived, clock);
    }

    fn failed(&self, server: &str, end: &ConnectionEnd, unanswered: &mut u32) {
        self.registration.state.with(|story| {
            story.failed += 1;
            story.last_error = Some((server.to_owned(), end.why.clone(), Instant::now()));
        });
        let (service, why) = (&self.registration.service, &end.why);
        if end.answered {
            *unanswered = 0;
            warn!(service, server, "the server is gone: {why}");
            return;
        }
        *unanswered = unanswered.saturating_add(1);
        match *unanswered {
            1 => warn!(service, server, "no answer: {why}; trying on"),
            NAME_CAUSES_AFTER => warn!(
                service,
                server,
                "still no answer: {why}. The server is down or out of reach; or it refuses this client, which it does in \
                 silence: another passphrase, an address that is not in its networks, or one that another client has"
            ),
            _ => {}
        }
    }
}

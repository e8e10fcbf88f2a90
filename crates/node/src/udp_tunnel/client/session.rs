//! DeviceTask a client registered: when it registers, when a server counts as gone, and which one is next.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::udp_tunnel::FromServer;
use rtun_settings::{NetworkNamespace, SocketOptions};
use rtun_transport::{
    names::Names,
    udp::{DatagramSocket, ReceivedDatagrams},
};
use tokio::time::sleep;
use tracing::{info, warn};

use super::{
    super::delivery::DeviceBatch,
    ServerPath, ServerSocket, UdpClientState,
    clock::{KeepaliveClock, until},
    relayed::RelayPath,
};
use crate::{device::DevicePort, link::ReadTurns};

/// The longest pause before the next server is tried.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// For name servers.
const LOOK_UP: Duration = Duration::from_secs(5);

/// After so many connections without an answer the likely causes are named.
const NAME_CAUSES_AFTER: u32 = 3;

/// After an error of the socket, which is a hint, so that one that lasts takes no time of others.
const PAUSE_ON_ERROR: Duration = Duration::from_millis(10);

/// What it takes to stay registered.
pub(super) struct Registering {
    pub(super) service: String,
    pub(super) servers: Vec<String>,
    pub(super) keepalive: Option<Duration>,
    /// The same bytes each time.
    pub(super) register: Vec<u8>,
    pub(super) sockets: SocketOptions,
    pub(super) names: Arc<Names>,
    pub(super) port: Arc<DevicePort>,
    pub(super) state: Arc<UdpClientState>,
    /// What leads to the servers, if they are not reached directly.
    pub(super) relay: Option<RelayPath>,
}

/// What has arrived at once.
#[derive(Default)]
pub(super) struct ArrivedDatagrams {
    packets: u64,
    bytes: u64,
    /// The last reply to a register: the address that the server sees.
    reply: Option<IpAddr>,
}

/// Why a connection is given up.
pub(super) struct ConnectionEnd {
    pub(super) why: String,
    /// Whether the server had answered.
    pub(super) answered: bool,
}

impl Registering {
    /// Stays registered for as long as it is let.
    pub(super) async fn run(&self) {
        let (mut place, mut unanswered, mut pause) = (0, 0_u32, PAUSE_FIRST);
        // The next socket has the port of the one before: servers and firewalls know the client by it.
        let mut port = 0;
        loop {
            let server = &self.servers[place % self.servers.len()];
            let end = match &self.relay {
                Some(relay) => relay.serve(self, server).await,
                None => self.serve_directly(server, &mut port).await,
            };
            self.state.with(|story| story.seen_as = None);
            self.failed(server, &end, &mut unanswered);
            place += 1;
            if end.answered {
                pause = PAUSE_FIRST;
            } else {
                sleep(pause.mul_f64(fastrand::f64())).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
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
        self.state.path.store(Some(Arc::clone(&connected)));
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
        self.state.path.store(None);
        let mut why = format!("{server} has no address");
        for remote in found.addresses {
            match DatagramSocket::connect(remote, &self.sockets, *port) {
                Ok(socket) => {
                    let local = socket.local_addr().ok();
                    *port = local.map_or(0, |local| local.port());
                    self.state.with(|story| {
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
        let mut clock = KeepaliveClock::new(self.keepalive);
        let mut received = ReceivedDatagrams::default();
        let mut delivery = DeviceBatch::new(&*self.port);
        let mut turns = ReadTurns::default();
        loop {
            let now = Instant::now();
            if let Some(why) = clock.is_over(now) {
                return ConnectionEnd { why, answered: clock.answered };
            }
            if clock.is_due(now) {
                clock.registers(now);
                self.state.with(|story| story.registers += 1);
                // One that does not go is one that is lost.
                let _ = socket.try_send(*remote, None, &self.register, self.register.len());
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
            delivery.deliver(received.buffer(), &*self.port, &self.state.received);
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
                self.sort(&received.buffer()[at.clone()], at.start, delivery, &mut arrived);
            }
        }
        self.note(server, &remote, &arrived, clock);
    }

    /// Sorts one datagram of the server, which begins at `start` of its buffer: a packet is for the device.
    pub(super) fn sort(
        &self,
        datagram: &[u8],
        start: usize,
        delivery: &mut DeviceBatch,
        arrived: &mut ArrivedDatagrams,
    ) {
        match FromServer::decode(datagram) {
            Ok(FromServer::Reply(outer)) => {
                arrived.reply = Some(outer);
                return;
            }
            Ok(FromServer::Packet(packet)) => delivery.push(start..start + packet.len()),
            Err(error) => self.state.received.count_drops(DatagramDrop::from(error), 1),
        }
        arrived.packets += 1;
        arrived.bytes += datagram.len() as u64;
    }

    /// Notes what has arrived from the server, which is reached at or through `remote`.
    pub(super) fn note(
        &self,
        server: &str,
        remote: &dyn fmt::Display,
        arrived: &ArrivedDatagrams,
        clock: &mut KeepaliveClock,
    ) {
        let ArrivedDatagrams { packets, bytes, reply } = *arrived;
        self.state.received.count_in(packets, bytes);
        let before = self.state.with(|story| {
            story.heard = Some(Instant::now());
            story.replies += u64::from(reply.is_some());
            match reply {
                Some(_) => std::mem::replace(&mut story.seen_as, reply),
                None => story.seen_as,
            }
        });
        if let Some(outer) = reply {
            clock.is_answered();
            if before != reply {
                let service = &self.service;
                info!(service, server, remote = %remote, "registered; the server sees us as {outer}");
            }
        }
    }

    fn failed(&self, server: &str, end: &ConnectionEnd, unanswered: &mut u32) {
        self.state.with(|story| {
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

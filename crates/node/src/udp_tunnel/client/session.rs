//! DeviceTask a client registered: when it registers, when a server counts as gone, and which one is next.

use std::{
    io,
    net::SocketAddr,
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
use tokio::time::{sleep, sleep_until};
use tracing::{info, warn};

use super::{super::delivery::DeviceBatch, ServerSocket, UdpClientState};
use crate::{device::DevicePort, link::ReadTurns};

/// A server that has not answered yet is asked again after this long, then after twice as long.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// One that has not answered for this long counts as gone; so does one that was said to be unreachable and is silent.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// So many intervals without a datagram mean that the server is gone.
const SILENT_INTERVALS: u32 = 3;

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
}

/// Why a connection is given up.
struct ConnectionEnd {
    why: String,
    /// Whether the server had answered.
    answered: bool,
}

impl Registering {
    /// Stays registered for as long as it is let.
    pub(super) async fn run(&self) {
        let (mut place, mut unanswered, mut pause) = (0, 0_u32, PAUSE_FIRST);
        // The next socket has the port of the one before: servers and firewalls know the client by it.
        let mut port = 0;
        loop {
            let server = &self.servers[place % self.servers.len()];
            let end = match self.connect(server, &mut port).await {
                Ok(connected) => {
                    self.state.socket.store(Some(Arc::clone(&connected)));
                    let end = self.serve(server, &connected).await;
                    self.state.with(|story| story.seen_as = None);
                    end
                }
                Err(why) => ConnectionEnd { why, answered: false },
            };
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

    async fn connect(&self, server: &str, port: &mut u16) -> Result<Arc<ServerSocket>, String> {
        let netns = self.sockets.netns.as_ref().map(NetworkNamespace::path);
        let found = self.names.find(server, netns.as_deref(), LOOK_UP).await;
        let found = found.map_err(|error| error.to_string())?;
        // Packets are dropped for as long as there is no socket: a moment.
        self.state.socket.store(None);
        let mut why = format!("{server} has no address");
        for remote in found.addresses {
            match DatagramSocket::connect(remote, &self.sockets, *port) {
                Ok(socket) => {
                    let local = socket.local_addr().ok();
                    *port = local.map_or(0, |local| local.port());
                    self.state.with(|story| {
                        (story.server, story.local) = (Some((server.to_owned(), remote)), local);
                    });
                    return Ok(Arc::new(ServerSocket { socket, remote }));
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
        let counters = &self.state.received;
        let (mut packets, mut bytes) = (0, 0);
        let mut reply = None;
        for run in received.runs() {
            for at in run.datagrams() {
                let datagram = &received.buffer()[at.clone()];
                match FromServer::decode(datagram) {
                    Ok(FromServer::Reply(outer)) => {
                        reply = Some(outer);
                        continue;
                    }
                    Ok(FromServer::Packet(packet)) => {
                        delivery.push(at.start..at.start + packet.len());
                    }
                    Err(error) => counters.count_drops(DatagramDrop::from(error), 1),
                }
                packets += 1;
                bytes += datagram.len() as u64;
            }
        }
        counters.count_in(packets, bytes);
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

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

/// When a client registers, and when its server counts as gone.
#[derive(Debug)]
struct KeepaliveClock {
    keepalive: Option<Duration>,
    started: Instant,
    /// The last datagram of the server, or the beginning.
    heard: Instant,
    /// When the next register is due; none: no more.
    due: Option<Instant>,
    /// How long the register after the next one waits, while there was no answer.
    ask_again: Duration,
    answered: bool,
    /// What the network said, and since when the server has been silent after that.
    hint: Option<(String, Instant)>,
}

impl KeepaliveClock {
    fn new(keepalive: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            keepalive,
            started: now,
            heard: now,
            due: Some(now),
            ask_again: ASK_AGAIN,
            answered: false,
            hint: None,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    fn registers(&mut self, now: Instant) {
        let next = if self.answered {
            self.keepalive
        } else {
            let again = self.ask_again;
            self.ask_again *= 2;
            Some(self.keepalive.map_or(again, |keepalive| keepalive.min(again)))
        };
        self.due = next.map(|next| now + next);
    }

    /// A datagram of the server: it is there, whatever it says.
    fn hears(&mut self, now: Instant) {
        (self.heard, self.hint) = (now, None);
    }

    /// A reply.
    fn is_answered(&mut self) {
        if !self.answered {
            self.answered = true;
            self.due = self.keepalive.map(|keepalive| self.heard + keepalive);
        }
    }

    /// The network says that the server is not there, which anybody can forge.
    fn is_hinted(&mut self, why: String, now: Instant) {
        self.hint.get_or_insert((why, now));
    }

    /// When something has to be done at the latest.
    fn next(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.end().map(|(end, _)| end)).min()
    }

    fn end(&self) -> Option<(Instant, &str)> {
        let hinted = self.hint.as_ref().map(|(why, since)| (*since + ASK_AGAIN, &**why));
        let silent = match (self.answered, self.keepalive) {
            (false, _) => Some((self.started.max(self.heard) + FIRST_ANSWER, "it does not answer")),
            (true, Some(keepalive)) => {
                Some((self.heard + keepalive * SILENT_INTERVALS, "it has been silent for too long"))
            }
            // It registered once, and nothing is to be heard from a server that has no packets.
            (true, None) => None,
        };
        hinted.into_iter().chain(silent).min_by_key(|(end, _)| *end)
    }

    fn is_over(&self, now: Instant) -> Option<String> {
        let (end, why) = self.end()?;
        (end <= now).then(|| why.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The seconds at which a clock registers within `time`; `answers`: at which second the server says something.
    fn registers(
        clock: &mut KeepaliveClock,
        time: u64,
        answers: impl Fn(u64) -> bool,
    ) -> (Vec<u64>, Option<u64>) {
        let start = clock.started;
        let mut at = Vec::new();
        for second in 0..time {
            let now = start + SECOND * u32::try_from(second).unwrap();
            if clock.is_over(now).is_some() {
                return (at, Some(second));
            }
            if clock.is_due(now) {
                clock.registers(now);
                at.push(second);
            }
            if answers(second) {
                clock.hears(now);
                clock.is_answered();
            }
        }
        (at, None)
    }

    #[test]
    fn it_registers_at_each_interval_and_gives_up_after_three_without_a_sign() {
        let mut clock = KeepaliveClock::new(Some(2 * SECOND));
        let (at, over) = registers(&mut clock, 100, |second| second < 10);
        assert_eq!(at, [0, 2, 4, 6, 8, 10, 12, 14]);
        assert_eq!(over, Some(15));
    }

    #[test]
    fn a_server_that_never_answers_is_asked_a_few_times() {
        let mut clock = KeepaliveClock::new(Some(10 * SECOND));
        assert_eq!(registers(&mut clock, 100, |_| false), (vec![0, 1, 3], Some(5)));
        let mut clock = KeepaliveClock::new(None);
        assert_eq!(registers(&mut clock, 100, |_| false), (vec![0, 1, 3], Some(5)));
    }

    #[test]
    fn without_keepalive_it_registers_until_it_is_answered_and_then_no_more() {
        let mut clock = KeepaliveClock::new(None);
        assert_eq!(registers(&mut clock, 1000, |second| second == 2), (vec![0, 1], None));
        assert_eq!(clock.next(), None);
        let now = clock.started + 1000 * SECOND;
        clock.is_hinted("refused".into(), now);
        assert_eq!(clock.is_over(now), None, "a hint may be forged");
        assert_eq!(clock.is_over(now + SECOND).as_deref(), Some("refused"));
        clock.hears(now);
        assert_eq!(clock.is_over(now + SECOND), None, "it is there all the same");
    }

    #[test]
    fn data_is_a_sign_of_life() {
        let mut clock = KeepaliveClock::new(Some(SECOND));
        registers(&mut clock, 2, |second| second == 0);
        for second in 2..50 {
            let now = clock.started + SECOND * second;
            assert_eq!(clock.is_over(now), None, "{second}");
            clock.hears(now);
        }
    }
}

//! A long path on loopback: a relay of UDP packets with delay, loss and a rate, as a seed decides.

use std::{
    collections::{HashMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    runtime::Builder,
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

/// What happens to packets, in each direction on its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EmulatedPath {
    /// How long each packet travels.
    pub(crate) delay: Duration,
    /// The share that is lost, after the queue.
    pub(crate) loss: f64,
    /// Bits per second.
    pub(crate) rate: f64,
    /// How long a packet may wait for the rate before it is dropped.
    pub(crate) queue: Duration,
}

/// A running relay; ends when dropped.
pub(crate) struct Relay {
    addr: SocketAddr,
    source: watch::Sender<Ipv4Addr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// A relay to `target` with a thread of its own.
    pub(crate) fn start(target: SocketAddr, path: EmulatedPath, seed: u64) -> Self {
        let (send_addr, addr) = std::sync::mpsc::channel();
        let (source, sources) = watch::channel(Ipv4Addr::LOCALHOST);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                send_addr.send(socket.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = run(socket, target, sources, path, seed) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { addr: addr.recv().unwrap(), source, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// Lets packets to the target come from `source` and a new port from now on; what is on its way back to the old address is
    /// lost.
    pub(crate) fn move_to(&self, source: Ipv4Addr) {
        self.source.send(source).unwrap();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn run(
    socket: Arc<UdpSocket>,
    target: SocketAddr,
    sources: watch::Receiver<Ipv4Addr>,
    path: EmulatedPath,
    seed: u64,
) {
    let mut clients: HashMap<SocketAddr, mpsc::UnboundedSender<Vec<u8>>> = HashMap::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let number = clients.len() as u64;
        let up = clients.entry(from).or_insert_with(|| {
            let (up, up_packets) = mpsc::unbounded_channel();
            let (socket, seed) = (Arc::clone(&socket), seed.wrapping_add(2 * number));
            let mut sources = sources.clone();
            tokio::spawn(async move {
                let (down, down_packets) = mpsc::unbounded_channel();
                let upstream = Mutex::new(connected(*sources.borrow_and_update(), target));
                let read = async {
                    loop {
                        let from = Arc::clone(&upstream.lock().unwrap());
                        let mut buffer = vec![0; 65_536];
                        tokio::select! {
                            length = from.recv(&mut buffer) => {
                                let Ok(length) = length else { continue };
                                let _ = down.send(buffer[..length].to_vec());
                            }
                            Ok(()) = sources.changed() => {
                                *upstream.lock().unwrap() =
                                    connected(*sources.borrow_and_update(), target);
                            }
                        }
                    }
                };
                tokio::select! {
                    () = read => {}
                    () = carry(up_packets, path, seed, |packet| {
                        let _ = upstream.lock().unwrap().try_send(packet);
                    }) => {}
                    () = carry(down_packets, path, seed + 1, |packet| {
                        let _ = socket.try_send_to(packet, from);
                    }) => {}
                }
            });
            up
        });
        let _ = up.send(buffer[..length].to_vec());
    }
}

fn connected(source: Ipv4Addr, target: SocketAddr) -> Arc<UdpSocket> {
    let socket = std::net::UdpSocket::bind((source, 0)).unwrap();
    socket.connect(target).unwrap();
    socket.set_nonblocking(true).unwrap();
    Arc::new(UdpSocket::from_std(socket).unwrap())
}

async fn carry(
    mut packets: mpsc::UnboundedReceiver<Vec<u8>>,
    path: EmulatedPath,
    seed: u64,
    deliver: impl Fn(&[u8]),
) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut free_at = Instant::now();
    let mut travelling: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    loop {
        let next = travelling.front().map(|(at, _)| *at);
        tokio::select! {
            packet = packets.recv() => {
                let Some(packet) = packet else { return };
                let now = Instant::now();
                let lost = chance.f64() < path.loss;
                free_at = free_at.max(now);
                if free_at - now > path.queue {
                    continue;
                }
                // With the headers of UDP and IPv4.
                let bits = (packet.len() + 28) as f64 * 8.0;
                free_at += Duration::from_secs_f64(bits / path.rate);
                if !lost {
                    travelling.push_back((free_at + path.delay, packet));
                }
            }
            () = async { sleep_until(next.unwrap()).await }, if next.is_some() => {
                let now = Instant::now();
                while travelling.front().is_some_and(|(at, _)| *at <= now) {
                    let (_, packet) = travelling.pop_front().unwrap();
                    deliver(&packet);
                }
            }
        }
    }
}

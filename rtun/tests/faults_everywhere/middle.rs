//! A relay between hosts and their hub that passes everything on, and damages it on request.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    thread::JoinHandle,
};

use rtun_lab::{LabError, NetNamespace};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    runtime,
    sync::{
        broadcast::{self, Receiver, Sender, error::RecvError},
        mpsc,
    },
};

/// What is done to every connection there is; later ones are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// A TCP reset to both sides.
    Reset,
    /// Bytes that nobody sent go into the stream; of QUIC, packets are changed on their way.
    Garbage(Towards),
    /// One direction ends, the other goes on.
    HalfClose(Towards),
}

/// Which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    Hub,
    Host,
}

/// Runs until it is dropped.
pub struct Middle {
    harm: Option<Sender<Harm>>,
    thread: Option<JoinHandle<Result<(), LabError>>>,
}

/// Bytes of garbage: longer than any header.
const GARBAGE: usize = 300;

/// Packets of each QUIC connection that are changed.
const CHANGED: usize = 20;

impl Middle {
    /// Listens on this port of the machine, with TCP and UDP, for what is meant for `hub`.
    pub fn start(machine: &NetNamespace, port: u16, hub: SocketAddr) -> Self {
        let (harm, _) = broadcast::channel(4);
        let own_harm = harm.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let work = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.unwrap();
                let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await.unwrap();
                ready.send(()).unwrap();
                let mut end = own_harm.subscribe();
                // Who listens to harm must not keep its sender, whose drop ends all of this.
                let weak = own_harm.downgrade();
                drop(own_harm);
                tokio::select! {
                    () = pass_streams(tcp, hub, weak.clone()) => {}
                    () = pass_datagrams(udp, hub, weak) => {}
                    () = async { while end.recv().await != Err(RecvError::Closed) {} } => {}
                }
            });
        };
        let thread = machine.thread(work).unwrap();
        is_ready.recv().unwrap();
        Self { harm: Some(harm), thread: Some(thread) }
    }

    /// Does this to the connections there are.
    pub fn harm(&self, harm: Harm) {
        // Without connections there is nobody to tell.
        let _ = self.harm.as_ref().unwrap().send(harm);
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.harm = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn pass_streams(listener: TcpListener, hub: SocketAddr, harm: broadcast::WeakSender<Harm>) {
    loop {
        let (host, _) = listener.accept().await.unwrap();
        let Some(harm) = harm.upgrade() else { return };
        let harm = harm.subscribe();
        tokio::spawn(async move {
            match TcpStream::connect(hub).await {
                Ok(hub) => pass(host, hub, harm).await,
                // As if it had not been there.
                Err(_) => host.set_zero_linger().unwrap(),
            }
        });
    }
}

async fn pass(mut host: TcpStream, mut hub: TcpStream, mut harm: Receiver<Harm>) {
    host.set_nodelay(true).unwrap();
    hub.set_nodelay(true).unwrap();
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    let (mut up_ended, mut down_ended) = (false, false);
    while !(up_ended && down_ended) {
        let passed = tokio::select! {
            read = host.read(&mut up), if !up_ended => match read {
                Ok(0) => { up_ended = true; hub.shutdown().await }
                Ok(n) => hub.write_all(&up[..n]).await,
                Err(error) => Err(error),
            },
            read = hub.read(&mut down), if !down_ended => match read {
                Ok(0) => { down_ended = true; host.shutdown().await }
                Ok(n) => host.write_all(&down[..n]).await,
                Err(error) => Err(error),
            },
            harm = harm.recv() => match harm {
                Ok(Harm::Reset) | Err(_) => Err(std::io::ErrorKind::ConnectionReset.into()),
                Ok(Harm::Garbage(Towards::Hub)) => hub.write_all(&garbage()).await,
                Ok(Harm::Garbage(Towards::Host)) => host.write_all(&garbage()).await,
                Ok(Harm::HalfClose(Towards::Hub)) => { up_ended = true; hub.shutdown().await }
                Ok(Harm::HalfClose(Towards::Host)) => { down_ended = true; host.shutdown().await }
            },
        };
        if passed.is_err() {
            // The other side of a connection that was reset gets a reset too.
            let _ = (host.set_zero_linger(), hub.set_zero_linger());
            return;
        }
    }
}

fn garbage() -> Vec<u8> {
    (0..GARBAGE).map(|_| fastrand::u8(..)).collect()
}

async fn pass_datagrams(socket: UdpSocket, hub: SocketAddr, harm: broadcast::WeakSender<Harm>) {
    let socket = Arc::new(socket);
    let mut known = HashMap::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let (n, host) = socket.recv_from(&mut buffer).await.unwrap();
        let (beyond, changes, left) = match known.entry(host) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let Some(harm) = harm.upgrade() else { return };
                let beyond = Arc::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap());
                beyond.connect(hub).await.unwrap();
                let (change, changes) = mpsc::unbounded_channel();
                let (socket, back) = (Arc::clone(&socket), Arc::clone(&beyond));
                tokio::spawn(pass_back(socket, back, host, harm.subscribe(), change));
                new.insert((beyond, changes, 0))
            }
        };
        while let Ok(more) = changes.try_recv() {
            *left += more;
        }
        if *left > 0 {
            *left -= 1;
            change(&mut buffer[..n]);
        }
        // What is refused is lost, as on any network.
        let _ = beyond.send(&buffer[..n]).await;
    }
}

async fn pass_back(
    socket: Arc<UdpSocket>,
    beyond: Arc<UdpSocket>,
    host: SocketAddr,
    mut harm: Receiver<Harm>,
    change_up: mpsc::UnboundedSender<usize>,
) {
    let mut buffer = vec![0; 65_536];
    let mut left = 0;
    loop {
        tokio::select! {
            read = beyond.recv(&mut buffer) => {
                // Nobody listens there at the moment.
                let Ok(n) = read else { continue };
                if left > 0 {
                    left -= 1;
                    change(&mut buffer[..n]);
                }
                let _ = socket.send_to(&buffer[..n], host).await;
            }
            harm = harm.recv() => match harm {
                Ok(Harm::Garbage(Towards::Host)) => left = CHANGED,
                Ok(Harm::Garbage(Towards::Hub)) => drop(change_up.send(CHANGED)),
                Ok(_) => {}
                Err(_) => return,
            },
        }
    }
}

/// Changes what a packet carries, after the header that says whose it is.
fn change(packet: &mut [u8]) {
    let from = packet.len().min(24);
    packet[from..].iter_mut().for_each(|byte| *byte ^= 0x5a);
}

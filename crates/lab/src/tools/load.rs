//! Steady load: TCP streams that run until stopped, and UDP datagrams at a chosen rate.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;

use super::TransferError;
use super::tcp::{PATIENCE, listen};
use crate::NetNamespace;

/// Bytes per write and per read.
const CHUNK: usize = 256 * 1024;

/// One TCP connection of a load.
#[derive(Debug, Clone, Copy)]
pub struct LoadFlow<'a> {
    /// Who connects.
    pub client: &'a NetNamespace,
    /// Who listens while the connection is made.
    pub server: &'a NetNamespace,
    /// The address that the client connects to; not the server's own address if something is between.
    pub connect: SocketAddr,
    /// The address that the server listens on.
    pub listen: SocketAddr,
    /// Whether the server sends instead of the client.
    pub reverse: bool,
}

/// TCP streams at full speed. They end when this is stopped or dropped.
#[derive(Debug)]
pub struct TcpLoad {
    arrived: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    ends: Vec<TcpStream>,
    threads: Vec<JoinHandle<Result<(), TransferError>>>,
    congestion_control: String,
}

impl TcpLoad {
    /// Connects every flow, each sender with this congestion control, and lets them send.
    pub fn start(
        flows: &[LoadFlow<'_>],
        congestion_control: &str,
    ) -> Result<TcpLoad, TransferError> {
        let mut load = TcpLoad {
            arrived: Arc::default(),
            stop: Arc::default(),
            ends: Vec::new(),
            threads: Vec::new(),
            congestion_control: congestion_control.to_owned(),
        };
        let mut pairs = Vec::new();
        for flow in flows {
            let (client, server) = connect(flow)?;
            let (from, to) = if flow.reverse { (server, client) } else { (client, server) };
            let send_error = |source| TransferError::Send { to: flow.connect, source };
            SockRef::from(&from)
                .set_tcp_congestion(congestion_control.as_bytes())
                .map_err(send_error)?;
            for end in [&from, &to] {
                end.set_read_timeout(Some(PATIENCE)).map_err(send_error)?;
                end.set_write_timeout(Some(PATIENCE)).map_err(send_error)?;
                load.ends.push(end.try_clone().map_err(send_error)?);
            }
            pairs.push((from, to, *flow));
        }
        for (from, to, flow) in pairs {
            let (address, at) = (flow.connect, flow.listen);
            let stop = load.stop.clone();
            load.spawn(move || {
                send(from, &stop).map_err(|source| TransferError::Send { to: address, source })
            })?;
            let (stop, arrived) = (load.stop.clone(), load.arrived.clone());
            load.spawn(move || {
                receive(to, &stop, &arrived).map_err(|source| TransferError::Receive { at, source })
            })?;
        }
        Ok(load)
    }

    /// Bytes that have arrived so far, over all streams.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// The senders' congestion control.
    pub fn congestion_control(&self) -> &str {
        &self.congestion_control
    }

    /// Ends every stream; fails if one had failed before.
    pub fn stop(mut self) -> Result<(), TransferError> {
        self.end()
    }

    fn spawn(
        &mut self,
        work: impl FnOnce() -> Result<(), TransferError> + Send + 'static,
    ) -> Result<(), TransferError> {
        let thread = thread::Builder::new()
            .name("lab load".into())
            .spawn(work)
            .map_err(|error| crate::LabError::system("starting a thread", error))?;
        self.threads.push(thread);
        Ok(())
    }

    fn end(&mut self) -> Result<(), TransferError> {
        self.stop.store(true, Ordering::Relaxed);
        for end in &self.ends {
            // It is no error if it is down already.
            let _ = end.shutdown(Shutdown::Both);
        }
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            let ended = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(ended);
        }
        result
    }
}

impl Drop for TcpLoad {
    fn drop(&mut self) {
        // Call `stop` for the result.
        let _ = self.end();
    }
}

fn connect(flow: &LoadFlow<'_>) -> Result<(TcpStream, TcpStream), TransferError> {
    let receive_error = |source| TransferError::Receive { at: flow.listen, source };
    let send_error = |source| TransferError::Send { to: flow.connect, source };
    let listener = flow.server.run(|| listen(flow.listen))?.map_err(receive_error)?;
    let client = flow
        .client
        .run(|| TcpStream::connect_timeout(&flow.connect, PATIENCE))?
        .map_err(send_error)?;
    let (server, _) = listener.accept().map_err(receive_error)?;
    Ok((client, server.into()))
}

fn send(mut stream: TcpStream, stop: &AtomicBool) -> io::Result<()> {
    let chunk = vec![0x5a; CHUNK];
    while !stop.load(Ordering::Relaxed) {
        let sent = stream.write_all(&chunk);
        if !stop.load(Ordering::Relaxed) {
            sent?;
        }
    }
    Ok(())
}

fn receive(mut stream: TcpStream, stop: &AtomicBool, arrived: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let result = stream.read(&mut buffer);
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        match result? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => arrived.fetch_add(length as u64, Ordering::Relaxed),
        };
    }
}

/// Bytes at the start of each datagram that identify its run.
const STAMP: usize = 8;

/// How long the receiver waits for datagrams in flight.
const STRAGGLERS: Duration = Duration::from_millis(100);

/// Receive buffer: 100 ms at 80 MB/s, so that a receiver that is not scheduled loses nothing.
const RECEIVE_BUFFER: usize = 8 << 20;

/// How long a paced sender sleeps when nothing is due: the system's timers are no finer.
const PACE: Duration = Duration::from_micros(50);

/// The result of sending datagrams at a rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UdpRun {
    /// Sent datagrams, including those that the sender's system refused.
    pub sent: u64,
    /// Datagrams that arrived.
    pub arrived: u64,
    /// The time of sending.
    pub elapsed: Duration,
}

impl UdpRun {
    /// The part that did not arrive, 0 to 1.
    pub fn loss(&self) -> f64 {
        1.0 - self.arrived as f64 / self.sent.max(1) as f64
    }

    /// Datagrams that arrived per second of sending.
    pub fn rate(&self) -> f64 {
        self.arrived as f64 / self.elapsed.as_secs_f64()
    }
}

/// Datagrams to send.
#[derive(Debug, Clone, Copy)]
pub struct UdpLoad<'a> {
    /// Who sends.
    pub client: &'a NetNamespace,
    /// Who receives.
    pub server: &'a NetNamespace,
    /// The address that datagrams are sent to; not the server's own address if something is between.
    pub connect: SocketAddr,
    /// Where they are received.
    pub listen: SocketAddr,
    /// Bytes after the UDP header, at least 8.
    pub payload: usize,
    /// Datagrams per second; `f64::INFINITY`: as fast as the sender can.
    pub rate: f64,
    /// How long to send.
    pub during: Duration,
}

/// Sends datagrams evenly (in bursts of what falls due within a timer's tick) and counts what
/// arrives.
pub fn udp_load(load: &UdpLoad<'_>) -> Result<UdpRun, TransferError> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let stamp = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let receive_error = |source| TransferError::Receive { at: load.listen, source };
    let send_error = |source| TransferError::Send { to: load.connect, source };
    let receiver = load.server.run(|| udp_receiver(load.listen))?.map_err(receive_error)?;
    let sender = load.client.run(|| udp_sender(load.connect))?.map_err(send_error)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let counter = scope.spawn(|| count_datagrams(&receiver, stamp, &done));
        let (sent, elapsed) = send_datagrams(&sender, stamp, load);
        done.store(true, Ordering::Relaxed);
        let counted = counter.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(UdpRun { sent, arrived: counted.map_err(receive_error)?, elapsed })
    })
}

/// Datagrams at a steady rate to a receiver that may ignore them. They end when this is dropped.
#[derive(Debug)]
pub struct UdpSource {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpSource {
    /// Sends `rate` datagrams of `payload` bytes per second to `connect`.
    pub fn start(
        client: &NetNamespace,
        connect: SocketAddr,
        payload: usize,
        rate: f64,
    ) -> Result<UdpSource, TransferError> {
        let socket = client
            .run(|| udp_sender(connect))?
            .map_err(|source| TransferError::Send { to: connect, source })?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let work = move || {
            let datagram = vec![0x5a; payload];
            pace(
                rate,
                |_| stopped.load(Ordering::Relaxed),
                || {
                    // One that the system refuses is lost, as on any network.
                    let _ = socket.send(&datagram);
                },
            );
        };
        let thread = thread::Builder::new()
            .name("lab load".into())
            .spawn(work)
            .map_err(|error| crate::LabError::system("starting a thread", error))?;
        Ok(UdpSource { stop, thread: Some(thread) })
    }
}

impl Drop for UdpSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and a drop cannot pass it on.
            let _ = thread.join();
        }
    }
}

/// A bound socket with a receive buffer of 8 MiB, or as much as the system allows; a read gives
/// up after 100 ms.
pub fn udp_receiver(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    // Above the system's limit where this is allowed, else up to it.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    }
    socket.set_read_timeout(Some(STRAGGLERS))?;
    Ok(socket)
}

fn udp_sender(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn send_datagrams(socket: &UdpSocket, stamp: [u8; STAMP], load: &UdpLoad<'_>) -> (u64, Duration) {
    let mut datagram = vec![0x5a; load.payload.max(STAMP)];
    datagram[..STAMP].copy_from_slice(&stamp);
    let mut sent = 0;
    let elapsed = pace(
        load.rate,
        |elapsed| elapsed >= load.during,
        || {
            // One that the system refuses is lost, as on any network.
            let _ = socket.send(&datagram);
            sent += 1;
        },
    );
    (sent, elapsed)
}

/// Does something `rate` times a second until it is `done`, and answers how long that was; what
/// falls due within a timer's tick is done together.
fn pace(rate: f64, done: impl Fn(Duration) -> bool, mut act: impl FnMut()) -> Duration {
    let start = Instant::now();
    let mut acts: u64 = 0;
    loop {
        let elapsed = start.elapsed();
        if done(elapsed) {
            return elapsed;
        }
        if (acts as f64) < elapsed.as_secs_f64() * rate {
            act();
            acts += 1;
        } else {
            thread::sleep(PACE);
        }
    }
}

/// Counts until nothing more comes after `done`, at most a second longer.
fn count_datagrams(socket: &UdpSocket, stamp: [u8; STAMP], done: &AtomicBool) -> io::Result<u64> {
    let mut buffer = vec![0; 65_536];
    let mut arrived = 0;
    let mut end = None;
    loop {
        if done.load(Ordering::Relaxed) {
            let end = *end.get_or_insert_with(|| Instant::now() + 10 * STRAGGLERS);
            if Instant::now() >= end {
                return Ok(arrived);
            }
        }
        match socket.recv(&mut buffer) {
            Ok(length) if buffer[..length].starts_with(&stamp) => arrived += 1,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if end.is_some() {
                    return Ok(arrived);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

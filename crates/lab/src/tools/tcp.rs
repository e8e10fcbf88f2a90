//! One TCP stream from one namespace to another: its rate, and whether every byte is right.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{LabError, NetNamespace};

/// Bytes per write and per read.
const CHUNK: usize = 256 * 1024;

/// The congestion control of both ends if the system has it, so that figures are comparable.
const CONGESTION_CONTROL: &str = "cubic";

/// How long connecting, or one write or read without progress, may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The result of one stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Throughput {
    /// Bytes that arrived.
    pub bytes: u64,
    /// From the receiver's accepting the connection to its reading the end.
    pub elapsed: Duration,
    /// The sender's congestion control.
    pub congestion_control: String,
}

impl Throughput {
    /// Gigabits (10^9) of payload per second.
    pub fn gbit_per_s(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e9 / self.elapsed.as_secs_f64()
    }
}

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// A namespace could not be entered.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The sending side failed.
    #[error("sending to {to}: {source}")]
    Send {
        /// The server's address.
        to: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The receiving side failed.
    #[error("receiving on {at}: {source}")]
    Receive {
        /// The server's address.
        at: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The received bytes are not the sent ones.
    #[error("byte {position} arrived altered")]
    Altered {
        /// The position of the first wrong byte, from 0.
        position: u64,
    },
    /// The end came early or late.
    #[error("{arrived} bytes arrived of {sent} sent")]
    Length {
        /// Bytes sent.
        sent: u64,
        /// Bytes that arrived.
        arrived: u64,
    },
}

/// Sends as fast as one stream can for `during` from `client` to `server`, which listens on `address`,
/// and returns what arrived.
pub fn tcp_throughput(
    client: &NetNamespace,
    server: &NetNamespace,
    address: SocketAddr,
    during: Duration,
) -> Result<Throughput, TransferError> {
    let chunk = vec![0x5a; CHUNK];
    transfer(
        client,
        server,
        address,
        |stream| {
            let end = Instant::now() + during;
            let mut sent = 0;
            while Instant::now() < end {
                stream.write_all(&chunk)?;
                sent += chunk.len() as u64;
            }
            Ok(sent)
        },
        |_| Ok(()),
    )
}

/// Sends `bytes` bytes that depend on their positions from `client` to `server`, which listens on
/// `address`, and fails unless exactly these arrive.
pub fn tcp_hash_transfer(
    client: &NetNamespace,
    server: &NetNamespace,
    address: SocketAddr,
    bytes: u64,
) -> Result<Throughput, TransferError> {
    let mut expected = Pattern::new();
    let mut position = 0;
    let check = |chunk: &[u8]| {
        for byte in chunk {
            if *byte != expected.next_byte() {
                return Err(TransferError::Altered { position });
            }
            position += 1;
        }
        Ok(())
    };
    let send = |stream: &mut TcpStream| {
        let mut pattern = Pattern::new();
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut left = bytes;
        while left > 0 {
            let length = left.min(CHUNK as u64);
            chunk.clear();
            chunk.extend((0..length).map(|_| pattern.next_byte()));
            stream.write_all(&chunk)?;
            left -= length;
        }
        Ok(bytes)
    };
    transfer(client, server, address, send, check)
}

fn transfer(
    client: &NetNamespace,
    server: &NetNamespace,
    address: SocketAddr,
    send: impl FnOnce(&mut TcpStream) -> io::Result<u64> + Send,
    mut check: impl FnMut(&[u8]) -> Result<(), TransferError> + Send,
) -> Result<Throughput, TransferError> {
    let receive_error = |source| TransferError::Receive { at: address, source };
    let listener = server.run(|| listen(address))?.map_err(receive_error)?;
    let address = listener.local_addr().map_err(receive_error)?.as_socket().unwrap_or(address);
    let receive = move || -> Result<(u64, Duration), TransferError> {
        let (stream, _) = listener.accept().map_err(receive_error)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(receive_error)?;
        let start = Instant::now();
        let mut stream = TcpStream::from(stream);
        let mut buffer = vec![0; CHUNK];
        let mut arrived = 0;
        loop {
            match stream.read(&mut buffer).map_err(receive_error)? {
                0 => return Ok((arrived, start.elapsed())),
                length => {
                    check(&buffer[..length])?;
                    arrived += length as u64;
                }
            }
        }
    };
    thread::scope(|scope| {
        let receiver = scope.spawn(receive);
        let sent = client
            .run(|| {
                let mut stream = connect(address)?;
                let sent = send(&mut stream)?;
                stream.shutdown(Shutdown::Write)?;
                Ok((sent, congestion_control(&stream)))
            })?
            .map_err(|source| TransferError::Send { to: address, source });
        let received = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // A receiver that found a wrong byte makes the sender fail too; its error is reported.
        if let Err(error @ TransferError::Altered { .. }) = received {
            return Err(error);
        }
        let (sent, congestion_control) = sent?;
        let (arrived, elapsed) = received?;
        if arrived != sent {
            return Err(TransferError::Length { sent, arrived });
        }
        Ok(Throughput { bytes: arrived, elapsed, congestion_control })
    })
}

/// Listens for one connection, at most for [`PATIENCE`].
pub(super) fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)?;
    // Bounds accept too.
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // If it is missing or reserved, the system's own is used, and the result names it.
    let _ = socket.set_tcp_congestion(CONGESTION_CONTROL.as_bytes());
    socket.connect_timeout(&address.into(), PATIENCE)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

fn congestion_control(stream: &TcpStream) -> String {
    let name = SockRef::from(stream).tcp_congestion().unwrap_or_default();
    let name: Vec<u8> = name.into_iter().take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&name).into_owned()
}

/// Bytes that repeat only after 2^64 steps (xorshift), so that a shifted, repeated or swapped
/// piece of the stream is seen.
struct Pattern {
    state: u64,
}

impl Pattern {
    fn new() -> Pattern {
        Pattern { state: 0x9e37_79b9_7f4a_7c15 }
    }

    fn next_byte(&mut self) -> u8 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 32) as u8
    }
}

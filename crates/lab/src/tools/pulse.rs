//! A steady stream of small datagrams to an echo server and back, which shows every interruption.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::TransferError;
use super::load::udp_receiver;
use crate::{LabError, NetNamespace};

/// Bytes of a datagram: its number.
const NUMBER: usize = 8;

/// Numbered datagrams to an echo server ([`udp_echo`](super::udp_echo)). They end when this is
/// stopped or dropped.
#[derive(Debug)]
pub struct Pulse {
    connect: SocketAddr,
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<io::Result<u64>>>,
    receiver: Option<JoinHandle<io::Result<Arrivals>>>,
}

/// The result of a pulse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PulseRun {
    /// Datagrams sent.
    pub sent: u64,
    /// Those whose echo came back, each counted once.
    pub arrived: u64,
    /// The longest time between one echo and the next.
    pub longest_gap: Duration,
}

#[derive(Debug, Default)]
struct Arrivals {
    /// Whether each number has come back.
    seen: Vec<bool>,
    last: Option<Instant>,
    longest_gap: Duration,
}

impl Pulse {
    /// Sends a datagram to `connect` after each `every`; those that fall due while the sender is
    /// not scheduled are sent late, together.
    pub fn start(
        client: &NetNamespace,
        connect: SocketAddr,
        every: Duration,
    ) -> Result<Pulse, TransferError> {
        let send_error = |source| TransferError::Send { to: connect, source };
        let open = || -> io::Result<(UdpSocket, UdpSocket)> {
            let any: SocketAddr = match connect {
                SocketAddr::V4(_) => ([0; 4], 0).into(),
                SocketAddr::V6(_) => ([0; 16], 0).into(),
            };
            let socket = udp_receiver(any)?;
            socket.connect(connect)?;
            Ok((socket.try_clone()?, socket))
        };
        let (out, back) = client.run(open)?.map_err(send_error)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut pulse = Pulse { connect, stop: stop.clone(), sender: None, receiver: None };
        let started = |error| LabError::system("starting a thread", error);
        let stopped = stop.clone();
        let send = move || beat(&out, every, &stopped);
        let receive = move || listen(&back, &stop);
        let builder = || thread::Builder::new().name("lab pulse".into());
        pulse.receiver = Some(builder().spawn(receive).map_err(started)?);
        pulse.sender = Some(builder().spawn(send).map_err(started)?);
        Ok(pulse)
    }

    /// Ends it and waits for echoes in flight.
    pub fn stop(mut self) -> Result<PulseRun, TransferError> {
        let connect = self.connect;
        let error = |source| TransferError::Send { to: connect, source };
        let (sent, arrivals) = self.end();
        let (sent, arrivals) = (sent.map_err(error)?, arrivals.map_err(error)?);
        let arrived = arrivals.seen.iter().filter(|seen| **seen).count() as u64;
        Ok(PulseRun { sent, arrived, longest_gap: arrivals.longest_gap })
    }

    fn end(&mut self) -> (io::Result<u64>, io::Result<Arrivals>) {
        self.stop.store(true, Ordering::Relaxed);
        (join(self.sender.take()), join(self.receiver.take()))
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        // Who wants to know how it went calls `stop`.
        let _ = self.end();
    }
}

fn join<T: Default>(thread: Option<JoinHandle<io::Result<T>>>) -> io::Result<T> {
    match thread.map(JoinHandle::join) {
        Some(ended) => ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        None => Ok(T::default()),
    }
}

fn beat(socket: &UdpSocket, every: Duration, stop: &AtomicBool) -> io::Result<u64> {
    let mut due = Instant::now();
    let mut number: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        // One that the system refuses is lost, as on any network.
        let _ = socket.send(&number.to_be_bytes());
        number += 1;
        due += every;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(number)
}

/// Until nothing more comes after `stop`, which the socket's read timeout bounds.
fn listen(socket: &UdpSocket, stop: &AtomicBool) -> io::Result<Arrivals> {
    let mut arrivals = Arrivals::default();
    let mut datagram = [0; NUMBER + 1];
    loop {
        match socket.recv(&mut datagram) {
            Ok(NUMBER) => {
                let number = datagram.first_chunk::<NUMBER>().map_or(0, |n| u64::from_be_bytes(*n));
                arrivals.take(number, Instant::now());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if stop.load(Ordering::Relaxed) {
                    return Ok(arrivals);
                }
            }
            // The other end was not there yet when an earlier one arrived.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
    }
}

impl Arrivals {
    fn take(&mut self, number: u64, at: Instant) {
        if let Some(last) = self.last.replace(at) {
            self.longest_gap = self.longest_gap.max(at - last);
        }
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        // Numbers come from our own sender, one after the other; a lost one leaves a gap.
        if index < self.seen.len() {
            self.seen[index] = true;
        } else if index - self.seen.len() < 1 << 20 {
            self.seen.resize(index, false);
            self.seen.push(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoes_are_counted_once_and_the_longest_gap_is_kept() {
        let start = Instant::now();
        let mut arrivals = Arrivals::default();
        for (number, ms) in [(0, 0), (1, 1), (3, 7), (3, 8), (2, 9), (5, 12)] {
            arrivals.take(number, start + Duration::from_millis(ms));
        }
        assert_eq!(arrivals.seen, [true, true, true, true, false, true]);
        assert_eq!(arrivals.longest_gap, Duration::from_millis(6));
    }
}

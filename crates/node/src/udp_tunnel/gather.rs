//! Datagrams on their way out: those for one place next to each other, so that one system call sends them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use nix::errno::Errno;
use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::offload::GsoPacket;
use rtun_transport::udp::{DatagramSocket, MAX_DATAGRAM};

use super::counters::DatagramCounters;

/// Bytes that are gathered before they are sent.
pub(super) const BATCH: usize = 128 * 1024;

/// The most datagrams of one send that every system takes.
const SEGMENTS: usize = 64;

/// Where datagrams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DatagramDestination {
    pub(super) to: SocketAddr,
    /// From which address of this machine.
    pub(super) local: Option<IpAddr>,
}

/// Datagrams for one place that stand next to each other: all as long as the first, but the last, which may be shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutgoingRun {
    pub(super) destination: DatagramDestination,
    pub(super) at: Range<usize>,
    pub(super) segment: usize,
    pub(super) count: usize,
    /// Whether the last one is as long as the others.
    is_open: bool,
}

/// What is to be sent, in order.
#[derive(Debug, Default)]
pub(super) struct OutgoingRuns(Vec<OutgoingRun>);

impl OutgoingRuns {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the datagrams at this place of a buffer: each of `segment` bytes, but the last may be shorter. They join those before
    /// them where they go to the same place and stand after them.
    pub(super) fn push(
        &mut self,
        destination: DatagramDestination,
        at: Range<usize>,
        segment: usize,
    ) {
        let Range { mut start, end } = at;
        while start < end {
            let left = (end - start).div_ceil(segment);
            let before = self.0.last_mut().filter(|it| {
                it.is_open
                    && it.destination == destination
                    && it.at.end == start
                    && (segment == it.segment || left == 1 && end - start <= it.segment)
            });
            let room = before.as_ref().map_or(0, |it| {
                let bytes = (MAX_DATAGRAM - it.at.len()) / it.segment;
                bytes.min(SEGMENTS - it.count)
            });
            let taken = match before {
                Some(run) if room > 0 => {
                    let taken = left.min(room);
                    run.at.end = (start + taken * segment).min(end);
                    run.count += taken;
                    run.is_open = (run.at.end - start).is_multiple_of(run.segment);
                    taken
                }
                _ => {
                    let taken = left.min(SEGMENTS).min((MAX_DATAGRAM / segment).max(1));
                    let stop = (start + taken * segment).min(end);
                    self.0.push(OutgoingRun {
                        destination,
                        at: start..stop,
                        segment,
                        count: taken,
                        is_open: (stop - start).is_multiple_of(segment),
                    });
                    taken
                }
            };
            start = (start + taken * segment).min(end);
        }
    }

    /// Sends everything out of `buffer` without waiting: what the socket does not take now is lost. Counts each datagram.
    pub(super) fn send_now(
        &self,
        buffer: &[u8],
        socket: &DatagramSocket,
        counters: &DatagramCounters,
    ) {
        for run in &self.0 {
            let bytes = &buffer[run.at.clone()];
            let to = run.destination;
            if try_send(socket, to, bytes, run.segment).is_ok() {
                counters.count_out(run.count as u64, bytes.len() as u64);
                continue;
            }
            for datagram in bytes.chunks(run.segment) {
                match try_send(socket, to, datagram, datagram.len()) {
                    Ok(()) => counters.count_out(1, datagram.len() as u64),
                    Err(error) => counters.lose(reason_of(&error), 1, Some(to.to), datagram),
                }
            }
        }
    }

    /// Sends everything out of `buffer`, waiting for the socket where it has to; counts each datagram as out or lost.
    pub(super) async fn send(
        &self,
        buffer: &[u8],
        socket: &DatagramSocket,
        counters: &DatagramCounters,
    ) {
        for run in &self.0 {
            let bytes = &buffer[run.at.clone()];
            let (packets, len) = (run.count as u64, bytes.len() as u64);
            match send_one(socket, run.destination, bytes, run.segment).await {
                Ok(()) => counters.count_out(packets, len),
                Err(reason) if run.count == 1 => {
                    counters.lose(reason, 1, Some(run.destination.to), bytes)
                }
                // The system does not cut these, or one is too long: each on its own.
                Err(_) => {
                    for datagram in bytes.chunks(run.segment) {
                        match send_one(socket, run.destination, datagram, datagram.len()).await {
                            Ok(()) => counters.count_out(1, datagram.len() as u64),
                            Err(reason) => {
                                counters.lose(reason, 1, Some(run.destination.to), datagram);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Sends what is one send. An error of an earlier datagram, which ICMP has reported, is reported once and counts for nothing.
fn try_send(
    socket: &DatagramSocket,
    destination: DatagramDestination,
    bytes: &[u8],
    segment: usize,
) -> io::Result<()> {
    let DatagramDestination { to, local } = destination;
    match socket.try_send(to, local, bytes, segment) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            socket.try_send(to, local, bytes, segment)
        }
        sent => sent,
    }
}

fn reason_of(error: &io::Error) -> DatagramDrop {
    match error.raw_os_error() == Some(Errno::EMSGSIZE as i32) {
        true => DatagramDrop::TooBig,
        false => DatagramDrop::Send,
    }
}

async fn send_one(
    socket: &DatagramSocket,
    destination: DatagramDestination,
    bytes: &[u8],
    segment: usize,
) -> Result<(), DatagramDrop> {
    loop {
        match try_send(socket, destination, bytes, segment) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if socket.writable().await.is_err() {
                    return Err(DatagramDrop::Send);
                }
            }
            Err(error) => return Err(reason_of(&error)),
        }
    }
}

/// Packets of a device, cut and put next to each other.
pub(super) struct SendBatch {
    /// Pages that nothing has reached yet cost no memory.
    buffer: Box<[u8]>,
    filled: usize,
    pub(super) outgoings: OutgoingRuns,
}

impl SendBatch {
    /// One that takes packets that become up to `room` bytes after a full batch.
    pub(super) fn new(room: usize) -> Self {
        Self { buffer: vec![0; BATCH + room].into(), filled: 0, outgoings: OutgoingRuns::default() }
    }

    pub(super) fn begin(&mut self) {
        self.filled = 0;
        self.outgoings.clear();
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled >= BATCH
    }

    pub(super) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// All that was added.
    pub(super) fn filled(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Adds packets as frames, for a stream.
    pub(super) fn push_frames(&mut self, packet: &GsoPacket<'_>) {
        self.filled += packet.write_frames_to(&mut self.buffer[self.filled..]);
    }

    /// The same without keeping them: they are there until something else is added.
    pub(super) fn cut(&mut self, packet: &GsoPacket<'_>) -> &[u8] {
        let space = &mut self.buffer[self.filled..];
        let len = packet.write_frames_to(space);
        &space[..len]
    }

    /// Where the next datagram stands once it is [kept](Self::keep): as much room as there is after a full batch, or more.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }

    /// Adds the first `len` bytes of [`space`](Self::space); tells where they are.
    pub(super) fn keep(&mut self, len: usize) -> Range<usize> {
        let start = self.filled;
        self.filled += len;
        start..self.filled
    }

    /// Adds one datagram, of at most as many bytes as there is room for after a full batch.
    pub(super) fn push_datagram(&mut self, destination: DatagramDestination, datagram: &[u8]) {
        let start = self.filled;
        self.filled += datagram.len();
        self.buffer[start..self.filled].copy_from_slice(datagram);
        self.outgoings.push(destination, start..self.filled, datagram.len());
    }

    pub(super) fn push(&mut self, destination: DatagramDestination, packet: &GsoPacket<'_>) {
        let start = self.filled;
        self.filled += packet.write_packets_to(&mut self.buffer[start..]);
        self.outgoings.push(destination, start..self.filled, packet.longest_segment());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(port: u16) -> DatagramDestination {
        DatagramDestination { to: ([10, 0, 0, 1], port).into(), local: None }
    }

    fn runs(pushes: &[(u16, usize, usize)]) -> Vec<(u16, usize, usize, usize)> {
        let (mut outgoings, mut at) = (OutgoingRuns::default(), 0);
        for (port, len, segment) in pushes {
            outgoings.push(destination(*port), at..at + len, *segment);
            at += len;
        }
        let mut end = 0;
        for run in &outgoings.0 {
            assert_eq!(run.at.start, end, "in order, and nothing is left out");
            end = run.at.end;
            assert_eq!(run.count, run.at.len().div_ceil(run.segment));
            assert!(run.count <= SEGMENTS);
            assert!(
                run.at.len() <= MAX_DATAGRAM || run.count == 1,
                "the system refuses a datagram that is too long"
            );
        }
        assert_eq!(end, at);
        outgoings
            .0
            .iter()
            .map(|it| (it.destination.to.port(), it.at.len(), it.segment, it.count))
            .collect()
    }

    #[test]
    fn equal_ones_for_one_place_are_one_send() {
        assert_eq!(runs(&[(1, 100, 100), (1, 100, 100), (1, 60, 60)]), [(1, 260, 100, 3)]);
        assert_eq!(
            runs(&[(1, 100, 100), (1, 60, 60), (1, 100, 100)]),
            [(1, 160, 100, 2), (1, 100, 100, 1)],
            "behind a shorter one comes no other"
        );
        assert_eq!(runs(&[(1, 60, 60), (1, 100, 100)]), [(1, 60, 60, 1), (1, 100, 100, 1)]);
        assert_eq!(runs(&[(1, 100, 100), (2, 100, 100)]), [(1, 100, 100, 1), (2, 100, 100, 1)]);
    }

    #[test]
    fn a_send_has_no_more_than_systems_take() {
        assert_eq!(
            runs(&[(1, 68_000, 1420), (1, 68_000, 1420)]),
            [(1, 65_320, 1420, 46), (1, 2680, 1420, 2), (1, 65_320, 1420, 46), (1, 2680, 1420, 2)]
        );
        assert_eq!(
            runs(&[(1, 71_000, 1420), (1, 71_000, 1420)]),
            [(1, 65_320, 1420, 46), (1, 65_320, 1420, 46), (1, 11_360, 1420, 8)],
            "whole ones go on"
        );
        assert_eq!(runs(&[(1, 200, 1)]).len(), 4);
        assert_eq!(runs(&[(1, 65_535, 65_535)]).len(), 1, "too long: said when it is sent");
    }
}

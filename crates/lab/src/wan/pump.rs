//! The thread that moves packets between the two devices of a link.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::{read, write};
use rtun_system::tun::{Tun, TunConfig};
use tokio::runtime::Runtime;

use super::shape::{Fate, Shaper};
use super::{Direction, WanState};
use crate::NetNamespace;

/// The most bytes in flight in one direction; further packets are dropped and counted as failed.
const MAX_IN_FLIGHT: usize = 64 << 20;

/// Packets taken from one device before the other device, and due packets, have their turn.
const BATCH: usize = 64;

/// The longest IP packet.
const PACKET_MAX: usize = 65_535;

/// Both devices and everything between them.
pub(super) struct Pump {
    tuns: [Tun; 2],
    lanes: [Lane; 2],
    shared: Arc<WanState>,
    stopped: UnixStream,
    start: Instant,
    buffer: Vec<u8>,
    /// The devices were made within it; it is never driven.
    _runtime: Runtime,
}

/// One direction.
struct Lane {
    direction: Direction,
    shaper: Shaper,
    in_flight: BinaryHeap<Reverse<DelayedPacket>>,
    /// The bytes in flight.
    bytes: usize,
    /// The number of the last packet, for the order of packets that arrive at the same time.
    number: u64,
}

/// A packet in flight, ordered by its arrival time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DelayedPacket {
    at: Duration,
    number: u64,
    bytes: Vec<u8>,
}

impl Pump {
    /// Makes the devices. The calling thread is moved into both namespaces for that.
    pub(super) fn open(
        ends: &[NetNamespace; 2],
        names: &[String; 2],
        mtu: u16,
        seed: u64,
        shared: Arc<WanState>,
        stopped: UnixStream,
    ) -> io::Result<Pump> {
        // With the default of 50 µs every packet would be late by that time.
        nix::sys::prctl::set_timerslack(1)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let open = |end: &NetNamespace, name: &String| {
            end.enter()?;
            let _inside = runtime.enter();
            Tun::create(&TunConfig { name: Some(name.clone()), mtu }).map_err(io::Error::other)
        };
        Ok(Pump {
            tuns: [open(&ends[0], &names[0])?, open(&ends[1], &names[1])?],
            lanes: [
                Lane::new(Direction::AToB, seed),
                // Never the seed of the first one.
                Lane::new(Direction::BToA, seed ^ u64::MAX),
            ],
            shared,
            stopped,
            start: Instant::now(),
            buffer: vec![0; PACKET_MAX],
            _runtime: runtime,
        })
    }

    /// Moves packets until the other end of `stopped` closes or a device is deleted.
    pub(super) fn run(mut self) {
        while self.wait() {
            for (from, to) in [(0, 1), (1, 0)] {
                let Pump { tuns, lanes, shared, start, buffer, .. } = &mut self;
                let lane = &mut lanes[from];
                lane.deliver(&tuns[to], shared, start.elapsed());
                if lane.take(&tuns[from], shared, *start, buffer).is_err() {
                    return;
                }
                // Packets without a delay arrive at once.
                lane.deliver(&tuns[to], shared, start.elapsed());
            }
        }
    }

    /// Waits until a packet enters or is due; `false`: the thread has to end.
    fn wait(&self) -> bool {
        let due = self.lanes.iter().filter_map(Lane::next).min();
        let within = due.map(|due| TimeSpec::from(due.saturating_sub(self.start.elapsed())));
        let mut watched = [
            PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.tuns[0].as_fd(), PollFlags::POLLIN),
            PollFd::new(self.tuns[1].as_fd(), PollFlags::POLLIN),
        ];
        match ppoll(&mut watched, within, None) {
            Ok(_) => watched[0].any() == Some(false),
            Err(errno) => errno == Errno::EINTR,
        }
    }
}

impl Lane {
    fn new(direction: Direction, seed: u64) -> Lane {
        let shaper = Shaper::new(seed);
        Lane { direction, shaper, in_flight: BinaryHeap::new(), bytes: 0, number: 0 }
    }

    fn next(&self) -> Option<Duration> {
        self.in_flight.peek().map(|Reverse(packet)| packet.at)
    }

    /// Takes the packets that have entered, at most a batch. Fails if the device is gone.
    fn take(
        &mut self,
        from: &Tun,
        shared: &WanState,
        start: Instant,
        buffer: &mut [u8],
    ) -> Result<(), Errno> {
        for _ in 0..BATCH {
            let length = match read(from, buffer) {
                Ok(length) => length,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
                Err(errno) => return Err(errno),
            };
            let mut path = shared.path(self.direction);
            let fate = self.shaper.take(&path.impairment, start.elapsed(), length);
            let counters = &mut path.counters;
            counters.entered += 1;
            match fate {
                Fate::Lost => counters.lost += 1,
                Fate::QueueFull => counters.queue_full += 1,
                Fate::Blackholed => counters.blackholed += 1,
                Fate::TooLong => counters.too_long += 1,
                Fate::Arrives { at, twice, held_back } => {
                    counters.held_back += u64::from(held_back);
                    counters.duplicated += u64::from(twice);
                    for _ in 0..=u8::from(twice) {
                        if !self.put(at, &buffer[..length]) {
                            counters.failed += 1;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, at: Duration, bytes: &[u8]) -> bool {
        let fits = self.bytes + bytes.len() <= MAX_IN_FLIGHT;
        if fits {
            self.bytes += bytes.len();
            self.number += 1;
            let packet = DelayedPacket { at, number: self.number, bytes: bytes.to_vec() };
            self.in_flight.push(Reverse(packet));
        }
        fits
    }

    /// Hands over the packets that are due.
    fn deliver(&mut self, to: &Tun, shared: &WanState, now: Duration) {
        while self.next().is_some_and(|due| due <= now) {
            let Some(Reverse(packet)) = self.in_flight.pop() else { return };
            self.bytes -= packet.bytes.len();
            let mut path = shared.path(self.direction);
            if path.impairment.blackhole {
                path.counters.blackholed += 1;
                continue;
            }
            match write(to, &packet.bytes) {
                Ok(_) => path.counters.delivered += 1,
                Err(_) => path.counters.failed += 1,
            }
        }
    }
}

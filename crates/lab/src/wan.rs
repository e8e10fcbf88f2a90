//! A cable that behaves like a long path: delay, jitter, loss, a rate, and other effects of the
//! Internet, without the kernel's netem.
//!
//! ```text
//!   a   TUN device ---> [queue, rate] -> [loss] -> [delay, jitter] ---> TUN device   b
//!                  <--- [delay, jitter] <- [loss] <- [queue, rate] <---
//! ```
//!
//! One thread moves packets between two TUN devices. The devices carry IP packets of at most the MTU
//! with complete checksums: they offer no segmentation offload (GSO).

use std::fmt;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use netlink_packet_route::link::LinkAttribute;
use rtnetlink::LinkUnspec;

use crate::switch::change;
use crate::{LabError, NetNamespace};

mod pump;
mod shape;

use pump::Pump;

/// Packets that a device holds until the thread takes them (the kernel's default is 500): 100 ms
/// at 500 Mbit/s, so that a thread that is not scheduled for a short time loses nothing.
const DEVICE_QUEUE: u32 = 4096;

/// The effects of one direction of a [`Wan`] on packets. The default forwards them at once.
///
/// Shares are from 0 (none) to 1 (all). Random numbers come from the wan's seed. Each packet draws the
/// same number of them with any settings, so the same seed gives the same pattern.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Impairment {
    /// How long each packet travels.
    pub delay: Duration,
    /// The largest additional delay, evenly distributed. The order is kept: no packet arrives before one
    /// that was sent earlier, except by [`reorder`](Impairment::reorder).
    pub jitter: Duration,
    /// The share that is lost after the queue: a lost packet has used the rate.
    pub loss: f64,
    /// The bits per second, and the queue before them; `None`: unlimited.
    pub rate: Option<Rate>,
    /// The share that arrives twice.
    pub duplicate: f64,
    /// Packets that arrive after later ones.
    pub reorder: Option<Reorder>,
    /// Packets longer than this, in bytes, are dropped without an ICMP error; `None`: none are.
    pub longest: Option<usize>,
    /// Nothing arrives, including packets in flight, without an ICMP error.
    pub blackhole: bool,
}

/// A bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bits of IP packets per second; 0 counts as 1.
    pub bits_per_second: u64,
    /// Bytes that may wait, with the packet being sent; a packet that finds no room is dropped
    /// (drop-tail), unless nothing waits.
    pub queue: usize,
}

/// Packets that are overtaken by later ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reorder {
    /// The share that is delayed.
    pub share: f64,
    /// The additional delay.
    pub by: Duration,
}

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the first namespace to the second.
    AToB,
    /// From the second to the first.
    BToA,
}

/// The initial settings of a [`Wan`].
#[derive(Debug, Clone, PartialEq)]
pub struct WanConfig {
    /// The seed of the random numbers; each direction has its own.
    pub seed: u64,
    /// The longest packet, in bytes.
    pub mtu: u16,
    /// From the first namespace to the second.
    pub a_to_b: Impairment,
    /// From the second to the first.
    pub b_to_a: Impairment,
}

impl WanConfig {
    /// The same in both directions, with an MTU of 1500.
    pub fn symmetric(seed: u64, impairment: Impairment) -> WanConfig {
        WanConfig { seed, mtu: 1500, a_to_b: impairment.clone(), b_to_a: impairment }
    }
}

/// Counts of the packets of one direction. A packet that is in no other count than `entered` is in
/// flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WanCounters {
    /// Packets that entered.
    pub entered: u64,
    /// Packets handed to the other end, duplicates included.
    pub delivered: u64,
    /// Lost by [`Impairment::loss`].
    pub lost: u64,
    /// Dropped because the queue before the rate was full.
    pub queue_full: u64,
    /// Dropped by [`Impairment::blackhole`], duplicates included.
    pub blackholed: u64,
    /// Dropped by [`Impairment::longest`].
    pub too_long: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Held back by [`Impairment::reorder`].
    pub held_back: u64,
    /// Dropped because 64 MiB were in flight, or because the device at the other end did not accept it (it
    /// was set down): limits of the emulator. A result with such packets is invalid.
    pub failed: u64,
}

/// A running link between two namespaces. Dropping it ends its thread and removes its devices.
pub struct Wan {
    shared: Arc<WanState>,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// The state that the thread and the handle share.
#[derive(Debug)]
struct WanState {
    a_to_b: Mutex<Path>,
    b_to_a: Mutex<Path>,
}

#[derive(Debug)]
struct Path {
    impairment: Impairment,
    counters: WanCounters,
}

impl Wan {
    pub(crate) fn start(
        a: &NetNamespace,
        a_device: &str,
        b: &NetNamespace,
        b_device: &str,
        config: &WanConfig,
    ) -> Result<Wan, LabError> {
        let action = format!("connecting {} ({a_device}) with {} ({b_device})", a.name(), b.name());
        let shared = Arc::new(WanState {
            a_to_b: Path::new(config.a_to_b.clone()),
            b_to_a: Path::new(config.b_to_a.clone()),
        });
        let (stop, stopped) =
            UnixStream::pair().map_err(|error| LabError::system(&*action, error))?;
        let (started, when_started) = mpsc::channel();
        let (ends, seed, mtu) = ([a, b].map(Clone::clone), config.seed, config.mtu);
        let (names, seen) = ([a_device, b_device].map(str::to_owned), shared.clone());
        let thread = std::thread::Builder::new()
            .name(format!("wan {} {}", a.name(), b.name()))
            .spawn(move || match Pump::open(&ends, &names, mtu, seed, seen, stopped) {
                Ok(pump) => {
                    // The receiver is gone only if starting has failed elsewhere.
                    let _ = started.send(Ok(()));
                    pump.run();
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            })
            .map_err(|error| LabError::system(&*action, error))?;
        // From here on, dropping it ends the thread.
        let wan = Wan { shared, stop: Some(stop), thread: Some(thread) };
        when_started
            .recv()
            .unwrap_or_else(|ended| Err(std::io::Error::other(ended)))
            .map_err(|error| LabError::system(&*action, error))?;
        for (end, device) in [(a, a_device), (b, b_device)] {
            set_up(end, device, mtu)?;
        }
        Ok(wan)
    }

    /// Sets the effects for later packets. Packets in flight stay unchanged, and keep their order.
    pub fn set(&self, direction: Direction, impairment: Impairment) {
        self.change(direction, |current| *current = impairment);
    }

    /// Changes a part of the effects.
    pub fn change(&self, direction: Direction, change: impl FnOnce(&mut Impairment)) {
        change(&mut self.shared.path(direction).impairment);
    }

    /// Begins or ends a blackhole in both directions.
    pub fn blackhole(&self, on: bool) {
        for direction in [Direction::AToB, Direction::BToA] {
            self.change(direction, |impairment| impairment.blackhole = on);
        }
    }

    /// The counts of this direction so far.
    pub fn counters(&self, direction: Direction) -> WanCounters {
        self.shared.path(direction).counters
    }
}

impl fmt::Debug for Wan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wan").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        // The thread notices that its end of the pair is closed.
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and a drop cannot pass it on.
            let _ = thread.join();
        }
    }
}

impl WanState {
    fn path(&self, direction: Direction) -> MutexGuard<'_, Path> {
        let path = match direction {
            Direction::AToB => &self.a_to_b,
            Direction::BToA => &self.b_to_a,
        };
        path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Path {
    fn new(impairment: Impairment) -> Mutex<Path> {
        Mutex::new(Path { impairment, counters: WanCounters::default() })
    }
}

fn set_up(end: &NetNamespace, device: &str, mtu: u16) -> Result<(), LabError> {
    let index = end.with_link(device, async |link| Ok(link.index()))?;
    let queue = LinkUnspec::new_with_index(index)
        .append_extra_attribute(LinkAttribute::TxQueueLen(DEVICE_QUEUE))
        .build();
    change(end, &format!("giving {device} in {} a longer queue", end.name()), queue)?;
    end.with_link(device, async |link| {
        link.set_mtu(mtu).await?;
        // Packets of the system itself would take random numbers from the tests' packets.
        link.no_made_up_addresses().await?;
        link.up().await
    })
}

//! The emulated networks between the first machine and the hub.

use std::time::Duration;

use rtun_lab::{Direction, Impairment, Rate, Wan, WanConfig};

use super::BenchError;

/// The rate of the shared bottleneck, in bits per second.
pub(super) const SHARED_RATE: u64 = 100_000_000;

/// The delay of the shared bottleneck in each direction.
const SHARED_DELAY: Duration = Duration::from_millis(10);

/// Bytes that fill the shared bottleneck there and back.
pub(super) const SHARED_BDP: usize = SHARED_RATE as usize / 8 / 50;

/// A path between the first machine and the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EmulatedPath {
    /// In each direction 25 ms, 1 % lost, 200 Mbit/s with a queue of 50 ms.
    Lossy,
    /// A bottleneck that several connections share: 100 Mbit/s, 20 ms there and back. A second host, the twin, is on the
    /// first machine.
    Shared,
}

impl EmulatedPath {
    pub(super) fn config(self) -> WanConfig {
        let impairment = match self {
            Self::Lossy => Impairment {
                delay: Duration::from_millis(25),
                loss: 0.01,
                rate: Some(Rate { bits_per_second: 200_000_000, queue: 1_250_000 }),
                ..Impairment::default()
            },
            Self::Shared => shared(SHARED_BDP),
        };
        WanConfig::symmetric(1, impairment)
    }
}

/// Gives the shared bottleneck queues of this many bytes.
pub(super) fn set_shared_queue(wan: &Wan, queue: usize) {
    for direction in [Direction::AToB, Direction::BToA] {
        wan.set(direction, shared(queue));
    }
}

fn shared(queue: usize) -> Impairment {
    let rate = Some(Rate { bits_per_second: SHARED_RATE, queue });
    Impairment { delay: SHARED_DELAY, rate, ..Impairment::default() }
}

/// Fails if the emulator itself failed to carry packets.
pub(super) fn check(wan: &Wan) -> Result<(), BenchError> {
    let failed = [Direction::AToB, Direction::BToA].map(|direction| wan.counters(direction).failed);
    match failed.iter().sum() {
        0 => Ok(()),
        failed => Err(BenchError::Emulator { failed }),
    }
}

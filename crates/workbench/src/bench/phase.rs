//! Streams and an echo in phases: what they reach while something else happens or does not.

use std::{
    thread,
    time::{Duration, Instant},
};

use rtun_lab::tools::TcpLoad;

use super::{echo::Echoes, figure::PING_PAUSE, world::World};

/// After a change, before anything is counted: buffers and queues fill or drain.
pub(super) const SETTLE: Duration = Duration::from_millis(500);

/// What was counted in all phases of one kind.
#[derive(Debug, Default)]
pub(super) struct PhaseCount {
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    pub(super) echoes: Echoes,
}

impl PhaseCount {
    /// Lets a change settle, then counts what arrives of `load`, and echoes between the first two hosts.
    pub(super) fn add(&mut self, world: &World, load: &TcpLoad, during: Duration) {
        thread::sleep(SETTLE);
        let (before, start) = (load.arrived(), Instant::now());
        let echoes = Echoes::during(world, PING_PAUSE, during);
        self.bytes += load.arrived() - before;
        self.elapsed += start.elapsed();
        self.echoes.extend(echoes);
    }

    /// In Gbit/s.
    pub(super) fn rate(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e9 / self.elapsed.as_secs_f64()
    }

    /// Of the echoes, in ms.
    pub(super) fn p99(&self) -> f64 {
        self.echoes.percentile_of_all(99.0)
    }
}

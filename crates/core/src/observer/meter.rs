//! The counts of a service, or of one client over all its connections.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ObservedStats;

/// Counts that any thread may add to. All but the connections that stand only grow.
#[derive(Debug, Default)]
pub struct StatsMeter {
    total_conns: AtomicU64,
    current_conns: AtomicU64,
    input_bytes: AtomicU64,
    output_bytes: AtomicU64,
    total_errs: AtomicU64,
}

impl StatsMeter {
    /// Counts one more connection, until [`StatsMeter::disconnected`].
    pub fn connected(&self) {
        self.total_conns.fetch_add(1, Ordering::Relaxed);
        self.current_conns.fetch_add(1, Ordering::Relaxed);
    }

    /// To be called once for each [`StatsMeter::connected`].
    pub fn disconnected(&self) {
        self.current_conns.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts bytes that were received.
    pub fn count_in(&self, bytes: u64) {
        self.input_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that were sent.
    pub fn count_out(&self, bytes: u64) {
        self.output_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds what was counted elsewhere; `more.current_conns` are all the connections that stand.
    pub fn add(&self, more: &ObservedStats) {
        self.total_conns.fetch_add(more.total_conns, Ordering::Relaxed);
        self.current_conns.store(more.current_conns, Ordering::Relaxed);
        self.input_bytes.fetch_add(more.input_bytes, Ordering::Relaxed);
        self.output_bytes.fetch_add(more.output_bytes, Ordering::Relaxed);
        self.total_errs.fetch_add(more.total_errs, Ordering::Relaxed);
    }

    /// The counts. While others count, the values may be of slightly different moments.
    pub fn read(&self) -> ObservedStats {
        ObservedStats {
            total_conns: self.total_conns.load(Ordering::Relaxed),
            current_conns: self.current_conns.load(Ordering::Relaxed),
            input_bytes: self.input_bytes.load(Ordering::Relaxed),
            output_bytes: self.output_bytes.load(Ordering::Relaxed),
            total_errs: self.total_errs.load(Ordering::Relaxed),
        }
    }
}

//! What a connection's congestion controller tells the rest of rtun: how much may be on its way, and when something has left.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use futures_util::task::AtomicWaker;
use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics};
use quinn_proto::RttEstimator;

/// One connection's, over all paths it moves to.
#[derive(Debug)]
pub(super) struct QuicFlow {
    /// Bytes that may be on their way.
    window: AtomicU64,
    /// The task that waits for datagrams to leave.
    sender: AtomicWaker,
}

impl QuicFlow {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { window: AtomicU64::new(0), sender: AtomicWaker::new() })
    }

    /// Bytes that may be on their way now.
    pub(super) fn window(&self) -> u64 {
        self.window.load(Ordering::Relaxed)
    }

    /// Where to wait for the next packet to leave.
    pub(super) fn sender(&self) -> &AtomicWaker {
        &self.sender
    }
}

/// Makes the controllers of one connection, a new one for each path.
pub(super) struct Watch {
    pub(super) flow: Arc<QuicFlow>,
    pub(super) factory: Arc<dyn ControllerFactory + Send + Sync>,
}

impl ControllerFactory for Watch {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let inner = Arc::clone(&self.factory).build(now, mtu);
        let watched = Watched { flow: Arc::clone(&self.flow), inner };
        watched.tell();
        watched.flow.sender.wake();
        Box::new(watched)
    }
}

/// A controller that tells.
struct Watched {
    flow: Arc<QuicFlow>,
    inner: Box<dyn Controller>,
}

impl Watched {
    fn tell(&self) {
        self.flow.window.store(self.inner.window(), Ordering::Relaxed);
    }
}

impl Controller for Watched {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
        self.flow.sender.wake();
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_acked: Option<u64>,
    ) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_acked);
        self.tell();
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        self.tell();
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
        self.tell();
        // Datagrams that are now too long are dropped without being sent.
        self.flow.sender.wake();
    }

    fn window(&self) -> u64 {
        self.inner.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { flow: Arc::clone(&self.flow), inner: self.inner.clone_box() })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self.inner.into_any()
    }
}

//! Congestion controllers, as quinn takes them.

use std::{any::Any, sync::Arc, time::Instant};

use quinn::congestion::{BbrConfig, Controller, ControllerFactory, CubicConfig};
use quinn_proto::RttEstimator;

use super::model::Model;

/// What decides how fast to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Congestion {
    /// By the measured rate and the shortest round trip: as fast as the path takes it, with little that waits on it, and
    /// whatever is lost by chance. What radio needs, and what others on the path can live with.
    #[default]
    Measured,
    /// By loss (RFC 9438): fills the path's queues, and is slow where packets are lost by chance.
    Cubic,
    /// quinn's BBR: fast, and fills the path's queues.
    Bbr,
}

impl Congestion {
    pub(super) fn factory(self) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self {
            Self::Measured => Arc::new(Measured),
            Self::Cubic => Arc::new(CubicConfig::default()),
            Self::Bbr => Arc::new(BbrConfig::default()),
        }
    }
}

struct Measured;

impl ControllerFactory for Measured {
    fn build(self: Arc<Self>, _: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Model::new(mtu))
    }
}

impl Controller for Model {
    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        _: &RttEstimator,
    ) {
        self.acked(now, sent, bytes, app_limited);
    }

    fn on_end_acks(&mut self, now: Instant, _: u64, _: bool, _: Option<u64>) {
        self.end_of_acks(now);
    }

    fn on_congestion_event(&mut self, _: Instant, _: Instant, is_persistent: bool, lost: u64) {
        match is_persistent {
            true => self.cut_off(),
            false => self.lost(lost),
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.set_mtu(new_mtu);
    }

    fn window(&self) -> u64 {
        self.window()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

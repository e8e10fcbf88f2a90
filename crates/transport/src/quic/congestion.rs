//! Congestion controllers, as quinn takes them.

use std::{any::Any, sync::Arc, time::Instant};

use quinn::congestion::{BbrConfig, Controller, ControllerFactory, CubicConfig, NewRenoConfig};
use quinn_proto::RttEstimator;

use super::model::Model;

/// What decides how fast to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Congestion {
    /// rtun's own. On a path of its own by the measured rate and the shortest round trip: as fast as the path takes it, with
    /// little that waits on it, and whatever is lost by chance, which is what radio needs. By loss, as `Cubic`, next to others
    /// that fill the path's queue.
    #[default]
    Adaptive,
    /// By loss (RFC 9438): fills the path's queues, and is slow where packets are lost by chance.
    Cubic,
    /// quinn's BBR, version 1: fast, fills the path's queues, and leaves others little.
    Bbr,
    /// By loss (RFC 9002 section 7).
    NewReno,
}

impl Congestion {
    pub(super) fn factory(self) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self {
            Self::Adaptive => Arc::new(Adaptive),
            Self::Cubic => Arc::new(CubicConfig::default()),
            Self::Bbr => Arc::new(BbrConfig::default()),
            Self::NewReno => Arc::new(NewRenoConfig::default()),
        }
    }
}

struct Adaptive;

impl ControllerFactory for Adaptive {
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

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use quinn::congestion::{Bbr, Cubic, NewReno};

    use super::*;

    #[test]
    fn each_name_is_another_controller() {
        for (congestion, kind) in [
            (Congestion::default(), TypeId::of::<Model>()),
            (Congestion::Adaptive, TypeId::of::<Model>()),
            (Congestion::Cubic, TypeId::of::<Cubic>()),
            (Congestion::Bbr, TypeId::of::<Bbr>()),
            (Congestion::NewReno, TypeId::of::<NewReno>()),
        ] {
            let built = congestion.factory().build(Instant::now(), 1200).into_any();
            assert_eq!((*built).type_id(), kind, "{congestion:?}");
        }
    }
}

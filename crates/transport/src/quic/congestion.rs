//! Congestion controllers, as quinn takes them.

use std::{any::Any, sync::Arc, time::Instant};

use quinn::congestion::{BbrConfig, Controller, ControllerFactory, CubicConfig, NewRenoConfig};
use quinn_proto::RttEstimator;
use rtun_settings::CongestionControl;

use super::model::Model;

/// What makes a controller for each path of a connection.
pub(super) fn factory(congestion: CongestionControl) -> Arc<dyn ControllerFactory + Send + Sync> {
    match congestion {
        CongestionControl::Adaptive => Arc::new(Adaptive),
        CongestionControl::Cubic => Arc::new(CubicConfig::default()),
        CongestionControl::Bbr => Arc::new(BbrConfig::default()),
        CongestionControl::NewReno => Arc::new(NewRenoConfig::default()),
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
            (CongestionControl::default(), TypeId::of::<Model>()),
            (CongestionControl::Adaptive, TypeId::of::<Model>()),
            (CongestionControl::Cubic, TypeId::of::<Cubic>()),
            (CongestionControl::Bbr, TypeId::of::<Bbr>()),
            (CongestionControl::NewReno, TypeId::of::<NewReno>()),
        ] {
            let built = factory(congestion).build(Instant::now(), 1200).into_any();
            assert_eq!((*built).type_id(), kind, "{congestion:?}");
        }
    }
}

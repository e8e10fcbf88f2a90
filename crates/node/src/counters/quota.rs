//! The quotas of a service: bytes that are counted count against each of them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use rtun_core::limit::QuotaMeter;

/// A quota and its name.
pub(crate) type NamedMeter = (String, Arc<QuotaMeter>);

/// The quotas of a service. They may change while bytes are counted.
#[derive(Debug, Default)]
pub(crate) struct QuotaGroup {
    meters: ArcSwap<Vec<NamedMeter>>,
    /// Whether there is one.
    any: AtomicBool,
}

impl QuotaGroup {
    /// These, from now on.
    pub(crate) fn set(&self, meters: Vec<NamedMeter>) {
        let any = !meters.is_empty();
        self.meters.store(Arc::new(meters));
        self.any.store(any, Ordering::Release);
    }

    /// Whether one is used up.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.any.load(Ordering::Acquire)
            && self.meters.load().iter().any(|(_, meter)| meter.is_exceeded())
    }

    /// Those there are.
    pub(crate) fn meters(&self) -> Arc<Vec<NamedMeter>> {
        self.meters.load_full()
    }

    pub(crate) fn each(&self, count: impl Fn(&QuotaMeter)) {
        if self.any.load(Ordering::Acquire) {
            self.meters.load().iter().for_each(|(_, meter)| count(meter));
        }
    }
}

//! What went wrong with a device and what was repaired, for reports.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::report::{DeviceHealth, HappenedReport};

/// What went wrong with the device so far.
#[derive(Default)]
pub(crate) struct DeviceHistory(Mutex<DeviceHistoryState>);

#[derive(Default)]
struct DeviceHistoryState {
    /// Why there is no device, and since when.
    missing: Option<(String, Instant)>,
    times_gone: u64,
    times_put_back: u64,
    last_put_back: Option<(String, Instant)>,
    left: Vec<String>,
    failing: Vec<String>,
}

impl DeviceHistory {
    /// There is no device any more.
    pub(super) fn gone(&self, why: String) {
        self.with(|state| {
            state.times_gone += 1;
            state.missing = Some((why, Instant::now()));
            (state.left, state.failing) = (Vec::new(), Vec::new());
        });
    }

    /// Nor can one be made.
    pub(super) fn cannot_be_made(&self, why: String) {
        self.with(|state| {
            if let Some((reason, _)) = &mut state.missing {
                *reason = why;
            }
        });
    }

    /// There is one again.
    pub(super) fn is_back(&self) {
        self.with(|state| state.missing = None);
    }

    /// Something that somebody took from it was put back.
    pub(super) fn put_back(&self, what: String) {
        self.with(|state| {
            state.times_put_back += 1;
            state.last_put_back = Some((what, Instant::now()));
        });
    }

    /// What is missing and is not put back any more.
    pub(super) fn left(&self, left: Vec<String>) {
        self.with(|state| state.left = left);
    }

    /// What is missing because the system refuses.
    pub(super) fn failing(&self, failing: Vec<String>) {
        self.with(|state| state.failing = failing);
    }

    pub(crate) fn report(&self) -> DeviceHealth {
        self.with(|state| {
            let report = |happened: &Option<(String, Instant)>| {
                let happened = happened.as_ref();
                happened
                    .map(|(what, when)| HappenedReport { what: what.clone(), ago: when.elapsed() })
            };
            DeviceHealth {
                missing: report(&state.missing),
                times_gone: state.times_gone,
                times_put_back: state.times_put_back,
                last_put_back: report(&state.last_put_back),
                left: state.left.clone(),
                failing: state.failing.clone(),
            }
        })
    }

    /// A poisoned lock still guards a whole state: each change is a few assignments.
    fn with<T>(&self, look: impl FnOnce(&mut DeviceHistoryState) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

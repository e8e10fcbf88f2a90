//! What is kept while services are watched: samples, the series, when packets were lost last, which problems there are.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{
    drop_ledger::DropLedger,
    pairs::PairLedger,
    problem_events::ProblemLedger,
    sample::{Sampled, WatchSample},
    series::{SeriesRing, SeriesView},
    service::{WatchedKind, WatchedService},
};
use crate::{operations::problems::Problem, runtime::events::EventLog};

/// Rates are between samples that are at least this far apart, where there are any.
const APART: Duration = Duration::from_secs(1);

/// What is known of the services of a process besides their state: how it changes.
#[derive(Default)]
pub(crate) struct ServiceWatch(Mutex<WatchState>);

#[derive(Default)]
pub(super) struct WatchState {
    /// The last two samples, the older one first.
    samples: [Option<Arc<WatchSample>>; 2],
    /// The sample of the last point of the series.
    last_point: Option<Arc<WatchSample>>,
    series: SeriesRing,
    pub(super) drops: DropLedger,
    pub(super) pairs: PairLedger,
    problems: ProblemLedger,
}

impl ServiceWatch {
    /// To be called every [`STEP`](super::series::STEP): adds a point to the series, says which problems began and ended, and gives back what nothing
    /// needs any more.
    pub(crate) fn tick(
        &self,
        services: &[WatchedService<'_>],
        problems: &[Problem],
        events: &EventLog,
    ) {
        let sample = Arc::new(WatchSample::of(services, Instant::now()));
        let mut state = self.state();
        state.drops.enter(&sample, SystemTime::now());
        state.keep(&sample);
        let before = state.last_point.replace(Arc::clone(&sample));
        let rates = before.and_then(|before| sample.rates_since(&before));
        state.series.add(SystemTime::now(), rates, sample.hosts());
        state.problems.look(problems, events);
        state.pairs.forget_old();
        drop(state);
        for service in services {
            if let WatchedKind::Hub(hub) = &service.kind {
                hub.tend_meters();
            }
        }
    }

    /// The series of these names, all if there are none; of `since`, in seconds of Unix time, only points after that.
    pub(crate) fn series(&self, names: &[String], since: Option<u64>) -> SeriesView {
        self.state().series.view(names, since)
    }

    /// A sample of now, and an earlier one that rates are since.
    pub(super) fn sampled(&self, services: &[WatchedService<'_>]) -> Sampled {
        let now = Arc::new(WatchSample::of(services, Instant::now()));
        let mut state = self.state();
        let apart = |before: &Arc<WatchSample>| now.at - before.at >= APART;
        let kept = || state.samples.iter().rev().flatten();
        let before = kept().find(|before| apart(before)).or_else(|| kept().last()).cloned();
        let is_due = kept().next().is_none_or(apart);
        state.drops.enter(&now, SystemTime::now());
        if is_due {
            state.keep(&now);
        }
        Sampled { before, now }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, WatchState> {
        // The state of a poisoned lock is whole, if not of one moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WatchState {
    fn keep(&mut self, sample: &Arc<WatchSample>) {
        self.samples.rotate_left(1);
        self.samples[1] = Some(Arc::clone(sample));
    }
}

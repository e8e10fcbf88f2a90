//! What is kept while services are watched: samples, the series, when packets were lost last, which problems there are.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{
    drop_ledger::DropLedger,
    hosts::HostList,
    pairs::PairLedger,
    problem_events::ProblemLedger,
    sample::{Sampled, WatchSample},
    series::{SeriesRing, SeriesView},
    service::{WatchedKind, WatchedService},
};
use crate::{operations::problems::Problem, runtime::events::EventLog};

/// Rates are between samples that are at least this far apart, where there are any. What lists are sorted by is at most this old.
pub(super) const APART: Duration = Duration::from_secs(1);

/// What is known of the services of a process besides their state: how it changes.
#[derive(Default)]
pub(crate) struct ServiceWatch(Mutex<WatchState>);

#[derive(Default)]
pub(super) struct WatchState {
    /// The last two samples, the older one first, [`APART`] or more.
    samples: [Option<Arc<WatchSample>>; 2],
    /// The sample of the last point of the series.
    last_point: Option<Arc<WatchSample>>,
    /// The last list of hosts, of no sample before the last that is kept.
    pub(super) listed: Option<Arc<HostList>>,
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
        state.drops.enter(&now, SystemTime::now());
        state.keep(&now);
        Sampled { before, now }
    }

    /// The same for a list of hosts. Answers to the parts of a list share a sample: that of thousands of hosts takes milliseconds. A host
    /// that joins or leaves makes another necessary.
    pub(super) fn sampled_lately(&self, services: &[WatchedService<'_>]) -> Sampled {
        let [before, last] = self.state().samples.clone();
        match last {
            Some(now) if now.at.elapsed() < APART && now.has_hosts_of(services) => {
                Sampled { before, now }
            }
            _ => self.sampled(services),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, WatchState> {
        // The state of a poisoned lock is whole, if not of one moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WatchState {
    fn keep(&mut self, sample: &Arc<WatchSample>) {
        if self.samples[1].as_ref().is_none_or(|last| sample.at - last.at >= APART) {
            self.samples.rotate_left(1);
            self.samples[1] = Some(Arc::clone(sample));
            self.listed = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    /// The longest pause between two that take samples.
    const PAUSE: Duration = Duration::from_millis(10_000);

    #[derive(Debug, Clone, Copy)]
    enum Taking {
        Tick,
        Sampled,
        Lately,
    }

    proptest! {
        /// Against the times of all samples that were ever asked for.
        #[test]
        fn rates_are_since_a_sample_that_is_old_enough_and_not_too_old(
            asks in prop::collection::vec(
                (prop_oneof![0..1_500_u64, 0..=PAUSE.as_millis() as u64],
                 prop_oneof![Just(Taking::Tick), Just(Taking::Sampled), Just(Taking::Lately)]),
                1..60,
            ),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
            runtime.block_on(async {
                let (watch, events) = (ServiceWatch::default(), EventLog::default());
                let mut asked: Vec<Instant> = Vec::new();
                for (pause, taking) in asks {
                    advance(Duration::from_millis(pause)).await;
                    asked.push(Instant::now());
                    let Sampled { before, now } = match taking {
                        Taking::Tick => {
                            watch.tick(&[], &[], &events);
                            continue;
                        }
                        Taking::Sampled => watch.sampled(&[]),
                        Taking::Lately => watch.sampled_lately(&[]),
                    };
                    let oldest = match taking {
                        Taking::Lately => APART,
                        Taking::Tick | Taking::Sampled => Duration::ZERO,
                    };
                    prop_assert!(now.at.elapsed() <= oldest, "{:?} old", now.at.elapsed());
                    let apart = before.map(|before| now.at - before.at);
                    if asked.iter().any(|at| now.at - *at >= APART) {
                        prop_assert!(apart >= Some(APART) && apart <= Some(PAUSE + 2 * APART), "{:?}", apart);
                    }
                }
                Ok(())
            })?;
        }
    }
}

//! Supervised tasks, which have to run as long as what they serve: one that fails is logged, shown in the status and started
//! again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    runtime::Handle,
    task::{AbortHandle, JoinError},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::error;

use crate::json;

/// A task is started again after this pause; the pause doubles each time that the task fails soon again.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// After a task has run for this long, the pause begins small again.
const STABLE: Duration = Duration::from_secs(60);

/// All supervised tasks of a process.
#[derive(Default)]
pub(crate) struct Duties(Mutex<DutyTable>);

#[derive(Default)]
struct DutyTable {
    next: u64,
    duties: BTreeMap<u64, DutyEntry>,
}

struct DutyEntry {
    name: String,
    /// The task, while it runs.
    task: Option<AbortHandle>,
    failures: u64,
    /// The last failure: when, and its text.
    failed: Option<(Instant, String)>,
}

/// A supervised task that has failed at least once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// What the task does.
    pub task: String,
    /// Whether it runs now.
    pub running: bool,
    /// How often it has failed.
    pub failures: u64,
    /// How long ago it failed last.
    #[serde(with = "json::seconds")]
    pub ago: Duration,
    /// The text of the last failure.
    pub error: String,
}

/// Supervises one task; dropping it ends the task.
#[must_use = "the task ends when this is dropped"]
pub(crate) struct Duty {
    keeper: AbortOnDropHandle<()>,
    is_over: CancellationToken,
    _slot: DutySlot,
}

struct DutySlot {
    duties: Arc<Duties>,
    number: u64,
}

impl Duties {
    /// Keeps the task that `make` creates running on `runtime`, until the task returns or the duty is dropped.
    pub(crate) fn keep<F>(
        self: &Arc<Self>,
        runtime: &Handle,
        name: String,
        mut make: impl FnMut() -> F + Send + 'static,
    ) -> Duty
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let number = self.enter(name.clone());
        let duties = Arc::clone(self);
        let is_over = CancellationToken::new();
        let over = is_over.clone();
        let keeper = async move {
            let mut pause = AGAIN;
            loop {
                let since = Instant::now();
                let task = AbortOnDropHandle::new(tokio::spawn(make()));
                duties.runs(number, task.abort_handle());
                let Err(failure) = task.await else { break };
                let why = describe(failure);
                if since.elapsed() >= STABLE {
                    pause = AGAIN;
                }
                error!(task = name, "a task has failed and is started again in {pause:?}: {why}");
                duties.failed(number, why);
                if over.run_until_cancelled(sleep(pause)).await.is_none() {
                    break;
                }
                pause = (pause * 2).min(AGAIN_MAX);
            }
        };
        Duty {
            keeper: AbortOnDropHandle::new(runtime.spawn(keeper)),
            is_over,
            _slot: DutySlot { duties: Arc::clone(self), number },
        }
    }

    /// The tasks that have failed, whether they run again or not.
    pub(crate) fn report(&self) -> Vec<TaskReport> {
        let state = self.state();
        let reports = state.duties.values().filter_map(|duty| {
            let (when, error) = duty.failed.as_ref()?;
            Some(TaskReport {
                task: duty.name.clone(),
                running: duty.task.is_some(),
                failures: duty.failures,
                ago: when.elapsed(),
                error: error.clone(),
            })
        });
        reports.collect()
    }

    /// The tasks that run now.
    #[cfg(test)]
    pub(crate) fn running(&self) -> Vec<(String, AbortHandle)> {
        let state = self.state();
        let running = |duty: &DutyEntry| Some((duty.name.clone(), duty.task.clone()?));
        state.duties.values().filter_map(running).collect()
    }

    fn enter(&self, name: String) -> u64 {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.duties.insert(number, DutyEntry { name, task: None, failures: 0, failed: None });
        number
    }

    fn runs(&self, number: u64, task: AbortHandle) {
        if let Some(duty) = self.state().duties.get_mut(&number) {
            duty.task = Some(task);
        }
    }

    fn failed(&self, number: u64, why: String) {
        if let Some(duty) = self.state().duties.get_mut(&number) {
            duty.task = None;
            duty.failures += 1;
            duty.failed = Some((Instant::now(), why));
        }
    }

    /// The map of a poisoned lock is consistent: each change is one or two assignments.
    fn state(&self) -> MutexGuard<'_, DutyTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Duty {
    /// Waits until the task has returned, and does not start it again. The caller has already asked the task to stop.
    pub(crate) async fn end(self) {
        self.is_over.cancel();
        // The supervising task does not fail.
        let _ = self.keeper.await;
    }
}

impl Drop for DutySlot {
    fn drop(&mut self) {
        self.duties.state().duties.remove(&self.number);
    }
}

fn describe(failure: JoinError) -> String {
    match failure.try_into_panic() {
        Ok(panic) => match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "a panic without a text".into(),
        },
        Err(_) => "it was cancelled".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_fails_is_shown_and_started_again_less_and_less_often() {
        let duties = Arc::<Duties>::default();
        let starts = Arc::<AtomicU32>::default();
        let counted = Arc::clone(&starts);
        let duty = duties.keep(&Handle::current(), "counting".into(), move || {
            let start = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                sleep(Duration::from_secs(1)).await;
                assert!(start > 2, "start {start}");
                std::future::pending().await
            }
        });
        sleep(Duration::from_millis(500)).await;
        assert_eq!(duties.report(), [], "nothing has happened");
        sleep(Duration::from_millis(550)).await;
        let [report] = &duties.report()[..] else { panic!("one has failed") };
        assert_eq!((&report.task[..], report.running, report.failures), ("counting", false, 1));
        assert_eq!(report.error, "start 0");
        sleep(Duration::from_secs(10)).await;
        let [report] = &duties.report()[..] else { panic!("it has failed before") };
        assert_eq!((report.running, report.failures, &report.error[..]), (true, 3, "start 2"));
        assert_eq!(starts.load(Ordering::Relaxed), 4);
        drop(duty);
        assert_eq!(duties.report(), []);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&starts), 1, "the task has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_done_is_not_started_again() {
        let duties = Arc::<Duties>::default();
        let starts = Arc::<AtomicU32>::default();
        let counted = Arc::clone(&starts);
        let _duty = duties.keep(&Handle::current(), "done".into(), move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async {}
        });
        sleep(Duration::from_secs(100)).await;
        assert_eq!((starts.load(Ordering::Relaxed), duties.report()), (1, vec![]));
    }
}

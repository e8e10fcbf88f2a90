//! One source of one object, read again and again: the last good rows stay until there are better ones.

mod judge;
mod run;
mod status;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtun_core::{Parsed, Row, TooManyRows};
use rtun_state::StateDir;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

pub use self::status::{FeedLine, FeedProblem, FeedState, FeedStatus};
use self::{run::Run, status::Record};
use crate::{
    snapshot::Snapshot,
    source::{Source, SourceSetupError, source},
};

/// Which source of which object, and how it is read.
#[derive(Debug, Clone)]
pub struct FeedSpec<'a> {
    /// `router`, `ingress`, `auther` or `admission`.
    pub kind: &'static str,
    /// The object's name.
    pub name: &'a str,
    /// What is read.
    pub source: &'a rtun_settings::SourceSettings,
    /// Time between two readings, raised to 1 s; `None`: only when something tells of a change.
    pub reload: Option<Duration>,
    /// A text with more lines is a failure.
    pub max_rows: usize,
}

/// Turns a text into rows, or refuses one of more than so many lines.
pub type Parse<T> = fn(&str, usize) -> Result<Parsed<T>, TooManyRows>;

/// The rows of one source, kept up to date by a task that ends when this is dropped.
///
/// A source is read at most once a second: when it tells of a change (files, looked at every second and read when
/// they have rested for 200 ms), after each period, when [`Feed::reload`] says so, and after a failure again with a
/// growing pause of 1 to 30 s.
///
/// A reading that fails changes nothing: an error, no byte at all, too many rows, bad lines without a good one. A
/// text of comments only is an empty table on purpose. Fewer than half of the rows there were (of two or more) have to
/// be read twice in a row, and equal, before they count.
pub struct Feed<T> {
    shared: Arc<Shared<T>>,
    task: AbortHandle,
}

/// What the task and its owner both see.
struct Shared<T> {
    label: Arc<str>,
    rows: Mutex<Arc<Vec<Row<T>>>>,
    record: Mutex<Record>,
    changes: watch::Sender<u64>,
    ready: watch::Sender<bool>,
    told: Notify,
}

impl<T: Send + Sync + 'static> Feed<T> {
    /// Begins to read, on the runtime that this is called on. With `snapshots` each good text is kept on disk, and
    /// serves until the source has been read for the first time.
    pub fn start(
        spec: &FeedSpec<'_>,
        parse: Parse<T>,
        snapshots: Option<Arc<StateDir>>,
    ) -> Result<Arc<Self>, SourceSetupError> {
        Ok(Self::of(source(spec.source)?, spec, parse, snapshots))
    }

    /// As [`Feed::start`], but reads `source` and not the one of `spec`.
    pub fn of(
        source: Box<dyn Source>,
        spec: &FeedSpec<'_>,
        parse: Parse<T>,
        snapshots: Option<Arc<StateDir>>,
    ) -> Arc<Self> {
        let label = source.label();
        let snapshot =
            snapshots.map(|directory| Snapshot::new(directory, spec.kind, spec.name, &label));
        let shared = Arc::new(Shared {
            rows: Mutex::default(),
            record: Mutex::new(Record::new(spec.kind, spec.name)),
            label,
            changes: watch::Sender::new(0),
            ready: watch::Sender::new(false),
            told: Notify::new(),
        });
        let run = Run::new(Arc::clone(&shared), source, spec, parse, snapshot);
        let task = tokio::spawn(run.run()).abort_handle();
        Arc::new(Self { shared, task })
    }

    /// Returns when the first reading has been tried, however it ended; when a snapshot was there, after at most 1 s.
    pub async fn ready(&self) {
        let mut ready = self.shared.ready.subscribe();
        // The sender lives as long as this does.
        let _ = ready.wait_for(|ready| *ready).await;
    }

    /// The last good rows: the same, pointer-equal, while nothing changes.
    pub fn rows(&self) -> Arc<Vec<Row<T>>> {
        Arc::clone(&lock(&self.shared.rows))
    }

    /// Path, URL, or redis address and key; without secrets.
    pub fn label(&self) -> Arc<str> {
        Arc::clone(&self.shared.label)
    }

    /// Grows after each change of [`Feed::rows`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Has the source read now, though no sooner than a second after the last time.
    pub fn reload(&self) {
        self.shared.told.notify_one();
    }

    /// How it is doing.
    pub fn status(&self) -> FeedStatus {
        let rows = lock(&self.shared.rows).len();
        lock(&self.shared.record).status(&self.shared.label, rows)
    }
}

impl<T> Drop for Feed<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A poisoned lock still guards whole values here: every critical section is one assignment or a few counters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! One source of one object, read again and again: the last good rows stay until there are better ones.

mod run;
mod saved_rows;
mod shared;
mod status;
mod verdict;

use std::sync::{Arc, Mutex};

use rtun_core::Row;
use rtun_state::StateDir;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

use self::{
    run::Run,
    shared::{FeedShared, lock},
    status::FeedRecord,
};
pub use self::{
    saved_rows::SavedRows,
    shared::{FeedSpec, Parse},
    status::{FeedLine, FeedProblem, FeedState, FeedStatus},
};
use crate::source::{Source, SourceSetupError, source};

/// The rows of one source, kept up to date by a task that ends when this is dropped.
///
/// A source is read at most once a second: when it shows a change (files are checked every second and read when they have
/// not changed for 200 ms), after each period, after [`Feed::reload`], and after a failure with a growing pause of 1 to
/// 30 s.
///
/// A reading that fails changes nothing: an error, no byte at all, too many rows, bad lines without a good one. A
/// text of comments only is an empty table on purpose. Fewer than half of the rows there were (of two or more) have to
/// be read twice in a row, and equal, before they count.
pub struct Feed<T> {
    shared: Arc<FeedShared<T>>,
    task: AbortHandle,
}

impl<T: Send + Sync + 'static> Feed<T> {
    /// Begins to read, on the runtime that this is called on. With `state` each good text is saved on disk, and serves
    /// until the source has been read for the first time.
    pub fn start(
        spec: &FeedSpec<'_>,
        parse: Parse<T>,
        state: Option<Arc<StateDir>>,
    ) -> Result<Arc<Self>, SourceSetupError> {
        Ok(Self::of(source(spec.source, spec.max_bytes)?, spec, parse, state))
    }

    /// As [`Feed::start`], but reads `source` and not the one of `spec`.
    pub fn of(
        source: Box<dyn Source>,
        spec: &FeedSpec<'_>,
        parse: Parse<T>,
        state: Option<Arc<StateDir>>,
    ) -> Arc<Self> {
        let label = source.label();
        let saved = state.map(|state| SavedRows::new(state, spec.kind, spec.name, &label));
        let shared = Arc::new(FeedShared {
            rows: Mutex::default(),
            record: Mutex::new(FeedRecord::new(spec.kind, spec.name)),
            label,
            changes: watch::Sender::new(0),
            ready: watch::Sender::new(false),
            read_now: Notify::new(),
        });
        let run = Run::new(Arc::clone(&shared), source, spec, parse, saved);
        let task = tokio::spawn(run.run()).abort_handle();
        Arc::new(Self { shared, task })
    }

    /// Returns when the first reading has been tried, however it ended; with saved rows, after at most 1 s.
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

    /// Reads the source now, but no sooner than a second after the last reading.
    pub fn reload(&self) {
        self.shared.read_now.notify_one();
    }

    /// The state of the feed.
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

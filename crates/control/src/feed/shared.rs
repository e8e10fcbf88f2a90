//! What a feed is about, and what its task and its owner both use.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtun_core::{Parsed, Row, TooManyRows};
use tokio::sync::{Notify, watch};

use super::status::FeedRecord;

/// Which source of which object, and how it is read.
#[derive(Debug, Clone)]
pub struct FeedSpec<'a> {
    /// What the object is: `router`, `ingress`, ...
    pub kind: &'static str,
    /// The object's name.
    pub name: &'a str,
    /// What is read.
    pub source: &'a rtun_settings::SourceSettings,
    /// Time between two readings, raised to 1 s; `None`: only after a notice of a change.
    pub reload: Option<Duration>,
    /// A text with more bytes is a failure, and not read to its end.
    pub max_bytes: usize,
    /// A text with more lines is a failure.
    pub max_rows: usize,
}

/// Turns a text into rows, or refuses one of more lines than the given number.
pub type Parse<T> = fn(&str, usize) -> Result<Parsed<T>, TooManyRows>;

pub(super) struct FeedShared<T> {
    pub(super) label: Arc<str>,
    pub(super) rows: Mutex<Arc<Vec<Row<T>>>>,
    pub(super) record: Mutex<FeedRecord>,
    pub(super) changes: watch::Sender<u64>,
    pub(super) ready: watch::Sender<bool>,
    /// Asks the task to read now.
    pub(super) read_now: Notify,
}

/// A poisoned lock still guards whole values here: every critical section is one assignment or a few counters.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

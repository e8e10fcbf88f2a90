//! The task of a feed: when it reads, and what it does with the text.

use std::{
    any::Any,
    hash::{BuildHasher, RandomState},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use rtun_core::Parsed;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{debug, info, warn};

use super::{
    saved_rows::SavedRows,
    shared::{FeedShared, FeedSpec, Parse, lock},
    verdict::{NotTaken, plausible, shrinks},
};
use crate::{
    background::in_background,
    source::{Loaded, Source, SourceError, Stamp},
};

/// Between the beginnings of two readings, whatever asks for them.
const LEAST_PERIOD: Duration = Duration::from_secs(1);

/// Between two checks of a source that shows changes.
const LOOK: Duration = Duration::from_secs(1);

/// A source that changes is read after this long without a change, so that no half-written text is read.
const REST: Duration = Duration::from_millis(200);

/// A source that keeps changing is read after this many checks.
const RESTLESS: usize = 10;

/// Longest pause between two readings while they fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How soon a table that has shrunk is read again, unless its source costs nothing to read or has a shorter period.
const CONFIRM: Duration = Duration::from_secs(5);

/// With saved rows, nothing waits longer than this for newer ones.
const PATIENCE: Duration = Duration::from_secs(1);

/// Texts of more bytes, and tables of more rows, are processed on a thread of their own.
const LARGE: usize = 1024 * 1024;

/// The rows whose freeing takes about as long as reading [`LARGE`] bytes of text.
const LARGE_ROWS: usize = LARGE / 32;

pub(super) struct Run<T> {
    shared: Arc<FeedShared<T>>,
    /// The kind and name of the object.
    object: (&'static str, String),
    source: Box<dyn Source>,
    parse: Parse<T>,
    max_rows: usize,
    period: Option<Duration>,
    saved: Option<Arc<SavedRows>>,
    hasher: RandomState,
    /// Of the text whose rows are in force.
    in_force: Option<u64>,
    /// The outcome of the last text.
    last: Last<T>,
    /// What the last check found.
    seen: Option<Stamp>,
    /// The last reading's beginning and end.
    began: Instant,
    ended: Instant,
    /// Readings in a row that were not taken.
    failures: u32,
}

/// The outcome of the last text, in case the source says that it has not changed.
enum Last<T> {
    Taken,
    Refused(NotTaken),
    Waiting(ShrunkRows<T>),
}

/// A text with far fewer rows than those in force.
struct ShrunkRows<T> {
    hash: u64,
    text: String,
    parsed: Parsed<T>,
    /// In a row.
    readings: u32,
}

impl<T: Send + Sync + 'static> Run<T> {
    pub(super) fn new(
        shared: Arc<FeedShared<T>>,
        source: Box<dyn Source>,
        spec: &FeedSpec<'_>,
        parse: Parse<T>,
        saved: Option<SavedRows>,
    ) -> Self {
        Self {
            shared,
            object: (spec.kind, spec.name.to_owned()),
            source,
            parse,
            max_rows: spec.max_rows,
            period: spec.reload.map(|period| period.max(LEAST_PERIOD)),
            saved: saved.map(Arc::new),
            hasher: RandomState::new(),
            in_force: None,
            last: Last::Refused(NotTaken::Empty),
            seen: None,
            began: Instant::now(),
            ended: Instant::now(),
            failures: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let ready = self.shared.ready.clone();
        let restored = self.restore().await;
        {
            let mut first = Box::pin(self.first());
            if !restored || timeout(PATIENCE, &mut first).await.is_err() {
                if restored {
                    ready.send_replace(true);
                }
                first.await;
            }
        }
        ready.send_replace(true);
        loop {
            self.wait().await;
            self.read().await;
        }
    }

    async fn first(&mut self) {
        self.seen = self.look().await;
        self.read().await;
    }

    /// Until it is time to read again.
    async fn wait(&mut self) {
        let shared = Arc::clone(&self.shared);
        let due = self.due();
        let mut next_look = Instant::now() + LOOK;
        let follows = self.source.stamp().is_some();
        loop {
            tokio::select! {
                // A reading that is due makes the check needless.
                biased;
                () = shared.read_now.notified() => break,
                () = at(due) => break,
                () = sleep_until(next_look), if follows => {
                    if self.has_changed().await {
                        break;
                    }
                    next_look += LOOK;
                }
            }
        }
        sleep_until(self.began + LEAST_PERIOD).await;
    }

    /// When to read again without an earlier notice.
    fn due(&self) -> Option<Instant> {
        let periodic = self.period.map(|period| self.began + period);
        let again =
            match &self.last {
                _ if self.failures == 0 => return periodic,
                Last::Waiting(candidate) if candidate.readings > 0 => {
                    if self.source.stamp().is_some() { LEAST_PERIOD } else { CONFIRM }
                }
                _ => {
                    LEAST_PERIOD.saturating_mul(1 << (self.failures - 1).min(5)).min(LONGEST_PAUSE)
                }
            };
        let again = self.ended + again;
        Some(periodic.map_or(again, |periodic| periodic.min(again)))
    }

    /// Whether the source has changed; then it waits until the source rests.
    async fn has_changed(&mut self) -> bool {
        let mut stamp = self.look().await;
        if stamp == self.seen {
            return false;
        }
        for _ in 0..RESTLESS {
            sleep(REST).await;
            let again = self.look().await;
            if again == stamp {
                break;
            }
            stamp = again;
        }
        self.seen = stamp;
        true
    }

    async fn look(&self) -> Option<Stamp> {
        match self.source.stamp() {
            Some(look) => look.await,
            None => None,
        }
    }

    /// One reading and its effects.
    async fn read(&mut self) {
        self.began = Instant::now();
        let reading = async {
            let loaded = self.source.load().await;
            self.judge(loaded).await
        };
        // The rows in force change only as the last step, which a failed reading does not reach.
        let result = AssertUnwindSafe(reading)
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| Err(NotTaken::Defect(panic_text(&*panic))));
        self.ended = Instant::now();
        let ((kind, name), source) = (&self.object, &*self.shared.label);
        match result {
            Ok(()) => self.failures = 0,
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                let error = why.to_string();
                if lock(&self.shared.record).not_taken(error.clone()) {
                    warn!(kind, name, source, error, "a source fails; its last good rows stay");
                } else {
                    debug!(kind, name, source, error, "a source still fails");
                }
            }
        }
    }

    async fn judge(&mut self, loaded: Result<Loaded, SourceError>) -> Result<(), NotTaken> {
        let text = match loaded {
            Ok(Loaded::Text(text)) => text,
            Ok(Loaded::Unchanged) => return self.unchanged().await,
            Err(error) => {
                if let Last::Waiting(candidate) = &mut self.last {
                    candidate.readings = 0;
                }
                return Err(error.into());
            }
        };
        let (hash, text) = self.hashed(text).await;
        if self.in_force == Some(hash) {
            self.last = Last::Taken;
            self.keeps();
            if let Some(saved) = self.saved.clone() {
                // Fails only while the runtime ends.
                let keep = move || saved.is_lost().then(|| saved.write(&text));
                let _ = spawn_blocking(keep).await;
            }
            return Ok(());
        }
        if matches!(&self.last, Last::Waiting(candidate) if candidate.hash == hash) {
            return self.unchanged().await;
        }
        match self.parsed(hash, text).await {
            Ok(candidate) => self.weigh(candidate).await,
            Err(why) => {
                self.last = Last::Refused(why.clone());
                Err(why)
            }
        }
    }

    /// The source gave the last text again.
    async fn unchanged(&mut self) -> Result<(), NotTaken> {
        match std::mem::replace(&mut self.last, Last::Taken) {
            Last::Taken => {
                self.keeps();
                Ok(())
            }
            Last::Refused(why) => {
                self.last = Last::Refused(why.clone());
                Err(why)
            }
            Last::Waiting(candidate) => {
                self.weigh(ShrunkRows { readings: candidate.readings + 1, ..candidate }).await
            }
        }
    }

    async fn hashed(&self, text: String) -> (u64, String) {
        let hasher = self.hasher.clone();
        off_path(text.len(), move || (hasher.hash_one(&text), text)).await
    }

    async fn parsed(&self, hash: u64, text: String) -> Result<ShrunkRows<T>, NotTaken> {
        if text.is_empty() {
            return Err(NotTaken::Empty);
        }
        let (parse, max_rows) = (self.parse, self.max_rows);
        let (parsed, text) = off_path(text.len(), move || (parse(&text, max_rows), text)).await;
        let parsed = parsed?;
        plausible(&parsed)?;
        Ok(ShrunkRows { hash, text, parsed, readings: 1 })
    }

    async fn weigh(&mut self, candidate: ShrunkRows<T>) -> Result<(), NotTaken> {
        let (before, rows) = (lock(&self.shared.rows).len(), candidate.parsed.rows.len());
        if shrinks(before, rows) && candidate.readings < 2 {
            self.last = Last::Waiting(candidate);
            return Err(NotTaken::Shrunk { rows, before });
        }
        self.take(candidate).await;
        Ok(())
    }

    /// Puts the rows of a text in force.
    async fn take(&mut self, candidate: ShrunkRows<T>) {
        let ShrunkRows { hash, text, parsed, .. } = candidate;
        let bad = parsed.bad.clone();
        let (before, rows) = self.put(parsed).await;
        let ((kind, name), source) = (&self.object, &*self.shared.label);
        info!(kind, name, source, rows, before, "rows have changed");
        for line in &bad.first {
            let why = line.to_string();
            warn!(kind, name, source, line = line.line, why, "a line is left out");
        }
        if let Some(more) = bad.count.checked_sub(bad.first.len()).filter(|more| *more > 0) {
            warn!(kind, name, source, more, "more lines are left out");
        }
        let back = lock(&self.shared.record).taken(Some(bad));
        if back {
            info!(kind, name, source, "a source is back");
        }
        self.in_force = Some(hash);
        self.last = Last::Taken;
        self.shared.changes.send_modify(|changes| *changes += 1);
        if let Some(saved) = self.saved.clone() {
            // Fails only while the runtime ends.
            let _ = spawn_blocking(move || saved.write(&text)).await;
        }
    }

    /// Notes that the rows in force are what the source has.
    fn keeps(&self) {
        if lock(&self.shared.record).taken(None) {
            let ((kind, name), source) = (&self.object, &*self.shared.label);
            info!(kind, name, source, "a source is back");
        }
    }

    /// Replaces the rows in force. Returns how many there were and are.
    async fn put(&self, parsed: Parsed<T>) -> (usize, usize) {
        let len = parsed.rows.len();
        let old = std::mem::replace(&mut *lock(&self.shared.rows), Arc::new(parsed.rows));
        let before = old.len();
        let work = before.saturating_mul(LARGE / LARGE_ROWS);
        off_path(work, move || drop(old)).await;
        (before, len)
    }

    /// Puts the rows of an earlier run in force, if there are any.
    async fn restore(&mut self) -> bool {
        let Some(saved) = self.saved.clone() else { return false };
        let Ok(Some(text)) = spawn_blocking(move || saved.read()).await else { return false };
        let (hash, text) = self.hashed(text).await;
        let source = &*self.shared.label;
        match self.parsed(hash, text).await {
            Ok(candidate) => {
                lock(&self.shared.record).restored(candidate.parsed.bad.clone());
                let (_, rows) = self.put(candidate.parsed).await;
                info!(source, rows, "rows of an earlier run are in force until the source is read");
                self.in_force = Some(hash);
                self.shared.changes.send_modify(|changes| *changes += 1);
                true
            }
            Err(why) => {
                warn!(source, "the saved rows are not used: the text {why}");
                false
            }
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref().cloned()).unwrap_or_default()
}

/// Sleeps until `due`; without it, the sleep has no end.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Does `work` on `size` bytes, on a thread of its own if they are many.
async fn off_path<R: Send + 'static>(size: usize, work: impl FnOnce() -> R + Send + 'static) -> R {
    if size < LARGE { work() } else { in_background(work).await }
}

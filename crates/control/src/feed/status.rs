//! The state of a feed, for people and programs.

use rtun_core::{BadLine, BadLines};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The state of a [`super::Feed`]. Ages are in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeedStatus {
    /// What the object is: `router`, `ingress`, `auther`, `admission`, `limiter`, `climiter`, `rlimiter`, `hosts` or `hop`.
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// Path, URL, or redis address and key; without secrets.
    pub source: String,
    /// In force.
    pub rows: usize,
    /// Where the rows in force come from.
    pub state: FeedState,
    /// Whether the rows are those of an earlier run, saved on disk.
    pub from_snapshot: bool,
    /// Since the source last gave rows that were taken, changed or not; `None`: not yet.
    pub last_success: Option<f64>,
    /// The last reading that was not taken, also when a later one was.
    pub problem: Option<FeedProblem>,
    /// Lines of the text in force that are left out.
    pub bad_lines: usize,
    /// The first 10 of them.
    pub first_bad_lines: Vec<FeedLine>,
    /// Readings that were taken, changed or not.
    pub loads_ok: u64,
    /// Readings that were not.
    pub loads_failed: u64,
}

/// Where the rows of a feed come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedState {
    /// There are none yet: the source is being read for the first time.
    Loading,
    /// They are what the source last gave.
    Fresh,
    /// They are those of an earlier run while the source is being read for the first time.
    Snapshot,
    /// The source does not give any that can be taken; the last good rows, if any, are in force.
    Failing,
}

/// A reading that was not taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeedProblem {
    /// What was wrong.
    pub text: String,
    /// Since the reading.
    pub age: f64,
    /// Since the first of the readings in a row that were not taken; `None`: the last one was taken.
    pub failing_for: Option<f64>,
}

/// A line that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedLine {
    /// From 1; of a redis hash and set in the order of their fields and members.
    pub line: u32,
    /// What is wrong and what would be right.
    pub text: String,
}

/// The history of a feed's readings.
pub(super) struct FeedRecord {
    kind: &'static str,
    name: String,
    from_snapshot: bool,
    bad: BadLines,
    success: Option<Instant>,
    problem: Option<(String, Instant)>,
    failing_since: Option<Instant>,
    ok: u64,
    failed: u64,
}

impl FeedRecord {
    pub(super) fn new(kind: &'static str, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            from_snapshot: false,
            bad: BadLines::default(),
            success: None,
            problem: None,
            failing_since: None,
            ok: 0,
            failed: 0,
        }
    }

    /// The rows are those of an earlier run.
    pub(super) fn restored(&mut self, bad: BadLines) {
        self.from_snapshot = true;
        self.bad = bad;
    }

    /// A reading was taken, with other bad lines if the text is another. Returns whether it ends a series of failures.
    pub(super) fn taken(&mut self, bad: Option<BadLines>) -> bool {
        self.success = Some(Instant::now());
        self.from_snapshot = false;
        self.ok += 1;
        if let Some(bad) = bad {
            self.bad = bad;
        }
        self.failing_since.take().is_some()
    }

    /// A reading was not taken. Returns whether it begins a series of failures.
    pub(super) fn not_taken(&mut self, problem: String) -> bool {
        let now = Instant::now();
        self.problem = Some((problem, now));
        self.failed += 1;
        let first = self.failing_since.is_none();
        self.failing_since.get_or_insert(now);
        first
    }

    pub(super) fn status(&self, label: &str, rows: usize) -> FeedStatus {
        let age = |since: Instant| since.elapsed().as_secs_f64();
        FeedStatus {
            kind: self.kind.to_owned(),
            name: self.name.clone(),
            source: label.to_owned(),
            rows,
            state: self.state(),
            from_snapshot: self.from_snapshot,
            last_success: self.success.map(age),
            problem: self.problem.as_ref().map(|(text, since)| FeedProblem {
                text: text.clone(),
                age: age(*since),
                failing_for: self.failing_since.map(age),
            }),
            bad_lines: self.bad.count,
            first_bad_lines: self.bad.first.iter().map(line).collect(),
            loads_ok: self.ok,
            loads_failed: self.failed,
        }
    }

    fn state(&self) -> FeedState {
        if self.failing_since.is_some() {
            FeedState::Failing
        } else if self.success.is_some() {
            FeedState::Fresh
        } else if self.from_snapshot {
            FeedState::Snapshot
        } else {
            FeedState::Loading
        }
    }
}

fn line(bad: &BadLine) -> FeedLine {
    FeedLine { line: bad.line, text: bad.to_string() }
}

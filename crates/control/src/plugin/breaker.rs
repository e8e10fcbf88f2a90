//! Counts the outcomes of calls to a plugin, and pauses the calls after repeated failures.

use std::{mem::discriminant, time::Duration};

use tokio::time::Instant;

use super::{
    PluginError,
    status::{LastError, PluginKind, PluginStatus},
};

/// A circuit breaker. After `limit` failures in a row nothing is asked for `pause`; then one question at a time is tried,
/// until one is answered.
pub(super) struct Breaker {
    limit: u32,
    pause: Duration,
    /// In a row.
    failures: u32,
    paused_until: Option<Instant>,
    asked: u64,
    answered: u64,
    failed: u64,
    last_success: Option<Instant>,
    last_error: Option<(PluginError, Instant)>,
}

impl Breaker {
    pub(super) fn new(limit: u32, pause: Duration) -> Self {
        Self {
            limit,
            pause,
            failures: 0,
            paused_until: None,
            asked: 0,
            answered: 0,
            failed: 0,
            last_success: None,
            last_error: None,
        }
    }

    /// Whether it is pointless to queue a question.
    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// To be called when a question's turn has come: whether it may be asked. A try after a pause starts another one, so
    /// that it is the only one until it is answered, or for as long as a pause lasts.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        if self.is_paused(now) {
            return false;
        }
        if self.paused_until.is_some() {
            self.paused_until = Some(now + self.pause);
        }
        self.asked += 1;
        true
    }

    pub(super) fn succeeded(&mut self, now: Instant) {
        self.failures = 0;
        self.paused_until = None;
        self.answered += 1;
        self.last_success = Some(now);
    }

    /// Whether the failure is worth a line in the log: the first in a row, and the one that starts a pause.
    pub(super) fn failed(&mut self, error: &PluginError, now: Instant) -> bool {
        self.failed += 1;
        self.last_error = Some((error.clone(), now));
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.limit {
            self.paused_until = Some(now + self.pause);
        }
        self.failures == 1 || self.failures == self.limit
    }

    /// It refused one question and works otherwise. Whether that is worth a line in the log: where the last error was of
    /// another kind.
    pub(super) fn declined(&mut self, error: &PluginError, now: Instant) -> bool {
        let is_new = |last: &PluginError| discriminant(last) != discriminant(error);
        let first = self.last_error.as_ref().is_none_or(|(last, _)| is_new(last));
        self.failures = 0;
        self.paused_until = None;
        self.failed += 1;
        self.last_error = Some((error.clone(), now));
        first
    }

    /// How often it failed in a row.
    pub(super) fn failures_in_a_row(&self) -> u32 {
        self.failures
    }

    pub(super) fn status(
        &self,
        kind: PluginKind,
        name: &str,
        address: &str,
        waiting: usize,
        cached: usize,
    ) -> PluginStatus {
        let now = Instant::now();
        let age = |then: Instant| now.duration_since(then).as_secs();
        PluginStatus {
            kind,
            name: name.to_owned(),
            address: address.to_owned(),
            asked: self.asked,
            answered: self.answered,
            failed: self.failed,
            waiting,
            cached,
            paused: self.is_paused(now),
            last_success: self.last_success.map(age),
            last_error: self
                .last_error
                .as_ref()
                .map(|(error, then)| LastError { text: error.to_string(), age: age(*then) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn after_a_pause_one_question_is_tried() {
        let mut breaker = Breaker::new(2, PAUSE);
        let now = Instant::now();
        for _ in 0..2 {
            assert!(breaker.may_ask(now));
            breaker.failed(&PluginError::Timeout, now);
        }
        assert!(!breaker.may_ask(now + PAUSE / 2));
        assert!(breaker.may_ask(now + PAUSE));
        assert!(!breaker.may_ask(now + PAUSE), "one try at a time");
        assert!(breaker.may_ask(now + 2 * PAUSE), "a try without an outcome blocks for one pause");
        breaker.succeeded(now + 2 * PAUSE);
        assert!(breaker.may_ask(now + 2 * PAUSE) && breaker.may_ask(now + 2 * PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn only_failures_in_a_row_pause() {
        let mut breaker = Breaker::new(2, PAUSE);
        let now = Instant::now();
        for _ in 0..10 {
            breaker.failed(&PluginError::Timeout, now);
            breaker.declined(&PluginError::Status(401), now);
        }
        assert!(!breaker.is_paused(now));
        let status = breaker.status(PluginKind::Auther, "a", "http://x/", 3, 4);
        assert_eq!((status.failed, status.answered, status.waiting, status.cached), (20, 0, 3, 4));
        let text = "answered with status 401 instead of 200".to_owned();
        assert_eq!(status.last_error, Some(LastError { text, age: 0 }));
    }
}

//! Counts of rare events by their fixed words, with the time of the last of each.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::json;

/// Counts of events by word. The words are part of the program, so a peer cannot add any.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<&'static str, (u64, Instant)>>);

/// How often something happened.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Happened {
    /// So far; at least once.
    pub count: u64,
    /// How long ago it happened last.
    #[serde(with = "json::seconds")]
    pub ago: Duration,
}

impl Tally {
    pub(crate) fn count(&self, word: &'static str) {
        let now = Instant::now();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, last) = counts.entry(word).or_insert((0, now));
        *count += 1;
        *last = now;
    }

    pub(crate) fn read(&self) -> BTreeMap<String, Happened> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let happened =
            |(count, last): &(u64, Instant)| Happened { count: *count, ago: last.elapsed() };
        counts.iter().map(|(word, event)| ((*word).to_owned(), happened(event))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_its_count() {
        let tally = Tally::default();
        for word in ["auth_failed", "bad_version", "auth_failed"] {
            tally.count(word);
        }
        let counts: Vec<_> = tally.read().into_iter().map(|(word, it)| (word, it.count)).collect();
        assert_eq!(counts, [("auth_failed".to_owned(), 2), ("bad_version".to_owned(), 1)]);
    }
}

//! A bounded cache of answers, each with the time it was given.

use std::{collections::HashMap, hash::Hash};

use tokio::time::Instant;

/// At most `capacity` answers; past that the oldest eighth is removed.
pub(crate) struct Cache<K, A> {
    answers: HashMap<K, (A, Instant)>,
    capacity: usize,
}

impl<K: Eq + Hash, A> Cache<K, A> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { answers: HashMap::new(), capacity }
    }

    pub(crate) fn len(&self) -> usize {
        self.answers.len()
    }

    /// The answer and when it was given.
    pub(crate) fn get(&self, key: &K) -> Option<&(A, Instant)> {
        self.answers.get(key)
    }

    pub(crate) fn insert(&mut self, key: K, answer: A, now: Instant) {
        if self.answers.len() >= self.capacity {
            self.remove_oldest_eighth();
        }
        self.answers.insert(key, (answer, now));
    }

    fn remove_oldest_eighth(&mut self) {
        let mut ages: Vec<_> = self.answers.values().map(|(_, since)| *since).collect();
        let eighth = ages.len() / 8;
        let (_, threshold, _) = ages.select_nth_unstable(eighth);
        let threshold = *threshold;
        self.answers.retain(|_, (_, since)| *since > threshold);
    }
}

//! The records that wait for one recorder.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rtun_control::Record;
use tokio::sync::Notify;

/// The most records that wait, some 200 KiB; further ones are lost, and counted.
const MAX_WAITING: usize = 4096;

/// Records in the order of their connections. The first one stays until it is written.
#[derive(Default)]
pub(super) struct RecordQueue {
    state: Mutex<QueueState>,
    /// A record waits.
    news: Notify,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Record>,
    records: u64,
    dropped: u64,
    /// Those dropped that nobody was informed of.
    unsaid: u64,
}

impl RecordQueue {
    /// Adds a record, unless too many wait.
    pub(super) fn add(&self, record: Record) {
        let mut state = self.state();
        state.records += 1;
        if state.waiting.len() >= MAX_WAITING {
            state.dropped += 1;
            state.unsaid += 1;
            return;
        }
        state.waiting.push_back(record);
        drop(state);
        self.news.notify_one();
    }

    /// The first record, once there is one. It stays.
    pub(super) async fn first(&self) -> Record {
        loop {
            match self.first_now() {
                Some(record) => return record,
                None => self.news.notified().await,
            }
        }
    }

    /// The first record, if there is one. It stays.
    pub(super) fn first_now(&self) -> Option<Record> {
        self.state().waiting.front().cloned()
    }

    /// The first record is written.
    pub(super) fn written(&self) {
        self.state().waiting.pop_front();
    }

    /// Drops all that wait.
    pub(super) fn give_up(&self) {
        let mut state = self.state();
        let left = state.waiting.len() as u64;
        state.waiting.clear();
        state.dropped += left;
        state.unsaid += left;
    }

    /// How many were dropped since this was called last.
    pub(super) fn newly_dropped(&self) -> u64 {
        std::mem::take(&mut self.state().unsaid)
    }

    /// How many records there were, how many were dropped, and how many wait.
    pub(super) fn counts(&self) -> (u64, u64, usize) {
        let state = self.state();
        (state.records, state.dropped, state.waiting.len())
    }

    /// A poisoned lock still guards a whole queue: each change is one of a few numbers, an insertion or a removal.
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u32) -> Record {
        Record::new(std::net::Ipv4Addr::from(n).into(), "null".into())
    }

    #[tokio::test]
    async fn what_is_too_much_is_dropped_and_counted() {
        let queue = RecordQueue::default();
        for n in 0..MAX_WAITING as u32 + 10 {
            queue.add(record(n));
        }
        let all = MAX_WAITING as u64 + 10;
        assert_eq!(queue.counts(), (all, 10, MAX_WAITING));
        assert_eq!((queue.newly_dropped(), queue.newly_dropped()), (10, 0));
        assert_eq!(queue.first().await, record(0), "the first stay");
        queue.written();
        queue.add(record(7));
        assert_eq!(queue.counts(), (all + 1, 10, MAX_WAITING));
        queue.give_up();
        assert_eq!(queue.counts(), (all + 1, 10 + MAX_WAITING as u64, 0));
        assert_eq!(queue.first_now(), None);
    }
}

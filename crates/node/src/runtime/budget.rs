//! One bound for the memory of all queues, however many peers stall.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The memory all queues may hold together.
///
/// A queue may hold a [`SHARE`]th of what is left: the more queues there are, the less each may hold, and a new queue always
/// finds room (dynamic thresholds, Choudhury and Hahne 1998). Threads that add at the same moment may exceed the limit by one
/// read each.
pub(crate) struct Budget {
    limit: AtomicUsize,
    used: AtomicUsize,
}

/// The part of what is left that one queue may hold: with 256 MiB, a queue's own limit of 1 MiB counts until three
/// quarters are used, and 10,000 stalled hosts hold 25 KiB each.
const SHARE: usize = 64;

/// With less than this left, in bytes, an empty queue may not begin to hold anything.
const LEAST: usize = 1024 * 1024;

/// What one queue holds of a budget; given back when dropped.
pub(crate) struct Charge {
    budget: Arc<Budget>,
    charged: usize,
}

impl Budget {
    /// `limit` is in bytes.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit: limit.into(), used: AtomicUsize::new(0) })
    }

    /// Changes the limit, in bytes. What queues hold already stays until it is sent.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes held, and the most that may be.
    pub(crate) fn read(&self) -> (usize, usize) {
        (self.used.load(Ordering::Relaxed), self.limit.load(Ordering::Relaxed))
    }
}

impl Charge {
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), charged: 0 }
    }

    /// The bytes that this queue may hold now. `None`: nothing may be added to a queue that holds nothing yet. A queue that
    /// holds more than its share drops some for what is added.
    pub(crate) fn allowance(&self) -> Option<usize> {
        let Budget { limit, used } = &*self.budget;
        let left = limit.load(Ordering::Relaxed).saturating_sub(used.load(Ordering::Relaxed));
        (left >= LEAST || self.charged > 0).then_some(left / SHARE)
    }

    /// The queue holds this many bytes now.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes > self.charged {
            self.budget.used.fetch_add(bytes - self.charged, Ordering::Relaxed);
        } else if bytes < self.charged {
            self.budget.used.fetch_sub(self.charged - bytes, Ordering::Relaxed);
        }
        self.charged = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_queues_the_less_each_may_hold() {
        let budget = Budget::new(64 * LEAST);
        let mut queues: Vec<_> = (0..1000).map(|_| Charge::new(&budget)).collect();
        assert_eq!(queues[0].allowance(), Some(LEAST));
        for _ in 0..20 {
            for queue in &mut queues {
                if let Some(allowance) = queue.allowance() {
                    queue.set(allowance);
                }
            }
        }
        let used = budget.used.load(Ordering::Relaxed);
        assert!(used > 55 * LEAST && used < 64 * LEAST, "{used}");
        let late = Charge::new(&budget);
        assert!(late.allowance().is_some_and(|bytes| bytes > 32 * 1024), "{:?}", late.allowance());
    }

    #[test]
    fn nothing_is_added_to_a_full_budget_until_something_is_given_back() {
        let budget = Budget::new(2 * LEAST);
        let mut hog = Charge::new(&budget);
        let queue = Charge::new(&budget);
        hog.set(LEAST + 1);
        assert_eq!(queue.allowance(), None);
        assert_eq!(hog.allowance(), Some((LEAST - 1) / SHARE));
        drop(hog);
        assert_eq!(queue.allowance(), Some(2 * LEAST / SHARE));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}

//! How many bytes a service may move within a time.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

/// Which bytes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuotaDirection {
    /// Both directions.
    #[default]
    Total,
    /// What the service receives.
    In,
    /// What the service sends.
    Out,
}

/// What a quota allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaTerms {
    /// Bytes; 0: no limit.
    pub limit: u64,
    /// Which bytes count.
    pub direction: QuotaDirection,
    /// When it begins and when it ends, in seconds since 1970; outside of them nothing counts and nothing is limited.
    pub starts: Option<u64>,
    /// See [`QuotaTerms::starts`].
    pub expires: Option<u64>,
}

/// What was used of a quota: kept from one start to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaUse {
    /// Bytes.
    pub used: u64,
    /// The window that they were used in.
    pub starts: Option<u64>,
    /// See [`QuotaUse::starts`].
    pub expires: Option<u64>,
}

/// Counts bytes against a quota, until it is used up; any thread may count. Whether its window is open is as [`QuotaMeter::tick`] has last seen it.
#[derive(Debug)]
pub struct QuotaMeter {
    terms: Mutex<QuotaTerms>,
    used: AtomicU64,
    /// Of the terms.
    limit: AtomicU64,
    counts_in: AtomicBool,
    counts_out: AtomicBool,
    is_exceeded: AtomicBool,
}

impl QuotaTerms {
    /// Whether bytes count at `now`, in seconds since 1970.
    pub fn is_active(&self, now: u64) -> bool {
        self.starts.is_none_or(|starts| now >= starts)
            && self.expires.is_none_or(|expires| now < expires)
    }
}

impl QuotaMeter {
    /// With what was used in the same window; the use in another window is not counted.
    pub fn new(terms: QuotaTerms, before: QuotaUse, now: u64) -> Self {
        let is_same = (before.starts, before.expires) == (terms.starts, terms.expires);
        let meter = Self {
            terms: Mutex::new(terms),
            used: AtomicU64::new(if is_same { before.used } else { 0 }),
            limit: AtomicU64::new(terms.limit),
            counts_in: AtomicBool::default(),
            counts_out: AtomicBool::default(),
            is_exceeded: AtomicBool::default(),
        };
        meter.tick(now);
        meter
    }

    /// Changes the terms. Another window begins at 0.
    pub fn set_terms(&self, terms: QuotaTerms, now: u64) {
        let before = std::mem::replace(&mut *self.locked(), terms);
        if (before.starts, before.expires) != (terms.starts, terms.expires) {
            self.used.store(0, Ordering::Relaxed);
        }
        self.limit.store(terms.limit, Ordering::Relaxed);
        self.tick(now);
    }

    /// From here on, `used` bytes count as used.
    pub fn reset(&self, used: u64, now: u64) {
        self.used.store(used, Ordering::Relaxed);
        self.tick(now);
    }

    /// Counts bytes that were received.
    pub fn count_in(&self, bytes: u64) {
        if self.counts_in.load(Ordering::Relaxed) {
            self.count(bytes);
        }
    }

    /// Counts bytes that were sent.
    pub fn count_out(&self, bytes: u64) {
        if self.counts_out.load(Ordering::Relaxed) {
            self.count(bytes);
        }
    }

    fn count(&self, bytes: u64) {
        if self.is_exceeded() {
            return;
        }
        let used = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let limit = self.limit.load(Ordering::Relaxed);
        if limit > 0 && used >= limit {
            self.is_exceeded.store(true, Ordering::Relaxed);
        }
    }

    /// Opens and closes the window as it is due at `now`, in seconds since 1970.
    pub fn tick(&self, now: u64) {
        let terms = *self.locked();
        let is_active = terms.is_active(now);
        let counts = |other: QuotaDirection| is_active && terms.direction != other;
        self.counts_in.store(counts(QuotaDirection::Out), Ordering::Relaxed);
        self.counts_out.store(counts(QuotaDirection::In), Ordering::Relaxed);
        let is_exceeded = is_active && terms.limit > 0 && self.used() >= terms.limit;
        self.is_exceeded.store(is_exceeded, Ordering::Relaxed);
    }

    /// Whether nothing more may pass.
    pub fn is_exceeded(&self) -> bool {
        self.is_exceeded.load(Ordering::Relaxed)
    }

    /// Bytes counted.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The terms in force.
    pub fn terms(&self) -> QuotaTerms {
        *self.locked()
    }

    /// What is kept for the next start.
    pub fn usage(&self) -> QuotaUse {
        let QuotaTerms { starts, expires, .. } = self.terms();
        QuotaUse { used: self.used(), starts, expires }
    }

    /// A poisoned lock still guards whole terms: they are only replaced.
    fn locked(&self) -> MutexGuard<'_, QuotaTerms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(limit: u64, direction: QuotaDirection) -> QuotaTerms {
        QuotaTerms { limit, direction, starts: Some(100), expires: Some(200) }
    }

    fn count(quota: &QuotaMeter, now: u64) {
        quota.tick(now);
        quota.count_in(10);
        quota.count_out(20);
    }

    #[test]
    fn only_bytes_of_its_window_and_direction_count() {
        for (direction, used) in
            [(QuotaDirection::Total, 30), (QuotaDirection::In, 10), (QuotaDirection::Out, 20)]
        {
            let quota = QuotaMeter::new(terms(30, direction), QuotaUse::default(), 0);
            count(&quota, 99);
            count(&quota, 100);
            assert_eq!(quota.is_exceeded(), direction == QuotaDirection::Total);
            count(&quota, 200);
            assert_eq!(quota.used(), used);
            assert!(!quota.is_exceeded());
        }
    }

    #[test]
    fn the_use_of_another_window_does_not_count() {
        let total = terms(30, QuotaDirection::Total);
        let quota = QuotaMeter::new(total, QuotaUse::default(), 150);
        count(&quota, 150);
        let before = quota.usage();
        assert!(QuotaMeter::new(total, before, 150).is_exceeded());
        let next = QuotaTerms { expires: Some(300), ..total };
        assert!(!QuotaMeter::new(next, before, 150).is_exceeded());
        quota.set_terms(QuotaTerms { limit: 31, ..total }, 150);
        assert!(!quota.is_exceeded() && quota.used() == 30);
        quota.count_out(1);
        assert!(quota.is_exceeded());
        quota.set_terms(next, 150);
        assert!(!quota.is_exceeded() && quota.used() == 0);
        let other = QuotaUse { used: 9, ..QuotaUse::default() };
        let unlimited = QuotaMeter::new(QuotaTerms::default(), other, 150);
        assert!(!unlimited.is_exceeded() && unlimited.used() == 9);
    }
}

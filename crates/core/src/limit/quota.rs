//! How many bytes a service may move within a time.

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuotaUse {
    /// Bytes.
    pub used: u64,
    /// The window that they were used in.
    pub starts: Option<u64>,
    /// See [`QuotaUse::starts`].
    pub expires: Option<u64>,
}

/// Counts bytes against a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    terms: QuotaTerms,
    used: u64,
}

impl Quota {
    /// With what was used in the same window; the use in another window is not counted.
    pub fn new(terms: QuotaTerms, before: QuotaUse) -> Self {
        let is_same = (before.starts, before.expires) == (terms.starts, terms.expires);
        Self { terms, used: if is_same { before.used } else { 0 } }
    }

    /// Counts `received` and `sent` bytes.
    pub fn count(&mut self, received: u64, sent: u64, now: u64) {
        if self.is_active(now) {
            let bytes = match self.terms.direction {
                QuotaDirection::Total => received.saturating_add(sent),
                QuotaDirection::In => received,
                QuotaDirection::Out => sent,
            };
            self.used = self.used.saturating_add(bytes);
        }
    }

    /// Whether the service has to stop.
    pub fn is_exceeded(&self, now: u64) -> bool {
        self.is_active(now) && self.terms.limit > 0 && self.used >= self.terms.limit
    }

    /// What is kept for the next start.
    pub fn usage(&self) -> QuotaUse {
        QuotaUse { used: self.used, starts: self.terms.starts, expires: self.terms.expires }
    }

    /// Counts from 0 again.
    pub fn reset(&mut self) {
        self.used = 0;
    }

    fn is_active(&self, now: u64) -> bool {
        self.terms.starts.is_none_or(|starts| now >= starts)
            && self.terms.expires.is_none_or(|expires| now < expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(limit: u64, direction: QuotaDirection) -> QuotaTerms {
        QuotaTerms { limit, direction, starts: Some(100), expires: Some(200) }
    }

    #[test]
    fn only_bytes_of_its_window_and_direction_count() {
        for (direction, used) in
            [(QuotaDirection::Total, 30), (QuotaDirection::In, 10), (QuotaDirection::Out, 20)]
        {
            let mut quota = Quota::new(terms(30, direction), QuotaUse::default());
            quota.count(10, 20, 99);
            quota.count(10, 20, 100);
            quota.count(10, 20, 200);
            assert_eq!(quota.usage().used, used);
            assert_eq!(quota.is_exceeded(199), direction == QuotaDirection::Total);
            assert!(!quota.is_exceeded(200));
        }
    }

    #[test]
    fn the_use_of_another_window_does_not_count() {
        let mut quota = Quota::new(terms(5, QuotaDirection::Total), QuotaUse::default());
        quota.count(5, 0, 150);
        let before = quota.usage();
        assert!(Quota::new(terms(5, QuotaDirection::Total), before).is_exceeded(150));
        let next = QuotaTerms { expires: Some(300), ..terms(5, QuotaDirection::Total) };
        assert!(!Quota::new(next, before).is_exceeded(150));
        quota.reset();
        assert!(!quota.is_exceeded(150));
        let unlimited =
            Quota::new(QuotaTerms::default(), QuotaUse { used: 9, ..QuotaUse::default() });
        assert!(!unlimited.is_exceeded(150) && unlimited.usage().used == 9);
    }
}

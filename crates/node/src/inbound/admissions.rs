//! How many connections were admitted and refused.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use super::error::AdmissionError;
use crate::counters::{Happened, Tally};

/// Counts of what was admitted and of refused connections.
#[derive(Default)]
pub(crate) struct Admissions {
    admitted: AtomicU64,
    refused: Tally,
}

impl Admissions {
    pub(crate) fn count_admitted(&self) {
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self, why: &AdmissionError) {
        self.refused.count(why.as_str());
    }

    /// The number admitted.
    pub(crate) fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// The number of refused connections, by reason.
    pub(crate) fn refused(&self) -> BTreeMap<String, Happened> {
        self.refused.read()
    }
}

//! Hooks that have failed, as the status shows them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtun_settings::Hook;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::json;

/// Services and hooks whose failures are remembered; of more the one that failed first is forgotten.
const MAX_REMEMBERED: usize = 256;

/// A hook whose commands have failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookReport {
    /// The service.
    pub service: String,
    /// `preUp`, `postUp`, `preDown` or `postDown`.
    pub hook: String,
    /// How many commands of it have failed so far.
    pub failures: u64,
    /// How long ago the last one failed.
    #[serde(with = "json::seconds")]
    pub ago: Duration,
    /// Which one, and why.
    pub error: String,
}

/// All failures of hooks of a process.
#[derive(Default)]
pub(crate) struct HookFailures(Mutex<BTreeMap<(String, Hook), FailedHook>>);

struct FailedHook {
    failures: u64,
    last: Instant,
    error: String,
}

impl HookFailures {
    /// Counts a failure of `hook`; `error` says of which command, and why.
    pub(super) fn add(&self, service: &str, hook: Hook, error: String) {
        let mut failed = self.failed();
        let entry = failed.entry((service.to_owned(), hook)).or_insert_with(|| FailedHook {
            failures: 0,
            last: Instant::now(),
            error: String::new(),
        });
        *entry = FailedHook { failures: entry.failures + 1, last: Instant::now(), error };
        if failed.len() > MAX_REMEMBERED {
            let oldest = failed.iter().min_by_key(|(_, it)| it.last).map(|(key, _)| key.clone());
            oldest.map(|key| failed.remove(&key));
        }
    }

    /// All that are remembered.
    pub(crate) fn report(&self) -> Vec<HookReport> {
        let report = |((service, hook), failed): (&(String, Hook), &FailedHook)| HookReport {
            service: service.clone(),
            hook: hook.as_str().to_owned(),
            failures: failed.failures,
            ago: failed.last.elapsed(),
            error: failed.error.clone(),
        };
        self.failed().iter().map(report).collect()
    }

    /// The map of a poisoned lock is consistent: each change is one insertion or removal.
    fn failed(&self) -> MutexGuard<'_, BTreeMap<(String, Hook), FailedHook>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

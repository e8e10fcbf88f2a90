//! When packets were lost last, as far as samples show it.

use std::{collections::BTreeMap, time::SystemTime};

use super::sample::WatchSample;
use crate::json::unix_time;

/// When packets were lost last.
#[derive(Default)]
pub(super) struct DropLedger {
    /// By run of a service and reason: the count, and when it grew last.
    seen: BTreeMap<u64, BTreeMap<String, (u64, u64)>>,
}

impl DropLedger {
    /// Takes notice of what was lost until this sample.
    pub(super) fn enter(&mut self, sample: &WatchSample, now: SystemTime) {
        self.seen.retain(|id, _| sample.services.iter().any(|service| service.id == *id));
        for service in &sample.services {
            let seen = self.seen.entry(service.id).or_default();
            for (reason, count) in &service.drops {
                let last = seen.entry(reason.clone()).or_default();
                if last.0 != *count {
                    *last = (*count, unix_time(now) as u64);
                }
            }
        }
    }

    /// The reasons for which a service has lost packets: how many, and when the last, in seconds of Unix time.
    pub(super) fn of(&self, service: u64) -> impl Iterator<Item = (&String, &(u64, u64))> {
        self.seen.get(&service).into_iter().flatten()
    }
}

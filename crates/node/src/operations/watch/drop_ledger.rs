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

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;
    use crate::{hub::Passed, operations::watch::sample::SampledService};

    const SERVICES: u64 = 3;

    const REASONS: [&str; 3] = ["no_route", "not_connected", "queue_codel"];

    /// What a service has lost until a sample, of each reason; `None`: it does not run.
    type Lost = Option<[u64; REASONS.len()]>;

    /// A sample's time, and what each service had lost.
    type Moment = (u64, [Lost; SERVICES as usize]);

    /// Samples of services that come and go, and lose a few packets from one to the next.
    fn moments() -> impl Strategy<Value = Vec<Moment>> {
        let loses = prop::option::weighted(0.8, prop::array::uniform3(0..3_u64));
        let step = (0..20_u64, prop::array::uniform3(loses));
        prop::collection::vec(step, 1..30).prop_map(|steps| {
            let (mut now, mut lost) = (1_000, [Lost::None; SERVICES as usize]);
            let each = steps.into_iter().map(|(pause, loses)| {
                now += pause;
                for (lost, loses) in lost.iter_mut().zip(loses) {
                    let before = lost.unwrap_or_default();
                    *lost = loses.map(|loses| std::array::from_fn(|i| before[i] + loses[i]));
                }
                (now, lost)
            });
            each.collect()
        })
    }

    fn sample((_, lost): &Moment) -> WatchSample {
        let services = (0..SERVICES).zip(lost).filter_map(|(id, lost)| {
            let counts = REASONS.into_iter().zip((*lost)?).filter(|(_, count)| *count > 0);
            let drops = counts.map(|(reason, count)| (reason.to_owned(), count)).collect();
            let (name, passed) = (format!("service-{id}"), Passed::default());
            Some(SampledService { id, name, hub: None, passed, drops })
        });
        WatchSample { at: Instant::now(), services: services.collect() }
    }

    /// How many packets a service has lost for a reason, and when the count was first what it is, read from all samples since it runs.
    fn slow(moments: &[Moment], id: u64, reason: usize) -> Option<(u64, u64)> {
        let counts = moments
            .iter()
            .rev()
            .map_while(|(when, lost)| lost[id as usize].map(|counts| (counts[reason], *when)));
        let (count, _) = counts.clone().next()?;
        let since = counts.take_while(|(then, _)| *then == count).last();
        since.filter(|_| count > 0)
    }

    proptest! {
        #[test]
        fn the_last_loss_is_when_the_count_grew_last(moments in moments()) {
            let mut ledger = DropLedger::default();
            for (n, moment) in moments.iter().enumerate() {
                ledger.enter(&sample(moment), UNIX_EPOCH + Duration::from_secs(moment.0));
                for id in 0..SERVICES {
                    let found: Vec<_> = ledger.of(id).map(|(word, it)| (word.as_str(), *it)).collect();
                    let expected = REASONS.into_iter().enumerate().filter_map(|(i, word)| {
                        Some((word, slow(&moments[..=n], id, i)?))
                    });
                    prop_assert_eq!(found, expected.collect::<Vec<_>>());
                }
            }
        }
    }
}

//! Totals of a whole process, by labels that the configuration names. They never decrease.
//!
//! Namespaces that hosts create come and go, and so do hubs at a reload. What each has counted since the last sample is added
//! to totals here: one for each namespace that the configuration names, and one for all others.

use std::collections::{BTreeMap, BTreeSet};

use rtun_core::NamespaceId;

use crate::{counters::Traffic, report::HubReport};

/// Totals of all hubs that have run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    totals: Totals,
    /// The counts of each running hub at the last sample.
    seen: BTreeMap<HubId, HubCounts>,
}

/// Identifies a running hub, also among earlier ones of the same name.
pub(crate) type HubId = u64;

/// Packets and events.
#[derive(Debug, Default, Clone)]
pub(crate) struct Totals {
    /// By namespace; `None`: of those that the configuration does not name, and of those that are gone.
    pub(crate) traffic: BTreeMap<Option<NamespaceId>, Traffic>,
    /// Connections that asked to be admitted, by outcome.
    pub(crate) admissions: BTreeMap<String, u64>,
    /// Associations that have ended, by reason.
    pub(crate) ends: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct HubCounts {
    all: Traffic,
    labelled: BTreeMap<NamespaceId, Traffic>,
    admissions: BTreeMap<String, u64>,
    ends: BTreeMap<String, u64>,
}

/// Whether a namespace has a label of its own: the configuration names it, or it is the default namespace.
pub(crate) fn is_labelled(id: NamespaceId, configured: bool) -> bool {
    configured || id.is_default()
}

impl Ledger {
    /// Adds what these hubs, which are all that run, have counted since the last sample; returns the totals.
    pub(crate) fn sample<'a>(
        &mut self,
        hubs: impl IntoIterator<Item = (HubId, &'a HubReport)>,
    ) -> Totals {
        let mut before = std::mem::take(&mut self.seen);
        let mut present = BTreeSet::from([None]);
        for (id, hub) in hubs {
            let then = before.remove(&id);
            let now = self.totals.add(hub, then);
            present.extend(now.labelled.keys().copied().map(Some));
            self.seen.insert(id, now);
        }
        self.totals.traffic.retain(|label, _| present.contains(label));
        self.totals.clone()
    }
}

impl Totals {
    fn add(&mut self, hub: &HubReport, before: Option<HubCounts>) -> HubCounts {
        let new_hub = before.is_none();
        let before = before.unwrap_or_default();
        let mut now = HubCounts { all: hub.traffic(), ..HubCounts::default() };
        let mut passed_labelled = Traffic::default();
        for namespace in &hub.namespaces {
            if !is_labelled(namespace.id, namespace.configured) {
                continue;
            }
            let traffic = &namespace.traffic;
            let passed = match before.labelled.get(&namespace.id) {
                // It was removed and created again, so its counts began at zero.
                Some(then) if traffic.packets_in < then.packets_in => traffic.clone(),
                Some(then) => traffic.since(then),
                None if new_hub => traffic.clone(),
                // What it counted before the configuration named it is in the total of the others.
                None => Traffic::default(),
            };
            passed_labelled += &passed;
            *self.traffic.entry(Some(namespace.id)).or_default() += &passed;
            now.labelled.insert(namespace.id, traffic.clone());
        }
        let others = now.all.since(&before.all).since(&passed_labelled);
        *self.traffic.entry(None).or_default() += &others;

        now.admissions.insert("ok".into(), hub.admitted);
        now.admissions.extend(hub.refused.iter().map(|(word, it)| (word.clone(), it.count)));
        now.ends.extend(hub.ended.iter().map(|(word, it)| (word.clone(), it.count)));
        add_words(&mut self.admissions, &now.admissions, &before.admissions);
        add_words(&mut self.ends, &now.ends, &before.ends);
        now
    }
}

fn add_words(
    totals: &mut BTreeMap<String, u64>,
    now: &BTreeMap<String, u64>,
    before: &BTreeMap<String, u64>,
) {
    for (word, count) in now {
        let then = before.get(word).copied().unwrap_or(0);
        *totals.entry(word.clone()).or_default() += count.saturating_sub(then);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{counters::Counters, report::NamespaceReport};

    fn traffic(packets: u64) -> Traffic {
        let counters = Counters::default();
        counters.count_in(packets, 100 * packets);
        counters.read()
    }

    fn hub(gone: u64, namespaces: &[(u8, bool, u64)]) -> HubReport {
        let namespaces = namespaces.iter().map(|&(id, configured, packets)| NamespaceReport {
            id: NamespaceId::from_bytes([id; 16]),
            configured,
            routes: 0,
            shared: Vec::new(),
            hosts: Vec::new(),
            traffic: traffic(packets),
        });
        HubReport {
            listen: Vec::new(),
            namespaces: namespaces.collect(),
            gone: traffic(gone),
            waiting_for_plugins: 0,
            plugins: Vec::new(),
            behind: None,
            admitted: 0,
            refused: BTreeMap::new(),
            ended: BTreeMap::new(),
            unadmitted: 0,
            queue_memory: 0,
            queue_budget: 0,
        }
    }

    fn packets(totals: &Totals) -> Vec<(u8, u64)> {
        let label = |label: &Option<NamespaceId>| label.map_or(255, |id| id.as_bytes()[0]);
        totals.traffic.iter().map(|(id, traffic)| (label(id), traffic.packets_in)).collect()
    }

    #[test]
    fn only_namespaces_that_the_configuration_names_have_labels() {
        let mut ledger = Ledger::default();
        let totals = ledger.sample([(1, &hub(5, &[(0, false, 1), (1, true, 2), (2, false, 3)]))]);
        assert_eq!(packets(&totals), [(255, 8), (0, 1), (1, 2)]);
        let totals = ledger.sample([(1, &hub(8, &[(0, false, 1), (1, true, 4)]))]);
        assert_eq!(packets(&totals), [(255, 8), (0, 1), (1, 4)], "2 has gone");
        let totals = ledger.sample([(1, &hub(8, &[(0, true, 1), (1, false, 4)]))]);
        assert_eq!(packets(&totals), [(255, 8), (0, 1)], "1 is not named any more");
        let totals = ledger.sample([(2, &hub(0, &[(0, true, 10)]))]);
        assert_eq!(packets(&totals), [(255, 8), (0, 11)], "another hub goes on from there");
    }

    #[test]
    fn many_names_of_unauthenticated_peers_are_one_label() {
        let mut ledger = Ledger::default();
        let mut hub = hub(0, &[(1, true, 1)]);
        let named = hub.namespaces.clone();
        let unnamed = |n: u128| NamespaceReport {
            id: NamespaceId::from_bytes((n + 2).to_be_bytes()),
            configured: false,
            ..named[0].clone()
        };
        hub.namespaces.extend((0..100_000).map(unnamed));
        let totals = ledger.sample([(1, &hub)]);
        assert_eq!(packets(&totals), [(255, 100_000), (1, 1)]);
    }

    proptest! {
        /// Namespaces are named and not, come, count and go: no packet is counted twice or lost, and no total shrinks.
        #[test]
        fn totals_add_up_and_never_shrink(
            steps in prop::collection::vec(
                prop::collection::vec((any::<bool>(), any::<bool>(), 0u64..5), 4),
                1..20,
            ),
        ) {
            let mut ledger = Ledger::default();
            let (mut counts, mut gone, mut passed) = ([None::<u64>; 4], 0, 0);
            let mut before = BTreeMap::new();
            for step in steps {
                let mut namespaces = Vec::new();
                for (n, (exists, configured, more)) in step.into_iter().enumerate() {
                    match exists {
                        true => {
                            let count = counts[n].unwrap_or(0) + more;
                            passed += more;
                            counts[n] = Some(count);
                            namespaces.push((n as u8 + 1, configured, count));
                        }
                        false => gone += counts[n].take().unwrap_or(0),
                    }
                }
                let totals = ledger.sample([(7, &hub(gone, &namespaces))]);
                let now: BTreeMap<_, _> = packets(&totals).into_iter().collect();
                for (label, count) in &now {
                    prop_assert!(before.get(label).is_none_or(|then| then <= count), "{label}");
                }
                let shown: u64 = now.values().sum();
                prop_assert!(shown <= passed);
                before = now;
            }
        }
    }
}

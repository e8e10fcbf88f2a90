//! What hosts had sent to each other at earlier questions, so that there are rates.

use std::{collections::HashMap, time::Duration};

use rtun_core::{HostName, NamespaceId};
use tokio::time::Instant;

use crate::hub::Amounts;

/// Counts of pairs that nobody has asked about for this long are forgotten.
const FORGET: Duration = Duration::from_secs(60);

/// Rates are between questions that are at least this far apart.
const APART: Duration = Duration::from_millis(900);

/// The counts at earlier questions, so that there are rates.
#[derive(Default)]
pub(super) struct PairLedger {
    /// The last two, the older one first.
    seen: [Option<SeenPairs>; 2],
}

/// Counts at one moment.
pub(super) struct SeenPairs {
    pub(super) at: Instant,
    /// Whose pairs they are; `None`: those of all namespaces.
    pub(super) of: Option<NamespaceId>,
    pub(super) amounts: HashMap<PairKey, Amounts>,
}

/// The run of a service, the namespace, who sends and who gets it.
pub(super) type PairKey = (u64, NamespaceId, HostName, Option<HostName>);

impl PairLedger {
    pub(super) fn forget_old(&mut self) {
        for seen in &mut self.seen {
            if seen.as_ref().is_some_and(|seen| seen.at.elapsed() > FORGET) {
                *seen = None;
            }
        }
    }

    /// The counts that those of now are compared with.
    pub(super) fn before(&self, now: Instant, of: Option<NamespaceId>) -> Option<&SeenPairs> {
        let seen = self.seen.iter().rev().flatten();
        let mut usable = seen.filter(|seen| seen.of.is_none() || seen.of == of);
        usable.find(|seen| now - seen.at >= APART)
    }

    pub(super) fn keep(&mut self, seen: SeenPairs) {
        if self.seen[1].as_ref().is_none_or(|last| seen.at - last.at >= APART) {
            self.seen.rotate_left(1);
            self.seen[1] = Some(seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against all counts that were ever offered, looked through one by one.
        #[test]
        fn counts_are_compared_with_the_newest_that_are_old_enough(
            questions in prop::collection::vec((0..2_000_u64, prop::option::of(0..2_u8)), 1..60),
        ) {
            let namespace = |number: u8| NamespaceId::from_bytes([number + 1; 16]);
            let (mut ledger, mut kept) = (PairLedger::default(), Vec::<(Instant, Option<u8>)>::new());
            let mut now = Instant::now();
            for (pause, of) in questions {
                now += Duration::from_millis(pause);
                let found = ledger.before(now, of.map(namespace));
                let usable = |(at, whose): &&(Instant, Option<u8>)| {
                    now - *at >= APART && (whose.is_none() || *whose == of)
                };
                let expected = kept.iter().rev().take(2).find(usable);
                prop_assert_eq!(found.map(|it| it.at), expected.map(|it| it.0));
                if kept.last().is_none_or(|(last, _)| now - *last >= APART) {
                    kept.push((now, of));
                }
                ledger.keep(SeenPairs { at: now, of: of.map(namespace), amounts: HashMap::new() });
            }
        }
    }
}

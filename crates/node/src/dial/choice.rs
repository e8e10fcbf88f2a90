//! The choice among the nodes of a hop, and among the chains of a host.

use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtun_core::{NodeRank, Selection, Selector, Strategy};
use rtun_settings::NodePreference;
use tokio::time::Instant;

/// Chooses the node to try next, by the outcomes of earlier attempts.
pub(crate) struct Choice {
    selector: Mutex<Selector>,
    /// For [`Strategy::Hash`]: the hash of the host's name.
    hash: Option<u32>,
    begin: Instant,
}

impl Choice {
    /// A choice among nodes of these weights, at least one, for the host of this name.
    pub(crate) fn new<'a>(
        selection: Selection,
        nodes: impl Iterator<Item = &'a NodePreference>,
        host: &str,
    ) -> Self {
        let rank = |it: &NodePreference| NodeRank {
            weight: it.weight,
            backup: it.backup,
            max_fails: it.max_fails,
            fail_timeout: it.fail_timeout,
        };
        Self {
            selector: Mutex::new(Selector::new(selection, nodes.map(rank))),
            hash: (selection.strategy == Strategy::Hash).then(|| hash(host)),
            begin: Instant::now(),
        }
    }

    /// The node to try now.
    pub(crate) fn choose(&self) -> usize {
        self.selector().choose(self.now(), self.random())
    }

    /// The nodes to try now, at the same time; at least one.
    fn choose_all(&self) -> Vec<usize> {
        self.selector().choose_all(self.now(), self.random())
    }

    /// Whether another node may be tried without waiting.
    fn has_fresh(&self) -> bool {
        self.selector().has_fresh(self.now())
    }

    fn is_skipped(&self, node: usize) -> bool {
        self.selector().is_skipped(node, self.now())
    }

    /// All nodes have been tried.
    fn begin_round(&self) {
        self.selector().begin_round();
    }

    pub(crate) fn succeeded(&self, node: usize) {
        self.selector().succeeded(node);
    }

    pub(crate) fn failed(&self, node: usize) {
        let now = self.now();
        self.selector().failed(node, now);
    }

    /// Connecting to the node took this long.
    pub(crate) fn measured(&self, node: usize, latency: Duration) {
        self.selector().measured(node, latency);
    }

    /// A probe has succeeded.
    fn recovered(&self, node: usize) {
        self.selector().recovered(node);
    }

    fn random(&self) -> u32 {
        self.hash.unwrap_or_else(|| fastrand::u32(..))
    }

    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The selector of a poisoned lock is consistent: nothing in it panics in the middle of a change.
    fn selector(&self) -> MutexGuard<'_, Selector> {
        self.selector.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chooses a chain, then among its hubs. Hubs are numbered over all chains.
pub(crate) struct HubChoice {
    chains: Choice,
    /// Of each chain: the numbers of its hubs, and the choice among them.
    hubs: Vec<(Range<usize>, Choice)>,
}

impl HubChoice {
    /// `hubs` are the choices of each chain, with how many hubs it has.
    pub(super) fn new(chains: Choice, hubs: Vec<(usize, Choice)>) -> Self {
        let mut begin = 0;
        let ranges = hubs.into_iter().map(|(count, choice)| {
            let range = begin..begin + count;
            begin = range.end;
            (range, choice)
        });
        Self { chains, hubs: ranges.collect() }
    }

    /// The hubs to try now, at the same time; at least one.
    pub(super) fn choose_all(&self) -> Vec<usize> {
        let (range, choice) = &self.hubs[self.chains.choose()];
        choice.choose_all().into_iter().map(|node| range.start + node).collect()
    }

    /// Whether another hub may be tried without waiting.
    pub(crate) fn has_fresh(&self) -> bool {
        let mut chains = self.hubs.iter().enumerate();
        chains.any(|(chain, (_, choice))| !self.chains.is_skipped(chain) && choice.has_fresh())
    }

    /// All hubs have been tried.
    pub(crate) fn begin_round(&self) {
        self.chains.begin_round();
        self.hubs.iter().for_each(|(_, choice)| choice.begin_round());
    }

    pub(crate) fn succeeded(&self, hub: usize) {
        let (chain, node) = self.place(hub);
        self.chains.succeeded(chain);
        for (other, (_, choice)) in self.hubs.iter().enumerate() {
            match other == chain {
                true => choice.succeeded(node),
                false => choice.begin_round(),
            }
        }
    }

    pub(crate) fn failed(&self, hub: usize) {
        let (chain, node) = self.place(hub);
        self.hubs[chain].1.failed(node);
        self.chains.failed(chain);
    }

    /// Connecting to the hub took this long.
    pub(super) fn measured(&self, hub: usize, latency: Duration) {
        let (chain, node) = self.place(hub);
        self.hubs[chain].1.measured(node, latency);
    }

    /// A probe of the hub has succeeded after this long, or failed.
    pub(super) fn probed(&self, hub: usize, latency: Option<Duration>) {
        let (chain, node) = self.place(hub);
        let choice = &self.hubs[chain].1;
        match latency {
            Some(latency) => {
                choice.measured(node, latency);
                choice.recovered(node);
                self.chains.recovered(chain);
            }
            None => choice.failed(node),
        }
    }

    /// The chain of a hub, and its number there.
    fn place(&self, hub: usize) -> (usize, usize) {
        let chain = self.hubs.iter().position(|(range, _)| range.contains(&hub));
        // Every hub is in a chain.
        let chain = chain.unwrap_or_default();
        (chain, hub - self.hubs[chain].0.start)
    }
}

/// FNV-1a, 32 bits.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two chains of two hubs each.
    fn two_chains(selection: Selection) -> HubChoice {
        let nodes = [NodePreference::default(), NodePreference::default()];
        let choice = |selection| Choice::new(selection, nodes.iter(), "host");
        let fifo = Selection { strategy: Strategy::Fifo, ..Selection::default() };
        HubChoice::new(choice(selection), vec![(2, choice(fifo)), (2, choice(fifo))])
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_whose_hub_fails_is_left_for_the_other() {
        let fifo = Selection { strategy: Strategy::Fifo, ..Selection::default() };
        let choice = two_chains(fifo);
        assert_eq!(choice.choose_all(), [0]);
        choice.failed(0);
        assert!(choice.has_fresh());
        assert_eq!(choice.choose_all(), [2]);
        choice.failed(2);
        assert!(!choice.has_fresh(), "both are skipped for now");
        choice.begin_round();
        assert_eq!(choice.choose_all(), [1], "the one that failed first, and its other hub");
        choice.succeeded(1);
        assert_eq!(choice.choose_all(), [1]);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(choice.choose_all(), [0], "it is no longer skipped");
    }

    #[tokio::test(start_paused = true)]
    async fn chains_take_turns() {
        let choice = two_chains(Selection::default());
        let chosen: Vec<_> = (0..3).flat_map(|_| choice.choose_all()).collect();
        assert_eq!(chosen, [0, 2, 0]);
        choice.probed(0, None);
        choice.probed(1, Some(Duration::from_millis(3)));
        assert_eq!(choice.choose_all(), [2]);
        assert_eq!(choice.choose_all(), [1]);
    }
}

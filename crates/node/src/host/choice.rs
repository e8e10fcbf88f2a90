//! The choice among the nodes of a hop.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtun_core::{NodeRank, Selection, Selector, Strategy};
use tokio::time::Instant;

/// Chooses the node to try next, by the outcomes of earlier attempts.
pub(super) struct Choice {
    selector: Mutex<Selector>,
    /// For [`Strategy::Hash`]: the hash of the host's name.
    hash: Option<u32>,
    begin: Instant,
}

impl Choice {
    /// A choice among nodes of these weights, at least one, for the host of this name.
    pub(super) fn new<'a>(
        selection: Selection,
        nodes: impl Iterator<Item = &'a rtun_settings::NodePreference>,
        host: &str,
    ) -> Self {
        let weight =
            |it: &rtun_settings::NodePreference| NodeRank { weight: it.weight, backup: it.backup };
        Self {
            selector: Mutex::new(Selector::new(selection, nodes.map(weight))),
            hash: (selection.strategy == Strategy::Hash).then(|| hash(host)),
            begin: Instant::now(),
        }
    }

    /// The node to try now.
    pub(super) fn choose(&self) -> usize {
        let random = self.hash.unwrap_or_else(|| fastrand::u32(..));
        self.selector().choose(self.now(), random)
    }

    /// Whether another node may be tried without waiting.
    pub(super) fn has_fresh(&self) -> bool {
        self.selector().has_fresh(self.now())
    }

    /// All nodes have been tried.
    pub(super) fn begin_round(&self) {
        self.selector().begin_round();
    }

    pub(super) fn succeeded(&self, node: usize) {
        self.selector().succeeded(node);
    }

    pub(super) fn failed(&self, node: usize) {
        let now = self.now();
        self.selector().failed(node, now);
    }

    /// A probe has succeeded.
    pub(super) fn recovered(&self, node: usize) {
        self.selector().recovered(node);
    }

    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The selector of a poisoned lock is consistent: nothing in it panics in the middle of a change.
    fn selector(&self) -> MutexGuard<'_, Selector> {
        self.selector.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// FNV-1a, 32 bits.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

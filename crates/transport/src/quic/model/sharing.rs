//! Whether others keep the path's queue full, and the window next to them.
//!
//! A flow that reacts to loss alone grows until the queue is full, and takes the path from flows that keep the queue short. Two
//! things show that there is one: the queue does not drain though we send less, or packets are lost while the queue is long. From then on the
//! window is CUBIC's, as theirs most likely is, until our sending less has drained the queue twice.

use std::time::{Duration, Instant};

use super::cubic::Cubic;

/// Attempts in vain to drain the queue that tell of others; and at the beginning, when the queue is what our own start has left.
const UNDRAINED: u32 = 2;
const UNDRAINED_AT_START: u32 = 4;
/// Attempts that drained it, and tell that the others are gone.
const DRAINED: u32 = 2;
/// Packets over which the share lost by chance is averaged.
const CHANCE_PACKETS: f64 = 2000.0;
/// Losses beyond those by chance, in standard deviations, that are not by chance.
const DEVIATIONS: f64 = 3.0;

/// One path's.
#[derive(Debug, Clone)]
pub(super) struct CompetingFlows {
    /// The share that is lost while nothing waits.
    chance: f64,
    /// What counts next to others.
    window: Option<Cubic>,
    /// Attempts to drain the queue, in vain and not, since the last one that went the other way.
    undrained: u32,
    drained: u32,
    /// Whether the losses and the queue of the beginning are over.
    is_settled: bool,
    /// Whether the window was cut for what the last round lost.
    is_cut: bool,
}

/// One round.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoundCounts {
    /// Packets that arrived or were lost, and those lost.
    pub(super) packets: f64,
    pub(super) lost: f64,
    /// The mean round trip.
    pub(super) round_trip: Duration,
    /// Whether packets waited in the path's queue.
    pub(super) waited: bool,
    /// Whether there was nothing more to send.
    pub(super) is_limited: bool,
    /// Packets that were on their way, by the model of a path of one's own; and those that would keep the rate of the last
    /// rounds in a queue as long as it is now.
    pub(super) on_way: f64,
    pub(super) holding: f64,
}

impl CompetingFlows {
    pub(super) const fn new() -> Self {
        Self {
            chance: 0.0,
            window: None,
            undrained: 0,
            drained: 0,
            is_settled: false,
            is_cut: false,
        }
    }

    /// Packets that may be on their way next to others; `None`: there are none.
    pub(super) fn window(&self) -> Option<f64> {
        self.window.map(|window| window.window())
    }

    /// Whether one more attempt that drains the queue shows that the others are gone.
    pub(super) fn is_nearly_alone(&self) -> bool {
        self.drained > 0
    }

    /// A round is over.
    pub(super) fn end_round(&mut self, now: Instant, seen: &RoundCounts) {
        if !seen.waited {
            let weight = (seen.packets / CHANCE_PACKETS).min(1.0);
            self.chance += (seen.lost / seen.packets - self.chance) * weight;
        }
        let due = self.chance * seen.packets;
        let is_loss = seen.waited && seen.lost > due + DEVIATIONS * due.sqrt();
        // What the round after a cut loses was sent before the cut.
        let was_cut = std::mem::replace(&mut self.is_cut, false);
        let is_loss = is_loss && self.is_settled && !was_cut;
        match &mut self.window {
            Some(window) if is_loss => window.lost(now),
            Some(window) if !seen.is_limited => window.grow(now, seen.round_trip),
            Some(_) => {}
            None if is_loss => self.window = Some(Cubic::cut(now, seen.on_way)),
            None if self.is_settled && self.undrained >= UNDRAINED => {
                self.window = Some(Cubic::joining(now, seen.holding));
            }
            None => return,
        }
        self.is_cut = is_loss;
        if is_loss {
            self.drained = 0;
        }
    }

    /// It was sent less, and the queue drained or did not. `full`: packets that fill the path. Whether to try again at once.
    pub(super) fn sent_less(&mut self, drained: bool, full: f64) -> bool {
        match drained {
            true => (self.drained, self.undrained) = (self.drained + 1, 0),
            false => (self.drained, self.undrained) = (0, self.undrained + 1),
        }
        let patience = if self.is_settled { UNDRAINED } else { UNDRAINED_AT_START };
        if self.window.is_none() && (1..patience).contains(&self.undrained) {
            return true;
        }
        self.is_settled = true;
        if self.drained >= DRAINED && self.window().is_some_and(|window| window > full) {
            self.window = None;
        }
        false
    }
}

#[cfg(test)]
mod tests;

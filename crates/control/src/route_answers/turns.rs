//! A bounded number of turns at once; askers that wait are served in rounds, one turn each.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::shares::{Asker, Shares};

/// Hands out a bounded number of turns at once; each asker and namespace has its [share](Shares). An asker waits for its own
/// earlier questions, and for at most one turn of each other asker. The caller bounds how many wait.
pub(super) struct FairTurns(Mutex<TurnState>);

struct TurnState {
    taken: Shares,
    /// Askers that wait for a turn, each once; the first was served longest ago.
    round: VecDeque<Asker>,
    /// What each of them waits with, never empty.
    waiting: HashMap<Asker, VecDeque<oneshot::Sender<FairTurn>>>,
}

/// A turn; it ends when this is dropped.
pub(super) struct FairTurn {
    /// `None` once it is given back.
    turns: Option<Arc<FairTurns>>,
    asker: Asker,
}

impl FairTurns {
    pub(super) fn new(at_once: usize) -> Arc<Self> {
        let (round, waiting) = Default::default();
        Arc::new(Self(Mutex::new(TurnState { taken: Shares::new(at_once), round, waiting })))
    }

    /// Waits for a turn.
    pub(super) async fn take(self: &Arc<Self>, asker: Asker) -> FairTurn {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.state();
            let waiting = state.waiting.entry(asker.clone()).or_default();
            waiting.push_back(sender);
            if waiting.len() == 1 {
                state.round.push_back(asker.clone());
            }
        }
        self.serve();
        receiver.await.expect("the waiting task keeps the turns, and these keep the sender")
    }

    /// Gives out the turns that are free.
    fn serve(self: &Arc<Self>) {
        loop {
            let Some((asker, waiter)) = self.state().next() else { return };
            let turn = FairTurn { turns: Some(Arc::clone(self)), asker };
            if let Err(mut unwanted) = waiter.send(turn) {
                // This loop serves the next one; dropping the turn must not do so again.
                unwanted.turns = None;
                self.state().taken.give_back(&unwanted.asker, 1);
            }
        }
    }

    /// A poisoned lock still guards whole values: no critical section leaves the maps half changed.
    fn state(&self) -> MutexGuard<'_, TurnState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TurnState {
    /// The next one in the round that may have a turn, with the turn taken.
    fn next(&mut self) -> Option<(Asker, oneshot::Sender<FairTurn>)> {
        let position = self.round.iter().position(|asker| self.taken.may_take(asker, 1))?;
        let asker = self.round.remove(position)?;
        let waiting = self.waiting.get_mut(&asker)?;
        let waiter = waiting.pop_front()?;
        if waiting.is_empty() {
            self.waiting.remove(&asker);
        } else {
            self.round.push_back(asker.clone());
        }
        self.taken.take(&asker, 1);
        Some((asker, waiter))
    }
}

impl Drop for FairTurn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.state().taken.give_back(&self.asker, 1);
            turns.serve();
        }
    }
}

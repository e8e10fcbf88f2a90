//! Turns for a few at once: who waits takes part in a round, in which each asker has one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::shares::{Asker, Shares};

/// Hands out turns, so many at once, each asker and namespace its [share](Shares) of them. Whoever waits long waits for
/// what it has asked itself, or for one turn of each of the others. Those who wait are bounded by whoever lets them ask.
pub(crate) struct Turns(Mutex<State>);

struct State {
    taken: Shares,
    /// Those who wait for a turn, each once; the one in front was served longest ago.
    round: VecDeque<Asker>,
    /// What each of them waits with, never empty.
    waiting: HashMap<Asker, VecDeque<oneshot::Sender<Turn>>>,
}

/// A turn; it ends when this is dropped.
pub(crate) struct Turn {
    /// `None` once it is given back.
    turns: Option<Arc<Turns>>,
    asker: Asker,
}

impl Turns {
    pub(crate) fn new(at_once: usize) -> Arc<Self> {
        let (round, waiting) = Default::default();
        Arc::new(Self(Mutex::new(State { taken: Shares::new(at_once), round, waiting })))
    }

    /// Waits for a turn.
    pub(crate) async fn take(self: &Arc<Self>, asker: Asker) -> Turn {
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
        receiver.await.expect("whoever waits keeps the turns, and these keep the sender")
    }

    /// Gives turns to those who wait as far as there are any for them.
    fn serve(self: &Arc<Self>) {
        loop {
            let Some((asker, waiter)) = self.state().next() else { return };
            let turn = Turn { turns: Some(Arc::clone(self)), asker };
            if let Err(mut unwanted) = waiter.send(turn) {
                // Served to the next here, and not from its end.
                unwanted.turns = None;
                self.state().taken.give_back(&unwanted.asker, 1);
            }
        }
    }

    /// A poisoned lock still guards whole values: no critical section leaves the maps half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next one in the round who may have a turn, with the turn taken.
    fn next(&mut self) -> Option<(Asker, oneshot::Sender<Turn>)> {
        let place = self.round.iter().position(|asker| self.taken.may_take(asker, 1))?;
        let asker = self.round.remove(place)?;
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

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.state().taken.give_back(&self.asker, 1);
            turns.serve();
        }
    }
}

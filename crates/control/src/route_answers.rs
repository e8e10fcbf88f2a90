//! Answers of a route plugin: cached, asked for once, with packets that wait in between.

mod pending;
mod shares;
#[cfg(test)]
mod tests;
mod turns;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtun_core::{HostName, NamespaceId, PluginRoute};
use tokio::{runtime::Handle, time::Instant};
use tracing::debug;

use self::{
    pending::{PendingQuestions, RouteKey},
    shares::Asker,
    turns::FairTurns,
};
use crate::plugin::{
    RoutePlugin,
    cache::Cache,
    caller::{CallLimits, PluginCaller},
    status::{PluginKind, PluginStatus},
};

/// Bounds of [`RouteAnswers`].
#[derive(Debug, Clone)]
pub struct AnswerLimits {
    /// A gateway is asked for again after this. The old answer serves until there is a new one, also while the
    /// plugin is down.
    pub positive: Duration,
    /// "No route" is cached this long.
    pub negative: Duration,
    /// Answers kept; past it the oldest eighth is removed.
    pub answers: usize,
    /// Questions waiting or under way, counted for each host that waits for one; past it, or past the host's or its
    /// namespace's share of it, a packet is dropped.
    pub questions: usize,
    /// Questions under way at once, shared in the same way; the others wait, and hosts take turns.
    pub at_once: usize,
    /// Packets of one host waiting for one answer; past it a packet is dropped.
    pub waiting: usize,
    /// Bytes of packets waiting for all answers together, shared in the same way; past it a packet is dropped.
    pub waiting_bytes: usize,
    /// How long a packet waits.
    pub patience: Duration,
    /// For one question, from its turn on.
    pub deadline: Duration,
    /// After this many failures in a row nothing is asked for [`AnswerLimits::pause`].
    pub failures: u32,
    /// See [`AnswerLimits::failures`].
    pub pause: Duration,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self {
            positive: Duration::from_secs(10),
            negative: Duration::from_secs(1),
            answers: 65_536,
            questions: 1024,
            at_once: 32,
            waiting: 64,
            waiting_bytes: 16 << 20,
            patience: Duration::from_millis(500),
            deadline: Duration::from_secs(2),
            failures: 5,
            pause: Duration::from_secs(5),
        }
    }
}

/// Why waiting packets are handed back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// The answer is known now: decide again.
    Answered,
    /// There will be none in time.
    TimedOut,
}

/// Why a packet cannot wait for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoWaiting {
    /// Too many packets or questions wait already.
    Full,
    /// The plugin failed repeatedly; no question is sent for a while.
    Paused,
}

/// A plugin's answers per namespace and address. No method here waits for the plugin.
///
/// Each host of a namespace has a share of the questions, turns and bytes, and so has each namespace. A host may have half
/// of what is left, a namespace all of it. One that has nothing gets something as long as there is any. So a host that asks
/// for very many addresses does not slow down others.
///
/// `T` is a waiting packet, with what its owner needs to go on with it.
pub struct RouteAnswers<T> {
    plugin: Arc<dyn RoutePlugin>,
    caller: PluginCaller,
    limits: AnswerLimits,
    turns: Arc<FairTurns>,
    runtime: Handle,
    state: Mutex<AnswerState<T>>,
    release: Box<dyn Fn(Vec<T>, Released) + Send + Sync>,
}

/// An answer; `None`: the plugin knows no route.
type RouteAnswer = Option<HostName>;

struct AnswerState<T> {
    cache: Cache<RouteKey, RouteAnswer>,
    pending: PendingQuestions<T>,
}

impl<T: Send + 'static> RouteAnswers<T> {
    /// Nothing is known yet. `release` is called, outside of any lock, with packets that waited; `name` is the router's,
    /// for log lines. Questions are asked on the runtime that this is called on, wherever packets come from.
    pub fn new(
        name: String,
        plugin: Arc<dyn RoutePlugin>,
        limits: AnswerLimits,
        release: impl Fn(Vec<T>, Released) + Send + Sync + 'static,
    ) -> Self {
        let AnswerLimits { questions, waiting, waiting_bytes, deadline, failures, pause, .. } =
            limits;
        let call_limits = CallLimits { deadline, failures, pause, refusals_count: true };
        let address = plugin.address().to_owned();
        Self {
            plugin,
            caller: PluginCaller::new(PluginKind::Router, name, address, call_limits),
            turns: FairTurns::new(limits.at_once),
            runtime: Handle::current(),
            state: Mutex::new(AnswerState {
                cache: Cache::new(limits.answers),
                pending: PendingQuestions::new(questions, waiting, waiting_bytes),
            }),
            limits,
            release: Box::new(release),
        }
    }

    /// The cached answer for `addr` in `namespace`. An old answer is asked for again in the background.
    pub fn known(self: &Arc<Self>, namespace: NamespaceId, addr: IpAddr) -> PluginRoute {
        let key = (namespace, addr);
        let mut state = self.state();
        let Some((gateway, since)) = state.cache.get(&key) else { return PluginRoute::Unasked };
        let age = Instant::now().duration_since(*since);
        match gateway {
            Some(gateway) => {
                let known = PluginRoute::Gateway(gateway.clone());
                let is_old = age > self.limits.positive;
                if is_old && !state.pending.contains(&key) && !self.caller.is_paused() {
                    let asker = Asker { namespace, host: None };
                    if let Some(serial) = state.pending.join(key, asker.clone()) {
                        self.spawn(key, serial, asker);
                    }
                }
                known
            }
            None if age <= self.limits.negative => PluginRoute::Nothing,
            None => PluginRoute::Unasked,
        }
    }

    /// Asks, unless that is under way, and lets `packet` of the host `from`, of `bytes`, wait for the answer.
    pub fn wait(
        self: &Arc<Self>,
        namespace: NamespaceId,
        from: &HostName,
        addr: IpAddr,
        bytes: usize,
        packet: impl FnOnce() -> T,
    ) -> Result<(), NoWaiting> {
        let key = (namespace, addr);
        let asker = Asker { namespace, host: Some(from.clone()) };
        let mut state = self.state();
        if !state.pending.contains(&key) && self.caller.is_paused() {
            return Err(NoWaiting::Paused);
        }
        let joined = state.pending.push(key, &asker, bytes, packet);
        if let Some(serial) = joined.map_err(|_| NoWaiting::Full)? {
            self.spawn(key, serial, asker);
        }
        Ok(())
    }

    /// How much waits for an answer, where each packet counts by its `weight`.
    pub fn waiting(&self, weight: impl Fn(&T) -> usize) -> usize {
        self.state().pending.packets().map(weight).sum()
    }

    /// The state of the plugin.
    pub fn status(&self) -> PluginStatus {
        let waiting = self.waiting(|_| 1);
        let cached = self.state().cache.len();
        self.caller.status(waiting, cached)
    }

    fn spawn(self: &Arc<Self>, key: RouteKey, serial: u64, asker: Asker) {
        let slot = AskerSlot { answers: Arc::clone(self), asker, key, serial };
        self.runtime.spawn(slot.ask());
    }

    /// Asks the plugin; `None`: no answer.
    async fn question(&self, key: RouteKey) -> Option<RouteAnswer> {
        let answer = async { self.plugin.route(key.0, key.1).await };
        let gateway = self.caller.call(Some(key.1), answer).await.ok()?;
        debug!(router = self.caller.name(), destination = %key.1, namespace = %key.0, ?gateway, "plugin answered");
        Some(gateway)
    }

    fn settle(&self, key: RouteKey, answer: Option<RouteAnswer>) {
        let mut state = self.state();
        let packets = state.pending.end(&key);
        let why = match answer {
            Some(gateway) => {
                state.cache.insert(key, gateway, Instant::now());
                Released::Answered
            }
            None => Released::TimedOut,
        };
        drop(state);
        self.hand_back(packets, why);
    }

    fn hand_back(&self, packets: Vec<T>, why: Released) {
        if !packets.is_empty() {
            (self.release)(packets, why);
        }
    }

    /// A poisoned lock still guards whole values: no critical section leaves the maps half changed.
    fn state(&self) -> MutexGuard<'_, AnswerState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot of an asker that waits for an answer, given back however its task ends.
struct AskerSlot<T: Send + 'static> {
    answers: Arc<RouteAnswers<T>>,
    asker: Asker,
    key: RouteKey,
    /// Of the question.
    serial: u64,
}

impl<T: Send + 'static> AskerSlot<T> {
    /// Asks as soon as the asker has a turn, unless another asker was first. Its packets wait for at most
    /// [`AnswerLimits::patience`].
    async fn ask(self) {
        let Self { answers, asker, key, .. } = &self;
        let patience = tokio::time::sleep(answers.limits.patience);
        let question = async {
            let _turn = answers.turns.take(asker.clone()).await;
            let asking = self.begin();
            let is_first = asking.is_some();
            if let Some(asking) = asking {
                asking.settle(answers.question(*key).await);
            }
            is_first
        };
        tokio::pin!(question, patience);
        tokio::select! {
            is_settled = &mut question => if !is_settled {
                patience.await;
            },
            () = &mut patience => {
                self.lose_patience();
                question.await;
            }
        }
    }

    /// What settles the question, if it is to be asked now: it still waits, and no asker has begun.
    fn begin(&self) -> Option<QuestionGuard<T>> {
        let Self { answers, key, serial, .. } = self;
        let begun = answers.state().pending.begin(key, *serial);
        begun.then(|| QuestionGuard { answers: Arc::clone(answers), key: Some(*key) })
    }

    fn lose_patience(&self) {
        let Self { answers, asker, key, serial } = self;
        let impatient = answers.state().pending.release(key, *serial, asker);
        answers.hand_back(impatient, Released::TimedOut);
    }
}

impl<T: Send + 'static> Drop for AskerSlot<T> {
    fn drop(&mut self) {
        self.lose_patience();
        let Self { answers, asker, key, serial } = self;
        answers.state().pending.leave(key, *serial, asker);
    }
}

/// A question that is under way, settled however its task ends: no packet waits for a question without an asker.
struct QuestionGuard<T: Send + 'static> {
    answers: Arc<RouteAnswers<T>>,
    /// `None` when it is settled.
    key: Option<RouteKey>,
}

impl<T: Send + 'static> QuestionGuard<T> {
    fn settle(mut self, answer: Option<RouteAnswer>) {
        if let Some(key) = self.key.take() {
            self.answers.settle(key, answer);
        }
    }
}

impl<T: Send + 'static> Drop for QuestionGuard<T> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.answers.settle(key, None);
        }
    }
}

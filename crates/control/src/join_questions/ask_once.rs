//! Questions to one plugin: equal questions at the same time become one call.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    time::Instant,
};

use crate::plugin::{
    Answering, PluginError,
    cache::Cache,
    caller::{CallError, CallLimits, PluginCaller},
    status::{PluginKind, PluginStatus},
};

/// Bounds of [`super::IngressQuestions`], [`super::AuthQuestions`] and [`super::AdmissionQuestions`].
#[derive(Debug, Clone)]
pub struct QuestionLimits {
    /// An answer that lets a host in is cached for exactly this long, also while the plugin is down. Never used for
    /// users: each password is asked for.
    pub positive: Duration,
    /// An answer that keeps a host out is cached for this long. Never used for users.
    pub negative: Duration,
    /// Answers kept; past it the oldest eighth is removed.
    pub answers: usize,
    /// Callers waiting, together; past it [`AskError::Full`].
    pub waiting: usize,
    /// Questions under way at once; the others wait for their turn.
    pub at_once: usize,
    /// For one question, from its turn on.
    pub deadline: Duration,
    /// After this many failures in a row nothing is asked for [`QuestionLimits::pause`]. A refusal by status is not a
    /// failure ([`PluginError::is_outage`]).
    pub failures: u32,
    /// See [`QuestionLimits::failures`].
    pub pause: Duration,
}

impl Default for QuestionLimits {
    fn default() -> Self {
        Self {
            positive: Duration::from_secs(10),
            negative: Duration::from_secs(1),
            answers: 65_536,
            waiting: 1024,
            at_once: 32,
            deadline: Duration::from_secs(2),
            failures: 5,
            pause: Duration::from_secs(5),
        }
    }
}

/// Why there is no answer. Each of them keeps the host out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Too many wait for the plugin already.
    #[error("too many questions wait for the plugin")]
    Full,
    /// The plugin failed repeatedly; no question is sent for a while.
    #[error("the plugin failed repeatedly and is not asked for a while")]
    Paused,
    /// The plugin was asked and did not answer.
    #[error("the plugin {0}")]
    Failed(#[from] PluginError),
    /// The runtime that questions are asked on has ended.
    #[error("the plugin is no longer asked")]
    Ended,
}

impl From<CallError> for AskError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Paused => Self::Paused,
            CallError::Failed(error) => Self::Failed(error),
        }
    }
}

/// Which plugin it is.
pub(super) struct PluginLabel {
    pub(super) kind: PluginKind,
    /// Of the ingress, auther or admission.
    pub(super) name: String,
    /// Without secrets.
    pub(super) address: String,
}

/// Questions to one plugin. Each caller waits for its answer; equal questions share one call, and answers are cached.
pub(super) struct AskOnce<K, A> {
    caller: PluginCaller,
    limits: QuestionLimits,
    lets_in: fn(&A) -> bool,
    turns: Semaphore,
    runtime: Handle,
    state: Mutex<AskState<K, A>>,
}

struct AskState<K, A> {
    cache: Cache<K, A>,
    callers: HashMap<K, Vec<oneshot::Sender<Result<A, AskError>>>>,
    /// Of all questions together.
    waiting: usize,
}

impl<K, A> AskOnce<K, A>
where
    K: Clone + Eq + Hash + Send + 'static,
    A: Clone + Send + 'static,
{
    /// `lets_in` says whether an answer lets a host in: it decides how long the answer is cached.
    pub(super) fn new(
        label: PluginLabel,
        limits: QuestionLimits,
        lets_in: fn(&A) -> bool,
    ) -> Arc<Self> {
        let PluginLabel { kind, name, address } = label;
        let QuestionLimits { deadline, failures, pause, .. } = limits;
        let call_limits = CallLimits { deadline, failures, pause, refusals_count: false };
        Arc::new(Self {
            caller: PluginCaller::new(kind, name, address, call_limits),
            lets_in,
            turns: Semaphore::new(limits.at_once),
            runtime: Handle::current(),
            state: Mutex::new(AskState {
                cache: Cache::new(limits.answers),
                callers: HashMap::new(),
                waiting: 0,
            }),
            limits,
        })
    }

    /// The cached answer, or else the answer to `question`, which is not polled where an equal one is under way.
    pub(super) async fn ask(
        self: &Arc<Self>,
        key: K,
        question: Answering<'static, A>,
    ) -> Result<A, AskError> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.state();
            if let Some(cached) = self.cached(&state, &key, Instant::now()) {
                return Ok(cached);
            }
            if state.waiting >= self.limits.waiting {
                return Err(AskError::Full);
            }
            let is_new = !state.callers.contains_key(&key);
            if is_new && self.caller.is_paused() {
                return Err(AskError::Paused);
            }
            state.callers.entry(key.clone()).or_default().push(sender);
            state.waiting += 1;
            drop(state);
            if is_new {
                let guard = QuestionGuard { questions: Arc::clone(self), key: Some(key) };
                self.runtime.spawn(guard.ask(question));
            }
        }
        answer.await.unwrap_or(Err(AskError::Ended))
    }

    /// The state of the plugin.
    pub(super) fn status(&self) -> PluginStatus {
        let (waiting, cached) = {
            let state = self.state();
            (state.waiting, state.cache.len())
        };
        self.caller.status(waiting, cached)
    }

    fn cached(&self, state: &AskState<K, A>, key: &K, now: Instant) -> Option<A> {
        let (answer, since) = state.cache.get(key)?;
        (now.duration_since(*since) < self.lifetime(answer)).then(|| answer.clone())
    }

    fn lifetime(&self, answer: &A) -> Duration {
        if (self.lets_in)(answer) { self.limits.positive } else { self.limits.negative }
    }

    fn settle(&self, key: K, answer: Result<A, AskError>) {
        let mut state = self.state();
        if let Ok(answer) = &answer
            && !self.lifetime(answer).is_zero()
        {
            state.cache.insert(key.clone(), answer.clone(), Instant::now());
        }
        let callers = state.remove(&key);
        drop(state);
        for caller in callers {
            // A caller that stopped waiting does not need the answer.
            let _ = caller.send(answer.clone());
        }
    }
}

impl<K, A> AskOnce<K, A> {
    /// A poisoned lock still guards whole values: no critical section leaves the maps half changed.
    fn state(&self) -> MutexGuard<'_, AskState<K, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, A> AskState<K, A> {
    fn remove(&mut self, key: &K) -> Vec<oneshot::Sender<Result<A, AskError>>> {
        let callers = self.callers.remove(key).unwrap_or_default();
        self.waiting -= callers.len();
        callers
    }
}

/// A question that is under way, or waits for its turn. When its task ends without an answer, its callers stop waiting.
struct QuestionGuard<K: Eq + Hash, A> {
    questions: Arc<AskOnce<K, A>>,
    /// `None` when it is settled.
    key: Option<K>,
}

impl<K, A> QuestionGuard<K, A>
where
    K: Clone + Eq + Hash + Send + 'static,
    A: Clone + Send + 'static,
{
    async fn ask(mut self, question: Answering<'static, A>) {
        let questions = Arc::clone(&self.questions);
        let _turn = questions.turns.acquire().await;
        if self.is_abandoned() {
            return;
        }
        let answer = questions.caller.call(None, question).await;
        if let Some(key) = self.key.take() {
            questions.settle(key, answer.map_err(AskError::from));
        }
    }

    /// Removes the question if all its callers stopped waiting.
    fn is_abandoned(&mut self) -> bool {
        let mut state = self.questions.state();
        let callers = self.key.as_ref().and_then(|key| state.callers.get(key));
        let abandoned =
            callers.is_none_or(|callers| callers.iter().all(oneshot::Sender::is_closed));
        if abandoned && let Some(key) = self.key.take() {
            state.remove(&key);
        }
        abandoned
    }
}

impl<K: Eq + Hash, A> Drop for QuestionGuard<K, A> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.questions.state().remove(&key);
        }
    }
}

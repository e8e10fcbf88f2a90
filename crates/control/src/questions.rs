//! Questions that are asked when a host joins: somebody waits for the answer, off the packet path.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtun_core::{HostName, NamespaceId};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    time::Instant,
};
use tracing::warn;

use crate::{
    AdmissionPlugin, Answering, AuthPlugin, AuthQuestion, IngressPlugin, PluginError, PluginKind,
    PluginStatus, breaker::Breaker, plugin::cache::Cache,
};

/// Bounds of [`IngressQuestions`], [`AuthQuestions`] and [`AdmissionQuestions`].
#[derive(Debug, Clone)]
pub struct QuestionLimits {
    /// What lets a host in is believed this long, and not a moment longer, also while the plugin is down. Never used for
    /// users: each password is asked for.
    pub positive: Duration,
    /// What keeps a host out is believed this long. Never used for users.
    pub negative: Duration,
    /// Answers kept; past it the oldest eighth is forgotten.
    pub answers: usize,
    /// Askers waiting, together; past it [`AskError::Full`].
    pub waiting: usize,
    /// Questions under way at once; the others wait for their turn.
    pub at_once: usize,
    /// For one question, from its turn on.
    pub deadline: Duration,
    /// After this many failures in a row nothing is asked for [`QuestionLimits::pause`]; a refusal by status is none
    /// ([`PluginError::is_outage`]).
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

/// Why there is no answer. All of them keep the host out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Too many wait for the plugin already.
    #[error("too many questions wait for the plugin")]
    Full,
    /// The plugin failed repeatedly and is left alone for a while.
    #[error("the plugin failed repeatedly and is left alone for a while")]
    Paused,
    /// The plugin was asked and did not answer.
    #[error("the plugin {0}")]
    Failed(#[from] PluginError),
    /// The runtime that questions are asked on has ended.
    #[error("the plugin is no longer asked")]
    Ended,
}

/// What an ingress plugin says, asked once for all who want to know the same at the same time.
///
/// Questions are asked on the runtime that [`IngressQuestions::new`] is called on, whatever runtime the asker is on.
pub struct IngressQuestions {
    questions: Arc<Questions<(HostName, String), Option<NamespaceId>>>,
    plugin: Arc<dyn IngressPlugin>,
}

impl IngressQuestions {
    /// Nothing asked yet; `name` is the ingress's.
    pub fn new(name: String, plugin: Arc<dyn IngressPlugin>, limits: QuestionLimits) -> Self {
        let address = plugin.address().to_owned();
        let questions = Questions::new(PluginKind::Ingress, name, address, limits, Option::is_some);
        Self { questions, plugin }
    }

    /// The namespace that `host` may join at the hub `service`; `Ok(None)`: there is no rule for it. Whoever asks may stop
    /// waiting at any time, as with the other kinds.
    pub async fn ask(
        &self,
        host: &HostName,
        service: &str,
    ) -> Result<Option<NamespaceId>, AskError> {
        let plugin = Arc::clone(&self.plugin);
        let key = (host.clone(), service.to_owned());
        let (host, service) = key.clone();
        let question = async move { plugin.namespace(&host, &service).await };
        self.questions.ask(key, Box::pin(question)).await
    }

    /// How the plugin is doing.
    pub fn status(&self) -> PluginStatus {
        self.questions.status()
    }
}

/// What an auth plugin says, asked anew for every connection: nothing is remembered.
///
/// Questions are asked on the runtime that [`AuthQuestions::new`] is called on, whatever runtime the asker is on.
pub struct AuthQuestions {
    questions: Arc<Questions<AuthQuestion, Option<String>>>,
    plugin: Arc<dyn AuthPlugin>,
}

impl AuthQuestions {
    /// Nothing asked yet; `name` is the auther's.
    pub fn new(name: String, plugin: Arc<dyn AuthPlugin>, limits: QuestionLimits) -> Self {
        let limits =
            QuestionLimits { positive: Duration::ZERO, negative: Duration::ZERO, ..limits };
        let address = plugin.address().to_owned();
        let questions = Questions::new(PluginKind::Auther, name, address, limits, Option::is_some);
        Self { questions, plugin }
    }

    /// The id of the client, which may be empty; `Ok(None)`: refused.
    pub async fn ask(&self, question: AuthQuestion) -> Result<Option<String>, AskError> {
        let plugin = Arc::clone(&self.plugin);
        let key = question.clone();
        let question = async move { plugin.authenticate(&question).await };
        self.questions.ask(key, Box::pin(question)).await
    }

    /// How the plugin is doing.
    pub fn status(&self) -> PluginStatus {
        self.questions.status()
    }
}

/// What an admission plugin says, asked once for all connections from one address at the same time.
///
/// Questions are asked on the runtime that [`AdmissionQuestions::new`] is called on, whatever runtime the asker is on.
pub struct AdmissionQuestions {
    questions: Arc<Questions<(IpAddr, String), bool>>,
    plugin: Arc<dyn AdmissionPlugin>,
}

impl AdmissionQuestions {
    /// Nothing asked yet; `name` is the admission's.
    pub fn new(name: String, plugin: Arc<dyn AdmissionPlugin>, limits: QuestionLimits) -> Self {
        let address = plugin.address().to_owned();
        let questions =
            Questions::new(PluginKind::Admission, name, address, limits, |admitted| *admitted);
        Self { questions, plugin }
    }

    /// Whether the client at `addr` may connect to the hub `service`. The answer holds for all ports of its address.
    pub async fn ask(&self, service: &str, addr: SocketAddr) -> Result<bool, AskError> {
        let plugin = Arc::clone(&self.plugin);
        let key = (addr.ip(), service.to_owned());
        let service = service.to_owned();
        let question = async move { plugin.admit(&service, addr).await };
        self.questions.ask(key, Box::pin(question)).await
    }

    /// How the plugin is doing.
    pub fn status(&self) -> PluginStatus {
        self.questions.status()
    }
}

/// Questions to one plugin, each under way once.
struct Questions<K, A> {
    kind: PluginKind,
    name: String,
    address: String,
    limits: QuestionLimits,
    lets_in: fn(&A) -> bool,
    turns: Semaphore,
    runtime: Handle,
    state: Mutex<State<K, A>>,
}

struct State<K, A> {
    cache: Cache<K, A>,
    askers: HashMap<K, Vec<Asker<A>>>,
    /// Of all questions together.
    waiting: usize,
    breaker: Breaker,
}

type Asker<A> = oneshot::Sender<Result<A, AskError>>;

impl<K, A> Questions<K, A>
where
    K: Clone + Eq + Hash + Send + 'static,
    A: Clone + Send + 'static,
{
    fn new(
        kind: PluginKind,
        name: String,
        address: String,
        limits: QuestionLimits,
        lets_in: fn(&A) -> bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            kind,
            name,
            address,
            lets_in,
            turns: Semaphore::new(limits.at_once),
            runtime: Handle::current(),
            state: Mutex::new(State {
                cache: Cache::new(limits.answers),
                askers: HashMap::new(),
                waiting: 0,
                breaker: Breaker::new(limits.failures, limits.pause),
            }),
            limits,
        })
    }

    /// What is known, or else the answer to `question`, which is not polled where the same is under way.
    async fn ask(self: &Arc<Self>, key: K, question: Answering<'static, A>) -> Result<A, AskError> {
        let (asker, answer) = oneshot::channel();
        {
            let now = Instant::now();
            let mut state = self.state();
            if let Some(known) = self.known(&state, &key, now) {
                return Ok(known);
            }
            if state.waiting >= self.limits.waiting {
                return Err(AskError::Full);
            }
            let is_new = !state.askers.contains_key(&key);
            if is_new && state.breaker.is_paused(now) {
                return Err(AskError::Paused);
            }
            state.askers.entry(key.clone()).or_default().push(asker);
            state.waiting += 1;
            drop(state);
            if is_new {
                let turn = Turn { questions: Arc::clone(self), key: Some(key) };
                self.runtime.spawn(turn.take(question));
            }
        }
        answer.await.unwrap_or(Err(AskError::Ended))
    }

    fn known(&self, state: &State<K, A>, key: &K, now: Instant) -> Option<A> {
        let (answer, since) = state.cache.get(key)?;
        (now.duration_since(*since) < self.lifetime(answer)).then(|| answer.clone())
    }

    fn lifetime(&self, answer: &A) -> Duration {
        if (self.lets_in)(answer) { self.limits.positive } else { self.limits.negative }
    }

    fn settle(&self, key: K, outcome: Result<A, AskError>) {
        let now = Instant::now();
        let mut state = self.state();
        match &outcome {
            Ok(answer) => {
                state.breaker.succeeded(now);
                if !self.lifetime(answer).is_zero() {
                    state.cache.insert(key.clone(), answer.clone(), now);
                }
            }
            Err(AskError::Failed(error)) => {
                let worth_a_line = if error.is_outage() {
                    state.breaker.failed(error, now)
                } else {
                    state.breaker.declined(error, now)
                };
                if worth_a_line {
                    let failures_in_a_row = state.breaker.failures_in_a_row();
                    warn!(kind = ?self.kind, name = self.name, failures_in_a_row, "plugin: {error}");
                }
            }
            Err(AskError::Paused | AskError::Full | AskError::Ended) => {}
        }
        let askers = state.forget(&key);
        drop(state);
        for asker in askers {
            // Whoever stopped waiting does not want to know.
            let _ = asker.send(outcome.clone());
        }
    }

    fn status(&self) -> PluginStatus {
        let state = self.state();
        let (waiting, cached) = (state.waiting, state.cache.len());
        state.breaker.status(self.kind, &self.name, &self.address, waiting, cached)
    }
}

impl<K, A> Questions<K, A> {
    /// A poisoned lock still guards whole values: no critical section leaves the maps half changed.
    fn state(&self) -> MutexGuard<'_, State<K, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, A> State<K, A> {
    fn forget(&mut self, key: &K) -> Vec<Asker<A>> {
        let askers = self.askers.remove(key).unwrap_or_default();
        self.waiting -= askers.len();
        askers
    }
}

/// A question that is under way, or waits for its turn; nobody waits for it in vain when its runtime ends.
struct Turn<K: Eq + Hash, A> {
    questions: Arc<Questions<K, A>>,
    /// `None` when it is settled.
    key: Option<K>,
}

impl<K, A> Turn<K, A>
where
    K: Clone + Eq + Hash + Send + 'static,
    A: Clone + Send + 'static,
{
    async fn take(mut self, question: Answering<'static, A>) {
        let questions = Arc::clone(&self.questions);
        let _turn = questions.turns.acquire().await;
        if self.is_abandoned() {
            return;
        }
        let may_ask = questions.state().breaker.may_ask(Instant::now());
        let outcome = if may_ask {
            let answer = tokio::time::timeout(questions.limits.deadline, question).await;
            answer.unwrap_or(Err(PluginError::Timeout)).map_err(AskError::Failed)
        } else {
            Err(AskError::Paused)
        };
        if let Some(key) = self.key.take() {
            questions.settle(key, outcome);
        }
    }

    /// Forgets the question if nobody waits for it any more.
    fn is_abandoned(&mut self) -> bool {
        let mut state = self.questions.state();
        let askers = self.key.as_ref().and_then(|key| state.askers.get(key));
        let abandoned = askers.is_none_or(|askers| askers.iter().all(oneshot::Sender::is_closed));
        if abandoned && let Some(key) = self.key.take() {
            state.forget(&key);
        }
        abandoned
    }
}

impl<K: Eq + Hash, A> Drop for Turn<K, A> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.questions.state().forget(&key);
        }
    }
}

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

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::MemoryPlugin;

    const NS: NamespaceId = NamespaceId::from_bytes([1; 16]);

    fn host(text: &str) -> HostName {
        HostName::new(text).unwrap()
    }

    fn client(ip: u8, port: u16) -> SocketAddr {
        ([192, 0, 2, ip], port).into()
    }

    fn login(user: &str, password: &str, port: u16) -> AuthQuestion {
        AuthQuestion {
            user: user.into(),
            password: rtun_core::Secret::new(password),
            client: client(1, port),
            service: "hub".into(),
        }
    }

    fn ingress(limits: QuestionLimits) -> (Arc<MemoryPlugin>, IngressQuestions) {
        let plugin = Arc::new(MemoryPlugin::default());
        plugin.bind(host("a"), Some(NS));
        let questions = IngressQuestions::new("i".into(), plugin.clone(), limits);
        (plugin, questions)
    }

    fn admission() -> (Arc<MemoryPlugin>, AdmissionQuestions) {
        let plugin = Arc::new(MemoryPlugin::default());
        plugin.set_admitted(client(1, 0).ip(), true);
        let limits = QuestionLimits::default();
        let questions = AdmissionQuestions::new("a".into(), plugin.clone(), limits);
        (plugin, questions)
    }

    fn auth() -> (Arc<MemoryPlugin>, AuthQuestions) {
        let plugin = Arc::new(MemoryPlugin::default());
        plugin.insert_user("u", "right", "client-1");
        let questions = AuthQuestions::new("u".into(), plugin.clone(), QuestionLimits::default());
        (plugin, questions)
    }

    #[tokio::test(start_paused = true)]
    async fn a_rule_is_believed_for_its_time_and_not_longer() {
        let (plugin, questions) = ingress(QuestionLimits::default());
        for _ in 0..3 {
            assert_eq!(questions.ask(&host("a"), "hub").await, Ok(Some(NS)));
        }
        assert_eq!(plugin.questions(), 1);
        plugin.bind(host("a"), None);
        tokio::time::advance(Duration::from_millis(9_900)).await;
        assert_eq!(questions.ask(&host("a"), "hub").await, Ok(Some(NS)));
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(questions.ask(&host("a"), "hub").await, Ok(None));
        assert_eq!(questions.ask(&host("a"), "hub").await, Ok(None));
        assert_eq!(plugin.questions(), 2, "no rule is remembered, too");
        plugin.bind(host("a"), Some(NS));
        tokio::time::advance(Duration::from_millis(1_100)).await;
        assert_eq!(questions.ask(&host("a"), "hub").await, Ok(Some(NS)));
        assert_eq!(questions.ask(&host("a"), "other").await, Ok(Some(NS)));
        assert_eq!(plugin.questions(), 4, "services share nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outdated_permission_lets_nobody_in_while_the_plugin_is_down() {
        let (plugin, questions) = ingress(QuestionLimits::default());
        let (doorman, admissions) = admission();
        assert_eq!(questions.ask(&host("a"), "hub").await, Ok(Some(NS)));
        assert_eq!(admissions.ask("hub", client(1, 9)).await, Ok(true));
        plugin.fail_with(Some(PluginError::Timeout));
        doorman.fail_with(Some(PluginError::Timeout));
        tokio::time::advance(Duration::from_secs(11)).await;
        let denied = Err(AskError::Failed(PluginError::Timeout));
        assert_eq!(questions.ask(&host("a"), "hub").await, denied);
        assert_eq!(admissions.ask("hub", client(1, 9)).await, Err(PluginError::Timeout.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_want_to_know_the_same_share_one_question() {
        let (plugin, questions) = ingress(QuestionLimits::default());
        let (a, b) = (host("a"), host("b"));
        let same = join_all((0..100).map(|_| questions.ask(&a, "hub")));
        let (same, other) = tokio::join!(same, questions.ask(&b, "hub"));
        assert!(same.iter().all(|answer| *answer == Ok(Some(NS))));
        assert_eq!(other, Ok(None));
        assert_eq!(plugin.questions(), 2);
        let status = questions.status();
        assert_eq!((status.asked, status.answered, status.waiting, status.cached), (2, 2, 0, 2));
        assert_eq!(status.last_success, Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn passwords_are_never_remembered_and_never_shared() {
        let (plugin, questions) = auth();
        for password in ["right", "wrong", "right", ""] {
            let expected = (password == "right").then(|| "client-1".to_owned());
            assert_eq!(questions.ask(login("u", password, 1)).await, Ok(expected));
        }
        assert_eq!(plugin.questions(), 4);
        let both =
            [login("u", "right", 1), login("u", "wrong", 1)].map(|login| questions.ask(login));
        assert_eq!(join_all(both).await, [Ok(Some("client-1".into())), Ok(None)]);
        assert_eq!(questions.status().cached, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_admission_holds_for_all_ports_of_an_address() {
        let (plugin, questions) = admission();
        for port in 1..10 {
            assert_eq!(questions.ask("hub", client(1, port)).await, Ok(true));
            assert_eq!(questions.ask("hub", client(2, port)).await, Ok(false));
        }
        assert_eq!(plugin.questions(), 2);
        plugin.set_admitted(client(2, 0).ip(), true);
        plugin.set_admitted(client(1, 0).ip(), false);
        tokio::time::advance(Duration::from_millis(1_100)).await;
        assert_eq!(questions.ask("hub", client(2, 1)).await, Ok(true));
        assert_eq!(questions.ask("hub", client(1, 1)).await, Ok(true), "for up to 10 s");
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(questions.ask("hub", client(1, 1)).await, Ok(false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_plugin_keeps_everybody_out_within_its_deadline() {
        let (plugin, questions) = auth();
        plugin.hang(true);
        let start = Instant::now();
        let many = join_all((0..2000).map(|n| questions.ask(login("u", "right", n)))).await;
        let count = |error: AskError| many.iter().filter(|a| **a == Err(error.clone())).count();
        assert_eq!(count(AskError::Full), 2000 - 1024, "askers are bounded");
        assert_eq!(count(PluginError::Timeout.into()), 32, "questions under way are bounded");
        assert_eq!(count(AskError::Paused), 1024 - 32);
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        assert_eq!(plugin.questions(), 32);
        assert!(questions.status().paused);

        plugin.hang(false);
        let login = || login("u", "right", 1);
        assert_eq!(questions.ask(login()).await, Err(AskError::Paused));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(questions.ask(login()).await, Ok(Some("client-1".into())), "back");
        let status = questions.status();
        assert_eq!((status.asked, status.failed, status.answered), (33, 32, 1));
        assert!(!status.paused);
    }

    #[tokio::test(start_paused = true)]
    async fn one_question_tries_whether_the_plugin_is_back() {
        let (plugin, questions) = auth();
        plugin.fail_with(Some(PluginError::Status(503)));
        for n in 0..5 {
            assert_eq!(
                questions.ask(login("u", "", n)).await,
                Err(PluginError::Status(503).into())
            );
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        let many = join_all((0..50).map(|n| questions.ask(login("u", "", n)))).await;
        assert_eq!(many.iter().filter(|answer| **answer == Err(AskError::Paused)).count(), 49);
        assert_eq!(plugin.questions(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn guessed_passwords_do_not_have_the_plugin_left_alone() {
        let (plugin, questions) = auth();
        let refusal = PluginError::Grpc { code: 16, message: "who?".into() };
        plugin.fail_with(Some(refusal.clone()));
        for n in 0..20 {
            assert_eq!(questions.ask(login("u", "x", n)).await, Err(refusal.clone().into()));
        }
        plugin.fail_with(None);
        assert_eq!(questions.ask(login("u", "right", 1)).await, Ok(Some("client-1".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_asked_for_those_who_stopped_waiting() {
        let limits = QuestionLimits { at_once: 1, ..QuestionLimits::default() };
        let (plugin, questions) = ingress(limits);
        plugin.hang(true);
        let patience = Duration::from_millis(100);
        let (a, b) = (host("a"), host("b"));
        let first = tokio::time::timeout(patience, questions.ask(&a, "hub"));
        let second = tokio::time::timeout(patience, questions.ask(&b, "hub"));
        let (first, second) = tokio::join!(first, second);
        assert!(first.is_err() && second.is_err());
        assert_eq!(questions.status().waiting, 2);
        plugin.hang(false);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(questions.status().waiting, 0);
        assert_eq!(plugin.questions(), 1, "the second one's turn came after it had gone");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let limits = QuestionLimits { answers: 16, ..QuestionLimits::default() };
        let (_plugin, questions) = ingress(limits);
        for n in 0..100 {
            assert_eq!(questions.ask(&host(&format!("h{n}")), "hub").await, Ok(None));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(questions.status().cached <= 16);
    }

    #[test]
    fn questions_are_asked_where_they_were_made_and_end_with_it() {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(1).enable_all().build().unwrap()
        };
        let (home, elsewhere) = (runtime(), runtime());
        let (plugin, questions) = {
            let _home = home.enter();
            ingress(QuestionLimits::default())
        };
        let host = host("a");
        assert_eq!(elsewhere.block_on(questions.ask(&host, "hub")), Ok(Some(NS)));
        plugin.hang(true);
        elsewhere.block_on(async {
            let hanging = questions.ask(&host, "other");
            tokio::pin!(hanging);
            let wait = tokio::time::timeout(Duration::from_millis(50), &mut hanging);
            assert!(wait.await.is_err());
            home.shutdown_background();
            assert_eq!(hanging.await, Err(AskError::Ended));
            assert_eq!(questions.ask(&host, "third").await, Err(AskError::Ended));
        });
    }
}

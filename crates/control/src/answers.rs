//! What is known of a plugin's answers: remembered, asked for once, with packets waiting in between.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtun_core::{HostName, Known, NamespaceId};
use tokio::{runtime::Handle, time::Instant};
use tracing::{debug, warn};

use crate::{
    PluginError, PluginKind, PluginStatus, RoutePlugin,
    breaker::Breaker,
    plugin::cache::Cache,
    shares::{Asker, Shares},
    turns::Turns,
};

type Key = (NamespaceId, IpAddr);

/// Bounds of [`RouteAnswers`].
#[derive(Debug, Clone)]
pub struct AnswerLimits {
    /// A gateway is asked for again after this; the old answer serves until there is a new one, also while the
    /// plugin is down.
    pub positive: Duration,
    /// "No route" is believed this long.
    pub negative: Duration,
    /// Answers kept; past it the oldest eighth is forgotten.
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
    /// The plugin failed repeatedly and is left alone for a while.
    Paused,
}

/// A plugin's answers per namespace and address. Nothing here waits for the plugin.
///
/// Of questions, turns and bytes each host of a namespace has a share, and each namespace: of what is left, half as much as
/// it has, and as much. Whoever has none gets some as long as there are any; so a host that asks for very many addresses
/// costs others nothing.
///
/// `T` is a waiting packet, with whatever its owner needs to go on with it.
pub struct RouteAnswers<T> {
    name: String,
    plugin: Arc<dyn RoutePlugin>,
    limits: AnswerLimits,
    turns: Arc<Turns>,
    runtime: Handle,
    state: Mutex<State<T>>,
    release: Box<dyn Fn(Vec<T>, Released) + Send + Sync>,
}

struct State<T> {
    answers: Cache<Key, Option<HostName>>,
    questions: HashMap<Key, Question<T>>,
    /// How many questions there have been.
    asked: u64,
    places: Shares,
    waiting_bytes: Shares,
    breaker: Breaker,
}

/// A question that waits for its turn or is under way.
struct Question<T> {
    /// Tells it from others of the same key.
    serial: u64,
    under_way: bool,
    /// Whoever waits for the answer: each waits for a turn to ask of its own, and the first to get one asks.
    waiting: Vec<Waiting<T>>,
}

/// Packets of one host that wait for one answer.
struct Waiting<T> {
    asker: Asker,
    packets: Vec<T>,
    bytes: usize,
}

/// What became of a question.
type Outcome = Result<Option<HostName>, NoAnswer>;

enum NoAnswer {
    Failed(PluginError),
    /// The plugin was left alone by the time that it would have been asked.
    Unasked,
}

impl<T: Send + 'static> RouteAnswers<T> {
    /// Nothing known yet. `release` is called, outside of any lock, with packets that waited; `name` is the router's,
    /// for log lines. Questions are asked on the runtime that this is called on, wherever packets come from.
    pub fn new(
        name: String,
        plugin: Arc<dyn RoutePlugin>,
        limits: AnswerLimits,
        release: impl Fn(Vec<T>, Released) + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            plugin,
            turns: Turns::new(limits.at_once),
            runtime: Handle::current(),
            state: Mutex::new(State {
                answers: Cache::new(limits.answers),
                questions: HashMap::new(),
                asked: 0,
                places: Shares::new(limits.questions),
                waiting_bytes: Shares::new(limits.waiting_bytes),
                breaker: Breaker::new(limits.failures, limits.pause),
            }),
            limits,
            release: Box::new(release),
        }
    }

    /// What the plugin is known to say of `addr` in `namespace`. An aging answer is asked for again in the
    /// background.
    pub fn known(self: &Arc<Self>, namespace: NamespaceId, addr: IpAddr) -> Known {
        let key = (namespace, addr);
        let now = Instant::now();
        let mut state = self.state();
        let Some((gateway, since)) = state.answers.get(&key) else { return Known::Unasked };
        let age = now.duration_since(*since);
        match gateway {
            Some(gateway) => {
                let known = Known::Gateway(gateway.clone());
                let asker = Asker { namespace, host: None };
                let refresh = age > self.limits.positive
                    && !state.questions.contains_key(&key)
                    && !state.breaker.is_paused(now)
                    && state.places.take(&asker, 1);
                if refresh {
                    let serial = state.ask(key, asker.clone());
                    self.spawn(key, serial, asker);
                }
                known
            }
            None if age <= self.limits.negative => Known::Nothing,
            None => Known::Unasked,
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
        let question = state.questions.get(&key);
        if question.is_none() && state.breaker.is_paused(Instant::now()) {
            return Err(NoWaiting::Paused);
        }
        let is_waiting = |waiting: &Waiting<T>| waiting.asker == asker;
        let waiting = question.and_then(|question| question.waiting.iter().find(|w| is_waiting(w)));
        let too_many = match waiting {
            Some(waiting) => waiting.packets.len() >= self.limits.waiting,
            None => !state.places.may_take(&asker, 1),
        };
        let is_new = waiting.is_none();
        if too_many || !state.waiting_bytes.take(&asker, bytes) {
            return Err(NoWaiting::Full);
        }
        if is_new {
            state.places.take(&asker, 1);
            let serial = state.ask(key, asker.clone());
            self.spawn(key, serial, asker.clone());
        }
        let question = state.questions.get_mut(&key);
        let waiting =
            question.and_then(|question| question.waiting.iter_mut().find(|w| is_waiting(w)));
        if let Some(waiting) = waiting {
            waiting.packets.push(packet());
            waiting.bytes += bytes;
        }
        Ok(())
    }

    /// How much waits for an answer, by what each counts for.
    pub fn waiting(&self, weight: impl Fn(&T) -> usize) -> usize {
        let state = self.state();
        let waiting = state.questions.values().flat_map(|question| &question.waiting);
        waiting.flat_map(|waiting| &waiting.packets).map(weight).sum()
    }

    /// How the plugin is doing.
    pub fn status(&self) -> PluginStatus {
        let waiting = self.waiting(|_| 1);
        let state = self.state();
        let address = self.plugin.address();
        state.breaker.status(PluginKind::Router, &self.name, address, waiting, state.answers.len())
    }

    fn spawn(self: &Arc<Self>, key: Key, serial: u64, asker: Asker) {
        let place = Place { answers: Arc::clone(self), asker, key, serial };
        self.runtime.spawn(place.ask());
    }

    async fn question(&self, key: Key) -> Outcome {
        if !self.state().breaker.may_ask(Instant::now()) {
            return Err(NoAnswer::Unasked);
        }
        let answer = self.plugin.route(key.0, key.1);
        tokio::time::timeout(self.limits.deadline, answer)
            .await
            .unwrap_or(Err(PluginError::Timeout))
            .map_err(NoAnswer::Failed)
    }

    fn settle(&self, key: Key, outcome: Outcome) {
        let now = Instant::now();
        let mut state = self.state();
        let packets = state.end(&key);
        let why = match outcome {
            Ok(gateway) => {
                state.breaker.succeeded(now);
                debug!(router = self.name, destination = %key.1, namespace = %key.0, ?gateway, "plugin answered");
                state.answers.insert(key, gateway, now);
                Released::Answered
            }
            Err(NoAnswer::Failed(error)) => {
                if state.breaker.failed(&error, now) {
                    warn!(
                        router = self.name,
                        destination = %key.1,
                        failures_in_a_row = state.breaker.failures_in_a_row(),
                        "route plugin: {error}"
                    );
                }
                Released::TimedOut
            }
            Err(NoAnswer::Unasked) => Released::TimedOut,
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
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of an asker that waits for an answer, given back whatever ends it.
struct Place<T: Send + 'static> {
    answers: Arc<RouteAnswers<T>>,
    asker: Asker,
    key: Key,
    /// Of the question.
    serial: u64,
}

impl<T: Send + 'static> Place<T> {
    /// Asks as soon as the asker has a turn, unless another has by then; its packets wait no longer than they may.
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

    /// What settles the question, if it is to be asked now: it still waits, and nobody has begun.
    fn begin(&self) -> Option<Asking<T>> {
        let Self { answers, key, serial, .. } = self;
        let begun = answers.state().begin(key, *serial);
        begun.then(|| Asking { answers: Arc::clone(answers), key: Some(*key) })
    }

    fn lose_patience(&self) {
        let Self { answers, asker, key, serial } = self;
        let impatient = answers.state().release(key, *serial, asker);
        answers.hand_back(impatient, Released::TimedOut);
    }
}

impl<T: Send + 'static> Drop for Place<T> {
    fn drop(&mut self) {
        self.lose_patience();
        let Self { answers, asker, key, serial } = self;
        answers.state().leave(key, *serial, asker);
    }
}

/// A question that is under way, settled whatever ends it: nothing waits for one that nobody asks any more.
struct Asking<T: Send + 'static> {
    answers: Arc<RouteAnswers<T>>,
    /// `None` when it is settled.
    key: Option<Key>,
}

impl<T: Send + 'static> Asking<T> {
    fn settle(mut self, outcome: Outcome) {
        if let Some(key) = self.key.take() {
            self.answers.settle(key, outcome);
        }
    }
}

impl<T: Send + 'static> Drop for Asking<T> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.answers.settle(key, Err(NoAnswer::Unasked));
        }
    }
}

impl<T> State<T> {
    /// Adds `asker`, who has taken a place, to those who wait for this answer; which question that is.
    fn ask(&mut self, key: Key, asker: Asker) -> u64 {
        let State { questions, asked, .. } = self;
        let question = questions.entry(key).or_insert_with(|| {
            *asked += 1;
            Question { serial: *asked, under_way: false, waiting: Vec::new() }
        });
        question.waiting.push(Waiting { asker, packets: Vec::new(), bytes: 0 });
        question.serial
    }

    /// Whether this question is to be asked now: it still waits, and nobody has begun.
    fn begin(&mut self, key: &Key, serial: u64) -> bool {
        let question = self.questions.get_mut(key).filter(|question| question.serial == serial);
        question.is_some_and(|question| !std::mem::replace(&mut question.under_way, true))
    }

    /// The packets of `asker` that wait for this answer, which wait no longer.
    fn release(&mut self, key: &Key, serial: u64, asker: &Asker) -> Vec<T> {
        let question = self.questions.get_mut(key).filter(|question| question.serial == serial);
        let mut waiting = question.into_iter().flat_map(|question| &mut question.waiting);
        let Some(waiting) = waiting.find(|waiting| waiting.asker == *asker) else {
            return Vec::new();
        };
        self.waiting_bytes.give_back(asker, std::mem::take(&mut waiting.bytes));
        std::mem::take(&mut waiting.packets)
    }

    /// Gives the place of `asker` back. A question for which nobody waits for a turn is over, unless it is under way.
    fn leave(&mut self, key: &Key, serial: u64, asker: &Asker) {
        self.places.give_back(asker, 1);
        let Some(question) = self.questions.get_mut(key).filter(|it| it.serial == serial) else {
            return;
        };
        question.waiting.retain(|waiting| waiting.asker != *asker);
        if question.waiting.is_empty() && !question.under_way {
            self.questions.remove(key);
        }
    }

    /// Ends a question; the packets that still wait for it.
    fn end(&mut self, key: &Key) -> Vec<T> {
        let mut packets = Vec::new();
        for waiting in self.questions.remove(key).into_iter().flat_map(|question| question.waiting)
        {
            self.waiting_bytes.give_back(&waiting.asker, waiting.bytes);
            packets.extend(waiting.packets);
        }
        packets
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::{Addressed, Answering, MemoryPlugin};

    const NS: NamespaceId = NamespaceId::from_bytes([1; 16]);
    const OTHER: NamespaceId = NamespaceId::from_bytes([2; 16]);

    fn addr(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn name(text: &str) -> HostName {
        HostName::new(text).unwrap()
    }

    type Handed = mpsc::UnboundedReceiver<(Vec<u32>, Released)>;

    fn answers(
        plugin: Arc<dyn RoutePlugin>,
        limits: AnswerLimits,
    ) -> (Arc<RouteAnswers<u32>>, Handed) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let release = move |packets, why| sender.send((packets, why)).expect("the test listens");
        (Arc::new(RouteAnswers::new("r".into(), plugin, limits, release)), receiver)
    }

    /// Fails to say anything at all.
    struct Defective;

    impl RoutePlugin for Defective {
        fn route(&self, _: NamespaceId, _: IpAddr) -> Answering<'_, Option<HostName>> {
            Box::pin(async { panic!("on purpose") })
        }
    }

    impl Addressed for Defective {
        fn address(&self) -> &str {
            "defective"
        }
    }

    #[tokio::test]
    async fn a_question_whose_plugin_panics_gives_its_place_and_its_packets_back() {
        let (answers, mut handed) = answers(Arc::new(Defective), AnswerLimits::default());
        answers.wait(NS, &name("a"), addr(1), 100, || 7).unwrap();
        assert_eq!(handed.recv().await, Some((vec![7], Released::TimedOut)));
        assert_eq!(answers.waiting(|_| 1), 0);
        assert!(answers.state().questions.is_empty());
        answers.wait(NS, &name("a"), addr(1), 100, || 8).unwrap();
        assert_eq!(handed.recv().await, Some((vec![8], Released::TimedOut)), "it is asked again");
    }

    fn hanging() -> Arc<MemoryPlugin> {
        let plugin = MemoryPlugin::default();
        plugin.hang(true);
        Arc::new(plugin)
    }

    #[tokio::test(start_paused = true)]
    async fn packets_for_one_destination_share_one_question() {
        let plugin = Arc::new(MemoryPlugin::default());
        plugin.insert_route(NS, addr(1), name("host-1"));
        let (answers, mut handed) = answers(plugin.clone(), AnswerLimits::default());
        assert_eq!(answers.known(NS, addr(1)), Known::Unasked);
        for packet in 0..3 {
            assert_eq!(answers.wait(NS, &name("a"), addr(1), 100, || packet), Ok(()));
        }
        assert_eq!(handed.recv().await, Some((vec![0, 1, 2], Released::Answered)));
        assert_eq!(answers.known(NS, addr(1)), Known::Gateway(name("host-1")));
        assert_eq!(plugin.questions(), 1);
        assert_eq!(answers.known(OTHER, addr(1)), Known::Unasked, "namespaces share nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn no_route_is_believed_for_a_while() {
        let plugin = Arc::new(MemoryPlugin::default());
        let (answers, mut handed) = answers(plugin.clone(), AnswerLimits::default());
        answers.wait(NS, &name("a"), addr(1), 100, || 0).unwrap();
        handed.recv().await.unwrap();
        assert_eq!(answers.known(NS, addr(1)), Known::Nothing);
        tokio::time::advance(Duration::from_millis(1100)).await;
        assert_eq!(answers.known(NS, addr(1)), Known::Unasked);
    }

    #[tokio::test(start_paused = true)]
    async fn a_known_route_outlives_its_plugin_and_is_refreshed_when_it_is_back() {
        let plugin = Arc::new(MemoryPlugin::default());
        plugin.insert_route(NS, addr(1), name("host-1"));
        let (answers, mut handed) = answers(plugin.clone(), AnswerLimits::default());
        answers.wait(NS, &name("a"), addr(1), 100, || 0).unwrap();
        handed.recv().await.unwrap();

        plugin.fail_with(Some(PluginError::Timeout));
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(answers.known(NS, addr(1)), Known::Gateway(name("host-1")));
        }
        let asked_while_down = plugin.questions();
        assert!(asked_while_down < 250, "left alone between failures: {asked_while_down}");

        plugin.insert_route(NS, addr(1), name("host-2"));
        plugin.fail_with(None);
        tokio::time::sleep(Duration::from_secs(6)).await;
        answers.known(NS, addr(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(answers.known(NS, addr(1)), Known::Gateway(name("host-2")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_plugin_costs_waiting_packets_half_a_second_and_nothing_else() {
        let limits = AnswerLimits { waiting: 2, questions: 8, ..AnswerLimits::default() };
        let (answers, mut handed) = answers(hanging(), limits);
        let start = Instant::now();
        assert_eq!(answers.wait(NS, &name("a"), addr(1), 100, || 1), Ok(()));
        assert_eq!(answers.wait(NS, &name("a"), addr(1), 100, || 2), Ok(()));
        assert_eq!(
            answers.wait(NS, &name("a"), addr(1), 100, || 3),
            Err(NoWaiting::Full),
            "packets per question are bounded"
        );
        assert_eq!(answers.wait(NS, &name("a"), addr(2), 100, || 4), Ok(()));
        assert_eq!(answers.wait(NS, &name("a"), addr(3), 100, || 5), Ok(()));
        assert_eq!(
            answers.wait(NS, &name("a"), addr(4), 100, || 6),
            Err(NoWaiting::Full),
            "questions are bounded"
        );
        assert_eq!(answers.waiting(|_| 1), 4);

        let mut packets = Vec::new();
        for _ in 0..3 {
            let (some, why) = handed.recv().await.unwrap();
            assert_eq!(why, Released::TimedOut);
            packets.extend(some);
        }
        packets.sort();
        assert_eq!(packets, [1, 2, 4, 5]);
        assert_eq!(start.elapsed().as_millis(), 500);
        assert_eq!(answers.waiting(|_| 1), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_plugin_is_left_alone_for_a_while() {
        let plugin = Arc::new(MemoryPlugin::default());
        plugin.fail_with(Some(PluginError::Status(500)));
        let (answers, mut handed) = answers(plugin.clone(), AnswerLimits::default());
        for n in 0..5 {
            answers.wait(NS, &name("a"), addr(n), 100, || 0).unwrap();
            assert_eq!(handed.recv().await, Some((vec![0], Released::TimedOut)));
        }
        assert_eq!(answers.wait(NS, &name("a"), addr(9), 100, || 7), Err(NoWaiting::Paused));
        assert_eq!(plugin.questions(), 5);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(answers.wait(NS, &name("a"), addr(9), 100, || 7), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_the_oldest_answers_go_first() {
        let plugin = Arc::new(MemoryPlugin::default());
        let limits = AnswerLimits { answers: 16, ..AnswerLimits::default() };
        let (answers, mut handed) = answers(plugin, limits);
        for n in 0..40 {
            answers.wait(NS, &name("a"), addr(n), 100, || 0).unwrap();
            handed.recv().await.unwrap();
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(answers.status().cached <= 16);
        assert_eq!(answers.known(NS, addr(39)), Known::Nothing);
        assert_eq!(answers.known(NS, addr(0)), Known::Unasked);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_packets_are_bounded_in_bytes() {
        let limits = AnswerLimits { waiting_bytes: 1000, ..AnswerLimits::default() };
        let (answers, mut handed) = answers(hanging(), limits);
        assert_eq!(answers.wait(NS, &name("a"), addr(1), 600, || 1), Ok(()));
        assert_eq!(answers.wait(NS, &name("a"), addr(1), 500, || 2), Err(NoWaiting::Full));
        assert_eq!(answers.wait(OTHER, &name("a"), addr(2), 500, || 3), Err(NoWaiting::Full));
        assert_eq!(answers.wait(OTHER, &name("a"), addr(2), 400, || 4), Ok(()));
        assert_eq!(answers.status().waiting, 2);
        for _ in 0..2 {
            handed.recv().await.unwrap();
        }
        assert_eq!(
            answers.wait(NS, &name("a"), addr(3), 1000, || 5),
            Ok(()),
            "those handed back count no more"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn questions_that_queued_before_a_pause_are_not_asked_in_it() {
        let limits = AnswerLimits { at_once: 1, ..AnswerLimits::default() };
        let plugin = Arc::new(MemoryPlugin::default());
        plugin.fail_with(Some(PluginError::Timeout));
        let (answers, mut handed) = answers(plugin.clone(), limits);
        for n in 0..20 {
            answers.wait(NS, &name("a"), addr(n), 100, || n.into()).unwrap();
        }
        for _ in 0..20 {
            assert_eq!(handed.recv().await.unwrap().1, Released::TimedOut);
        }
        assert_eq!(plugin.questions(), 5);
        let status = answers.status();
        assert_eq!((status.asked, status.failed, status.paused), (5, 5, true));
    }

    /// A host asks for as many addresses as there are places for questions and more, of a plugin that takes 100 ms for each.
    #[tokio::test(start_paused = true)]
    async fn a_host_that_asks_for_very_many_addresses_costs_others_nothing() {
        let plugin = Arc::new(MemoryPlugin::default());
        plugin.take(Duration::from_millis(100));
        let (answers, mut handed) = answers(plugin.clone(), AnswerLimits::default());
        let far = |n: u16| IpAddr::from([10, 9, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
        let (greedy, other) = (name("greedy"), name("other"));
        let flood = || {
            let asked =
                (0..2048).filter(|n| answers.wait(NS, &greedy, far(*n), 1400, || 0).is_ok());
            asked.count()
        };
        assert_eq!(flood(), 341);
        for (packet, ns) in [(1, NS), (2, OTHER), (3, NS)] {
            // The third is an address that the greedy one waits for too.
            let addr = if packet == 3 { far(300) } else { addr(packet) };
            let (host, start) =
                (if packet == 3 { name("third") } else { other.clone() }, Instant::now());
            answers.wait(ns, &host, addr, 1400, || packet.into()).unwrap();
            loop {
                let (packets, why) = handed.recv().await.unwrap();
                if packets.contains(&packet.into()) {
                    assert_eq!(why, Released::Answered);
                    break;
                }
            }
            assert_eq!(start.elapsed().as_millis(), 100, "{packet}: as without the other");
            flood();
        }
        // However many packets: each may fill its own share of what waits.
        while answers.wait(NS, &greedy, far(0), 60_000, || 0).is_ok()
            || (0..2048).any(|n| answers.wait(NS, &greedy, far(n), 60_000, || 0).is_ok())
        {}
        assert_eq!(answers.wait(NS, &other, addr(9), 60_000, || 4), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_in_vain_for_anothers_question_gives_up_in_time() {
        let (answers, mut handed) = answers(hanging(), AnswerLimits::default());
        assert_eq!(answers.wait(NS, &name("a"), addr(1), 100, || 1), Ok(()));
        tokio::time::sleep(Duration::from_millis(300)).await;
        let start = Instant::now();
        assert_eq!(answers.wait(NS, &name("b"), addr(1), 100, || 2), Ok(()));
        assert_eq!(handed.recv().await, Some((vec![1], Released::TimedOut)));
        assert_eq!(start.elapsed().as_millis(), 200);
        assert_eq!(handed.recv().await, Some((vec![2], Released::TimedOut)));
        assert_eq!(start.elapsed().as_millis(), 500);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let State { places, waiting_bytes, questions, .. } = &mut *answers.state();
        assert!(questions.is_empty());
        let whole =
            |shares: &Shares, all| shares.may_take(&Asker { namespace: NS, host: None }, all);
        assert!(whole(places, 1024) && whole(waiting_bytes, 16 << 20), "all places are free again");
    }

    /// Answers whatever it was told to, whoever asks.
    struct Liar(Mutex<(String, String)>);

    impl crate::Addressed for Liar {
        fn address(&self) -> &str {
            "here"
        }
    }

    impl RoutePlugin for Liar {
        fn route(
            &self,
            _: NamespaceId,
            destination: IpAddr,
        ) -> crate::Answering<'_, Option<HostName>> {
            let (prefix, gateway) = self.0.lock().unwrap().clone();
            Box::pin(async move { crate::plugin::answer::route(&prefix, &gateway, destination) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_believed_only_where_it_was_asked_for_and_covers() {
        use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

        let liar = Arc::new(Liar(Mutex::default()));
        // Most answers are refused, and all questions are to be asked.
        let limits = AnswerLimits { failures: u32::MAX, ..AnswerLimits::default() };
        let (answers, mut handed) = answers(liar.clone(), limits);
        let mut model = HashMap::new();
        let mut runner = TestRunner::default();
        let lie = (0u8..3, 0u8..64, 0u8..64, 20u8..=32, 0u8..4);
        for _ in 0..5_000 {
            let (ns, asked, answered, length, gateway) =
                lie.new_tree(&mut runner).unwrap().current();
            let (ns, asked) = (NamespaceId::from_bytes([ns; 16]), addr(asked));
            *liar.0.lock().unwrap() =
                (format!("{}/{length}", addr(answered)), format!("host-{gateway}"));
            let before = answers.known(ns, asked);
            if before == Known::Unasked && answers.wait(ns, &name("a"), asked, 100, || 0).is_ok() {
                handed.recv().await.unwrap();
                let covers = [asked, addr(answered)].map(|addr| match addr {
                    IpAddr::V4(addr) => u64::from(addr.to_bits()) >> (32 - length),
                    IpAddr::V6(_) => unreachable!("all are IPv4"),
                });
                if covers[0] == covers[1] {
                    model.insert((ns, asked), name(&format!("host-{gateway}")));
                }
            }
            let expected = model.get(&(ns, asked)).cloned().map_or(Known::Unasked, Known::Gateway);
            assert_eq!(answers.known(ns, asked), expected);
            tokio::time::advance(Duration::from_micros(400)).await;
        }
        assert!(model.len() > 100, "{}", model.len());
    }
}

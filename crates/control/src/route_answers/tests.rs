use std::collections::HashMap;

use tokio::sync::mpsc;

use super::*;
use crate::plugin::{Addressed, Answering, PluginError, memory::MemoryPlugin};

const NS: NamespaceId = NamespaceId::from_bytes([1; 16]);
const OTHER: NamespaceId = NamespaceId::from_bytes([2; 16]);

fn addr(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

fn name(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

type Handed = mpsc::UnboundedReceiver<(Vec<u32>, Released)>;

fn answers(plugin: Arc<dyn RoutePlugin>, limits: AnswerLimits) -> (Arc<RouteAnswers<u32>>, Handed) {
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
async fn a_question_whose_plugin_panics_gives_its_slot_and_its_packets_back() {
    let (answers, mut handed) = answers(Arc::new(Defective), AnswerLimits::default());
    answers.wait(NS, &name("a"), addr(1), 100, || 7).unwrap();
    assert_eq!(handed.recv().await, Some((vec![7], Released::TimedOut)));
    assert_eq!(answers.waiting(|_| 1), 0);
    assert!(answers.state().pending.is_empty());
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
    assert_eq!(answers.known(NS, addr(1)), PluginRoute::Unasked);
    for packet in 0..3 {
        assert_eq!(answers.wait(NS, &name("a"), addr(1), 100, || packet), Ok(()));
    }
    assert_eq!(handed.recv().await, Some((vec![0, 1, 2], Released::Answered)));
    assert_eq!(answers.known(NS, addr(1)), PluginRoute::Gateway(name("host-1")));
    assert_eq!(plugin.questions(), 1);
    assert_eq!(answers.known(OTHER, addr(1)), PluginRoute::Unasked, "namespaces share nothing");
}

#[tokio::test(start_paused = true)]
async fn no_route_is_cached_for_a_while() {
    let plugin = Arc::new(MemoryPlugin::default());
    let (answers, mut handed) = answers(plugin.clone(), AnswerLimits::default());
    answers.wait(NS, &name("a"), addr(1), 100, || 0).unwrap();
    handed.recv().await.unwrap();
    assert_eq!(answers.known(NS, addr(1)), PluginRoute::Nothing);
    tokio::time::advance(Duration::from_millis(1100)).await;
    assert_eq!(answers.known(NS, addr(1)), PluginRoute::Unasked);
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
        assert_eq!(answers.known(NS, addr(1)), PluginRoute::Gateway(name("host-1")));
    }
    let asked_while_down = plugin.questions();
    assert!(asked_while_down < 250, "asked seldom between failures: {asked_while_down}");

    plugin.insert_route(NS, addr(1), name("host-2"));
    plugin.fail_with(None);
    tokio::time::sleep(Duration::from_secs(6)).await;
    answers.known(NS, addr(1));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(answers.known(NS, addr(1)), PluginRoute::Gateway(name("host-2")));
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
async fn a_failing_plugin_is_not_asked_for_a_while() {
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
    assert_eq!(answers.known(NS, addr(39)), PluginRoute::Nothing);
    assert_eq!(answers.known(NS, addr(0)), PluginRoute::Unasked);
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

/// A host asks for as many addresses as there are slots for questions and more, of a plugin that takes 100 ms for each.
#[tokio::test(start_paused = true)]
async fn a_host_that_asks_for_very_many_addresses_does_not_slow_others() {
    let plugin = Arc::new(MemoryPlugin::default());
    plugin.take(Duration::from_millis(100));
    let (answers, mut handed) = answers(plugin.clone(), AnswerLimits::default());
    let far = |n: u16| IpAddr::from([10, 9, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
    let (greedy, other) = (name("greedy"), name("other"));
    let flood = || {
        let asked = (0..2048).filter(|n| answers.wait(NS, &greedy, far(*n), 1400, || 0).is_ok());
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
    // Each host may fill its own share of the waiting bytes.
    while answers.wait(NS, &greedy, far(0), 60_000, || 0).is_ok()
        || (0..2048).any(|n| answers.wait(NS, &greedy, far(n), 60_000, || 0).is_ok())
    {}
    assert_eq!(answers.wait(NS, &other, addr(9), 60_000, || 4), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_waits_for_the_question_of_another_gives_up_in_time() {
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
    let pending = &answers.state().pending;
    assert!(pending.is_empty());
    let hub = Asker { namespace: NS, host: None };
    assert!(pending.is_free(&hub, 1024, 16 << 20), "all slots are free again");
}

/// Gives the answer that was set, whatever the question.
struct WrongAnswers(Mutex<(String, String)>);

impl Addressed for WrongAnswers {
    fn address(&self) -> &str {
        "here"
    }
}

impl RoutePlugin for WrongAnswers {
    fn route(&self, _: NamespaceId, destination: IpAddr) -> Answering<'_, Option<HostName>> {
        let (prefix, gateway) = self.0.lock().unwrap().clone();
        Box::pin(async move { crate::plugin::answer::route(&prefix, &gateway, destination) })
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_only_where_it_was_asked_for_and_covers() {
    use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

    let wrong = Arc::new(WrongAnswers(Mutex::default()));
    // Most answers are refused, and all questions are to be asked.
    let limits = AnswerLimits { failures: u32::MAX, ..AnswerLimits::default() };
    let (answers, mut handed) = answers(wrong.clone(), limits);
    let mut model = HashMap::new();
    let mut runner = TestRunner::default();
    let case = (0u8..3, 0u8..64, 0u8..64, 20u8..=32, 0u8..4);
    for _ in 0..5_000 {
        let (ns, asked, answered, length, gateway) = case.new_tree(&mut runner).unwrap().current();
        let (ns, asked) = (NamespaceId::from_bytes([ns; 16]), addr(asked));
        *wrong.0.lock().unwrap() =
            (format!("{}/{length}", addr(answered)), format!("host-{gateway}"));
        let before = answers.known(ns, asked);
        if before == PluginRoute::Unasked && answers.wait(ns, &name("a"), asked, 100, || 0).is_ok()
        {
            handed.recv().await.unwrap();
            let covers = [asked, addr(answered)].map(|addr| match addr {
                IpAddr::V4(addr) => u64::from(addr.to_bits()) >> (32 - length),
                IpAddr::V6(_) => unreachable!("all are IPv4"),
            });
            if covers[0] == covers[1] {
                model.insert((ns, asked), name(&format!("host-{gateway}")));
            }
        }
        let expected =
            model.get(&(ns, asked)).cloned().map_or(PluginRoute::Unasked, PluginRoute::Gateway);
        assert_eq!(answers.known(ns, asked), expected);
        tokio::time::advance(Duration::from_micros(400)).await;
    }
    assert!(model.len() > 100, "{}", model.len());
}

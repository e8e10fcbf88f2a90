use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;
use crate::plugin::{PluginError, PluginScope, memory::MemoryPlugin};

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
async fn a_rule_is_cached_for_its_time_and_not_longer() {
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
    assert_eq!(plugin.questions(), 2, "no rule is cached, too");
    plugin.bind(host("a"), Some(NS));
    tokio::time::advance(Duration::from_millis(1_100)).await;
    assert_eq!(questions.ask(&host("a"), "hub").await, Ok(Some(NS)));
    assert_eq!(questions.ask(&host("a"), "other").await, Ok(Some(NS)));
    assert_eq!(plugin.questions(), 4, "services share nothing");
}

#[tokio::test(start_paused = true)]
async fn an_outdated_permission_lets_no_host_in_while_the_plugin_is_down() {
    let (plugin, questions) = ingress(QuestionLimits::default());
    let (admission_plugin, admissions) = admission();
    assert_eq!(questions.ask(&host("a"), "hub").await, Ok(Some(NS)));
    assert_eq!(admissions.ask("hub", client(1, 9)).await, Ok(true));
    plugin.fail_with(Some(PluginError::Timeout));
    admission_plugin.fail_with(Some(PluginError::Timeout));
    tokio::time::advance(Duration::from_secs(11)).await;
    let denied = Err(AskError::Failed(PluginError::Timeout));
    assert_eq!(questions.ask(&host("a"), "hub").await, denied);
    assert_eq!(admissions.ask("hub", client(1, 9)).await, Err(PluginError::Timeout.into()));
}

#[tokio::test(start_paused = true)]
async fn callers_with_the_same_question_share_one_call() {
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
async fn passwords_are_never_cached_and_never_shared() {
    let (plugin, questions) = auth();
    for password in ["right", "wrong", "right", ""] {
        let expected = (password == "right").then(|| "client-1".to_owned());
        assert_eq!(questions.ask(login("u", password, 1)).await, Ok(expected));
    }
    assert_eq!(plugin.questions(), 4);
    let both = [login("u", "right", 1), login("u", "wrong", 1)].map(|login| questions.ask(login));
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
async fn a_hanging_plugin_keeps_all_hosts_out_within_its_deadline() {
    let (plugin, questions) = auth();
    plugin.hang(true);
    let start = Instant::now();
    let many = join_all((0..2000).map(|n| questions.ask(login("u", "right", n)))).await;
    let count = |error: AskError| many.iter().filter(|a| **a == Err(error.clone())).count();
    assert_eq!(count(AskError::Full), 2000 - 1024, "callers are bounded");
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
        assert_eq!(questions.ask(login("u", "", n)).await, Err(PluginError::Status(503).into()));
    }
    tokio::time::advance(Duration::from_secs(5)).await;
    let many = join_all((0..50).map(|n| questions.ask(login("u", "", n)))).await;
    assert_eq!(many.iter().filter(|answer| **answer == Err(AskError::Paused)).count(), 49);
    assert_eq!(plugin.questions(), 6);
}

#[tokio::test(start_paused = true)]
async fn guessed_passwords_do_not_pause_the_plugin() {
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
async fn nothing_is_asked_for_callers_that_stopped_waiting() {
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
    assert_eq!(plugin.questions(), 1, "the second caller's turn came after it had gone");
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

#[tokio::test(start_paused = true)]
async fn rates_are_asked_for_again_after_each_refresh_and_once_for_all_connections() {
    let plugin = Arc::new(MemoryPlugin::default());
    let rates = |bytes| PluginRates { input: std::num::NonZeroU64::new(bytes), output: None };
    plugin.set_rates(rates(1000));
    let refresh = Duration::from_secs(30);
    let limits = QuestionLimits::default();
    let questions = LimiterQuestions::new("l".into(), plugin.clone(), refresh, limits);
    let question = |scope| LimitQuestion { service: "hub".into(), scope };
    let service = || questions.ask(question(PluginScope::Service));
    let same = join_all((0..10).map(|_| service())).await;
    assert_eq!(same, vec![Ok(rates(1000)); 10]);
    assert_eq!(plugin.questions(), 1);
    plugin.set_rates(rates(0));
    tokio::time::advance(refresh - Duration::from_millis(1)).await;
    assert_eq!(service().await, Ok(rates(1000)));
    let connection = |port| questions.ask(question(PluginScope::Connection(client(1, port))));
    assert_eq!(connection(1).await, Ok(PluginRates::default()));
    assert_eq!(connection(2).await, Ok(PluginRates::default()));
    assert_eq!(plugin.questions(), 3, "each connection has a limit of its own");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(service().await, Ok(PluginRates::default()));
    assert_eq!(questions.status().kind, PluginKind::Limiter);
}

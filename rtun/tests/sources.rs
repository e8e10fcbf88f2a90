//! Tables, rules and users from files, redis and HTTP services, changing and failing while packets pass.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::{
    World,
    raw::{Answer, RawHost, request, request_as, udp},
    services::{Http, Manner, Redis},
    wait_until,
};
use nix::sys::signal::Signal;

/// What the log says when a source begins to fail.
const FAILS: &str = "a source fails; its last good rows stay";

const NS: [u8; 16] = [0xab; 16];

/// A router with a route from each kind of source for the same prefix.
const FOUR_SOURCES: &str = "
services:
- name: service-0
  addr: :8443
  handler: {type: router, metadata: {router: router-0}}
  listener: {type: tcp}
routers:
- name: router-0
  reload: 1s
  routes:
  - {dst: 192.168.123.1, gateway: sender}
  - {dst: 10.1.0.0/16, gateway: inline}
  file: {path: routes.txt}
  redis: {addr: '127.0.0.1:6399', key: routes}
  http: {url: 'http://127.0.0.1:8100/routes', timeout: 1s}
";

/// Sends one packet after another into a prefix until a packet sent now arrives at `receiver`.
fn leads_to(sender: &mut RawHost, receiver: &mut RawHost, destination: &str) {
    receiver.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let packet = udp("192.168.123.1", destination, b"where to?");
    wait_until(&format!("{destination} leading there"), || {
        sender.send(&packet);
        receiver.try_receive().is_some_and(|got| got == packet)
    });
}

#[test]
fn of_equal_prefixes_http_comes_before_redis_before_a_file_before_the_configuration() {
    let Some(world) = World::new() else { return };
    let Some(redis) = Redis::start(&world, &world.hub) else { return };
    let http = Http::start(&world.hub, 8100, Manner::Says("10.1.0.0/16 http\n# more\n\n".into()));
    redis.tell("HSET routes 10.1.0.0/16 redis");
    let file = world.file(
        "routes.txt",
        "# routes\n\n10.1.0.0/16\tfile # ours\nnonsense\n10.1.2.0/24 sender more\n",
    );
    let hub = world.hub(FOUR_SOURCES);
    let machine = world.machine("hosts");
    let mut sender = RawHost::join(&machine, "sender");
    let mut hosts: Vec<_> =
        ["http", "redis", "file", "inline"].map(|name| RawHost::join(&machine, name)).into();
    let bad = hub.said("a line is left out");
    assert_eq!((bad.len(), &bad[0]["line"]), (1, &4.into()), "{}", hub.log());

    leads_to(&mut sender, &mut hosts[0], "10.1.0.9");
    http.now(Manner::Says("# nothing any more\n".into()));
    leads_to(&mut sender, &mut hosts[1], "10.1.0.9");
    redis.tell("HSET routes 10.9.0.0/16 redis");
    redis.tell("HDEL routes 10.1.0.0/16");
    leads_to(&mut sender, &mut hosts[2], "10.1.0.9");
    fs::write(&file, "# none\n").unwrap();
    leads_to(&mut sender, &mut hosts[3], "10.1.0.9");
    drop((sender, hosts));
    hub.wait_for_nth("host left", 5);
    hub.stop_balanced();
}

/// Sends without pause, and counts what arrives: nothing may be missing.
struct Flow {
    done: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    sender: thread::JoinHandle<()>,
    receiver: thread::JoinHandle<u64>,
}

impl Flow {
    fn start(mut sender: RawHost, mut receiver: RawHost) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (stop, count) = (Arc::clone(&done), Arc::clone(&sent));
        let packet = udp("192.168.123.1", "192.168.123.2", b"on and on");
        let last = udp("192.168.123.1", "192.168.123.2", b"the last");
        let end = last.clone();
        let sender = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                sender.send(&packet);
                count.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_micros(500));
            }
            sender.send(&last);
        });
        let receiver = thread::spawn(move || {
            let mut received = 0;
            while receiver.receive() != end {
                received += 1;
            }
            received
        });
        Self { done, sent, sender, receiver }
    }

    /// Ends it, not before it has said something; nothing was lost.
    fn end(self) {
        wait_until("packets", || self.sent.load(Ordering::Relaxed) > 100);
        self.done.store(true, Ordering::Relaxed);
        self.sender.join().unwrap();
        let (sent, received) = (self.sent.load(Ordering::Relaxed), self.receiver.join().unwrap());
        assert_eq!(sent, received, "packets were lost");
    }
}

/// A table that is only in sources, one of a kind, and a snapshot of each.
fn only(source: &str) -> String {
    format!(
        "
services:
- name: service-0
  addr: :8443
  handler: {{type: router, metadata: {{router: router-0}}}}
  listener: {{type: tcp}}
routers:
- name: router-0
  reload: 1s
  {source}
"
    )
}

const TWO_HOSTS: &str = "192.168.123.1 host-1\n192.168.123.2 host-2\n192.168.123.3 host-3\n";

/// While `break_it` does its worst, traffic goes on; then the hub starts again without the source.
fn survives(world: &World, config: &str, break_it: &[(&str, &dyn Fn())], repair: &dyn Fn()) {
    let file = world.file("hub.yaml", config);
    let hub = world.hub(config);
    let machine = world.machine("hosts");
    let flow = Flow::start(RawHost::join(&machine, "host-1"), RawHost::join(&machine, "host-2"));
    for (n, (what, act)) in break_it.iter().enumerate() {
        act();
        hub.wait_for_nth(FAILS, n + 1);
        assert_eq!(hub.said("a source is back").len(), n, "{what}");
        repair();
        hub.wait_for_nth("a source is back", n + 1);
    }
    break_it[0].1();
    hub.wait_for_nth(FAILS, break_it.len() + 1);
    flow.end();
    hub.wait_for_nth("host left", 2);
    hub.stop_balanced();

    let begun = Instant::now();
    let hub = world.start_again(&world.hub, &["-C", file.to_str().unwrap()], &hub);
    hub.wait_for_nth("hub listens", 2);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let flow = Flow::start(RawHost::join(&machine, "host-1"), RawHost::join(&machine, "host-2"));
    repair();
    hub.wait_for_nth("a source is back", break_it.len() + 1);
    flow.end();
    hub.stop();
}

#[test]
fn a_redis_that_fails_costs_nothing_that_was_known() {
    let Some(world) = World::new() else { return };
    let Some(redis) = Redis::start(&world, &world.hub) else { return };
    let fill = || {
        for line in TWO_HOSTS.lines() {
            redis.tell(&format!("RPUSH routes {line:?}"));
        }
    };
    fill();
    let empty = || drop(redis.tell("DEL routes"));
    let wrong_type = || {
        redis.tell("DEL routes");
        redis.tell("SET routes nothing");
    };
    let denied = || drop(redis.tell("CONFIG SET requirepass other"));
    let config = only("redis: {addr: '127.0.0.1:6399', key: routes, type: list}");
    survives(&world, &config, &[("empty", &empty), ("wrong type", &wrong_type)], &|| {
        redis.tell("DEL routes");
        fill();
    });
    denied();
    redis.kill();
}

#[test]
fn an_http_service_that_fails_costs_nothing_that_was_known() {
    let Some(world) = World::new() else { return };
    let good = || Manner::Says(TWO_HOSTS.into());
    let http = Http::start(&world.hub, 8100, good());
    let config = only("http: {url: 'http://127.0.0.1:8100/routes', timeout: 500ms}");
    let manners = [
        Manner::Hangs,
        Manner::Refuses,
        Manner::Redirects,
        Manner::Endless,
        Manner::Nonsense,
        Manner::Empty,
        Manner::Truncated(TWO_HOSTS.into()),
        Manner::Status(500),
        Manner::Slow(TWO_HOSTS.into(), Duration::from_secs(2)),
    ];
    let acts: Vec<_> = manners
        .iter()
        .map(|manner| {
            let (http, manner) = (http.clone(), manner.clone());
            (format!("{manner:?}"), move || http.now(manner.clone()))
        })
        .collect();
    let acts: Vec<(&str, &dyn Fn())> =
        acts.iter().map(|(what, act)| (what.as_str(), act as &dyn Fn())).collect();
    survives(&world, &config, &acts, &|| http.now(good()));
    assert_eq!(http.redirected.load(Ordering::SeqCst), 0, "redirects are not followed");
}

#[test]
fn a_file_that_goes_or_is_emptied_costs_nothing_that_was_known() {
    let Some(world) = World::new() else { return };
    let path = world.file("routes.txt", TWO_HOSTS);
    let replace = |text: &str| {
        let draft = path.with_extension("new");
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, &path).unwrap();
    };
    let gone = || fs::remove_file(&path).unwrap();
    let emptied = || replace("");
    survives(
        &world,
        &only("file: {path: routes.txt}"),
        &[("gone", &gone), ("emptied", &emptied)],
        &|| replace(TWO_HOSTS),
    );
}

#[test]
fn a_table_cut_short_is_read_again_before_it_is_believed() {
    let Some(world) = World::new() else { return };
    let many: String = (0..200).map(|n| format!("10.0.{n}.0/24 host-3\n")).collect();
    let whole = format!("{TWO_HOSTS}{many}");
    let path = world.file("routes.txt", &whole);
    let hub = world.hub(&only("file: {path: routes.txt}"));
    let machine = world.machine("hosts");
    let flow = Flow::start(RawHost::join(&machine, "host-1"), RawHost::join(&machine, "host-2"));
    fs::write(&path, "192.168.123.1 host-1\n").unwrap();
    let failing = hub.wait_for(FAILS);
    assert!(failing["error"].as_str().unwrap().contains("1 rows instead of 203"), "{failing}");
    fs::write(&path, &whole).unwrap();
    hub.wait_for("a source is back");
    flow.end();
    fs::write(&path, "192.168.123.1 host-1\n192.168.123.2 host-1\n").unwrap();
    let mut one = RawHost::join(&machine, "host-1");
    wait_until("the short table to be used", || {
        let before = hub.dropped("hairpin");
        one.send(&udp("192.168.123.1", "192.168.123.2", b"to myself"));
        thread::sleep(Duration::from_millis(50));
        hub.dropped("hairpin") > before
    });
    hub.stop();
}

/// Users, rules and addresses from files.
fn with_sources(world: &World) -> String {
    world.file("users.txt", "# users\nalice s3cret\nbob pass\ncarol pass\n");
    world.file(
        "rules.txt",
        "host-1 abababab-abab-abab-abab-abababababab\n*.red abababab-abab-abab-abab-abababababab # all\n",
    );
    world.file("refused.txt", "192.0.2.0/24\n198.51.100.7\n");
    "
services:
- name: service-0
  addr: :8443
  admission: refused
  handler: {type: router, auther: users, metadata: {router: router-0, ingress: rules}}
  listener: {type: tcp}
routers:
- name: router-0
  routes:
  - {dst: 192.168.123.1, gateway: host-1}
  - {dst: 192.168.123.2, gateway: b.red}
authers:
- name: users
  auths: [{username: bob, hosts: [b.red]}]
  file: {path: users.txt}
ingresses:
- name: rules
  file: {path: rules.txt}
admissions:
- name: refused
  file: {path: refused.txt}
"
    .to_owned()
}

fn rewrite(folder: &Path, name: &str, text: &str) {
    let draft = folder.join("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(&draft, folder.join(name)).unwrap();
}

#[test]
fn who_loses_a_permission_in_a_file_is_out_within_seconds_and_nobody_else() {
    let Some(world) = World::new() else { return };
    let config = with_sources(&world);
    let folder = world.file("x", "").parent().unwrap().to_owned();
    let hub = world.hub(&config);
    let machine = world.machine("hosts");
    let ask = |user: Option<(&str, &str)>, host: &str| {
        let mut raw = RawHost::connect(&machine);
        let answer = raw.ask(&request_as(user, host, NS));
        (answer, raw)
    };
    let alice = Some(("alice", "s3cret"));
    let bob = Some(("bob", "pass"));
    for (user, host, expected) in [
        (None, "host-1", 2),
        (Some(("alice", "wrong")), "host-1", 2),
        (Some(("dave", "s3cret")), "host-1", 2),
        (bob, "host-1", 2),
        (alice, "host-2", 6),
        (alice, "host-1", 0),
        (bob, "b.red", 0),
    ] {
        assert_eq!(ask(user, host).0, Answer::Status(expected), "{user:?} {host}");
    }
    let (mut one, mut two) = (ask(alice, "host-1").1, ask(bob, "b.red").1);
    let mut other = ask(Some(("carol", "pass")), "c.red").1;
    let packet = udp("192.168.123.1", "192.168.123.2", b"still here");
    let mut passes = |one: &mut RawHost| {
        one.send(&packet);
        assert_eq!(two.receive(), packet);
    };
    passes(&mut one);

    let begun = Instant::now();
    rewrite(&folder, "users.txt", "alice s3cret\nbob pass\n");
    assert_eq!(other.answer(), Answer::Closed, "carol is out");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(ask(Some(("carol", "pass")), "c.red").0, Answer::Status(2));
    passes(&mut one);

    rewrite(&folder, "users.txt", "alice changed\nbob pass\n");
    assert_eq!(one.answer(), Answer::Closed, "alice's password has changed");
    let mut one = ask(Some(("alice", "changed")), "host-1").1;
    assert_eq!(ask(alice, "host-1").0, Answer::Status(2));
    passes(&mut one);

    rewrite(&folder, "rules.txt", "*.red abababab-abab-abab-abab-abababababab\n");
    assert_eq!(one.answer(), Answer::Closed, "host-1 has no rule");

    rewrite(&folder, "refused.txt", "10.0.0.0/16\n");
    assert_eq!(two.answer(), Answer::Closed, "nobody may connect from there");
    assert_eq!(ask(bob, "b.red").0, Answer::Closed);
    assert_eq!(hub.said("host left").iter().filter(|l| l["reason"] == "revoked").count(), 4);
    hub.stop();
}

#[test]
fn a_source_that_was_never_there_is_named_and_admits_nobody() {
    let Some(world) = World::new() else { return };
    let config = with_sources(&world).replace("users.txt", "missing.txt");
    let hub = world.hub(&config);
    let failing = hub.wait_for(FAILS);
    assert_eq!((&failing["kind"], &failing["name"]), (&"auther".into(), &"users".into()));
    let machine = world.machine("hosts");
    let mut raw = RawHost::connect(&machine);
    let alice = request_as(Some(("alice", "s3cret")), "host-1", NS);
    assert_eq!(raw.ask(&alice), Answer::Status(2));
    world.file("missing.txt", "alice s3cret\n");
    wait_until("alice being admitted", || {
        RawHost::connect(&machine).ask(&alice) == Answer::Status(0)
    });
    hub.stop();
}

#[test]
fn past_a_quota_there_is_a_clear_refusal_and_the_old_table_stays() {
    let Some(world) = World::new() else { return };
    let config = only("file: {path: routes.txt}")
        .replace("router: router-0}", "router: router-0, maxRoutesPerRouter: 5, maxHosts: 3}");
    let path = world.file("routes.txt", TWO_HOSTS);
    let hub = world.hub(&config);
    let machine = world.machine("hosts");
    let flow = Flow::start(RawHost::join(&machine, "host-1"), RawHost::join(&machine, "host-2"));
    let many: String = (0..6).map(|n| format!("10.0.{n}.0/24 host-3\n")).collect();
    fs::write(&path, many).unwrap();
    let failing = hub.wait_for(FAILS);
    assert!(failing["error"].as_str().unwrap().contains("more than the 5 rows"), "{failing}");
    let _third = RawHost::join(&machine, "host-3");
    let mut fourth = RawHost::connect(&machine);
    assert_eq!(fourth.ask(&request("host-4", [0; 16])), Answer::Status(5));
    // Logged after the host has been answered.
    wait_until("the reason in the log", || hub.log().contains("limit_total"));
    flow.end();
    hub.stop();
}

#[test]
fn sighup_has_every_source_read_at_once() {
    let Some(world) = World::new() else { return };
    let http = Http::start(&world.hub, 8100, Manner::Says(TWO_HOSTS.into()));
    let config = only("http: {url: 'http://127.0.0.1:8100/routes'}").replace("  reload: 1s\n", "");
    let hub = world.hub(&config);
    assert_eq!(http.requests.load(Ordering::SeqCst), 1, "read once, for want of `reload`");
    http.now(Manner::Says(format!("{TWO_HOSTS}10.7.0.0/16 host-2\n")));
    hub.process.signal(Signal::SIGHUP).unwrap();
    let machine = world.machine("hosts");
    let mut one = RawHost::join(&machine, "host-1");
    let mut two = RawHost::join(&machine, "host-2");
    leads_to(&mut one, &mut two, "10.7.0.1");
    hub.stop();
}

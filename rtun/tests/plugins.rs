//! Plugins that say who may connect, from where, and into which namespace: right, slow, lying, away.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use common::{
    World,
    raw::{Answer, RawHost, request, request_as, udp},
    services::{Http, Manner},
};

const NS: [u8; 16] = [0xab; 16];

const ID: &str = "abababab-abab-abab-abab-abababababab";

const PLUGINS: &str = "
services:
- name: service-0
  addr: :8443
  admission: peers
  handler: {type: router, authers: [local, asked], metadata: {router: router-0, ingress: places}}
  listener: {type: tcp}
routers:
- name: router-0
  routes:
  - {dst: 192.168.123.1, gateway: host-1}
  - {dst: 192.168.123.2, gateway: host-2}
authers:
- name: local
  auths: [{username: alice, password: s3cret}]
- name: asked
  plugin: {type: http, addr: 'http://127.0.0.1:8101/auth', token: t0ken, timeout: 500ms}
ingresses:
- name: places
  plugin: {type: http, addr: 'http://127.0.0.1:8102/ingress', timeout: 500ms}
admissions:
- name: peers
  plugin: {type: http, addr: 'http://127.0.0.1:8103/peers', timeout: 500ms}
";

const ALICE: Option<(&str, &str)> = Some(("alice", "s3cret"));
const BOB: Option<(&str, &str)> = Some(("bob", "pass"));

/// What a plugin may do instead of answering.
fn failures() -> Vec<Manner> {
    vec![
        Manner::Hangs,
        Manner::Refuses,
        Manner::Redirects,
        Manner::Endless,
        Manner::Nonsense,
        Manner::Empty,
        Manner::Status(500),
        Manner::Says("[]".into()),
        Manner::Truncated("{\"ok\": true, \"endpoint\": \"x\"}".into()),
    ]
}

fn yes() -> Manner {
    Manner::Says("{\"ok\": true, \"id\": \"x\"}".into())
}

fn no() -> Manner {
    Manner::Says("{\"ok\": false}".into())
}

fn place(endpoint: &str) -> Manner {
    Manner::Says(format!("{{\"endpoint\": \"{endpoint}\"}}"))
}

#[test]
fn plugins_decide_about_users_places_and_addresses_and_without_an_answer_nobody_joins() {
    let Some(world) = World::new() else { return };
    let auth = Http::start(&world.hub, 8101, yes());
    let ingress = Http::start(&world.hub, 8102, place(ID));
    let _door = Http::start(&world.hub, 8103, yes());
    let hub = world.hub(PLUGINS);
    let machine = world.machine("hosts");
    let ask = |user: Option<(&str, &str)>, host: &str| {
        let mut raw = RawHost::connect(&machine);
        (raw.ask(&request_as(user, host, NS)), raw)
    };
    let status = |user: Option<(&str, &str)>, host: &str| ask(user, host).0;

    assert_eq!(status(None, "host-1"), Answer::Status(2), "no user, nobody is asked");
    assert_eq!(auth.requests.load(Ordering::SeqCst), 0);
    let (first, mut one) = ask(ALICE, "host-1");
    assert_eq!(first, Answer::Status(0), "a user of the list; nobody is asked");
    assert_eq!(auth.requests.load(Ordering::SeqCst), 0);
    let (second, mut two) = ask(BOB, "host-2");
    assert_eq!(second, Answer::Status(0), "a user of the plugin");
    let head = auth.heads().pop().unwrap();
    assert!(head.starts_with("POST /auth HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("authorization: bearer t0ken\r\n"), "{head}");
    for part in [
        "\"username\":\"bob\"",
        "\"password\":\"pass\"",
        "\"service\":\"service-0\"",
        "\"client\":\"10.0.",
    ] {
        assert!(head.replace(": \"", ":\"").contains(part), "{part} in {head}");
    }
    let head = ingress.heads().pop().unwrap();
    assert!(head.starts_with("GET /ingress?host=host-2&service=service-0 HTTP/1.1\r\n"), "{head}");

    let packet = udp("192.168.123.1", "192.168.123.2", b"known");
    for manner in [vec![no()], failures()].concat() {
        auth.now(manner.clone());
        let answer = status(BOB, "other");
        assert_eq!(
            answer,
            Answer::Status(2),
            "{manner:?}: an unauthenticated peer does not learn why"
        );
        assert_eq!(status(ALICE, "host-1b"), Answer::Status(0), "{manner:?}: a known user joins");
        one.send(&packet);
        assert_eq!(two.receive(), packet, "{manner:?}");
    }
    assert_eq!(auth.redirected.load(Ordering::SeqCst), 0, "the token goes nowhere else");
    assert!(hub.log().contains("auth_unavailable"), "the log says it");
    assert_eq!(hub.said("host left").iter().filter(|l| l["host"] == "host-2").count(), 0);
    hub.stop();
}

#[test]
fn an_ingress_plugin_places_hosts_and_its_nonsense_places_nobody() {
    let Some(world) = World::new() else { return };
    let _auth = Http::start(&world.hub, 8101, yes());
    let ingress = Http::start(&world.hub, 8102, place(ID));
    let _door = Http::start(&world.hub, 8103, yes());
    let hub = world.hub(PLUGINS);
    let machine = world.machine("hosts");
    let mut number = 0;
    let other = "cdcdcdcd-cdcd-cdcd-cdcd-cdcdcdcdcdcd";
    let zero = "00000000-0000-0000-0000-000000000000";
    let mut manners = vec![
        (place(ID), 0),
        (place(other), 6),
        (place(""), 6),
        (place(zero), 6),
        (place("namespace"), 6),
    ];
    manners.extend(failures().into_iter().map(|manner| (manner, 6)));
    for (manner, expected) in manners {
        number += 1;
        ingress.now(manner.clone());
        let mut raw = RawHost::connect(&machine);
        let answer = raw.ask(&request_as(ALICE, &format!("host-{number}"), NS));
        assert_eq!(answer, Answer::Status(expected), "{manner:?}");
    }
    hub.stop();
}

#[test]
fn an_admission_plugin_keeps_addresses_out_before_they_have_said_a_word() {
    let Some(world) = World::new() else { return };
    let _auth = Http::start(&world.hub, 8101, yes());
    let _ingress = Http::start(&world.hub, 8102, place(ID));
    let admission = Http::start(&world.hub, 8103, no());
    let hub = world.hub(PLUGINS);
    for (n, manner) in [vec![no()], failures()].concat().into_iter().enumerate() {
        admission.now(manner.clone());
        // What is said of an address is remembered: each has its own.
        let machine = world.machine(&format!("m{n}"));
        let mut raw = RawHost::connect(&machine);
        assert_eq!(raw.ask(&request_as(ALICE, "host-1", NS)), Answer::Closed, "{manner:?}");
    }
    admission.now(yes());
    let machine = world.machine("welcome");
    let begun = Instant::now();
    // After that number of failures the plugin is not asked for a while.
    common::wait_until("being admitted", || {
        RawHost::connect(&machine).ask(&request_as(ALICE, "host-1", NS)) == Answer::Status(0)
    });
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let head = admission.heads().pop().unwrap().replace(": \"", ":\"");
    assert!(head.contains("\"network\":\"tcp\"") && head.contains("\"addr\":\"10.0."), "{head}");
    hub.stop();
}

#[test]
fn thousands_of_wrong_passwords_while_rules_change_open_nothing() {
    let Some(world) = World::new() else { return };
    let config = "
services:
- name: service-0
  addr: :8443
  handler: {type: router, auther: users, metadata: {router: router-0}}
  listener: {type: tcp}
routers:
- name: router-0
  routes:
  - {dst: 192.168.123.1, gateway: host-1}
authers:
- name: users
  auths: [{username: alice, password: s3cret}]
";
    let hub = world.hub(config);
    let machine = world.machine("peer");
    let reloads = 60;
    let wrong = request_as(Some(("alice", "guess")), "host-1", [0; 16]);
    std::thread::scope(|scope| {
        let guessing: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for n in 0..400 {
                        // A wrong password is answered late, a right one at once; who is admitted shows in the log too.
                        let mut host = RawHost::connect(&machine);
                        host.stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
                        assert_ne!(host.ask(&wrong), Answer::Status(0), "guess {n}");
                    }
                })
            })
            .collect();
        for n in 0..reloads {
            world.file(
                "hub.yaml",
                &format!("{config}# {n}\n").replace("lice, p", &format!("lice{}, p", n % 2)),
            );
            hub.process.signal(nix::sys::signal::Signal::SIGHUP).unwrap();
            hub.wait_for_nth("configuration read again", n + 1);
        }
        guessing.into_iter().for_each(|guesses| guesses.join().unwrap());
    });
    // A connection is let go unanswered while many guesses of its address wait for their answers.
    common::wait_until("an answer to who has no password", || {
        RawHost::connect(&machine).ask(&request("host-1", [0; 16])) == Answer::Status(2)
    });
    assert!(hub.said("host joined").is_empty(), "nobody was admitted");
    hub.stop();
}

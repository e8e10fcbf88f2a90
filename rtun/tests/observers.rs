//! Observers over HTTP and gRPC: what they are informed of is what passed, also when they were away, and as GOST informs them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "common/grpc.rs"]
mod grpc;

use std::collections::BTreeMap;

use common::{
    World, gost,
    raw::{RawHost, udp},
    reaches,
    services::{Http, Manner},
    wait_until,
};
use grpc::Grpc;
use nix::sys::signal::Signal;
use serde_json::Value;

const ZERO: &str = "00000000-0000-0000-0000-000000000000";

/// A hub whose service and handler have an observer each; `more` is of the metadata of both.
fn config(service: &str, handler: &str, more: &str) -> String {
    format!(
        "
services:
- name: service-0
  addr: :8443
  observer: service
  metadata: {{enableStats: true, observer.period: 1s{more}}}
  handler: {{type: router, observer: hosts, metadata: {{router: router-0, observer.period: 1s{more}}}}}
  listener: {{type: tcp}}
routers:
- name: router-0
  routes:
  - {{dst: 192.168.123.1, gateway: host-1}}
  - {{dst: 192.168.123.2, gateway: host-2}}
observers:
- name: service
  plugin: {service}
- name: hosts
  plugin: {handler}
"
    )
}

fn http(port: u16) -> String {
    format!("{{type: http, addr: '127.0.0.1:{port}/observer', token: t0ken}}")
}

const OK: &str = "{\"ok\": true}";

fn ok() -> Manner {
    Manner::Says(OK.into())
}

/// The events that an observer has taken.
fn taken(observer: &Http) -> Vec<Value> {
    let bodies = observer.answered_with(OK).into_iter().map(|request| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /observer HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
        serde_json::from_str::<Value>(body).unwrap()["events"].as_array().unwrap().clone()
    });
    bodies.flatten().collect()
}

fn states(events: &[Value]) -> Vec<String> {
    let states = events.iter().filter(|event| event["type"] == "status");
    states
        .map(|event| {
            let state = event["status"]["state"].as_str().unwrap().to_owned();
            assert_eq!(event["kind"], "service");
            assert_eq!(event["status"]["msg"], format!("service service-0 is {state}"));
            state
        })
        .collect()
}

/// By client, the empty text for the service: the sums of bytes in and out, and the other counts as reported last.
fn sums(events: &[Value], reset: bool) -> BTreeMap<String, [u64; 5]> {
    let mut sums = BTreeMap::<String, [u64; 5]>::new();
    for event in events.iter().filter(|event| event["type"] == "stats") {
        let client = event["client"].as_str().unwrap_or_default();
        assert_eq!(event["kind"], if client.is_empty() { "service" } else { "handler" }, "{event}");
        let count = |name: &str| event["stats"][name].as_u64().unwrap();
        let sum = sums.entry(client.to_owned()).or_default();
        let before = if reset { [sum[0], sum[1]] } else { [0; 2] };
        *sum = [
            before[0] + count("inputBytes"),
            before[1] + count("outputBytes"),
            count("totalConns"),
            count("currentConns"),
            count("totalErrs"),
        ];
    }
    sums
}

/// Sends packets from host 1 to host 2; returns their bytes.
fn send(one: &mut RawHost, two: &mut RawHost, packets: usize) -> u64 {
    let packet = udp("192.168.123.1", "192.168.123.2", &[7; 500]);
    for _ in 0..packets {
        one.send(&packet);
        assert_eq!(two.receive(), packet);
    }
    (packets * packet.len()) as u64
}

fn client(n: u8) -> String {
    format!("host-{n}@{ZERO}")
}

#[test]
fn an_observer_that_was_away_knows_in_the_end_what_passed() {
    let Some(world) = World::new() else { return };
    for (n, reset) in [(0, true), (1, false)] {
        let ports = [8201 + 10 * n, 8202 + 10 * n];
        let [service, hosts] = ports.map(|port| Http::start(&world.hub, port, ok()));
        let more = if reset { ", observer.resetTraffic: true" } else { "" };
        let hub = world.hub(&config(&http(ports[0]), &http(ports[1]), more));
        let machine = world.machine(&format!("hosts{n}"));
        let mut two = RawHost::join(&machine, "host-2");
        let mut one = RawHost::join(&machine, "host-1");
        let mut bytes = send(&mut one, &mut two, 10);
        wait_until("the first report", || sums(&taken(&hosts), reset).contains_key(&client(2)));
        let head = hosts.heads().pop().unwrap().to_lowercase();
        assert!(head.contains("authorization: bearer t0ken"), "{head}");

        // Away in every way there is, while a host leaves and comes back.
        let manners =
            [Manner::Status(500), Manner::Says("{\"ok\": false}".into()), Manner::Refuses];
        for (round, manner) in manners.into_iter().enumerate() {
            let before = hosts.heads().len();
            for observer in [&service, &hosts] {
                observer.now(manner.clone());
            }
            bytes += send(&mut one, &mut two, 10);
            drop(one);
            hub.wait_for_nth("host left", round + 1);
            one = RawHost::join(&machine, "host-1");
            bytes += send(&mut one, &mut two, 10);
            wait_until("reports in vain", || hosts.heads().len() > before + 1);
        }
        let status = hub.status();
        let observers = status["observers"].as_array().unwrap();
        let waiting = observers.iter().find(|it| it["name"] == "hosts").unwrap()["waiting"].clone();
        assert!(waiting.as_u64().unwrap() > 0, "{status}");
        for observer in [&service, &hosts] {
            observer.now(ok());
        }
        bytes += send(&mut one, &mut two, 10);
        drop((one, two));
        hub.stop();

        let seen = sums(&taken(&hosts), reset);
        assert_eq!(seen[&client(1)], [bytes, 0, 4, 0, 0], "{seen:?}");
        assert_eq!(seen[&client(2)], [0, bytes, 1, 0, 0], "{seen:?}");
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert_eq!(sums(&taken(&service), reset)[""], [bytes, bytes, 5, 0, 0]);
        assert_eq!(states(&taken(&service)), ["running", "ready", "closed"]);
        assert_eq!(states(&taken(&hosts)), Vec::<String>::new());
    }
}

#[test]
fn counts_go_on_over_grpc_while_rules_observers_and_listeners_change() {
    let Some(world) = World::new() else { return };
    let grpc = Grpc::start(&world.hub, 8301, ZERO, |_| "");
    let plugin = "{addr: '127.0.0.1:8301', token: t0ken}";
    let before = config(plugin, plugin, ", observer.resetTraffic: true");
    let hub = world.hub(&before);
    let machine = world.machine("hosts");
    let mut two = RawHost::join(&machine, "host-2");
    let mut one = RawHost::join(&machine, "host-1");
    let mut bytes = send(&mut one, &mut two, 10);
    let change = |text: &str, nth: usize| {
        world.file("hub.yaml", text);
        hub.process.signal(Signal::SIGHUP).unwrap();
        hub.wait_for_nth("configuration read again", nth);
    };
    // Other rules, another observer by another name; then another listener, for which hosts have to come back.
    let renamed = before
        .replace("observer: hosts", "observer: others")
        .replace("name: hosts", "name: others");
    change(&renamed.replace("123.2, gateway", "123.0/30, gateway"), 1);
    bytes += send(&mut one, &mut two, 10);
    change(&before.replace("type: tcp", "type: tcp, metadata: {keepalive: true}"), 2);
    let replaced = hub.said("service replaced").len();
    if replaced > 0 {
        two = RawHost::join(&machine, "host-2");
        one = RawHost::join(&machine, "host-1");
    }
    bytes += send(&mut one, &mut two, 10);
    hub.stop();
    let events = grpc.events();
    let seen = sums(&events, true);
    let joined = 1 + replaced as u64;
    assert_eq!(seen[&client(1)], [bytes, 0, joined, 0, 0], "{events:?}");
    assert_eq!(seen[&client(2)], [0, bytes, joined, 0, 0], "{events:?}");
    assert_eq!(seen[""], [bytes, bytes, 2 * joined, 0, 0], "{events:?}");
    let once = ["running", "ready", "closed"];
    assert_eq!(states(&events), once.repeat(1 + replaced));
    assert!(grpc.calls().iter().all(|call| call.contains("t0ken")), "{:?}", grpc.calls());
}

#[test]
fn a_host_is_observed_too() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(common::THREE_HOSTS);
    let (machine, other) = (world.machine("m1"), world.machine("m2"));
    let observer = Http::start(&machine, 8201, ok());
    let second = world.join(&other, 2);
    let host = world.host(
        &machine,
        "
services:
- name: service-0
  observer: service
  metadata: {enableStats: true, observePeriod: 1s}
  handler: {type: tun, chain: chain-0}
  listener: {type: tun, metadata: {net: 192.168.123.1/24}}
  forwarder: {nodes: [{addr: host-1}]}
chains:
- name: chain-0
  hops: [{name: hop-0, nodes: [{addr: server_ip:8443, connector: {type: router}}]}]
observers:
- name: service
  plugin: {type: http, addr: 'http://127.0.0.1:8201/observer'}
",
    );
    reaches(&machine, "192.168.123.2");
    let passed = || sums(&taken(&observer), false).get("").copied().unwrap_or_default();
    wait_until("a report", || passed()[0] >= 84 && passed()[1] >= 84);
    assert_eq!(passed()[2..], [1, 1, 0], "one device");
    host.stop();
    assert_eq!(states(&taken(&observer)), ["running", "ready", "closed"]);
    assert_eq!(sums(&taken(&observer), false)[""][2..4], [1, 0]);
    second.stop();
    hub.stop();
}

/// Differences that are named in docs/observers.md: GOST counts the two bytes before each packet that it sends to a host, all
/// bytes of a service's connections below its transport, and never takes a connection of a host back.
#[test]
fn events_are_those_of_gost() {
    let Some(world) = World::new() else { return };
    let mut all = Vec::new();
    for (n, program) in ["rtun", "gost"].into_iter().enumerate() {
        let ports = [8401 + 10 * n as u16, 8402 + 10 * n as u16];
        let [service, hosts] = ports.map(|port| Http::start(&world.hub, port, ok()));
        let text = config(&http(ports[0]), &http(ports[1]), "");
        let running = match program {
            "rtun" => Ok(world.hub(&text)),
            _ => {
                let file = world.file("gost.yaml", &text);
                let Some(gost) = gost::start(&world, &world.hub, &["-C", file.to_str().unwrap()])
                else {
                    return;
                };
                wait_until("GOST", || states(&taken(&service)).contains(&"ready".to_owned()));
                Err(gost)
            }
        };
        let machine = world.machine(program);
        let mut two = RawHost::join(&machine, "host-2");
        let mut one = RawHost::join(&machine, "host-1");
        let bytes = send(&mut one, &mut two, 10);
        wait_until("a report", || {
            let seen = sums(&taken(&hosts), false);
            seen.get(&client(1)).is_some_and(|it| it[0] == bytes) && seen.contains_key(&client(2))
        });
        let seen = sums(&taken(&hosts), false);
        let prefixes = if program == "gost" { 2 * 10 } else { 0 };
        assert_eq!(seen[&client(1)], [bytes, 0, 1, 1, 0], "{program}");
        wait_until("the other report", || {
            sums(&taken(&hosts), false)[&client(2)] == [0, bytes + prefixes, 1, 1, 0]
        });
        wait_until("the service's report", || {
            sums(&taken(&service), false).get("").is_some_and(|it| it[2..] == [2, 2, 0])
        });
        let shape = |event: &Value| {
            let mut event = event.clone();
            if let Some(stats) = event.get_mut("stats") {
                for (_, count) in stats.as_object_mut().unwrap() {
                    *count = 0.into();
                }
            }
            event.to_string()
        };
        let mut shapes: Vec<_> =
            [taken(&service), taken(&hosts)].concat().iter().map(shape).collect();
        shapes.sort();
        shapes.dedup();
        all.push(shapes);
        drop((one, two));
        match running {
            Ok(hub) => hub.stop(),
            Err(gost) => gost.signal(Signal::SIGKILL).unwrap(),
        }
    }
    assert_eq!(all[0], all[1]);
}

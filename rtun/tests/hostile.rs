//! What an unauthenticated peer or an admitted host may send, and what the hub does with it; who is admitted; what a change of rules does.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    io::Write,
    time::{Duration, Instant},
};

use common::{
    World, count_of,
    raw::{Answer, RawHost, request, request_as, udp},
    route_plugin, wait_until,
};
use nix::sys::signal::Signal;
use rtun_proto::checksum::Checksum;

const NS: [u8; 16] = [0xab; 16];

const HUB: &str = "
services:
- name: service-0
  addr: :8443
  handler: {type: router, metadata: {router: router-0}}
  listener: {type: tcp}
routers:
- name: router-0
  routes:
  - {dst: 192.168.123.1, gateway: host-1}
  - {dst: 192.168.123.2, gateway: host-2}
  - {dst: 192.168.123.3, gateway: host-1}
  - {dst: 192.168.124.0/24, gateway: absent}
";

fn admission() -> String {
    HUB.replace("{router: router-0}}", "{router: router-0, ingress: in}, auther: users}")
        + "
ingresses:
- name: in
  rules:
  - {hostname: host-1, endpoint: abababab-abab-abab-abab-abababababab}
  - {hostname: '*.red', endpoint: abababab-abab-abab-abab-abababababab}
authers:
- name: users
  auths:
  - {username: alice, password: s3cret}
  - {username: bob, password: pass, hosts: [b.red]}
"
}

#[test]
fn malformed_requests_get_what_the_protocol_says_and_nothing_else() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let machine = world.machine("peer");
    let good = request("host-1", [0; 16]);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for (what, bytes, expected) in [
        ("version 0", changed(0, 0), Answer::Closed),
        ("version 2", changed(0, 2), Answer::Closed),
        ("an HTTP request", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Answer::Closed),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00".to_vec(), Answer::Closed),
        ("command connect", changed(1, 1), Answer::Status(1)),
        ("command bind", changed(1, 2), Answer::Status(1)),
        ("the former UDP flag", changed(1, 0x83), Answer::Status(0)),
        ("features beyond the limit", vec![1, 3, 0xff, 0xff], Answer::Closed),
        ("a feature longer than the features", vec![1, 3, 0, 3, 4, 0, 9], Answer::Closed),
        ("an address of no known type", vec![1, 3, 0, 7, 2, 0, 4, 9, 0, 0, 0], Answer::Closed),
        ("no feature", vec![1, 3, 0, 0], Answer::Status(6)),
        ("a host name with a blank", request("host 1", [0; 16]), Answer::Status(6)),
        ("a host name with an escape", request("x\u{1b}[2J", [0; 16]), Answer::Status(6)),
        ("as it should be", good.clone(), Answer::Status(0)),
    ] {
        assert_eq!(RawHost::connect(&machine).ask(&bytes), expected, "{what}");
    }
    assert!(!hub.log().contains('\u{1b}'), "the log shows no control characters");
    hub.stop_balanced();
}

#[test]
fn every_bad_frame_is_counted_and_the_connection_lives() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let machine = world.machine("host");
    let mut one = RawHost::join(&machine, "host-1");
    let mut two = RawHost::join(&machine, "host-2");
    let (here, there) = ("192.168.123.1", "192.168.123.2");
    let packet = udp(here, there, b"payload");
    let mut short_header = packet.clone();
    short_header[0] = 0x44;
    let too_long = udp(here, there, &vec![0; 16_384 - 28 + 1]);

    for (reason, payload) in [
        ("frame_empty", vec![]),
        ("frame_too_big", too_long),
        ("frame_length_mismatch", packet[..30].to_vec()),
        ("ip_version", vec![0]),
        ("ip_version", b"GOST\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".iter().map(|b| b & 0x0f).collect()),
        ("ip_truncated", packet[..10].to_vec()),
        ("ip_malformed", short_header),
        ("ip_disallowed_dst", udp(here, "224.0.0.1", b"")),
        ("ip_disallowed_dst", udp(here, "255.255.255.255", b"")),
        ("src_not_allowed", udp("192.168.123.2", "192.168.123.1", b"spoofed")),
        ("src_not_allowed", udp("10.66.0.1", there, b"from nowhere")),
        ("src_not_allowed", udp("127.0.0.1", there, b"from loopback")),
        ("no_route", udp(here, "10.66.0.1", b"")),
        ("hairpin", udp(here, "192.168.123.3", b"")),
        ("no_gateway_connected", udp(here, "192.168.124.7", b"")),
    ] {
        let before = hub.dropped(reason);
        one.send(&payload);
        hub.wait_for_drops(reason, before + 1);
        one.send(&packet);
        assert_eq!(two.receive(), packet, "a good packet passes after {reason}");
    }
    let mut padded = packet.clone();
    padded.extend_from_slice(&[0xee; 9]);
    one.send(&padded);
    assert_eq!(two.receive(), packet, "padding is cut off");

    one.stream.write_all(&[0, 99, 0x45, 0]).unwrap();
    drop(one);
    hub.wait_for("host left");
    drop(two);
    hub.wait_for_nth("host left", 2);
    hub.stop_balanced();
}

#[test]
fn a_hub_told_to_count_hops_takes_one_and_ends_loops() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&HUB.replace("router: router-0}", "router: router-0, ttl: true}"));
    let machine = world.machine("host");
    let (mut one, mut two) = (RawHost::join(&machine, "host-1"), RawHost::join(&machine, "host-2"));
    let packet = udp("192.168.123.1", "192.168.123.2", b"x");
    one.send(&packet);
    let received = two.receive();
    assert_eq!(received[8], packet[8] - 1);
    assert_eq!(Checksum::new().add_bytes(&received[..20]).finish(), 0, "the checksum is right");
    let mut last = packet;
    last[8] = 1;
    one.send(&last);
    hub.wait_for_drops("ttl_expired", 1);
    hub.stop_balanced();
}

#[test]
fn frames_arrive_whole_however_they_are_cut() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let machine = world.machine("host");
    let (mut one, mut two) = (RawHost::join(&machine, "host-1"), RawHost::join(&machine, "host-2"));
    let packets: Vec<_> =
        (0..200).map(|n| udp("192.168.123.1", "192.168.123.2", &vec![n as u8; n * 7])).collect();
    let mut stream = Vec::new();
    for packet in &packets {
        stream.extend_from_slice(&(packet.len() as u16).to_be_bytes());
        stream.extend_from_slice(packet);
    }
    let mut sender = one.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let (mut rest, mut step) = (&stream[..], 1);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(step.min(rest.len()));
            sender.write_all(piece).unwrap();
            (rest, step) = (after, step * 5 % 4099 + 1);
        }
    });
    for packet in &packets {
        assert_eq!(two.receive(), *packet);
    }
    writer.join().unwrap();
    one.send(&[0]);
    hub.wait_for_drops("ip_version", 1);
    hub.stop_balanced();
}

#[test]
fn only_the_right_credential_name_and_namespace_are_admitted() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&admission());
    let machine = world.machine("host");
    let ask = |user, host, id| RawHost::connect(&machine).ask(&request_as(user, host, id));
    let (alice, bob) = (Some(("alice", "s3cret")), Some(("bob", "pass")));
    let (admitted, unauthorized, unreachable) =
        (Answer::Status(0), Answer::Status(2), Answer::Status(6));
    for (user, host, id, expected) in [
        (alice, "host-1", NS, admitted),
        (alice, "a.red", NS, admitted),
        (bob, "b.red", NS, admitted),
        (None, "host-1", NS, unauthorized),
        (Some(("alice", "")), "host-1", NS, unauthorized),
        (Some(("alice", "s3cre")), "host-1", NS, unauthorized),
        (Some(("", "")), "host-1", NS, unauthorized),
        (Some(("mallory", "s3cret")), "host-1", NS, unauthorized),
        (bob, "a.red", NS, unauthorized),
        (alice, "host-2", NS, unreachable),
        (alice, "", NS, unreachable),
        (alice, "", [0; 16], unreachable),
        (alice, "host-1", [0; 16], unreachable),
        (alice, "host-1", [0xcd; 16], unreachable),
        (alice, "HOST-1", NS, unreachable),
    ] {
        assert_eq!(ask(user, host, id), expected, "{user:?} {host} {id:?}");
    }
    let mut holder = RawHost::connect(&machine);
    assert_eq!(holder.ask(&request_as(bob, "b.red", NS)), admitted);
    assert_eq!(ask(alice, "b.red", NS), unauthorized, "another user's name");
    for line in hub.lines() {
        assert!(!line.to_string().contains("s3cret"), "a password in the log: {line}");
    }
    hub.stop_balanced();
}

#[test]
fn an_unknown_namespace_is_refused_where_no_default_router_answers() {
    let Some(world) = World::new() else { return };
    let table = "abababab-abab-abab-abab-abababababab";
    let hub =
        world.hub(&HUB.replace(", metadata: {router: router-0}", "").replace("router-0", table));
    let machine = world.machine("host");
    assert_eq!(RawHost::connect(&machine).ask(&request("host-1", NS)), Answer::Status(0));
    assert_eq!(RawHost::connect(&machine).ask(&request("host-1", [1; 16])), Answer::Status(6));
    assert_eq!(RawHost::connect(&machine).ask(&request("host-1", [0; 16])), Answer::Status(6));
    hub.stop_balanced();
}

#[test]
fn a_reload_changes_routes_revokes_what_is_gone_and_refuses_what_is_wrong() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&admission());
    let machine = world.machine("host");
    let join = |user, host| {
        let mut raw = RawHost::connect(&machine);
        assert_eq!(raw.ask(&request_as(Some(user), host, NS)), Answer::Status(0));
        raw
    };
    let mut one = join(("alice", "s3cret"), "host-1");
    let mut red = join(("bob", "pass"), "b.red");
    let to_red = udp("192.168.123.1", "192.168.124.7", b"to red");
    let from_one = |one: &mut RawHost| one.send(&to_red);
    from_one(&mut one);
    hub.wait_for_drops("no_gateway_connected", 1);

    world.file("hub.yaml", &admission().replace("gateway: absent", "gateway: b.red"));
    hub.process.signal(Signal::SIGHUP).unwrap();
    hub.wait_for("configuration read again");
    from_one(&mut one);
    assert_eq!(red.receive(), to_red, "the new route counts, nobody was disconnected");

    world.file("hub.yaml", &admission().replace("auther: users", "auther: user"));
    hub.process.signal(Signal::SIGHUP).unwrap();
    hub.wait_for("the new configuration is not applied: it has errors");
    from_one(&mut one);
    assert_eq!(red.receive(), to_red, "a wrong file changes nothing");

    // The last service cannot start; what was done before it is undone.
    let impossible = admission().replace(
        "routers:\n",
        "- name: service-1\n  addr: 203.0.113.9:1\n  handler: {type: router, metadata: {router: router-0}}\n  \
         listener: {type: tcp}\nrouters:\n",
    );
    world.file("hub.yaml", &impossible);
    hub.process.signal(Signal::SIGHUP).unwrap();
    wait_until("a service that cannot start", || {
        hub.log().contains("service-1\\\": cannot listen on")
    });
    from_one(&mut one);
    assert_eq!(red.receive(), to_red, "a service that does not start changes nothing");

    let without_bob = admission().replace("- {username: bob, password: pass, hosts: [b.red]}", "");
    world.file("hub.yaml", &without_bob);
    let start = Instant::now();
    hub.process.signal(Signal::SIGHUP).unwrap();
    let took = red.closed_after(start);
    assert!(took < Duration::from_secs(2), "revoked after {took:?}");
    assert_eq!(hub.wait_for("host left")["reason"], "revoked");
    from_one(&mut one);
    let report = hub.stop_balanced();
    assert!(count_of(&report, "no_gateway_connected") >= 1);
}

#[test]
fn a_plugin_that_hangs_costs_known_routes_nothing() {
    let Some(world) = World::new() else { return };
    let silent = world.hub.run(|| std::net::TcpListener::bind("127.0.0.1:8000")).unwrap().unwrap();
    let plugin = "
- name: fallback
  plugin: {type: http, addr: 'http://127.0.0.1:8000', timeout: 1s}
- name: abababab-abab-abab-abab-abababababab
  routes:";
    let hub = world.hub(
        &HUB.replace("router: router-0}", "router: fallback}")
            .replace("\n- name: router-0\n  routes:", plugin),
    );
    let machine = world.machine("host");
    let join = |host| {
        let mut raw = RawHost::connect(&machine);
        assert_eq!(raw.ask(&request(host, NS)), Answer::Status(0));
        raw
    };
    let (mut one, mut two) = (join("host-1"), join("host-2"));
    for _ in 0..70 {
        one.send(&udp("192.168.123.1", "10.9.9.9", b"unknown"));
    }
    let known = udp("192.168.123.1", "192.168.123.2", b"known");
    let start = Instant::now();
    one.send(&known);
    assert_eq!(two.receive(), known);
    assert!(start.elapsed() < Duration::from_millis(250), "waited {:?}", start.elapsed());
    hub.wait_for_drops("route_pending_full", 6);
    hub.wait_for_drops("route_pending_timeout", 64);
    drop((one, two, silent));
    hub.wait_for_nth("host left", 2);
    hub.stop_balanced();
}

/// The plugin takes one question at a time, and 20 ms for it.
#[test]
fn a_host_that_asks_for_a_thousand_unknown_addresses_costs_others_no_new_destination() {
    let Some(world) = World::new() else { return };
    let _questions = route_plugin(&world.hub, "127.0.0.1:8000", |dst, _| {
        std::thread::sleep(Duration::from_millis(20));
        format!("{{\"net\": \"{dst}/32\", \"gateway\": \"host-2\"}}")
    });
    let plugin = "
- name: fallback
  plugin: {type: http, addr: 'http://127.0.0.1:8000', timeout: 5s}
- name: abababab-abab-abab-abab-abababababab
  routes:
  - {dst: 192.168.99.1, gateway: greedy}";
    let hub = world.hub(
        &HUB.replace("router: router-0}", "router: fallback}")
            .replace("\n- name: router-0\n  routes:", plugin),
    );
    let machine = world.machine("host");
    let join = |host| {
        let mut raw = RawHost::connect(&machine);
        assert_eq!(raw.ask(&request(host, NS)), Answer::Status(0));
        raw
    };
    let (mut greedy, mut one, mut two) = (join("greedy"), join("host-1"), join("host-2"));
    two.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut times = Vec::new();
    for n in 0..6_u8 {
        for m in 0..1024_u16 {
            let to = format!("10.9.{}.{}", m / 250, m % 250 + 1);
            greedy.send(&udp("192.168.99.1", &to, b"greedy"));
        }
        let wanted = udp("192.168.123.1", &format!("10.8.0.{}", n + 1), b"new");
        let start = Instant::now();
        one.send(&wanted);
        while two.receive() != wanted {}
        times.push(start.elapsed());
    }
    times.sort();
    assert!(times[5] < Duration::from_millis(500), "no longer than a packet waits: {times:?}");
    hub.wait_for_drops("route_pending_full", 1000);
    drop((greedy, one, two));
    hub.wait_for_nth("host left", 3);
    hub.stop_balanced();
}

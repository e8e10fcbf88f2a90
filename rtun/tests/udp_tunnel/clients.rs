//! Registering: who may, who is answered, who comes back, and who has an address that two want.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    common::{HUB, World, ip, pings, reaches, wait_until},
    support::{
        OPEN, Script, WITH_USERS, client, drops, echo, is_answer, is_registered, outer_of, server,
        status,
    },
};

#[test]
fn only_the_right_passphrase_is_answered() {
    let Some(world) = World::new() else { return };
    let server = server(&world, WITH_USERS);
    let machine = world.machine("script");
    let script = Script::new(&machine);
    let outer = script.join("pass-2", &["192.168.123.2", "fd99::2"]);
    assert_eq!(outer, ip("10.0.0.3"));
    for (passphrase, addresses) in [
        ("", &["192.168.123.3"][..]),
        ("pass-2", &["192.168.123.3"]),
        ("pass-33", &["192.168.123.3"]),
        ("pass-3", &["192.168.123.3", "192.168.123.4"]),
        ("pass-3", &["192.168.123.77"]),
    ] {
        let other = Script::new(&machine);
        assert_eq!(other.register(passphrase, addresses), None, "{passphrase} {addresses:?}");
    }
    // A NUL, and something after it.
    let mut register = b"GOSTpass-3\0junk\0\0\0\0\0\0".to_vec();
    register.truncate(20);
    register.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 123, 3]);
    let other = Script::new(&machine);
    other.send(&register);
    assert_eq!(other.receive(), None);
    wait_until("counted refusals", || drops(&server, "auth") == 6);
    let refused = server.said("a client may not register; it is not answered");
    assert_eq!(refused.len(), 1, "once a minute: {refused:?}");
    assert_eq!(refused[0]["reason"], "auth");
    assert_eq!(status(&server)["clients"].as_array().unwrap().len(), 1);
}

#[test]
fn addresses_that_are_not_to_be_had_are_refused_whole() {
    let Some(world) = World::new() else { return };
    let config = OPEN.replace("{type: tun}", "{type: tun, metadata: {allow: 10.9.0.0/16}}");
    let server = server(&world, &config);
    let machine = world.machine("script");
    for (address, reason) in [
        ("192.168.123.1", "own_address"),
        ("192.168.123.0", "bad_address"),
        ("192.168.123.255", "bad_address"),
        ("8.8.8.8", "bad_address"),
        ("0.0.0.0", "bad_address"),
        ("224.0.0.1", "bad_address"),
        ("127.0.0.1", "bad_address"),
        ("::", "bad_address"),
        ("fd99::1", "own_address"),
    ] {
        let before = drops(&server, reason);
        let script = Script::new(&machine);
        assert_eq!(script.register("", &["192.168.123.50", address]), None, "{address}");
        wait_until(reason, || drops(&server, reason) == before + 1);
    }
    let script = Script::new(&machine);
    script.join("", &["192.168.123.50", "10.9.1.1"]);
    let many: Vec<String> = (100..117).map(|n| format!("192.168.123.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(script.register("", &many), None, "17 addresses");
    script.join("", &many[..16]);
}

#[test]
fn keepalives_come_at_their_interval_and_the_port_stays() {
    let Some(world) = World::new() else { return };
    let server = server(&world, WITH_USERS);
    let one = world.machine("one");
    let first = client(&world, &one, 2, "&keepalive=true&ttl=2s");
    is_registered(&first);
    let outer = outer_of(&server, "192.168.123.2").unwrap();
    let registers = |status: &Value| status["registers"].as_u64().unwrap();
    let (before, start) = (status(&first), Instant::now());
    wait_until("five keepalives", || registers(&status(&first)) >= registers(&before) + 5);
    let took = start.elapsed();
    assert!(took > Duration::from_secs(7), "{took:?}");
    assert_eq!(outer_of(&server, "192.168.123.2"), Some(outer));
    let report = status(&first);
    assert_eq!((&report["failed"], &report["seen_as"]), (&before["failed"], &"10.0.0.3".into()));
}

#[test]
fn clients_are_back_after_the_server_started_again_with_their_ports() {
    let Some(world) = World::new() else { return };
    let config = world.file("server.yaml", WITH_USERS);
    let arguments = ["-C", config.to_str().unwrap()];
    let first_server = server(&world, WITH_USERS);
    let (one, two) = (world.machine("one"), world.machine("two"));
    let first = client(&world, &one, 2, "&ttl=1");
    let second = client(&world, &two, 3, "&keepalive=false");
    is_registered(&first);
    is_registered(&second);
    reaches(&one, "192.168.123.3");
    let ports = [&first, &second].map(|it| status(it)["local"].clone());
    first_server.process.kill().unwrap();
    // Without keepalive it is the network that says it: a packet that nobody takes.
    wait_until("a client that has noticed", || {
        let _ = pings(&two, "192.168.123.1");
        status(&second)["failed"].as_u64().unwrap() > 0
    });
    let again = world.start_again(&world.hub, &arguments, &first_server);
    reaches(&one, "192.168.123.1");
    reaches(&two, "192.168.123.2");
    assert_eq!([&first, &second].map(|it| status(it)["local"].clone()), ports);
    again.stop();
}

#[test]
fn a_client_waits_for_its_server_and_says_what_may_be_wrong() {
    let Some(world) = World::new() else { return };
    let one = world.machine("one");
    let first = client(&world, &one, 2, "&ttl=1");
    wait_until("an explanation", || first.log().contains("which it does in silence"));
    let server = server(&world, WITH_USERS);
    reaches(&one, "192.168.123.1");
    assert!(status(&first)["failed"].as_u64().unwrap() >= 3);
    server.stop();
}

#[test]
fn the_second_server_is_tried_when_the_first_does_not_answer() {
    let Some(world) = World::new() else { return };
    let _server = server(&world, OPEN);
    let one = world.machine("one");
    let url = format!("tun://:0/10.0.99.99:8421,{HUB}:8421?net=192.168.123.2/24&name=tun0");
    let _client = world.start(&one, &["-L", &url]);
    reaches(&one, "192.168.123.1");
}

#[test]
fn data_from_another_port_moves_nothing_and_the_next_register_does_at_once() {
    let Some(world) = World::new() else { return };
    let server = server(&world, WITH_USERS);
    let machine = world.machine("script");
    let (old, new) = (Script::new(&machine), Script::new(&machine));
    old.join("pass-2", &["192.168.123.2"]);
    new.send(&echo("192.168.123.2", "192.168.123.1", 8));
    wait_until("a packet of an outsider", || drops(&server, "unregistered") == 1);
    assert_eq!(new.receive(), None);
    assert_eq!(outer_of(&server, "192.168.123.2").unwrap().port(), old.port());
    new.join("pass-2", &["192.168.123.2"]);
    assert_eq!(outer_of(&server, "192.168.123.2").unwrap().port(), new.port());
    new.send(&echo("192.168.123.2", "192.168.123.1", 8));
    assert!(is_answer(&new.expect()));
}

#[test]
fn two_clients_with_one_address_do_not_take_it_from_each_other() {
    let Some(world) = World::new() else { return };
    let server = server(&world, WITH_USERS);
    let (one, two) = (world.machine("one"), world.machine("two"));
    let first = client(&world, &one, 2, "&ttl=1");
    is_registered(&first);
    reaches(&one, "192.168.123.1");
    let second = client(&world, &two, 2, "&ttl=1");
    is_registered(&second);
    wait_until("a duplicate", || drops(&server, "duplicate") > 3);
    let holder = outer_of(&server, "192.168.123.2").unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        assert_eq!(outer_of(&server, "192.168.123.2"), Some(holder));
        reaches(&two, "192.168.123.1");
        thread::sleep(Duration::from_millis(100));
    }
    let said = server.said("a client may not register; it is not answered");
    assert_eq!(said[0]["reason"], "duplicate");
    assert_eq!(said[0]["incumbent"], holder.to_string().as_str(), "both are named");
    assert!(said[0]["client"].as_str().unwrap().starts_with("10.0.0.3:"));
}

#[test]
fn a_peer_that_is_gone_disturbs_nobody() {
    let Some(world) = World::new() else { return };
    let server = server(&world, OPEN);
    let (one, two) = (world.machine("one"), world.machine("two"));
    let first = client(&world, &one, 2, "");
    is_registered(&first);
    {
        let script = Script::new(&two);
        script.join("", &["192.168.123.9"]);
    }
    // Its port is closed now: each packet for it comes back as an ICMP error.
    for _ in 0..20 {
        assert!(!pings(&world.hub, "192.168.123.9"));
        reaches(&one, "192.168.123.1");
        if server.log().contains("panicked") {
            panic!("{}", server.log());
        }
    }
    assert_eq!(outer_of(&server, "192.168.123.2").map(|outer| outer.ip()), Some(ip("10.0.0.3")));
}

#[test]
fn strangers_reach_nobody_whatever_source_they_write() {
    let Some(world) = World::new() else { return };
    let server = server(&world, OPEN);
    let (one, two) = (world.machine("one"), world.machine("two"));
    let target = Script::new(&one);
    target.join("", &["192.168.123.2"]);
    let outsider = Script::new(&two);
    for source in ["192.168.123.2", "192.168.123.1", "9.9.9.9"] {
        outsider.send(&echo(source, "192.168.123.2", 8));
    }
    wait_until("dropped packets", || drops(&server, "unregistered") == 3);
    // One that is registered may be itself, and nobody else.
    outsider.join("", &["192.168.123.3"]);
    for source in ["192.168.123.2", "192.168.123.1", "9.9.9.9", "0.0.0.0", "127.0.0.1"] {
        outsider.send(&echo(source, "192.168.123.2", 8));
    }
    wait_until("spoofed packets", || drops(&server, "spoofed") == 5);
    assert_eq!(target.receive(), None);
    outsider.send(&echo("192.168.123.3", "192.168.123.2", 8));
    assert!(!target.expect().is_empty());
    let report = status(&server);
    let of_client = report["clients"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["addresses"][0] == "192.168.123.3");
    assert_eq!(of_client.unwrap()["drops"]["spoofed"], 5);
}

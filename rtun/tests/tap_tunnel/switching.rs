//! Where the server sends frames: seen by clients that are plain sockets.

use std::{fs, process::Command, thread, time::Duration};

use nix::sys::signal::Signal;
use rtun_proto::ethernet::{MacAddress, keepalive};

use crate::{
    common::{World, reaches, wait_until},
    support::{
        CLEAR, SEALED, Script, client, drops, frame, ip, is_answered, mac_of, place_of, server,
        status,
    },
};

const ALL: MacAddress = MacAddress::BROADCAST;
const GROUP: MacAddress = MacAddress::new([0x33, 0x33, 0, 0, 0, 9]);

fn at(script: &Script) -> String {
    format!(":{}", script.port())
}

/// Waits until the server knows where it is.
fn is_known(server: &crate::common::Rtun, script: &Script) {
    wait_until("a learnt address", || {
        place_of(server, script.mac).is_some_and(|place| place.port() == script.port())
    });
}

#[test]
fn frames_go_to_one_or_to_all_but_never_back() {
    let Some(world) = World::new() else { return };
    for cipher in [CLEAR, SEALED] {
        let server = server(&world, cipher);
        let machine = world.machine("scripts");
        let new = if cipher == CLEAR { Script::new } else { Script::sealed };
        let [a, b, c] = [1, 2, 3].map(|n| new(&machine, n));
        for script in [&a, &b, &c] {
            script.say(ALL, "hello");
            is_known(&server, script);
        }
        for script in [&a, &b, &c] {
            script.texts();
        }
        a.say(b.mac, "to b");
        assert_eq!(
            [&a, &b, &c].map(Script::texts),
            [vec![], vec!["to b".into()], vec![] as Vec<String>]
        );
        for (destination, text) in
            [(ALL, "to all"), (GROUP, "to a group"), (MacAddress::local(99), "to nobody known")]
        {
            a.say(destination, text);
            let all = [&a, &b, &c].map(Script::texts);
            assert_eq!(all, [vec![], vec![text.to_owned()], vec![text.to_owned()]]);
        }
        a.say(a.mac, "to myself");
        let local = drops(&server, "local");
        assert_eq!([&a, &b, &c].map(Script::texts), [const { Vec::<String>::new() }; 3]);
        wait_until("a frame to its own place", || drops(&server, "local") >= local.max(1));
        // Who asks whether the server is there is answered, and nobody else hears of it.
        a.send_frame(&keepalive(a.mac));
        let answer = std::iter::from_fn(|| a.receive()).any(|frame| frame == keepalive(a.mac));
        assert!(answer, "{}", at(&a));
        assert!(b.receive().is_none());
        server.stop();
    }
}

#[test]
fn it_is_explained_where_a_frame_goes() {
    let Some(world) = World::new() else { return };
    let server = server(&world, CLEAR);
    let machine = world.machine("scripts");
    let [a, b, c] = [1, 2, 3].map(|n| Script::new(&machine, n));
    for script in [&a, &b] {
        script.say(ALL, "hello");
        is_known(&server, script);
    }
    let socket = server.wait_for("control socket is open")["path"].as_str().unwrap().to_owned();
    let explain = |source: MacAddress, destination: MacAddress| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
        command.args(["explain", "--socket", &socket]);
        let output = command.args([source.to_string(), destination.to_string()]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = explain(a.mac, b.mac);
    let place = place_of(&server, b.mac).unwrap();
    assert!(said.contains(&format!("verdict    delivered to {place}")), "{said}");
    let said = explain(a.mac, c.mac);
    assert!(said.contains("has sent nothing yet") && said.contains("and 1 client"), "{said}");
    let said = explain(a.mac, a.mac);
    assert!(said.contains("dropped: local"), "{said}");
    let said = explain(mac_of(&world.hub), a.mac);
    assert!(said.contains("is the server's own device"), "{said}");
    server.stop();
}

#[test]
fn networks_in_one_another_pass_with_their_tags_and_are_learnt_apart() {
    let Some(world) = World::new() else { return };
    let server = server(&world, SEALED);
    let (machine, other) = (world.machine("scripts"), world.machine("other"));
    let real = client(&world, &other, SEALED, 3);
    is_answered(&real);
    let [a, b, c] = [1, 2, 3].map(|n| Script::sealed(&machine, n));
    for script in [&a, &b, &c] {
        script.say(ALL, "hello");
        is_known(&server, script);
    }
    let tagged = |from: &Script, to: MacAddress, tags: &[u8]| {
        let plain = from.frame_to(to, "tagged");
        [&plain[..12], tags, &plain[12..]].concat()
    };
    let (seven, eight) = (&[0x81, 0, 0x60, 7][..], &[0x88, 0xa8, 0, 8, 0x81, 0, 0, 7][..]);
    let all_texts = || [&a, &b, &c].map(|script| script.texts().len());
    all_texts();
    let before = status(&real)["received"]["packets_out"].as_u64().unwrap();
    a.send_frame(&tagged(&a, ALL, seven));
    let got: Vec<_> = std::iter::from_fn(|| b.receive()).collect();
    assert!(got.contains(&tagged(&a, ALL, seven)), "whole, with its tag: {got:?}");
    assert_eq!(all_texts(), [0, 0, 1]);
    wait_until("the frame at a device", || {
        status(&real)["received"]["packets_out"].as_u64().unwrap() > before
    });
    let macs = status(&server)["clients"].to_string();
    assert!(macs.contains(&format!("{}@7\"", a.mac)), "{macs}");
    b.send_frame(&tagged(&b, a.mac, seven));
    assert_eq!(all_texts(), [1, 0, 0], "it is known in that network");
    b.send_frame(&tagged(&b, a.mac, eight));
    assert_eq!(all_texts(), [1, 0, 1], "but not in this one");
    server.stop();
}

#[test]
fn no_address_is_taken_that_is_nobodys_or_the_servers_and_moves_are_slow() {
    let Some(world) = World::new() else { return };
    let server = server(&world, CLEAR);
    let (machine, other) = (world.machine("scripts"), world.machine("other"));
    let real = client(&world, &other, CLEAR, 3);
    is_answered(&real);
    reaches(&other, "192.168.124.1");
    let [a, b] = [1, 2].map(|n| Script::new(&machine, n));
    for script in [&a, &b] {
        script.say(ALL, "hello");
        is_known(&server, script);
    }
    // Poisoning by a broadcast source, and theft of the server's own address.
    for (source, reason) in [
        (ALL, "bad_address"),
        (GROUP, "bad_address"),
        (MacAddress::new([0; 6]), "bad_address"),
        (mac_of(&world.hub), "own_address"),
    ] {
        let before = drops(&server, reason);
        a.send_frame(&frame(ALL, source, "poison"));
        wait_until(reason, || drops(&server, reason) > before);
        assert!(b.texts().iter().all(|text| text != "poison"));
    }
    reaches(&other, "192.168.124.1");
    reaches(&world.hub, "192.168.124.3");
    // The address of the first one is taken by the second; it cannot be taken back at once.
    b.send_frame(&frame(ALL, a.mac, "I am a"));
    wait_until("a moved address", || {
        place_of(&server, a.mac).is_some_and(|place| place.port() == b.port())
    });
    a.say(ALL, "no, I am");
    wait_until("a refused move", || drops(&server, "duplicate") >= 1);
    assert_eq!(place_of(&server, a.mac).unwrap().port(), b.port());
    thread::sleep(Duration::from_secs(2));
    a.say(ALL, "I really am");
    is_known(&server, &a);
    server.stop();
}

#[test]
fn what_the_rules_do_not_admit_is_not_heard_and_others_notice_nothing() {
    let Some(world) = World::new() else { return };
    let config = |admission: &str| {
        format!(
            "
services:
- name: server
  addr: :8421
  {admission}
  handler: {{type: tap, auth: {{username: aes-256-gcm, password: secret}}}}
  listener: {{type: tap, metadata: {{net: '192.168.124.1/24,fd99::1/64', name: tap0}}}}
admissions:
- name: some
  whitelist: true
  matchers: [10.0.0.0/30]
"
        )
    };
    let file = world.file("server.yaml", &config(""));
    let server = world.start(&world.hub, &["-C", file.to_str().unwrap()]);
    // The first machine is in that network, the others are not.
    let (one, two) = (world.machine("one"), world.machine("two"));
    let outer = ip(&one, "-4 address show eth0");
    assert!(outer.contains("10.0.0.3/"), "{outer}");
    let clients = [client(&world, &one, SEALED, 2), client(&world, &two, SEALED, 3)];
    clients.iter().for_each(is_answered);
    reaches(&two, "192.168.124.2");
    fs::write(&file, config("admission: some")).unwrap();
    server.process.signal(Signal::SIGHUP).unwrap();
    server.wait_for("rules replaced");
    assert_eq!(status(&server)["clients"].as_array().unwrap().len(), 1);
    crate::common::does_not_reach(&two, "192.168.124.2");
    assert!(drops(&server, "auth") > 0);
    reaches(&one, "192.168.124.1");
    fs::write(&file, config("").replace("secret", "other")).unwrap();
    server.process.signal(Signal::SIGHUP).unwrap();
    server.wait_for("service replaced");
    crate::common::does_not_reach(&one, "192.168.124.1");
    wait_until("frames with another password", || drops(&server, "undecryptable") > 0);
    server.stop();
}

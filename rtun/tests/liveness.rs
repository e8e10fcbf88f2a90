//! How soon two rtun ends notice that the other is there no more although its system still is, and how they come back.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use common::{
    THREE_HOSTS, World, at, ip,
    raw::{RawHost, kind, udp},
    reaches, wait_until,
};
use nix::sys::signal::Signal;
use rtun_lab::tools;
use rtun_proto::extension::Capabilities;

/// Silence after which either end gives the other up, and a bit for the machine to be busy.
const NOTICED: std::ops::Range<Duration> = Duration::from_millis(5_500)..Duration::from_secs(8);

#[test]
fn a_host_that_said_hello_and_then_nothing_is_given_up_and_others_stay() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let machine = world.machine("host");
    let (one, two) = ("192.168.123.1", "192.168.123.2");
    let mut asking = RawHost::join_greeting(&machine, "host-1", 1, Capabilities::NONE);
    let mut plain = RawHost::join(&machine, "host-2");
    let mut silent = RawHost::join(&machine, "host-3");
    let begin = Instant::now();
    silent.greet(3, Capabilities::NONE);

    let (stop, stopped) = channel::<()>();
    let asks = thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_secs(3)) == Err(RecvTimeoutError::Timeout) {
            asking.is_answered();
        }
        asking
    });
    let rest = silent.rest();
    assert_eq!((rest[..3].to_vec(), rest.len()), (vec![0, 9, kind::PING], 11), "one question");
    let took = begin.elapsed();
    assert!(NOTICED.contains(&took), "given up after {took:?}");
    let left = hub.wait_for("host left");
    assert_eq!((&left["host"], &left["reason"]), (&"host-3".into(), &"ping_timeout".into()));

    wait_until("more silence than was too much", || begin.elapsed() > NOTICED.end);
    drop(stop);
    let mut asking = asks.join().unwrap();
    assert_eq!(hub.said("host left").len(), 1, "the others are there still");
    let packet = udp(one, two, b"to a host that need not say anything");
    asking.send(&packet);
    assert_eq!(plain.receive(), packet);
    let packet = udp(two, one, b"and back");
    plain.send(&packet);
    assert_eq!(asking.receive(), packet);
    hub.stop_balanced();
}

#[test]
fn hosts_notice_a_hub_that_stands_still_and_are_back_when_it_goes_on() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let hosts = [world.join(&one, 1), world.join(&two, 2)];
    reaches(&one, "192.168.123.2");

    hub.process.signal(Signal::SIGSTOP).unwrap();
    let begin = Instant::now();
    for host in &hosts {
        host.wait_for("lost the hub: the hub or the network in between is gone");
        let took = begin.elapsed();
        assert!(took < NOTICED.end, "noticed after {took:?}");
    }
    hub.process.signal(Signal::SIGCONT).unwrap();
    let begin = Instant::now();
    let soon = Duration::from_millis(50);
    while tools::ping(&one, ip("192.168.123.2"), 56, false, soon).is_err() {}
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(2), "forwards again after {took:?}");
    for host in hosts {
        host.stop();
    }
    hub.stop_balanced();
}

#[test]
fn the_hub_notices_a_host_that_stands_still_and_takes_it_back() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let hosts = [world.join(&one, 1), world.join(&two, 2)];
    reaches(&one, "192.168.123.2");

    hosts[1].process.signal(Signal::SIGSTOP).unwrap();
    let begin = Instant::now();
    let left = hub.wait_for("host left");
    let took = begin.elapsed();
    assert!(took < NOTICED.end, "noticed after {took:?}");
    assert_eq!((&left["host"], &left["reason"]), (&"host-2".into(), &"ping_timeout".into()));

    hosts[1].process.signal(Signal::SIGCONT).unwrap();
    let begin = Instant::now();
    reaches(&one, "192.168.123.2");
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(3), "forwards again after {took:?}");
    assert_eq!(hosts[0].said("joined the hub").len(), 1, "the other noticed nothing");
    hub.stop_balanced();
}

#[test]
fn a_host_that_only_receives_is_not_given_up() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let machine = world.machine("host-1");
    let host = world.join(&machine, 1);
    let receiver = machine.run(|| tools::udp_receiver(at("0.0.0.0", 9))).unwrap().unwrap();
    reaches(&machine, "192.168.123.1");
    host.wait_for("joined the hub");
    let mut sender = RawHost::join(&world.machine("host-2"), "host-2");
    let begin = Instant::now();
    let (mut sent, mut arrived) = (0, 0);
    while begin.elapsed() < NOTICED.end + Duration::from_secs(2) {
        sender.send(&udp("192.168.123.2", "192.168.123.1", b"one way"));
        sent += 1;
        arrived += u32::from(receiver.recv(&mut [0; 64]).is_ok());
    }
    // One that comes later than the receiver waits is not counted.
    assert!(arrived >= sent - sent / 100, "{arrived} of {sent} arrived");
    assert_eq!(hub.said("host left").len(), 0, "{}", hub.log());
    hub.stop_balanced();
}

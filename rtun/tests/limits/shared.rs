//! Services that name the same limiter: they have one limit together, as in GOST.

use std::{
    net::TcpStream,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{
    beside_others,
    common::{
        HUB, Rtun, SOON, World, gost,
        raw::{Answer, RawHost, request},
        wait_until,
    },
    flood::{Flood, Pair, join, keep_to, routers, service},
    said::{reload, service_status},
};
use rtun_lab::NetNamespace;

const PORTS: [u16; 2] = [8443, 8444];

/// In bytes a second.
const LIMIT: u64 = 1 << 20;

/// Two hubs with these keys, and what they name.
fn hubs(more: [&str; 2], objects: &str) -> String {
    let services = [("one", 0), ("other", 1)].map(|(name, n)| service(name, PORTS[n], more[n]));
    format!("services:\n{}{}{objects}", services.concat(), routers())
}

fn limiters(all: &str, more: &str) -> String {
    format!("limiters:\n- {{name: all, limits: ['{all}']}}\n{more}")
}

/// Twice as much as the limit, half of it through each hub.
fn flood_both(machines: &[NetNamespace; 2], what: &str, burst: u64) -> Vec<f64> {
    let floods = PORTS.map(|port| Flood::start(machines, port, 1400, LIMIT));
    keep_to(&floods.each_ref(), what, LIMIT, burst)
}

#[test]
fn gost_and_rtun_share_a_limiter_among_the_services_that_name_it() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let machines = [world.machine("sender"), world.machine("receiver")];
    let gost = gost::program();
    for (direction, rates) in [("in", format!("$ {LIMIT}B")), ("out", format!("$ 0 {LIMIT}B"))] {
        let config = hubs(["  limiter: all\n"; 2], &limiters(&rates, ""));
        let ours = world.hub(&config);
        ours.wait_for_nth("hub listens", 2);
        let parts = flood_both(&machines, &format!("rtun, {direction}"), LIMIT / 50 + 64 * 1024);
        assert!(parts.iter().all(|part| *part > 0.3), "each has a share: {parts:?}");
        ours.stop();
        let Some(gost) = &gost else { continue };
        let file = world.file("gost.yaml", &config);
        let mut command = Command::new(gost);
        command.arg("-C").arg(&file).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let theirs = world.hub.spawn(command).unwrap();
        let listens =
            |port| world.hub.run(move || TcpStream::connect(("127.0.0.1", port))).unwrap();
        wait_until("GOST listening", || PORTS.iter().all(|port| listens(*port).is_ok()));
        // Its burst is what passes in a second.
        flood_both(&machines, &format!("GOST, {direction}"), LIMIT + LIMIT / 10 + 64 * 1024);
        theirs.signal(Signal::SIGKILL).unwrap();
        theirs.wait(SOON).unwrap();
    }
}

/// Waits until what arrives in 2 s is this many bytes a second to 3 %, with these parts of it to 5 %.
fn wait_for(pairs: &[&Pair], limit: u64, parts: &[f64]) {
    let mut seen = Vec::new();
    let started = Instant::now();
    loop {
        let (begun, before): (_, Vec<u64>) =
            (Instant::now(), pairs.iter().map(|pair| pair.arrived()).collect());
        thread::sleep(Duration::from_secs(2));
        let time = begun.elapsed().as_secs_f64();
        let rate = |(pair, before): (&&Pair, &u64)| (pair.arrived() - before) as f64 / time;
        let rates: Vec<f64> =
            pairs.iter().zip(&before).map(rate).map(|rate| rate / limit as f64).collect();
        let is_limit = (rates.iter().sum::<f64>() - 1.0).abs() <= 0.03;
        let is_shared = rates.iter().zip(parts).all(|(rate, part)| (rate - part).abs() <= 0.05);
        if is_limit && is_shared {
            return;
        }
        seen.push(rates);
        assert!(started.elapsed() < 2 * SOON, "{seen:?} of {limit}");
    }
}

#[test]
fn a_shared_limiter_changes_live_and_stays_for_those_that_remain() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let names = ["  limiter: all\n"; 2];
    let hub = world.hub(&hubs(names, &limiters("$ 2MB 2MB", "")));
    hub.wait_for_nth("hub listens", 2);
    let machine = world.machine("hosts");
    let join = |port, n: u8| join(&machine, port, &format!("host-{n}"));
    // One sends ten times as much as the other, and has no more of the limit.
    let one = Pair::start([join(PORTS[0], 1), join(PORTS[0], 2)], 1, 2, 20 << 20);
    let other = Pair::start([join(PORTS[1], 3), join(PORTS[1], 4)], 3, 4, 2 << 20);
    let change = |config: &str| {
        world.file("hub.yaml", config);
        reload(&hub);
    };
    wait_for(&[&one, &other], 2 << 20, &[0.5, 0.5]);
    change(&hubs(names, &limiters("$ 1MB 1MB", "")));
    wait_for(&[&one, &other], 1 << 20, &[0.5, 0.5]);

    // One of them changes over to another limiter: all of the first is the other's.
    let own = "- {name: own, limits: [$ 512KB]}\n";
    change(&hubs(["  limiter: own\n", names[1]], &limiters("$ 1MB 1MB", own)));
    wait_for(&[&other], 1 << 20, &[1.0]);
    wait_for(&[&one], 512 << 10, &[1.0]);
    change(&hubs(names, &limiters("$ 1MB 1MB", own)));
    wait_for(&[&one, &other], 1 << 20, &[0.5, 0.5]);
    assert!(hub.said("host left").is_empty(), "nobody is disconnected");

    let alone = service("one", PORTS[0], names[0]);
    change(&format!("services:\n{alone}{}{}", routers(), limiters("$ 1MB 1MB", "")));
    wait_for(&[&one], 1 << 20, &[1.0]);
    assert_eq!(hub.said("host left").len(), 2, "those of the hub that is gone");
    hub.stop();
}

#[test]
fn hubs_that_name_one_climiter_or_rlimiter_count_together() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let objects = "climiters:\n- {name: few, limits: [$ 2]}\n";
    let hub = world.hub(&hubs(["  climiter: few\n"; 2], objects));
    hub.wait_for_nth("hub listens", 2);
    let machine = world.machine("hosts");
    let ask = |port: u16, name: &str| {
        let stream = machine.run(move || TcpStream::connect((HUB, port))).unwrap().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut raw = RawHost { stream };
        let answer = raw.ask(&request(name, [0; 16]));
        (raw, answer)
    };
    let connections = |hub: &Rtun| {
        ["one", "other"].map(|name| service_status(hub, name)["connections"].as_u64().unwrap())
    };
    for _ in 0..3 {
        let admitted = [join(&machine, PORTS[0], "host-1"), join(&machine, PORTS[1], "host-2")];
        assert_eq!(connections(&hub), [1, 1]);
        for port in PORTS {
            assert_eq!(ask(port, "host-3").1, Answer::Closed);
        }
        drop(admitted);
        wait_until("room for two again", || connections(&hub) == [0, 0]);
    }
    for name in ["one", "other"] {
        let refused = &service_status(&hub, name)["refused"]["limit_connections"]["count"];
        assert_eq!(refused, 3, "{name}");
    }

    // A token of the one is a token of the other.
    let objects = "rlimiters:\n- {name: slow, limits: [$ 0.05]}\n";
    world.file("hub.yaml", &hubs(["  rlimiter: slow\n"; 2], objects));
    reload(&hub);
    hub.wait_for_nth("rules replaced", 2);
    assert_eq!(ask(PORTS[0], "host-1").1, Answer::Status(0));
    assert_eq!(ask(PORTS[1], "host-2").1, Answer::Closed);
    let refused = &service_status(&hub, "other")["refused"]["limit_rate"]["count"];
    assert_eq!(refused, 1);
    hub.stop();
}

//! Everything that breaks, and how it comes back: hubs, hosts and links; names claimed twice; slow and silent peers.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use common::{
    HUB, THREE_HOSTS, World, count_of, ip, pings,
    raw::{RawHost, request, udp},
    reaches, wait_until,
};
use nix::sys::signal::Signal;
use rtun_lab::{NetNamespace, tools};

fn inside(n: u8) -> String {
    format!("192.168.123.{n}")
}

fn has_tun(machine: &NetNamespace) -> bool {
    let devices = machine.run(|| std::fs::read_to_string("/proc/thread-self/net/dev")).unwrap();
    devices.unwrap().contains("tun")
}

#[test]
fn a_killed_hub_is_back_with_all_its_hosts_within_two_seconds_of_its_start() {
    let Some(world) = World::new() else { return };
    let mut hub = world.hub(THREE_HOSTS);
    let machines = [1, 2, 3].map(|n| world.machine(&format!("host-{n}")));
    let hosts = [1, 2, 3].map(|n| world.join(&machines[usize::from(n) - 1], n));
    reaches(&machines[0], &inside(2));
    reaches(&machines[2], &inside(1));

    for (round, signal) in [(1, Signal::SIGKILL), (2, Signal::SIGTERM)] {
        hub.process.signal(signal).unwrap();
        hub.process.wait(Duration::from_secs(5)).unwrap().unwrap();
        for host in &hosts {
            wait_until("the loss", || {
                host.lines().iter().filter(|l| text(l).contains("lost the hub")).count() >= round
            });
        }
        assert!(machines.iter().all(has_tun), "devices stay");
        thread::sleep(Duration::from_secs(2));
        let start = Instant::now();
        hub = world.hub(THREE_HOSTS);
        for (from, to) in [(0, 2), (1, 3), (2, 1)] {
            let soon = Duration::from_millis(50);
            while tools::ping(&machines[from], ip(&inside(to)), 56, false, soon).is_err() {}
        }
        let took = start.elapsed();
        assert!(took < Duration::from_secs(2), "all forward again after {took:?}");
    }
    hub.stop_balanced();
}

fn text(line: &serde_json::Value) -> String {
    line["message"].as_str().unwrap_or("").to_owned()
}

#[test]
fn a_killed_host_leaves_nothing_and_is_back_when_started_again() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let machines = [1, 2, 3].map(|n| world.machine(&format!("host-{n}")));
    let hosts = [1, 2, 3].map(|n| world.join(&machines[usize::from(n) - 1], n));
    reaches(&machines[0], &inside(2));
    reaches(&machines[0], &inside(3));

    hosts[1].process.kill().unwrap();
    assert_eq!(hub.wait_for("host left")["host"], "host-2");
    wait_until("the device to go", || !has_tun(&machines[1]));
    assert!(!pings(&machines[0], &inside(2)));
    assert!(pings(&machines[0], &inside(3)), "the others flow on");
    hub.wait_for_drops("no_gateway_connected", 1);

    let again = world.join(&machines[1], 2);
    reaches(&machines[0], &inside(2));
    again.stop();
    hub.stop_balanced();
}

#[test]
fn a_link_cut_silently_is_noticed_and_everything_comes_back() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let machines = [1, 2].map(|n| world.machine(&format!("host-{n}")));
    let hosts = [1, 2].map(|n| world.join(&machines[usize::from(n) - 1], n));
    reaches(&machines[0], &inside(2));

    // Short enough for the connection to survive.
    world.switch.cut(&machines[1]).unwrap();
    thread::sleep(Duration::from_secs(3));
    world.switch.restore(&machines[1]).unwrap();
    let start = Instant::now();
    reaches(&machines[0], &inside(2));
    assert!(start.elapsed() < Duration::from_secs(5), "after 3 s: {:?}", start.elapsed());

    world.switch.cut(&machines[1]).unwrap();
    let cut = Instant::now();
    while hub.said("host left").is_empty() {
        pings(&machines[0], &inside(2));
        assert!(cut.elapsed() < Duration::from_secs(13), "the hub notices a dead host");
    }
    wait_until("the host to notice", || {
        hosts[1].lines().iter().any(|line| text(line).contains("lost the hub"))
    });
    assert!(cut.elapsed() < Duration::from_secs(14), "the host notices: {:?}", cut.elapsed());
    assert!(has_tun(&machines[1]), "the device stays");
    thread::sleep(Duration::from_secs(30).saturating_sub(cut.elapsed()));
    world.switch.restore(&machines[1]).unwrap();
    let start = Instant::now();
    reaches(&machines[0], &inside(2));
    assert!(start.elapsed() < Duration::from_secs(5), "after 30 s: {:?}", start.elapsed());
    hub.stop_balanced();
}

#[test]
fn the_newest_of_two_hosts_with_one_name_carries_it_and_the_older_takes_over() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let machine = world.machine("sender");
    let mut sender = RawHost::join(&machine, "host-1");
    let mut older = RawHost::join(&machine, "host-2");
    let mut newer = RawHost::join(&machine, "host-2");
    hub.wait_for("one more connection reports this host name; packets go to the newest");

    for n in 0..50 {
        sender.send(&udp(&inside(1), &inside(2), &[n]));
    }
    for n in 0..50 {
        assert_eq!(newer.receive()[28..], [n], "the newest gets all of them, in order");
    }
    drop(newer);
    hub.wait_for("host left");
    sender.send(&udp(&inside(1), &inside(2), b"after"));
    assert_eq!(older.receive()[28..], *b"after");
    drop((sender, older));
    hub.wait_for_nth("host left", 3);
    hub.stop_balanced();
}

#[test]
fn both_machines_that_report_one_name_are_told_of_each_other() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let machines = [1, 2].map(|n| world.machine(&format!("host-{n}")));
    let hosts = machines.each_ref().map(|machine| world.join(machine, 2));
    hub.wait_for("one more connection reports this host name; packets go to the newest");
    for host in &hosts {
        wait_until("it is informed", || {
            host.lines().iter().any(|line| {
                let text = text(line);
                text.contains("the hub says: 10.0.0.") && text.contains("reports this host's name")
            })
        });
    }
    let peers: Vec<_> = hub.said("host joined").iter().map(|line| line["peer"].clone()).collect();
    assert_eq!(peers.len(), 2);
}

#[test]
fn a_host_that_stops_reading_costs_the_others_nothing_and_is_given_up() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let machines = [1, 2, 3].map(|n| world.machine(&format!("host-{n}")));
    let _hosts = [1, 2].map(|n| world.join(&machines[usize::from(n) - 1], n));
    reaches(&machines[0], &inside(2));
    let mut stalled = RawHost::join(&machines[2], "host-3");

    let target = inside(3);
    let flood = machines[0].thread(move || {
        let socket = UdpSocket::bind("192.168.123.1:0").unwrap();
        let end = Instant::now() + Duration::from_secs(6);
        while Instant::now() < end {
            for _ in 0..20 {
                socket.send_to(&[0; 1300], (target.as_str(), 9)).ok();
            }
            thread::sleep(Duration::from_millis(1));
        }
    });
    wait_until("a full queue", || {
        let report = hub.hub_report();
        count_of(&report, "queue_full_oldest") + count_of(&report, "queue_too_old") > 100
    });
    let mut times: Vec<_> = (0..50)
        .map(|_| {
            tools::ping(&machines[0], ip(&inside(2)), 56, false, Duration::from_secs(1)).unwrap()
        })
        .collect();
    times.sort();
    assert!(
        times[25] < Duration::from_millis(50),
        "median next to the stalled host: {:?}",
        times[25]
    );
    flood.unwrap().join().unwrap().unwrap();

    let left = hub.wait_for("host left");
    assert_eq!(left["host"], "host-3");
    assert!(
        ["write_stalled", "user_timeout"].contains(&left["reason"].as_str().unwrap()),
        "{left}"
    );
    stalled.closed_after(Instant::now());
    hub.stop_balanced();
}

#[test]
fn thousands_of_silent_connections_do_not_keep_a_host_out() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let (crowd, honest) = (world.machine("crowd"), world.machine("honest"));
    let start = Instant::now();
    let (mut first, silent) = crowd
        .run(|| {
            let connect = || std::net::TcpStream::connect((HUB, 8443)).unwrap();
            let first = connect();
            (first, (0..5000).map(|_| connect()).collect::<Vec<_>>())
        })
        .unwrap();
    let asked = Instant::now();
    let mut host = RawHost::join(&honest, "host-1");
    assert!(asked.elapsed() < Duration::from_secs(1), "admitted after {:?}", asked.elapsed());

    use std::io::Read;
    first.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert_eq!(first.read(&mut [0]).unwrap(), 0, "the oldest of a crowd makes room");
    let mut last = RawHost { stream: silent.last().unwrap().try_clone().unwrap() };
    let closed = last.closed_after(start);
    assert!(closed < Duration::from_secs(20), "a silent connection is closed: {closed:?}");
    host.send(&udp(&inside(1), &inside(9), b"x"));
    hub.wait_for_drops("no_route", 1);
    drop(host);
    hub.wait_for("host left");
    hub.stop_balanced();
}

#[test]
fn a_connection_that_dribbles_its_request_is_closed_in_time() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let mut slow = RawHost::connect(&world.machine("slow"));
    let start = Instant::now();
    let mut writer = slow.stream.try_clone().unwrap();
    let dribble = thread::spawn(move || {
        for byte in request("host-1", [0; 16]) {
            if std::io::Write::write_all(&mut writer, &[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_secs(2));
        }
    });
    let closed = slow.closed_after(start);
    let limits = Duration::from_millis(9_500)..Duration::from_secs(13);
    assert!(limits.contains(&closed), "closed after {closed:?}");
    hub.stop_balanced();
    dribble.join().unwrap();
}

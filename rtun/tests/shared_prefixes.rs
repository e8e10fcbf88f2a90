//! One prefix behind several hosts: who carries it, who takes over, and who says so.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use common::{
    Rtun, World,
    raw::{RawHost, udp, udp_to},
    wait_until,
};
use nix::sys::signal::Signal;
use rtun_lab::NetNamespace;
use serde_json::Value;

/// 10.1.0.0/16 is behind `a` by the file, then `b` and `c`; 10.2.0.0/16 is behind `x`.
const HUB: &str = "
services:
- name: service-0
  addr: :8443
  handler: {type: router, metadata: {router: router-0, router.sharing: newest}}
  listener: {type: tcp}
routers:
- name: router-0
  file: {path: rows.txt}
  routes:
  - {dst: 10.1.0.0/16, gateway: b}
  - {dst: 10.1.0.0/16, gateway: c}
  - {dst: 10.2.0.0/16, gateway: x}
";

fn hub(world: &World) -> Rtun {
    world.file("rows.txt", "10.1.0.0/16 a\n");
    world.hub(HUB)
}

fn socket_of(rtun: &Rtun) -> PathBuf {
    rtun.wait_for("control socket is open")["path"].as_str().unwrap().into()
}

fn rtun(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_rtun")).args(arguments).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// Who carries by the status, each with whether it is connected.
fn carriers(socket: &Path) -> Vec<(String, bool, bool)> {
    let status = rtun(&["status", "--json", "--socket", socket.to_str().unwrap()]);
    let status: Value = serde_json::from_str(&status).unwrap();
    let shared = &status[0]["services"][0]["namespaces"][0]["shared"];
    assert_eq!((&shared[0]["prefix"], &shared[0]["prefixes"]), (&"10.1.0.0/16".into(), &1.into()));
    let gateways = shared[0]["gateways"].as_array().unwrap().iter().map(|gateway| {
        let is = |key: &str| gateway[key].as_bool().unwrap();
        (gateway["host"].as_str().unwrap().to_owned(), is("connected"), is("carries"))
    });
    gateways.collect()
}

fn join(machine: &NetNamespace, name: &str) -> RawHost {
    let host = RawHost::join(machine, name);
    host.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    host
}

#[test]
fn the_next_host_carries_while_the_first_is_away_and_it_again_when_it_is_back() {
    let Some(world) = World::new() else { return };
    let hub = hub(&world);
    let socket = socket_of(&hub);
    let machine = world.machine("hosts");
    let mut x = join(&machine, "x");
    let mut c = join(&machine, "c");
    let packet = udp("10.2.0.1", "10.1.0.1", b"to them");
    let explain = || {
        let path = socket.to_str().unwrap();
        rtun(&["explain", "--socket", path, "10.2.0.1", "10.1.0.1"])
    };
    x.send(&packet);
    assert_eq!(c.receive(), packet, "the only one there");
    let mut b = join(&machine, "b");
    x.send(&packet);
    assert_eq!(b.receive(), packet, "before the third");
    let said = explain();
    for part in [
        "delivered to b",
        "passed over: rows.txt:1  10.1.0.0/16 -> a   (the same prefix first, but a is away)",
        "10.1.0.0/16 -> c   (the same prefix, next while those before are away)",
        "or         a is not connected\nor         c stands by\n",
    ] {
        assert!(
            said.replace(world.file("x", "").parent().unwrap().to_str().unwrap(), "")
                .replace("/rows", "rows")
                .contains(part),
            "{part:?} in\n{said}"
        );
    }
    let state = |a: bool, b: bool| {
        [("a", a, a), ("b", b, b && !a), ("c", true, !a && !b)]
            .map(|(host, connected, carries)| (host.to_owned(), connected, carries))
    };
    assert_eq!(carriers(&socket), state(false, true));
    let status = rtun(&["status", "--socket", socket.to_str().unwrap()]);
    let line = "10.1.0.0/16: a is away, b carries, c stands by";
    assert_eq!(status.matches(line).count(), 2, "as a problem and as a fact: {status}");

    let mut a = join(&machine, "a");
    for n in 0..100_u8 {
        // The flow went elsewhere a moment ago.
        let packet = udp("10.2.0.1", "10.1.0.1", &[n]);
        x.send(&packet);
        assert_eq!(a.receive(), packet, "the file's host, as soon as it is there");
    }
    assert_eq!(carriers(&socket), state(true, true));
    assert!(explain().contains("delivered to a"));
    // Each of them may send from there, and gets nothing of its own back.
    let own = udp("10.1.0.9", "10.2.0.1", b"from them");
    for host in [&mut a, &mut b, &mut c] {
        host.send(&own);
        assert_eq!(x.receive(), own);
    }
    let between = udp("10.1.0.9", "10.1.0.1", b"between them");
    a.send(&between);
    assert_eq!(b.receive(), between);
    b.send(&between);
    assert_eq!(a.receive(), between);

    drop(a);
    hub.wait_for("host left");
    let begun = Instant::now();
    x.send(&packet);
    assert_eq!(b.receive(), packet);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    drop((b, c));
    hub.wait_for_nth("host left", 3);
    x.send(&packet);
    let error = x.receive();
    assert_eq!(error[20..22], [3, 1], "nobody is there: {error:02x?}");
    assert_eq!(hub.dropped("no_gateway_connected"), 1);
    drop(x);
    hub.stop_balanced();
}

#[test]
fn flows_are_shared_out_and_only_those_of_one_that_goes_change_over() {
    let Some(world) = World::new() else { return };
    let hub = hub(&world);
    world.file("hub.yaml", &HUB.replace("newest", "flow"));
    hub.process.signal(Signal::SIGHUP).unwrap();
    hub.wait_for("configuration read again");
    let socket = socket_of(&hub);
    let machine = world.machine("hosts");
    let mut x = join(&machine, "x");
    let mut hosts = ["a", "b", "c"].map(|name| (name, join(&machine, name)));
    const FLOWS: u16 = 90;
    let send = |x: &mut RawHost| {
        for flow in 0..FLOWS {
            x.send(&udp_to("10.2.0.1", "10.1.0.1", flow, b"flow"));
        }
    };
    let receive = |host: &mut RawHost| {
        host.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut flows = Vec::new();
        while let Some(packet) = host.try_receive() {
            flows.push(u16::from_be_bytes([packet[22], packet[23]]));
        }
        flows
    };
    send(&mut x);
    let before: Vec<_> = hosts.iter_mut().map(|(_, host)| receive(host)).collect();
    assert_eq!(before.iter().map(Vec::len).sum::<usize>(), usize::from(FLOWS));
    assert!(before.iter().all(|flows| flows.len() > 10), "{before:?}");
    let all = |expected: bool| carriers(&socket).iter().all(|(.., carries)| *carries == expected);
    assert!(all(true));
    let path = socket.to_str().unwrap();
    let said = rtun(&["explain", "--socket", path, "10.2.0.1", "10.1.0.1"]);
    assert!(said.contains("or         b gets some of the flows"), "{said}");

    let [mut a, b, mut c] = hosts;
    drop(b);
    hub.wait_for("host left");
    wait_until("b being away", || !carriers(&socket)[1].1);
    send(&mut x);
    for (host, before) in [(&mut a.1, &before[0]), (&mut c.1, &before[2])] {
        let after = receive(host);
        assert!(before.iter().all(|flow| after.contains(flow)), "{before:?} stay: {after:?}");
    }
    drop((x, a, c));
    hub.stop_balanced();
}

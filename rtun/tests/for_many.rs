//! Multicast and broadcast: where a route is about such addresses, each of its hosts gets a copy.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    net::{Ipv4Addr, UdpSocket},
    process::Command,
    time::Duration,
};

use common::{
    Rtun, World, count_of,
    gso_packet::GsoPacketBuilder,
    raw::{Answer, RawHost, request, udp},
    wait_until,
};
use rtun_lab::NetNamespace;
use rtun_proto::{checksum::Checksum, extension::Capabilities};

const SUPER: Capabilities = Capabilities::GSO_FRAMES;

/// `away` never joins; `guest` is in no route for many.
const HUB: &str = "
services:
- name: service-0
  addr: :8443
  handler: {type: router, metadata: {router: main}}
  listener: {type: tcp}
routers:
- name: main
  routes:
  - {dst: 10.0.0.1, gateway: a}
  - {dst: 10.0.0.2, gateway: b}
  - {dst: 10.0.0.3, gateway: c}
  - {dst: 0.0.0.0/0, gateway: guest}
  - {dst: fd00::1, gateway: a}
  - {dst: 239.0.0.0/8, gateway: away}
  - {dst: 239.0.0.0/8, gateway: a}
  - {dst: 239.0.0.0/8, gateway: b}
  - {dst: 239.0.0.0/8, gateway: c}
  - {dst: 239.1.0.0/16, gateway: b}
  - {dst: 239.2.0.0/16, gateway: away}
  - {dst: 255.255.255.255, gateway: b}
  - {dst: 255.255.255.255, gateway: c}
  - {dst: 'ff00::/8', gateway: b}
  - {dst: 'ff00::/8', gateway: c}
- name: 11111111-2222-4333-8444-555555555555
  routes:
  - {dst: 10.0.0.1, gateway: a}
  - {dst: 10.0.0.2, gateway: b}
  - {dst: 239.0.0.0/8, gateway: a}
  - {dst: 239.0.0.0/8, gateway: b}
";

const OTHER: u128 = 0x1111_1111_2222_4333_8444_5555_5555_5555;

/// Hosts of the table: `a` and `b` take GSO frames, `c` is as one of GOST's.
struct Hosts {
    a: RawHost,
    b: RawHost,
    c: RawHost,
}

impl Hosts {
    fn join(machine: &NetNamespace) -> Self {
        Self {
            a: RawHost::join_greeting(machine, "a", 1, SUPER),
            b: RawHost::join_greeting(machine, "b", 2, SUPER),
            c: RawHost::join(machine, "c"),
        }
    }

    /// Nothing more waits for any of them: what comes next is this.
    fn nothing_waits(&mut self) {
        for (address, host) in [("10.0.0.2", 1), ("10.0.0.3", 2)] {
            let packet = udp("10.0.0.1", address, b"next");
            self.a.send(&packet);
            let host = if host == 1 { &mut self.b } else { &mut self.c };
            assert_eq!(host.receive(), packet);
        }
        let back = udp("10.0.0.2", "10.0.0.1", b"next");
        self.b.send(&back);
        assert_eq!(self.a.receive(), back, "the sender gets no copy");
    }
}

#[test]
fn each_connected_host_of_the_route_gets_a_copy_and_nobody_else() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let socket = hub.wait_for("control socket is open")["path"].as_str().unwrap().to_owned();
    let machine = world.machine("hosts");
    let mut hosts = Hosts::join(&machine);
    let mut guest = RawHost::join(&machine, "guest");
    let mut elsewhere = RawHost::connect(&machine);
    assert_eq!(elsewhere.ask(&request("b", OTHER.to_be_bytes())), Answer::Status(0));

    let long = GsoPacketBuilder::udp("fd00::1", "ff02::fb", 900, 900);
    let [v6] = <[Vec<u8>; 1]>::try_from(long.packets()).unwrap();
    for packet in
        [udp("10.0.0.1", "239.9.9.9", b"many"), udp("10.0.0.1", "255.255.255.255", b"all"), v6]
    {
        hosts.a.send(&packet);
        assert_eq!(hosts.b.receive(), packet);
        assert_eq!(hosts.c.receive(), packet);
    }
    let one = udp("10.0.0.1", "239.1.9.9", b"the longer prefix");
    hosts.a.send(&one);
    assert_eq!(hosts.b.receive(), one);
    // Each of the receivers gets a GSO frame in the form that it takes.
    let whole = GsoPacketBuilder::udp("10.0.0.1", "239.9.9.9", 40_000, 1200);
    hosts.a.send(&whole.frame());
    assert!(hosts.b.receive() == whole.frame(), "whole");
    for packet in whole.packets() {
        assert!(hosts.c.receive() == packet, "cut");
    }
    hosts.nothing_waits();

    hosts.a.send(&udp("10.0.0.1", "224.0.0.251", b"no route is about it, a default route neither"));
    hosts.a.send(&udp("10.0.0.2", "239.9.9.9", b"not its own address"));
    hosts.a.send(&udp("10.0.0.1", "239.2.9.9", b"nobody is there"));
    hosts.nothing_waits();
    let to_guest = udp("10.0.0.1", "192.0.2.1", b"the default route");
    hosts.a.send(&to_guest);
    assert_eq!(guest.receive(), to_guest, "and nothing before");
    elsewhere.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(elsewhere.try_receive(), None, "another namespace");
    for reason in ["ip_disallowed_dst", "src_not_allowed", "no_gateway_connected"] {
        assert_eq!(hub.dropped(reason), 1, "{reason}");
    }

    let said = explain(&["--socket", &socket, "--namespace", DEFAULT, "10.0.0.1", "239.9.9.9"]);
    for part in
        ["a copy delivered to each of b, c", "and        away is not connected", "gets a copy"]
    {
        assert!(said.contains(part), "{part:?} in\n{said}");
    }
    let said = explain(&["--socket", &socket, "--namespace", DEFAULT, "10.0.0.1", "224.0.0.251"]);
    for part in ["dropped: ip_disallowed_dst", "add a route for 224.0.0.251", "-> guest   (not of"]
    {
        assert!(said.contains(part), "{part:?} in\n{said}");
    }
    let report = hub.hub_report();
    // One copy of each packet to two hosts, the GSO frame's packets too.
    assert_eq!(report["copies"], 3 + whole.segments(), "{report}");
    drop((hosts, guest, elsewhere));
    hub.stop_balanced();
}

const DEFAULT: &str = "00000000-0000-0000-0000-000000000000";

fn explain(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
    let output = command.arg("explain").args(arguments).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn a_stalled_host_loses_its_own_copies_alone_and_hops_are_taken_once() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&HUB.replace("router: main}", "router: main, ttl: true}"));
    let machine = world.machine("hosts");
    let mut hosts = Hosts::join(&machine);
    // What `c` does not take for so long waits, and is lost once its queue is full.
    const ROUNDS: u64 = 60;
    const EACH: u64 = 50;
    let taken: Vec<Vec<u8>> = (0..EACH)
        .map(|n| GsoPacketBuilder {
            ttl: 8,
            id: n as u16,
            ..GsoPacketBuilder::udp("10.0.0.1", "239.9.9.9", 1200, 1200)
        })
        .flat_map(|packet| packet.packets())
        .collect();
    let sent: Vec<Vec<u8>> = taken.iter().map(|packet| with_ttl(packet, 9)).collect();
    for _ in 0..ROUNDS {
        sent.iter().for_each(|packet| hosts.a.send(packet));
        for packet in &taken {
            assert!(hosts.b.receive() == *packet, "all of it, with one hop less");
        }
    }
    let mut rest = 0;
    hosts.c.stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    while let Some(packet) = hosts.c.try_receive() {
        assert!(taken.contains(&packet));
        rest += 1;
    }
    let all = ROUNDS * EACH;
    wait_until("the rest being counted", || lost(&hub) == all - rest);
    assert!(rest > 0 && rest < all, "{rest} of {all} came");
    let report = hub.hub_report();
    assert_eq!((&report["packets_in"], &report["copies"]), (&all.into(), &all.into()), "{report}");
    let expired = udp("10.0.0.1", "239.9.9.9", b"no hop left");
    hosts.a.send(&with_ttl(&expired, 1));
    hub.wait_for_drops("ttl_expired", 1);
    drop(hosts);
    hub.stop_balanced();
}

/// An IPv4 packet with another TTL and the right sum.
fn with_ttl(packet: &[u8], ttl: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[8] = ttl;
    packet[10..12].fill(0);
    let sum = Checksum::new().add_bytes(&packet[..20]).finish();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// What queues have lost.
fn lost(hub: &Rtun) -> u64 {
    let report = hub.hub_report();
    let reasons = ["queue_full_oldest", "queue_too_old", "queue_codel", "queue_budget"];
    reasons.iter().map(|reason| count_of(&report, reason)).sum()
}

/// Programs that join a group at the devices of two hosts.
#[test]
fn a_group_is_reached_through_devices() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(
        "
services:
- {name: hub, addr: ':8443', handler: {type: router, metadata: {router: main}}, listener: {type: tcp}}
routers:
- name: main
  routes:
  - {dst: 192.168.123.1, gateway: host-1}
  - {dst: 192.168.123.2, gateway: host-2}
  - {dst: 192.168.123.3, gateway: host-3}
  - {dst: 224.0.0.0/4, gateway: host-2}
  - {dst: 224.0.0.0/4, gateway: host-3}
",
    );
    let machines = ["h1", "h2", "h3"].map(|name| world.machine(name));
    let hosts: Vec<Rtun> = (1..)
        .zip(&machines)
        .map(|(n, machine)| {
            let service = format!("tun:///host-{n}?net=192.168.123.{n}/24&route=224.0.0.0/4");
            world.start(machine, &["-L", &service, "-F", "router://server_ip:8443"])
        })
        .collect();
    for to in ["192.168.123.2", "192.168.123.3"] {
        common::reaches(&machines[0], to);
    }
    let group = Ipv4Addr::new(239, 4, 5, 6);
    let member = |n: u8| {
        let join = || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4567))?;
            socket.join_multicast_v4(&group, &Ipv4Addr::new(192, 168, 123, n))?;
            socket.set_read_timeout(Some(common::SOON))?;
            Ok::<_, std::io::Error>(socket)
        };
        machines[usize::from(n - 1)].run(join).unwrap().unwrap()
    };
    let members = [member(2), member(3)];
    let send =
        || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.send_to(b"to the group", (group, 4567));
    machines[0].run(send).unwrap().unwrap();
    for socket in &members {
        let mut buffer = [0; 100];
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(
            (&buffer[..len], from.ip()),
            (&b"to the group"[..], common::ip("192.168.123.1"))
        );
    }
    drop(hosts);
    hub.stop_balanced();
}

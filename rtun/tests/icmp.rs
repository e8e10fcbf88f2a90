//! ICMP errors to hosts for packets that go nowhere: from the hub, and from routers of the networks behind other hosts.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    io,
    net::{IpAddr, TcpStream, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

use common::{
    Rtun, World, at, count_of, does_not_reach, ip,
    raw::{RawHost, udp},
    reaches, wait_until,
};
use nix::sys::{
    signal::Signal,
    socket::{getsockopt, sockopt},
};
use rtun_lab::{
    NetNamespace,
    tools::{self, PingError},
};
use rtun_proto::{
    icmp::{Unreachable, quoted, unreachable},
    packet::Packet,
};
use rtun_system::link::SystemLink;

/// Of three hosts the third is away. `{}` is metadata.
const HUB: &str = "
services:
- name: service-0
  addr: :8443
  handler: {type: router, metadata: {router: router-0, {}}}
  listener: {type: tcp}
routers:
- name: router-0
  routes:
  - {dst: 192.168.123.1, gateway: host-1}
  - {dst: 192.168.123.2, gateway: host-2}
  - {dst: 192.168.123.3, gateway: host-3}
  - {dst: 192.168.100.0/24, gateway: host-1}
  - {dst: 192.168.200.0/24, gateway: host-2}
  - {dst: 'fd00:123::1', gateway: host-1}
  - {dst: 'fd00:123::2', gateway: host-2}
  - {dst: 'fd00:123::3', gateway: host-3}
";

fn config(metadata: &str) -> String {
    HUB.replace("{}", metadata)
}

/// Host N, to whom everything inside is routed.
fn join(world: &World, machine: &NetNamespace, n: u8, mtu: u16) -> Rtun {
    let nets = format!("192.168.123.{n}/24,fd00:123::{n}/64");
    let service = format!("tun:///host-{n}?net={nets}&route=192.168.0.0/16&mtu={mtu}");
    world.start(machine, &["-L", &service, "-F", "router://server_ip:8443"])
}

/// One ping of this many bytes that may not be fragmented.
fn ping(from: &NetNamespace, to: &str, len: usize) -> Result<Duration, PingError> {
    tools::ping(from, ip(to), len, true, Duration::from_secs(2))
}

/// Who answers it with an ICMP error, of which type and code.
fn refusal(from: &NetNamespace, to: &str, len: usize) -> (IpAddr, u8, u8) {
    match ping(from, to, len) {
        Err(PingError::Refused { from, kind, code }) => (from, kind, code),
        other => panic!("{to}: {other:?}"),
    }
}

/// The MTU of the path to there, as the machine knows it.
fn path_mtu(from: &NetNamespace, to: &str) -> usize {
    let connected = || -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((ip(to), 9))?;
        Ok(socket)
    };
    let socket = from.run(connected).unwrap().unwrap();
    usize::try_from(getsockopt(&socket, sockopt::IpMtu).unwrap()).unwrap()
}

#[test]
fn a_sender_learns_what_the_receiver_takes() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&config("icmp: true"));
    let (one, two) = (world.machine("one"), world.machine("two"));
    let (lan_one, lan_two) = (world.behind(&one, "192.168.100"), world.behind(&two, "192.168.200"));
    let _hosts = [join(&world, &one, 1, 1500), join(&world, &two, 2, 1300)];
    hub.wait_for_nth("host speaks the extension", 2);
    reaches(&one, "192.168.123.2");
    reaches(&lan_one, "192.168.200.2");
    reaches(&one, "fd00:123::2");

    // Of machines in the tunnel.
    assert_eq!(refusal(&one, "192.168.123.2", 1400), (ip("192.168.123.2"), 3, 4));
    assert_eq!(path_mtu(&one, "192.168.123.2"), 1300);
    assert!(ping(&one, "192.168.123.2", 1300 - 28).is_ok(), "what fits arrives");
    assert!(ping(&one, "192.168.123.2", 1300 - 27).is_err());
    let whole = tools::ping(&one, ip("192.168.123.2"), 3000, false, Duration::from_secs(2));
    assert!(whole.is_ok(), "{whole:?}: what may be cut is");
    assert_eq!(refusal(&one, "fd00:123::2", 1400), (ip("fd00:123::2"), 2, 0));
    let again = ping(&one, "fd00:123::2", 1300 - 47);
    assert!(matches!(again, Err(PingError::Send(_))), "its own system knows: {again:?}");
    assert!(ping(&one, "fd00:123::2", 1300 - 48).is_ok());

    // Of TCP between machines behind, whose segments fit their own networks.
    let before = hub.dropped("frame_too_big");
    tools::tcp_hash_transfer(&lan_one, &lan_two, at("192.168.200.2", 7000), 3 << 20).unwrap();
    assert!(hub.dropped("frame_too_big") > before, "there was something to learn");
    assert_eq!(path_mtu(&lan_one, "192.168.200.2"), 1300);
    tools::tcp_hash_transfer(&lan_two, &lan_one, at("192.168.100.2", 7000), 3 << 20).unwrap();

    let report = hub.stop_balanced();
    assert!(report["answered"].as_u64().unwrap() >= 4, "{report}");
    assert_eq!(count_of(&report, "src_not_allowed"), 0, "{report}");
}

/// Where TCP cannot connect, and after how long that is known.
fn connects(from: &NetNamespace, to: &str) -> (io::ErrorKind, Duration) {
    let begun = Instant::now();
    let to = at(to, 80);
    let attempt = || TcpStream::connect_timeout(&to, Duration::from_secs(10)).map(drop);
    (from.run(attempt).unwrap().unwrap_err().kind(), begun.elapsed())
}

#[test]
fn what_is_not_there_is_known_at_once() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&config("sourceCheck: strict"));
    let (one, two) = (world.machine("one"), world.machine("two"));
    let _hosts = [join(&world, &one, 1, 1420), join(&world, &two, 2, 1420)];
    reaches(&one, "192.168.123.2");
    let begun = Instant::now();
    assert_eq!(refusal(&one, "192.168.55.1", 56), (ip("192.168.55.1"), 3, 0), "no route");
    assert_eq!(refusal(&one, "192.168.123.3", 56), (ip("192.168.123.3"), 3, 1), "away");
    assert_eq!(refusal(&one, "fd00:123::9", 56), (ip("fd00:123::9"), 1, 0), "no route");
    assert_eq!(refusal(&one, "fd00:123::3", 56), (ip("fd00:123::3"), 1, 3), "away");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let (kind, took) = connects(&one, "192.168.55.1");
    assert!(took < Duration::from_secs(1), "{kind:?} after {took:?}");
    assert_eq!(kind, io::ErrorKind::NetworkUnreachable);
    let (kind, took) = connects(&one, "192.168.123.3");
    assert!(took < Duration::from_secs(1), "{kind:?} after {took:?}");
    assert_eq!(kind, io::ErrorKind::HostUnreachable);

    let apply = |metadata: &str, n| {
        world.file("hub.yaml", &config(metadata));
        hub.process.signal(Signal::SIGHUP).unwrap();
        hub.wait_for_nth("configuration read again", n);
    };
    apply("address: [10.99.0.254, 'fd00:99::fe']", 1);
    assert_eq!(refusal(&one, "192.168.55.1", 56), (ip("10.99.0.254"), 3, 0));
    assert_eq!(refusal(&one, "fd00:123::3", 56), (ip("fd00:99::fe"), 1, 3));
    let answered = hub.hub_report()["answered"].as_u64().unwrap();
    apply("icmp: false", 2);
    assert!(matches!(ping(&one, "192.168.55.1", 56), Err(PingError::TimedOut)));
    let report = hub.stop_balanced();
    assert_eq!(report["answered"], answered, "{report}");
}

#[test]
fn answers_are_few_and_go_to_the_sender_alone_and_about_nothing_doubtful() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&config("icmp: true"));
    let machine = world.machine("hosts");
    let mut one = RawHost::join(&machine, "host-1");
    let mut two = RawHost::join(&machine, "host-2");
    one.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    two.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();

    // A thousand packets to nowhere, from two sources; none of another's address.
    for n in 0..500 {
        one.send(&udp("192.168.123.1", "192.168.99.9", &[n as u8]));
        one.send(&udp("192.168.100.7", "192.168.99.9", &[n as u8]));
        one.send(&udp("192.168.123.2", "192.168.99.9", &[n as u8]));
    }
    let mut errors = 0;
    while let Some(error) = one.try_receive() {
        let packet = Packet::parse(&error).unwrap();
        let quote = quoted(&packet).unwrap();
        assert_eq!(packet.source(), ip("192.168.99.9"));
        assert_eq!((packet.destination(), ip("192.168.99.9")), (quote.source, quote.destination));
        assert!([ip("192.168.123.1"), ip("192.168.100.7")].contains(&packet.destination()));
        errors += 1;
    }
    assert!((20..60).contains(&errors), "{errors}: ten for each source, and ten a second");
    hub.wait_for_drops("no_route", 1000);
    assert_eq!(hub.dropped("src_not_allowed"), 500);

    // Nothing about errors, later fragments, multicast.
    std::thread::sleep(Duration::from_millis(1100));
    let to_nowhere = udp("192.168.123.1", "192.168.99.9", b"x");
    let offender = udp("192.168.99.9", "192.168.123.1", b"x");
    let about = Packet::parse(&offender).unwrap();
    let error = unreachable(&about, Unreachable::Host, ip("192.168.123.1")).unwrap();
    let mut fragment = to_nowhere.clone();
    fragment[6..8].copy_from_slice(&[0, 3]);
    for silent in [error, fragment, udp("192.168.123.1", "224.0.0.9", b"x")] {
        one.send(&silent);
        assert_eq!(one.try_receive(), None);
    }
    one.send(&to_nowhere);
    assert!(one.try_receive().is_some(), "and then about another again");
    assert_eq!(two.try_receive(), None);
    let report = hub.stop_balanced();
    assert_eq!(report["answered"], errors + 1, "{report}");
}

#[test]
fn traceroute_shows_every_hop_and_the_hub_by_its_address() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&config("ttl: true, address: 10.99.0.254"));
    let (one, two) = (world.machine("one"), world.machine("two"));
    let (lan_one, _lan_two) =
        (world.behind(&one, "192.168.100"), world.behind(&two, "192.168.200"));
    // What it says of pings before the tunnel stands counts against what it may say to a sender.
    one.sysctl("ipv4/icmp_ratelimit", "0").unwrap();
    let _hosts = [join(&world, &one, 1, 1420), join(&world, &two, 2, 1420)];
    reaches(&lan_one, "192.168.200.2");
    let mut command = Command::new("traceroute");
    command.args(["-n", "-q", "1", "-w", "3", "-m", "8", "192.168.200.2"]);
    let output = match lan_one.run(|| command.output()).unwrap() {
        Ok(output) => String::from_utf8(output.stdout).unwrap(),
        Err(error) => {
            assert!(std::env::var_os("RTUN_TESTS_MUST_RUN").is_none(), "no traceroute: {error}");
            return;
        }
    };
    let hops: Vec<&str> =
        output.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    let expected = ["192.168.100.1", "10.99.0.254", "192.168.123.2", "192.168.200.2"];
    assert_eq!(hops, expected, "{output}");
    hub.stop_balanced();
}

/// A router behind host 2, with an address that no table knows, in front of a network of 1,200 bytes.
#[test]
fn a_router_behind_a_host_may_say_what_fits_and_nothing_else() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&config("sourceCheck: strict"));
    let (one, two) = (world.machine("one"), world.machine("two"));
    let lan_one = world.behind(&one, "192.168.100");
    let router = world.cable(&two, "link", "172.16.0.1/24", "172.16.0.2/24");
    let far = world.cable(&router, "far", "192.168.200.1/24", "192.168.200.2/24");
    two.forward_packets().unwrap();
    router.forward_packets().unwrap();
    two.route_add("192.168.200.0/24", "172.16.0.2").unwrap();
    router.route_add("0.0.0.0/0", "172.16.0.1").unwrap();
    far.route_add("0.0.0.0/0", "192.168.200.1").unwrap();
    let narrow = async { SystemLink::open("far").unwrap().set_mtu(1200).await };
    router.block_on(narrow).unwrap().unwrap();
    let _hosts = [join(&world, &one, 1, 1420), join(&world, &two, 2, 1420)];
    reaches(&lan_one, "192.168.200.2");

    assert_eq!(refusal(&lan_one, "192.168.200.2", 1300), (ip("172.16.0.2"), 3, 4));
    assert_eq!(path_mtu(&lan_one, "192.168.200.2"), 1200);
    tools::tcp_hash_transfer(&one, &far, at("192.168.200.2", 7000), 2 << 20).unwrap();
    assert_eq!(path_mtu(&one, "192.168.200.2"), 1200);
    let before = hub.dropped("src_not_allowed");
    does_not_reach(&router, "192.168.100.2");
    wait_until("its pings lost", || hub.dropped("src_not_allowed") >= before + 3);
    hub.stop_balanced();
}

//! What rtun ends say to each other besides packets, as it stands on the wire: greeting, probes, GSO frames, farewells.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    net::{IpAddr, TcpListener},
    time::{Duration, Instant},
};

use common::{
    Rtun, World, count_of,
    gso_packet::{ACK, CWR, FIN, GsoPacketBuilder, PSH, RST, SYN},
    ip,
    raw::{Answer, RawHost, hello, kind, request, request_as, request_from, udp},
    route_plugin,
};
use nix::sys::signal::Signal;
use rtun_proto::extension::Capabilities;

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
  - {dst: 192.168.123.3, gateway: host-3}
  - {dst: 192.168.123.10, gateway: host-1}
  - {dst: 192.168.124.0/24, gateway: absent}
  - {dst: 'fd00:123::1', gateway: host-1}
  - {dst: 'fd00:123::2', gateway: host-2}
  - {dst: 'fd00:123::3', gateway: host-3}
";

const ONE: &str = "192.168.123.1";
const TWO: &str = "192.168.123.2";
const THREE: &str = "192.168.123.3";

const SUPER: Capabilities = Capabilities::GSO_FRAMES;

/// The frame of a ping with this stamp.
fn ping(stamp: u64) -> Vec<u8> {
    [&[kind::PING][..], &stamp.to_be_bytes()].concat()
}

/// How many more packets the hub counts as lost for `reason` once it has taken what `send` sent through `host`.
fn drops_of(
    hub: &Rtun,
    reason: &str,
    host: &mut RawHost,
    send: impl FnOnce(&mut RawHost),
) -> (u64, u64) {
    let before = hub.hub_report();
    send(host);
    host.is_answered();
    let after = hub.hub_report();
    let all = |report: &serde_json::Value| report["dropped"].as_u64().unwrap();
    (count_of(&after, reason) - count_of(&before, reason), all(&after) - all(&before))
}

#[test]
fn a_marked_hub_answers_a_hello_and_a_second_one_is_unknown() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let machine = world.machine("host");
    let mut one = RawHost::connect(&machine);
    std::io::Write::write_all(&mut one.stream, &request_from(ip(ONE), "host-1", NS)).unwrap();
    let (answer, features) = one.answer_with_features();
    assert_eq!(answer, Answer::Status(0));
    assert_eq!(features[..3], [3, 0, 20]);
    assert_eq!(features[19..], [0, 0x52, 1, 0], "the signature after the id");

    one.send(&hello(1, SUPER));
    let mut expected = vec![kind::HELLO_REPLY, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 200];
    expected.extend_from_slice(&NS);
    expected.extend_from_slice(&[1, 4, 32, 192, 168, 123, 1]);
    assert_eq!(one.receive(), expected);

    let lost = drops_of(&hub, "frame_unknown", &mut one, |one| one.send(&hello(1, SUPER)));
    assert_eq!(lost, (1, 1), "a second hello");

    for (source, offered, expected) in [
        (ip("fd00:123::2"), Capabilities::NONE, vec![(ip("fd00:123::2"), 128)]),
        (ip(ONE), SUPER, vec![]),
        (ip("10.66.0.1"), Capabilities::from_bits(0x8000_0001), vec![]),
    ] {
        let mut two = RawHost::connect(&machine);
        assert_eq!(two.ask(&request_from(source, "host-2", NS)), Answer::Status(0));
        let reply = two.greet(2, offered);
        assert_eq!(reply.accepted, offered.intersection(SUPER), "no more than the hub knows");
        let expected: Vec<(IpAddr, u8)> = expected;
        assert_eq!(reply.addresses, expected, "{source} of host-2");
        assert_eq!((reply.version, reply.max_frame), (1, u16::MAX));
    }
    hub.stop_balanced();
}

#[test]
fn frames_of_the_extension_go_to_and_come_from_hosts_that_said_hello_only() {
    let Some(world) = World::new() else { return };
    let users = |more: &str| {
        HUB.replace("router-0}}", "router-0}, auther: users}")
            + "authers:\n- name: users\n  auths:\n  - {username: alice, password: s3cret}\n"
            + more
    };
    let hub = world.hub(&users("  - {username: bob, password: pass}\n"));
    let machine = world.machine("host");
    let join = |user, host| {
        let mut raw = RawHost::connect(&machine);
        assert_eq!(raw.ask(&request_as(Some(user), host, NS)), Answer::Status(0));
        raw
    };
    let mut one = join(("alice", "s3cret"), "host-1");
    let mut two = join(("alice", "s3cret"), "host-2");
    let mut three = join(("bob", "pass"), "host-3");
    for (n, frame) in [
        ping(1),
        [&[kind::PONG][..], &[0; 8]].concat(),
        hello(1, SUPER)[..20].to_vec(),
        GsoPacketBuilder::tcp(ONE, TWO, 3000, 1000).frame(),
        vec![kind::GO_AWAY, 0, 0, 0, 9],
        vec![kind::REFUSAL, 1, 0],
        vec![kind::HELLO_REPLY],
        vec![0x20],
    ]
    .into_iter()
    .enumerate()
    {
        one.send(&frame);
        hub.wait_for_drops("ip_version", n as u64 + 1);
    }
    let report = hub.hub_report();
    assert_eq!((&report["packets_in"], &report["dropped"]), (&8.into(), &8.into()), "{report}");
    let packet = udp(ONE, TWO, b"a packet");
    one.send(&packet);
    assert_eq!(two.receive(), packet, "the stream goes on");

    world.file("hub.yaml", &users(""));
    hub.process.signal(Signal::SIGHUP).unwrap();
    assert_eq!(three.rest(), b"", "nothing is said to a plain host that is revoked");
    hub.stop_balanced();
    assert_eq!(one.rest(), b"", "nor when the hub stops");
    assert_eq!(two.rest(), b"");
}

#[test]
fn pings_are_answered_and_unknown_or_broken_frames_are_counted() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let machine = world.machine("host");
    let mut one = RawHost::join_greeting(&machine, "host-1", 1, SUPER);
    let mut two = RawHost::join(&machine, "host-2");
    for stamp in [0, 1, 0x0102_0304_0506_0708, u64::MAX] {
        one.send(&ping(stamp));
        assert_eq!(one.receive(), [&[kind::PONG][..], &stamp.to_be_bytes()].concat());
    }
    for (what, reason, frame) in [
        ("a type of no version", "frame_unknown", vec![0x20, 1, 2, 3]),
        ("another", "frame_unknown", vec![0xff]),
        ("what only a hub says", "frame_unknown", vec![kind::GO_AWAY, 0, 0, 0, 9]),
        ("the same", "frame_unknown", vec![kind::REFUSAL, 1, 0]),
        ("a ping cut short", "frame_malformed", vec![kind::PING, 1, 2, 3]),
        ("a ping with more", "frame_malformed", vec![kind::PING; 10]),
        ("a hello cut short", "frame_malformed", hello(1, SUPER)[..9].to_vec()),
        ("an empty frame", "frame_empty", vec![]),
    ] {
        assert_eq!(drops_of(&hub, reason, &mut one, |one| one.send(&frame)), (1, 1), "{what}");
        let packet = udp(ONE, TWO, what.as_bytes());
        one.send(&packet);
        assert_eq!(two.receive(), packet, "the stream goes on after {what}");
    }
    one.send(&[&[kind::PONG][..], &[0; 8]].concat());
    one.is_answered();
    let report = hub.stop_balanced();
    assert_eq!(report["dropped"], 8, "a pong is no loss: {report}");
    assert_eq!(report["packets_in"], 16, "nor a packet: {report}");
}

/// Packets of both protocols and IP versions with everything that changes from segment to segment.
fn gso_packets(to_v4: &str, to_v6: &str) -> Vec<(&'static str, GsoPacketBuilder)> {
    let flags = ACK | PSH | FIN | CWR;
    let (tcp, udp) = (GsoPacketBuilder::tcp, GsoPacketBuilder::udp);
    let v6 = "fd00:123::1";
    vec![
        ("two segments", tcp(ONE, to_v4, 1001, 1000)),
        ("equal segments", tcp(ONE, to_v4, 9000, 1000)),
        ("odd segments, all flags", GsoPacketBuilder { flags, ..tcp(ONE, to_v4, 5000, 777) }),
        (
            "numbers that wrap around",
            GsoPacketBuilder { id: 0xfffe, sequence: 0xffff_ff00, ..tcp(ONE, to_v4, 4321, 1360) },
        ),
        (
            "options, and a traffic class with ECT(0)",
            GsoPacketBuilder {
                timestamps: true,
                traffic_class: 0xba,
                flags,
                ..tcp(ONE, to_v4, 30_000, 1348)
            },
        ),
        ("as many segments as may be", tcp(ONE, to_v4, 1024, 1)),
        ("as long as may be", tcp(ONE, to_v4, 65_524 - 40, 1380)),
        ("IPv6", GsoPacketBuilder { flags, ..tcp(v6, to_v6, 5000, 777) }),
        (
            "IPv6 with options and a traffic class",
            GsoPacketBuilder {
                timestamps: true,
                traffic_class: 0xba,
                ..tcp(v6, to_v6, 20_000, 1328)
            },
        ),
        ("UDP", udp(ONE, to_v4, 6001, 1200)),
        (
            "UDP, odd, with a traffic class",
            GsoPacketBuilder { traffic_class: 2, id: 0xfffe, ..udp(ONE, to_v4, 999, 111) },
        ),
        ("UDP over IPv6", udp(v6, to_v6, 65_524 - 48, 1200)),
    ]
}

#[test]
fn gso_frames_pass_whole_to_those_that_take_them_and_as_segments_to_others() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let machine = world.machine("host");
    let mut one = RawHost::join_greeting(&machine, "host-1", 1, SUPER);
    let mut two = RawHost::join_greeting(&machine, "host-2", 2, SUPER);
    let mut three = RawHost::join(&machine, "host-3");
    let mut total = 0;
    for (what, packet) in gso_packets(TWO, "fd00:123::2") {
        one.send(&packet.frame());
        assert!(two.receive() == packet.frame(), "{what} arrives whole");
        total += packet.segments();
    }
    // A packet is counted a moment after it has left.
    one.is_answered();
    let report = hub.hub_report();
    assert_eq!((&report["packets_in"], &report["packets_out"]), (&total.into(), &total.into()));

    let cut = |receiver: &mut RawHost, one: &mut RawHost, to_v4, to_v6| {
        let mut total = 0;
        for (what, packet) in gso_packets(to_v4, to_v6) {
            one.send(&packet.frame());
            for (n, segment) in packet.packets().iter().enumerate() {
                let received = receiver.receive();
                let header = received.len().min(80);
                assert!(received == *segment, "segment {n} of {what}: {:?}", &received[..header]);
            }
            total += packet.segments();
        }
        total
    };
    total += cut(&mut three, &mut one, THREE, "fd00:123::3");
    drop(two);
    hub.wait_for("host left");
    // Said hello, but took no GSO frames.
    let mut two = RawHost::join_greeting(&machine, "host-2", 2, Capabilities::NONE);
    total += cut(&mut two, &mut one, TWO, "fd00:123::2");
    let report = hub.stop_balanced();
    assert_eq!((&report["packets_in"], &report["dropped"]), (&total.into(), &0.into()), "{report}");
}

#[test]
fn gso_frames_among_packets_keep_their_place() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let machine = world.machine("host");
    let mut one = RawHost::join_greeting(&machine, "host-1", 1, SUPER);
    for capabilities in [None, Some(SUPER)] {
        let mut two = RawHost::join(&machine, "host-2");
        if let Some(capabilities) = capabilities {
            two.greet(2, capabilities);
        }
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for n in 0..40 {
            let sent = match n % 3 {
                0 => {
                    GsoPacketBuilder { id: n * 100, ..GsoPacketBuilder::tcp(ONE, TWO, 2500, 1000) }
                }
                _ => GsoPacketBuilder::tcp(ONE, TWO, 100, 100),
            };
            match sent.segments() {
                1 => expected.extend(sent.packets()),
                _ if capabilities.is_some() => expected.push(sent.frame()),
                _ => expected.extend(sent.packets()),
            }
            let payload =
                if sent.segments() == 1 { sent.packets().remove(0) } else { sent.frame() };
            stream.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            stream.extend_from_slice(&payload);
        }
        std::io::Write::write_all(&mut one.stream, &stream).unwrap();
        for (n, packet) in expected.iter().enumerate() {
            assert!(two.receive() == *packet, "frame {n} for {capabilities:?}");
        }
        drop(two);
        hub.wait_for_nth("host left", if capabilities.is_some() { 2 } else { 1 });
    }
    hub.stop_balanced();
}

#[test]
fn bad_gso_frames_are_lost_with_all_their_segments() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&HUB.replace("router: router-0}", "router: router-0, icmp: false}"));
    let machine = world.machine("host");
    let mut one = RawHost::join_greeting(&machine, "host-1", 1, SUPER);
    let mut two = RawHost::join_greeting(&machine, "host-2", 2, SUPER);
    let good = GsoPacketBuilder::tcp(ONE, TWO, 3000, 1000);
    let changed = |at: usize, byte: u8| {
        let mut frame = good.frame();
        assert_ne!(frame[at], byte);
        frame[at] = byte;
        frame
    };
    let flags = |flags| GsoPacketBuilder { flags, ..good.clone() }.frame();
    let (virtio, transport) = (1, 1 + 10 + 20);
    let mut with_cwr_said = good.frame();
    with_cwr_said[virtio + 1] |= 0x80;
    let mut with_cwr_unsaid = flags(ACK | CWR);
    with_cwr_unsaid[virtio + 1] &= 0x7f;
    let mut padded = good.frame();
    padded.push(0);
    let mut wrong_udp_length = GsoPacketBuilder::udp(ONE, TWO, 3000, 1000).frame();
    wrong_udp_length[transport + 5] ^= 1;
    for (what, frame) in [
        ("nothing behind the type", vec![kind::GSO_FRAME]),
        ("a cut virtio-net header", good.frame()[..9].to_vec()),
        ("no packet", good.frame()[..11].to_vec()),
        ("a cut IP header", good.frame()[..25].to_vec()),
        ("a cut packet", good.frame()[..2000].to_vec()),
        ("padding", padded),
        ("no checksum to complete", changed(virtio, 0)),
        ("a verified checksum", changed(virtio, 3)),
        ("no segmentation", changed(virtio + 1, 0)),
        ("the segmentation type of IPv6", changed(virtio + 1, 4)),
        ("that of UDP", changed(virtio + 1, 5)),
        ("CWR only in the header", with_cwr_said),
        ("CWR only in the packet", with_cwr_unsaid),
        ("another length of headers", changed(virtio + 2, 41)),
        ("no segment size", GsoPacketBuilder { segment: 0, ..good.clone() }.frame()),
        (
            "a segment as long as the packet",
            GsoPacketBuilder { segment: 3000, ..good.clone() }.frame(),
        ),
        ("too many segments", GsoPacketBuilder { segment: 2, ..good.clone() }.frame()),
        ("a checksum that begins elsewhere", changed(virtio + 6, 24)),
        ("a checksum elsewhere", changed(virtio + 8, 6)),
        (
            "another sum of the pseudo-header",
            changed(transport + 17, good.frame()[transport + 17] ^ 1),
        ),
        ("SYN", flags(ACK | SYN)),
        ("RST", flags(ACK | RST)),
        ("a fragment", changed(virtio + 10 + 6, 0x20)),
        ("a TCP header of 16 bytes", changed(transport + 12, 0x40)),
        ("another length of the UDP datagram", wrong_udp_length),
        ("another protocol", changed(virtio + 10 + 9, 132)),
    ] {
        let lost = drops_of(&hub, "frame_malformed", &mut one, |one| one.send(&frame));
        assert_eq!(lost, (1, 1), "{what}");
    }
    for (reason, packet) in [
        ("src_not_allowed", GsoPacketBuilder::tcp(TWO, ONE, 3000, 1000)),
        ("src_not_allowed", GsoPacketBuilder::udp("10.66.0.1", TWO, 3000, 500)),
        ("no_route", GsoPacketBuilder::tcp(ONE, "10.66.0.1", 3000, 1000)),
        ("hairpin", GsoPacketBuilder::tcp(ONE, "192.168.123.10", 3000, 1000)),
        ("no_gateway_connected", GsoPacketBuilder::tcp(ONE, "192.168.124.7", 3000, 1000)),
        ("ip_disallowed_dst", GsoPacketBuilder::udp(ONE, "224.0.0.1", 3000, 1000)),
    ] {
        let lost = drops_of(&hub, reason, &mut one, |one| one.send(&packet.frame()));
        assert_eq!(lost, (packet.segments(), packet.segments()), "{packet:?}");
    }
    one.send(&good.frame());
    assert!(two.receive() == good.frame(), "a good one passes after all of them");
    let report = hub.stop_balanced();
    assert_eq!(report["packets_out"], 3, "{report}");
}

#[test]
fn a_hub_that_counts_hops_takes_one_from_gso_frames_too() {
    let Some(world) = World::new() else { return };
    let hub =
        world.hub(&HUB.replace("router: router-0}", "router: router-0, ttl: true, icmp: false}"));
    let machine = world.machine("host");
    let mut one = RawHost::join_greeting(&machine, "host-1", 1, SUPER);
    let mut two = RawHost::join_greeting(&machine, "host-2", 2, SUPER);
    let mut three = RawHost::join(&machine, "host-3");
    for (what, packet) in gso_packets(TWO, "fd00:123::2") {
        one.send(&packet.frame());
        let later = GsoPacketBuilder { ttl: packet.ttl - 1, ..packet };
        assert!(two.receive() == later.frame(), "{what}");
    }
    for (what, packet) in gso_packets(THREE, "fd00:123::3") {
        one.send(&packet.frame());
        let later = GsoPacketBuilder { ttl: packet.ttl - 1, ..packet };
        for segment in later.packets() {
            assert!(three.receive() == segment, "{what}");
        }
    }
    let last = GsoPacketBuilder { ttl: 1, ..GsoPacketBuilder::tcp(ONE, TWO, 3000, 1000) };
    let lost = drops_of(&hub, "ttl_expired", &mut one, |one| one.send(&last.frame()));
    assert_eq!(lost, (3, 3));
    hub.stop_balanced();
}

#[test]
fn gso_frames_that_wait_for_a_plugin_go_on_and_count_as_their_segments() {
    let Some(world) = World::new() else { return };
    let _questions = route_plugin(&world.hub, "127.0.0.1:8000", |dst, _| match dst {
        ONE => format!(r#"{{"dst":"{ONE}/32","gateway":"host-1"}}"#),
        TWO => format!(r#"{{"dst":"{TWO}/32","gateway":"host-2"}}"#),
        THREE => format!(r#"{{"dst":"{THREE}/32","gateway":"host-3"}}"#),
        _ => "{}".into(),
    });
    let silent = world.hub.run(|| TcpListener::bind("127.0.0.1:8001")).unwrap().unwrap();
    let (head, _) = HUB.split_once("  routes:").unwrap();
    let plugin = |port| {
        format!("{head}  plugin: {{type: http, addr: 'http://127.0.0.1:{port}', timeout: 1s}}\n")
    };
    let hub = world.hub(&plugin(8000));
    let machine = world.machine("host");
    let mut one = RawHost::join_greeting(&machine, "host-1", 1, SUPER);
    let mut two = RawHost::join_greeting(&machine, "host-2", 2, SUPER);
    let mut three = RawHost::join(&machine, "host-3");
    let packet = GsoPacketBuilder::tcp(ONE, TWO, 3000, 1000);
    one.send(&packet.frame());
    assert!(two.receive() == packet.frame(), "whole");
    let packet = GsoPacketBuilder::udp(ONE, THREE, 3000, 1000);
    one.send(&packet.frame());
    for segment in packet.packets() {
        assert!(three.receive() == segment, "cut");
    }
    let lost = GsoPacketBuilder::tcp(ONE, "10.9.9.9", 3000, 1000);
    one.send(&lost.frame());
    hub.wait_for_drops("route_denied", 3);

    world.file("hub.yaml", &plugin(8001));
    hub.process.signal(Signal::SIGHUP).unwrap();
    hub.wait_for("configuration read again");
    for _ in 0..70 {
        one.send(&packet.frame());
    }
    hub.wait_for_drops("route_pending_timeout", 64 * 3);
    assert_eq!(hub.dropped("route_pending_full"), 6 * 3);
    drop(silent);
    hub.stop_balanced();
}

#[test]
fn a_hub_told_so_accepts_no_gso_frames() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&HUB.replace("router: router-0}", "router: router-0, superFrames: false}"));
    let machine = world.machine("raw");
    let mut three = RawHost::join(&machine, "host-3");
    assert_eq!(three.greet(3, SUPER).accepted, Capabilities::NONE);
    let frame = GsoPacketBuilder::tcp(THREE, ONE, 3000, 1000).frame();
    let lost = drops_of(&hub, "frame_unknown", &mut three, |three| three.send(&frame));
    assert_eq!(lost, (1, 1), "a GSO frame all the same");
    hub.stop_balanced();
}

#[test]
fn long_frames_go_to_hosts_that_said_hello_only() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&HUB.replace("router: router-0}", "router: router-0, icmp: false}"));
    let machine = world.machine("host");
    let mut one = RawHost::join_greeting(&machine, "host-1", 1, SUPER);
    let mut two = RawHost::join_greeting(&machine, "host-2", 2, Capabilities::NONE);
    let mut three = RawHost::join(&machine, "host-3");
    for payload in [16_384 - 28, 16_384 - 27, 60_000, 65_507] {
        let packet = udp(ONE, TWO, &vec![0x5a; payload]);
        one.send(&packet);
        assert!(two.receive() == packet, "{payload} bytes to a host that said hello");
        let packet = udp(ONE, THREE, &vec![0x5a; payload]);
        if packet.len() <= 16_384 {
            one.send(&packet);
            assert!(three.receive() == packet, "{payload} bytes to a plain host");
        } else {
            let lost = drops_of(&hub, "frame_too_big", &mut one, |one| one.send(&packet));
            assert_eq!(lost, (1, 1), "{payload} bytes to a plain host");
        }
    }
    let to_two = GsoPacketBuilder::tcp(ONE, TWO, 40_000, 16_345);
    one.send(&to_two.frame());
    for segment in to_two.packets() {
        assert!(two.receive() == segment, "long segments to a host that said hello");
    }
    let just = GsoPacketBuilder::tcp(ONE, THREE, 40_000, 16_344);
    one.send(&just.frame());
    for segment in just.packets() {
        assert!(three.receive() == segment, "the longest segments of a plain host");
    }
    let over = GsoPacketBuilder::tcp(ONE, THREE, 40_000, 16_345);
    let lost = drops_of(&hub, "frame_too_big", &mut one, |one| one.send(&over.frame()));
    assert_eq!(lost, (3, 3), "long segments to a plain host");
    hub.stop_balanced();
}

#[test]
fn hosts_are_told_that_the_hub_stops() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let machine = world.machine("raw");
    let mut two = RawHost::join_greeting(&machine, "host-2", 2, SUPER);
    let one = world.machine("host-1");
    let host = world.join(&one, 1);
    host.wait_for("joined the hub");
    hub.stop();
    assert_eq!(two.rest(), [0, 5, kind::GO_AWAY, 0, 0, 3, 0xe8], "within a second");
    host.wait_for("lost the hub: the hub is stopping");
}

#[test]
fn a_revoked_host_is_told_so() {
    let Some(world) = World::new() else { return };
    let users = |more: &str| {
        HUB.replace("router-0}}", "router-0}, auther: users}")
            + "authers:\n- name: users\n  auths:\n  - {username: alice, password: s3cret}\n"
            + more
    };
    let hub = world.hub(&users("  - {username: bob, password: pass}\n"));
    let machine = world.machine("raw");
    let mut two = RawHost::connect(&machine);
    assert_eq!(two.ask(&request_as(Some(("bob", "pass")), "host-2", [0; 16])), Answer::Status(0));
    two.greet(2, SUPER);
    let one = world.machine("host-1");
    let host = world.start(
        &one,
        &["-L", "tun:///host-1?net=192.168.123.1/24", "-F", "router://bob:pass@server_ip:8443"],
    );
    host.wait_for("joined the hub");

    world.file("hub.yaml", &users(""));
    let start = Instant::now();
    hub.process.signal(Signal::SIGHUP).unwrap();
    let text = b"the hub's rules no longer admit this host here";
    let notice = [&[0, 49, kind::REFUSAL, 1, 46], &text[..]].concat();
    assert_eq!(two.rest(), notice);
    assert!(start.elapsed() < Duration::from_secs(2), "informed after {:?}", start.elapsed());
    host.wait_for("lost the hub: refused: the hub's rules no longer admit this host here");
    for line in hub.lines().iter().filter(|line| line["message"] == "host left") {
        assert_eq!(line["reason"], "revoked");
    }
    hub.stop_balanced();
}

#[test]
fn a_host_that_comes_back_ends_its_former_connection_and_no_other() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let machine = world.machine("host");
    let mut one = RawHost::join(&machine, "host-1");
    let mut plain = RawHost::join(&machine, "host-2");
    let mut other = RawHost::join_greeting(&machine, "host-2", 7, SUPER);
    let mut former = RawHost::join_greeting(&machine, "host-2", 8, SUPER);
    let mut newest = RawHost::join_greeting(&machine, "host-2", 8, SUPER);
    let text = b"newer connections report the same host name";
    let notice = [&[0, 46, kind::REFUSAL, 2, 43], &text[..]].concat();
    assert_eq!(former.rest(), notice);
    assert_eq!(hub.wait_for("host left")["reason"], "replaced");

    let packet = udp(ONE, TWO, b"one after the other carries it");
    one.send(&packet);
    assert_eq!(newest.receive(), packet);
    drop(newest);
    hub.wait_for_nth("host left", 2);
    one.send(&packet);
    assert_eq!(other.receive(), packet, "a connection of another run stood by");
    drop(other);
    hub.wait_for_nth("host left", 3);
    one.send(&packet);
    assert_eq!(plain.receive(), packet, "and one that said no hello");

    let mut pile: Vec<_> =
        (20..23).map(|n| RawHost::join_greeting(&machine, "host-2", n, SUPER)).collect();
    let _fifth = RawHost::connect(&machine).ask(&request("host-2", [0; 16]));
    assert_eq!(plain.rest(), b"", "the fifth ends the oldest, here one that takes no notice");
    let _sixth = RawHost::join(&machine, "host-2");
    hub.wait_for_nth("host left", 5);
    for raw in &mut pile {
        raw.is_answered();
    }
    let seventh = RawHost::join(&machine, "host-2");
    let notices = String::from_utf8_lossy(&pile[0].rest()).into_owned();
    let from = format!(", the newest from {}", seventh.stream.local_addr().unwrap());
    assert!(notices.ends_with(&from), "{notices}");
    hub.stop_balanced();
}

//! What an rtun host says to a hub, and takes from one, as it stands on the wire; the hub is the test itself.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    time::{Duration, Instant},
};

use common::{
    HUB, Rtun, World, count_of,
    gso_packet::{GsoPacketBuilder, SYN},
    raw::{RawHost, kind, udp},
    wait_until,
};
use nix::sys::signal::Signal;
use rtun_lab::NetNamespace;
use rtun_proto::relay::{Decoded, Request};

const MARKED: bool = true;
const PLAIN: bool = false;

/// A hub that a test speaks for.
struct RawHub(TcpListener);

impl RawHub {
    fn listen(machine: &NetNamespace) -> Self {
        Self(machine.run(|| TcpListener::bind((HUB, 8443))).unwrap().unwrap())
    }

    /// The next host, admitted.
    fn admit(&self, marked: bool) -> RawHost {
        let (mut stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(common::SOON)).unwrap();
        let mut request = Vec::new();
        loop {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
            if let Decoded::Complete { value, .. } = Request::decode(&request).unwrap() {
                assert_eq!(value.association().host, "host-1");
                break;
            }
        }
        let mut answer = vec![1, 0, 0, 23, 3, 0, 20];
        answer.extend_from_slice(&[9; 16]);
        answer.extend_from_slice(if marked { &[0, 0x52, 1, 0] } else { &[0; 4] });
        stream.write_all(&answer).unwrap();
        RawHost { stream }
    }
}

/// The next frame of the extension; packets of the host's system are passed over.
fn next_extension(host: &mut RawHost) -> Vec<u8> {
    loop {
        let frame = host.receive();
        if !matches!(frame[0] >> 4, 4 | 6) {
            return frame;
        }
    }
}

fn reply(accepted: u8) -> Vec<u8> {
    let mut reply = vec![kind::HELLO_REPLY, 1, 0, 0, 0, accepted, 0xff, 0xff, 0, 0, 0, 200];
    reply.extend_from_slice(&[0; 16]);
    reply.extend_from_slice(&[1, 4, 32, 192, 168, 123, 1]);
    reply
}

fn start(world: &World, machine: &NetNamespace, more: &str) -> Rtun {
    let service = format!("tun:///host-1?net=192.168.123.1/24{more}");
    world.start(machine, &["-L", &service, "-F", "router://server_ip:8443"])
}

/// Packets from the hub that a host has lost for this reason.
fn lost(host: &Rtun, reason: &str) -> u64 {
    let reports = host.said("device report").len();
    host.process.signal(Signal::SIGUSR1).unwrap();
    host.wait_for_nth("device report", reports + 2);
    let lines = host.said("device report").split_off(reports);
    count_of(lines.iter().find(|line| line["direction"] == "from hub").unwrap(), reason)
}

#[test]
fn a_hub_without_the_mark_is_sent_packets_only() {
    let Some(world) = World::new() else { return };
    let hub = RawHub::listen(&world.hub);
    let machine = world.machine("host");
    let process = start(&world, &machine, "");
    let mut host = hub.admit(PLAIN);
    let frames = [
        reply(1),
        [&[kind::PING][..], &[0; 8]].concat(),
        GsoPacketBuilder::udp("192.168.123.2", "192.168.123.1", 3000, 1000).frame(),
        vec![kind::REFUSAL, 1, 0],
        vec![0x20],
    ];
    for frame in &frames {
        host.send(frame);
    }
    wait_until("all of them to be lost", || lost(&process, "ip_version") == 5);
    // Longer than a hub with the signature may be silent.
    host.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut said = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(11) {
        let mut bytes = [0; 4096];
        if let Ok(len) = host.stream.read(&mut bytes) {
            assert_ne!(len, 0, "it stays: {}", process.log());
            said.extend_from_slice(&bytes[..len]);
        }
    }
    let mut rest = &said[..];
    while let [high, low, frame @ ..] = rest {
        assert!(matches!(frame[0] >> 4, 4 | 6), "{frame:?}");
        rest = &frame[usize::from(u16::from_be_bytes([*high, *low]))..];
    }
    process.stop();
}

#[test]
fn a_hub_with_the_mark_is_greeted_asked_and_given_up() {
    let Some(world) = World::new() else { return };
    let hub = RawHub::listen(&world.hub);
    let machine = world.machine("host");
    let process = start(&world, &machine, "&mtu=1400");
    let mut host = hub.admit(MARKED);
    let hello = host.receive();
    assert_eq!(hello[..8], [kind::HELLO, 1, 0, 0, 0, 1 | 4 | 8, 5, 120], "the very first frame");
    let software = concat!("rtun/", env!("CARGO_PKG_VERSION")).as_bytes();
    assert_eq!(hello[24..], [&[software.len() as u8], software].concat());
    host.send(&reply(1));
    host.send(&[kind::PING, 1, 2, 3, 4, 5, 6, 7, 8]);
    let begin = Instant::now();
    assert_eq!(next_extension(&mut host), [kind::PONG, 1, 2, 3, 4, 5, 6, 7, 8]);
    for (reason, frame) in [
        ("frame_unknown", reply(1)),
        ("frame_unknown", vec![0x20]),
        ("frame_unknown", hello.clone()),
        ("frame_malformed", vec![kind::PING, 1]),
        ("frame_malformed", reply(1)[..20].to_vec()),
        ("frame_empty", vec![]),
    ] {
        let before = lost(&process, reason);
        host.send(&frame);
        wait_until(reason, || lost(&process, reason) == before + 1);
    }
    let mut asked = 0;
    loop {
        let silent_since = Instant::now();
        let question = next_extension(&mut host);
        let took = silent_since.elapsed();
        assert_eq!((question[0], question.len()), (kind::PING, 9));
        asked += 1;
        if asked < 3 {
            let limits = Duration::from_millis(1_200)..Duration::from_secs(3);
            assert!(limits.contains(&took), "asked after {took:?}");
            host.send(&[&[kind::PONG][..], &question[1..]].concat());
        } else {
            break;
        }
    }
    assert!(begin.elapsed() > Duration::from_secs(5), "an answered question keeps it");
    // One more question, no answer.
    let silent_since = Instant::now();
    assert_eq!(next_extension(&mut host)[0], kind::PING);
    host.rest();
    let took = silent_since.elapsed();
    let limits = Duration::from_millis(3_000)..Duration::from_secs(6);
    assert!(limits.contains(&took), "given up 6 s after the last frame, here {took:?}");
    process.wait_for("lost the hub: the hub or the network in between is gone");

    let mut host = hub.admit(MARKED);
    assert_eq!(host.receive(), hello, "the same run has the same instance");
    host.send(&[kind::GO_AWAY, 0, 0, 3, 0xe8]);
    drop(host);
    process.wait_for("lost the hub: the hub is stopping");
    let mut host = hub.admit(MARKED);
    host.receive();
    host.send(&[&[kind::REFUSAL, 1, 3][..], b"why"].concat());
    drop(host);
    process.wait_for("lost the hub: refused: why");
    process.stop();
}

#[test]
fn gso_frames_reach_programs_as_their_segments() {
    let Some(world) = World::new() else { return };
    let hub = RawHub::listen(&world.hub);
    let machine = world.machine("host");
    let process = start(&world, &machine, "");
    let mut host = hub.admit(MARKED);
    assert_eq!(host.receive()[5], 1 | 4 | 8, "a device with offload takes them");
    host.send(&reply(1));
    wait_until("the device", || {
        machine.run(|| UdpSocket::bind("192.168.123.1:80")).unwrap().is_ok()
    });
    let socket = machine.run(|| UdpSocket::bind("192.168.123.1:80")).unwrap().unwrap();
    socket.set_read_timeout(Some(common::SOON)).unwrap();
    let datagrams = GsoPacketBuilder::udp("192.168.123.2", "192.168.123.1", 6001, 1200);
    host.send(&datagrams.frame());
    for piece in datagrams.payload.chunks(1200) {
        let mut datagram = [0; 2000];
        let len = socket.recv(&mut datagram).unwrap();
        assert_eq!(datagram[..len], *piece);
    }
    let mut bad = datagrams.frame();
    bad[3] ^= 1;
    host.send(&bad);
    let opening = GsoPacketBuilder::tcp("192.168.123.2", "192.168.123.1", 3000, 1000);
    host.send(&GsoPacketBuilder { flags: SYN, ..opening }.frame());
    wait_until("two refused", || lost(&process, "frame_malformed") == 2);
    let alone = udp("192.168.123.2", "192.168.123.1", b"still alive");
    host.send(&alone);
    host.send(&datagrams.frame());
    let mut datagram = [0; 2000];
    let len = socket.recv(&mut datagram).unwrap();
    assert_eq!(datagram[..len], datagrams.payload[..1200], "the stream goes on");
    process.stop();

    let process = start(&world, &machine, "&offload=false");
    let mut host = hub.admit(MARKED);
    assert_eq!(host.receive()[5], 4 | 8, "a device without takes none");
    host.send(&reply(0));
    host.send(&datagrams.frame());
    wait_until("it to be lost", || lost(&process, "frame_unknown") == 1);
    process.stop();
}

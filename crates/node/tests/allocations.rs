//! While flows go on, a hub forwards without allocating.

#![allow(clippy::unwrap_used, reason = "a test that cannot make its packets has failed")]

mod common;

use std::{
    alloc::System,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use common::{hub_with, join, table};
use rtun_core::NamespaceId;
use rtun_node::Node;
use rtun_proto::{
    checksum::Checksum,
    extension::{self, Capabilities, Extension, Hello, pong_frame},
    frame::{Frames, write_frame},
    offload::{VirtioHeader, flag, gso_type},
};
use rtun_settings::{Config, HubRules, SourceCheck};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NAMESPACE: [u8; 16] = [7; 16];

/// In place of a host's number: the group 239.0.0.1.
const GROUP: u8 = 255;

/// One test, since the allocator counts for the whole process.
#[test]
fn packets_are_forwarded_without_allocating() {
    let region = Region::new(ALLOCATOR);
    drop(std::hint::black_box(Vec::<u8>::with_capacity(100)));
    assert_eq!(region.change().allocations, 1, "the allocator counts");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(Node::start(&config(), None)).unwrap();
    let hub = node.hub_address("hub").unwrap();
    let mut sender = Peer::join(hub, 1, true);
    let mut able = Peer::join(hub, 2, true);
    let mut plain = Peer::join(hub, 3, false);

    let small: Vec<u8> = (0..40).flat_map(|flow| packet(2, flow, 1400)).collect();
    let mixed: Vec<u8> =
        (0..40).flat_map(|flow| packet(2 + u8::from(flow % 2 == 0), flow, 700)).collect();
    let whole = gso_frame(2, 50_000);
    let cut = gso_frame(3, 50_000);
    // To a group that is behind both of the others.
    let many: Vec<u8> = (0..20).flat_map(|flow| packet(GROUP, flow, 700)).collect();
    for (what, run, per_run) in [
        ("packets to one host", &small, [40, 0]),
        ("packets to two hosts in turn", &mixed, [20, 20]),
        ("GSO frames as they are", &whole, [1, 0]),
        ("GSO frames cut for a plain host", &cut, [0, 37]),
        ("packets for many", &many, [20, 20]),
    ] {
        let mut pass = |runs: usize| {
            for _ in 0..runs {
                sender.stream.write_all(run).unwrap();
                able.receive(per_run[0]);
                plain.receive(per_run[1]);
            }
        };
        pass(200);
        let region = Region::new(ALLOCATOR);
        pass(2_000);
        let stats = region.change();
        // A reader that the machine keeps waiting makes queues grow, once; one allocation for each of 2,000 reads, or for
        // each of up to 80,000 packets, would be another matter.
        let allocations = stats.allocations + stats.reallocations;
        assert!(allocations < 200, "{what}: {allocations} allocations");
    }
    runtime.block_on(node.stop());
}

fn config() -> Config {
    let routes = [
        ("10.0.0.1/32", "host-1"),
        ("10.0.0.2/32", "host-2"),
        ("10.0.0.3/32", "host-3"),
        ("239.0.0.1/32", "host-2"),
        ("239.0.0.1/32", "host-3"),
    ];
    hub_with(HubRules {
        namespaces: [(NamespaceId::from_bytes(NAMESPACE), table("table", &routes))].into(),
        source_check: SourceCheck::Strict,
        gso_frames: true,
        queue_budget: 256 * 1024 * 1024,
        ..HubRules::default()
    })
}

/// A host that speaks the protocol itself.
struct Peer {
    stream: TcpStream,
    buffer: Box<[u8]>,
    filled: usize,
}

impl Peer {
    fn join(hub: SocketAddr, number: u8, greets: bool) -> Self {
        let stream = join(hub, &format!("host-{number}"), NAMESPACE);
        let mut peer = Self { stream, buffer: vec![0; 512 * 1024].into(), filled: 0 };
        if greets {
            let mut hello = Vec::new();
            let greeting = Extension::Hello(Hello {
                version: extension::VERSION,
                capabilities: Capabilities::GSO_FRAMES,
                mtu: 1420,
                instance: [number; 16],
                software: "test".into(),
            });
            greeting.write_frame(&mut hello).unwrap();
            peer.stream.write_all(&hello).unwrap();
            peer.receive(1);
        }
        peer
    }

    /// Waits for this many frames with packets; answers the hub's window stamps as a host does.
    fn receive(&mut self, mut frames: usize) {
        while frames > 0 {
            let n = self.stream.read(&mut self.buffer[self.filled..]).unwrap();
            assert!(n > 0, "the hub closed the connection");
            self.filled += n;
            let mut walk = Frames::new(&self.buffer[..self.filled]);
            for frame in walk.by_ref() {
                match frame.payload {
                    [4, stamp @ ..] => {
                        let pong = pong_frame(stamp.try_into().unwrap());
                        self.stream.write_all(&pong).unwrap();
                    }
                    _ => frames -= 1,
                }
            }
            let consumed = walk.consumed();
            self.buffer.copy_within(consumed..self.filled, 0);
            self.filled -= consumed;
        }
    }
}

/// A frame with a UDP packet of host 1 for another.
fn packet(to: u8, flow: u16, len: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(&udp(to, flow, len), &mut frame).unwrap();
    frame
}

/// A GSO frame with a UDP packet of host 1 for another, to be cut into pieces of 1,352 bytes.
fn gso_frame(to: u8, len: usize) -> Vec<u8> {
    let header = VirtioHeader {
        flags: flag::NEEDS_CSUM,
        gso_type: gso_type::UDP_L4,
        hdr_len: 28,
        gso_size: 1352,
        csum_start: 20,
        csum_offset: 6,
    };
    let payload = [&[3][..], &header.encode(), &udp(to, 9, len)].concat();
    let mut frame = Vec::new();
    write_frame(&payload, &mut frame).unwrap();
    frame
}

/// With the sum of the pseudo-header in the place of its checksum.
fn udp(to: u8, flow: u16, len: usize) -> Vec<u8> {
    let to = if to == GROUP { Ipv4Addr::new(239, 0, 0, 1) } else { Ipv4Addr::new(10, 0, 0, to) };
    let addresses = [Ipv4Addr::new(10, 0, 0, 1), to];
    let mut bytes = vec![0; len];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    bytes[8] = 64;
    bytes[9] = 17;
    for (place, address) in [12, 16].into_iter().zip(addresses) {
        bytes[place..place + 4].copy_from_slice(&address.octets());
    }
    let sum = Checksum::new().add_bytes(&bytes[..20]).finish();
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes[20..22].copy_from_slice(&(1000 + flow).to_be_bytes());
    let udp_len = (len - 20) as u16;
    bytes[24..26].copy_from_slice(&udp_len.to_be_bytes());
    let pseudo = Checksum::new().add_bytes(&bytes[12..20]).add_word(17).add_word(udp_len).finish();
    bytes[26..28].copy_from_slice(&(!pseudo).to_be_bytes());
    bytes
}

//! Namespaces with the same names and the same prefixes, under change: no packet ever crosses.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{hub_with, join_request, table};
use rtun_core::NamespaceId;
use rtun_node::Node;
use rtun_proto::frame::{Frames, write_frame};
use rtun_settings::{Config, HubRules, SourceCheck};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Namespaces, all alike.
const NAMESPACES: u8 = 64;

/// Changes of the rules, each while packets pass.
const CHANGES: u64 = 60;

/// Packets that are to arrive before the test may end.
const ENOUGH: u64 = 200_000;

struct World {
    hub: SocketAddr,
    done: AtomicBool,
    received: AtomicU64,
    joined: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_packet_crosses_between_namespaces_whatever_changes() {
    let mut node = Node::start(&config(0), None).await.unwrap();
    let hub = node.hub_address("hub").unwrap();
    let world = Arc::new(World {
        hub,
        done: AtomicBool::new(false),
        received: AtomicU64::new(0),
        joined: AtomicU64::new(0),
    });
    let mut tasks = Vec::new();
    for namespace in 0..NAMESPACES {
        tasks.push(tokio::spawn(send(Arc::clone(&world), namespace)));
        tasks.push(tokio::spawn(receive(Arc::clone(&world), namespace)));
    }
    let mut change = 0;
    while change < CHANGES || world.received.load(Ordering::Relaxed) < ENOUGH {
        change += 1;
        assert!(change < 100 * CHANGES, "packets do not arrive");
        node.apply(&config(change)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.done.store(true, Ordering::Relaxed);
    for task in tasks {
        timeout(Duration::from_secs(20), task).await.expect("a host hangs").unwrap();
    }
    let joined = world.joined.load(Ordering::Relaxed);
    assert!(joined > 3 * u64::from(NAMESPACES), "hosts have come and gone: {joined}");
    node.stop().await;
}

/// Each namespace has the same two hosts at the same addresses. With every change another prefix moves from one to the
/// other, and one namespace goes away.
fn config(change: u64) -> Config {
    let gone = (change % u64::from(NAMESPACES)) as u8;
    let moving = if change.is_multiple_of(2) { "host-1" } else { "host-2" };
    let routes = [("10.0.0.1/32", "host-1"), ("10.0.0.2/32", "host-2"), ("10.0.1.0/24", moving)];
    let table = |n: u8| table(&id(n).to_string(), &routes);
    let stay = (0..NAMESPACES).filter(|n| change == 0 || *n != gone);
    hub_with(HubRules {
        namespaces: stay.map(|n| (id(n), table(n))).collect(),
        source_check: SourceCheck::Off,
        queue_budget: 64 * 1024 * 1024,
        ..HubRules::default()
    })
}

fn id(n: u8) -> NamespaceId {
    NamespaceId::from_bytes([n + 1; 16])
}

/// Host 1: sends packets with its namespace in them to host 2 and into the prefix that moves. It also gets some of these.
async fn send(world: Arc<World>, namespace: u8) {
    let mut burst = Vec::new();
    for n in 0..32u8 {
        let to = if n % 2 == 0 { [10, 0, 0, 2] } else { [10, 0, 1, n] };
        write_frame(&packet(namespace, to), &mut burst).unwrap();
    }
    while !world.done.load(Ordering::Relaxed) {
        let Some(stream) = join(&world, namespace, "host-1").await else { continue };
        let (mut from, mut to) = stream.into_split();
        let reading = Arc::clone(&world);
        let reader = tokio::spawn(async move { read(&reading, &mut from, namespace).await });
        while !world.done.load(Ordering::Relaxed) && to.write_all(&burst).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(to);
        reader.abort();
        if let Err(error) = reader.await {
            assert!(error.is_cancelled(), "{error}");
        }
    }
}

/// Host 2: comes, reads for a while, goes.
async fn receive(world: Arc<World>, namespace: u8) {
    while !world.done.load(Ordering::Relaxed) {
        let Some(mut stream) = join(&world, namespace, "host-2").await else { continue };
        let stay = Duration::from_millis(200 + u64::from(namespace) * 7);
        let _ = timeout(stay, read(&world, &mut stream, namespace)).await;
    }
}

/// Reads packets, of which each must be of this namespace, until the hub closes the connection.
async fn read(world: &World, stream: &mut (impl AsyncReadExt + Unpin), namespace: u8) {
    let mut buffer = Vec::with_capacity(64 * 1024);
    while matches!(stream.read_buf(&mut buffer).await, Ok(n) if n > 0) {
        let mut frames = Frames::new(&buffer);
        for frame in frames.by_ref() {
            assert_eq!(frame.payload[28], namespace, "a packet has crossed");
            world.received.fetch_add(1, Ordering::Relaxed);
        }
        let consumed = frames.consumed();
        buffer.drain(..consumed);
    }
}

/// Joins as a host, or is refused for now.
async fn join(world: &World, namespace: u8, host: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(world.hub).await.unwrap();
    stream.write_all(&join_request(host, [namespace + 1; 16])).await.unwrap();
    let mut answer = [0; 4];
    let answered = stream.read_exact(&mut answer).await.is_ok();
    let mut connector = [0; 3 + 20];
    if answered && answer[1] == 0 && stream.read_exact(&mut connector).await.is_ok() {
        world.joined.fetch_add(1, Ordering::Relaxed);
        return Some(stream);
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    None
}

/// A UDP packet whose first byte of payload is the namespace.
fn packet(namespace: u8, to: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    bytes[0] = 0x45;
    bytes[3] = 60;
    bytes[8] = 64;
    bytes[9] = 17;
    bytes[12..16].copy_from_slice(&[10, 0, 0, 1]);
    bytes[16..20].copy_from_slice(&to);
    bytes[28] = namespace;
    bytes
}

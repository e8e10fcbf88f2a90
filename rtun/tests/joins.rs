//! Hosts join and leave again and again: what a hub holds afterwards is what it held before.
//!
//! `RTUN_JOINS` says how often, in all.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use common::{HUB, THREE_HOSTS, World, at, raw::request, vitals::calm, wait_until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    runtime,
    task::JoinSet,
};

/// Unless `RTUN_JOINS` says otherwise.
const JOINS: u32 = 15_000;

/// Before the hub's memory counts: what is needed once is there then.
const WARM_UP: u32 = 2_000;

/// What the hub may hold more afterwards, in bytes.
const GROWTH: u64 = 5 << 20;

/// Hosts at a time, each in a namespace of its own. Each has an address of its own, so that no port is used twice.
const AT_ONCE: u32 = 16;

#[test]
fn who_joins_and_leaves_costs_nothing_for_good() {
    let Some(world) = World::new() else { return };
    let joins = std::env::var("RTUN_JOINS").map_or(JOINS, |joins| joins.parse().unwrap());
    let config = world.file("hub.yaml", &format!("{THREE_HOSTS}log: {{level: warn}}\n"));
    let hub = world.start_quietly(&world.hub, &["-C", config.to_str().unwrap()]);
    let crowd = world.machine("crowd");
    for n in 1..=AT_ONCE {
        crowd.addr_add("eth0", &format!("10.0.50.{n}/16")).unwrap();
    }
    crowd.sysctl("ipv4/ip_local_port_range", "1024 65535").unwrap();
    wait_until("the hub", || {
        crowd.run(|| std::net::TcpStream::connect((HUB, 8443))).unwrap().is_ok()
    });

    // One host that is the only one of its namespace, again and again; and namespaces that nobody has seen before.
    let lone = |times| crowd.run(|| join_and_leave(1, times, |_| [0; 16])).unwrap();
    let fresh = |times| {
        let id = |n: u32| {
            let mut id = [0xfd; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            id
        };
        crowd.run(|| join_and_leave(AT_ONCE, times, id)).unwrap();
    };
    lone(WARM_UP / 2);
    fresh(WARM_UP / 2);
    let before = calm(&[("the hub", &hub)], None)[0].holds;
    let begin = Instant::now();
    lone(joins / 3);
    fresh(joins - joins / 3);
    let took = begin.elapsed();
    let most = common::vitals::Vitals { memory: before.memory + GROWTH, ..before };
    let after = calm(&[("the hub", &hub)], Some(&[most]))[0].holds;

    let service = &hub.status()["services"][0];
    assert!(service["admitted"].as_u64().unwrap() >= u64::from(joins + WARM_UP), "{service}");
    let namespaces = service["namespaces"].as_array().unwrap();
    assert!(namespaces.iter().all(|it| it["configured"] == true), "{namespaces:?}");
    eprintln!(
        "{joins} joins in {took:.1?}: {:+} KiB, from {} KiB",
        (after.memory as i64 - before.memory as i64) / 1024,
        before.memory / 1024
    );
    hub.stop();
}

/// This number of joins, `at_once` of them at a time, each answered before it leaves.
fn join_and_leave(
    at_once: u32,
    times: u32,
    id: impl Fn(u32) -> [u8; 16] + Send + Sync + Copy + 'static,
) {
    let event_loop = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Numbers go on from call to call, so that what is fresh stays so.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let end = Arc::new(AtomicU32::new(0));
    event_loop.block_on(async {
        let mut all = JoinSet::new();
        for host in 1..=at_once {
            let done = Arc::clone(&end);
            all.spawn(async move {
                while done.fetch_add(1, Ordering::Relaxed) < times {
                    let id = id(NEXT.fetch_add(1, Ordering::Relaxed));
                    let from = at(&format!("10.0.50.{host}"), 0);
                    // A port that the system still keeps from an earlier one is no fault of the hub's.
                    while join(from, &request("lone", id)).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            });
        }
        while let Some(ended) = all.join_next().await {
            ended.unwrap();
        }
    });
}

async fn join(from: SocketAddr, request: &[u8]) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(from)?;
    let mut stream = socket.connect(at(HUB, 8443)).await?;
    stream.write_all(request).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    assert_eq!(head[..2], [1, 0], "admitted");
    let mut features = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
    stream.read_exact(&mut features).await?;
    // It leaves, and waits until the hub has done so too: then the hub holds nothing of it any more.
    stream.shutdown().await?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await?;
    Ok(())
}

//! A hub's memory does not grow with the hosts that have come and gone, however they went.

#![allow(clippy::unwrap_used, reason = "a test that cannot reach its hub has failed")]

mod common;

use std::{
    alloc::System,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use common::{hub_with, join, table};
use rtun_node::{Board, KindReport, Node};
use rtun_settings::{Config, HubRules};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Hosts that join and leave for each kind of end.
const JOINS: u64 = 1_500;

/// What may be held at the end that was not at the start, in bytes.
const SLACK: isize = 512 * 1024;

/// How a connection ends.
type End = (&'static str, fn(TcpStream));

const ENDS: [End; 4] = [
    ("closed", drop),
    ("half closed", |mut stream| {
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }),
    ("reset", |stream| {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }),
    ("with packets of no sense", |mut stream| {
        stream.write_all(&[0, 3, 0x45, 0, 0, 0, 2, 1, 2, 0xff]).unwrap();
    }),
];

/// `RTUN_JOINS` says how many hosts join for each kind of end.
#[test]
fn hosts_that_have_left_leave_nothing_behind() {
    let joins = std::env::var("RTUN_JOINS").map_or(JOINS, |joins| joins.parse().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(Node::start(&config(), None)).unwrap();
    let hub = node.hub_address("hub").unwrap();
    let board = node.board();
    for (what, end) in ENDS {
        let mut namespace = u128::from(what.len() as u32) << 64;
        let mut pass = |joins| {
            for _ in 0..joins {
                namespace += 1;
                end(join(hub, "host-1", namespace.to_be_bytes()));
            }
            let deadline = Instant::now() + Duration::from_secs(20);
            while members(&board) > 0 {
                assert!(Instant::now() < deadline, "{what}: hosts have not left");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        pass(300);
        let region = Region::new(ALLOCATOR);
        pass(joins);
        let stats = region.change();
        let held = stats.bytes_allocated as isize - stats.bytes_deallocated as isize;
        println!("{what}: {joins} joins, {held} bytes more");
        assert!(held < SLACK, "{what}: {held} bytes more after {joins} joins");
    }
    runtime.block_on(node.stop());
}

/// Hosts that are connected, and namespaces that are there.
fn members(board: &Board) -> usize {
    let services = board.status().services;
    let hubs = services.iter().filter_map(|service| match &service.kind {
        KindReport::Hub(hub) => Some(hub),
        _ => None,
    });
    hubs.flat_map(|hub| &hub.namespaces).map(|namespace| 1 + namespace.hosts.len()).sum()
}

/// Hosts may join any namespace.
fn config() -> Config {
    hub_with(HubRules {
        default_router: Some(table("table", &[("10.0.0.1/32", "host-1")])),
        gso_frames: true,
        queue_budget: 16 * 1024 * 1024,
        ..HubRules::default()
    })
}

//! What hosts that do nothing cost a large hub: less than 10 KiB for each, and less than 2 KiB for each, 20 MiB for 10,000, to list them.

#![allow(clippy::unwrap_used, reason = "a test that cannot reach its hub has failed")]

mod common;

use std::{
    alloc::System,
    thread,
    time::{Duration, Instant},
};

use common::{hub_with, join, table};
use rtun_node::{
    Node, descriptors,
    watch::{HostQuery, HostSort, PageQuery},
};
use rtun_settings::HubRules;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Two descriptors for each are within the usual limits. `RTUN_HOSTS` names another number.
const HOSTS: usize = 2_000;

const SOON: Duration = Duration::from_secs(10);

/// Bytes that a hub keeps for each host that does nothing: half of them are the future of its task.
const IDLE: usize = 10 * 1024;

/// Bytes for each host that is connected, to list all.
const EACH: usize = 20 * 1024 * 1024 / 10_000;

#[test]
fn hosts_take_little_memory_and_so_does_listing_them() {
    let count = std::env::var("RTUN_HOSTS").map_or(HOSTS, |count| count.parse().unwrap());
    descriptors::raise_limit();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rules = HubRules {
        default_router: Some(table("table", &[("10.0.0.0/8", "host-1")])),
        queue_budget: 64 * 1024 * 1024,
        ..HubRules::default()
    };
    let node = runtime.block_on(Node::start(&hub_with(rules), None)).unwrap();
    let (hub, board) = (node.hub_address("hub").unwrap(), node.board());
    let joining = Region::new(ALLOCATOR);
    let hosts: Vec<_> = (0..count).map(|n| join(hub, &format!("host-{n}"), [7; 16])).collect();
    let idle = || {
        let change = joining.change();
        (change.bytes_allocated - change.bytes_deallocated) / count
    };
    // What joining needed is given back a second after it.
    let start = Instant::now();
    while idle() >= IDLE {
        assert!(start.elapsed() < SOON, "{} bytes for each host that does nothing", idle());
        thread::sleep(Duration::from_millis(20));
    }
    let mut names = Vec::new();
    for page in 1..=count.div_ceil(500) {
        let part = PageQuery { page, per_page: 500 };
        for sort in [HostSort::Traffic, HostSort::Name] {
            let region = Region::new(ALLOCATOR);
            let query = HostQuery { sort, part, ..HostQuery::default() };
            let page = board.hosts(&query);
            let text = serde_json::to_string(&page).unwrap();
            let bytes = region.change().bytes_allocated;
            // Also what was given back meanwhile.
            assert!(bytes < count * EACH, "{bytes} bytes for a part of {count} hosts");
            assert_eq!(page.total, count);
            assert!(text.contains("\"transport\":\"tcp\""));
            if sort == HostSort::Name {
                names.extend(page.items.into_iter().map(|host| host.host));
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "each is on one page");
    drop(hosts);
    runtime.block_on(node.stop());
}

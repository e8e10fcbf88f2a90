//! The cost of a routing table by number of routes: lookup, building, dropping, memory.

use std::{
    alloc::System,
    collections::HashSet,
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main,
    measurement::WallTime,
};
use fastrand::Rng;
use ipnet::IpNet;
use rtun_core::{HostName, Route, RoutingTable};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SIZES: [usize; 4] = [10, 1000, 100_000, 1_000_000];
/// The number of gateways of the routes, at most.
const HOSTS: usize = 1000;
/// The number of addresses looked up in turn: more than the caches keep paths in the trie for.
const ADDRS: usize = 1 << 20;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_millis(1000));
    targets = routes
}
criterion_main!(benches);

/// The kinds of tables.
#[derive(Clone, Copy)]
enum Layout {
    /// Spread over the address space, with the lengths of Internet tables.
    Random,
    /// Chains of prefixes, each inside the one before.
    Nested,
}

fn routes(c: &mut Criterion) {
    for (name, v4, layout) in [
        ("IPv4 random", true, Layout::Random),
        ("IPv4 nested", true, Layout::Nested),
        ("IPv6 random", false, Layout::Random),
        ("IPv6 nested", false, Layout::Nested),
    ] {
        for size in SIZES {
            let mut rng = Rng::with_seed(1);
            let prefixes = prefixes(&mut rng, size, v4, layout);
            let routes = to_hosts(&prefixes);
            let addrs: Vec<IpAddr> =
                (0..ADDRS).map(|_| inside(prefixes[rng.usize(..size)], rng.u128(..))).collect();

            let region = Region::new(ALLOCATOR);
            let table = RoutingTable::new(&routes);
            let used = region.change();
            let bytes = used.bytes_allocated - used.bytes_deallocated;
            let blocks = used.allocations - used.deallocations;
            eprintln!(
                "memory of {name}/{size}: {bytes} bytes in {blocks} blocks, {} bytes per route",
                bytes / size
            );
            assert_eq!(table.len(), size);

            lookup(&mut c.benchmark_group(format!("lookup, {name}")), size, &table, &addrs);
            if size >= 100_000 {
                build(&mut c.benchmark_group(format!("build, {name}")), size, &routes);
                drop_table(&mut c.benchmark_group(format!("drop, {name}")), size, &routes);
            }
        }
    }
}

/// Independent lookups, and lookups where the next address depends on the last result, so that the processor cannot
/// overlap them.
fn lookup(
    group: &mut BenchmarkGroup<'_, WallTime>,
    size: usize,
    table: &RoutingTable,
    addrs: &[IpAddr],
) {
    let found = |at: usize| table.lookup(addrs[at % ADDRS]).expect("inside a prefix of the table");
    let mut at = 0;
    group.bench_function(BenchmarkId::from_parameter(size), |b| {
        b.iter(|| {
            at += 1;
            found(at)
        });
    });
    group.bench_function(BenchmarkId::new("one by one", size), |b| {
        b.iter(|| at += 1 + black_box(found(at)[0].as_str().len()) / (HostName::MAX_LEN + 1));
    });
}

fn build(group: &mut BenchmarkGroup<'_, WallTime>, size: usize, routes: &[Route]) {
    group.sample_size(10);
    group.bench_function(BenchmarkId::from_parameter(size), |b| {
        b.iter_with_large_drop(|| RoutingTable::new(black_box(routes)));
    });
}

fn drop_table(group: &mut BenchmarkGroup<'_, WallTime>, size: usize, routes: &[Route]) {
    group.sample_size(10);
    group.bench_function(BenchmarkId::from_parameter(size), |b| {
        b.iter_batched(|| RoutingTable::new(routes), drop, BatchSize::PerIteration);
    });
}

/// Different prefixes in random order.
fn prefixes(rng: &mut Rng, count: usize, v4: bool, layout: Layout) -> Vec<IpNet> {
    let mut seen = HashSet::with_capacity(count);
    let mut prefixes = Vec::with_capacity(count);
    while prefixes.len() < count {
        let addr = if v4 { unicast_v4(rng) } else { unicast_v6(rng) };
        let lens: Vec<u8> = match (layout, v4) {
            (Layout::Random, true) => vec![random_len_v4(rng)],
            (Layout::Random, false) => vec![random_len_v6(rng)],
            (Layout::Nested, true) => (12..=32).step_by(2).collect(),
            (Layout::Nested, false) => (32..=128).step_by(8).collect(),
        };
        for len in lens {
            let prefix = IpNet::new(addr, len).expect("a length of the family").trunc();
            if prefixes.len() < count && seen.insert(prefix) {
                prefixes.push(prefix);
            }
        }
    }
    rng.shuffle(&mut prefixes);
    prefixes
}

fn unicast_v4(rng: &mut Rng) -> IpAddr {
    Ipv4Addr::from_bits(rng.u32(0x0100_0000..0xe000_0000)).into()
}

/// In one of 65,536 networks of 32 bits, as registries assign them.
fn unicast_v6(rng: &mut Rng) -> IpAddr {
    let network = Rng::with_seed(rng.u64(..1 << 16)).u128(0x2000_0000..0x3000_0000);
    Ipv6Addr::from_bits(network << 96 | rng.u128(..1 << 96)).into()
}

/// Mostly /24, some shorter, few hosts.
fn random_len_v4(rng: &mut Rng) -> u8 {
    match rng.u8(..100) {
        ..60 => 24,
        60..98 => rng.u8(16..24),
        _ => 32,
    }
}

/// Mostly /48 and /64, some between.
fn random_len_v6(rng: &mut Rng) -> u8 {
    match rng.u8(..100) {
        ..50 => 48,
        50..80 => rng.u8(49..64),
        _ => 64,
    }
}

fn to_hosts(prefixes: &[IpNet]) -> Vec<Route> {
    let hosts: Vec<HostName> = (0..HOSTS.min(prefixes.len()))
        .map(|host| HostName::new(&format!("host-{host}")).expect("a right name"))
        .collect();
    prefixes
        .iter()
        .zip(hosts.iter().cycle())
        .map(|(prefix, host)| Route::new(*prefix, host.clone()))
        .collect()
}

/// The address in `prefix` with these last bits.
fn inside(prefix: IpNet, bits: u128) -> IpAddr {
    match prefix {
        IpNet::V4(net) => {
            let low = u32::try_from(bits & u128::from(u32::MAX)).expect("32 bits");
            Ipv4Addr::from_bits(net.network().to_bits() | low & net.hostmask().to_bits()).into()
        }
        IpNet::V6(net) => {
            Ipv6Addr::from_bits(net.network().to_bits() | bits & net.hostmask().to_bits()).into()
        }
    }
}

//! The cost of reading a table from text: time, and memory per row.

use std::{alloc::System, hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastrand::Rng;
use rtun_core::{parse_routes, parse_rules};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROWS: usize = 1_000_000;
/// The number of gateways of the routes, at most.
const HOSTS: usize = 1000;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(3));
    targets = rows
}
criterion_main!(benches);

fn rows(c: &mut Criterion) {
    let mut rng = Rng::with_seed(1);
    let routes: String = (0..ROWS)
        .map(|_| {
            let [a, b, c, _] = rng.u32(..).to_be_bytes();
            format!("{a}.{b}.{c}.0/24 host-{}.example.org\n", rng.usize(..HOSTS))
        })
        .collect();
    let rules: String =
        (0..ROWS).map(|n| format!("host-{n}.example.org {:032x}\n", rng.u128(1..))).collect();
    let mut group = c.benchmark_group("rows");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("routes", |b| b.iter(|| parse_routes(black_box(&routes), ROWS)));
    group.bench_function("routes refused", |b| {
        b.iter(|| parse_routes(black_box(&routes), ROWS - 1));
    });
    group.bench_function("rules", |b| b.iter(|| parse_rules(black_box(&rules), ROWS)));
    group.finish();

    print_memory("routes", || parse_routes(&routes, ROWS));
    print_memory("rules", || parse_rules(&rules, ROWS));
}

fn print_memory<T>(name: &str, make: impl FnOnce() -> T) {
    let region = Region::new(ALLOCATOR);
    let made = make();
    let change = region.change();
    let bytes = change.bytes_allocated - change.bytes_deallocated;
    let blocks = change.allocations - change.deallocations;
    eprintln!("{name}: {} bytes a row, {blocks} blocks in all", bytes / ROWS);
    drop(made);
}

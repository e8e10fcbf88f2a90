//! The cost of a frame in the queue: pushed, staged and sent, with a constant number waiting.

use std::{
    hint::black_box,
    io::IoSlice,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rtun_core::{FlowQueue, Lost, QueueLimits};

#[path = "../tests/queue/support.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod support;

criterion_group!(benches, queue, overload);
criterion_main!(benches);

/// Bytes that wait all the time.
const BACKLOG: usize = 512 * 1024;
/// Bytes of one write.
const WRITE: usize = 64 * 1024;

fn frames(flows: u16, size: &str) -> Vec<Vec<u8>> {
    (0..flows)
        .map(|flow| match size {
            "1400" => support::frame(flow, 1400, 0),
            _ => support::gso_frame(flow, 65_000, 0, 0, 1400),
        })
        .collect()
}

fn queue(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue");
    group.throughput(Throughput::Elements(1));
    for size in ["1400", "super"] {
        for flows in [1, 50] {
            let frames = frames(flows, size);
            let mut queue = FlowQueue::new(QueueLimits::default(), 7);
            let mut next = frames.iter().cycle();
            let now = Instant::now();
            group.bench_function(BenchmarkId::new(size, flows), |b| {
                b.iter(|| {
                    let frame = next.next().expect("a cycle has no end");
                    queue.push(
                        support::ONE,
                        black_box(frame),
                        now,
                        usize::MAX,
                        support::nothing_lost,
                    );
                    while queue.bytes() > BACKLOG {
                        write(&mut queue, now);
                    }
                });
            });
        }
    }
}

/// Nothing is sent: every new frame replaces another one.
fn overload(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue overload");
    group.throughput(Throughput::Elements(1));
    for flows in [1, 50, 500] {
        let frames = frames(flows, "1400");
        let mut queue = FlowQueue::new(QueueLimits::default(), 7);
        let mut next = frames.iter().cycle();
        let (mut now, mut lost) = (Instant::now(), 0);
        group.bench_function(BenchmarkId::new("1400", flows), |b| {
            b.iter(|| {
                now += Duration::from_micros(1);
                let frame = next.next().expect("a cycle has no end");
                queue.push(
                    support::ONE,
                    black_box(frame),
                    now,
                    usize::MAX,
                    |Lost { packets, .. }| {
                        lost += packets;
                    },
                );
            });
        });
    }
}

/// One vectored write of all staged frames.
fn write(queue: &mut FlowQueue, now: Instant) {
    queue.stage(WRITE, now, support::nothing_lost);
    let mut slices = [IoSlice::new(&[]); 64];
    let filled = queue.slices(&mut slices);
    let sent = black_box(&slices[..filled]).iter().map(|slice| slice.len()).sum();
    queue.advance(sent, |sent| {
        black_box(sent);
    });
}

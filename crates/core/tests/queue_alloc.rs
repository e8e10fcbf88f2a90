//! A queue whose fill level does not grow allocates nothing.

#[path = "queue/support.rs"]
#[expect(dead_code, reason = "the other tests need more of it")]
mod support;

use std::{alloc::System, io::IoSlice, time::Duration, time::Instant};

use rtun_core::{FlowQueue, QueueLimits};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::*;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations while 100,000 frames pass a queue in which `backlog` bytes wait; and the share of packets lost.
fn pass(runs: &[Vec<u8>], backlog: usize) -> (usize, f64) {
    let mut now = Instant::now();
    let mut queue = FlowQueue::new(QueueLimits::default(), 7);
    let (mut passed, mut lost) = (0, 0);
    let mut pass = |frames: usize| {
        for run in runs.iter().cycle().take(frames) {
            queue.push(ONE, run, now, usize::MAX, |loss| lost += loss.packets);
            while queue.bytes() > backlog {
                queue.stage(64 * 1024, now, |loss| lost += loss.packets);
                let mut slices = [IoSlice::new(&[]); 64];
                let filled = queue.slices(&mut slices);
                let sent = slices[..filled].iter().map(|slice| slice.len()).sum();
                queue.advance(sent, |sent| passed += sent.packets);
            }
            now += Duration::from_micros(10);
        }
    };
    pass(20_000);
    let region = Region::new(ALLOCATOR);
    pass(100_000);
    let stats = region.change();
    (stats.allocations + stats.reallocations, lost as f64 / (passed + lost) as f64)
}

/// One test, since the allocator counts for the whole process.
#[test]
fn a_queue_as_full_as_before_allocates_nothing() {
    let region = Region::new(ALLOCATOR);
    drop(std::hint::black_box(Vec::<u8>::with_capacity(100)));
    assert_eq!(region.change().allocations, 1, "the allocator counts");

    let one = [frame(1, 1400, 0)];
    assert_eq!(pass(&one, 300_000), (0, 0.0));

    let supers: Vec<_> = (0..3).map(|flow| gso_frame(flow, 60_000, 0, 0, 1400)).collect();
    assert_eq!(pass(&supers, 400_000), (0, 0.0));

    // Flows of different rates; some have standing queues and lose packets.
    let fifty: Vec<_> = (0..50).map(|flow| frame(flow, 60 + usize::from(flow) * 28, 0)).collect();
    let (allocations, lost) = pass(&fifty, 500_000);
    assert_eq!(allocations, 0);
    assert!(0.0 < lost && lost < 0.2, "{lost}");
}

//! A queue that stays as full as it is allocates nothing.

#[path = "queue/support.rs"]
#[allow(dead_code)]
mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io::IoSlice,
    time::Instant,
};

use rtun_core::{FlowQueue, QueueLimits};
use support::*;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends has nothing to count.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is handed to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations while 100,000 frames pass a queue in which `backlog` bytes wait.
fn allocations(runs: &[Vec<u8>], backlog: usize, is_lossless: bool) -> usize {
    let start = Instant::now();
    let mut queue = FlowQueue::new(QueueLimits::default(), 7);
    let mut passed = 0;
    let (mut now, mut lost) = (start, 0);
    let mut pass = |frames: usize| {
        for n in 0..frames {
            queue.push(&runs[n % runs.len()], now, usize::MAX, |loss| lost += loss.packets);
            while queue.bytes() > backlog {
                queue.stage(64 * 1024, now, |loss| lost += loss.packets);
                let mut slices = [IoSlice::new(&[]); 64];
                let filled = queue.slices(&mut slices);
                let sent = slices[..filled].iter().map(|slice| slice.len()).sum();
                queue.advance(sent, |sent| passed += sent.packets);
            }
            now += std::time::Duration::from_micros(10);
        }
    };
    pass(20_000);
    let before = ALLOCATIONS.get();
    pass(100_000);
    let allocations = ALLOCATIONS.get() - before;
    assert!(passed > 50_000, "{passed} passed, {lost} lost");
    assert_eq!(is_lossless, lost == 0);
    allocations
}

#[test]
fn the_allocator_counts() {
    let before = ALLOCATIONS.get();
    drop(Vec::<u8>::with_capacity(100));
    assert_eq!(ALLOCATIONS.get(), before + 1);
}

#[test]
fn one_flow_allocates_nothing() {
    let runs = [frame(1, 1400, 0)];
    assert_eq!(allocations(&runs, 300_000, true), 0);
}

#[test]
fn fifty_flows_allocate_nothing() {
    let runs: Vec<_> = (0..50).map(|flow| frame(flow, 60 + usize::from(flow) * 28, 0)).collect();
    assert_eq!(allocations(&runs, 500_000, false), 0);
}

#[test]
fn super_frames_allocate_nothing() {
    let runs: Vec<_> = (0..3).map(|flow| super_frame(flow, 60_000, 0, 0, 1400)).collect();
    assert_eq!(allocations(&runs, 400_000, true), 0);
}

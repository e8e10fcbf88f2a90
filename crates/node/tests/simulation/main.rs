//! Whole networks in one process, on simulated time: a hub and its hosts on a network in memory, where everything goes wrong
//! that can, in any order. What happens is drawn from a seed; what has to hold holds for every one.
//!
//! `RTUN_SEEDS=N` runs N seeds, `RTUN_SEED=N` that one alone, with the nodes' log.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod link;
mod network;
mod packet;
mod panics;
mod plan;
mod setup;
mod world;

use std::{
    alloc::System,
    env,
    io::{self, Write},
    ops::Range,
    panic, process,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use world::World;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Runs of the test command.
const SEEDS: u64 = 200;

/// The first of them, after which all is in memory that the process keeps for itself.
const FIRST: u64 = 20;

/// The most bytes that all others together may leave. One association that is kept has more.
const LEFT: usize = 16 * 1024;

/// A run takes a fraction of a second, and much more where others use the machine too.
const LONGEST: Duration = Duration::from_secs(120);

/// What happens in a run.
const STEPS: usize = 30;

#[test]
fn whatever_happens_the_network_recovers_and_forgets() {
    panics::silence();
    if let Some(seed) = number("RTUN_SEED") {
        tracing_subscriber::fmt().with_env_filter("debug").init();
        return run(seed);
    }
    let seeds = number("RTUN_SEEDS").unwrap_or(SEEDS);
    let mut failed = run_all(0..seeds.min(FIRST));
    let before = bytes_in_use();
    failed.extend(run_all(seeds.min(FIRST)..seeds));
    assert!(failed.is_empty(), "of {seeds} seeds these have failed: {failed:?}");
    let left = bytes_in_use().saturating_sub(before);
    assert!(left <= LEFT, "{left} bytes are left of what has ended");
}

fn bytes_in_use() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// One run for each seed, as many at a time as there are cores; the seeds that have failed.
fn run_all(seeds: Range<u64>) -> Vec<u64> {
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let run_next = || {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if panic::catch_unwind(|| run(seed)).is_err() {
                        failed.lock().unwrap().push(seed);
                    }
                    if (seed + 1).is_multiple_of(1000) {
                        say(&format!("{} seeds have been run", seed + 1));
                    }
                }
            })
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..threads).map(|_| run_next()).collect();
        // Unlike the scope's end, a join waits until a thread has freed its own memory too.
        for thread in threads {
            thread.join().expect("panics are caught");
        }
    });
    failed.into_inner().unwrap()
}

/// One run.
fn run(seed: u64) {
    let _said = Said(seed);
    let (_ends, ended) = mpsc::channel::<()>();
    thread::spawn(move || watch(seed, &ended));
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut random = fastrand::Rng::with_seed(!seed);
        let mut world = World::new(seed).await;
        for _ in 0..STEPS {
            let (pause, step) = plan::next(&mut random);
            world.pass(pause).await;
            world.happen(step).await;
        }
        world.end().await;
    });
}

/// Ends the process if a run does not: on simulated time whatever spins stands still.
fn watch(seed: u64, ended: &mpsc::Receiver<()>) {
    if ended.recv_timeout(LONGEST) == Err(mpsc::RecvTimeoutError::Timeout) {
        Said(seed).say("spins");
        process::abort();
    }
}

/// Says how to repeat a run that has failed.
struct Said(u64);

impl Said {
    fn say(&self, what: &str) {
        let Self(seed) = self;
        say(&format!(
            "{what}; to repeat: RTUN_SEED={seed} cargo test -p rtun-node --test simulation"
        ));
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        if thread::panicking() {
            self.say("failed");
        }
    }
}

/// Past the test harness, which shows the output of tests that have ended.
fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text:?}")))
}

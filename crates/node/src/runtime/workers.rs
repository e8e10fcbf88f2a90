//! The threads that move packets: one per core, each with an event loop of its own.
//!
//! What one connection or device needs is spawned on one worker and stays there, so that no packet is handed from
//! thread to thread. Everything else (configuration, signals, plugins) runs elsewhere and cannot hold packets up.

use std::{
    io,
    num::NonZeroUsize,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use tokio::runtime::{self, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// The threads; ended and joined when this is dropped, so nothing that runs on one may hold it.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Clone)]
struct Worker {
    handle: Handle,
    load: Arc<AtomicUsize>,
}

/// The right to run on a worker; what it stands for is counted as the worker's load until this is dropped.
pub(crate) struct WorkerSlot(Worker);

impl Workers {
    /// Starts one thread per core.
    pub(crate) fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let mut started =
            Self { workers: Vec::new(), stop: CancellationToken::new(), threads: Vec::new() };
        for number in 0..count {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            let worker = Worker { handle: runtime.handle().clone(), load: Arc::default() };
            let stop = started.stop.clone();
            let thread = thread::Builder::new()
                .name(format!("packets-{number}"))
                .spawn(move || run(&runtime, &stop))?;
            started.workers.push(worker);
            started.threads.push(thread);
        }
        Ok(started)
    }

    /// One worker that is the runtime this is called on, and no thread.
    pub(crate) fn here() -> Self {
        let worker = Worker { handle: Handle::current(), load: Arc::default() };
        Self { workers: vec![worker], stop: CancellationToken::new(), threads: Vec::new() }
    }

    /// A slot on the worker with the fewest taken.
    pub(crate) fn take_slot(&self) -> WorkerSlot {
        let least = self.workers.iter().min_by_key(|worker| worker.load.load(Ordering::Relaxed));
        WorkerSlot::take(least.expect("there is at least one core"))
    }

    /// The event loop of each thread. Does not keep it running.
    pub(crate) fn handles(&self) -> Vec<Handle> {
        self.workers.iter().map(|worker| worker.handle.clone()).collect()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // A panic in a task was reported when it happened and does not end its thread.
            let _ = thread.join();
        }
    }
}

/// A worker's thread. Tasks that fail do not end it, and neither does a failure of the event loop itself.
fn run(runtime: &Runtime, stop: &CancellationToken) {
    let turn = || runtime.block_on(stop.cancelled());
    while panic::catch_unwind(AssertUnwindSafe(turn)).is_err() {
        error!("the event loop of a thread that moves packets has failed; it goes on");
    }
}

impl WorkerSlot {
    fn take(worker: &Worker) -> Self {
        worker.load.fetch_add(1, Ordering::Relaxed);
        Self(worker.clone())
    }

    /// The worker's event loop.
    pub(crate) fn handle(&self) -> &Handle {
        &self.0.handle
    }
}

impl Drop for WorkerSlot {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

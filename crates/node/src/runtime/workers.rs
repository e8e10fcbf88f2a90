//! The threads that move packets: one per core, each with an event loop of its own.
//!
//! All tasks of one connection or device run on one worker, so that no packet is handed from thread to thread. Everything
//! else (configuration, signals, plugins) runs on other threads and cannot delay packets.

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

/// A place for one connection or device on a worker; it counts as load of the worker until this is dropped.
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

    /// One worker: the runtime that this is called on. No thread is started.
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

/// A worker's thread. Neither a task that fails nor a failure of the event loop itself ends it.
fn run(runtime: &Runtime, stop: &CancellationToken) {
    let turn = || runtime.block_on(stop.cancelled());
    while panic::catch_unwind(AssertUnwindSafe(turn)).is_err() {
        error!("the event loop of a thread that moves packets has failed and is started again");
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

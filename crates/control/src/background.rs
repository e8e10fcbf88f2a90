//! Work that takes long and has time: on a thread of its own that lets those go first who move packets.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use rustix::process::setpriority_process;
use tokio::{sync::oneshot, task::spawn_blocking};

/// How nice such a thread is: it gets about a tenth of what others get, where there is not enough for all.
const NICE: i32 = 10;

/// Does `work` in the background. It is done to the end, also when nobody waits for it any longer.
pub async fn in_background<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = oneshot::channel();
    let job = move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        // Nobody may wait any longer.
        let _ = sender.send(result);
    };
    let job = Arc::new(Mutex::new(Some(job)));
    let take = |job: &Mutex<Option<_>>| job.lock().unwrap_or_else(PoisonError::into_inner).take();
    let taken = Arc::clone(&job);
    let spawned = thread::Builder::new().name("background".into()).spawn(move || {
        // Of this thread. Whoever may not even do that goes on as everybody else.
        let _ = setpriority_process(None, NICE);
        if let Some(job) = take(&taken) {
            job();
        }
    });
    if spawned.is_err()
        && let Some(job) = take(&job)
    {
        // No more threads: one that is there has to do.
        drop(spawn_blocking(job));
    }
    match receiver.await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => resume_unwind(panic),
        // The runtime is ending, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn others_go_first() {
        let stat = in_background(|| fs::read_to_string("/proc/thread-self/stat")).await.unwrap();
        let (_, behind_name) = stat.rsplit_once(')').unwrap();
        // Field 19 of proc(5); the first behind the name is field 3.
        assert_eq!(behind_name.split_whitespace().nth(16), Some("10"), "{stat}");
        let here = fs::read_to_string("/proc/thread-self/stat").unwrap();
        assert_ne!(here.rsplit_once(')').unwrap().1.split_whitespace().nth(16), Some("10"));
    }

    #[tokio::test]
    async fn a_panic_is_that_of_whoever_waits() {
        let waiting = tokio::spawn(in_background(|| panic!("planted")));
        assert!(waiting.await.unwrap_err().is_panic());
    }
}

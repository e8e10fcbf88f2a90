//! Work that takes long, on a thread of its own.

use std::panic::resume_unwind;

use tokio::task::spawn_blocking;

/// Does `work` in the background. It runs to its end, also when this future is dropped.
pub async fn in_background<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // The runtime is ending, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

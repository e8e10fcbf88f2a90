//! Whether one direction may be tried, for quinn's streams, which wake the task that was refused last.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// Ready until an attempt was refused, and again when quinn says so. Attempts and [`Readiness::poll`] happen under the lock of
/// the direction's state; quinn wakes at any time.
#[derive(Debug)]
pub(super) struct Readiness {
    signal: Arc<Signal>,
    /// `signal` as what quinn wakes.
    waker: Waker,
}

#[derive(Debug, Default)]
struct Signal {
    refused: AtomicBool,
    task: AtomicWaker,
}

impl Readiness {
    pub(super) fn new() -> Self {
        let signal = Arc::new(Signal::default());
        Self { waker: Waker::from(Arc::clone(&signal)), signal }
    }

    /// Makes an attempt, which registers the waker given to it where it cannot go on.
    pub(super) fn attempt<T>(
        &self,
        attempt: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        // First, so that a wake from within the attempt is not overwritten.
        self.signal.refused.store(true, Ordering::Release);
        match attempt(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(result) => {
                self.signal.refused.store(false, Ordering::Release);
                Some(result)
            }
            Poll::Pending => None,
        }
    }

    /// Ready when an attempt is worth making. The last caller's task is woken.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.signal.refused.load(Ordering::Acquire) {
            self.signal.task.register(cx.waker());
            if self.signal.refused.load(Ordering::Acquire) {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.refused.store(false, Ordering::Release);
        self.task.wake();
    }
}

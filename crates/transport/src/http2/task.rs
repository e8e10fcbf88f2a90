//! The task that an HTTP/2 connection is, and how much of its client's bytes has been read.

use std::{
    pin::pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures_util::task::AtomicWaker;
use tokio::task::{JoinError, JoinHandle};

/// Bytes of a client that have to be read before it is given the full windows: more than an unauthenticated peer has to send.
pub const PROOF: usize = 4096;

/// The task that a connection is: it ends with this, and the stream below with it.
#[derive(Debug)]
pub(super) struct ConnectionTask(Mutex<Option<JoinHandle<()>>>);

impl ConnectionTask {
    pub(super) fn spawn(connection: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Mutex::new(Some(tokio::spawn(connection))))
    }

    /// Ready when the connection is over. The last caller's task is woken.
    pub(super) fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut task = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &mut *task {
            let _: Result<(), JoinError> = ready!(pin!(running).poll(cx));
            *task = None;
        }
        Poll::Ready(())
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        let task = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        task.iter().for_each(JoinHandle::abort);
    }
}

/// How much of a connection's bytes has been read.
#[derive(Debug, Default)]
pub(super) struct ClientProof {
    read: AtomicUsize,
    pub(super) connection: AtomicWaker,
}

impl ClientProof {
    /// `len` more bytes have been.
    pub(super) fn read(&self, len: usize) {
        // Above `PROOF` the exact count does not matter.
        let before = self.read.load(Ordering::Relaxed);
        if before < PROOF {
            self.read.fetch_add(len, Ordering::Relaxed);
            if before + len >= PROOF {
                self.connection.wake();
            }
        }
    }

    pub(super) fn is_given(&self) -> bool {
        self.read.load(Ordering::Relaxed) >= PROOF
    }
}

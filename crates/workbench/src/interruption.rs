//! Ctrl-C and SIGTERM: noticed instead of ending this process at once, so that the programs it has started end too.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
};

use tokio::signal::unix::{SignalKind, signal};

/// Whether one of the two has come.
pub(crate) struct Interruption {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl Interruption {
    /// From now on neither ends the process by itself; at the first that comes `tell` is called, on a thread that lasts as
    /// long as the process. Before this is called the process must have entered its user namespace, which only one with a
    /// single thread may.
    pub(crate) fn listen(tell: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let telling = Arc::clone(&shared);
        thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            let (has_come, comes) = &*telling;
            *has_come.lock().unwrap_or_else(PoisonError::into_inner) = true;
            comes.notify_all();
            tell();
        })?;
        Ok(Self { shared })
    }

    /// Whether one has come already.
    pub(crate) fn has_come(&self) -> bool {
        *self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one comes.
    pub(crate) fn wait(&self) {
        let (has_come, comes) = &*self.shared;
        let has_come = has_come.lock().unwrap_or_else(PoisonError::into_inner);
        drop(comes.wait_while(has_come, |has_come| !*has_come));
    }
}

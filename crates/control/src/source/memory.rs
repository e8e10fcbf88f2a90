//! A source in memory, for tests: gives a text, fails or hangs, as the test sets it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{LoadFuture, Loaded, Source, SourceError, Stamp, StampFuture};

/// Limit for one reading.
const DEADLINE: Duration = Duration::from_secs(5);

/// A text in memory. Clones are the same source.
#[derive(Clone)]
pub struct MemorySource(Arc<MemoryShared>);

struct MemoryShared {
    behaviour: Mutex<Behaviour>,
    changes: AtomicU64,
    loads: AtomicUsize,
    followed: bool,
}

enum Behaviour {
    Text(String),
    Fail(SourceError),
    Hang,
}

impl MemorySource {
    /// Gives `text`. A source that is `followed` shows changes like a file; others have to be read.
    pub fn new(text: &str, followed: bool) -> Self {
        Self(Arc::new(MemoryShared {
            behaviour: Mutex::new(Behaviour::Text(text.to_owned())),
            changes: AtomicU64::new(0),
            loads: AtomicUsize::new(0),
            followed,
        }))
    }

    /// From now on gives `text`.
    pub fn set(&self, text: &str) {
        self.set_behaviour(Behaviour::Text(text.to_owned()));
    }

    /// From now on fails.
    pub fn fail(&self, error: SourceError) {
        self.set_behaviour(Behaviour::Fail(error));
    }

    /// From now on answers nothing before its deadline of 5 s.
    pub fn hang(&self) {
        self.set_behaviour(Behaviour::Hang);
    }

    /// How often it was read.
    pub fn loads(&self) -> usize {
        self.0.loads.load(Ordering::SeqCst)
    }

    fn set_behaviour(&self, behaviour: Behaviour) {
        *self.0.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
        self.0.changes.fetch_add(1, Ordering::SeqCst);
    }
}

impl Source for MemorySource {
    fn load(&self) -> LoadFuture<'_> {
        Box::pin(async {
            self.0.loads.fetch_add(1, Ordering::SeqCst);
            match &*self.0.behaviour.lock().unwrap_or_else(PoisonError::into_inner) {
                Behaviour::Text(text) => return Ok(Loaded::Text(text.clone())),
                Behaviour::Fail(error) => return Err(error.clone()),
                Behaviour::Hang => {}
            }
            tokio::time::sleep(DEADLINE).await;
            Err(SourceError::Timeout(DEADLINE))
        })
    }

    fn stamp(&self) -> Option<StampFuture<'_>> {
        let len = self.0.changes.load(Ordering::SeqCst);
        let stamp = Stamp { file: (0, 0), len, times: [(0, 0); 2] };
        self.0.followed.then(|| Box::pin(async move { Some(stamp) }) as StampFuture<'_>)
    }

    fn label(&self) -> Arc<str> {
        "memory".into()
    }
}

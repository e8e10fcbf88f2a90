//! How many files and connections the process may have open at a time, and the warning when there are no more.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, setrlimit},
};
use tracing::warn;

use crate::counters::Happened;

/// The warning is repeated only after accepting has worked for this long.
const EPISODE: Duration = Duration::from_secs(60);

/// Raises the soft limit of open descriptors to the hard limit; returns the limit.
pub fn raise_limit() -> u64 {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!("cannot raise the limit of open descriptors: {error}; connections may have to wait");
    }
    limit()
}

/// How many descriptors the process may have open.
pub fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

/// Counts connections that could not be accepted.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    refused: Mutex<RefusedAccepts>,
}

#[derive(Debug, Default)]
struct RefusedAccepts {
    count: u64,
    last: Option<Instant>,
}

impl Descriptors {
    /// Logs that a connection could not be accepted; the caller waits a moment before the next try. Lack of descriptors is
    /// logged once while it lasts.
    pub(crate) fn accept_failed(&self, service: &str, error: &io::Error) {
        if !is_exhausted(error) {
            warn!(service, "cannot accept a connection: {error}");
            return;
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = refused.last.is_none_or(|last| last.elapsed() >= EPISODE);
        refused.count = refused.count.saturating_add(1);
        refused.last = Some(Instant::now());
        drop(refused);
        if is_new {
            warn!(
                service,
                limit = limit(),
                help =
                    "raise the limit of open files: LimitNOFILE= in a unit, ulimit -n in a shell",
                "connections have to wait: there is no descriptor left ({error})"
            );
        }
    }

    /// How often a connection could not be accepted for lack of a descriptor.
    pub(crate) fn refused(&self) -> Option<Happened> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let last = refused.last?;
        Some(Happened { count: refused.count, ago: last.elapsed() })
    }
}

/// Whether the process or the system has no descriptor left.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EMFILE | Errno::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_want_of_descriptors_is_counted() {
        let descriptors = Descriptors::default();
        descriptors.accept_failed("hub", &io::ErrorKind::ConnectionAborted.into());
        assert!(descriptors.refused().is_none());
        for code in [Errno::EMFILE, Errno::ENFILE] {
            descriptors.accept_failed("hub", &code.into());
        }
        assert_eq!(descriptors.refused().unwrap().count, 2);
    }
}

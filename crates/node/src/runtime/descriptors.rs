//! How many files and connections the process may have open at a time, and what is said when there are no more.

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

/// That there is no descriptor left is said again when there were some for this long.
const EPISODE: Duration = Duration::from_secs(60);

/// Lets the process open as many descriptors as the system lets it, and says how many these are.
pub fn raise_limit() -> u64 {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!("cannot raise the limit of open descriptors: {error}");
    }
    limit()
}

/// How many descriptors the process may have open.
pub fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

/// Keeps account of connections that could not be accepted.
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
    /// To be called where a connection cannot be accepted, and a moment before the next try. That there is no descriptor
    /// left is said once for as long as it lasts.
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

    /// How often a connection could not be accepted for want of a descriptor.
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

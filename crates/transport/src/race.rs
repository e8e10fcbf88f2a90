//! Attempts that race (RFC 8305, "happy eyeballs"): each begins when the one before has failed or is slow, the first to succeed
//! wins.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::sleep;

use crate::names::ResolvedAddr;

/// How long one address is tried alone before the next is tried too (RFC 8305 section 5).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Begins one attempt after the other, in this order, each when the one before has failed or has taken `delay`. The first that
/// succeeds ends the others. `failed` learns of each failure. `None` when all have failed, or there is none.
pub async fn first_of<K: Copy, T, E, F: Future<Output = Result<T, E>>>(
    order: impl IntoIterator<Item = K>,
    begin: impl Fn(K) -> F,
    delay: Duration,
    mut failed: impl FnMut(K, E),
) -> Option<(K, T)> {
    let mut waiting = order.into_iter().peekable();
    let mut running = FuturesUnordered::new();
    loop {
        if let Some(key) = waiting.next() {
            let attempt = begin(key);
            running.push(async move { (key, attempt.await) });
        }
        let is_last = waiting.peek().is_none();
        let next_at = async {
            match is_last {
                true => std::future::pending().await,
                false => sleep(delay).await,
            }
        };
        tokio::select! {
            finished = running.next() => match finished {
                Some((key, Ok(won))) => return Some((key, won)),
                Some((key, Err(error))) => failed(key, error),
                None => return None,
            },
            () = next_at => {}
        }
    }
}

/// Attempts at the addresses of a name, and how each went.
pub(crate) struct AddressRace<E> {
    attempts: Mutex<Vec<(SocketAddr, Option<E>)>>,
}

/// Addresses that were tried without success.
#[derive(Debug)]
pub struct Tried<E> {
    /// In the order in which they were tried, with what went wrong; `None`: there was no answer.
    pub attempts: Vec<(SocketAddr, Option<E>)>,
    /// As [`ResolvedAddr::outdated`] has it.
    pub outdated: Option<String>,
}

impl<E: fmt::Display> fmt::Display for Tried<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (address, error)) in self.attempts.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            match error {
                Some(error) => write!(f, "{separator}{address}: {error}")?,
                None => write!(f, "{separator}{address}: no answer")?,
            }
        }
        match &self.outdated {
            Some(why) => write!(f, " (known from before: {why})"),
            None => Ok(()),
        }
    }
}

impl<E> Default for AddressRace<E> {
    fn default() -> Self {
        Self { attempts: Mutex::default() }
    }
}

impl<E> AddressRace<E> {
    /// Makes an attempt at each address of `to` in turn, [`ATTEMPT_DELAY`] apart; `None` when all have failed.
    pub(crate) async fn run<T, F: Future<Output = Result<T, E>>>(
        &self,
        to: &ResolvedAddr,
        attempt: impl Fn(SocketAddr) -> F,
    ) -> Option<T> {
        let begin = |(_, address)| {
            self.attempts().push((address, None));
            attempt(address)
        };
        let failed = |(position, _): (usize, _), error| {
            self.attempts()[position].1 = Some(error);
        };
        let order = to.addresses.iter().copied().enumerate();
        first_of(order, begin, ATTEMPT_DELAY, failed).await.map(|(_, won)| won)
    }

    /// How the attempts have gone; to be called once.
    pub(crate) fn tried(&self, to: &ResolvedAddr) -> Tried<E> {
        let attempts = std::mem::take(&mut *self.attempts());
        Tried { attempts, outdated: to.outdated.clone() }
    }

    /// A poisoned lock still guards whole attempts.
    fn attempts(&self) -> MutexGuard<'_, Vec<(SocketAddr, Option<E>)>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const DELAY: Duration = Duration::from_secs(1);

    /// Each attempt takes this many seconds, and succeeds or not: which won, when, and which were begun when.
    async fn race(attempts: &[(u64, bool)]) -> (Option<usize>, u64, Vec<(usize, u64)>) {
        let start = tokio::time::Instant::now();
        let begun = RefCell::new(Vec::new());
        let begin = |key: usize| {
            begun.borrow_mut().push((key, start.elapsed().as_secs()));
            let (takes, succeeds) = attempts[key];
            async move {
                sleep(Duration::from_secs(takes)).await;
                if succeeds { Ok(()) } else { Err(()) }
            }
        };
        let won = first_of(0..attempts.len(), begin, DELAY, |_, ()| {}).await.map(|(key, ())| key);
        (won, start.elapsed().as_secs(), begun.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_attempt_is_alone_while_it_is_quick() {
        assert_eq!(race(&[(0, true), (0, true)]).await, (Some(0), 0, vec![(0, 0)]));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_the_next_begins_at_once_and_after_silence_a_little_later() {
        let (won, after, begun) = race(&[(0, false), (90, true), (1, true)]).await;
        assert_eq!((won, after), (Some(2), 2));
        assert_eq!(begun, [(0, 0), (1, 0), (2, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_attempt_still_wins_over_a_slower_one() {
        assert_eq!(race(&[(3, true), (5, true)]).await.0, Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn without_success_each_failure_is_reported() {
        let mut failures = Vec::new();
        let begin = |key: usize| async move { Err::<(), usize>(key * 10) };
        let won = first_of([1, 0], begin, DELAY, |key, error| failures.push((key, error))).await;
        assert!(won.is_none());
        assert_eq!(failures, [(1, 10), (0, 0)]);
    }
}

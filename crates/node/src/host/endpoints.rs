//! The endpoints to one hub: raced, the one that worked remembered, better ones tried again later.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use rtun_settings::HubNode;
use rtun_transport::{Stream, names::Names};
use tokio::time::sleep;

use super::{
    attempt::{Attempt, DialError, Opened, SetupError},
    dial::Dialer,
    proxies::Proxies,
    wire::{SegmentSizes, Wire},
};
use crate::{report::Transport, runtime::surroundings::Surroundings};

/// How long a endpoint is tried alone before the next is tried beside it: longer than RFC 8305 has it for addresses, since a
/// transport's handshake takes several round trips.
const NEXT_ENDPOINT_AFTER: Duration = Duration::from_millis(500);

/// A better endpoint is tried again after this long, and after twice as long each time that it does not work.
const BETTER_AFTER: Duration = Duration::from_secs(10);
const BETTER_AFTER_MAX: Duration = Duration::from_secs(600);

/// The endpoints to one hub, the preferred first.
pub(super) struct HubEndpoints {
    dialers: Vec<Dialer>,
    /// The endpoint that worked last.
    remembered: AtomicUsize,
    /// Of connections over TCP by any of them.
    pub(super) segments: SegmentSizes,
}

/// What endpoints share with those to other hubs.
#[derive(Clone, Copy)]
pub(super) struct DialContext<'a> {
    pub(super) names: &'a Names,
    pub(super) proxies: &'a Proxies,
}

/// A connection to a hub, by one of its endpoints.
pub(super) struct HubConnection {
    pub(super) stream: Arc<dyn Stream>,
    pub(super) transport: Transport,
    /// Its place among the endpoints.
    pub(super) endpoint: usize,
    /// The connection over TCP under it.
    pub(super) wire: Option<Wire>,
}

/// No endpoint led to the hub.
#[derive(Debug, thiserror::Error)]
#[error("{}", list(.0))]
pub(super) struct NoEndpoint(Vec<(Transport, DialError)>);

impl HubEndpoints {
    pub(super) fn new(hub: &HubNode, surroundings: &Surroundings) -> Result<Self, SetupError> {
        let dialers =
            hub.endpoints.iter().map(|endpoint| Dialer::to_hub(endpoint, hub, surroundings));
        Ok(Self {
            dialers: dialers.collect::<Result<_, _>>()?,
            remembered: AtomicUsize::new(0),
            segments: SegmentSizes::default(),
        })
    }

    /// Connects by the endpoint that worked last, and by the others beside it as soon as that takes long or fails; the first to
    /// be connected wins.
    pub(super) async fn connect(
        &self,
        before: DialContext<'_>,
        within: Option<Duration>,
    ) -> Result<HubConnection, NoEndpoint> {
        let remembered = self.remembered.load(Ordering::Relaxed);
        let others = (0..self.dialers.len()).filter(|&endpoint| endpoint != remembered);
        let order = std::iter::once(remembered).chain(others).collect();
        let connected = self.race(order, before, within).await?;
        self.remembered.store(connected.endpoint, Ordering::Relaxed);
        Ok(connected)
    }

    /// Tries the endpoints that are preferred to `endpoint` now and then, until one works; never ready where there are none.
    pub(super) async fn connect_better(
        &self,
        endpoint: usize,
        before: DialContext<'_>,
        within: Option<Duration>,
    ) -> HubConnection {
        if endpoint == 0 {
            return std::future::pending().await;
        }
        let mut wait = BETTER_AFTER;
        loop {
            sleep(wait).await;
            if let Ok(connected) = self.race((0..endpoint).collect(), before, within).await {
                self.remembered.store(connected.endpoint, Ordering::Relaxed);
                return connected;
            }
            wait = (wait * 2).min(BETTER_AFTER_MAX);
        }
    }

    /// Connects by the preferred endpoint only and lets go: whether the hub is there.
    pub(super) async fn probe(&self, before: DialContext<'_>, within: Duration) -> bool {
        self.race(vec![0], before, Some(within)).await.is_ok()
    }

    async fn race(
        &self,
        order: Vec<usize>,
        before: DialContext<'_>,
        within: Option<Duration>,
    ) -> Result<HubConnection, NoEndpoint> {
        let open = |endpoint: usize| async move {
            let dialer = &self.dialers[endpoint];
            let limit = within.unwrap_or_else(|| dialer.usual_limit(before.proxies));
            let attempt = Attempt::new(before.names, limit, self.segments.limit());
            let opened = dialer.open(&attempt, before.proxies).await;
            if let Err(DialError::LargeLost { used, .. }) = &opened {
                self.segments.lower(*used);
            }
            (endpoint, opened)
        };
        let mut failures = Vec::new();
        let raced = first_of(order, open, NEXT_ENDPOINT_AFTER, |endpoint, error| {
            failures.push((self.dialers[endpoint].transport(), error));
        });
        match raced.await {
            Some((endpoint, Opened { stream, wire })) => Ok(HubConnection {
                stream,
                transport: self.dialers[endpoint].transport(),
                endpoint,
                wire,
            }),
            None => Err(NoEndpoint(failures)),
        }
    }
}

/// Starts one after the other, each when the one before has failed or taken `delay`; the first that succeeds ends the
/// others. `failed` is told of each failure. None when all have failed.
async fn first_of<T, E, F: Future<Output = (usize, Result<T, E>)>>(
    order: Vec<usize>,
    start: impl Fn(usize) -> F,
    delay: Duration,
    mut failed: impl FnMut(usize, E),
) -> Option<(usize, T)> {
    let mut waiting = order.into_iter();
    let mut running = FuturesUnordered::new();
    loop {
        if let Some(endpoint) = waiting.next() {
            running.push(start(endpoint));
        }
        let next_at = async {
            match waiting.len() {
                0 => std::future::pending().await,
                _ => sleep(delay).await,
            }
        };
        tokio::select! {
            finished = running.next() => match finished {
                Some((endpoint, Ok(done))) => return Some((endpoint, done)),
                Some((endpoint, Err(error))) => failed(endpoint, error),
                None => return None,
            },
            () = next_at => {}
        }
    }
}

fn list(failures: &[(Transport, DialError)]) -> String {
    match failures {
        [(_, error)] => error.to_string(),
        failures => {
            let texts = failures
                .iter()
                .map(|(transport, error)| format!("{}: {error}", transport.as_str()));
            texts.collect::<Vec<_>>().join("; ")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const DELAY: Duration = Duration::from_secs(1);

    /// Each endpoint takes so many seconds, and works or not; which won, when, and which were started when.
    async fn race(endpoints: &[(u64, bool)]) -> (Option<usize>, u64, Vec<(usize, u64)>) {
        let begin = tokio::time::Instant::now();
        let started = RefCell::new(Vec::new());
        let open = |endpoint: usize| {
            started.borrow_mut().push((endpoint, begin.elapsed().as_secs()));
            let (takes, works) = endpoints[endpoint];
            async move {
                sleep(Duration::from_secs(takes)).await;
                (endpoint, if works { Ok(()) } else { Err(()) })
            }
        };
        let order = (0..endpoints.len()).collect();
        let won = first_of(order, open, DELAY, |_, ()| {}).await.map(|(endpoint, ())| endpoint);
        (won, begin.elapsed().as_secs(), started.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn the_preferred_way_is_alone_while_it_is_quick() {
        assert_eq!(race(&[(0, true), (0, true)]).await, (Some(0), 0, vec![(0, 0)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_that_fails_makes_room_at_once_and_a_silent_one_after_a_delay() {
        let (won, after, started) = race(&[(0, false), (90, true), (1, true)]).await;
        assert_eq!((won, after), (Some(2), 2));
        assert_eq!(started, [(0, 0), (1, 0), (2, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_preferred_way_still_wins_over_a_slower_one() {
        assert_eq!(race(&[(3, true), (5, true)]).await.0, Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_way_each_failure_is_told() {
        let mut failures = Vec::new();
        let open = |endpoint: usize| async move { (endpoint, Err::<(), usize>(endpoint * 10)) };
        let won =
            first_of(vec![1, 0], open, DELAY, |endpoint, error| failures.push((endpoint, error)))
                .await;
        assert!(won.is_none());
        assert_eq!(failures, [(1, 10), (0, 0)]);
    }
}

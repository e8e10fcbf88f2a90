//! The ways to one hub: raced, the one that worked remembered, better ones tried again later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rtun_settings::HubNode;
use rtun_transport::{Stream, names::Names, race::first_of};
use tokio::time::sleep;

use super::{
    dial::{Attempt, DialError, Dialer, Opened, SetupError},
    proxies::Proxies,
    wire::{SegmentSizes, Wire},
};
use crate::{report::Transport, surroundings::Surroundings};

/// How long a way is tried alone before the next is tried beside it: longer than RFC 8305 has it for addresses, since a
/// transport's handshake takes several round trips.
const NEXT_WAY_AFTER: Duration = Duration::from_millis(500);

/// A better way is tried again after this long, and after twice as long each time that it does not work.
const BETTER_AFTER: Duration = Duration::from_secs(10);
const BETTER_AFTER_MAX: Duration = Duration::from_secs(600);

/// The ways to one hub, the preferred first.
pub(super) struct Ways {
    dialers: Vec<Dialer>,
    /// The way that worked last.
    remembered: AtomicUsize,
    /// Of connections over TCP by any of them.
    pub(super) segments: SegmentSizes,
}

/// What ways share with those to other hubs.
#[derive(Clone, Copy)]
pub(super) struct Before<'a> {
    pub(super) names: &'a Names,
    pub(super) proxies: &'a Proxies,
}

/// A connection to a hub, by one of its ways.
pub(super) struct Connected {
    pub(super) stream: Arc<dyn Stream>,
    pub(super) transport: Transport,
    /// Its place among the ways.
    pub(super) way: usize,
    /// The connection over TCP under it.
    pub(super) wire: Option<Wire>,
}

/// No way led to the hub.
#[derive(Debug, thiserror::Error)]
#[error("{}", list(.0))]
pub(super) struct NoWay(Vec<(Transport, DialError)>);

impl Ways {
    pub(super) fn new(hub: &HubNode, surroundings: &Surroundings) -> Result<Self, SetupError> {
        let dialers = hub.endpoints.iter().map(|way| Dialer::to_hub(way, hub, surroundings));
        Ok(Self {
            dialers: dialers.collect::<Result<_, _>>()?,
            remembered: AtomicUsize::new(0),
            segments: SegmentSizes::default(),
        })
    }

    /// Connects by the way that worked last, and by the others beside it as soon as that takes long or fails; the first to
    /// be connected wins.
    pub(super) async fn connect(
        &self,
        before: Before<'_>,
        within: Option<Duration>,
    ) -> Result<Connected, NoWay> {
        let remembered = self.remembered.load(Ordering::Relaxed);
        let others = (0..self.dialers.len()).filter(|&way| way != remembered);
        let order = std::iter::once(remembered).chain(others).collect();
        let connected = self.race(order, before, within).await?;
        self.remembered.store(connected.way, Ordering::Relaxed);
        Ok(connected)
    }

    /// Tries the ways that are preferred to `way` now and then, until one works; never ready where there are none.
    pub(super) async fn connect_better(
        &self,
        way: usize,
        before: Before<'_>,
        within: Option<Duration>,
    ) -> Connected {
        if way == 0 {
            return std::future::pending().await;
        }
        let mut wait = BETTER_AFTER;
        loop {
            sleep(wait).await;
            if let Ok(connected) = self.race((0..way).collect(), before, within).await {
                self.remembered.store(connected.way, Ordering::Relaxed);
                return connected;
            }
            wait = (wait * 2).min(BETTER_AFTER_MAX);
        }
    }

    /// Connects by the preferred way only and lets go: whether the hub is there.
    pub(super) async fn probe(&self, before: Before<'_>, within: Duration) -> bool {
        self.race(vec![0], before, Some(within)).await.is_ok()
    }

    async fn race(
        &self,
        order: Vec<usize>,
        before: Before<'_>,
        within: Option<Duration>,
    ) -> Result<Connected, NoWay> {
        let open = |way: usize| async move {
            let dialer = &self.dialers[way];
            let limit = within.unwrap_or_else(|| dialer.usual_limit(before.proxies));
            let attempt = Attempt::new(before.names, limit, self.segments.limit());
            let opened = dialer.open(&attempt, before.proxies).await;
            if let Err(DialError::LargeLost { used, .. }) = &opened {
                self.segments.lower(*used);
            }
            opened
        };
        let mut failures = Vec::new();
        let raced = first_of(order, open, NEXT_WAY_AFTER, |way, error| {
            failures.push((self.dialers[way].transport(), error));
        });
        match raced.await {
            Some((way, Opened { stream, wire })) => {
                Ok(Connected { stream, transport: self.dialers[way].transport(), way, wire })
            }
            None => Err(NoWay(failures)),
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

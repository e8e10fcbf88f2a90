//! The endpoints of one hub: they are raced, the one that worked is remembered, preferred ones are tried again later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rtun_settings::{HubNode, ProbeKind, ProbeSettings};
use rtun_transport::{Stream, names::Names, race::first_of};
use tokio::time::{sleep, timeout};

use super::{
    attempt::{Attempt, DialError, Opened, SetupError},
    dialer::Dialer,
    probe,
    proxies::Proxies,
    wire::{SegmentSizes, Wire},
};
use crate::{report::Transport, runtime::surroundings::Surroundings};

/// How long an endpoint is tried alone before the next is tried too. This is longer than the delay between addresses in RFC 8305
/// section 5, since a transport's handshake takes several round trips.
const NEXT_ENDPOINT_AFTER: Duration = Duration::from_millis(500);

/// A preferred endpoint is tried again after this long; the pause doubles each time that it fails.
const BETTER_AFTER: Duration = Duration::from_secs(10);
const BETTER_AFTER_MAX: Duration = Duration::from_secs(600);

/// The endpoints of one hub, the preferred ones first.
pub(crate) struct HubEndpoints {
    dialers: Vec<Dialer>,
    /// The endpoint that worked last.
    remembered: AtomicUsize,
    /// The segment sizes of connections over TCP to any of them.
    pub(crate) segments: SegmentSizes,
}

/// What dialers of all hubs share.
#[derive(Clone, Copy)]
pub(crate) struct DialContext<'a> {
    pub(crate) names: &'a Names,
    pub(crate) proxies: &'a Proxies,
}

/// A connection to one endpoint of a hub.
pub(crate) struct HubConnection {
    pub(crate) stream: Arc<dyn Stream>,
    pub(crate) transport: Transport,
    /// Its index among the endpoints.
    pub(crate) endpoint: usize,
    /// The connection over TCP under it.
    pub(crate) wire: Option<Wire>,
}

/// No endpoint of the hub was reached: the failure of each.
#[derive(Debug, thiserror::Error)]
#[error("{}", list(.0))]
pub(crate) struct NoEndpoint(Vec<(Transport, DialError)>);

impl HubEndpoints {
    pub(crate) fn new(hub: &HubNode, surroundings: &Surroundings) -> Result<Self, SetupError> {
        let dialers =
            hub.endpoints.iter().map(|endpoint| Dialer::to_hub(endpoint, hub, surroundings));
        Ok(Self {
            dialers: dialers.collect::<Result<_, _>>()?,
            remembered: AtomicUsize::new(0),
            segments: SegmentSizes::default(),
        })
    }

    /// Connects to the endpoint that worked last, and to the others too as soon as it fails or takes long; the first connection
    /// wins.
    pub(crate) async fn connect(
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

    /// Tries the endpoints that are preferred to `endpoint` from time to time, until one works; never ready if there are none.
    pub(crate) async fn connect_better(
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

    /// Probes the hub, at its preferred endpoint only; whether that worked.
    pub(crate) async fn probe(&self, before: DialContext<'_>, settings: &ProbeSettings) -> bool {
        let within = settings.timeout;
        match &settings.kind {
            ProbeKind::Connect => self.race(vec![0], before, Some(within)).await.is_ok(),
            ProbeKind::Command(text) => {
                timeout(within, probe::command(text)).await.unwrap_or(false)
            }
            ProbeKind::Http(request) => {
                let attempt = Attempt::new(before.names, within, self.segments.limit());
                let asked = async {
                    let stream = self.dialers[0].open_for_http(&attempt, before.proxies).await;
                    match stream {
                        Ok(stream) => probe::http(&*stream, request).await,
                        Err(_) => false,
                    }
                };
                timeout(within, asked).await.unwrap_or(false)
            }
        }
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
            opened
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

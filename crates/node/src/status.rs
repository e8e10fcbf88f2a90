//! How all services of a process go, for whoever asks while they run or are being changed.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;

use crate::{
    feeds::Feeds,
    host::Progress,
    hub::HubView,
    report::{KindReport, ServiceReport, Status},
};

/// What runs now. Asking waits for nobody, not even for a configuration that is being applied.
pub struct Board {
    started: SystemTime,
    since: Instant,
    services: ArcSwap<Vec<(String, View)>>,
    feeds: ArcSwap<Feeds>,
}

/// One service as somebody sees it who only asks.
pub(crate) enum View {
    Hub(HubView),
    Host(Arc<Progress>),
}

impl Default for Board {
    /// Nothing runs, and the process has just begun.
    fn default() -> Self {
        Self {
            started: SystemTime::now(),
            since: Instant::now(),
            services: ArcSwap::default(),
            feeds: ArcSwap::default(),
        }
    }
}

impl Board {
    /// From now on these are the services, in the order of their names, and the sources they use.
    pub(crate) fn show(&self, services: impl Iterator<Item = (String, View)>, feeds: Feeds) {
        self.feeds.store(Arc::new(feeds));
        self.services.store(Arc::new(services.collect()));
    }

    /// How they go.
    pub fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started: self.started.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs(),
            uptime: self.since.elapsed(),
            services: self.services.load().iter().map(report).collect(),
            sources: self.feeds.load().status(),
        }
    }
}

fn report((name, view): &(String, View)) -> ServiceReport {
    let kind = match view {
        View::Hub(hub) => KindReport::Hub(Box::new(hub.report())),
        View::Host(host) => KindReport::Host(Box::new(host.report())),
    };
    ServiceReport { name: name.clone(), kind }
}

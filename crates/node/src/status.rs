//! How all services of a process go, for whoever asks while they run or are being changed.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rtun_core::explain::choose_hubs;

use crate::{
    host::Progress,
    hub::{Explained, HubView, Inquiry},
    report::{KindReport, ServiceReport, Status},
};

/// What runs now. Asking waits for nobody, not even for a configuration that is being applied.
pub struct Board {
    started: SystemTime,
    since: Instant,
    services: ArcSwap<Vec<(String, View)>>,
}

/// One service as somebody sees it who only asks.
pub(crate) enum View {
    Hub(HubView),
    Host(Arc<Progress>),
}

impl Default for Board {
    /// Nothing runs, and the process has just begun.
    fn default() -> Self {
        Self { started: SystemTime::now(), since: Instant::now(), services: ArcSwap::default() }
    }
}

impl Board {
    /// From now on these are the services, in the order of their names.
    pub(crate) fn show(&self, services: impl Iterator<Item = (String, View)>) {
        self.services.store(Arc::new(services.collect()));
    }

    /// What becomes of a packet at the hubs, or why that cannot be said.
    pub fn explain(&self, inquiry: Inquiry) -> Result<Explained, String> {
        let asked = inquiry.understand()?;
        let services = self.services.load();
        let hubs: Vec<(&str, &HubView)> = services
            .iter()
            .filter_map(|(name, view)| match view {
                View::Hub(hub) => Some((&**name, hub)),
                View::Host(_) => None,
            })
            .collect();
        let chosen = choose_hubs(&hubs, |(name, _)| name, asked.service.as_deref());
        let hubs =
            chosen.and_then(|hubs| hubs.iter().map(|(_, hub)| hub.explain(&asked)).collect());
        Ok(hubs.map_or_else(Explained::Unclear, Explained::Hubs))
    }

    /// How they go.
    pub fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started: self.started.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs(),
            uptime: self.since.elapsed(),
            services: self.services.load().iter().map(report).collect(),
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

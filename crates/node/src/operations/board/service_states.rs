//! The states of services by GOST's names, for programs that speak its Web API.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rtun_core::observer::{ObservedStats, ServiceState};

use super::Board;
use crate::{
    observers::ObservedSource,
    report::{KindReport, QuotaReport},
    runtime::events::NodeEvent,
};

/// A service that runs.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningState {
    /// As configured.
    pub name: String,
    /// When it was started, in seconds of Unix time.
    pub since: u64,
    /// `ready` or `failed`.
    pub state: ServiceState,
    /// What it has counted since.
    pub stats: ObservedStats,
    /// Its quotas.
    pub quotas: Vec<QuotaState>,
    /// What has happened to it lately, the oldest first.
    pub events: Vec<Arc<NodeEvent>>,
}

/// A quota that a service uses.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaState {
    /// What it allows, and what it has counted.
    pub report: QuotaReport,
    /// Whether it counts now: it has begun and not ended.
    pub active: bool,
    /// Whether it has ended.
    pub expired: bool,
}

impl Board {
    /// The services that run, by name.
    pub fn running_states(&self) -> Vec<RunningState> {
        let services = self.services.load();
        let mut events: BTreeMap<&str, Vec<Arc<NodeEvent>>> = BTreeMap::new();
        let kept = self.machine.events.of_services();
        for event in &kept {
            let of_service = events.entry(event.service.as_deref().unwrap_or_default());
            of_service.or_default().push(Arc::clone(event));
        }
        let states = services.iter().map(|shown| {
            let report = shown.view.report();
            let since = shown.since.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
            RunningState {
                name: shown.name.clone(),
                since,
                state: match shown.view.is_failing() {
                    true => ServiceState::Failed,
                    false => ServiceState::Ready,
                },
                stats: report.counts(),
                quotas: quotas(&report),
                events: events.remove(shown.name.as_str()).unwrap_or_default(),
            }
        });
        states.collect()
    }
}

fn quotas(report: &KindReport) -> Vec<QuotaState> {
    let quotas = match report {
        KindReport::Hub(hub) => &hub.quotas,
        KindReport::Host(host) => &host.quotas,
        KindReport::UdpServer(_)
        | KindReport::UdpClient(_)
        | KindReport::Relay(_)
        | KindReport::TapServer(_)
        | KindReport::TapClient(_) => return Vec::new(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let state = |report: &QuotaReport| {
        let expired = report.expires.is_some_and(|end| now >= end);
        let begun = report.starts.is_none_or(|begin| now >= begin);
        QuotaState { report: report.clone(), active: begun && !expired, expired }
    };
    quotas.iter().map(state).collect()
}

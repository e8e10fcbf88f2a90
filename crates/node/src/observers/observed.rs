//! What one observer is informed of about one service, or about the hosts of one hub: counts, and changes of the state.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rtun_core::{
    HostName, NamespaceId,
    observer::{ObservedStats, ObserverEvent, ServiceState, StatsLedger, StatsMeter},
};
use tokio::sync::Notify;
use tracing::warn;

/// The most hosts that are remembered after they have left; others are counted as one client.
const MAX_CLIENTS: usize = 65_536;

/// The most changes of the state that wait for the observer; the oldest are lost past it.
const MAX_STATES: usize = 256;

/// The client that stands for the service as a whole.
const WHOLE: &str = "";

/// The counts and states that wait for one observer.
pub(crate) struct Observed {
    service: String,
    ledger: Mutex<StatsLedger>,
    states: Mutex<States>,
    run: Mutex<Option<ServiceRun>>,
    /// A state waits.
    pub(super) news: Notify,
}

#[derive(Default)]
struct States {
    /// As noted last.
    state: Option<ServiceState>,
    waiting: VecDeque<ServiceState>,
    /// How many of the first that wait are on their way.
    under_way: usize,
}

/// A running service, as far as observers are informed of it.
pub(crate) trait ObservedSource: Send + Sync {
    /// What it has counted since it began.
    fn counts(&self) -> ObservedStats;

    /// Whether it cannot do what it is for: take connections, or have its device.
    fn is_failing(&self) -> bool;
}

/// A run of the service, whose own counts begin at 0.
struct ServiceRun {
    source: Box<dyn ObservedSource>,
    /// As they were read last.
    counted: ObservedStats,
}

impl Observed {
    pub(super) fn new(service: &str, reset_traffic: bool) -> Self {
        Self {
            service: service.to_owned(),
            ledger: Mutex::new(StatsLedger::new(reset_traffic, MAX_CLIENTS)),
            states: Mutex::default(),
            run: Mutex::default(),
            news: Notify::new(),
        }
    }

    /// The name of the service.
    pub(super) fn service(&self) -> &str {
        &self.service
    }

    /// A run of the service has begun; no effect while one goes on.
    pub(super) fn runs(&self, source: impl FnOnce() -> Box<dyn ObservedSource>) {
        let mut run = locked(&self.run);
        if run.is_some() {
            return;
        }
        *run = Some(ServiceRun { source: source(), counted: ObservedStats::default() });
        drop(run);
        self.note(ServiceState::Running);
        self.note(ServiceState::Ready);
    }

    /// The run has ended, and nothing counts for it any more.
    pub(super) fn stopped(&self) {
        self.read_counts();
        if locked(&self.run).take().is_some() {
            self.ledger().meter(WHOLE).add(&ObservedStats::default());
            self.note(ServiceState::Closed);
        }
    }

    /// Adds what the service has counted since the last reading.
    pub(super) fn read_counts(&self) {
        let mut run = locked(&self.run);
        let Some(ServiceRun { source, counted }) = &mut *run else { return };
        let now = source.counts();
        let more = now.since(counted);
        *counted = now;
        self.ledger().meter(WHOLE).add(&more);
    }

    /// Notes whether the service is able to do what it is for.
    pub(super) fn look(&self) {
        let failing = locked(&self.run).as_ref().map(|run| run.source.is_failing());
        match failing {
            Some(true) => self.note(ServiceState::Failed),
            Some(false) => self.note(ServiceState::Ready),
            None => {}
        }
    }

    /// The meter of a host.
    pub(crate) fn client(&self, host: &HostName, namespace: NamespaceId) -> Arc<StatsMeter> {
        self.ledger().meter(&client(host, namespace))
    }

    /// Takes over the meter of a host that was counted before for somebody else.
    pub(crate) fn adopt(&self, host: &HostName, namespace: NamespaceId, meter: &Arc<StatsMeter>) {
        self.ledger().adopt(&client(host, namespace), meter);
    }

    /// What is to be sent next, in order: changes of the state first, then counts. Empty if nothing is due.
    pub(super) fn due(&self) -> Vec<ObserverEvent> {
        let mut states = locked(&self.states);
        states.under_way = states.waiting.len();
        if states.under_way > 0 {
            let service = || self.service.clone();
            let event =
                |state: &ServiceState| ObserverEvent::Status { service: service(), state: *state };
            return states.waiting.iter().map(event).collect();
        }
        drop(states);
        let event = |(client, stats): (String, ObservedStats)| {
            let client = (client != WHOLE).then_some(client);
            ObserverEvent::Stats { service: self.service.clone(), client, stats }
        };
        self.ledger().batch().into_iter().map(event).collect()
    }

    /// The observer has taken what was due.
    pub(super) fn taken(&self) {
        let mut states = locked(&self.states);
        let under_way = std::mem::take(&mut states.under_way);
        if under_way > 0 {
            states.waiting.drain(..under_way);
        } else {
            drop(states);
            self.ledger().acknowledge();
        }
    }

    /// The events that wait for the observer.
    pub(super) fn waiting(&self) -> usize {
        locked(&self.states).waiting.len() + self.ledger().waiting()
    }

    /// A poisoned lock still guards whole counts: each change is an assignment, an insertion or a removal.
    pub(super) fn ledger(&self) -> MutexGuard<'_, StatsLedger> {
        locked(&self.ledger)
    }

    fn note(&self, state: ServiceState) {
        let mut states = locked(&self.states);
        if states.state == Some(state) {
            return;
        }
        states.state = Some(state);
        if states.waiting.len() == MAX_STATES {
            states.waiting.pop_front();
            states.under_way = states.under_way.saturating_sub(1);
            warn!(
                service = self.service,
                "a change of the state is lost: its observer has not taken the last {MAX_STATES}"
            );
        }
        states.waiting.push_back(state);
        drop(states);
        self.news.notify_one();
    }
}

/// GOST's name for a host.
fn client(host: &HostName, namespace: NamespaceId) -> String {
    format!("{host}@{namespace}")
}

/// What poisoned locks guard here is whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

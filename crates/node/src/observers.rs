//! Who is informed of what services count and of their states. What is counted for an observer outlasts the runs of a service,
//! until the configuration no longer has it observed.

mod observed;
mod reporter;

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;
use rtun_control::{ObserverCalls, PluginSetupError, PluginStatus, connect_observer_plugin};
use rtun_settings::{Config, ObserverSettings, Observing, ServiceObservers};

pub(crate) use self::observed::{Observed, ObservedSource};
use self::reporter::Reporter;
use crate::runtime::machine::Machine;

/// All observed services of a process.
#[derive(Default)]
pub(crate) struct ObserverBook {
    services: BTreeMap<String, ServiceObservation>,
    calls: Vec<KnownObserver>,
}

/// The observers of one service.
#[derive(Default)]
struct ServiceObservation {
    /// Of the service as a whole, and of its state.
    service: Option<Observation>,
    /// Of each host of a hub.
    handler: Option<Observation>,
}

struct Observation {
    observing: Observing,
    observed: Arc<Observed>,
    reporter: Reporter,
}

type KnownObserver = (ObserverSettings, Arc<ObserverCalls>);

/// An observer cannot be informed.
#[derive(Debug, thiserror::Error)]
#[error("observer {name:?}: {source}")]
pub struct ObserverError {
    /// Its name.
    pub name: String,
    /// Why not.
    pub source: PluginSetupError,
}

/// The observers of a configuration that is not in force yet.
pub(crate) struct PreparedObservers {
    calls: Vec<KnownObserver>,
    wanted: BTreeMap<String, ServiceObservers>,
}

/// The observers as reports see them.
#[derive(Default)]
pub(crate) struct ObserverView(Vec<(Arc<ObserverCalls>, Vec<Arc<Observed>>)>);

impl ObserverBook {
    /// Prepares the observers of `config`, and begins to observe services that are not observed yet: what is noted of them is
    /// reported from then on.
    pub(crate) fn prepare(
        &mut self,
        config: &Config,
        machine: &Machine,
    ) -> Result<PreparedObservers, ObserverError> {
        let mut prepared = PreparedObservers { calls: Vec::new(), wanted: BTreeMap::new() };
        for service in &config.services {
            for Observing { observer, .. } in service.observers.iter() {
                if prepared.calls_of(observer).is_some() {
                    continue;
                }
                let known = self.calls.iter().find(|(settings, _)| settings == observer);
                let calls = match known {
                    Some((_, calls)) => Arc::clone(calls),
                    None => connect(observer)?,
                };
                prepared.calls.push((observer.clone(), calls));
            }
            prepared.wanted.insert(service.name.clone(), service.observers.clone());
        }
        for (name, ServiceObservers { service, handler }) in &prepared.wanted {
            if !self.services.contains_key(name) {
                let begin = |observing: &Option<Observing>| {
                    prepared.begin(name, observing.as_ref()?, machine)
                };
                let begun = ServiceObservation { service: begin(service), handler: begin(handler) };
                self.services.insert(name.clone(), begun);
            }
        }
        Ok(prepared)
    }

    /// Has the prepared observers informed from now on, and ends the others: they are informed of what is left first.
    pub(crate) async fn commit(&mut self, prepared: PreparedObservers, machine: &Machine) {
        let mut ended = Vec::new();
        for (name, observation) in &mut self.services {
            let wanted = prepared.wanted.get(name).cloned().unwrap_or_default();
            let slots = [
                (&mut observation.service, wanted.service),
                (&mut observation.handler, wanted.handler),
            ];
            for (slot, wanted) in slots {
                ended.extend(prepared.change(name, slot, wanted, machine).await);
            }
        }
        self.services.retain(|name, _| prepared.wanted.contains_key(name));
        self.calls = prepared.calls;
        join_all(ended.into_iter().map(Reporter::end)).await;
    }

    /// Ends what [`ObserverBook::prepare`] has begun for services that do not run.
    pub(crate) async fn roll_back(&mut self, runs: impl Fn(&str) -> bool) {
        let gone: Vec<_> = self.services.keys().filter(|name| !runs(name)).cloned().collect();
        let gone: Vec<_> = gone.iter().filter_map(|name| self.services.remove(name)).collect();
        join_all(gone.into_iter().flat_map(ServiceObservation::reporters).map(Reporter::end)).await;
    }

    /// The service runs; `source` is read from now on, if its observer does not know of this run yet.
    pub(crate) fn runs(&self, name: &str, source: impl FnOnce() -> Box<dyn ObservedSource>) {
        if let Some(service) = self.services.get(name).and_then(|it| it.service.as_ref()) {
            service.observed.runs(source);
        }
    }

    /// The run of the service has ended.
    pub(crate) fn stopped(&self, name: &str) {
        if let Some(service) = self.services.get(name).and_then(|it| it.service.as_ref()) {
            service.observed.stopped();
        }
    }

    /// Where a hub counts its hosts, if somebody is informed of that.
    pub(crate) fn clients(&self, name: &str) -> Option<Arc<Observed>> {
        let handler = self.services.get(name)?.handler.as_ref()?;
        Some(Arc::clone(&handler.observed))
    }

    /// Informs all of what is left, and ends them.
    pub(crate) async fn end(&mut self) {
        let all = std::mem::take(&mut self.services).into_values();
        join_all(all.flat_map(ServiceObservation::reporters).map(Reporter::end)).await;
    }

    /// The observers as reports see them.
    pub(crate) fn view(&self) -> ObserverView {
        let observations = || self.services.values().flat_map(ServiceObservation::iter);
        let view = self.calls.iter().map(|(settings, calls)| {
            let informed = observations().filter(|it| it.observing.observer == *settings);
            (Arc::clone(calls), informed.map(|it| Arc::clone(&it.observed)).collect())
        });
        ObserverView(view.collect())
    }
}

impl ServiceObservation {
    fn iter(&self) -> impl Iterator<Item = &Observation> {
        self.service.iter().chain(&self.handler)
    }

    fn reporters(self) -> impl Iterator<Item = Reporter> {
        self.service.into_iter().chain(self.handler).map(|it| it.reporter)
    }
}

impl PreparedObservers {
    fn calls_of(&self, observer: &ObserverSettings) -> Option<&Arc<ObserverCalls>> {
        let found = self.calls.iter().find(|(settings, _)| settings == observer);
        found.map(|(_, calls)| calls)
    }

    fn begin(&self, name: &str, observing: &Observing, machine: &Machine) -> Option<Observation> {
        let observed = Arc::new(Observed::new(name, observing.reset_traffic));
        self.report(observing, observed, machine)
    }

    fn report(
        &self,
        observing: &Observing,
        observed: Arc<Observed>,
        machine: &Machine,
    ) -> Option<Observation> {
        let calls = self.calls_of(&observing.observer)?;
        let reporter = Reporter::start(observing, Arc::clone(&observed), calls, machine);
        Some(Observation { observing: observing.clone(), observed, reporter })
    }

    /// Changes who is informed; what was not acknowledged goes to the next. Returns a reporter that is to end, if nobody follows.
    async fn change(
        &self,
        name: &str,
        slot: &mut Option<Observation>,
        wanted: Option<Observing>,
        machine: &Machine,
    ) -> Option<Reporter> {
        match (slot.take(), wanted) {
            (Some(same), Some(wanted)) if same.observing == wanted => *slot = Some(same),
            (Some(Observation { observed, reporter, .. }), Some(wanted)) => {
                // The same events must not go to both.
                reporter.end().await;
                observed.ledger().set_reset_traffic(wanted.reset_traffic);
                *slot = self.report(&wanted, observed, machine);
            }
            (Some(Observation { reporter, .. }), None) => return Some(reporter),
            (None, Some(wanted)) => *slot = self.begin(name, &wanted, machine),
            (None, None) => {}
        }
        None
    }
}

impl ObserverView {
    /// The state of each observer.
    pub(crate) fn status(&self) -> Vec<PluginStatus> {
        let status = |(calls, informed): &(Arc<ObserverCalls>, Vec<Arc<Observed>>)| {
            calls.status(informed.iter().map(|observed| observed.waiting()).sum())
        };
        self.0.iter().map(status).collect()
    }
}

fn connect(observer: &ObserverSettings) -> Result<Arc<ObserverCalls>, ObserverError> {
    let ObserverSettings { name, plugin } = observer;
    let connected = connect_observer_plugin(plugin)
        .map_err(|source| ObserverError { name: name.clone(), source })?;
    Ok(Arc::new(ObserverCalls::new(name.clone(), connected, plugin.timeout)))
}

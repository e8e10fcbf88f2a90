//! Observers: services that are informed of what services count, and of their states.

use std::time::Duration;

use super::PluginSettings;

/// An observer.
#[derive(Debug, Clone, PartialEq)]
pub struct ObserverSettings {
    /// As configured.
    pub name: String,
    /// Where it is informed.
    pub plugin: PluginSettings,
}

/// How a service is observed, or the handler of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Observing {
    /// Who is informed.
    pub observer: ObserverSettings,
    /// Time between two reports of counts; at least 1 s, 5 s unless configured.
    pub period: Duration,
    /// Whether bytes are reported as differences, not as totals.
    pub reset_traffic: bool,
    /// Whether counts are reported; otherwise only changes of the state.
    pub stats: bool,
}

/// Who is informed of a service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServiceObservers {
    /// Of the service as a whole, and of its state.
    pub service: Option<Observing>,
    /// Of each host of a hub.
    pub handler: Option<Observing>,
}

impl ServiceObservers {
    /// All there are.
    pub fn iter(&self) -> impl Iterator<Item = &Observing> {
        self.service.iter().chain(&self.handler)
    }
}

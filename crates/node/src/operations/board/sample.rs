//! Everything that metrics are made of, as of one moment.

use prometheus_client::metrics::histogram::Histogram;

use super::{clients::ClientTotals, ledger::Totals};
use crate::{
    host::HubNodeHistory,
    report::{DeviceReport, HubReport, KindReport, NodeStatus},
};

/// What a page of metrics is made of.
pub(crate) struct MetricsSample {
    pub(crate) status: NodeStatus,
    pub(crate) totals: Totals,
    /// Of each hub service, by its name: what its clients have done.
    pub(crate) clients: Vec<(String, ClientTotals)>,
    /// Of each hub service, by its name: how long its connections lasted, in seconds.
    pub(crate) lasted: Vec<(String, Histogram)>,
    /// Of each host service, by its name: the hubs it may connect to.
    pub(crate) nodes: Vec<(String, Vec<HubNodeHistory>)>,
    /// Log lines that were lost so far.
    pub(crate) lost_log_lines: u64,
}

impl MetricsSample {
    /// The hub services, by name.
    pub(crate) fn hubs(&self) -> impl Iterator<Item = (&str, &HubReport)> {
        self.status.services.iter().filter_map(|service| match &service.kind {
            KindReport::Hub(hub) => Some((&*service.name, &**hub)),
            _ => None,
        })
    }

    /// The host services, by name.
    pub(crate) fn devices(&self) -> impl Iterator<Item = (&str, &DeviceReport)> {
        self.status.services.iter().filter_map(|service| match &service.kind {
            KindReport::Host(device) => Some((&*service.name, &**device)),
            _ => None,
        })
    }
}

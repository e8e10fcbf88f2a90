//! The namespaces of all hubs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    paging::{ListPage, PageQuery},
    sample::{TrafficRates, by_reason},
    service::WatchedService,
    state::ServiceWatch,
};
use crate::hub::{Amounts, Passed};

/// Which namespaces are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceQuery {
    /// Part of their id.
    pub search: Option<String>,
    /// Their hub.
    pub service: Option<String>,
    /// The part of the list.
    #[serde(flatten)]
    pub part: PageQuery,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamespaceView {
    /// Its hub.
    pub service: String,
    /// Its id.
    pub id: String,
    /// Whether the configuration names it.
    pub configured: bool,
    /// The number of prefixes in its tables.
    pub routes: usize,
    /// The number of connected hosts.
    pub hosts: usize,
    /// What hosts sent.
    #[serde(rename = "in")]
    pub input: Amounts,
    /// What hosts were handed.
    #[serde(rename = "out")]
    pub output: Amounts,
    /// The same a second, between the last two samples.
    pub rate: TrafficRates,
    /// Packets lost, by reason.
    pub drops: BTreeMap<String, u64>,
}

impl ServiceWatch {
    /// The namespaces that `query` asks for, by hub and id.
    pub(crate) fn namespaces(
        &self,
        services: &[WatchedService<'_>],
        query: &NamespaceQuery,
    ) -> ListPage<NamespaceView> {
        let sampled = self.sampled(services);
        let hubs = sampled.now.hubs();
        let hubs =
            hubs.filter(|(it, _)| query.service.as_ref().is_none_or(|name| *name == it.name));
        let all =
            hubs.flat_map(|(service, hub)| hub.namespaces.iter().map(move |it| (service, it)));
        let found: Vec<_> = all
            .filter(|(_, namespace)| {
                let id = || namespace.id.to_string();
                query.search.as_ref().is_none_or(|text| id().contains(&text.to_lowercase()))
            })
            .collect();
        let (skip, take) = query.part.range();
        let shown = found.iter().skip(skip).take(take);
        let items = shown.map(|(service, namespace)| {
            let Passed { input, output, .. } = Passed::from(&namespace.traffic);
            NamespaceView {
                service: service.name.clone(),
                id: namespace.id.to_string(),
                configured: namespace.configured,
                routes: namespace.routes,
                hosts: namespace.hosts,
                input,
                output,
                rate: sampled.namespace_rates(service.id, namespace),
                drops: by_reason(&namespace.traffic),
            }
        });
        query.part.of(found.len(), items.collect())
    }
}

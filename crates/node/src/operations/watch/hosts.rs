//! The hosts of all hubs: a part of the list, sorted and searched, with rates.

use std::{cmp::Ordering, collections::BTreeMap, net::SocketAddr, time::Duration};

use rtun_core::NamespaceId;
use serde::{Deserialize, Serialize};

use super::{
    paging::{ListPage, PageQuery, SortOrder},
    sample::{TrafficRates, by_reason},
    service::{WatchedKind, WatchedService},
    state::ServiceWatch,
};
use crate::{
    hub::{Amounts, HostMoment, Passed},
    json,
    report::{HostReport, LimitReport, Queued, Transport},
};

/// Which hosts are wanted, and in what order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostQuery {
    /// Part of their name, address or namespace, in any case.
    pub search: Option<String>,
    /// Their namespace.
    #[serde(with = "json::maybe_text")]
    pub namespace: Option<NamespaceId>,
    /// Their hub.
    pub service: Option<String>,
    /// What they are sorted by.
    pub sort: HostSort,
    /// `None`: names from A to Z, all else the greatest first.
    pub order: Option<SortOrder>,
    /// The part of the list.
    #[serde(flatten)]
    pub part: PageQuery,
}

/// What hosts are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostSort {
    /// Bytes a second in both directions, then bytes in all.
    #[default]
    Traffic,
    /// Their names.
    Name,
    /// For how long they have been connected.
    Age,
    /// Bytes that wait for them.
    Queue,
    /// Packets lost.
    Drops,
}

/// A connected host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostView {
    /// The hub that it is connected to.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub host: String,
    /// The address it connects from.
    pub peer: SocketAddr,
    /// The transport of its connection.
    pub transport: Transport,
    /// For how long it has been connected, in seconds.
    #[serde(with = "json::seconds")]
    pub connected: Duration,
    /// Whether packets for its name may go to it.
    pub carries: bool,
    /// Name and version of its program, if it is an rtun host.
    pub software: Option<String>,
    /// The MTU of its device in bytes, if it is an rtun host.
    pub mtu: Option<u16>,
    /// Whether packets of up to 64 KiB go whole to it.
    pub gso_frames: bool,
    /// Whether packets go as datagrams where they fit.
    pub datagrams: bool,
    /// What it sent.
    #[serde(rename = "in")]
    pub input: Amounts,
    /// What it was handed.
    #[serde(rename = "out")]
    pub output: Amounts,
    /// The same a second, between the last two samples.
    pub rate: TrafficRates,
    /// Packets lost, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Packets that wait for its socket.
    pub queued: Queued,
    /// The round trip to it in seconds, where its program answers window stamps.
    #[serde(with = "json::maybe_seconds")]
    pub round_trip: Option<Duration>,
    /// The limits that its traffic has to keep to.
    pub limits: Vec<LimitReport>,
}

impl ServiceWatch {
    /// The hosts that `query` asks for.
    pub(crate) fn hosts(
        &self,
        services: &[WatchedService<'_>],
        query: &HostQuery,
    ) -> ListPage<HostView> {
        let sampled = self.sampled(services);
        let search = query.search.as_ref().map(|text| text.to_lowercase());
        let mut found = Vec::new();
        for (service, hub) in sampled.now.hubs() {
            if query.service.as_ref().is_some_and(|name| *name != service.name) {
                continue;
            }
            let hosts = hub.hosts.iter().filter(|host| {
                query.namespace.is_none_or(|namespace| namespace == host.namespace)
                    && search.as_ref().is_none_or(|text| matches(host, text))
            });
            found.extend(hosts.map(|host| FoundHost {
                service: service.id,
                host,
                rate: sampled.host_rates(service.id, host),
            }));
        }
        let total = found.len();
        let default = match query.sort {
            HostSort::Name => SortOrder::Asc,
            _ => SortOrder::Desc,
        };
        let order = query.order.unwrap_or(default);
        let shown = query.part.sorted(found, |a, b| compare(query.sort, order, a, b));
        let items = shown.filter_map(|found| found.view(services)).collect();
        query.part.of(total, items)
    }
}

struct FoundHost<'a> {
    service: u64,
    host: &'a HostMoment,
    rate: TrafficRates,
}

impl FoundHost<'_> {
    /// `None`: it has left meanwhile.
    fn view(self, services: &[WatchedService<'_>]) -> Option<HostView> {
        let service = services.iter().find(|it| it.id == self.service)?;
        let WatchedKind::Hub(hub) = &service.kind else { return None };
        let HostReport {
            host,
            peer,
            transport,
            connected,
            carries,
            software,
            mtu,
            gso_frames,
            datagrams,
            round_trip,
            traffic,
            queued,
            limits,
        } = hub.host(self.host)?;
        let Passed { input, output, .. } = Passed::from(&traffic);
        Some(HostView {
            service: service.name.to_owned(),
            namespace: self.host.namespace.to_string(),
            host: host.to_string(),
            peer,
            transport,
            connected,
            carries,
            software,
            mtu,
            gso_frames,
            datagrams,
            input,
            output,
            rate: self.rate,
            drops: by_reason(&traffic),
            queued,
            round_trip,
            limits,
        })
    }
}

fn matches(host: &HostMoment, text: &str) -> bool {
    host.host.as_str().to_lowercase().contains(text)
        || host.peer.to_string().contains(text)
        || host.namespace.to_string().contains(text)
}

/// Equal ones by their names, then the newest first.
fn compare(sort: HostSort, order: SortOrder, a: &FoundHost<'_>, b: &FoundHost<'_>) -> Ordering {
    let bytes = |found: &FoundHost<'_>| {
        let passed = &found.host.passed;
        passed.input.bytes + passed.output.bytes
    };
    let rate = |found: &FoundHost<'_>| found.rate.input.bytes + found.rate.output.bytes;
    let ordering = match sort {
        HostSort::Traffic => rate(a).total_cmp(&rate(b)).then_with(|| bytes(a).cmp(&bytes(b))),
        HostSort::Name => a.host.host.cmp(&b.host.host),
        HostSort::Age => a.host.connected.cmp(&b.host.connected),
        HostSort::Queue => a.host.queued_bytes.cmp(&b.host.queued_bytes),
        HostSort::Drops => a.host.passed.drops.cmp(&b.host.passed.drops),
    };
    let ordering = match order {
        SortOrder::Asc => ordering,
        SortOrder::Desc => ordering.reverse(),
    };
    ordering.then_with(|| a.host.host.cmp(&b.host.host)).then(b.host.id.cmp(&a.host.id))
}

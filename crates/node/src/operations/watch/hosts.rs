//! The hosts of all hubs: a part of the list, sorted and searched, with rates.

use std::{cmp::Ordering, collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use rtun_core::NamespaceId;
use serde::{Deserialize, Serialize};

use super::{
    paging::{ListPage, PageQuery, SortOrder},
    sample::{Sampled, TrafficRates, WatchSample, by_reason},
    service::{WatchedKind, WatchedService},
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

impl HostQuery {
    /// The same for all of them.
    fn whole(&self) -> Self {
        Self { part: PageQuery::default(), ..self.clone() }
    }
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

/// All hosts that were asked for, in their order: the next part of the same list is taken from it.
pub(super) struct HostList {
    sample: Arc<WatchSample>,
    /// Without its part.
    query: HostQuery,
    hosts: Vec<ListedHost>,
}

/// A host, by its places in the sample.
struct ListedHost {
    service: usize,
    host: usize,
    rate: TrafficRates,
}

impl HostList {
    /// All hosts of `sampled` that `query` asks for, whichever its part.
    pub(super) fn new(sampled: Sampled, query: &HostQuery) -> Self {
        let query = query.whole();
        let search = query.search.as_ref().map(|text| text.to_lowercase());
        let mut found = Vec::new();
        for (at, service) in sampled.now.services.iter().enumerate() {
            let Some(hub) = &service.hub else { continue };
            if query.service.as_ref().is_some_and(|name| *name != service.name) {
                continue;
            }
            let hosts = hub.hosts.iter().zip(sampled.host_rates(service.id, &hub.hosts));
            found.extend(hosts.enumerate().filter_map(|(place, (host, rate))| {
                let is_wanted = query.namespace.is_none_or(|it| it == host.namespace)
                    && search.as_ref().is_none_or(|text| matches(host, text));
                is_wanted.then_some((host, ListedHost { service: at, host: place, rate }))
            }));
        }
        let default = match query.sort {
            HostSort::Name => SortOrder::Asc,
            _ => SortOrder::Desc,
        };
        let order = query.order.unwrap_or(default);
        found.sort_unstable_by(|a, b| compare(query.sort, order, a, b));
        let hosts = found.into_iter().map(|(_, listed)| listed).collect();
        Self { sample: sampled.now, query, hosts }
    }

    /// Whether it is what `query` asks for, of this sample.
    pub(super) fn answers(&self, query: &HostQuery, sample: &Arc<WatchSample>) -> bool {
        Arc::ptr_eq(&self.sample, sample) && self.is_of(query)
    }

    /// Whether it is what `query` asks for, of whatever sample.
    pub(super) fn is_of(&self, query: &HostQuery) -> bool {
        self.query == query.whole()
    }

    /// How old its sample is.
    pub(super) fn age(&self) -> Duration {
        self.sample.at.elapsed()
    }

    /// A part of it, without hosts that have left meanwhile.
    pub(super) fn part(
        &self,
        part: PageQuery,
        services: &[WatchedService<'_>],
    ) -> ListPage<HostView> {
        let shown = &self.hosts[part.of_all(self.hosts.len())];
        let items = shown.iter().filter_map(|it| self.view(it, services)).collect();
        part.of(self.hosts.len(), items)
    }

    /// `None`: it has left meanwhile.
    fn view(&self, listed: &ListedHost, services: &[WatchedService<'_>]) -> Option<HostView> {
        let sampled = &self.sample.services[listed.service];
        let seen = &sampled.hub.as_ref()?.hosts[listed.host];
        let service = services.iter().find(|it| it.id == sampled.id)?;
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
        } = hub.host(seen)?;
        let Passed { input, output, .. } = Passed::from(&traffic);
        Some(HostView {
            service: service.name.to_owned(),
            namespace: seen.namespace.to_string(),
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
            rate: listed.rate,
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
fn compare(
    sort: HostSort,
    order: SortOrder,
    (a, of_a): &(&HostMoment, ListedHost),
    (b, of_b): &(&HostMoment, ListedHost),
) -> Ordering {
    let bytes = |host: &HostMoment| host.passed.input.bytes + host.passed.output.bytes;
    let rate = |listed: &ListedHost| listed.rate.input.bytes + listed.rate.output.bytes;
    let ordering = match sort {
        HostSort::Traffic => {
            rate(of_a).total_cmp(&rate(of_b)).then_with(|| bytes(a).cmp(&bytes(b)))
        }
        HostSort::Name => a.host.cmp(&b.host),
        HostSort::Age => a.connected.cmp(&b.connected),
        HostSort::Queue => a.queued_bytes.cmp(&b.queued_bytes),
        HostSort::Drops => a.passed.drops.cmp(&b.passed.drops),
    };
    let ordering = match order {
        SortOrder::Asc => ordering,
        SortOrder::Desc => ordering.reverse(),
    };
    ordering.then_with(|| a.host.cmp(&b.host)).then(b.id.cmp(&a.id))
}

//! Samples of all services, and the rates between two of them.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::service::{WatchedKind, WatchedService};
use crate::{
    counters::Traffic,
    hub::{Amounts, HostMoment, HubMoment, NamespaceMoment, Passed},
    report::{DatagramTraffic, KindReport},
};

/// All services at one moment.
pub(super) struct WatchSample {
    pub(super) at: Instant,
    pub(super) services: Vec<SampledService>,
}

/// A service at that moment.
pub(super) struct SampledService {
    /// Of this run of the service.
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) hub: Option<HubMoment>,
    pub(super) passed: Passed,
    /// Packets lost, by reason.
    pub(super) drops: BTreeMap<String, u64>,
}

/// A sample and the one before.
pub(super) struct Sampled {
    pub(super) before: Option<Arc<WatchSample>>,
    pub(super) now: Arc<WatchSample>,
}

/// Packets and bytes a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PacketRate {
    /// Packets a second.
    pub packets: f64,
    /// Bytes of IP packets a second.
    pub bytes: f64,
}

/// What passes, each second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TrafficRates {
    /// What comes: from hosts, or from the device.
    #[serde(rename = "in")]
    pub input: PacketRate,
    /// What is handed on.
    #[serde(rename = "out")]
    pub output: PacketRate,
}

/// The same, with what is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceRate {
    /// What passes.
    #[serde(flatten)]
    pub traffic: TrafficRates,
    /// Packets lost a second.
    pub drops: f64,
}

impl WatchSample {
    pub(super) fn of(services: &[WatchedService<'_>], at: Instant) -> Self {
        Self { at, services: services.iter().map(SampledService::of).collect() }
    }

    /// The hubs, with the number of their run and their name.
    pub(super) fn hubs(&self) -> impl Iterator<Item = (&SampledService, &HubMoment)> {
        self.services.iter().filter_map(|service| Some((service, service.hub.as_ref()?)))
    }

    /// How many hosts are connected.
    pub(super) fn hosts(&self) -> usize {
        self.hubs().map(|(_, hub)| hub.hosts.len()).sum()
    }

    /// Whether these services run, with the same hosts as now.
    pub(super) fn has_hosts_of(&self, services: &[WatchedService<'_>]) -> bool {
        let mut both = self.services.iter().zip(services);
        self.services.len() == services.len()
            && both.all(|(then, now)| {
                let hosts = match &now.kind {
                    WatchedKind::Hub(hub) => Some(hub.changes()),
                    WatchedKind::Other(_) => None,
                };
                then.id == now.id && then.hub.as_ref().map(|hub| hub.changes) == hosts
            })
    }

    fn service(&self, id: u64) -> Option<&SampledService> {
        self.services.iter().find(|service| service.id == id)
    }

    /// What has passed each second since `before`, of services that ran then too; `None`: no time has passed.
    pub(super) fn rates_since(&self, before: &Self) -> Option<ServiceRate> {
        let seconds = (self.at - before.at).as_secs_f64();
        let of = |service: &SampledService| {
            let then = before.service(service.id)?;
            Some(service_rate(&then.passed, &service.passed, seconds))
        };
        (seconds > 0.0)
            .then(|| self.services.iter().filter_map(of).fold(ServiceRate::default(), sum))
    }
}

impl Sampled {
    /// What passes now in all.
    pub(super) fn rates(&self) -> ServiceRate {
        let before = self.before.as_ref();
        before.and_then(|before| self.now.rates_since(before)).unwrap_or_default()
    }

    /// What each of `hosts`, which are in the order of their numbers, sends and gets now; nothing, for one that has just connected.
    pub(super) fn host_rates<'a>(
        &'a self,
        service: u64,
        hosts: &'a [HostMoment],
    ) -> impl Iterator<Item = TrafficRates> {
        let before = self.before(service);
        let (earlier, seconds) = before.map_or((&[][..], 1.0), |(hub, it)| (&hub.hosts[..], it));
        let mut earlier = earlier.iter().peekable();
        hosts.iter().map(move |host| {
            while earlier.next_if(|it| it.id < host.id).is_some() {}
            let then = earlier.next_if(|it| it.id == host.id);
            let rate = then.map(|then| service_rate(&then.passed, &host.passed, seconds).traffic);
            rate.unwrap_or_default()
        })
    }

    /// What passes now in a namespace.
    pub(super) fn namespace_rates(
        &self,
        service: u64,
        namespace: &NamespaceMoment,
    ) -> TrafficRates {
        let then = self.before(service).and_then(|(hub, seconds)| {
            let then = hub.namespaces.iter().find(|it| it.id == namespace.id)?;
            Some((Passed::from(&then.traffic), seconds))
        });
        then.map_or_else(TrafficRates::default, |(then, seconds)| {
            service_rate(&then, &Passed::from(&namespace.traffic), seconds).traffic
        })
    }

    fn before(&self, service: u64) -> Option<(&HubMoment, f64)> {
        let before = self.before.as_ref()?;
        let seconds = (self.now.at - before.at).as_secs_f64();
        before.service(service)?.hub.as_ref().filter(|_| seconds > 0.0).map(|hub| (hub, seconds))
    }
}

impl SampledService {
    fn of(service: &WatchedService<'_>) -> Self {
        let (id, name) = (service.id, service.name.to_owned());
        let (hub, passed, drops) = match &service.kind {
            WatchedKind::Hub(hub) => {
                let moment = hub.moment();
                let (passed, drops) = (Passed::from(&moment.traffic), by_reason(&moment.traffic));
                (Some(moment), passed, drops)
            }
            WatchedKind::Other(report) => {
                let (passed, drops) = passed(report);
                (None, passed, drops)
            }
        };
        Self { id, name, hub, passed, drops }
    }
}

/// What came to a service, what it handed on, and what was lost, by reason.
fn passed(report: &KindReport) -> (Passed, BTreeMap<String, u64>) {
    match report {
        KindReport::Hub(hub) => {
            let traffic = hub.traffic();
            (Passed::from(&traffic), by_reason(&traffic))
        }
        KindReport::Host(device) => {
            let (sent, received) = (Passed::from(&device.sent), Passed::from(&device.received));
            let mut all = device.sent.clone();
            all += &device.received;
            let (input, output) = (sent.input, received.output);
            (Passed { input, output, drops: all.all_dropped() }, by_reason(&all))
        }
        KindReport::UdpServer(server) => both(&server.received, &server.sent),
        KindReport::TapServer(server) => both(&server.received, &server.sent),
        KindReport::UdpClient(client) => ends(&client.sent, &client.received),
        KindReport::TapClient(client) => ends(&client.sent, &client.received),
        KindReport::Relay(relay) => ends(&relay.received, &relay.sent),
    }
}

/// All that came and all that was handed on, in both directions.
fn both(one: &DatagramTraffic, other: &DatagramTraffic) -> (Passed, BTreeMap<String, u64>) {
    let (input, output) = (came(one), handed_on(one));
    let add = |a: Amounts, b: Amounts| Amounts {
        packets: a.packets + b.packets,
        bytes: a.bytes + b.bytes,
    };
    let drops = lost(one, other);
    let passed = Passed {
        input: add(input, came(other)),
        output: add(output, handed_on(other)),
        drops: drops.values().sum(),
    };
    (passed, drops)
}

/// What came by the one and was handed on by the other.
fn ends(input: &DatagramTraffic, output: &DatagramTraffic) -> (Passed, BTreeMap<String, u64>) {
    let drops = lost(input, output);
    let passed =
        Passed { input: came(input), output: handed_on(output), drops: drops.values().sum() };
    (passed, drops)
}

fn came(traffic: &DatagramTraffic) -> Amounts {
    Amounts { packets: traffic.packets_in, bytes: traffic.bytes_in }
}

fn handed_on(traffic: &DatagramTraffic) -> Amounts {
    Amounts { packets: traffic.packets_out, bytes: traffic.bytes_out }
}

fn lost(one: &DatagramTraffic, other: &DatagramTraffic) -> BTreeMap<String, u64> {
    let mut drops = one.drops.clone();
    for (reason, count) in &other.drops {
        *drops.entry(reason.clone()).or_default() += count;
    }
    drops
}

pub(super) fn by_reason(traffic: &Traffic) -> BTreeMap<String, u64> {
    traffic.dropped_by_reason().map(|(reason, count)| (reason.to_owned(), count)).collect()
}

fn service_rate(then: &Passed, now: &Passed, seconds: f64) -> ServiceRate {
    ServiceRate {
        traffic: TrafficRates {
            input: packet_rate(then.input, now.input, seconds),
            output: packet_rate(then.output, now.output, seconds),
        },
        drops: per_second(then.drops, now.drops, seconds),
    }
}

pub(super) fn packet_rate(then: Amounts, now: Amounts, seconds: f64) -> PacketRate {
    PacketRate {
        packets: per_second(then.packets, now.packets, seconds),
        bytes: per_second(then.bytes, now.bytes, seconds),
    }
}

/// To a tenth.
fn per_second(then: u64, now: u64, seconds: f64) -> f64 {
    (now.saturating_sub(then) as f64 / seconds * 10.0).round() / 10.0
}

fn sum(one: ServiceRate, other: ServiceRate) -> ServiceRate {
    let add = |a: PacketRate, b: PacketRate| PacketRate {
        packets: a.packets + b.packets,
        bytes: a.bytes + b.bytes,
    };
    ServiceRate {
        traffic: TrafficRates {
            input: add(one.traffic.input, other.traffic.input),
            output: add(one.traffic.output, other.traffic.output),
        },
        drops: one.drops + other.drops,
    }
}

#[cfg(test)]
mod tests;

//! Rates against those that are looked up one by one, from samples in which everything comes, goes and counts on.

use std::time::Duration;

use proptest::prelude::*;
use rtun_core::{HostName, NamespaceId};

use super::*;

const SERVICES: u64 = 3;

/// What a host has sent and got, with its number.
type HostCounts = (u64, [u64; 5]);

/// What a service had counted; `None`: it does not run. A hub has hosts.
type ServiceCounts = Option<([u64; 5], Option<Vec<HostCounts>>)>;

fn counts() -> impl Strategy<Value = [u64; 5]> {
    let few_or_many = prop_oneof![0..50_u64, 0..1_000_000_000_000_u64, Just(u64::from(u32::MAX))];
    prop::array::uniform5(few_or_many)
}

fn services() -> impl Strategy<Value = [ServiceCounts; SERVICES as usize]> {
    let hosts = prop::collection::btree_map(0..12_u64, counts(), 0..8);
    let hosts = hosts.prop_map(|hosts| hosts.into_iter().collect());
    let service = (counts(), prop::option::weighted(0.7, hosts));
    prop::array::uniform3(prop::option::weighted(0.8, service))
}

fn passed([packets_in, bytes_in, packets_out, bytes_out, drops]: [u64; 5]) -> Passed {
    Passed {
        input: Amounts { packets: packets_in, bytes: bytes_in },
        output: Amounts { packets: packets_out, bytes: bytes_out },
        drops,
    }
}

fn sample(at: Instant, services: &[ServiceCounts]) -> WatchSample {
    let host = |&(id, counts): &HostCounts| HostMoment {
        id,
        namespace: NamespaceId::from_bytes([7; 16]),
        host: HostName::new(&format!("host-{id}")).expect("a name"),
        peer: "192.0.2.1:1".parse().expect("an address"),
        connected: Duration::ZERO,
        passed: passed(counts),
        queued_bytes: 0,
    };
    let hub = |hosts: &Vec<HostCounts>| HubMoment {
        hosts: hosts.iter().map(host).collect(),
        namespaces: Vec::new(),
        changes: 0,
        traffic: Traffic::default(),
    };
    let service = |(id, counts): (u64, &ServiceCounts)| {
        let (counts, hosts) = counts.as_ref()?;
        Some(SampledService {
            id,
            name: format!("service-{id}"),
            hub: hosts.as_ref().map(hub),
            passed: passed(*counts),
            drops: BTreeMap::new(),
        })
    };
    WatchSample { at, services: (0..).zip(services).filter_map(service).collect() }
}

/// A rate to a tenth, in the order of [`passed`].
fn slow(then: [u64; 5], now: [u64; 5], milliseconds: u64) -> [f64; 5] {
    std::array::from_fn(|i| {
        let grown = now[i].max(then[i]) - then[i];
        (grown as f64 * 10_000.0 / milliseconds as f64).round() / 10.0
    })
}

fn in_order(rates: TrafficRates, drops: f64) -> [f64; 5] {
    let TrafficRates { input, output } = rates;
    [input.packets, input.bytes, output.packets, output.bytes, drops]
}

/// A tenth more or less is the last digit's.
fn near(one: [f64; 5], other: [f64; 5]) -> bool {
    one.into_iter().zip(other).all(|(a, b)| (a - b).abs() <= 0.1001 + b * 1e-12)
}

proptest! {
    #[test]
    fn rates_are_what_was_counted_between_two_samples(
        (then, now, milliseconds) in (services(), services(), prop_oneof![Just(0), 1..20_000_u64]),
    ) {
        let start = Instant::now();
        let before = Arc::new(sample(start, &then));
        let after = Arc::new(sample(start + Duration::from_millis(milliseconds), &now));
        let sampled = Sampled { before: Some(before), now: after };

        let mut sum = [0.0; 5];
        for (then, now) in then.iter().zip(&now) {
            if let (Some((then, _)), Some((now, _)), 1..) = (then, now, milliseconds) {
                let rates = slow(*then, *now, milliseconds);
                sum = std::array::from_fn(|i| sum[i] + rates[i]);
            }
        }
        let all = sampled.rates();
        let found = in_order(all.traffic, all.drops);
        prop_assert!(near(found, sum), "{:?} instead of {:?}", found, sum);

        for (service, hub) in sampled.now.hubs() {
            let before = then[service.id as usize].as_ref().and_then(|(_, hosts)| hosts.as_ref());
            let shown: Vec<_> = sampled.host_rates(service.id, &hub.hosts).collect();
            prop_assert_eq!(shown.len(), hub.hosts.len());
            let of_now = now[service.id as usize].iter().flat_map(|(_, hosts)| hosts).flatten();
            for (rates, (id, counts)) in shown.into_iter().zip(of_now) {
                let then = before.and_then(|hosts| hosts.iter().find(|(then, _)| then == id));
                let mut expected = match then {
                    Some((_, then)) if milliseconds > 0 => slow(*then, *counts, milliseconds),
                    _ => [0.0; 5],
                };
                expected[4] = 0.0;
                let found = in_order(rates, 0.0);
                prop_assert!(near(found, expected), "{:?} instead of {:?}", found, expected);
            }
        }
    }
}

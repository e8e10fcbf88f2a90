//! What passed from host to host and by which route: counts that forwarders add to once for each read.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;
use rtun_core::HostName;

/// Destinations counted by name for each sender; all others are counted together.
const DESTINATIONS: usize = 64;

/// Packets that passed one way.
#[derive(Debug, Default)]
pub(super) struct UseMeter {
    packets: AtomicU64,
    bytes: AtomicU64,
    /// One more than the seconds from the meter's epoch to the last packet; 0: there was none.
    last: AtomicU32,
}

/// What a meter has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// How long ago it counted last, to the second; `None`: never.
    pub(crate) ago: Option<Duration>,
}

impl UseMeter {
    pub(super) fn add(&self, packets: u64, bytes: u64, since_epoch: Duration) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let last = u32::try_from(since_epoch.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        self.last.store(last, Ordering::Relaxed);
    }

    pub(super) fn read(&self, since_epoch: Duration) -> Used {
        let last = self.last.load(Ordering::Relaxed).checked_sub(1);
        Used {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            ago: last.map(|last| since_epoch.saturating_sub(Duration::from_secs(last.into()))),
        }
    }
}

/// The meters of one sender: of the hosts that it sends to. At most 64 have one of their own, in at most 8 KiB.
#[derive(Default)]
pub(super) struct DestinationMeters {
    /// Grows when meters are taken out: then forwarders ask again.
    epoch: AtomicU64,
    table: Mutex<DestinationTable>,
}

#[derive(Default)]
struct DestinationTable {
    meters: HashMap<HostName, MeteredHost>,
    /// Of all hosts without a meter of their own.
    others: MeteredHost,
}

#[derive(Default)]
struct MeteredHost {
    meter: Arc<UseMeter>,
    /// What it had counted when room was made last, in bytes.
    bytes_then: u64,
}

impl DestinationMeters {
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// The meter of packets to `host`.
    pub(super) fn of(&self, host: &HostName) -> Arc<UseMeter> {
        let mut table = self.table();
        if let Some(metered) = table.meters.get(host) {
            return Arc::clone(&metered.meter);
        }
        if table.meters.len() >= DESTINATIONS {
            return Arc::clone(&table.others.meter);
        }
        Arc::clone(&table.meters.entry(host.clone()).or_default().meter)
    }

    /// What was sent to each host, and to all others together.
    pub(super) fn read(&self, since_epoch: Duration) -> (Vec<(HostName, Used)>, Used) {
        let table = self.table();
        let meters = table.meters.iter();
        let hosts = meters.map(|(host, it)| (host.clone(), it.meter.read(since_epoch))).collect();
        (hosts, table.others.meter.read(since_epoch))
    }

    /// To be called at times: if there are more destinations than meters, those with the least traffic since the last call give
    /// half of the meters back. Their counts go to the others'; what passes at that moment may be in neither.
    pub(super) fn make_room(&self, since_epoch: Duration) {
        let mut table = self.table();
        let passed = |host: &mut MeteredHost| {
            let bytes = host.meter.bytes.load(Ordering::Relaxed);
            bytes - std::mem::replace(&mut host.bytes_then, bytes)
        };
        let wanted = passed(&mut table.others) > 0;
        let mut by_traffic: Vec<_> =
            table.meters.iter_mut().map(|(host, it)| (passed(it), host.clone())).collect();
        if !wanted || by_traffic.len() < DESTINATIONS {
            return;
        }
        by_traffic.sort_unstable();
        for (_, host) in by_traffic.into_iter().take(DESTINATIONS / 2) {
            if let Some(gone) = table.meters.remove(&host) {
                let Used { packets, bytes, .. } = gone.meter.read(since_epoch);
                let others = &mut table.others;
                others.meter.packets.fetch_add(packets, Ordering::Relaxed);
                others.meter.bytes.fetch_add(bytes, Ordering::Relaxed);
                others.bytes_then += bytes;
            }
        }
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// The table of a poisoned lock is whole: no critical section panics in the middle of a change.
    fn table(&self) -> MutexGuard<'_, DestinationTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The meters of a namespace's routes, from the first packet of each on. They stay while routing snapshots come and go.
#[derive(Default)]
pub(super) struct RouteMeters {
    meters: papaya::HashMap<MeteredRoute, Arc<UseMeter>>,
}

/// A prefix, and the host that packets to it went to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MeteredRoute {
    pub(super) prefix: IpNet,
    pub(super) host: HostName,
}

impl RouteMeters {
    pub(super) fn of(&self, route: MeteredRoute) -> Arc<UseMeter> {
        let meters = self.meters.pin();
        Arc::clone(meters.get_or_insert_with(route, Arc::default))
    }

    pub(super) fn read(&self, route: &MeteredRoute, since_epoch: Duration) -> Used {
        let meter = self.meters.pin().get(route).map(|meter| meter.read(since_epoch));
        meter.unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.meters.is_empty()
    }

    /// Forgets those that are not among these routes.
    pub(super) fn retain<'a>(&self, routes: impl Iterator<Item = (IpNet, &'a HostName)>) {
        let meters = self.meters.pin();
        let mut gone: HashSet<MeteredRoute> = meters.keys().cloned().collect();
        for (prefix, host) in routes {
            if gone.is_empty() {
                break;
            }
            gone.remove(&MeteredRoute { prefix: prefix.trunc(), host: host.clone() });
        }
        for route in gone {
            meters.remove(&route);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: usize) -> HostName {
        HostName::new(&format!("host-{n:03}")).unwrap()
    }

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn a_meter_knows_when_it_counted_last() {
        let meter = UseMeter::default();
        assert_eq!(meter.read(NOW), Used::default());
        meter.add(2, 200, Duration::from_secs(0));
        meter.add(1, 50, Duration::from_millis(98_500));
        let ago = Some(Duration::from_secs(2));
        assert_eq!(meter.read(NOW), Used { packets: 3, bytes: 250, ago });
    }

    #[test]
    fn those_with_the_most_traffic_have_a_meter_of_their_own() {
        let meters = DestinationMeters::default();
        let send = |n: usize, bytes| meters.of(&host(n)).add(1, bytes, NOW);
        for n in 0..DESTINATIONS {
            send(n, n as u64 + 1);
        }
        let epoch = meters.epoch();
        meters.make_room(NOW);
        assert_eq!(meters.epoch(), epoch, "all have one");
        for n in 0..2 * DESTINATIONS {
            send(n, if n >= DESTINATIONS { 1000 } else { n as u64 + 1 });
        }
        meters.make_room(NOW);
        assert_ne!(meters.epoch(), epoch);
        let (own, others) = meters.read(NOW);
        assert_eq!(own.len(), DESTINATIONS / 2);
        assert!(own.iter().all(|(name, _)| *name >= host(DESTINATIONS / 2)), "{own:?}");
        let packets: u64 = own.iter().map(|(_, used)| used.packets).sum();
        assert_eq!(packets + others.packets, 3 * DESTINATIONS as u64, "none is lost");
        send(100, 1);
        assert!(meters.read(NOW).0.iter().any(|(name, _)| *name == host(100)));
    }

    #[test]
    fn routes_that_are_gone_are_forgotten() {
        let meters = RouteMeters::default();
        let route =
            |prefix: &str, n| MeteredRoute { prefix: prefix.parse().unwrap(), host: host(n) };
        for route in [route("10.1.0.0/16", 1), route("10.2.0.0/16", 1), route("10.2.0.0/16", 2)] {
            meters.of(route).add(1, 100, NOW);
        }
        let kept = ["10.1.0.7/16".parse().unwrap(), "10.2.0.0/16".parse().unwrap()];
        meters.retain([(kept[0], &host(1)), (kept[1], &host(2))].into_iter());
        let packets = |route| meters.read(&route, NOW).packets;
        assert_eq!(packets(route("10.1.0.0/16", 1)), 1);
        assert_eq!(packets(route("10.2.0.0/16", 1)), 0);
        assert_eq!(packets(route("10.2.0.0/16", 2)), 1);
    }
}

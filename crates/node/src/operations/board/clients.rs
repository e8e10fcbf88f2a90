//! What each client of a hub has sent and got, by its address, as GOST counts it; of those past a number together.
//!
//! Only admitted hosts are clients with a label of their own. What a connection counted after the last sample before its end is
//! in the count of the others, as are connections that were refused.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use rtun_core::{HostName, NamespaceId};

use super::ledger::HubId;
use crate::report::{HostReport, HubReport};

/// Clients of a hub with a label of their own. One more takes the place of that which has got and sent least among those
/// that are gone, or counts with the others where all are connected.
pub(crate) const MAX_CLIENTS: usize = 1_000;

/// The clients of all hubs that run.
#[derive(Debug, Default)]
pub(crate) struct ClientLedger(BTreeMap<HubId, HubClients>);

/// What a client has done at a hub; none of it decreases but `in_flight`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientCounts {
    pub(crate) requests: u64,
    /// Connections that it has now.
    pub(crate) in_flight: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// By client; `None`: all others.
pub(crate) type ClientTotals = BTreeMap<Option<IpAddr>, ClientCounts>;

#[derive(Debug, Default)]
struct HubClients {
    totals: ClientTotals,
    /// Connections of clients with a label at the last sample.
    seen: HashMap<ConnectionKey, ClientCounts>,
    /// All of the hub at the last sample.
    before: ClientCounts,
}

/// A connection: one may carry several hosts.
type ConnectionKey = (SocketAddr, NamespaceId, HostName);

impl ClientLedger {
    /// Adds what these hubs, which are all that run, have counted since the last sample; returns the totals of each.
    pub(crate) fn sample<'a>(
        &mut self,
        hubs: impl IntoIterator<Item = (HubId, &'a HubReport)>,
    ) -> BTreeMap<HubId, ClientTotals> {
        let mut before = std::mem::take(&mut self.0);
        let mut totals = BTreeMap::new();
        for (id, hub) in hubs {
            let mut clients = before.remove(&id).unwrap_or_default();
            clients.add(hub);
            totals.insert(id, clients.totals.clone());
            self.0.insert(id, clients);
        }
        totals
    }
}

impl HubClients {
    fn add(&mut self, hub: &HubReport) {
        let traffic = hub.traffic();
        let all = ClientCounts {
            requests: hub.admitted + hub.all_refused(),
            in_flight: (hub.unadmitted + hub.hosts().count()) as u64,
            bytes_in: traffic.bytes_in,
            bytes_out: traffic.bytes_out,
        };
        let mut now: HashMap<ConnectionKey, ClientCounts> = HashMap::new();
        for namespace in &hub.namespaces {
            for host in &namespace.hosts {
                let key = (host.peer, namespace.id, host.host.clone());
                let connection = now.entry(key).or_default();
                connection.add(&counts(host));
                connection.in_flight += 1;
            }
        }
        self.totals.values_mut().for_each(|client| client.in_flight = 0);
        self.make_room(&now);
        let mut labelled = ClientCounts::default();
        let mut seen = HashMap::new();
        for (key, counts) in now {
            let Some(client) = self.totals.get_mut(&Some(key.0.ip())) else { continue };
            let then = self.seen.get(&key).copied().unwrap_or_default();
            // It began anew if there is less.
            let then = if counts.bytes_in < then.bytes_in { ClientCounts::default() } else { then };
            let more = counts.since(&then);
            client.add(&more);
            labelled.add(&more);
            client.in_flight += counts.in_flight;
            labelled.in_flight += counts.in_flight;
            seen.insert(key, counts);
        }
        self.seen = seen;
        let others = self.totals.entry(None).or_default();
        others.add(&all.since(&self.before).since(&labelled));
        others.in_flight = all.in_flight.saturating_sub(labelled.in_flight);
        self.before = all;
    }

    /// Gives new clients a label, as far as there is room.
    fn make_room(&mut self, now: &HashMap<ConnectionKey, ClientCounts>) {
        let connected: std::collections::BTreeSet<IpAddr> =
            now.keys().map(|(peer, ..)| peer.ip()).collect();
        let mut new = connected.iter().filter(|ip| !self.totals.contains_key(&Some(**ip)));
        let new: Vec<IpAddr> = new.by_ref().take(MAX_CLIENTS).copied().collect();
        let known = self.totals.keys().flatten().count();
        let excess = (known + new.len()).saturating_sub(MAX_CLIENTS);
        let mut gone: Vec<(u64, IpAddr)> = self
            .totals
            .iter()
            .filter_map(|(ip, counts)| Some((counts.bytes_in + counts.bytes_out, (*ip)?)))
            .filter(|(_, ip)| !connected.contains(ip))
            .collect();
        gone.sort_unstable();
        for (_, ip) in gone.into_iter().take(excess) {
            self.totals.remove(&Some(ip));
        }
        let room = MAX_CLIENTS - self.totals.keys().flatten().count().min(MAX_CLIENTS);
        for ip in new.into_iter().take(room) {
            self.totals.insert(Some(ip), ClientCounts::default());
        }
    }
}

impl ClientCounts {
    /// All but what is in flight.
    fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.bytes_in += more.bytes_in;
        self.bytes_out += more.bytes_out;
    }

    /// The difference to `earlier`, with nothing in flight; zero where that was more.
    fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            in_flight: 0,
            bytes_in: self.bytes_in.saturating_sub(earlier.bytes_in),
            bytes_out: self.bytes_out.saturating_sub(earlier.bytes_out),
        }
    }
}

fn counts(host: &HostReport) -> ClientCounts {
    ClientCounts {
        requests: 1,
        in_flight: 0,
        bytes_in: host.traffic.bytes_in,
        bytes_out: host.traffic.bytes_out,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        counters::{Counters, Traffic},
        report::{NamespaceReport, Queued, Transport},
    };

    fn traffic(bytes: u64) -> Traffic {
        let counters = Counters::default();
        counters.count_in(1, bytes);
        counters.count_out(1, 2 * bytes);
        counters.read()
    }

    /// A host that has sent these bytes from a port of this client.
    fn host(client: u32, port: u16, bytes: u64) -> HostReport {
        HostReport {
            host: HostName::new("host").unwrap(),
            peer: (Ipv4Addr::from(0x0a00_0000 + client), port).into(),
            transport: Transport::Tcp,
            connected: Duration::ZERO,
            carries: true,
            software: None,
            mtu: None,
            gso_frames: false,
            datagrams: false,
            round_trip: None,
            traffic: traffic(bytes),
            queued: Queued { packets: 0, bytes: 0 },
            limits: Vec::new(),
        }
    }

    fn hub(hosts: Vec<HostReport>, gone: u64, admitted: u64) -> HubReport {
        let mut sum = Traffic::default();
        hosts.iter().for_each(|host| sum += &host.traffic);
        let namespace = NamespaceReport {
            id: NamespaceId::DEFAULT,
            configured: true,
            routes: 0,
            shared: Vec::new(),
            hosts,
            traffic: sum,
        };
        HubReport {
            listen: Vec::new(),
            namespaces: vec![namespace],
            gone: traffic(gone),
            waiting_for_plugins: 0,
            plugins: Vec::new(),
            behind: None,
            admitted,
            refused: BTreeMap::new(),
            ended: BTreeMap::new(),
            unadmitted: 0,
            queue_memory: 0,
            queue_budget: 0,
            connections: 0,
            quotas: Vec::new(),
        }
    }

    fn client(n: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from(0x0a00_0000 + n).into())
    }

    #[test]
    fn each_client_has_its_counts_and_keeps_them_when_it_has_gone() {
        let mut ledger = ClientLedger::default();
        let two = hub(vec![host(1, 1, 100), host(1, 2, 10), host(2, 1, 5)], 0, 4);
        let first = ledger.sample([(1, &two)]).remove(&1).unwrap();
        let of = |requests, in_flight, bytes_in| ClientCounts {
            requests,
            in_flight,
            bytes_in,
            bytes_out: 2 * bytes_in,
        };
        assert_eq!(first[&client(1)], of(2, 2, 110));
        assert_eq!(first[&client(2)], of(1, 1, 5));
        assert_eq!(first[&None], of(1, 0, 0), "one came and went before");
        // Port 2 has sent 7 bytes more before its end; client 2 has connected again.
        let later = hub(vec![host(1, 1, 130), host(2, 9, 1)], 17 + 5, 5);
        let second = ledger.sample([(1, &later)]).remove(&1).unwrap();
        assert_eq!(second[&client(1)], of(2, 1, 140));
        assert_eq!(second[&client(2)], of(2, 1, 6));
        assert_eq!(second[&None], of(1, 0, 7));
        assert!(ledger.sample([]).is_empty());
    }

    #[test]
    fn no_more_clients_have_labels_and_those_that_are_gone_make_room() {
        let mut ledger = ClientLedger::default();
        let crowd = |from: u32, count: u32| {
            (from..from + count).map(|n| host(n, 1, u64::from(n))).collect::<Vec<_>>()
        };
        let full = hub(crowd(0, MAX_CLIENTS as u32 + 500), 0, 1_500);
        let totals = ledger.sample([(1, &full)]).remove(&1).unwrap();
        assert_eq!(totals.len(), MAX_CLIENTS + 1);
        assert_eq!((totals[&None].requests, totals[&None].in_flight), (500, 500));
        // All but client 999 have gone, and a new one comes.
        let few = hub(vec![host(999, 1, 999), host(5_000, 1, 1)], 0, 1_501);
        let totals = ledger.sample([(1, &few)]).remove(&1).unwrap();
        assert_eq!(totals.len(), MAX_CLIENTS + 1);
        assert!(totals.contains_key(&client(999)) && totals.contains_key(&client(5_000)));
        assert!(!totals.contains_key(&client(0)), "the least has gone");
    }

    proptest! {
        /// Hosts come, count and go: what clients have together is what the hub has, and no count shrinks.
        #[test]
        fn counts_add_up_and_never_shrink(
            steps in prop::collection::vec(
                prop::collection::vec((any::<bool>(), 0u64..5), 6),
                1..20,
            ),
        ) {
            let mut ledger = ClientLedger::default();
            let (mut counts, mut gone, mut admitted) = ([None::<u64>; 6], 0, 0);
            let mut before = ClientTotals::new();
            for step in steps {
                let mut hosts = Vec::new();
                for (n, (exists, more)) in step.into_iter().enumerate() {
                    if exists {
                        admitted += u64::from(counts[n].is_none());
                        let count = counts[n].unwrap_or(0) + more;
                        counts[n] = Some(count);
                        hosts.push(host(n as u32 / 2, n as u16, count));
                    } else {
                        gone += counts[n].take().unwrap_or(0);
                    }
                }
                let now = hub(hosts, gone, admitted);
                let totals = ledger.sample([(7, &now)]).remove(&7).unwrap();
                for (client, counts) in &totals {
                    let then = before.get(client).copied().unwrap_or_default();
                    prop_assert!(then.bytes_in <= counts.bytes_in && then.requests <= counts.requests);
                }
                let sum = |of: fn(&ClientCounts) -> u64| totals.values().map(of).sum::<u64>();
                prop_assert_eq!(sum(|it| it.bytes_in), now.traffic().bytes_in);
                prop_assert_eq!(sum(|it| it.bytes_out), now.traffic().bytes_out);
                prop_assert_eq!(sum(|it| it.requests), admitted);
                prop_assert_eq!(sum(|it| it.in_flight), now.hosts().count() as u64);
                before = totals;
            }
        }
    }
}

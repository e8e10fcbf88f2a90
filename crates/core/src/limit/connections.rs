//! How many connections there may be at once: of all services that name a limiter, and of each address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::ScopedLimits;

/// Counts the connections of all services that name it; so memory is bounded by the connections there are.
///
/// The most specific row for an address replaces `$$`, and `$` counts besides. A limit of 0 is none.
#[derive(Debug, Default)]
pub struct ConnectionLimiter(Mutex<LimitedConnections>);

#[derive(Debug, Default)]
struct LimitedConnections {
    limits: ScopedLimits<u32>,
    counts: ConnectionCounts,
}

/// The connections of one service, which count at the limiter that it names, if any. A connection counts until its guard is
/// dropped.
#[derive(Debug, Default)]
pub struct CountedConnections(Mutex<ServiceConnections>);

#[derive(Debug, Default)]
struct ServiceConnections {
    limiter: Option<Arc<ConnectionLimiter>>,
    counts: ConnectionCounts,
}

#[derive(Debug, Default)]
struct ConnectionCounts {
    total: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// One connection that counts.
#[derive(Debug)]
pub struct ConnectionGuard {
    connections: Arc<CountedConnections>,
    addr: IpAddr,
}

/// Why there may not be one more connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionsExceeded {
    /// The limit `$`.
    #[error("there are the {0} connections that the climiter allows")]
    Service(u32),
    /// The limit of the address.
    #[error("{addr} has the {limit} connections that the climiter allows")]
    Address {
        /// Of the peer.
        addr: IpAddr,
        /// Connections at once.
        limit: u32,
    },
}

impl ConnectionLimiter {
    /// No connection yet.
    pub fn new(limits: ScopedLimits<u32>) -> Self {
        Self(Mutex::new(LimitedConnections { limits, ..Default::default() }))
    }

    /// Changes the limits. Connections that there are stay, and count.
    pub fn set_limits(&self, limits: ScopedLimits<u32>) {
        self.limited().limits = limits;
    }

    /// Connections that count now, of all services.
    pub fn connections(&self) -> u32 {
        self.limited().counts.total
    }

    fn admit(&self, addr: IpAddr) -> Result<(), ConnectionsExceeded> {
        let LimitedConnections { limits, counts } = &mut *self.limited();
        let used = counts.by_address.get(&addr).copied().unwrap_or(0);
        let of_address = limits.network(addr).or(limits.each());
        if let Some(limit) = of_address.filter(|limit| (1..=used).contains(limit)) {
            return Err(ConnectionsExceeded::Address { addr, limit });
        }
        if let Some(limit) = limits.service().filter(|limit| (1..=counts.total).contains(limit)) {
            return Err(ConnectionsExceeded::Service(limit));
        }
        counts.add(addr, 1);
        Ok(())
    }

    /// A poisoned lock still guards whole values: no critical section can panic between its changes.
    fn limited(&self) -> MutexGuard<'_, LimitedConnections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CountedConnections {
    /// From now on these count there, those that there are too, whatever its limits are.
    pub fn count_at(&self, limiter: Option<Arc<ConnectionLimiter>>) {
        let ServiceConnections { limiter: before, counts } = &mut *self.service();
        if before.as_ref().map(Arc::as_ptr) == limiter.as_ref().map(Arc::as_ptr) {
            return;
        }
        for (addr, connections) in &counts.by_address {
            if let Some(before) = before {
                before.limited().counts.remove(*addr, *connections);
            }
            if let Some(limiter) = &limiter {
                limiter.limited().counts.add(*addr, *connections);
            }
        }
        *before = limiter;
    }

    /// Counts one more connection from `addr`, if there may be one.
    ///
    /// # Errors
    ///
    /// Which limit is reached.
    pub fn admit(self: &Arc<Self>, addr: IpAddr) -> Result<ConnectionGuard, ConnectionsExceeded> {
        let addr = addr.to_canonical();
        let ServiceConnections { limiter, counts } = &mut *self.service();
        if let Some(limiter) = limiter {
            limiter.admit(addr)?;
        }
        counts.add(addr, 1);
        Ok(ConnectionGuard { connections: Arc::clone(self), addr })
    }

    /// Connections of the service that count now.
    pub fn connections(&self) -> u32 {
        self.service().counts.total
    }

    /// Locked before the limiter, everywhere. As for a poisoned lock, see there.
    fn service(&self) -> MutexGuard<'_, ServiceConnections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionCounts {
    fn add(&mut self, addr: IpAddr, connections: u32) {
        self.total += connections;
        *self.by_address.entry(addr).or_default() += connections;
    }

    fn remove(&mut self, addr: IpAddr, connections: u32) {
        self.total -= connections;
        if let Some(used) = self.by_address.get_mut(&addr) {
            *used -= connections;
            if *used == 0 {
                self.by_address.remove(&addr);
            }
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let ServiceConnections { limiter, counts } = &mut *self.connections.service();
        counts.remove(self.addr, 1);
        if let Some(limiter) = limiter {
            limiter.limited().counts.remove(self.addr, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limit::{LimitRow, LimitScope};

    fn limits(service: u32, each: u32, network: u32) -> ScopedLimits<u32> {
        let row = |scope, limit| LimitRow { scope, limit };
        ScopedLimits::new([
            row(LimitScope::Service, service),
            row(LimitScope::Each, each),
            row(LimitScope::Network("10.0.0.0/30".parse().unwrap()), network),
        ])
    }

    fn addr(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn counted(limiter: &Arc<ConnectionLimiter>) -> Arc<CountedConnections> {
        let connections = Arc::<CountedConnections>::default();
        connections.count_at(Some(Arc::clone(limiter)));
        connections
    }

    #[test]
    fn a_network_row_replaces_that_for_each_address() {
        let limiter = Arc::new(ConnectionLimiter::new(limits(0, 1, 2)));
        let service = counted(&limiter);
        let first = [service.admit(addr(1)).unwrap(), service.admit(addr(1)).unwrap()];
        let error = service.admit(addr(1)).unwrap_err().to_string();
        assert_eq!(error, "10.0.0.1 has the 2 connections that the climiter allows");
        let _other = service.admit(addr(9)).unwrap();
        assert!(service.admit("::ffff:10.0.0.9".parse().unwrap()).is_err());
        drop(first);
        assert!(service.admit(addr(1)).is_ok());
        limiter.set_limits(limits(1, 0, 0));
        assert_eq!(service.admit(addr(1)).unwrap_err(), ConnectionsExceeded::Service(1));
    }

    #[test]
    fn connections_count_where_their_service_counts_now() {
        let [one, other] = [3, 1].map(|n| Arc::new(ConnectionLimiter::new(limits(n, 0, 0))));
        let (first, second) = (counted(&one), counted(&one));
        let guards = [1, 2].map(|n| first.admit(addr(n)).unwrap());
        let _third = second.admit(addr(3)).unwrap();
        assert_eq!(second.admit(addr(4)).unwrap_err(), ConnectionsExceeded::Service(3));
        first.count_at(Some(Arc::clone(&other)));
        assert_eq!((one.connections(), other.connections()), (1, 2), "more than that one allows");
        assert!(second.admit(addr(4)).is_ok());
        drop(guards);
        assert_eq!((other.connections(), first.connections()), (0, 0));
        let _last = first.admit(addr(1)).unwrap();
        first.count_at(None);
        assert_eq!((other.connections(), first.connections()), (0, 1));
    }

    proptest! {
        /// Of two services that share the limiter, and now and then change to another one or to none.
        #[test]
        fn it_counts_as_a_list_of_connections(
            start in (0u32..8, 0u32..4, 0u32..4),
            steps in proptest::collection::vec((0u8..8, 0usize..12, 0u32..6), 0..80),
        ) {
            let of = |(service, each, network)| limits(service, each, network);
            let limiter = || Arc::new(ConnectionLimiter::new(of(start)));
            let limiters = [Some(limiter()), Some(limiter()), None];
            let (mut now, mut at) = ([start; 2], [0, 0]);
            let services = [(); 2].map(|()| counted(limiters[0].as_ref().unwrap()));
            let mut open: Vec<(u8, usize, ConnectionGuard)> = Vec::new();
            for (n, which, change) in steps {
                let service = usize::from(n) % 2;
                if which < open.len() && change > 0 {
                    open.remove(which);
                } else if which == 11 {
                    let changed = usize::from(n) / 4;
                    now[changed] = (change, change / 2, change / 3);
                    limiters[changed].as_ref().unwrap().set_limits(of(now[changed]));
                } else if which == 10 {
                    at[service] = (change % 3) as usize;
                    services[service].count_at(limiters[at[service]].clone());
                } else {
                    let there = at[service];
                    let expected = now.get(there).is_none_or(|now| {
                        let limit = if n < 4 { now.2 } else { now.1 };
                        let here = || open.iter().filter(|(_, of, _)| at[*of] == there);
                        let used = here().filter(|(other, ..)| *other == n).count() as u32;
                        let free = |limit: u32, used: u32| limit == 0 || used < limit;
                        free(limit, used) && free(now.0, here().count() as u32)
                    });
                    let admitted = services[service].admit(addr(n));
                    prop_assert_eq!(admitted.is_ok(), expected);
                    open.extend(admitted.ok().map(|guard| (n, service, guard)));
                }
                for (place, limiter) in limiters.iter().flatten().enumerate() {
                    let count = open.iter().filter(|(_, of, _)| at[*of] == place).count();
                    prop_assert_eq!(limiter.connections() as usize, count);
                }
                let all: u32 = services.iter().map(|service| service.connections()).sum();
                prop_assert_eq!(all as usize, open.len());
            }
            drop(open);
            for limiter in limiters.iter().flatten() {
                prop_assert!(limiter.limited().counts.by_address.is_empty());
            }
            prop_assert!(services.iter().all(|it| it.service().counts.by_address.is_empty()));
        }
    }
}

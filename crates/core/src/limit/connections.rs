//! How many connections there may be at once: of a service, and of each address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::ScopedLimits;

/// Counts connections. A connection counts until its guard is dropped; so memory is bounded by the connections there are.
///
/// The most specific row for an address replaces `$$`, and `$` counts besides. A limit of 0 is none.
#[derive(Debug, Default)]
pub struct ConnectionLimiter(Mutex<ConnectionCounts>);

#[derive(Debug, Default)]
struct ConnectionCounts {
    limits: ScopedLimits<u32>,
    total: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// One connection that counts.
#[derive(Debug)]
pub struct ConnectionGuard {
    limiter: Arc<ConnectionLimiter>,
    addr: IpAddr,
}

/// Why there may not be one more connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionsExceeded {
    /// The limit `$`.
    #[error("the service has the {0} connections that its climiter allows")]
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
        Self(Mutex::new(ConnectionCounts { limits, ..Default::default() }))
    }

    /// Changes the limits. Connections that there are stay, and count.
    pub fn set_limits(&self, limits: ScopedLimits<u32>) {
        self.counts().limits = limits;
    }

    /// Counts one more connection from `addr`, if there may be one.
    ///
    /// # Errors
    ///
    /// Which limit is reached.
    pub fn admit(self: &Arc<Self>, addr: IpAddr) -> Result<ConnectionGuard, ConnectionsExceeded> {
        let addr = addr.to_canonical();
        let mut counts = self.counts();
        let used = counts.by_address.get(&addr).copied().unwrap_or(0);
        let of_address = counts.limits.network(addr).or(counts.limits.each());
        if let Some(limit) = of_address.filter(|limit| (1..=used).contains(limit)) {
            return Err(ConnectionsExceeded::Address { addr, limit });
        }
        let of_service = counts.limits.service();
        if let Some(limit) = of_service.filter(|limit| (1..=counts.total).contains(limit)) {
            return Err(ConnectionsExceeded::Service(limit));
        }
        counts.total += 1;
        counts.by_address.insert(addr, used + 1);
        Ok(ConnectionGuard { limiter: Arc::clone(self), addr })
    }

    /// Connections that count now.
    pub fn connections(&self) -> u32 {
        self.counts().total
    }

    /// A poisoned lock still guards whole values: no critical section can panic between its changes.
    fn counts(&self) -> MutexGuard<'_, ConnectionCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut counts = self.limiter.counts();
        counts.total -= 1;
        if let Some(used) = counts.by_address.get_mut(&self.addr) {
            *used -= 1;
            if *used == 0 {
                counts.by_address.remove(&self.addr);
            }
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

    #[test]
    fn a_network_row_replaces_that_for_each_address() {
        let limiter = Arc::new(ConnectionLimiter::new(limits(0, 1, 2)));
        let first = [limiter.admit(addr(1)).unwrap(), limiter.admit(addr(1)).unwrap()];
        let error = limiter.admit(addr(1)).unwrap_err().to_string();
        assert_eq!(error, "10.0.0.1 has the 2 connections that the climiter allows");
        let _other = limiter.admit(addr(9)).unwrap();
        assert!(limiter.admit("::ffff:10.0.0.9".parse().unwrap()).is_err());
        drop(first);
        assert!(limiter.admit(addr(1)).is_ok());
        limiter.set_limits(limits(1, 0, 0));
        assert_eq!(limiter.admit(addr(1)).unwrap_err(), ConnectionsExceeded::Service(1));
    }

    proptest! {
        #[test]
        fn it_counts_as_a_list_of_connections(
            start in (0u32..8, 0u32..4, 0u32..4),
            steps in proptest::collection::vec((0u8..8, 0usize..12, 0u32..6), 0..80),
        ) {
            let of = |(service, each, network)| limits(service, each, network);
            let (mut now, limiter) = (start, Arc::new(ConnectionLimiter::new(of(start))));
            let mut open: Vec<(u8, ConnectionGuard)> = Vec::new();
            for (n, which, change) in steps {
                if which < open.len() && change > 0 {
                    open.remove(which);
                } else if which == 11 {
                    now = (change, change / 2, change / 3);
                    limiter.set_limits(of(now));
                } else {
                    let limit = if n < 4 { now.2 } else { now.1 };
                    let used = open.iter().filter(|(other, _)| *other == n).count() as u32;
                    let free = |limit: u32, used: u32| limit == 0 || used < limit;
                    let expected = free(limit, used) && free(now.0, open.len() as u32);
                    let admitted = limiter.admit(addr(n));
                    prop_assert_eq!(admitted.is_ok(), expected);
                    open.extend(admitted.ok().map(|guard| (n, guard)));
                }
                prop_assert_eq!(limiter.connections() as usize, open.len());
            }
            drop(open);
            prop_assert!(limiter.counts().by_address.is_empty());
        }
    }
}

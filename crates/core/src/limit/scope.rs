//! What a limit is about: a whole service, each connection or address, the addresses of a network, a host, a namespace.

use std::{collections::HashMap, fmt, net::IpAddr};

use ipnet::IpNet;

use crate::{HostName, NamespaceId};

/// What a limit is about, the first word of a line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitScope {
    /// `$`: the service as a whole.
    Service,
    /// `$$`: each connection of a traffic limiter, each address of the other limiters.
    Each,
    /// An address or prefix: each address in it.
    Network(IpNet),
    /// `*@UUID`: a namespace as a whole. rtun's own, as the next.
    Namespace(NamespaceId),
    /// `host@UUID`: a host over all its connections; `host@*`: the host of this name in each namespace.
    Host(HostName, Option<NamespaceId>),
}

impl fmt::Display for LimitScope {
    /// As it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service => f.write_str("$"),
            Self::Each => f.write_str("$$"),
            Self::Network(network) => write!(f, "{network}"),
            Self::Namespace(namespace) => write!(f, "*@{namespace}"),
            Self::Host(host, Some(namespace)) => write!(f, "{host}@{namespace}"),
            Self::Host(host, None) => write!(f, "{host}@*"),
        }
    }
}

/// One line of a limiter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitRow<L> {
    /// What it limits.
    pub scope: LimitScope,
    /// How much. A limiter's value for "no limit" overrides the rows of a wider network.
    pub limit: L,
}

/// All rows of a limiter, for lookup. Of two rows for the same scope the later one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopedLimits<L> {
    service: Option<L>,
    each: Option<L>,
    networks: HashMap<IpNet, L>,
    namespaces: HashMap<NamespaceId, L>,
    hosts: HashMap<(HostName, Option<NamespaceId>), L>,
    /// The prefix lengths in use, the longest first, of IPv4 and of IPv6.
    lengths: [Vec<u8>; 2],
}

impl<L> Default for ScopedLimits<L> {
    fn default() -> Self {
        Self {
            service: None,
            each: None,
            networks: HashMap::new(),
            namespaces: HashMap::new(),
            hosts: HashMap::new(),
            lengths: Default::default(),
        }
    }
}

impl<L: Copy> ScopedLimits<L> {
    /// From the rows of all sources, in order.
    pub fn new(rows: impl IntoIterator<Item = LimitRow<L>>) -> Self {
        let mut limits = Self::default();
        for LimitRow { scope, limit } in rows {
            match scope {
                LimitScope::Service => limits.service = Some(limit),
                LimitScope::Each => limits.each = Some(limit),
                LimitScope::Network(network) => {
                    limits.networks.insert(network.trunc(), limit);
                }
                LimitScope::Namespace(namespace) => {
                    limits.namespaces.insert(namespace, limit);
                }
                LimitScope::Host(host, namespace) => {
                    limits.hosts.insert((host, namespace), limit);
                }
            }
        }
        for network in limits.networks.keys() {
            limits.lengths[family(network)].push(network.prefix_len());
        }
        for lengths in &mut limits.lengths {
            lengths.sort_unstable_by(|a, b| b.cmp(a));
            lengths.dedup();
        }
        limits
    }

    /// The limit of the service as a whole.
    pub fn service(&self) -> Option<L> {
        self.service
    }

    /// The limit of each connection or address.
    pub fn each(&self) -> Option<L> {
        self.each
    }

    /// The limit of the longest prefix that contains `addr`. IPv4 addresses in IPv6 form are taken as what they are.
    pub fn network(&self, addr: IpAddr) -> Option<L> {
        let addr = addr.to_canonical();
        let lengths = &self.lengths[family(&IpNet::from(addr))];
        lengths.iter().find_map(|length| {
            let network = IpNet::new(addr, *length).ok()?.trunc();
            self.networks.get(&network).copied()
        })
    }

    /// The limit of a namespace as a whole.
    pub fn namespace(&self, namespace: NamespaceId) -> Option<L> {
        self.namespaces.get(&namespace).copied()
    }

    /// The limit of a host: its row in this namespace, else that for its name.
    pub fn host(&self, host: &HostName, namespace: NamespaceId) -> Option<L> {
        let row = |namespace| self.hosts.get(&(host.clone(), namespace)).copied();
        row(Some(namespace)).or_else(|| row(None))
    }

    /// Whether there is no limit at all.
    pub fn is_empty(&self) -> bool {
        self.service.is_none()
            && self.each.is_none()
            && self.networks.is_empty()
            && self.namespaces.is_empty()
            && self.hosts.is_empty()
    }
}

fn family(network: &IpNet) -> usize {
    match network {
        IpNet::V4(_) => 0,
        IpNet::V6(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_addr() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0u32..4, 0u32..64)
                .prop_map(|(high, low)| IpAddr::from((high << 30 | low).to_be_bytes())),
            (0u128..4, 0u128..64)
                .prop_map(|(high, low)| IpAddr::from((high << 126 | low).to_be_bytes())),
        ]
    }

    fn some_row() -> impl Strategy<Value = LimitRow<u32>> {
        let network = (some_addr(), 0u8..=128).prop_map(|(addr, length)| {
            let length = if addr.is_ipv4() { length % 33 } else { length };
            LimitScope::Network(IpNet::new(addr, length).unwrap())
        });
        let scope =
            prop_oneof![1 => Just(LimitScope::Service), 1 => Just(LimitScope::Each), 8 => network];
        (scope, any::<u32>()).prop_map(|(scope, limit)| LimitRow { scope, limit })
    }

    proptest! {
        #[test]
        fn the_longest_prefix_counts_and_of_equal_ones_the_last(
            rows in proptest::collection::vec(some_row(), 0..20),
            addr in some_addr(),
        ) {
            let limits = ScopedLimits::new(rows.iter().cloned());
            let last = |scope| rows.iter().rev().find(|row| row.scope == scope).map(|row| row.limit);
            prop_assert_eq!(limits.service(), last(LimitScope::Service));
            prop_assert_eq!(limits.each(), last(LimitScope::Each));
            let mut best = None;
            for row in &rows {
                if let LimitScope::Network(network) = row.scope
                    && network.contains(&addr)
                    && best.is_none_or(|(length, _)| length <= network.prefix_len())
                {
                    best = Some((network.prefix_len(), row.limit));
                }
            }
            prop_assert_eq!(limits.network(addr), best.map(|(_, limit)| limit));
            prop_assert_eq!(limits.is_empty(), rows.is_empty());
        }
    }
}

//! A compiled, immutable routing table with longest prefix match.

mod trie;

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use self::trie::{Prefix, Trie};
use crate::{HostName, Route};

/// An immutable set of routes; the longest prefix that contains an address wins.
///
/// Of several routes with equal prefixes the first listed counts. Built whole and swapped whole, so that a reader
/// never sees half of a change. Made of few allocations, whatever the number of routes, so that freeing an old table
/// takes no time either.
#[derive(Default)]
pub struct RoutingTable {
    v4: Trie,
    v6: Trie,
    /// Every gateway once; the tries' values are places in it.
    gateways: Box<[HostName]>,
    len: usize,
}

impl RoutingTable {
    /// Compiles `routes`, in order of preference.
    ///
    /// # Panics
    ///
    /// When the compiled routes of one family need more than 4 GiB: not below 10^8 routes.
    pub fn new<'a>(routes: impl IntoIterator<Item = &'a Route>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let mut gateways = Gateways::default();
        for route in routes {
            let value = gateways.intern(&route.gateway);
            let (key, len) = (key(route.prefix.network()), route.prefix.prefix_len());
            let prefixes = if let IpNet::V4(_) = route.prefix { &mut v4 } else { &mut v6 };
            prefixes.push(Prefix { key, len, value });
        }
        for prefixes in [&mut v4, &mut v6] {
            prefixes.sort_by_key(|prefix| (prefix.key, prefix.len));
            prefixes.dedup_by_key(|prefix| (prefix.key, prefix.len));
        }
        Self {
            v4: Trie::new(&v4),
            v6: Trie::new(&v6),
            gateways: gateways.list.into(),
            len: v4.len() + v6.len(),
        }
    }

    /// The gateway for `addr`. Cost: one walk down a trie, for most tables two or three nodes.
    pub fn lookup(&self, addr: IpAddr) -> Option<&HostName> {
        let trie = if addr.is_ipv4() { &self.v4 } else { &self.v6 };
        trie.lookup(key(addr)).map(|value| &self.gateways[value as usize])
    }

    /// Number of distinct prefixes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// An address as a key of its family's trie: its bits come first.
fn key(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()) << 96,
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

/// Names, each once, in the order of their first appearance.
#[derive(Default)]
struct Gateways<'a> {
    list: Vec<HostName>,
    places: HashMap<&'a HostName, u32>,
}

impl<'a> Gateways<'a> {
    fn intern(&mut self, gateway: &'a HostName) -> u32 {
        *self.places.entry(gateway).or_insert_with(|| {
            self.list.push(gateway.clone());
            u32::try_from(self.list.len() - 1).expect("fewer than 2^32 names fit in memory")
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(prefix: &str, gateway: &str) -> Route {
        Route::new(prefix.parse().unwrap(), gateway.parse().unwrap())
    }

    fn lookup<'a>(table: &'a RoutingTable, addr: &str) -> Option<&'a str> {
        table.lookup(addr.parse().unwrap()).map(HostName::as_str)
    }

    #[test]
    fn longest_prefix_wins_whatever_the_order() {
        let table = RoutingTable::new(&[
            route("10.0.0.0/8", "wide"),
            route("10.1.0.0/16", "narrow"),
            route("10.1.2.3/32", "one"),
            route("::/0", "default-6"),
            route("fd00::/64", "lan-6"),
        ]);
        assert_eq!(lookup(&table, "10.1.2.3"), Some("one"));
        assert_eq!(lookup(&table, "10.1.2.4"), Some("narrow"));
        assert_eq!(lookup(&table, "10.2.0.1"), Some("wide"));
        assert_eq!(lookup(&table, "11.0.0.1"), None);
        assert_eq!(lookup(&table, "fd00::1"), Some("lan-6"));
        assert_eq!(lookup(&table, "2001:db8::1"), Some("default-6"));
        assert_eq!(table.len(), 5);
    }

    #[test]
    fn of_equal_prefixes_the_first_counts() {
        let table = RoutingTable::new(&[route("10.0.0.0/8", "a"), route("10.9.9.9/8", "b")]);
        assert_eq!(lookup(&table, "10.0.0.1"), Some("a"));
        assert_eq!(table.len(), 1);
    }

    /// The slow, obvious table: of all routes that contain the address, the longest, then the first.
    fn model(routes: &[Route], addr: IpAddr) -> Option<&HostName> {
        let mut best: Option<&Route> = None;
        for route in routes.iter().filter(|route| route.prefix.contains(&addr)) {
            if best.is_none_or(|b| route.prefix.prefix_len() > b.prefix.prefix_len()) {
                best = Some(route);
            }
        }
        best.map(|route| &route.gateway)
    }

    /// Addresses that share long prefixes, so that nesting is the rule.
    fn addr() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0u32..1 << 12, 0u32..2)
                .prop_map(|(low, high)| IpAddr::from((high << 31 | low).to_be_bytes())),
            (0u128..1 << 12, 0u128..2)
                .prop_map(|(low, high)| IpAddr::from((high << 127 | low).to_be_bytes())),
        ]
    }

    fn arbitrary_route() -> impl Strategy<Value = Route> {
        (addr(), any::<prop::sample::Index>(), 0..8u8).prop_map(|(addr, len, gateway)| {
            let max = if addr.is_ipv4() { 32 } else { 128 };
            let prefix = IpNet::new(addr, len.index(max + 1) as u8).unwrap();
            Route::new(prefix, HostName::new(&format!("h{gateway}")).unwrap())
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_linear_scan(
            routes in prop::collection::vec(arbitrary_route(), 0..60),
            addrs in prop::collection::vec(addr(), 0..60),
        ) {
            let table = RoutingTable::new(&routes);
            for addr in addrs {
                prop_assert_eq!(table.lookup(addr), model(&routes, addr));
            }
        }
    }
}

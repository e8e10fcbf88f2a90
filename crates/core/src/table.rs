//! A compiled, immutable routing table with longest prefix match.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use crate::{HostName, Route};

/// An immutable set of routes; the longest prefix that contains an address wins.
///
/// Of several routes with equal prefixes the first listed counts. Built whole and swapped whole, so that a reader
/// never sees half of a change.
#[derive(Default)]
pub struct RoutingTable {
    v4: PrefixMap<Ipv4Net, HostName>,
    v6: PrefixMap<Ipv6Net, HostName>,
}

impl RoutingTable {
    /// Compiles `routes`, in order of preference.
    pub fn new<'a>(routes: impl IntoIterator<Item = &'a Route>) -> Self {
        let mut table = Self::default();
        for route in routes {
            match route.prefix {
                IpNet::V4(prefix) => {
                    table.v4.entry(prefix).or_insert_with(|| route.gateway.clone());
                }
                IpNet::V6(prefix) => {
                    table.v6.entry(prefix).or_insert_with(|| route.gateway.clone());
                }
            }
        }
        table
    }

    /// The gateway for `addr`. Cost: one walk down a trie, whatever the number of routes.
    pub fn lookup(&self, addr: IpAddr) -> Option<&HostName> {
        match addr {
            IpAddr::V4(addr) => self.v4.get_lpm(&Ipv4Net::from(addr)).map(|(_, gateway)| gateway),
            IpAddr::V6(addr) => self.v6.get_lpm(&Ipv6Net::from(addr)).map(|(_, gateway)| gateway),
        }
    }

    /// Number of distinct prefixes.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

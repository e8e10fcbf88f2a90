//! Which hosts of a namespace can send to which others, computed from its tables and the admission rules.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{HostName, Route, SourceCheck, prefix_is_for_many};

/// The input of [`Reach::new`].
pub struct Domain<'a> {
    /// The tables, in the order in which they are asked. Equal prefixes in one table all count.
    pub tables: Vec<Vec<&'a Route>>,
    /// How strictly sources are checked.
    pub source_check: SourceCheck,
    /// Hosts that are known to be admitted, in addition to those in the tables.
    pub hosts: BTreeSet<HostName>,
    /// Whether a host of this name can be admitted.
    pub may_join: &'a dyn Fn(&HostName) -> bool,
}

/// Which host can send to which other in one namespace.
///
/// A host can send to another if there is a packet that passes the source check and that a table routes to the other. A
/// route is unused if all its addresses belong to longer prefixes or can never be routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// By name.
    hosts: BTreeMap<HostName, HostFamilies>,
    /// Gateways that can never be admitted.
    barred: BTreeSet<HostName>,
}

/// The families of the packets that a host can send and receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct HostFamilies {
    sends: Families,
    receives: Families,
}

/// IPv4 and IPv6.
type Families = [bool; 2];

/// The name of a namespace in a message.
pub type Label = String;

impl Reach {
    /// Computes the reach in the time that sorting the tables takes.
    pub fn new(domain: &Domain<'_>) -> Self {
        let Domain { tables, source_check, hosts, may_join } = domain;
        let from = owners(tables, &SOURCES);
        let mut to = owners(tables, &DESTINATIONS);
        // Packets for many follow routes of such addresses alone, so that no other route takes part.
        let for_many = tables.iter().map(|table| {
            table.iter().filter(|route| prefix_is_for_many(route.prefix)).copied().collect()
        });
        for (gateway, families) in owners(&for_many.collect::<Vec<_>>(), &[]) {
            let owned = to.entry(gateway).or_default();
            *owned = [0, 1].map(|family| owned[family] || families[family]);
        }
        let mut names: BTreeSet<&HostName> = hosts.iter().collect();
        names.extend(tables.iter().flatten().map(|route| &route.gateway));
        let anybody: Families = match source_check {
            SourceCheck::Strict => [false; 2],
            SourceCheck::Loose => [0, 1].map(|family| from.values().any(|owns| owns[family])),
            SourceCheck::Off => [true; 2],
        };
        let (mut admitted, mut barred) = (BTreeMap::new(), BTreeSet::new());
        for name in names {
            if !may_join(name) {
                barred.insert(name.clone());
                continue;
            }
            let own = from.get(name).copied().unwrap_or_default();
            let sends = [0, 1].map(|family| own[family] || anybody[family]);
            let receives = to.get(name).copied().unwrap_or_default();
            admitted.insert(name.clone(), HostFamilies { sends, receives });
        }
        Self { hosts: admitted, barred }
    }

    /// The hosts that may join, by name.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = &HostName> {
        self.hosts.keys()
    }

    /// Gateways of routes that can never be admitted, by name.
    pub fn barred(&self) -> impl ExactSizeIterator<Item = &HostName> {
        self.barred.iter()
    }

    /// Whether packets of `from` can reach `to`. A host never reaches itself.
    pub fn reaches(&self, from: &HostName, to: &HostName) -> bool {
        match (self.hosts.get(from), self.hosts.get(to)) {
            (Some(a), Some(b)) => from != to && meet(a, b),
            _ => false,
        }
    }

    /// Every pair of a host and another that it can send to.
    pub fn pairs(&self) -> impl Iterator<Item = (&HostName, &HostName)> {
        self.hosts.iter().flat_map(|(from, a)| {
            let others = self.hosts.iter().filter(move |(to, b)| *to != from && meet(a, b));
            others.map(move |(to, _)| (from, to))
        })
    }

    /// The number of pairs.
    pub fn pair_count(&self) -> u64 {
        let mut kinds: BTreeMap<(Families, Families), u64> = BTreeMap::new();
        let mut with_themselves = 0;
        for ends in self.hosts.values() {
            *kinds.entry((ends.sends, ends.receives)).or_default() += 1;
            with_themselves += u64::from(meet(ends, ends));
        }
        let mut pairs = 0;
        for ((sends, _), from) in &kinds {
            for ((_, receives), to) in &kinds {
                let met = (0..2).any(|family| sends[family] && receives[family]);
                pairs += if met { from * to } else { 0 };
            }
        }
        pairs - with_themselves
    }

    /// Hosts that can send to no other host.
    pub fn silent(&self) -> impl Iterator<Item = &HostName> {
        self.hosts().filter(|from| !self.hosts.keys().any(|to| self.reaches(from, to)))
    }
}

fn meet(from: &HostFamilies, to: &HostFamilies) -> bool {
    (0..2).any(|family| from.sends[family] && to.receives[family])
}

/// Host names that are in several namespaces, with these namespaces. Such a host could carry packets from one to the
/// other.
pub fn in_several<'a>(
    namespaces: impl IntoIterator<Item = (Label, &'a Reach)>,
) -> BTreeMap<HostName, Vec<Label>> {
    let mut labels: BTreeMap<HostName, Vec<Label>> = BTreeMap::new();
    for (label, reach) in namespaces {
        for host in reach.hosts() {
            labels.entry(host.clone()).or_default().push(label.clone());
        }
    }
    labels.retain(|_, labels| labels.len() > 1);
    labels
}

/// Prefixes that no source may be in (`rtun_proto::packet::source_is_never_valid`).
const SOURCES: [&str; 8] = [
    "0.0.0.0/32",
    "127.0.0.0/8",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "ff00::/8",
    "::ffff:0:0/96",
];

/// Prefixes that no destination may be in unless its route is for many (`rtun_proto::packet::destination_is_never_routed`).
const DESTINATIONS: [&str; 10] = [
    "0.0.0.0/32",
    "127.0.0.0/8",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "ff00::/8",
    "::ffff:0:0/96",
    "169.254.0.0/16",
    "fe80::/10",
];

/// A prefix of either family on a scale of 128 bits. The order is that of a walk through the tree of all prefixes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PrefixSpan {
    first: u128,
    len: u8,
}

impl PrefixSpan {
    fn of(prefix: IpNet) -> (usize, Self) {
        match prefix {
            IpNet::V4(net) => (0, Self::v4(net)),
            IpNet::V6(net) => (1, Self::v6(net)),
        }
    }

    fn v4(net: Ipv4Net) -> Self {
        Self { first: u128::from(net.network().to_bits()) << 96, len: net.prefix_len() }
    }

    fn v6(net: Ipv6Net) -> Self {
        Self { first: net.network().to_bits(), len: net.prefix_len() }
    }

    fn contains(self, other: Self) -> bool {
        let differing = (self.first ^ other.first).leading_zeros();
        self.len <= other.len && differing >= u32::from(self.len)
    }

    /// The number of addresses; `None`: 2^128.
    fn size(self) -> Option<u128> {
        1_u128.checked_shl(128 - u32::from(self.len))
    }
}

/// A prefix with the host it is routed to.
struct PrefixRule<'a> {
    span: PrefixSpan,
    /// The position of its table, in the order in which they are asked.
    layer: usize,
    /// `None`: no host.
    gateway: Option<&'a HostName>,
}

/// A prefix that contains the current rule, and how many of its addresses belong to longer prefixes.
struct OpenPrefix<'a> {
    span: PrefixSpan,
    layer: usize,
    /// The hosts that it is behind.
    gateways: Vec<&'a HostName>,
    /// `None`: all 2^128.
    taken: Option<u128>,
}

impl OpenPrefix<'_> {
    fn take(&mut self, inner: PrefixSpan) {
        self.taken = self.taken.zip(inner.size()).and_then(|(sum, more)| sum.checked_add(more));
    }

    fn is_used_up(&self) -> bool {
        self.taken == self.span.size()
    }
}

/// The hosts that own an address outside of the prefixes in `nobody`, with the families of these addresses.
fn owners<'a>(tables: &[Vec<&'a Route>], nobody: &[&str]) -> BTreeMap<&'a HostName, Families> {
    let mut owners: BTreeMap<&HostName, Families> = BTreeMap::new();
    let mut rules: [Vec<PrefixRule<'_>>; 2] = [Vec::new(), Vec::new()];
    let nobody = nobody
        .iter()
        .map(|prefix| (prefix.parse().expect("the constants above are prefixes"), 0, None));
    let routes = tables.iter().zip(1..).flat_map(|(table, layer)| {
        table.iter().map(move |route| (route.prefix, layer, Some(&route.gateway)))
    });
    for (prefix, layer, gateway) in nobody.chain(routes) {
        let (family, span) = PrefixSpan::of(prefix);
        rules[family].push(PrefixRule { span, layer, gateway });
    }
    for (family, mut rules) in rules.into_iter().enumerate() {
        // Equal prefixes of one table are neighbours.
        rules.sort_by(|a, b| a.span.cmp(&b.span).then(a.layer.cmp(&b.layer)));
        let mut open: Vec<OpenPrefix<'_>> = Vec::new();
        let mut close = |closed: OpenPrefix<'a>| {
            let gateways = closed.gateways.iter().filter(|_| !closed.is_used_up());
            for gateway in gateways {
                owners.entry(*gateway).or_default()[family] = true;
            }
        };
        for rule in rules {
            while let Some(closed) = open.pop_if(|open| !open.span.contains(rule.span)) {
                close(closed);
            }
            if let Some(around) = open.last_mut() {
                // An address with a route in an earlier table is not looked up in a later one.
                match rule.layer.cmp(&around.layer) {
                    Ordering::Greater => continue,
                    _ if rule.span == around.span => {
                        around.gateways.extend(rule.gateway);
                        continue;
                    }
                    _ => around.take(rule.span),
                }
            }
            let PrefixRule { span, layer, gateway } = rule;
            let gateways = gateway.into_iter().collect();
            open.push(OpenPrefix { span, layer, gateways, taken: Some(0) });
        }
        open.into_iter().for_each(&mut close);
    }
    owners
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;
    use rtun_proto::packet::{destination_is_never_routed, source_is_never_valid};

    use super::*;

    fn name(text: &str) -> HostName {
        HostName::new(text).unwrap()
    }

    fn route(prefix: &str, gateway: &str) -> Route {
        Route::new(prefix.parse().unwrap(), name(gateway))
    }

    fn reach(tables: &[Vec<Route>], source_check: SourceCheck, barred: &[&str]) -> Reach {
        Reach::new(&Domain {
            tables: tables.iter().map(|table| table.iter().collect()).collect(),
            source_check,
            hosts: [name("guest")].into(),
            may_join: &|host| !barred.contains(&host.as_str()),
        })
    }

    fn pairs(reach: &Reach) -> Vec<String> {
        reach.pairs().map(|(from, to)| format!("{from} {to}")).collect()
    }

    #[test]
    fn hosts_with_an_address_reach_hosts_with_an_address() {
        let table =
            vec![route("10.0.0.0/24", "a"), route("10.0.1.0/24", "b"), route("fd00::/8", "c")];
        let strict = reach(std::slice::from_ref(&table), SourceCheck::Strict, &[]);
        assert_eq!(pairs(&strict), ["a b", "b a"], "families do not mix");
        assert_eq!(strict.silent().map(HostName::as_str).collect::<Vec<_>>(), ["c", "guest"]);
        let off = reach(std::slice::from_ref(&table), SourceCheck::Off, &["a"]);
        assert_eq!(pairs(&off), ["b c", "c b", "guest b", "guest c"]);
        assert_eq!(off.barred().map(HostName::as_str).collect::<Vec<_>>(), ["a"]);
        let loose = reach(&[vec![route("10.0.0.0/24", "a")]], SourceCheck::Loose, &[]);
        assert_eq!(pairs(&loose), ["guest a"]);
        assert!(!loose.reaches(&name("a"), &name("a")));
    }

    #[test]
    fn a_route_without_an_address_of_its_own_is_unused() {
        let reach = reach(
            &[
                vec![
                    route("10.0.0.0/24", "a"),
                    route("10.0.0.0/25", "b"),
                    route("10.0.0.128/25", "c"),
                    route("224.0.0.0/3", "half-multicast"),
                    route("240.0.0.0/4", "b"),
                    route("0.0.0.0/1", "b"),
                    route("128.0.0.0/1", "b"),
                    route("0.0.0.0/0", "all"),
                ],
                vec![route("10.0.0.7/32", "default"), route("fd00::/64", "six")],
            ],
            SourceCheck::Strict,
            &[],
        );
        assert_eq!(pairs(&reach), ["b c", "c b"]);
    }

    #[test]
    fn packets_for_many_reach_the_hosts_of_routes_for_many() {
        let own = vec![
            route("10.0.0.0/24", "a"),
            route("0.0.0.0/0", "a"),
            route("239.0.0.0/8", "b"),
            route("239.0.0.0/8", "c"),
            route("239.0.0.0/9", "d"),
        ];
        let default = vec![route("224.0.0.0/4", "e"), route("239.7.0.0/16", "f")];
        let reach = reach(&[own, default], SourceCheck::Strict, &["c"]);
        assert_eq!(pairs(&reach), ["a b", "a d", "a e"]);
    }

    #[test]
    fn names_in_several_namespaces_are_found() {
        let one = reach(&[vec![route("10.0.0.0/24", "a")]], SourceCheck::Strict, &["guest"]);
        let two = reach(&[vec![route("10.9.0.0/24", "a")]], SourceCheck::Strict, &[]);
        let several = in_several([("1".to_owned(), &one), ("2".to_owned(), &two)]);
        assert_eq!(several, [(name("a"), vec!["1".to_owned(), "2".to_owned()])].into());
    }

    /// Every address of a small network, and the first and last ones of the special prefixes.
    fn addresses() -> Vec<IpAddr> {
        let special = [
            "0.0.0.0",
            "127.0.0.0",
            "127.255.255.255",
            "128.0.0.0",
            "223.255.255.255",
            "224.0.0.0",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.254",
            "255.255.255.255",
            "169.253.255.255",
            "169.254.0.0",
            "169.254.255.255",
            "169.255.0.0",
            "::",
            "::1",
            "::2",
            "ff00::",
            "feff:ffff::",
            "fe80::",
            "febf:ffff::",
            "fec0::",
            "::ffff:0.0.0.0",
            "::fffe:ffff:ffff",
            "::1:0:0:0",
            "2001:db8::1",
        ];
        let mut all: Vec<IpAddr> = special.iter().map(|text| text.parse().unwrap()).collect();
        all.extend((0..=255).map(|low| IpAddr::from([10, 0, 0, low])));
        all
    }

    #[test]
    fn the_special_prefixes_are_those_of_the_packet_path() {
        let within = |prefixes: &[&str], address: IpAddr| {
            prefixes.iter().any(|prefix| prefix.parse::<IpNet>().unwrap().contains(&address))
        };
        for address in addresses() {
            assert_eq!(within(&SOURCES, address), source_is_never_valid(address), "{address}");
            assert_eq!(
                within(&DESTINATIONS, address),
                destination_is_never_routed(address),
                "{address}"
            );
        }
    }

    /// Only this host is connected.
    struct Only<'a>(&'a HostName);

    impl crate::Answers for Only<'_> {
        fn known(
            &self,
            _: crate::PluginId,
            _: crate::NamespaceId,
            _: IpAddr,
        ) -> crate::PluginRoute {
            crate::PluginRoute::Nothing
        }

        fn is_connected(&self, host: &HostName) -> bool {
            host == self.0
        }
    }

    proptest! {
        /// In a network of 256 addresses every packet is decided, for every connected host.
        #[test]
        fn agrees_with_trying_every_address(
            tables in prop::collection::vec(
                prop::collection::vec((any::<u8>(), 24u8..=32, 0..5u8), 0..24), 0..3,
            ),
            check in prop::sample::select(vec![
                SourceCheck::Strict, SourceCheck::Loose, SourceCheck::Off,
            ]),
        ) {
            let tables: Vec<Vec<Route>> = tables.iter().map(|rows| rows.iter().map(|(low, len, to)| {
                route(&format!("10.0.0.{low}/{len}"), &format!("h{to}"))
            }).collect()).collect();
            let routers = tables.iter().map(|table| {
                crate::Router::Table(std::sync::Arc::new(crate::RoutingTable::new(table)))
            });
            let routing =
                crate::Routing::new(crate::NamespaceId::DEFAULT, routers.collect(), check, crate::Sharing::Newest);
            let reach = reach(&tables, check, &[]);
            let mut names: BTreeSet<HostName> = [name("guest")].into();
            names.extend(tables.iter().flatten().map(|route| route.gateway.clone()));
            prop_assert!(reach.hosts().eq(names.iter()));
            let inside: Vec<IpAddr> = (0..=255).map(|low| IpAddr::from([10, 0, 0, low])).collect();
            let gets = |from: &HostName, source: IpAddr, destination: IpAddr, only: &HostName| {
                let connected = Only(only);
                match routing.decide(Some(from), source, destination, None, &connected) {
                    crate::Verdict::Deliver { gateway, .. } => Some(gateway),
                    _ => None,
                }
            };
            let mut expected = BTreeSet::new();
            for from in &names {
                let by = |source: &IpAddr| {
                    // Any destination that is delivered with one good source is with every other.
                    inside.iter().find_map(|to| gets(from, *source, *to, from)).is_some()
                };
                let Some(source) = inside.iter().find(|source| by(source)) else { continue };
                for (to, only) in inside.iter().flat_map(|to| names.iter().map(move |n| (to, n))) {
                    expected.extend(gets(from, *source, *to, only).map(|to| (from.clone(), to)));
                }
            }
            let found: BTreeSet<_> =
                reach.pairs().map(|(from, to)| (from.clone(), to.clone())).collect();
            prop_assert_eq!(reach.pair_count(), found.len() as u64);
            prop_assert_eq!(found, expected);
        }
    }
}

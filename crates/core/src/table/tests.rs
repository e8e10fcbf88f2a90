use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn route(prefix: &str, gateway: &str) -> Route {
    Route::new(prefix.parse().unwrap(), gateway.parse().unwrap())
}

fn lookup<'a>(table: &'a RoutingTable, addr: &str) -> Option<&'a str> {
    table.lookup(addr.parse().unwrap()).map(|gateways| match gateways {
        [one] => one.as_str(),
        more => panic!("{more:?}"),
    })
}

#[test]
fn the_longest_prefix_wins_in_any_order() {
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
fn equal_prefixes_are_behind_several_hosts_in_their_order() {
    let table = RoutingTable::new(&[
        route("10.0.0.0/8", "a"),
        route("fd00::/16", "b"),
        route("10.9.9.9/8", "b"),
        route("10.1.0.0/16", "c"),
        route("10.0.0.0/8", "a"),
        route("fd00::7/16", "a"),
        route("11.0.0.0/8", "a"),
        route("11.0.0.0/8", "b"),
    ]);
    let found = |addr: &str| -> Vec<&str> {
        let gateways = table.lookup(addr.parse().unwrap()).unwrap();
        gateways.iter().map(HostName::as_str).collect()
    };
    assert_eq!(found("10.0.0.1"), ["a", "b"]);
    assert_eq!(found("11.0.0.1"), ["a", "b"]);
    assert_eq!(found("10.1.0.1"), ["c"]);
    assert_eq!(found("fd00::1"), ["b", "a"]);
    assert_eq!(table.len(), 4);
    let shared: Vec<_> =
        table.shared().map(|it| (it.example.to_string(), it.prefixes, it.gateways.len())).collect();
    assert_eq!(shared, [("10.0.0.0/8".into(), 2, 2), ("fd00::/16".into(), 1, 2)]);
}

#[test]
fn hosts_past_the_limit_are_ignored() {
    let routes: Vec<_> = (0..40).map(|n| route("10.0.0.0/8", &format!("h{n}"))).collect();
    let table = RoutingTable::new(&routes);
    let gateways = table.lookup("10.0.0.1".parse().unwrap()).unwrap();
    assert_eq!(gateways.len(), MAX_GATEWAYS);
    assert!(gateways.iter().zip(&routes).all(|(found, route)| *found == route.gateway));
}

/// The slow and simple table: of all routes that contain the address, those with the longest prefix.
fn model(routes: &[Route], addr: IpAddr) -> Option<Vec<HostName>> {
    let containing = || routes.iter().filter(|route| route.prefix.contains(&addr));
    let longest = containing().map(|route| route.prefix.prefix_len()).max()?;
    let mut gateways: Vec<HostName> = Vec::new();
    for route in containing().filter(|route| route.prefix.prefix_len() == longest) {
        if !gateways.contains(&route.gateway) {
            gateways.push(route.gateway.clone());
        }
    }
    Some(gateways)
}

/// Addresses that share long prefixes, so that most prefixes nest.
fn addr() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u32..1 << 12, 0u32..2)
            .prop_map(|(low, high)| IpAddr::from((high << 31 | low).to_be_bytes())),
        (0u128..1 << 12, 0u128..2)
            .prop_map(|(low, high)| IpAddr::from((high << 127 | low).to_be_bytes())),
    ]
}

/// Addresses in few networks that differ in a few bits anywhere: clusters of any depth.
fn scattered_addr() -> impl Strategy<Value = IpAddr> {
    let bits = |max| (0..4u8, prop::collection::vec(0..max, 0..6));
    prop_oneof![
        bits(32).prop_map(|(net, bits)| {
            let net = u32::from_be_bytes([10 + net, 0, 0, 0]);
            IpAddr::from(bits.iter().fold(net, |addr, bit| addr ^ 1_u32 << bit).to_be_bytes())
        }),
        bits(128).prop_map(|(net, bits)| {
            let net = (0xfd00 + u128::from(net)) << 112;
            IpAddr::from(bits.iter().fold(net, |addr, bit| addr ^ 1_u128 << bit).to_be_bytes())
        }),
    ]
}

/// Routes of any length, including default routes and single hosts.
fn arbitrary_route(addr: impl Strategy<Value = IpAddr>) -> impl Strategy<Value = Route> {
    (addr, any::<prop::sample::Index>(), 0..8u8, 0..8u8).prop_map(|(addr, len, kind, to)| {
        let max = if addr.is_ipv4() { 32 } else { 128 };
        let len = if kind == 0 { max } else { len.index(max + 1) };
        let prefix = IpNet::new(addr, u8::try_from(len).unwrap()).unwrap();
        Route::new(prefix, HostName::new(&format!("h{to}")).unwrap())
    })
}

/// The first and the last address of a prefix, and the addresses next to them outside the prefix.
fn edges(prefix: IpNet) -> Vec<IpAddr> {
    match prefix {
        IpNet::V4(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| Ipv4Addr::from_bits(bits).into())
                .to_vec()
        }
        IpNet::V6(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| Ipv6Addr::from_bits(bits).into())
                .to_vec()
        }
    }
}

fn agrees(routes: &[Route], addrs: &[IpAddr]) -> Result<(), TestCaseError> {
    let table = RoutingTable::new(routes);
    for addr in addrs {
        let expected = model(routes, *addr);
        prop_assert_eq!(table.lookup(*addr), expected.as_deref(), "{}", addr);
        let containing = routes.iter().map(|route| route.prefix).filter(|it| it.contains(addr));
        let longest = containing.max_by_key(IpNet::prefix_len).map(|prefix| prefix.trunc());
        prop_assert_eq!(table.matched(*addr), longest, "{}", addr);
    }
    let distinct: HashSet<IpNet> = routes.iter().map(|route| route.prefix).collect();
    prop_assert_eq!(table.len(), distinct.len());
    prop_assert_eq!(table.is_empty(), routes.is_empty());
    Ok(())
}

proptest! {
    #[test]
    fn agrees_with_a_linear_scan(
        routes in prop::collection::vec(arbitrary_route(addr()), 0..60),
        addrs in prop::collection::vec(addr(), 0..60),
    ) {
        agrees(&routes, &addrs)?;
    }

    #[test]
    fn agrees_at_the_edges_of_every_prefix(
        routes in prop::collection::vec(arbitrary_route(scattered_addr()), 0..100),
    ) {
        let addrs: Vec<IpAddr> = routes.iter().flat_map(|r| edges(r.prefix)).collect();
        agrees(&routes, &addrs)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(6) })]

    #[test]
    fn agrees_with_a_linear_scan_of_thousands(
        mut routes in prop::collection::vec(
            prop_oneof![arbitrary_route(addr()), arbitrary_route(scattered_addr())],
            2000..3000,
        ),
        defaults in any::<bool>(),
        addrs in prop::collection::vec(scattered_addr(), 100),
    ) {
        if defaults {
            routes.extend([route("0.0.0.0/0", "default-4"), route("::/0", "default-6")]);
        }
        let edges = routes.iter().flat_map(|route| edges(route.prefix)).step_by(7);
        let addrs: Vec<IpAddr> = addrs.into_iter().chain(edges).collect();
        agrees(&routes, &addrs)?;
    }
}

#[test]
fn thousands_of_neighbours_under_wide_routes() {
    for (default, half, net, host) in [
        ("0.0.0.0/0", "10.7.0.0/17", "10.7.0.0/16", "10.7.200.9/32"),
        ("::/0", "2001:db8:7::/113", "2001:db8:7::/112", "2001:db8:7::c809/128"),
    ] {
        let mut routes = vec![route(host, "host"), route(half, "half"), route(default, "all")];
        let (half, net): (IpNet, IpNet) = (half.parse().unwrap(), net.parse().unwrap());
        for (i, subnet) in net.subnets(net.max_prefix_len() - 4).unwrap().enumerate() {
            if i % 5 != 0 {
                let gateway = HostName::new(&format!("h{}", i % 7)).unwrap();
                routes.push(Route::new(subnet, gateway));
            }
        }
        let table = RoutingTable::new(&routes);
        let found = |addr| table.lookup(addr).map(|gateways| gateways[0].as_str());
        for (i, subnet) in net.subnets(net.max_prefix_len() - 4).unwrap().enumerate() {
            let expected = match i % 5 {
                0 if half.contains(&subnet) => "half".to_owned(),
                0 => "all".to_owned(),
                _ => format!("h{}", i % 7),
            };
            assert_eq!(found(subnet.network()), Some(&*expected), "{subnet}");
            assert_eq!(found(subnet.broadcast()), Some(&*expected), "{subnet}");
        }
        assert_eq!(found(host.parse::<IpNet>().unwrap().addr()), Some("host"));
        for outside in edges(net).into_iter().skip(2) {
            assert_eq!(found(outside), Some("all"));
        }
    }
}

fn heap_bytes(table: &RoutingTable) -> usize {
    [&table.tries, &table.lengths]
        .map(|it| it.v4.heap_bytes() + it.v6.heap_bytes())
        .iter()
        .sum::<usize>()
        + size_of_val(&*table.gateways)
        + size_of_val(&*table.groups)
}

#[test]
fn a_small_table_is_small() {
    let table = RoutingTable::new(&[
        route("10.0.0.0/8", "a"),
        route("192.168.7.0/24", "b"),
        route("fd00:64::1/128", "c"),
    ]);
    assert!(heap_bytes(&table) < 512, "{} bytes", heap_bytes(&table));
    assert_eq!(heap_bytes(&RoutingTable::default()), 0);
}

/// Equal names are stored once, for any number of routes.
#[test]
fn a_large_table_takes_less_than_45_bytes_a_route() {
    let routes: Vec<Route> = (0..100_000_u32)
        .map(|i| {
            let addr = Ipv4Addr::from_bits(i.wrapping_mul(0x9e37_79b1));
            let gateway = HostName::new(&format!("host-{}", i % 100)).unwrap();
            Route::new(IpNet::new(addr.into(), 24).unwrap(), gateway)
        })
        .collect();
    let table = RoutingTable::new(&routes);
    assert!(table.len() > 99_000, "{} routes", table.len());
    assert_eq!(table.gateways.len(), 100);
    assert!(heap_bytes(&table) < 45 * table.len(), "{} bytes", heap_bytes(&table));
}

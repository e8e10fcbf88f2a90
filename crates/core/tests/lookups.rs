//! Many lookups in random tables, compared with a check of every route. `RTUN_LOOKUPS` is their number, as in
//! `RTUN_LOOKUPS=100000000 cargo test --release -p rtun-core --test lookups`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtun_core::{HostName, MAX_GATEWAYS, Route, RoutingTable};

/// Without `RTUN_LOOKUPS`.
const LOOKUPS: u64 = 200_000;

/// In each table.
const PER_TABLE: u64 = 20_000;

/// Numbers that look random and are the same in every run (Marsaglia, Xorshift RNGs, 2003).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

/// A route as the model knows it: the bits of its prefix, moved to the end.
struct Known {
    bits: u128,
    unused: u32,
    len: u8,
    gateway: usize,
}

#[test]
fn every_lookup_agrees_with_a_check_of_every_route() {
    let wanted = std::env::var("RTUN_LOOKUPS").map_or(LOOKUPS, |text| text.parse().unwrap());
    let names: Vec<HostName> = (0..20).map(|n| format!("host-{n}").parse().unwrap()).collect();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut done = 0;
    while done < wanted {
        let v4 = numbers.below(2) == 0;
        let width: u8 = if v4 { 32 } else { 128 };
        let (routes, known) = table(&mut numbers, v4, &names);
        let table = RoutingTable::new(&routes);
        let lookups = PER_TABLE.min(wanted - done);
        for _ in 0..lookups {
            let bits = address(&mut numbers, &known, width);
            let found = table.lookup(to_addr(bits, v4));
            let expected = scan(&known, bits)
                .map(|gateways| gateways.iter().map(|n| names[*n].clone()).collect::<Vec<_>>());
            assert_eq!(found, expected.as_deref(), "{} in {routes:?}", to_addr(bits, v4));
        }
        done += lookups;
    }
}

/// Up to 500 routes, so close together that they overlap.
fn table(numbers: &mut Numbers, v4: bool, names: &[HostName]) -> (Vec<Route>, Vec<Known>) {
    let width: u8 = if v4 { 32 } else { 128 };
    let count = 1 + numbers.below(500) * numbers.below(2) + numbers.below(20);
    let crowd = numbers.wide() >> (128 - u32::from(width));
    let spread = 1 + numbers.below(u64::from(width)) as u32;
    let (mut routes, mut known) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let len = numbers.below(u64::from(width) + 1) as u8;
        let noise = numbers.wide() & (u128::MAX >> (128 - spread));
        let bits = crowd ^ noise << numbers.below(u64::from(u32::from(width) - spread) + 1);
        let gateway = numbers.below(names.len() as u64) as usize;
        let prefix = IpNet::new(to_addr(bits, v4), len).unwrap();
        routes.push(Route::new(prefix, names[gateway].clone()));
        let unused = u32::from(width - len);
        known.push(Known { bits: shifted(bits, unused), unused, len, gateway });
    }
    (routes, known)
}

/// Mostly in a known prefix or next to it.
fn address(numbers: &mut Numbers, known: &[Known], width: u8) -> u128 {
    let any = numbers.wide() >> (128 - u32::from(width));
    let near = &known[numbers.below(known.len() as u64) as usize];
    let base = near.bits.checked_shl(near.unused).unwrap_or(0);
    let inside = any & !(u128::MAX.checked_shl(near.unused).unwrap_or(0));
    match numbers.below(8) {
        0 => any,
        1 => base,
        2 => base.wrapping_sub(1) & (u128::MAX >> (128 - u32::from(width))),
        _ => base | inside,
    }
}

/// The gateway of the longest prefix; the first one of equal prefixes.
fn scan(known: &[Known], bits: u128) -> Option<Vec<usize>> {
    let containing = || known.iter().filter(|route| shifted(bits, route.unused) == route.bits);
    let longest = containing().map(|route| route.len).max()?;
    let mut gateways = Vec::new();
    for route in containing().filter(|route| route.len == longest) {
        if !gateways.contains(&route.gateway) && gateways.len() < MAX_GATEWAYS {
            gateways.push(route.gateway);
        }
    }
    Some(gateways)
}

fn shifted(bits: u128, by: u32) -> u128 {
    bits.checked_shr(by).unwrap_or(0)
}

fn to_addr(bits: u128, v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::from_bits(bits as u32).into() } else { Ipv6Addr::from_bits(bits).into() }
}

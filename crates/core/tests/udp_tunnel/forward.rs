//! Where packets go, and which sources pass, against a plain walk over all clients and routes.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::{prelude::*, sample::select};
use rtun_core::udp_tunnel::{
    AddressRules, ClientLimits, ClientTable, DatagramDrop, GatewayRoute, GatewayRoutes, NextHop,
    TunnelRouting,
};

use crate::rules::{address, outer};

const OUTERS: [&str; 3] = ["10.77.0.2:1", "10.77.0.2:2", "10.77.0.3:1"];
const CLIENTS: [&str; 5] =
    ["192.168.123.2", "192.168.123.3", "192.168.123.4", "192.168.123.5", "fd99::2"];
const PREFIXES: [&str; 6] =
    ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.168.123.4/32", "0.0.0.0/0", "fd01::/16"];
const ADDRESSES: [&str; 14] = [
    "192.168.123.1",
    "192.168.123.2",
    "192.168.123.3",
    "192.168.123.4",
    "192.168.123.5",
    "10.2.2.2",
    "10.1.9.9",
    "10.1.2.3",
    "8.8.8.8",
    "fd99::2",
    "fd01::7",
    "fe80::1",
    "224.0.0.1",
    "255.255.255.255",
];

fn server(
    registers: &[(usize, &str)],
    routes: &[(&str, &str)],
    point_to_point: bool,
) -> TunnelRouting {
    let own: [IpNet; 2] = ["192.168.123.1/24", "fd99::1/64"].map(|text| text.parse().unwrap());
    let route = |(prefix, gateway): &(&str, &str)| GatewayRoute {
        prefix: prefix.parse().unwrap(),
        gateway: address(gateway),
    };
    let mut server = TunnelRouting {
        rules: AddressRules::new(&own, &[]),
        routes: GatewayRoutes::new(routes.iter().map(route)),
        point_to_point,
        clients: ClientTable::new(ClientLimits::default()),
    };
    let now = std::time::Instant::now();
    for (from, text) in registers {
        let (also, addresses) = (server.also(), [address(text)].into_iter());
        let from = outer(OUTERS[*from]);
        let TunnelRouting { rules, clients, .. } = &mut server;
        let mut prove = |_| true;
        let prove: Option<&mut dyn FnMut(IpAddr) -> bool> = Some(&mut prove);
        let _ = clients.register(from, addresses, also, rules, prove, now);
    }
    server
}

/// Everybody's addresses, by where they are.
fn owner(server: &TunnelRouting, wanted: IpAddr) -> Option<String> {
    let mut all = server.clients.iter();
    all.find(|it| it.addresses.contains(&wanted)).map(|it| it.outer.to_string())
}

/// The gateways of the longest prefix, in the order of the routes.
fn gateways(routes: &[(&str, &str)], to: IpAddr) -> Vec<IpAddr> {
    let nets = routes.iter().map(|(prefix, gateway)| (prefix.parse::<IpNet>().unwrap(), gateway));
    let holding: Vec<_> = nets.filter(|(net, _)| net.contains(&to)).collect();
    let longest = holding.iter().map(|(net, _)| net.prefix_len()).max();
    let best = holding.iter().filter(|(net, _)| Some(net.prefix_len()) == longest);
    best.map(|(_, gateway)| address(gateway)).collect()
}

proptest! {
    #[test]
    fn the_choice_is_that_of_a_walk(
        registers in prop::collection::vec((0..3_usize, select(&CLIENTS)), 0..6),
        routes in prop::collection::vec((select(&PREFIXES), select(&CLIENTS[..4])), 0..6),
        from in prop::option::of(0..3_usize),
        to in select(&ADDRESSES),
    ) {
        let server = server(&registers, &routes, false);
        let from = from.map(|from| OUTERS[from]).filter(|from| server.clients.sender(outer(from)).is_some());
        let to = address(to);
        let behind = gateways(&routes, to);
        let owner = owner(&server, to).or_else(|| behind.iter().find_map(|it| owner(&server, *it)));
        let is_for_many = to.is_multicast() || to == address("255.255.255.255");
        let expected = match (owner, from) {
            (_, Some(_)) if is_for_many => Ok(None),
            _ if is_for_many || to == address("fe80::1") => Err(DatagramDrop::Local),
            (_, Some(_)) if to == address("192.168.123.1") => Ok(None),
            (_, None) if to == address("192.168.123.1") => Err(DatagramDrop::NoRoute),
            (Some(owner), Some(from)) if owner == from => Err(DatagramDrop::NoRoute),
            (Some(owner), _) => Ok(Some(owner)),
            (None, Some(_)) => Ok(None),
            (None, None) => Err(DatagramDrop::NoRoute),
        };
        let sender = from.and_then(|from| server.clients.sender(outer(from)));
        let found = server.target(sender, to).map(|target| match target {
            NextHop::Client(id) => Some(server.clients.get(id).outer.to_string()),
            NextHop::Device => None,
        });
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_source_is_its_senders_or_behind_it(
        registers in prop::collection::vec((0..3_usize, select(&CLIENTS)), 1..6),
        routes in prop::collection::vec((select(&PREFIXES), select(&CLIENTS[..4])), 0..6),
        source in select(&ADDRESSES),
    ) {
        let server = server(&registers, &routes, false);
        let source = address(source);
        for client in server.clients.iter() {
            let id = server.clients.sender(client.outer).unwrap();
            let is_own = client.addresses.contains(&source);
            let is_free = owner(&server, source).is_none() && source != address("192.168.123.1");
            let behind = gateways(&routes, source).iter().any(|it| client.addresses.contains(it));
            let expected = match source {
                _ if is_own => Ok(()),
                it if it.is_multicast() || it == address("255.255.255.255") => Err(DatagramDrop::Spoofed),
                it if it == address("fe80::1") => Err(DatagramDrop::Local),
                _ if is_free && behind => Ok(()),
                _ => Err(DatagramDrop::Spoofed),
            };
            prop_assert_eq!(server.check_source(id, source), expected);
        }
    }
}

#[test]
fn point_to_point_is_one_client_and_every_address() {
    let server = server(&[(0, "192.168.123.2"), (2, "192.168.123.3")], &[], true);
    let [one, other] = [0, 2].map(|n| server.clients.sender(outer(OUTERS[n])).unwrap());
    for to in ["8.8.8.8", "192.168.123.2", "192.168.123.3"] {
        assert_eq!(server.target(None, address(to)), Ok(NextHop::Client(other)));
        assert_eq!(server.target(Some(one), address(to)), Ok(NextHop::Device));
    }
    assert_eq!(server.check_source(other, address("8.8.8.8")), Ok(()));
    assert_eq!(server.check_source(one, address("8.8.8.8")), Err(DatagramDrop::Spoofed));
    assert_eq!(server.check_source(other, address("192.168.123.1")), Err(DatagramDrop::Spoofed));
}

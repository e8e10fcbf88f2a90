//! Devices, addresses and routes as the system ends up with them, each in a fresh namespace.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use rtun_net::link::{Link, LinkSetup};
use rtun_net::os_route::OsRoute;
use rtun_net::transport::socket::SocketOptions;
use rtun_net::transport::tcp::{ConnectError, connect};
use rtun_net::tun::{Device, Tun, TunConfig, TunError};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn route(destination: &str, gateway: Option<&str>) -> OsRoute {
    OsRoute {
        destination: net(destination),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
    }
}

fn tun(name: &str) -> (Tun, Link) {
    let tun = Tun::create(&TunConfig { name: Some(name.to_owned()), mtu: 1380 }).unwrap();
    assert_eq!(tun.name(), name);
    let link = Link::open(name).unwrap();
    assert_eq!(link.index(), tun.index());
    (tun, link)
}

#[test]
fn the_system_has_what_was_set_and_a_second_time_changes_nothing() {
    common::in_namespace(async || {
        let (tun, link) = tun("net0");
        let setup = LinkSetup {
            mtu: tun.mtu(),
            addresses: vec![net("10.1.0.1/24"), net("10.2.0.1/32"), net("fd01::1/64")],
            routes: vec![
                route("10.8.0.9/24", None),
                route("10.9.0.0/24", Some("10.1.0.7")),
                route("fd08::/64", None),
                route("fd09::/64", Some("fd01::7")),
                route("0.0.0.0/0", None),
                route("::/0", None),
            ],
        };
        for _ in 0..2 {
            let installed = link.apply(&setup).await.unwrap();
            assert_eq!(installed.routes().len(), 2);
            let state = link.state().await.unwrap();
            assert_eq!((state.mtu, state.up), (1380, true));
            assert_eq!(sorted(&state.addresses), sorted(&setup.addresses));
            let mut routes = state.routes;
            routes.sort_by_key(|route| route.to_string());
            let routes: Vec<_> = routes.iter().map(OsRoute::to_string).collect();
            assert_eq!(
                routes,
                [
                    "0.0.0.0/0",
                    "10.8.0.0/24",
                    "10.9.0.0/24 via 10.1.0.7",
                    "::/0",
                    "fd08::/64",
                    "fd09::/64 via fd01::7",
                ]
            );
        }
    });
}

#[test]
fn ipv6_addresses_are_usable_at_once() {
    common::in_namespace(async || {
        let (_tun, link) = tun("net0");
        let setup = LinkSetup { mtu: 1380, addresses: vec![net("fd01::1/64")], routes: Vec::new() };
        let _ = link.apply(&setup).await.unwrap();
        tokio::net::UdpSocket::bind("[fd01::1]:0").await.unwrap();
    });
}

#[test]
fn a_device_takes_its_routes_along_and_the_guard_those_elsewhere() {
    common::in_namespace(async || {
        let (_uplink, uplink) = tun("uplink");
        uplink.add_address(net("10.1.0.1/24")).await.unwrap();
        uplink.up().await.unwrap();
        let (tun, link) = tun("net0");
        let setup = LinkSetup {
            mtu: 1380,
            addresses: vec![net("10.2.0.1/24")],
            routes: vec![route("10.8.0.0/24", None), route("10.9.0.0/24", Some("10.1.0.7"))],
        };
        let installed = link.apply(&setup).await.unwrap();
        drop(tun);
        assert!(link.state().await.is_err());
        let elsewhere = uplink.state().await.unwrap().routes;
        assert_eq!(elsewhere, [route("10.9.0.0/24", Some("10.1.0.7"))]);
        installed.remove_routes().await.unwrap();
        assert_eq!(uplink.state().await.unwrap().routes, []);
    });
}

#[test]
fn a_route_that_somebody_else_removed_is_no_trouble_for_the_guard() {
    common::in_namespace(async || {
        let (_tun, link) = tun("net0");
        let setup = LinkSetup {
            mtu: 1380,
            addresses: vec![net("10.2.0.1/24")],
            routes: vec![route("10.9.0.0/24", Some("10.2.0.7"))],
        };
        let first = link.apply(&setup).await.unwrap();
        let second = link.apply(&setup).await.unwrap();
        first.remove_routes().await.unwrap();
        second.remove_routes().await.unwrap();
        assert_eq!(link.state().await.unwrap().routes, []);
    });
}

#[test]
fn a_refused_route_leaves_no_route_via_a_gateway_behind() {
    common::in_namespace(async || {
        let (_uplink, uplink) = tun("uplink");
        uplink.add_address(net("10.1.0.1/24")).await.unwrap();
        uplink.up().await.unwrap();
        let (_tun, link) = tun("net0");
        let setup = LinkSetup {
            mtu: 1380,
            addresses: vec![net("10.2.0.1/24")],
            routes: vec![
                route("10.9.0.0/24", Some("10.1.0.7")),
                route("10.10.0.0/24", Some("192.0.2.1")),
            ],
        };
        let error = link.apply(&setup).await.unwrap_err().to_string();
        assert!(error.starts_with("adding route 10.10.0.0/24 via 192.0.2.1: "), "{error}");
        assert!(error.contains("the gateway is not in any network"), "{error}");
        assert_eq!(uplink.state().await.unwrap().routes, []);
    });
}

#[test]
fn failures_say_what_was_being_done() {
    common::in_namespace(async || {
        let error = Link::open("net0").unwrap_err().to_string();
        assert!(error.starts_with("looking for network device net0: "), "{error}");
        let (tun, link) = tun("net0");
        let error = link.replace_route(&route("10.0.0.0/8", Some("fd01::1"))).await.unwrap_err();
        assert!(error.to_string().contains("must both be IPv4"), "{error}");
        let error = link.replace_route(&route("10.0.0.0/8", None)).await.unwrap_err().to_string();
        assert!(error.starts_with("adding route 10.0.0.0/8 through net0: "), "{error}");
        assert!(error.ends_with("the device is down"), "{error}");
        drop(tun);
        let error = link.add_address(net("10.0.0.1/24")).await.unwrap_err().to_string();
        assert!(error.starts_with("adding 10.0.0.1/24 to net0: "), "{error}");
    });
}

#[test]
fn a_system_without_ipv6_takes_ipv4_and_says_why_it_refuses_ipv6() {
    common::in_namespace(async || {
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        let (_tun, link) = tun("net0");
        let mut setup =
            LinkSetup { mtu: 1380, addresses: vec![net("10.2.0.1/24")], routes: Vec::new() };
        let _ = link.apply(&setup).await.unwrap();
        setup.addresses.push(net("fd01::1/64"));
        let error = link.apply(&setup).await.unwrap_err().to_string();
        assert!(error.starts_with("adding fd01::1/64 to net0: "), "{error}");
        assert!(error.ends_with("is IPv6 switched off on this system?"), "{error}");
    });
}

#[test]
fn a_taken_name_is_said_to_be_taken() {
    common::in_namespace(async || {
        let (_tun, _link) = tun("net0");
        for taken in ["net0", "lo"] {
            let again = Tun::create(&TunConfig { name: Some(taken.to_owned()), mtu: 1380 });
            assert!(matches!(again, Err(TunError::NameInUse { name }) if name == taken));
        }
    });
}

#[test]
fn the_system_chooses_a_name_and_frees_it() {
    common::in_namespace(async || {
        let any = TunConfig { name: None, mtu: 1380 };
        for _ in 0..2 {
            let first = Tun::create(&any).unwrap();
            let second = Tun::create(&any).unwrap();
            assert_eq!((first.name(), second.name()), ("tun0", "tun1"));
        }
    });
}

#[test]
fn an_address_that_never_answers_costs_the_time_given_and_no_more() {
    common::in_namespace(async || {
        let (_tun, link) = tun("net0");
        let setup =
            LinkSetup { mtu: 1380, addresses: vec![net("10.2.0.1/24")], routes: Vec::new() };
        let _ = link.apply(&setup).await.unwrap();
        let within = Duration::from_millis(300);
        let start = std::time::Instant::now();
        let to = "10.2.0.7:80".parse::<SocketAddr>().unwrap().into();
        let error = connect(&to, &SocketOptions::default(), within).await.unwrap_err();
        assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
        assert!(
            error.to_string().contains("10.2.0.7:80 within 0.3 s: 10.2.0.7:80: no answer"),
            "{error}"
        );
        assert!((within..within * 20).contains(&start.elapsed()));
    });
}

fn sorted(addresses: &[IpNet]) -> Vec<IpNet> {
    let mut addresses = addresses.to_vec();
    addresses.sort();
    addresses
}

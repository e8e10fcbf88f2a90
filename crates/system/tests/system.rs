//! Devices, addresses and routes as the system ends up with them, each in a fresh namespace.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use ipnet::IpNet;
use rtun_proto::ethernet::EthernetFrame;
use rtun_system::changes::{Change, Changes};
use rtun_system::installation::{Installation, Item, Restored};
use rtun_system::link::{LinkSetup, SystemLink};
use rtun_system::netlink::LinkError;
use rtun_system::os_route::OsRoute;
use rtun_system::placement::OwnPackets;
use rtun_system::tun::{PacketDevice, Tun, TunConfig, TunError};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn route(destination: &str, gateway: Option<&str>) -> OsRoute {
    OsRoute {
        destination: net(destination),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
    }
}

fn tun(name: &str) -> (Tun, SystemLink) {
    let tun = Tun::create(&TunConfig { name: Some(name.to_owned()), mtu: 1380 }).unwrap();
    assert_eq!(tun.name(), name);
    let link = SystemLink::open(name).unwrap();
    assert_eq!(link.index(), tun.index());
    (tun, link)
}

/// Gives the device all of `setup`, as a host does that talks to nobody.
async fn install(link: &SystemLink, setup: &LinkSetup) -> (Installation, Restored) {
    let mut installation = Installation::prepare(link.clone(), setup.clone()).await.unwrap();
    let outcome = restore(&mut installation).await;
    (installation, outcome)
}

async fn restore(installation: &mut Installation) -> Restored {
    installation.restore(&OwnPackets::default(), &mut |_| true).await.unwrap()
}

/// The only thing that the system has refused.
fn refusal(outcome: Restored) -> LinkError {
    let [(_, error)] = <[_; 1]>::try_from(outcome.failed).unwrap();
    error
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
        let (mut installation, outcome) = install(&link, &setup).await;
        assert_eq!(outcome.put.len(), 1 + 3 + 1 + 6, "{outcome:?}");
        assert!(outcome.apart.is_empty());
        for _ in 0..2 {
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
            let again = restore(&mut installation).await;
            assert_eq!((again.put, again.back), (vec![], vec![]));
        }
        installation.remove().await.unwrap();
        assert_eq!(link.state().await.unwrap().routes, []);
    });
}

#[test]
fn what_is_taken_away_is_put_back_and_what_may_not_be_is_named() {
    common::in_namespace(async || {
        let (_tun, link) = tun("net0");
        let address = net("10.1.0.1/24");
        let setup = LinkSetup {
            mtu: 1380,
            addresses: vec![address, net("fd01::1/64")],
            routes: vec![route("10.8.0.0/24", None), route("fd08::/64", None)],
        };
        let (mut installation, _) = install(&link, &setup).await;
        let before = link.state().await.unwrap();
        link.set_mtu(1300).await.unwrap();
        ip(&["link", "set", "net0", "down"]);
        ip(&["address", "flush", "dev", "net0"]);
        assert_eq!(restore(&mut installation).await.back.len(), 1 + 2 + 1 + 2);
        ip(&["route", "delete", "10.1.0.0/24"]);
        let prefix = Item::Route(route("10.1.0.0/24", None));
        assert_eq!(restore(&mut installation).await.back, [prefix]);
        let after = link.state().await.unwrap();
        assert_eq!(sorted(&after.addresses), sorted(&before.addresses));
        assert_eq!((after.mtu, after.up), (1380, true));

        ip(&["route", "delete", "10.8.0.0/24"]);
        let outcome = installation.restore(&OwnPackets::default(), &mut |_| false).await.unwrap();
        assert_eq!(outcome.left, [Item::Route(route("10.8.0.0/24", None))]);
        // Nobody has removed what is to be elsewhere now.
        let own = OwnPackets { may_go_anywhere: true, so_marks: vec![1], ..OwnPackets::default() };
        let outcome = installation.restore(&own, &mut |_| panic!("nothing is back")).await.unwrap();
        assert_eq!((outcome.put.len(), outcome.back), (1 + 2, vec![]));
        installation.remove().await.unwrap();
    });
}

#[test]
fn changes_are_told_and_lost_ones_too() {
    common::in_namespace(async || {
        let (device, link) = tun("net0");
        let setup = LinkSetup {
            mtu: 1380,
            addresses: vec![net("10.1.0.1/24")],
            routes: vec![route("10.8.0.0/24", None)],
        };
        let mut changes = Changes::follow(link.index(), &setup).unwrap();
        let nothing = async |changes: &mut Changes| {
            let wait = Duration::from_millis(50);
            tokio::time::timeout(wait, changes.next()).await.unwrap_err();
        };
        let mut next = async |command: &[&str]| {
            ip(command);
            let first = changes.next().await.unwrap();
            let wait = Duration::from_millis(50);
            while tokio::time::timeout(wait, changes.next()).await.is_ok() {}
            first
        };
        assert_eq!(next(&["link", "set", "net0", "up"]).await, Change::Own);
        assert_eq!(next(&["address", "add", "10.1.0.1/24", "dev", "net0"]).await, Change::Own);
        assert_eq!(next(&["rule", "add", "priority", "7", "lookup", "7"]).await, Change::Own);
        assert_eq!(next(&["link", "set", "lo", "up"]).await, Change::Surroundings);
        let taken = ["route", "add", "blackhole", "10.9.0.0/24"];
        ip(&taken);
        nothing(&mut changes).await;
        ip(&["route", "add", "10.8.0.0/24", "dev", "lo"]);
        assert_eq!(changes.next().await.unwrap(), Change::Surroundings);

        // More than the system keeps, and none of it of any interest.
        let many: String = (0..3000)
            .map(|n| format!("route add blackhole 172.16.{}.{}/32\n", n / 250, n % 250))
            .collect();
        let batch = std::env::temp_dir().join(format!("rtun-batch-{}", std::process::id()));
        std::fs::write(&batch, many).unwrap();
        ip(&["-batch", batch.to_str().unwrap()]);
        std::fs::remove_file(&batch).unwrap();
        assert_eq!(changes.next().await.unwrap(), Change::Surroundings);
        nothing(&mut changes).await;
        drop(device);
        while changes.next().await.unwrap() != Change::Gone {}
    });
}

/// Runs `ip` in this thread's network namespace.
fn ip(arguments: &[&str]) -> String {
    let output = std::process::Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// All that somebody could see of routes, rules, addresses and devices. Multicast is left out: the system gives it a route
/// on each device that any program has ever held.
fn everything() -> String {
    let commands: [&[&str]; 5] = [
        &["address"],
        &["route", "show", "table", "all"],
        &["-6", "route", "show", "table", "all"],
        &["rule"],
        &["-6", "rule"],
    ];
    let text = commands.map(ip).join("\n");
    let lines = text.lines().filter(|line| !line.starts_with("multicast ff00::/8 "));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Waits until all is as it was: the system says a little later whether a program holds a device.
fn is_again(before: &str) {
    let start = std::time::Instant::now();
    while everything() != before {
        assert!(start.elapsed() < Duration::from_secs(10), "{before}\nnow:\n{}", everything());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn ipv6_addresses_are_usable_at_once() {
    common::in_namespace(async || {
        let (_tun, link) = tun("net0");
        let setup = LinkSetup { mtu: 1380, addresses: vec![net("fd01::1/64")], routes: Vec::new() };
        let _installation = install(&link, &setup).await;
        tokio::net::UdpSocket::bind("[fd01::1]:0").await.unwrap();
    });
}

#[test]
fn routes_via_other_devices_go_with_the_installation_or_with_the_next_one() {
    common::in_namespace(async || {
        let (_uplink, uplink) = tun("uplink");
        uplink.add_address(net("10.1.0.1/24")).await.unwrap();
        uplink.up().await.unwrap();
        let setup = LinkSetup {
            mtu: 1380,
            addresses: vec![net("10.2.0.1/24")],
            routes: vec![route("10.8.0.0/24", None), route("10.9.0.0/24", Some("10.1.0.7"))],
        };
        let elsewhere = [route("10.9.0.0/24", Some("10.1.0.7"))];
        for killed in [false, true] {
            let (device, link) = tun("net0");
            let (installation, _) = install(&link, &setup).await;
            drop(device);
            // A program that another test is just starting holds it for a moment.
            let gone = async {
                while link.state().await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
            assert_eq!(uplink.state().await.unwrap().routes, elsewhere);
            if killed {
                drop(installation);
                let (_next, link) = tun("net1");
                let _ = Installation::prepare(link, setup.clone()).await.unwrap();
            } else {
                installation.remove().await.unwrap();
            }
            assert_eq!(uplink.state().await.unwrap().routes, []);
        }
    });
}

#[test]
fn what_a_living_tunnel_has_is_nobody_elses_to_sweep() {
    common::in_namespace(async || {
        let setup = |prefix: &str| LinkSetup {
            mtu: 1380,
            addresses: vec![net("10.2.0.1/24")],
            routes: vec![route(prefix, None)],
        };
        let own = OwnPackets { may_go_anywhere: true, so_marks: vec![1], ..OwnPackets::default() };
        let nothing = everything();
        let (device, link) = tun("net0");
        let mut first = Installation::prepare(link, setup("10.8.0.0/24")).await.unwrap();
        first.restore(&own, &mut |_| true).await.unwrap();
        // The device is in use by now, and the system has said so.
        let mut alone = everything();
        while !alone.contains("state UNKNOWN") {
            alone = everything();
        }
        let (other, link) = tun("net1");
        let mut second = Installation::prepare(link, setup("10.9.0.0/24")).await.unwrap();
        second.restore(&own, &mut |_| true).await.unwrap();
        assert_eq!(ip(&["rule"]).matches("goto").count(), 2, "{}", ip(&["rule"]));
        second.remove().await.unwrap();
        drop(other);
        is_again(&alone);
        first.remove().await.unwrap();
        drop(device);
        is_again(&nothing);
    });
}

#[test]
fn a_route_that_is_there_stays_and_ours_stands_apart() {
    common::in_namespace(async || {
        let (_uplink, uplink) = tun("uplink");
        uplink.add_address(net("10.1.0.1/24")).await.unwrap();
        uplink.up().await.unwrap();
        for theirs in ["default", "10.8.0.0/24"] {
            ip(&["route", "add", theirs, "via", "10.1.0.7"]);
        }
        let before = everything();
        let (device, link) = tun("net0");
        let setup = LinkSetup {
            mtu: 1380,
            addresses: vec![net("10.2.0.1/24")],
            routes: vec![route("10.8.0.0/24", None), route("0.0.0.0/0", None)],
        };
        let (installation, outcome) = install(&link, &setup).await;
        let reasons: Vec<_> = outcome.apart.iter().map(|it| it.reason.to_string()).collect();
        assert_eq!(
            reasons,
            [
                "the system has 10.8.0.0/24 via 10.1.0.7 through uplink already, which stays",
                "the system has 0.0.0.0/0 via 10.1.0.7 through uplink already, which stays",
            ]
        );
        for (to, through) in [("10.8.0.1", "net0"), ("192.0.2.1", "net0"), ("10.1.0.9", "uplink")] {
            let route = ip(&["route", "get", to]);
            assert!(route.contains(&format!("dev {through} ")), "{route}");
        }
        installation.remove().await.unwrap();
        drop(device);
        is_again(&before);
    });
}

#[test]
fn a_persistent_device_is_afterwards_what_it_was_also_after_a_killed_run() {
    common::in_namespace(async || {
        ip(&["tuntap", "add", "net0", "mode", "tun"]);
        ip(&["link", "set", "net0", "mtu", "1400", "alias", "for the tunnel"]);
        ip(&["address", "add", "10.3.0.1/24", "dev", "net0"]);
        // A device that was never up has another queue than one that is down again.
        ip(&["link", "set", "net0", "up"]);
        ip(&["link", "set", "net0", "down"]);
        let before = everything();
        let setup = LinkSetup {
            mtu: 1380,
            addresses: vec![net("10.2.0.1/24"), net("fd01::1/64"), net("10.3.0.1/24")],
            routes: vec![route("10.8.0.0/24", None), route("fd08::/64", None)],
        };
        Installation::announce(&SystemLink::open("net0").unwrap()).await.unwrap();
        Installation::withdraw(&SystemLink::open("net0").unwrap()).await.unwrap();
        is_again(&before);
        let (device, link) = tun("net0");
        let (killed, _) = install(&link, &setup).await;
        drop((killed, device));
        assert_ne!(everything(), before);
        let (device, link) = tun("net0");
        let (installation, _) = install(&link, &setup).await;
        assert!(installation.is_persistent());
        installation.remove().await.unwrap();
        drop(device);
        is_again(&before);
    });
}

#[test]
fn a_refused_route_does_not_keep_others_out() {
    common::in_namespace(async || {
        let (_tun, link) = tun("net0");
        let setup = LinkSetup {
            mtu: 1380,
            addresses: vec![net("10.2.0.1/24")],
            routes: vec![route("10.10.0.0/24", Some("192.0.2.1")), route("10.9.0.0/24", None)],
        };
        let (_installation, outcome) = install(&link, &setup).await;
        let error = refusal(outcome).to_string();
        assert!(error.starts_with("adding route 10.10.0.0/24 via 192.0.2.1: "), "{error}");
        assert!(error.contains("the gateway is not in any network"), "{error}");
        assert_eq!(link.state().await.unwrap().routes, [route("10.9.0.0/24", None)]);
    });
}

#[test]
fn failures_say_what_was_being_done() {
    common::in_namespace(async || {
        let error = SystemLink::open("net0").unwrap_err().to_string();
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
        setup.addresses.push(net("fd01::1/64"));
        setup.routes = vec![route("fd08::/64", None), route("10.8.0.0/24", None)];
        let (_installation, outcome) = install(&link, &setup).await;
        assert_eq!(link.state().await.unwrap().routes, [route("10.8.0.0/24", None)]);
        assert!(outcome.failed.is_empty(), "{outcome:?}");
        let error = outcome.ipv6_off.unwrap().to_string();
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
fn a_tap_device_has_its_hardware_address_each_time_and_frames_of_it() {
    common::in_namespace(async || {
        let address = "02:11:22:33:44:55".parse().unwrap();
        let any = TunConfig { name: None, mtu: 1400 };
        for _ in 0..2 {
            let tap = Tun::create_ethernet(&any, address).unwrap();
            // Of the one before, a process that another test begins may have a copy for a moment.
            let name = tap.name().to_owned();
            let link = SystemLink::open(&name).unwrap();
            let addresses = vec![net("10.2.0.1/24"), net("fd01::1/64")];
            let setup = LinkSetup { mtu: 1400, addresses, routes: Vec::new() };
            let (installation, _) = install(&link, &setup).await;
            assert!(ip(&["link", "show", &name]).contains("link/ether 02:11:22:33:44:55"));
            tokio::net::UdpSocket::bind("[fd01::1]:0").await.unwrap();
            // It is on a network with others, so it has a link-local address, of which its own makes the lower half.
            assert!(ip(&["-6", "address", "show", &name]).contains("fe80::11:22ff:fe33:4455/64"));
            let mut buffer = [0; 2000];
            let frame = loop {
                tap.readable().await.unwrap();
                if let Ok(len) = tap.try_recv(&mut buffer) {
                    break EthernetFrame::parse(&buffer[..len]).unwrap();
                }
            };
            assert_eq!(frame.source(), address);
            let mut arp = vec![0xff; 6];
            arp.extend([
                2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 10, 2, 0, 9,
            ]);
            arp.extend([0, 0, 0, 0, 0, 0, 10, 2, 0, 1]);
            tap.try_send(&arp).unwrap();
            let answer = loop {
                tap.readable().await.unwrap();
                if let Ok(len) = tap.try_recv(&mut buffer)
                    && buffer[12..14] == [8, 6]
                {
                    break buffer[..len].to_vec();
                }
            };
            assert_eq!((&answer[..6], answer[21]), (&[2, 0, 0, 0, 0, 9][..], 2));
            installation.remove().await.unwrap();
        }
    });
}

fn sorted(addresses: &[IpNet]) -> Vec<IpNet> {
    let mut addresses = addresses.to_vec();
    addresses.sort();
    addresses
}

//! The tutorial, as its files and command lines stand, between real TUN devices in network namespaces.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use common::{Rtun, World, at, does_not_reach, ip, pings, reaches, route_plugin, wait_until};
use rtun_lab::{
    NetNamespace,
    tools::{self, tcp_hash_transfer},
};

const SERVER_ROUTES: &str = include_str!("tutorial/server-routes.yaml");
const SERVER_NAMESPACES: &str = include_str!("tutorial/server-namespaces.yaml");
const SERVER_INGRESS: &str = include_str!("tutorial/server-ingress.yaml");
const HOST_1: &str = include_str!("tutorial/host-1.yaml");
const HOST_1_NAMESPACE: &str = include_str!("tutorial/host-1-namespace.yaml");

const NS_1: &str = "e87f56dd-fd57-4921-9ab8-a0847662daae";
const NS_2: &str = "ef502590-c5f4-437e-a81f-fe4083505075";

/// The tutorial's other host: its file is the first one's with the other addresses.
fn host_2() -> String {
    HOST_1
        .replace("192.168.123.1/24", "192.168.123.2/24")
        .replace("192.168.200.0/24", "192.168.100.0/24")
        .replace("host-1", "host-2")
}

#[test]
fn routes_with_files_and_networks_behind_the_hosts() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(SERVER_ROUTES);
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let (lan_1, lan_2) = (world.behind(&one, "192.168.100"), world.behind(&two, "192.168.200"));
    let hosts = [world.host(&one, HOST_1), world.host(&two, &host_2())];

    reaches(&one, "192.168.123.2");
    reaches(&two, "192.168.123.1");
    reaches(&lan_1, "192.168.200.2");
    reaches(&lan_2, "192.168.100.2");
    let chain = hosts[0]
        .lines()
        .into_iter()
        .find(|line| line["message"].as_str().is_some_and(|message| message.contains("chain-0")));
    assert_eq!(chain.unwrap()["level"], "INFO", "one line tells which chain is used");

    for (from, to, address) in [(&one, &two, "192.168.123.2"), (&lan_2, &lan_1, "192.168.100.2")] {
        tcp_hash_transfer(from, to, at(address, 7000), 20 << 20).unwrap();
    }
    for host in hosts {
        host.stop();
    }
    for machine in [&one, &two] {
        let left = machine.run(|| std::fs::read_to_string("/proc/thread-self/net/dev")).unwrap();
        assert!(!left.unwrap().contains("tun"), "the device is gone");
        let routes =
            machine.run(|| std::fs::read_to_string("/proc/thread-self/net/route")).unwrap();
        assert!(!routes.unwrap().contains("tun"), "its routes are gone");
    }
    let report = hub.stop_balanced();
    assert!(report["packets_out"].as_u64().unwrap() > 20_000);
}

#[test]
fn routes_with_command_lines() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(SERVER_ROUTES);
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let line = |n| format!("tun:///host-{n}?net=192.168.123.{n}/24");
    let hosts = [
        world.start(&one, &["-L", &line(1), "-F", "router://server_ip:8443"]),
        world.start(&two, &["-L", &line(2), "-F", "router://server_ip:8443"]),
    ];
    reaches(&one, "192.168.123.2");
    reaches(&two, "192.168.123.1");
    drop(hosts);
    hub.stop_balanced();
}

#[test]
fn namespaces_with_equal_names_and_a_plugin_as_default_router() {
    let Some(world) = World::new() else { return };
    const THIRD: &str = "11111111-2222-3333-4444-555555555555";
    let questions = route_plugin(&world.hub, "127.0.0.1:8000", |dst, id| match (dst, id) {
        ("10.3.0.1", THIRD) => r#"{"dst":"10.3.0.1/32","gateway":"host-1"}"#.into(),
        ("10.3.0.2", THIRD) => r#"{"net":"10.3.0.0/24","gateway":"host-2"}"#.into(),
        _ => "{}".into(),
    });
    let hub = world.hub(SERVER_NAMESPACES);
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let file_2 = HOST_1_NAMESPACE
        .replace("192.168.123.1/24", "192.168.123.2/24")
        .replace("host-1", "host-2");
    let _first = [world.host(&one, HOST_1_NAMESPACE), world.host(&two, &file_2)];
    let join = |machine: &rtun_lab::NetNamespace, n: u8, net: &str, id: &str| {
        let service = format!("tun:///host-{n}?net={net}");
        let node = format!("router://server_ip:8443?router.id={id}");
        world.start(machine, &["-L", &service, "-F", &node])
    };
    let (other_1, other_2) = (world.machine("other-1"), world.machine("other-2"));
    let _second =
        [join(&other_1, 1, "192.168.124.1/16", NS_2), join(&other_2, 2, "192.168.124.2/16", NS_2)];
    let (third_1, third_2) = (world.machine("third-1"), world.machine("third-2"));
    let _third = [join(&third_1, 1, "10.3.0.1/24", THIRD), join(&third_2, 2, "10.3.0.2/24", THIRD)];

    reaches(&one, "192.168.123.2");
    reaches(&other_1, "192.168.124.2");
    reaches(&third_1, "10.3.0.2");
    does_not_reach(&other_1, "192.168.123.1");
    does_not_reach(&other_2, "192.168.123.2");
    does_not_reach(&third_1, "10.3.0.9");

    let asked = questions.load(std::sync::atomic::Ordering::SeqCst);
    for _ in 0..20 {
        assert!(pings(&third_1, "10.3.0.2"));
    }
    let asked_again = questions.load(std::sync::atomic::Ordering::SeqCst) - asked;
    assert!(asked_again <= 4, "answers are remembered: {asked_again} questions for 20 pings");
    let report = hub.stop_balanced();
    assert!(common::count_of(&report, "route_denied") >= 3, "{report}");
}

#[test]
fn ingress_says_who_may_join_which_namespace() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(SERVER_INGRESS);
    let join = |name: &str, id: &str| {
        let machine = world.machine(name);
        let service = format!("tun:///{name}?net=192.168.123.1/24");
        let node = format!("router://server_ip:8443?router.id={id}");
        (world.start(&machine, &["-L", &service, "-F", &node]), machine)
    };
    let (allowed, _a) = join("host-1-ns1", NS_1);
    allowed.wait_for("joined the hub");
    for (name, id) in [("host-1-ns2", NS_1), ("host-2-ns1", NS_2), ("host-1", NS_1)] {
        let (refused, _machine) = join(name, id);
        let complains = |line: &serde_json::Value| {
            line["message"].as_str().is_some_and(|text| text.contains("refused: 6"))
        };
        wait_until("a refusal", || refused.lines().iter().any(complains));
        assert!(refused.said("joined the hub").is_empty());
    }
    let findings = hub.lines().iter().filter(|line| line["code"] == "C15").count();
    assert!(findings > 0, "the gateways that no host can be are named at start");
    hub.stop_balanced();
}

#[test]
fn ipv6_and_several_addresses_on_one_device() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&SERVER_ROUTES.replace(
        "    routes:\n",
        "    routes:\n      - {dst: 'fd00:123::1', gateway: host-1}\n      - {dst: 'fd00:123::2/128', gateway: host-2}\n",
    ));
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    for (machine, n) in [(&one, 1), (&two, 2)] {
        let service =
            format!("tun:///host-{n}?net=192.168.123.{n}/24,fd00:123::{n}/64&mtu=1400&name=rt0");
        world.start(machine, &["-L", &service, "-F", "router://[fd77::1]:8443"]);
    }
    reaches(&one, "fd00:123::2");
    reaches(&two, "192.168.123.1");
    tcp_hash_transfer(&one, &two, at("fd00:123::2", 7000), 5 << 20).unwrap();
    hub.stop_balanced();
}

#[test]
fn packets_of_every_size_and_fragments() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(SERVER_ROUTES);
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let _hosts = [world.host(&one, HOST_1), world.host(&two, &host_2())];
    reaches(&one, "192.168.123.2");
    let whole = Duration::from_secs(2);
    for payload in [0, 1, 7, 8, 500, 1391, 1392] {
        tools::ping(&one, ip("192.168.123.2"), payload, true, whole)
            .unwrap_or_else(|error| panic!("{payload} bytes: {error}"));
    }
    let too_long = tools::ping(&one, ip("192.168.123.2"), 1393, true, whole);
    assert!(too_long.is_err(), "the device's MTU is 1420");
    for payload in [1393, 4000, 20_000, 60_000] {
        tools::ping(&one, ip("192.168.123.2"), payload, false, whole)
            .unwrap_or_else(|error| panic!("{payload} bytes in fragments: {error}"));
    }
    hub.stop_balanced();
}

#[test]
fn sixty_four_hosts() {
    let Some(world) = World::new() else { return };
    const HOSTS: usize = 64;
    let routes: String = (1..=HOSTS)
        .map(|n| format!("      - {{dst: 172.20.0.{n}, gateway: node-{n}}}\n"))
        .collect();
    let head = SERVER_ROUTES.split("      - dst").next().unwrap();
    let hub = world.hub(&format!("{head}{routes}"));
    let hosts: Vec<_> = (1..=HOSTS)
        .map(|n| {
            let machine = world.machine(&format!("node-{n}"));
            let service = format!("tun:///node-{n}?net=172.20.0.{n}/24");
            (world.start(&machine, &["-L", &service, "-F", "router://server_ip:8443"]), machine)
        })
        .collect();
    for (process, _) in &hosts {
        process.wait_for("joined the hub");
    }
    for n in 1..=HOSTS {
        let next = n % HOSTS + 1;
        reaches(&hosts[n - 1].1, &format!("172.20.0.{next}"));
    }
    assert_eq!(hub.hub_report()["hosts"], HOSTS);
    hub.stop_balanced();
}

/// What a host's device and wire may do: keys of the listener, and what of it is seen in logs.
#[derive(Clone, Copy)]
struct Kind {
    keys: &'static str,
    offload: bool,
    gso_frames: bool,
}

const WHOLE: Kind = Kind { keys: "", offload: true, gso_frames: true };
const CUT: Kind = Kind { keys: "&superFrames=false", offload: true, gso_frames: false };
const PLAIN: Kind = Kind { keys: "&offload=false", offload: false, gso_frames: false };

/// Joins two hosts of these kinds and sends random data both ways, checking every byte.
fn transfers(
    world: &World,
    hub: &Rtun,
    (one, two): (&NetNamespace, &NetNamespace),
    run: (Kind, Kind, u16),
) {
    let (first, second, mtu) = run;
    let joined_before = hub.said("host speaks the extension").len();
    let start = |machine, n, kind: Kind| {
        let keys = kind.keys;
        let service =
            format!("tun:///host-{n}?net=192.168.123.{n}/24,fd00:123::{n}/64&mtu={mtu}{keys}");
        world.start(machine, &["-L", &service, "-F", "router://server_ip:8443"])
    };
    let hosts = [start(one, 1, first), start(two, 2, second)];
    hub.wait_for_nth("host speaks the extension", joined_before + 2);
    let greetings = hub.said("host speaks the extension").split_off(joined_before);
    for (n, (host, kind)) in hosts.iter().zip([first, second]).enumerate() {
        let line = host.wait_for("device is up");
        let without = line["offload"].as_str().unwrap().starts_with("none");
        assert_eq!(without, !kind.offload, "{line}");
        let name = format!("host-{}", n + 1);
        let line = greetings.iter().find(|line| line["host"] == name).unwrap();
        assert_eq!(line["super_frames"], kind.gso_frames, "{line}");
        assert_eq!(line["mtu"], mtu, "{line}");
    }
    reaches(one, "192.168.123.2");
    let what = format!("{} to {} with MTU {mtu}", first.keys, second.keys);
    for (from, to, address) in
        [(one, two, "192.168.123.2"), (two, one, "192.168.123.1"), (one, two, "fd00:123::2")]
    {
        tcp_hash_transfer(from, to, at(address, 7000), 3 << 20)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    for host in hosts {
        host.stop();
    }
}

const IPV6_ROUTES: &str = "    routes:
      - {dst: 'fd00:123::1', gateway: host-1}
      - {dst: 'fd00:123::2', gateway: host-2}
";

#[test]
fn hosts_with_and_without_offload_and_gso_frames_understand_each_other() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&SERVER_ROUTES.replace("    routes:\n", IPV6_ROUTES));
    let machines = (&world.machine("host-1"), &world.machine("host-2"));
    for first in [WHOLE, CUT, PLAIN] {
        for second in [WHOLE, CUT, PLAIN] {
            transfers(&world, &hub, machines, (first, second, 1420));
        }
    }
    hub.stop_balanced();
}

#[test]
fn devices_of_every_mtu_understand_each_other() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&SERVER_ROUTES.replace("    routes:\n", IPV6_ROUTES));
    let machines = (&world.machine("host-1"), &world.machine("host-2"));
    for mtu in [1280, 9000] {
        for pair in [(WHOLE, WHOLE), (WHOLE, PLAIN), (PLAIN, CUT), (CUT, WHOLE)] {
            transfers(&world, &hub, machines, (pair.0, pair.1, mtu));
        }
    }
    hub.stop_balanced();
}

#[test]
fn a_hub_that_accepts_no_gso_frames_serves_hosts_of_every_kind() {
    let Some(world) = World::new() else { return };
    let config = SERVER_ROUTES.replace("    routes:\n", IPV6_ROUTES);
    let metadata = "        router: router-0\n";
    let without = config.replace(metadata, &format!("{metadata}        superFrames: false\n"));
    assert_ne!(config, without);
    let hub = world.hub(&without);
    let machines = (&world.machine("host-1"), &world.machine("host-2"));
    let whole = Kind { gso_frames: false, ..WHOLE };
    for pair in [(whole, whole), (whole, PLAIN), (PLAIN, CUT)] {
        transfers(&world, &hub, machines, (pair.0, pair.1, 1420));
    }
    hub.stop_balanced();
}

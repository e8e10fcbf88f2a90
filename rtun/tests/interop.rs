//! rtun and GOST in one network: hosts of either on hubs of either, between real TUN devices.
//!
//! Needs `RTUN_GOST`, the path of a GOST v3 program, and the right to make network namespaces; without them every test
//! says `skipped` and why. What is run here, and against which version, stands in `docs/interop.md`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "interop/network.rs"]
mod network;

use std::{
    io::Write,
    net::{Ipv4Addr, UdpSocket},
    process::{Command, Stdio},
    sync::atomic::Ordering,
};

use common::{SOON, at, does_not_reach, ip, raw, reaches, route_plugin, wait_until};
use network::{
    Mix, Network,
    Program::{Gost, Rtun},
    gost,
};
use nix::sys::signal::Signal;
use rtun_lab::tools::{PingError, ping, tcp_hash_transfer, udp_echo};
use serde_json::Value;

const NAMESPACE_1: &str = "e87f56dd-fd57-4921-9ab8-a0847662daae";
const NAMESPACE_2: &str = "ef502590-c5f4-437e-a81f-fe4083505075";

/// Every test below for every mix of programs.
macro_rules! mixes {
    ($($mix:ident: $hub:expr, $hosts:expr;)*) => {
        $(mod $mix {
            use super::*;

            const MIX: Mix = Mix { hub: $hub, hosts: $hosts };

            mixes! { @tests
                routes_from_command_lines,
                routes_from_files,
                namespaces_from_files,
                packets_of_every_size,
                ipv6,
                users_of_an_auther,
                user_of_the_service,
                namespaces_apart,
                ingress,
                default_router,
                the_hub_comes_back,
                hosts_come_back,
                a_link_cut_silently,
                multicast_to_one_gateway,
            }
        })*
    };
    (@tests $($test:ident,)*) => {
        $(#[test]
        fn $test() {
            if let Some(network) = Network::new(MIX) {
                super::$test(&network);
            }
        })*
    };
}

mixes! {
    rtun_hosts_on_a_gost_hub: Gost, [Rtun, Rtun];
    mixed_hosts_on_a_gost_hub: Gost, [Rtun, Gost];
    gost_hosts_on_an_rtun_hub: Rtun, [Gost, Gost];
    mixed_hosts_on_an_rtun_hub: Rtun, [Gost, Rtun];
}

/// Every transport for every mix of programs.
macro_rules! transports {
    ($($transport:ident)*) => {
        mod over {
            use super::*;

            $(mod $transport {
                use super::*;

                const NAME: &str = stringify!($transport);

                #[test]
                fn rtun_hosts_on_a_gost_hub() {
                    carried_by(NAME, Mix { hub: Gost, hosts: [Rtun, Rtun] });
                }

                #[test]
                fn gost_hosts_on_an_rtun_hub() {
                    carried_by(NAME, Mix { hub: Rtun, hosts: [Gost, Gost] });
                }

                #[test]
                fn mixed_hosts_on_an_rtun_hub() {
                    carried_by(NAME, Mix { hub: Rtun, hosts: [Gost, Rtun] });
                }
            })*
        }
    };
}

transports! { tcp tls ws wss quic mtcp mtls mws mwss h2 h2c grpc }

/// Packets of all sizes and many at once; the hub ends and comes back.
fn carried_by(transport: &str, mix: Mix) {
    let Some(network) = Network::new(mix) else { return };
    let config = ROUTES.replace("type: tcp", &format!("type: {transport}"));
    let start = || match transport {
        "quic" => network.launch_hub(&config),
        _ => network.start_hub(&config),
    };
    let hub = start();
    let _hosts = network.start_plain_hosts(&format!("router+{transport}://server_ip:8443"));
    let [one, two] = [&network.hosts[0], &network.hosts[1]];
    reaches(one, "192.168.123.2");
    for payload in [0, 1, 555, 1392] {
        ping(one, ip("192.168.123.2"), payload, true, SOON).unwrap();
        ping(two, ip("192.168.123.1"), payload, true, SOON).unwrap();
    }
    ping(one, ip("192.168.123.2"), 4000, false, SOON).unwrap();
    tcp_hash_transfer(one, two, at("192.168.123.2", 5000), 5_000_000).unwrap();
    tcp_hash_transfer(two, one, at("192.168.123.1", 5000), 5_000_000).unwrap();
    hub.end(Signal::SIGTERM);
    let _again = start();
    reaches(one, "192.168.123.2");
    reaches(two, "192.168.123.1");
}

const ROUTES: &str = "
services:
- name: service-0
  addr: :8443
  handler:
    type: router
    metadata:
      router: router-0
  listener:
    type: tcp
routers:
- name: router-0
  routes:
  - dst: 192.168.123.1
    gateway: host-1
  - dst: 192.168.100.0/24
    gateway: host-1
  - dst: 192.168.123.2
    gateway: host-2
  - dst: 192.168.200.0/24
    gateway: host-2
  - dst: 192.168.123.3
    gateway: host-3
  - dst: fd00::1
    gateway: host-1
  - dst: fd00::2
    gateway: host-2
  - dst: fd00:200::/64
    gateway: host-2
";

fn routes_from_command_lines(network: &Network) {
    network.start_hub(ROUTES);
    network.start_host(
        0,
        &["-L", "tun:///host-1?net=192.168.123.1/24&route=192.168.200.0/24", "-F", HUB],
    );
    network.start_host(
        1,
        &["-L", "tun:///host-2?net=192.168.123.2/24&route=192.168.100.0/24", "-F", HUB],
    );
    network.networks_behind();
}

fn routes_from_files(network: &Network) {
    network.start_hub(include_str!("tutorial/server-routes.yaml"));
    let one = include_str!("tutorial/host-1.yaml");
    network.start_host_from(0, one);
    let two = one.replace("192.168.123.1", "192.168.123.2").replace("host-1", "host-2");
    network.start_host_from(1, &two.replace("192.168.200.0", "192.168.100.0"));
    network.networks_behind();
}

/// Two hosts in a namespace with a table, two in one that only the default router, a plugin, knows.
fn namespaces_from_files(network: &Network) {
    const OTHER: &str = "11111111-2222-4333-8444-555555555555";
    let questions = route_plugin(&network.world.hub, "127.0.0.1:8000", |dst, id| match (dst, id) {
        ("192.168.123.1", OTHER) => r#"{"dst": "192.168.123.1/32", "gateway": "host-1"}"#.into(),
        ("192.168.123.2", OTHER) => r#"{"net": "192.168.123.0/24", "gateway": "host-2"}"#.into(),
        _ => "{}".into(),
    });
    network.start_hub(include_str!("tutorial/server-namespaces.yaml"));
    let one = include_str!("tutorial/host-1-namespace.yaml");
    let two = one.replace("192.168.123.1", "192.168.123.2").replace("host-1", "host-2");
    for (index, file) in [one, &two].into_iter().enumerate() {
        network.start_host_from(index, file);
        network.start_host_from(index + 2, &file.replace(NAMESPACE_1, OTHER));
    }
    for (one, two) in [(0, 1), (2, 3)] {
        let (one, two) = (&network.hosts[one], &network.hosts[two]);
        reaches(one, "192.168.123.2");
        tcp_hash_transfer(one, two, at("192.168.123.2", 5000), 1_000_000).unwrap();
    }
    assert!(questions.load(Ordering::SeqCst) > 0);
}

fn multicast_to_one_gateway(network: &Network) {
    network.start_hub(&format!("{ROUTES}  - {{dst: 224.0.0.0/4, gateway: host-2}}\n"));
    for n in [1, 2] {
        let service = format!("tun:///host-{n}?net=192.168.123.{n}/24&route=224.0.0.0/4");
        network.start_host(n - 1, &["-L", &service, "-F", HUB]);
    }
    let [one, two] = [&network.hosts[0], &network.hosts[1]];
    reaches(one, "192.168.123.2");
    let group = Ipv4Addr::new(239, 4, 5, 6);
    let join = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4567))?;
        socket.join_multicast_v4(&group, &Ipv4Addr::new(192, 168, 123, 2))?;
        socket.set_read_timeout(Some(SOON))?;
        Ok::<_, std::io::Error>(socket)
    };
    let member = two.run(join).unwrap().unwrap();
    let send = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.send_to(b"group", (group, 4567));
    one.run(send).unwrap().unwrap();
    let mut buffer = [0; 100];
    let (len, from) = member.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..len], from.ip()), (&b"group"[..], ip("192.168.123.1")));
}

fn packets_of_every_size(network: &Network) {
    network.start_hub(ROUTES);
    network.start_plain_hosts(HUB);
    let [one, two] = [&network.hosts[0], &network.hosts[1]];
    reaches(one, "192.168.123.2");
    // The device's MTU is 1420; 20 bytes of IPv4 and 8 of ICMP come before the payload.
    for payload in [0, 1, 2, 56, 555, 1391, 1392] {
        ping(one, ip("192.168.123.2"), payload, true, SOON).unwrap();
        ping(two, ip("192.168.123.1"), payload, true, SOON).unwrap();
    }
    let too_long = ping(one, ip("192.168.123.2"), 1393, true, SOON);
    assert!(matches!(too_long, Err(PingError::Send(_))), "{too_long:?}");
    for payload in [1393, 2000, 4000, 16_000] {
        ping(one, ip("192.168.123.2"), payload, false, SOON).unwrap();
    }
    let address = at("192.168.123.2", 5000);
    tcp_hash_transfer(one, two, address, 20_000_000).unwrap();
    let address = at("192.168.123.1", 5000);
    tcp_hash_transfer(two, one, address, 20_000_000).unwrap();
}

fn ipv6(network: &Network) {
    network.start_hub(ROUTES);
    let hub = "router://[fd77::1]:8443";
    network.start_host(
        0,
        &["-L", "tun:///host-1?net=fd00::1/64,192.168.123.1/24&route=fd00:200::/64", "-F", hub],
    );
    network.start_host(1, &["-L", "tun:///host-2?net=192.168.123.2/24,fd00::2/64", "-F", hub]);
    let [one, two] = [&network.hosts[0], &network.hosts[1]];
    two.addr_add("lo", "fd00:200::1/128").unwrap();
    for to in ["fd00::2", "192.168.123.2", "fd00:200::1"] {
        reaches(one, to);
    }
    // 40 bytes of IPv6 and 8 of ICMPv6.
    for payload in [0, 1, 1371, 1372] {
        ping(one, ip("fd00::2"), payload, true, SOON).unwrap();
    }
    ping(one, ip("fd00::2"), 4000, false, SOON).unwrap();
    let address = at("fd00::2", 5000);
    tcp_hash_transfer(one, two, address, 5_000_000).unwrap();
}

fn users_of_an_auther(network: &Network) {
    let hub = ROUTES.replace("type: router\n", "type: router\n    auther: auther-0\n")
        + "
authers:
- name: auther-0
  auths:
  - username: alice
    password: s3cret
  - username: bob
    password: pa:ss
";
    network.start_hub(&hub);
    only_with_credentials(network);
}

fn user_of_the_service(network: &Network) {
    let auth = "type: router\n    auth:\n      username: alice\n      password: s3cret\n";
    network.start_hub(&ROUTES.replace("type: router\n", auth));
    only_with_credentials(network);
}

fn only_with_credentials(network: &Network) {
    let right = "router://alice:s3cret@server_ip:8443";
    network.start_host(0, &["-L", "tun:///host-1?net=192.168.123.1/24", "-F", right]);
    let second = ["-L", "tun:///host-2?net=192.168.123.2/24", "-F"];
    for wrong in ["router://alice:wrong@server_ip:8443", HUB] {
        let host = network.start_host(1, &[second.as_slice(), &[wrong]].concat());
        wait_until("a refusal in the log", || host.log().contains("unauthorized"));
        does_not_reach(&network.hosts[0], "192.168.123.2");
        host.process.kill().unwrap();
    }
    // The same credentials in their other form.
    let right = "router://server_ip:8443?auth=YWxpY2U6czNjcmV0";
    network.start_host(1, &[second.as_slice(), &[right]].concat());
    reaches(&network.hosts[0], "192.168.123.2");
}

/// Two tables that are equal but for the network behind the second host.
fn two_namespaces() -> String {
    let table = |id, behind| {
        format!(
            "
- name: {id}
  routes:
  - dst: 192.168.123.1
    gateway: host-1
  - dst: 192.168.123.2
    gateway: host-2
  - dst: {behind}
    gateway: host-2
"
        )
    };
    let hub = ROUTES.split("routers:").next().unwrap().replace("router: router-0", "ttl: false");
    hub + "routers:" + &table(NAMESPACE_1, "10.1.0.0/16") + &table(NAMESPACE_2, "10.2.0.0/16")
}

fn namespaces_apart(network: &Network) {
    network.start_hub(&two_namespaces());
    // Hosts 0 and 1 in the first, 2 and 3 in the second, with the same names and addresses.
    for index in 0..4 {
        let id = if index < 2 { NAMESPACE_1 } else { NAMESPACE_2 };
        let name = index % 2 + 1;
        let device = format!("tun:///host-{name}?net=192.168.123.{name}/24&route=10.0.0.0/8");
        network.start_host(index, &["-L", &device, "-F", &format!("{HUB}?router.id={id}")]);
    }
    let hosts = &network.hosts;
    hosts[1].addr_add("lo", "10.1.0.1/32").unwrap();
    hosts[3].addr_add("lo", "10.2.0.1/32").unwrap();
    for (one, two, own, other) in [(0, 1, "10.1.0.1", "10.2.0.1"), (2, 3, "10.2.0.1", "10.1.0.1")] {
        reaches(&hosts[one], "192.168.123.2");
        // Only the host of this namespace listens.
        let address = at("192.168.123.2", 5000);
        tcp_hash_transfer(&hosts[one], &hosts[two], address, 1_000_000).unwrap();
        reaches(&hosts[one], own);
        does_not_reach(&hosts[one], other);
    }
}

fn ingress(network: &Network) {
    let hub = two_namespaces()
        .replace("ttl: false", "ingress: ingress-0")
        .replace("gateway: host-2", "gateway: host-2.wild.example")
        + &format!(
            "
ingresses:
- name: ingress-0
  rules:
  - hostname: host-1
    endpoint: {NAMESPACE_1}
  - hostname: '*.wild.example'
    endpoint: {NAMESPACE_1}
  - hostname: host-3
    endpoint: {NAMESPACE_2}
"
        );
    network.start_hub(&hub);
    let here = format!("{HUB}?router.id={NAMESPACE_1}");
    network.start_host(0, &["-L", "tun:///host-1?net=192.168.123.1/24", "-F", &here]);
    let elsewhere = format!("{HUB}?router.id={NAMESPACE_2}");
    let name = "host-2.wild.example";
    for (name, hub) in
        [(name, elsewhere.as_str()), (name, HUB), ("host-3", &here), ("host-4", &here)]
    {
        let device = format!("tun:///{name}?net=192.168.123.2/24");
        let host = network.start_host(1, &["-L", &device, "-F", hub]);
        wait_until("a refusal in the log", || host.log().contains("host unreachable"));
        does_not_reach(&network.hosts[0], "192.168.123.2");
        host.process.kill().unwrap();
    }
    let device = format!("tun:///{name}?net=192.168.123.2/24");
    network.start_host(1, &["-L", &device, "-F", &here]);
    reaches(&network.hosts[0], "192.168.123.2");
}

fn default_router(network: &Network) {
    // The first namespace has a table, which says nothing of host-2; the second has none.
    let hub = ROUTES.to_owned()
        + &format!(
            "- name: {NAMESPACE_1}\n  routes:\n  - dst: 192.168.123.1\n    gateway: host-1\n"
        );
    network.start_hub(&hub);
    for (index, id) in [NAMESPACE_1, NAMESPACE_1, NAMESPACE_2, NAMESPACE_2].iter().enumerate() {
        let name = index % 2 + 1;
        let device = format!("tun:///host-{name}?net=192.168.123.{name}/24");
        network.start_host(index, &["-L", &device, "-F", &format!("{HUB}?router.id={id}")]);
    }
    for (one, two) in [(0, 1), (2, 3)] {
        let (one, two) = (&network.hosts[one], &network.hosts[two]);
        reaches(one, "192.168.123.2");
        let address = at("192.168.123.2", 5000);
        tcp_hash_transfer(one, two, address, 1_000_000).unwrap();
    }
}

fn the_hub_comes_back(network: &Network) {
    let mut hub = network.start_hub(ROUTES);
    network.start_plain_hosts(HUB);
    let [one, two] = [&network.hosts[0], &network.hosts[1]];
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        reaches(one, "192.168.123.2");
        hub.end(signal);
        does_not_reach(one, "192.168.123.2");
        hub = network.start_hub(ROUTES);
    }
    reaches(one, "192.168.123.2");
    reaches(two, "192.168.123.1");
}

fn hosts_come_back(network: &Network) {
    network.start_hub(ROUTES);
    let mut running = network.start_plain_hosts(HUB);
    let [one, two] = [&network.hosts[0], &network.hosts[1]];
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        for index in [0, 1] {
            reaches(one, "192.168.123.2");
            reaches(two, "192.168.123.1");
            running[index].end(signal);
            does_not_reach(&network.hosts[1 - index], &format!("192.168.123.{}", index + 1));
            running[index] = network.start_plain_host(index, HUB);
        }
    }
    reaches(one, "192.168.123.2");
}

fn a_link_cut_silently(network: &Network) {
    network.start_hub(ROUTES);
    network.start_plain_hosts(HUB);
    let [one, two] = [&network.hosts[0], &network.hosts[1]];
    for cut in [one, two, &network.world.hub] {
        reaches(one, "192.168.123.2");
        reaches(two, "192.168.123.1");
        network.world.switch.cut(cut).unwrap();
        does_not_reach(one, "192.168.123.2");
        does_not_reach(two, "192.168.123.1");
        network.world.switch.restore(cut).unwrap();
    }
    reaches(one, "192.168.123.2");
    reaches(two, "192.168.123.1");
}

/// Of two hosts with one name the newest carries it, whichever programs they are, and the older takes over.
#[test]
fn a_name_twice() {
    let Some(network) = Network::new(Mix { hub: Rtun, hosts: [Rtun, Gost] }) else { return };
    let hub = network.world.hub(ROUTES);
    let sender = &network.hosts[0];
    network.start_plain_host(0, HUB);
    let second = ["-L", "tun:///host-2?net=192.168.123.2/24", "-F", HUB];
    let mut joined = 1;
    // Machines 1 and 3 run GOST, 2 runs rtun.
    for (older, newer) in [(1, 2), (2, 3)] {
        let programs = [older, newer].map(|index| {
            hub.wait_for_nth("host joined", joined);
            joined += 1;
            network.start_host(index, &second)
        });
        hub.wait_for_nth("host joined", joined);
        for carrier in [newer, older] {
            reaches(sender, "192.168.123.2");
            let address = at("192.168.123.2", 5000);
            tcp_hash_transfer(sender, &network.hosts[carrier], address, 1_000_000).unwrap();
            programs[usize::from(carrier == newer)].process.kill().unwrap();
        }
    }
}

/// A GOST host that takes nothing off its connection for a while costs other hosts nothing and is back afterwards.
#[test]
fn a_gost_host_that_stops_reading() {
    let Some(network) = Network::new(Mix { hub: Rtun, hosts: [Rtun, Gost] }) else { return };
    network.start_hub(ROUTES);
    let [_, stopped] = network.start_plain_hosts(HUB);
    network.start_host(2, &["-L", "tun:///host-3?net=192.168.123.3/24", "-F", HUB]);
    let [one, three] = [&network.hosts[0], &network.hosts[2]];
    reaches(one, "192.168.123.2");
    reaches(one, "192.168.123.3");
    stopped.process.signal(Signal::SIGSTOP).unwrap();
    // More than sockets hold, while packets for another host go on.
    one.run(|| {
        let socket = UdpSocket::bind("192.168.123.1:0").unwrap();
        for _ in 0..20_000 {
            let _ = socket.send_to(&[0; 1300], "192.168.123.2:9");
        }
    })
    .unwrap();
    tcp_hash_transfer(one, three, at("192.168.123.3", 5000), 5_000_000).unwrap();
    stopped.process.signal(Signal::SIGCONT).unwrap();
    reaches(one, "192.168.123.2");
}

/// A GOST host whose name has a port says that it carries UDP and begins with a message that is no packet.
#[test]
fn a_name_with_a_port() {
    let Some(network) = Network::new(Mix { hub: Rtun, hosts: [Gost, Rtun] }) else { return };
    network.start_hub(ROUTES);
    network.start_host(0, &["-L", "tun:///host-1:0?net=192.168.123.1/24", "-F", HUB]);
    network.start_plain_host(1, HUB);
    reaches(&network.hosts[0], "192.168.123.2");
    ping(&network.hosts[1], ip("192.168.123.1"), 1392, true, SOON).unwrap();
}

/// Whatever another host sends, a GOST host gets frames it can take: none empty, none above 16,384 bytes.
#[test]
fn frames_a_gost_host_cannot_take() {
    let Some(network) = Network::new(Mix { hub: Rtun, hosts: [Rtun, Gost] }) else { return };
    let hub = network.world.hub(ROUTES);
    let mut sender = raw::RawHost::join(&network.hosts[0], "host-1");
    let gost = network.start_plain_host(1, HUB);
    hub.wait_for_nth("host joined", 2);
    let _echo = udp_echo(&network.hosts[1], at("0.0.0.0", 9)).unwrap();
    let frame = |payload: &[u8]| raw::udp("192.168.123.1", "192.168.123.2", payload);
    let answered = |sender: &mut raw::RawHost, number: u8| {
        let stamp = [0xa5, number, 0x5a, number];
        sender.send(&frame(&stamp));
        // Other packets of the GOST host's may come before.
        while !sender.receive().ends_with(&stamp) {}
    };
    let packet = |len: usize| frame(&vec![0; len - 28]);
    let odd = [vec![], vec![0x45], vec![0x60; 39], vec![1; 40], b"GOST, then anything".to_vec()];
    let large = [16_384, 16_385, 16_400, 30_000, 65_535].map(packet);
    for (number, payload) in (1..).zip(odd.iter().chain(&large)) {
        sender.send(payload);
        answered(&mut sender, number);
    }
    assert!(gost.process.try_wait().unwrap().is_none(), "{}", gost.log());
}

/// What `-O` prints means the same in both programs, and each reads what the other prints.
#[test]
fn printed_configurations() {
    let Some(gost) = gost() else { return };
    let rtun = env!("CARGO_BIN_EXE_rtun");
    let hub = "router://alice:s3cret@:8443?router=router-0&ingress=ingress-0";
    let device = "tun:///host-1?net=192.168.123.1/24&route=192.168.200.0/24&name=tun0&mtu=1300";
    let id = format!("router://server_ip:8443?router.id={NAMESPACE_1}");
    let lines: [&[&str]; 5] = [
        &["-L", "tun:///host-1?net=192.168.123.1/24", "-F", HUB],
        &["-L", device, "-F", &id],
        &["-L", device, "-F", "router://alice:s3cret@server_ip:8443?connector.connectTimeout=5s"],
        &["-L", hub, "-L", "router://10.0.0.1:8443", "-L", "router://[::1]:8443"],
        &["-L", device, "-F", "router://[fd77::1]:8443", "-D"],
    ];
    for line in lines {
        let json = [line, &["-O", "json"]].concat();
        let yaml = [line, &["-O", "yaml"]].concat();
        let expected = printed(&gost, &json, "");
        assert_eq!(printed(rtun, &json, ""), expected, "{line:?}");
        for (writer, reader) in [(rtun, gost.as_str()), (gost.as_str(), rtun)] {
            let text = print(writer, &yaml, "");
            // The case of metadata keys does not count; GOST lowers it when it reads a file.
            let lower = |value: &Value| value.to_string().to_lowercase();
            let read = printed(reader, &["-C", "-", "-O", "json"], &text);
            assert_eq!(lower(&read), lower(&expected), "{reader} reads of {writer}:\n{text}");
        }
    }
}

fn printed(program: &str, arguments: &[&str], input: &str) -> Value {
    serde_json::from_str(&print(program, arguments, input)).unwrap()
}

/// What `program` prints, given `input`.
fn print(program: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

const HUB: &str = "router://server_ip:8443";

//! Packets of every kind between clients, the server, and networks behind them.

use std::{fs, time::Duration};

use rtun_lab::tools::{ping, tcp_hash_transfer, udp_echo};

use crate::{
    common::{HUB, World, at, does_not_reach, ip, reaches, wait_until},
    support::{
        OPEN, Script, WITH_USERS, client, drops, echo, is_answer, is_registered, outer_of, server,
        status,
    },
};

#[test]
fn clients_reach_the_server_and_each_other_over_both_families_inside_and_outside() {
    let Some(world) = World::new() else { return };
    let server = server(&world, WITH_USERS);
    let (one, two) = (world.machine("one"), world.machine("two"));
    let url =
        format!("tun://:0/{HUB}:8421?net=192.168.123.2/24,fd99::2/64&passphrase=pass-2&name=tun0");
    let first = world.start(&one, &["-L", &url]);
    // The other one comes over IPv6.
    let url = "tun://:0/[fd77::1]:8421?net=192.168.123.3/24&passphrase=pass-3&name=tun0";
    let second = world.start(&two, &["-L", url]);
    is_registered(&first);
    is_registered(&second);
    for (from, to) in [
        (&one, "192.168.123.1"),
        (&one, "fd99::1"),
        (&one, "192.168.123.3"),
        (&two, "192.168.123.1"),
        (&two, "192.168.123.2"),
        (&world.hub, "192.168.123.2"),
        (&world.hub, "fd99::2"),
        (&world.hub, "192.168.123.3"),
    ] {
        reaches(from, to);
    }
    let outer = outer_of(&server, "192.168.123.3").unwrap();
    assert!(outer.is_ipv6(), "{outer}");
    tcp_hash_transfer(&one, &world.hub, at("192.168.123.1", 5001), 20_000_000).unwrap();
    tcp_hash_transfer(&one, &two, at("192.168.123.3", 5001), 20_000_000).unwrap();
    tcp_hash_transfer(&one, &world.hub, at("fd99::1", 5001), 5_000_000).unwrap();
    let clients = status(&server);
    let clients = clients["clients"].as_array().unwrap();
    assert_eq!(clients.len(), 2);
    assert_eq!(clients[0]["addresses"], serde_json::json!(["192.168.123.2", "fd99::2"]));
    assert!(clients[0]["packets_in"].as_u64().unwrap() > 1000);
    first.stop();
    second.stop();
    server.stop();
}

#[test]
fn packets_of_every_size_pass_or_are_said_to_be_too_long() {
    let Some(world) = World::new() else { return };
    let big = OPEN.replace("name: tun0", "name: tun0, mtu: 9000");
    let _server = server(&world, &big);
    let one = world.machine("one");
    let first = client(&world, &one, 2, "&mtu=9000");
    is_registered(&first);
    reaches(&one, "192.168.123.1");
    let within = Duration::from_secs(2);
    for payload in [0, 56, 1392, 1393, 1472, 1473, 4000, 8972] {
        ping(&one, ip("192.168.123.1"), payload, true, within).unwrap();
        ping(&world.hub, ip("192.168.123.2"), payload, true, within).unwrap();
    }
    // Beyond the device's MTU in fragments, or not at all.
    ping(&one, ip("192.168.123.1"), 20_000, false, within).unwrap();
    let refused = ping(&one, ip("192.168.123.1"), 8973, true, within);
    assert!(refused.is_err(), "{refused:?}");
    // A script is bound by no MTU: what fits into a datagram reaches the device.
    let script = Script::new(&world.machine("script"));
    script.join("", &["192.168.123.9"]);
    for payload in [16_356, 16_357, 60_000, 65_479] {
        script.send(&echo("192.168.123.9", "192.168.123.1", payload));
        reaches(&one, "192.168.123.1");
    }
    script.join("", &["192.168.123.9"]);
}

#[test]
fn udp_and_forwarded_packets_keep_their_bytes_and_ttl() {
    let Some(world) = World::new() else { return };
    let _server = server(&world, OPEN);
    let (one, two) = (world.machine("one"), world.machine("two"));
    let (first, second) = (client(&world, &one, 2, ""), client(&world, &two, 3, ""));
    is_registered(&first);
    is_registered(&second);
    let echo_server = udp_echo(&two, at("192.168.123.3", 0)).unwrap();
    let socket = one.run(|| std::net::UdpSocket::bind("192.168.123.2:0").unwrap()).unwrap();
    socket.connect(echo_server.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    for len in [0, 1, 1000, 1372, 1392] {
        let sent = vec![len as u8; len];
        socket.send(&sent).unwrap();
        let mut buffer = [0; 2000];
        let received = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..received], sent);
    }
    // Two scripts: what one sends is what the other gets, TTL and all.
    let (left, right) = (Script::new(&one), Script::new(&two));
    left.join("", &["192.168.123.8"]);
    right.join("", &["192.168.123.9"]);
    let packet = echo("192.168.123.8", "192.168.123.9", 33);
    left.send(&packet);
    assert_eq!(right.expect(), packet);
}

#[test]
fn networks_behind_clients_are_reached_by_the_longest_prefix() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    let (behind_one, behind_two) =
        (world.behind(&one, "192.168.20"), world.behind(&two, "192.168.30"));
    // The wide prefix stands first and is not the one that counts.
    let config = OPEN.replace(
        "name: tun0",
        "name: tun0, routes: ['192.168.0.0/16 192.168.123.2', '192.168.30.0/24 192.168.123.3']",
    );
    let server = server(&world, &config);
    let first = client(&world, &one, 2, "&route=192.168.30.0/24");
    let second = client(&world, &two, 3, "&route=192.168.20.0/24");
    is_registered(&first);
    is_registered(&second);
    reaches(&world.hub, "192.168.20.2");
    reaches(&world.hub, "192.168.30.2");
    reaches(&behind_one, "192.168.30.2");
    reaches(&behind_two, "192.168.20.2");
    assert_eq!(drops(&server, "spoofed"), 0);
    // A source that is behind nobody.
    let script = Script::new(&one);
    script.join("", &["192.168.123.9"]);
    script.send(&echo("192.168.30.77", "192.168.123.1", 8));
    wait_until("a spoofed packet", || drops(&server, "spoofed") == 1);
}

#[test]
fn a_router_names_the_networks_too() {
    let Some(world) = World::new() else { return };
    let one = world.machine("one");
    let _behind = world.behind(&one, "192.168.20");
    let config = format!(
        "{}
routers:
- name: networks
  routes:
  - {{dst: 192.168.20.0/24, gateway: 192.168.123.2}}
",
        OPEN.replace("name: tun0", "name: tun0, router: networks, route: 192.168.20.0/24")
    );
    let _server = server(&world, &config);
    let first = client(&world, &one, 2, "");
    is_registered(&first);
    reaches(&world.hub, "192.168.20.2");
}

#[test]
fn point_to_point_is_one_client_with_every_address_behind_it() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    let _behind = world.behind(&one, "192.168.20");
    let config = OPEN
        .replace("{type: tun}", "{type: tun, metadata: {p2p: true}}")
        .replace("name: tun0", "name: tun0, route: 192.168.20.0/24");
    let server = server(&world, &config);
    let first = client(&world, &one, 2, "&ttl=1");
    is_registered(&first);
    reaches(&world.hub, "192.168.20.2");
    // A second one on another machine does not take it away.
    let script = Script::new(&two);
    assert_eq!(script.register("", &["192.168.123.3"]), None);
    assert!(drops(&server, "duplicate") > 0);
    reaches(&world.hub, "192.168.20.2");
}

#[test]
fn unknown_destinations_go_to_the_device_from_clients_and_nowhere_from_the_device() {
    let Some(world) = World::new() else { return };
    let server = server(&world, OPEN);
    let one = world.machine("one");
    let script = Script::new(&one);
    script.join("", &["192.168.123.9"]);
    // The server's own address is one that nobody has registered.
    script.send(&echo("192.168.123.9", "192.168.123.1", 8));
    assert!(is_answer(&script.expect_packet()));
    does_not_reach(&world.hub, "192.168.123.77");
    assert!(drops(&server, "no_route") >= 3);
    // Of the client to a network that the server's machine is in.
    script.send(&echo("192.168.123.9", "10.0.0.1", 8));
    assert!(is_answer(&script.expect_packet()));
    let devices = fs::read_to_string("/proc/net/dev").unwrap();
    assert!(!devices.contains("tun0"), "all of it was in namespaces");
}

#[test]
fn the_default_route_through_the_tunnel_leaves_the_tunnel_alone() {
    let Some(world) = World::new() else { return };
    let server = server(&world, OPEN);
    world.hub.forward_packets().unwrap();
    let beyond = world.behind(&world.hub, "192.168.50");
    let one = world.machine("one");
    let first = client(&world, &one, 2, "&route=0.0.0.0/0&ttl=1");
    is_registered(&first);
    reaches(&one, "192.168.50.2");
    reaches(&beyond, "192.168.123.2");
    let before = status(&first)["replies"].as_u64().unwrap();
    wait_until("keepalives past the default route", || {
        status(&first)["replies"].as_u64().unwrap() > before + 1
    });
    server.stop();
}

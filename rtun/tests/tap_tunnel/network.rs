//! Packets of every kind between the machines of an Ethernet tunnel.

use std::time::Duration;

use rtun_lab::tools::{ping, tcp_hash_transfer};

use crate::{
    common::{World, at, reaches, wait_until},
    support::{CLEAR, SEALED, client, drops, ip, is_answered, server, status},
};

#[test]
fn all_reach_all_over_both_families_in_clear_text_and_with_each_cipher() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    for cipher in
        [CLEAR, SEALED, "AEAD_AES_128_GCM:secret@", "chacha20-ietf-poly1305:%C3%A4%20secret@"]
    {
        let server = server(&world, cipher);
        let clients = [client(&world, &one, cipher, 2), client(&world, &two, cipher, 3)];
        clients.iter().for_each(is_answered);
        // IPv6 needs multicast in each direction to find anybody.
        for from in [&world.hub, &one, &two] {
            for n in 1..=3 {
                reaches(from, &format!("192.168.124.{n}"));
                reaches(from, &format!("fd99::{n}"));
            }
        }
        tcp_hash_transfer(&one, &world.hub, at("192.168.124.1", 5001), 5_000_000).unwrap();
        tcp_hash_transfer(&one, &two, at("fd99::3", 5001), 5_000_000).unwrap();
        for payload in [0, 1392, 4000] {
            let to = crate::common::ip("192.168.124.3");
            ping(&one, to, payload, false, Duration::from_secs(2)).unwrap();
        }
        let shown = status(&server);
        let method = shown["cipher"].as_str().unwrap_or("").to_owned();
        assert_eq!(method.is_empty(), cipher == CLEAR, "{shown}");
        assert_eq!(shown["clients"].as_array().unwrap().len(), 2);
        assert!(shown["clients"][0]["packets_in"].as_u64().unwrap() > 100, "{shown}");
        for reason in ["malformed", "undecryptable", "replayed", "own_address", "bad_address"] {
            assert_eq!(drops(&server, reason), 0, "{reason}");
            assert_eq!(drops(&clients[0], reason), 0, "{reason}");
        }
        clients.iter().for_each(crate::common::Rtun::stop);
        server.stop();
    }
}

#[test]
fn a_network_behind_a_client_is_part_of_the_same() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    let server = server(&world, SEALED);
    let clients = [client(&world, &one, SEALED, 2), client(&world, &two, SEALED, 3)];
    clients.iter().for_each(is_answered);
    // The first one's device is a port of a bridge, to which another machine is connected.
    let behind = world.cable(&one, "lan", "10.99.0.1/24", "192.168.124.77/24");
    ip(&one, "link add br0 type bridge");
    for device in ["tap0", "lan"] {
        ip(&one, &format!("link set {device} master br0"));
    }
    ip(&one, "link set br0 up");
    reaches(&behind, "192.168.124.1");
    reaches(&behind, "192.168.124.3");
    reaches(&two, "192.168.124.77");
    wait_until("learnt addresses", || {
        let clients = status(&server)["clients"].clone();
        clients.as_array().unwrap().iter().any(|it| it["macs"].as_array().unwrap().len() >= 2)
    });
}

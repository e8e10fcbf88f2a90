//! rtun and GOST at the two ends of an Ethernet tunnel.

use rtun_lab::tools::tcp_hash_transfer;

use crate::{
    common::{HUB, World, at, gost, pings, reaches, wait_until},
    support::{CLEAR, SEALED, client, drops, is_answered, server},
};

#[test]
fn gosts_clients_at_our_server() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    for cipher in [CLEAR, SEALED, "chacha20-ietf-poly1305:secret@"] {
        let url = format!("tap://{cipher}:0/{HUB}:8421?net=192.168.124.2/24&name=tap0");
        let Some(gost) = gost::start(&world, &one, &["-L", &url]) else { return };
        let server = server(&world, cipher);
        let second = client(&world, &two, cipher, 3);
        is_answered(&second);
        reaches(&one, "192.168.124.1");
        reaches(&one, "192.168.124.3");
        reaches(&two, "192.168.124.2");
        reaches(&world.hub, "192.168.124.2");
        tcp_hash_transfer(&one, &world.hub, at("192.168.124.1", 5001), 5_000_000).unwrap();
        tcp_hash_transfer(&two, &one, at("192.168.124.2", 5001), 5_000_000).unwrap();
        assert_eq!(drops(&server, "undecryptable") + drops(&server, "malformed"), 0);
        gost.kill().unwrap();
        second.stop();
        server.stop();
    }
}

#[test]
fn our_clients_at_gosts_server() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    for cipher in [CLEAR, SEALED, "aes-128-gcm:secret@"] {
        let url = format!("tap://{cipher}:8421?net=192.168.124.1/24&name=tap0");
        let Some(first) = gost::start(&world, &world.hub, &["-L", &url]) else { return };
        let clients = [client(&world, &one, cipher, 2), client(&world, &two, cipher, 3)];
        // GOST sends a frame back that is for its own sender, which is an answer.
        clients.iter().for_each(is_answered);
        reaches(&one, "192.168.124.1");
        reaches(&one, "192.168.124.3");
        reaches(&world.hub, "192.168.124.3");
        tcp_hash_transfer(&one, &world.hub, at("192.168.124.1", 5001), 5_000_000).unwrap();
        tcp_hash_transfer(&two, &one, at("192.168.124.2", 5001), 5_000_000).unwrap();
        first.kill().unwrap();
        wait_until("a server that is gone", || !pings(&one, "192.168.124.1"));
        let again = gost::start(&world, &world.hub, &["-L", &url]).unwrap();
        reaches(&one, "192.168.124.3");
        again.kill().unwrap();
        clients.iter().for_each(crate::common::Rtun::stop);
    }
}

//! rtun and GOST at the two ends of a UDP tunnel.

use std::{
    fs::File,
    process::{Command, Stdio},
    time::Duration,
};

use rtun_lab::{
    NetNamespace, Process,
    tools::{ping, tcp_hash_transfer},
};

use crate::{
    common::{HUB, World, at, ip, pings, reaches, wait_until},
    support::{WITH_USERS, client, gost, is_registered, outer_of, server},
};

/// Starts GOST; its log goes into the test's folder.
fn start(world: &World, machine: &NetNamespace, arguments: &[&str]) -> Option<Process> {
    let mut command = Command::new(gost()?);
    let log = File::create(world.file(&format!("gost-{}.log", machine.name()), "")).unwrap();
    command.args(arguments).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    Some(machine.spawn(command).unwrap())
}

#[test]
fn gosts_clients_at_our_server() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    let url = format!(
        "tun://:0/{HUB}:8421?net=192.168.123.2/24,fd99::2/64&passphrase=pass-2&keepalive=true&ttl=2"
    );
    let Some(_gost) = start(&world, &one, &["-L", &url]) else { return };
    let server = server(&world, WITH_USERS);
    let second = client(&world, &two, 3, "");
    is_registered(&second);
    reaches(&one, "192.168.123.1");
    reaches(&one, "192.168.123.3");
    reaches(&world.hub, "fd99::2");
    reaches(&two, "192.168.123.2");
    tcp_hash_transfer(&one, &world.hub, at("192.168.123.1", 5001), 5_000_000).unwrap();
    tcp_hash_transfer(&two, &one, at("192.168.123.2", 5001), 5_000_000).unwrap();
    for payload in [0, 1392, 4000] {
        ping(&two, ip("192.168.123.2"), payload, false, Duration::from_secs(2)).unwrap();
    }
    // It counts as answered: it stays on its port.
    let outer = outer_of(&server, "192.168.123.2").unwrap();
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(outer_of(&server, "192.168.123.2"), Some(outer));
    server.stop();
}

#[test]
fn our_clients_at_gosts_server() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    let config = world.file(
        "gost.yaml",
        &WITH_USERS.replace("'192.168.123.1/24,fd99::1/64'", "192.168.123.1/24"),
    );
    let arguments = ["-C", config.to_str().unwrap()];
    let Some(first) = start(&world, &world.hub, &arguments) else { return };
    let client_one = client(&world, &one, 2, "&ttl=1");
    let client_two = client(&world, &two, 3, "&ttl=1");
    is_registered(&client_one);
    is_registered(&client_two);
    reaches(&one, "192.168.123.1");
    reaches(&one, "192.168.123.3");
    reaches(&world.hub, "192.168.123.3");
    tcp_hash_transfer(&one, &world.hub, at("192.168.123.1", 5001), 5_000_000).unwrap();
    tcp_hash_transfer(&two, &one, at("192.168.123.2", 5001), 5_000_000).unwrap();
    for payload in [0, 1392, 4000] {
        ping(&two, ip("192.168.123.2"), payload, false, Duration::from_secs(2)).unwrap();
    }
    first.kill().unwrap();
    wait_until("a server that is gone", || !pings(&one, "192.168.123.1"));
    let _again = start(&world, &world.hub, &arguments).unwrap();
    reaches(&one, "192.168.123.3");
}

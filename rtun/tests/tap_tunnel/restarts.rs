//! Ends that start again, devices that are taken away, servers that go: nobody has to ask for an address again.

use std::process::Command;

use rtun_lab::NetNamespace;

use crate::{
    common::{HUB, World, does_not_reach, reaches, wait_until},
    support::{CLEAR, SEALED, client, client_url, is_answered, mac_of, server, server_url, status},
};

/// What a machine remembers of the hardware address of `address`.
fn remembered(machine: &NetNamespace, address: &str) -> String {
    let show = || Command::new("ip").args(["neigh", "show", address]).output().unwrap();
    let shown = String::from_utf8(machine.run(show).unwrap().stdout).unwrap();
    let mut words = shown.split_whitespace().skip_while(|word| *word != "lladdr");
    words.nth(1).unwrap_or_default().to_owned()
}

#[test]
fn an_end_that_starts_again_has_the_same_address_and_is_found_at_once() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    let first_server = server(&world, SEALED);
    let clients = [client(&world, &one, SEALED, 2), client(&world, &two, SEALED, 3)];
    clients.iter().for_each(is_answered);
    reaches(&one, "192.168.124.1");
    reaches(&one, "192.168.124.3");
    let (server_mac, client_mac) = (mac_of(&world.hub), mac_of(&two));
    assert_ne!(server_mac, client_mac);
    assert_eq!(remembered(&one, "192.168.124.1"), server_mac.to_string());
    first_server.stop();
    let again = world.start(&world.hub, &["-L", &server_url(SEALED)]);
    wait_until("a listening server", || again.log().contains("listening on"));
    assert_eq!(mac_of(&world.hub), server_mac);
    reaches(&one, "192.168.124.1");
    assert_eq!(remembered(&one, "192.168.124.1"), server_mac.to_string());
    // The server knows nobody yet, and clients that have nothing to send are found all the same.
    reaches(&world.hub, "192.168.124.3");
    let [_first, second] = clients;
    second.stop();
    let second = world.start(&two, &["-L", &client_url(SEALED, 3)]);
    is_answered(&second);
    assert_eq!(mac_of(&two), client_mac);
    assert_eq!(remembered(&one, "192.168.124.3"), client_mac.to_string());
    reaches(&one, "192.168.124.3");
    reaches(&world.hub, "192.168.124.3");
    again.stop();
}

#[test]
fn a_device_that_is_taken_away_comes_back_as_it_was() {
    let Some(world) = World::new() else { return };
    let one = world.machine("one");
    let server = server(&world, CLEAR);
    let first = client(&world, &one, CLEAR, 2);
    is_answered(&first);
    reaches(&one, "192.168.124.1");
    let port = status(&first)["local"].clone();
    for machine in [&one, &world.hub] {
        let mac = mac_of(machine);
        for arguments in [&["link", "del", "tap0"][..], &["link", "set", "tap0", "down"]] {
            let ip = || Command::new("ip").args(arguments).status().unwrap().success();
            assert!(machine.run(ip).unwrap());
            reaches(&one, "192.168.124.1");
            reaches(&world.hub, "fd99::2");
            assert_eq!(mac_of(machine), mac);
        }
    }
    assert_eq!(status(&first)["local"], port, "the socket stays");
    assert_eq!(status(&server)["health"]["times_gone"], 1);
    first.stop();
    server.stop();
    for machine in [&one, &world.hub] {
        let show = || Command::new("ip").args(["link", "show", "tap0"]).status().unwrap();
        assert!(!machine.run(show).unwrap().success(), "the device goes with its service");
    }
}

#[test]
fn a_client_goes_to_the_next_server_when_one_is_gone() {
    let Some(world) = World::new() else { return };
    let one = world.machine("one");
    let url = format!(
        "tap://{SEALED}:0/{HUB}:8422,{HUB}:8421?net=192.168.124.2/24,fd99::2/64&name=tap0&mac=02:00:00:00:00:22"
    );
    let first = world.start(&one, &["-L", &url]);
    does_not_reach(&one, "192.168.124.1");
    let server = server(&world, SEALED);
    is_answered(&first);
    reaches(&one, "192.168.124.1");
    assert_eq!(mac_of(&one).to_string(), "02:00:00:00:00:22");
    assert_eq!(status(&first)["server"], format!("{HUB}:8421"));
    server.stop();
    first.stop();
}

//! Users of servers and relays that stand in files.

use std::fs;

use crate::{
    common::{HUB, World, reaches, wait_until},
    support::{Script, client, is_registered, outer_of, server, service_status},
};

/// A server and a relay to it, with users of their own.
const CONFIG: &str = "
services:
- name: server
  addr: :8421
  handler: {type: tun, auther: clients}
  listener: {type: tun, metadata: {net: 192.168.123.1/24, name: tun0}}
- name: the-relay
  addr: :8443
  handler: {type: relay, auther: users}
  listener: {type: tcp}
authers:
- name: clients
  auths: [{username: 192.168.123.2, password: pass-2}]
  file: {path: CLIENTS}
- name: users
  file: {path: USERS}
";

#[test]
fn users_of_files_are_followed_and_nobody_else_notices() {
    let Some(world) = World::new() else { return };
    let clients = world.file("clients.txt", "192.168.123.3 pass-3\n192.168.123.5 pass-5\n");
    let users = world.file("users.txt", "u p\n");
    let config = CONFIG
        .replace("CLIENTS", &clients.display().to_string())
        .replace("USERS", &users.display().to_string());
    let server = server(&world, &config);
    server.wait_for("relay listens");
    let replaced = || server.log().matches("rules replaced: a source has changed").count();
    let (one, two, three) = (world.machine("one"), world.machine("two"), world.machine("three"));
    let first = client(&world, &one, 2, "");
    is_registered(&first);
    let script = Script::new(&two);
    script.join("pass-3", &["192.168.123.3"]);
    let relayed = |user: &str| {
        let url = "tun://:0/:8421?net=192.168.123.5/24&passphrase=pass-5&name=tun0&ttl=1s";
        let chain = format!("relay+tcp://{user}@{HUB}:8443");
        world.start(&three, &["-L", url, "-F", &chain])
    };
    let second = relayed("u:p");
    is_registered(&second);
    reaches(&three, "192.168.123.2");
    let since = || service_status(&server, "server")["clients"][0]["registered"].as_f64().unwrap();
    let before = since();

    // A passphrase changes, and a client comes.
    fs::write(&clients, "192.168.123.3 other\n192.168.123.4 pass-4\n192.168.123.5 pass-5\n")
        .unwrap();
    wait_until("other clients", || replaced() == 1);
    assert_eq!(outer_of(&server, "192.168.123.3"), None, "it has shown what is wrong now");
    assert_eq!(script.register("pass-3", &["192.168.123.3"]), None);
    script.join("other", &["192.168.123.3"]);
    Script::new(&two).join("pass-4", &["192.168.123.4"]);
    assert!(since() > before, "the other one did not have to register again");

    // The relay's user becomes another.
    fs::write(&users, "v q\n").unwrap();
    wait_until("other users", || replaced() == 2);
    let relay = || service_status(&server, "the-relay");
    wait_until("a client that may not connect", || {
        relay()["clients"].as_array().unwrap().is_empty()
            && !relay()["refused"]["auth_failed"].is_null()
    });
    second.stop();
    let second = relayed("v:q");
    is_registered(&second);
    reaches(&three, "192.168.123.2");
    server.stop();
}

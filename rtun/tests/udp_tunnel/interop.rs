//! rtun and GOST at the two ends of a UDP tunnel.

use std::time::Duration;

use rtun_lab::tools::{ping, tcp_hash_transfer};

use crate::{
    common::{HUB, World, at, gost, ip, pings, programs::address, reaches, wait_until},
    support::{OPEN, WITH_USERS, client, is_registered, outer_of, server, service_status, status},
};

#[test]
fn gosts_clients_at_our_server() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    let url = format!(
        "tun://:0/{HUB}:8421?net=192.168.123.2/24,fd99::2/64&passphrase=pass-2&keepalive=true&ttl=2"
    );
    let Some(_gost) = gost::start(&world, &one, &["-L", &url]) else { return };
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
    let Some(first) = gost::start(&world, &world.hub, &arguments) else { return };
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
    let _again = gost::start(&world, &world.hub, &arguments).unwrap();
    reaches(&one, "192.168.123.3");
}

#[test]
fn gosts_clients_through_our_relay() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    for (transport, more) in
        [("tcp", ""), ("tls", ""), ("ws", "?nodelay=true"), ("wss", ""), ("quic", "?nodelay=true")]
    {
        let server = "tun://127.0.0.1:8421?net=192.168.123.1/24&name=tun0";
        let relay = format!("relay+{transport}://u:p@:8443");
        let rtun = world.start(&world.hub, &["-L", server, "-L", &relay]);
        rtun.wait_for("relay listens");
        let url = "tun://:0/:8421?net=192.168.123.2/24&name=tun0&keepalive=true&ttl=2";
        let chain = format!("relay+{transport}://u:p@{HUB}:8443{more}");
        let Some(gost) = gost::start(&world, &one, &["-L", url, "-F", &chain]) else { return };
        let chain = format!("relay+{transport}://u:p@{HUB}:8443");
        let url = "tun://:0/:8421?net=192.168.123.3/24&name=tun0";
        let ours = world.start(&two, &["-L", url, "-F", &chain]);
        is_registered(&ours);
        reaches(&one, "192.168.123.1");
        reaches(&one, "192.168.123.3");
        reaches(&world.hub, "192.168.123.2");
        tcp_hash_transfer(&one, &world.hub, at("192.168.123.1", 5001), 3_000_000).unwrap();
        tcp_hash_transfer(&two, &one, at("192.168.123.2", 5002), 3_000_000).unwrap();
        gost.kill().unwrap();
        ours.stop();
        rtun.stop();
    }
}

#[test]
fn our_clients_through_gosts_relay() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    for (transport, more) in
        [("tcp", ""), ("tls", "&nodelay=true"), ("ws", ""), ("wss", ""), ("quic", "")]
    {
        let relay = format!("relay+{transport}://u:p@:8443?bind=true{more}");
        let arguments = ["-L", "tun://:8421?net=192.168.123.1/24&name=tun0", "-L", &relay];
        let Some(gost) = gost::start(&world, &world.hub, &arguments) else { return };
        let chain = format!("relay+{transport}://u:p@{HUB}:8443");
        let client = |machine, n: u8| {
            let url = format!("tun://:0/:8421?net=192.168.123.{n}/24&name=tun0&ttl=1s");
            world.start(machine, &["-L", &url, "-F", &chain])
        };
        let (first, second) = (client(&one, 2), client(&two, 3));
        is_registered(&first);
        is_registered(&second);
        reaches(&one, "192.168.123.1");
        reaches(&one, "192.168.123.3");
        reaches(&world.hub, "192.168.123.2");
        tcp_hash_transfer(&one, &world.hub, at("192.168.123.1", 5001), 3_000_000).unwrap();
        tcp_hash_transfer(&two, &one, at("192.168.123.2", 5002), 3_000_000).unwrap();
        for process in [&first, &second] {
            process.stop();
        }
        gost.kill().unwrap();
    }
}

#[test]
fn through_a_socks5_proxy_and_others_before_it() {
    let Some(world) = World::new() else { return };
    let (one, two, proxy) = (world.machine("one"), world.machine("two"), world.machine("proxy"));
    let arguments = ["-L", "http://a:b@:3128", "-L", "socks5://a:b@:1080?udp=true"];
    let Some(_gost) = gost::start(&world, &proxy, &arguments) else { return };
    let server = server(&world, OPEN);
    let address = address(&proxy);
    let client = |machine, n: u8, hops: &[String]| {
        let url =
            format!("tun://:0/{HUB}:8421?net=192.168.123.{n}/24,fd99::{n}/64&name=tun0&ttl=1s");
        let mut arguments = vec!["-L", &url];
        hops.iter().for_each(|node| arguments.extend(["-F", node]));
        world.start(machine, &arguments)
    };
    let (http, socks) =
        (format!("http://a:b@{address}:3128"), format!("socks5://a:b@{address}:1080"));
    let first = client(&one, 2, &[http, socks.clone()]);
    let second = client(&two, 3, &[socks]);
    is_registered(&first);
    is_registered(&second);
    for to in ["192.168.123.1", "192.168.123.3", "fd99::1", "fd99::3"] {
        reaches(&one, to);
    }
    reaches(&world.hub, "192.168.123.2");
    tcp_hash_transfer(&one, &world.hub, at("192.168.123.1", 5001), 3_000_000).unwrap();
    tcp_hash_transfer(&two, &one, at("192.168.123.2", 5002), 3_000_000).unwrap();
    let outer = outer_of(&server, "192.168.123.3").unwrap();
    assert_eq!(outer.ip(), address, "the proxy sends");
    first.stop();
    second.stop();
    let wrong = format!("socks5://a:wrong@{address}:1080");
    let refused = client(&one, 4, &[wrong]);
    wait_until("the reason", || {
        let error = status(&refused)["last_error"]["error"].clone();
        error.as_str().is_some_and(|it| it.contains("refused the user and password"))
    });
    refused.stop();
    server.stop();
}

#[test]
fn through_proxies_to_a_relay() {
    let Some(world) = World::new() else { return };
    let (one, proxy) = (world.machine("one"), world.machine("proxy"));
    let arguments = ["-L", "http://a:b@:3128", "-L", "socks5://a:b@:1080"];
    let Some(_gost) = gost::start(&world, &proxy, &arguments) else { return };
    let server = "tun://127.0.0.1:8421?net=192.168.123.1/24&name=tun0";
    let rtun = world.start(&world.hub, &["-L", server, "-L", "relay+wss://:8443"]);
    rtun.wait_for("relay listens");
    let address = address(&proxy);
    for proxies in [
        &[format!("http://a:b@{address}:3128")][..],
        &[format!("socks5://a:b@{address}:1080")],
        &[format!("http://a:b@{address}:3128"), format!("socks5://a:b@{address}:1080")],
    ] {
        let url = "tun://:0/:8421?net=192.168.123.2/24&name=tun0&ttl=1s";
        let relay = format!("relay+wss://{HUB}:8443");
        let mut arguments = vec!["-L", url];
        proxies.iter().chain([&relay]).for_each(|node| arguments.extend(["-F", node]));
        let client = world.start(&one, &arguments);
        is_registered(&client);
        reaches(&one, "192.168.123.1");
        let peer = service_status(&rtun, "service-1")["clients"][0]["peer"].clone();
        assert!(peer.as_str().unwrap().starts_with(&format!("{address}:")), "{peer}");
        client.stop();
        wait_until("a client that has left", || {
            service_status(&rtun, "service-1")["clients"].as_array().unwrap().is_empty()
        });
    }
    rtun.stop();
}

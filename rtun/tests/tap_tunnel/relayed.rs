//! Ethernet tunnels through a relay, over every transport that GOST's relay works on, and through a SOCKS5 proxy.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use nix::sys::signal::Signal;
use rtun_lab::{
    NetNamespace,
    tools::{Pulse, tcp_hash_transfer, udp_echo},
};
use rtun_proto::{
    ethernet::{MacAddress, keepalive},
    frame::write_frame,
    relay::{Decoded, Request, Response},
    udp_tunnel::addressed::AddressedEncoder,
};
use serde_json::Value;

use crate::{
    common::{HUB, Rtun, SOON, World, at, does_not_reach, gost, reaches, wait_until},
    support::{CLEAR, SEALED, drops, frame, is_answered, nth_status, place_of, status},
};

/// A server that only a relay leads to, and the relay.
fn site(world: &World, cipher: &str, relay: &str) -> Rtun {
    let server = format!("tap://{cipher}127.0.0.1:8421?net=192.168.124.1/24,fd99::1/64&name=tap0");
    let rtun = world.start(&world.hub, &["-L", &server, "-L", relay]);
    rtun.wait_for("relay listens");
    wait_until("a server", || rtun.log().contains("listening on"));
    rtun
}

/// Starts the client `192.168.124.N` through a relay or a proxy.
fn client(world: &World, machine: &NetNamespace, cipher: &str, n: u8, chain: &str) -> Rtun {
    let url = format!("tap://{cipher}:0/:8421?net=192.168.124.{n}/24,fd99::{n}/64&name=tap0");
    world.start(machine, &["-L", &url, "-F", chain])
}

fn relay_status(rtun: &Rtun) -> Value {
    nth_status(rtun, 1)
}

fn no_client(rtun: &Rtun) {
    wait_until("no client", || relay_status(rtun)["clients"].as_array().unwrap().is_empty());
}

#[test]
fn frames_pass_over_each_transport_in_clear_text_and_sealed() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    for (transport, cipher) in [
        ("tcp", CLEAR),
        ("tls", SEALED),
        ("ws", "aes-128-gcm:secret@"),
        ("wss", CLEAR),
        ("quic", "chacha20-ietf-poly1305:secret@"),
    ] {
        let rtun = site(&world, cipher, &format!("relay+{transport}://u:p@:8443?bind=true"));
        let chain = format!("relay+{transport}://u:p@{HUB}:8443");
        let clients =
            [client(&world, &one, cipher, 2, &chain), client(&world, &two, cipher, 3, &chain)];
        clients.iter().for_each(is_answered);
        for to in ["192.168.124.1", "192.168.124.3", "fd99::1", "fd99::3"] {
            reaches(&one, to);
        }
        reaches(&world.hub, "192.168.124.3");
        reaches(&world.hub, "fd99::2");
        tcp_hash_transfer(&one, &world.hub, at("192.168.124.1", 5001), 3_000_000).unwrap();
        tcp_hash_transfer(&two, &one, at("192.168.124.2", 5002), 3_000_000).unwrap();
        let shown = relay_status(&rtun);
        let relayed = shown["clients"].as_array().unwrap();
        assert_eq!(relayed.len(), 2, "{transport}: {shown}");
        assert!(relayed.iter().all(|client| client["transport"] == transport), "{shown}");
        assert!(relayed.iter().all(|client| client["target"] == "127.0.0.1:8421"), "{shown}");
        // The server tells the relay's clients apart by the sockets that each has there.
        let places = status(&rtun)["clients"].as_array().unwrap().len();
        assert_eq!(places, 2, "{transport}");
        let shown = status(&clients[0]);
        assert_eq!(shown["relay"]["transport"], transport, "{shown}");
        assert_eq!(shown["server"], ":8421", "{shown}");
        for reason in ["malformed", "undecryptable", "replayed", "unregistered"] {
            assert!(shown["received"]["drops"][reason].is_null(), "{shown}");
        }
        clients.iter().for_each(Rtun::stop);
        no_client(&rtun);
        rtun.stop();
    }
}

#[test]
fn a_relay_that_starts_again_has_its_clients_again_and_a_lost_client_leaves_nothing() {
    let Some(world) = World::new() else { return };
    let one = world.machine("one");
    let relay = "relay+wss://:8443";
    let rtun = site(&world, SEALED, relay);
    let first = client(&world, &one, SEALED, 2, &format!("relay+wss://{HUB}:8443"));
    is_answered(&first);
    reaches(&one, "192.168.124.1");
    rtun.stop();
    wait_until("a relay that is missed", || status(&first)["answered"] == false);
    let rtun = site(&world, SEALED, relay);
    reaches(&one, "192.168.124.1");
    reaches(&world.hub, "192.168.124.2");
    // Killed: nobody says goodbye.
    first.process.kill().unwrap();
    no_client(&rtun);
    let shown = relay_status(&rtun);
    for direction in ["sent", "received"] {
        let traffic = &shown[direction];
        let count = |key: &str| traffic[key].as_u64().unwrap();
        let lost = traffic["drops"].as_object().unwrap().values();
        let lost: u64 = lost.map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(count("packets_in"), count("packets_out") + lost, "{direction}: {shown}");
    }
    rtun.stop();
}

#[test]
fn a_reload_that_removes_one_user_costs_the_other_no_frame() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    let config = |users: &str| {
        format!(
            "
services:
- name: server
  addr: 127.0.0.1:8421
  handler: {{type: tap, auth: {{username: aes-256-gcm, password: secret}}}}
  listener: {{type: tap, metadata: {{net: '192.168.124.1/24,fd99::1/64', name: tap0}}}}
- {{name: relay, addr: ':8443', handler: {{type: relay, auther: users}}, listener: {{type: tls}}}}
authers: [{{name: users, auths: [{users}]}}]
"
        )
    };
    let both = config("{username: one, password: p}, {username: two, password: p}");
    let file = world.file("site.yaml", &both);
    let rtun = world.start(&world.hub, &["-C", file.to_str().unwrap()]);
    rtun.wait_for("relay listens");
    let relay = || nth_status(&rtun, 0);
    let chain = |user: &str| format!("relay+tls://{user}:p@{HUB}:8443");
    let first = client(&world, &one, SEALED, 2, &chain("one"));
    let second = client(&world, &two, SEALED, 3, &chain("two"));
    [&first, &second].into_iter().for_each(is_answered);
    reaches(&one, "192.168.124.1");
    let echo = udp_echo(&world.hub, at("192.168.124.1", 7)).unwrap();
    let pulse = Pulse::start(&one, echo.address(), Duration::from_millis(5)).unwrap();
    let port = |report: &Value| report["clients"][0]["outer"].clone();
    fs::write(&file, config("{username: one, password: p}")).unwrap();
    rtun.process.signal(Signal::SIGHUP).unwrap();
    wait_until("one client", || relay()["clients"].as_array().unwrap().len() == 1);
    let before = port(&relay());
    wait_until("a refusal", || !relay()["refused"]["auth_failed"].is_null());
    assert_eq!(relay()["ended"]["revoked"]["count"], 1, "{}", relay());
    // And a service of the same process that goes takes nothing with it.
    let more =
        "- {name: more, addr: ':8444', handler: {type: relay}, listener: {type: tcp}}\nauthers:";
    let alone = config("{username: one, password: p}");
    fs::write(&file, alone.replace("authers:", more)).unwrap();
    rtun.process.signal(Signal::SIGHUP).unwrap();
    wait_until("another relay", || rtun.log().matches("relay listens").count() == 2);
    fs::write(&file, alone).unwrap();
    rtun.process.signal(Signal::SIGHUP).unwrap();
    wait_until("one relay", || rtun.log().contains("service removed"));
    let run = pulse.stop().unwrap();
    assert_eq!(run.arrived, run.sent, "{run:?}");
    assert_eq!(port(&relay()), before, "the same connection");
    assert_eq!(status(&first)["failed"], 0);
    second.stop();
    first.stop();
    rtun.stop();
}

#[test]
fn a_relay_without_bind_refuses_and_the_client_says_why() {
    let Some(world) = World::new() else { return };
    let one = world.machine("one");
    let server = "tap://aes-256-gcm:secret@127.0.0.1:8421?net=192.168.124.1/24&name=tap0";
    let tunnel = "tun://127.0.0.1:8422?net=192.168.123.1/24&name=tun0";
    let arguments = ["-L", server, "-L", "relay://:8443?bind=false", "-L", tunnel];
    let rtun = world.start(&world.hub, &arguments);
    rtun.wait_for("relay listens");
    let first = client(&world, &one, SEALED, 2, &format!("relay://{HUB}:8443"));
    wait_until("the reason", || {
        let error = status(&first)["last_error"]["error"].clone();
        error.as_str().is_some_and(|it| it.contains("does not lead to this server"))
    });
    wait_until("a refusal", || !relay_status(&rtun)["refused"]["not_served"].is_null());
    does_not_reach(&one, "192.168.124.1");
    first.stop();
    rtun.stop();
}

/// A client of a relay that is a plain socket, and has a socket there.
fn script(machine: &NetNamespace) -> TcpStream {
    let mut stream = machine.run(|| TcpStream::connect(at(HUB, 8443))).unwrap().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&Request::bound_datagrams(None).encode().unwrap()).unwrap();
    let mut answer = [0; 14];
    stream.read_exact(&mut answer).unwrap();
    let Ok(Decoded::Complete { value, len: 14 }) = Response::decode(&answer) else { panic!() };
    assert_eq!(value, Response::bound_to(([0, 0, 0, 0], 0).into()));
    stream
}

/// The next datagram of `len` bytes; the server floods others of its device.
fn next_of(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    loop {
        let mut datagram = vec![0; 10];
        stream.read_exact(&mut datagram).unwrap();
        let payload = usize::from(u16::from_be_bytes([datagram[0], datagram[1]]));
        datagram.resize(10 + payload, 0);
        stream.read_exact(&mut datagram[10..]).unwrap();
        if payload == len {
            return datagram;
        }
    }
}

/// Waits until the relay has closed the stream.
fn is_closed(mut stream: TcpStream) {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
}

fn addressed(to: &str, datagrams: &[&[u8]]) -> Vec<u8> {
    let (mut frames, mut bytes) = (Vec::new(), Vec::new());
    datagrams.iter().for_each(|datagram| write_frame(datagram, &mut frames).unwrap());
    AddressedEncoder::new(to.parse().unwrap()).encode(&frames, &mut bytes);
    bytes
}

#[test]
fn a_stream_leads_to_one_server_however_it_is_written() {
    let Some(world) = World::new() else { return };
    let machine = world.machine("script");
    let rtun = site(&world, CLEAR, "relay://:8443");
    let mac = MacAddress::local(7);
    let mut stream = script(&machine);
    for byte in addressed("0.0.0.0:8421", &[&keepalive(mac)]) {
        stream.write_all(&[byte]).unwrap();
    }
    let echo = next_of(&mut stream, 60);
    assert_eq!(echo, addressed("127.0.0.1:8421", &[&keepalive(mac)]));
    wait_until("a learnt address", || place_of(&rtun, mac).is_some());
    // An empty datagram, one for another server, one that is longer than any datagram of IPv4.
    stream.write_all(b"\0\0\xff\x01\0\0\0\0\x20\xe5").unwrap();
    stream.write_all(&addressed("127.0.0.1:22", &[b"other"])).unwrap();
    stream.write_all(&addressed("127.0.0.1:8421", &[&[2; 65_535], &keepalive(mac)])).unwrap();
    assert_eq!(next_of(&mut stream, 60), echo);
    let shown = relay_status(&rtun);
    for reason in ["malformed", "no_route", "too_big"] {
        assert_eq!(shown["received"]["drops"][reason], 1, "{reason}: {shown}");
    }
    // What makes no sense ends the stream, and the client is gone.
    stream.write_all(&[0, 1, 0, 1]).unwrap();
    is_closed(stream);
    no_client(&rtun);
    // One that asks for another server first is not served at all.
    let mut stream = script(&machine);
    stream.write_all(&addressed("127.0.0.1:22", &[b"other"])).unwrap();
    is_closed(stream);
    wait_until("a refusal", || relay_status(&rtun)["refused"]["target_refused"]["count"] == 1);
    // A silent one is served: there is only one server that it may want.
    let silent = script(&machine);
    wait_until("a silent client", || relay_status(&rtun)["clients"].as_array().unwrap().len() == 1);
    drop(silent);
    no_client(&rtun);
    rtun.stop();
}

#[test]
fn a_client_takes_its_servers_datagrams_only_and_nothing_that_a_relay_sends_ends_it() {
    let Some(world) = World::new() else { return };
    let one = world.machine("one");
    let listener = world.hub.run(|| TcpListener::bind("0.0.0.0:8443")).unwrap().unwrap();
    let first = client(&world, &one, CLEAR, 2, &format!("relay://{HUB}:8443"));
    let accept = || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Request::bound_datagrams(None).encode().unwrap();
        let expected = request.clone();
        stream.read_exact(&mut request).unwrap();
        assert_eq!(request, expected);
        stream
    };
    let says = |text: &str| {
        let error = status(&first)["last_error"]["error"].clone();
        error.as_str().is_some_and(|it| it.contains(text))
    };
    accept().write_all(&[1, 3, 0, 0]).unwrap();
    wait_until("the reason", || says("`bind=true`"));
    accept().write_all(b"HTTP/1.1 400 Bad Request").unwrap();
    wait_until("another reason", || says("another protocol"));
    let mut stream = accept();
    let bound = Response::bound_to("[::]:42850".parse().unwrap()).encode().unwrap();
    stream.write_all(&bound).unwrap();
    let greeting = frame(MacAddress::BROADCAST, MacAddress::local(9), "from the server");
    // Somebody else's, by address or port; an empty one; then the server's.
    for other in ["10.0.0.9:8421", "127.0.0.1:8422"] {
        stream.write_all(&addressed(other, &[&greeting])).unwrap();
    }
    stream.write_all(b"\0\0\xff\x01\x7f\0\0\x01\x20\xe5").unwrap();
    stream.write_all(&addressed("[::1]:8421", &[&greeting])).unwrap();
    wait_until("a taken frame", || status(&first)["received"]["packets_out"] == 1);
    assert_eq!(
        (drops(&first, "malformed"), &status(&first)["received"]["packets_in"]),
        (1, &2.into())
    );
    stream.write_all(&[0, 1, 0, 1]).unwrap();
    wait_until("the last reason", || says("in the place of a fragment number"));
    first.stop();
}

#[test]
fn our_clients_at_gosts_relay_and_proxy() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    for (relay, cipher) in [
        ("relay+tcp://u:p@", CLEAR),
        ("relay+tls://u:p@", SEALED),
        ("relay+ws://u:p@", "aes-128-gcm:secret@"),
        ("relay+wss://u:p@", "chacha20-ietf-poly1305:secret@"),
        ("relay+quic://u:p@", CLEAR),
        ("socks5://u:p@", SEALED),
    ] {
        let server = format!("tap://{cipher}:8421?net=192.168.124.1/24&name=tap0");
        let gosts = format!("{relay}:8443?bind=true&udp=true");
        let arguments = ["-L", &server, "-L", &gosts];
        let Some(gost) = gost::start(&world, &world.hub, &arguments) else { return };
        let chain = format!("{relay}{HUB}:8443");
        let clients =
            [client(&world, &one, cipher, 2, &chain), client(&world, &two, cipher, 3, &chain)];
        clients.iter().for_each(is_answered);
        reaches(&one, "192.168.124.1");
        reaches(&one, "192.168.124.3");
        reaches(&world.hub, "192.168.124.2");
        tcp_hash_transfer(&one, &world.hub, at("192.168.124.1", 5001), 3_000_000).unwrap();
        tcp_hash_transfer(&two, &one, at("192.168.124.2", 5002), 3_000_000).unwrap();
        clients.iter().for_each(Rtun::stop);
        gost.kill().unwrap();
    }
}

#[test]
fn gosts_clients_at_our_relay() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    for (transport, cipher) in
        [("tcp", CLEAR), ("tls", SEALED), ("ws", CLEAR), ("wss", SEALED), ("quic", CLEAR)]
    {
        let rtun = site(&world, cipher, &format!("relay+{transport}://u:p@:8443?bind=true"));
        let chain = format!("relay+{transport}://u:p@{HUB}:8443");
        let url = format!("tap://{cipher}:0/:8421?net=192.168.124.2/24&name=tap0");
        let Some(gost) = gost::start(&world, &one, &["-L", &url, "-F", &chain]) else { return };
        let second = client(&world, &two, cipher, 3, &chain);
        is_answered(&second);
        reaches(&one, "192.168.124.1");
        reaches(&one, "192.168.124.3");
        reaches(&world.hub, "192.168.124.2");
        tcp_hash_transfer(&one, &world.hub, at("192.168.124.1", 5001), 3_000_000).unwrap();
        tcp_hash_transfer(&two, &one, at("192.168.124.2", 5002), 3_000_000).unwrap();
        second.stop();
        gost.kill().unwrap();
        no_client(&rtun);
        rtun.stop();
    }
}

//! UDP tunnels through a relay, over every transport that GOST's relay works on.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use nix::sys::signal::Signal;
use rtun_lab::{NetNamespace, tools::tcp_hash_transfer};
use rtun_proto::{
    frame::write_frame,
    relay::{AddrFeature, Request},
    udp_tunnel::{FromServer, Passphrase, encode_register},
};
use serde_json::Value;

use crate::{
    common::{HUB, Rtun, SOON, World, at, does_not_reach, reaches, wait_until},
    support::{echo, is_answer, is_registered, service_status},
};

const TRANSPORTS: [&str; 5] = ["tcp", "tls", "ws", "wss", "quic"];

/// A server that only a relay leads to, and the relay.
fn site(world: &World, relay: &str) -> Rtun {
    let server = "tun://127.0.0.1:8421?net=192.168.123.1/24,fd99::1/64&name=tun0";
    let rtun = world.start(&world.hub, &["-L", server, "-L", relay]);
    rtun.wait_for("relay listens");
    wait_until("a server", || rtun.log().contains("listening on"));
    rtun
}

/// Starts the client `192.168.123.N` through a chain.
fn client(world: &World, machine: &NetNamespace, n: u8, chain: &[&str]) -> Rtun {
    let url = format!(
        "tun://:0/:8421?net=192.168.123.{n}/24,fd99::{n}/64&name=tun0&keepalive=true&ttl=1s"
    );
    let mut arguments = vec!["-L", &url];
    chain.iter().for_each(|node| arguments.extend(["-F", node]));
    world.start(machine, &arguments)
}

fn relay_status(rtun: &Rtun) -> Value {
    service_status(rtun, "service-1")
}

#[test]
fn packets_pass_over_each_transport_in_both_families() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    for transport in TRANSPORTS {
        let rtun = site(&world, &format!("relay+{transport}://:8443"));
        let chain = format!("relay+{transport}://{HUB}:8443");
        let first = client(&world, &one, 2, &[&chain]);
        let second = client(&world, &two, 3, &[&chain]);
        is_registered(&first);
        is_registered(&second);
        for to in ["192.168.123.1", "192.168.123.3", "fd99::1", "fd99::3"] {
            reaches(&one, to);
        }
        reaches(&world.hub, "192.168.123.3");
        tcp_hash_transfer(&one, &world.hub, at("192.168.123.1", 5001), 3_000_000).unwrap();
        tcp_hash_transfer(&two, &one, at("192.168.123.2", 5002), 3_000_000).unwrap();
        let status = relay_status(&rtun);
        let clients = status["clients"].as_array().unwrap();
        assert_eq!(clients.len(), 2, "{transport}: {status}");
        assert!(clients.iter().all(|client| client["transport"] == transport), "{status}");
        assert!(clients.iter().all(|client| client["target"] == "127.0.0.1:8421"), "{status}");
        let status = service_status(&first, "service-0");
        assert_eq!(status["relay"]["transport"], transport, "{status}");
        assert_eq!(status["server"], ":8421", "{status}");
        assert_eq!(status["seen_as"], "127.0.0.1", "{status}");
        for process in [&first, &second, &rtun] {
            process.stop();
        }
    }
}

#[test]
fn a_relay_that_starts_again_has_its_clients_again() {
    let Some(world) = World::new() else { return };
    let one = world.machine("one");
    let relay = "relay+wss://:8443";
    let rtun = site(&world, relay);
    let client = client(&world, &one, 2, &[&format!("relay+wss://{HUB}:8443")]);
    is_registered(&client);
    reaches(&one, "192.168.123.1");
    rtun.stop();
    wait_until("a relay that is missed", || {
        service_status(&client, "service-0")["seen_as"].is_null()
    });
    let rtun = site(&world, relay);
    reaches(&one, "192.168.123.1");
    reaches(&world.hub, "192.168.123.2");
    client.stop();
    wait_until("no client", || relay_status(&rtun)["clients"].as_array().unwrap().is_empty());
    rtun.stop();
}

#[test]
fn who_shows_no_password_or_asks_for_another_target_is_refused_and_counted() {
    let Some(world) = World::new() else { return };
    let (one, two, three) = (world.machine("one"), world.machine("two"), world.machine("three"));
    let rtun = site(&world, "relay+tls://u:p@:8443");
    let wrong = client(&world, &one, 2, &[&format!("relay+tls://u:x@{HUB}:8443")]);
    let elsewhere = world.start(
        &two,
        &[
            "-L",
            "tun://:0/10.0.0.1:22?net=192.168.123.3/24&name=tun0",
            "-F",
            &format!("relay+tls://u:p@{HUB}:8443"),
        ],
    );
    let right = client(&world, &three, 4, &[&format!("relay+tls://u:p@{HUB}:8443")]);
    is_registered(&right);
    reaches(&three, "192.168.123.1");
    let refused = |word: &str| relay_status(&rtun)["refused"][word]["count"].as_u64().unwrap_or(0);
    wait_until("both refusals", || refused("auth_failed") > 0 && refused("target_refused") > 0);
    wait_until("the reason at the client", || {
        let status = service_status(&wrong, "service-0");
        status["last_error"]["error"]
            .as_str()
            .is_some_and(|it| it.contains("password of the relay"))
    });
    wait_until("the reason at the other client", || {
        let status = service_status(&elsewhere, "service-0");
        status["last_error"]["error"].as_str().is_some_and(|it| it.contains("does not lead to"))
    });
    does_not_reach(&one, "192.168.123.1");
    rtun.stop();
}

#[test]
fn a_fixed_target_counts_whatever_is_asked_for_and_users_may_change() {
    let Some(world) = World::new() else { return };
    let one = world.machine("one");
    let server = "tun://127.0.0.1:8421?net=192.168.123.1/24,fd99::1/64&name=tun0";
    let server = world.start(&world.hub, &["-L", server]);
    wait_until("a server", || server.log().contains("listening on"));
    let config = "
services:
- name: relay
  addr: :8443
  handler: {type: relay, auther: users}
  listener: {type: wss}
  forwarder: {nodes: [{name: server, addr: '127.0.0.1:8421'}]}
authers:
- name: users
  auths: [{username: u, password: p}]
";
    let file = world.file("relay.yaml", config);
    let relay = world.start(&world.hub, &["-C", file.to_str().unwrap()]);
    relay.wait_for("relay listens");
    let chain = format!("relay+wss://u:p@{HUB}:8443");
    let url = "tun://:0/10.9.9.9:1?net=192.168.123.2/24&name=tun0&ttl=1s";
    let client = world.start(&one, &["-L", url, "-F", &chain]);
    is_registered(&client);
    reaches(&one, "192.168.123.1");
    let connected = || service_status(&relay, "relay")["clients"][0]["peer"].clone();
    let before = connected();
    // Another user comes: nobody notices. Then the password changes.
    let reload = |config: &str| {
        let before = relay.log().matches("rules replaced").count();
        fs::write(&file, config).unwrap();
        relay.process.signal(Signal::SIGHUP).unwrap();
        wait_until("other rules", || relay.log().matches("rules replaced").count() > before);
    };
    reload(&config.replace("auths: [", "auths: [{username: v, password: q}, "));
    assert_eq!(connected(), before);
    reload(&config.replace("password: p", "password: other"));
    wait_until("a client that is not admitted any more", || {
        let status = service_status(&relay, "relay");
        status["clients"].as_array().unwrap().is_empty()
            && !status["refused"]["auth_failed"].is_null()
    });
    reload(config);
    reaches(&one, "192.168.123.1");
    relay.stop();
    server.stop();
}

/// A client of a relay that is a plain socket.
struct RelayScript(TcpStream);

impl RelayScript {
    fn new(machine: &NetNamespace) -> Self {
        let stream = machine.run(|| TcpStream::connect(at(HUB, 8443))).unwrap().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn frame(&mut self, payload: &[u8]) {
        let mut frame = Vec::new();
        write_frame(payload, &mut frame).unwrap();
        self.send(&frame);
    }

    fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn receive(&mut self) -> Vec<u8> {
        let len = u16::from_be_bytes(self.read());
        let mut payload = vec![0; len.into()];
        self.0.read_exact(&mut payload).unwrap();
        payload
    }
}

#[test]
fn a_stream_is_bytes_however_they_are_written_and_no_length_harms() {
    let Some(world) = World::new() else { return };
    let machine = world.machine("script");
    let rtun = site(&world, "relay://:8443");
    let mut script = RelayScript::new(&machine);
    let register = encode_register(Passphrase::NONE, &["192.168.123.2".parse().unwrap()]);
    let mut bytes = Request::datagrams_to(AddrFeature::from_text(":8421"), None).encode().unwrap();
    write_frame(&register, &mut bytes).unwrap();
    // Byte by byte.
    for byte in &bytes {
        script.send(&[*byte]);
    }
    assert_eq!(script.read(), [1, 0, 0, 0]);
    let outer = "127.0.0.1".parse().unwrap();
    assert_eq!(FromServer::decode(&script.receive()), Ok(FromServer::Reply(outer)));
    // Empty frames, and one that is longer than a device's packets: both ends stand it.
    script.send(&[0, 0, 0, 0]);
    script.frame(&vec![0x45; 40_000]);
    script.frame(&vec![0xff; 65_535]);
    let packet = echo("192.168.123.2", "192.168.123.1", 36);
    script.frame(&packet);
    assert!(is_answer(&script.receive()));
    // A large packet passes whole, in pieces to the device and back.
    let large = echo("192.168.123.2", "192.168.123.1", 8000);
    let mut frame = Vec::new();
    write_frame(&large, &mut frame).unwrap();
    for piece in frame.chunks(777) {
        script.send(piece);
    }
    let answer = loop {
        let answer = script.receive();
        if is_answer(&answer) {
            break answer;
        }
    };
    assert!(answer.len() > 1000, "{}", answer.len());
    let status = relay_status(&rtun);
    assert_eq!(status["received"]["drops"]["malformed"], 2, "{status}");
    assert_eq!(status["received"]["drops"]["too_big"], 1, "{status}");
    rtun.stop();
}

#[test]
fn what_is_no_request_for_a_server_is_answered_and_closed() {
    let Some(world) = World::new() else { return };
    let machine = world.machine("script");
    let rtun = site(&world, "relay://:8443");
    for (request, answer) in [
        // A stream to a TCP port; datagrams to another port; Ethernet, for which no server is here; an associate request.
        ("01010008020004030020e5", None),
        ("01010007020004030020e5", Some([1, 3, 0, 0])),
        ("0181000c040002000102000403000016", Some([1, 3, 0, 0])),
        ("018200050400020001", Some([1, 3, 0, 0])),
        ("0103000c0400020002020004030020e5", Some([1, 3, 0, 0])),
    ] {
        let mut script = RelayScript::new(&machine);
        let bytes: Vec<u8> = (0..request.len() / 2)
            .map(|at| u8::from_str_radix(&request[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        script.send(&bytes);
        let Some(answer) = answer else { continue };
        assert_eq!(script.read(), answer, "{request}");
        assert_eq!(script.0.read(&mut [0; 8]).unwrap(), 0, "{request}");
    }
    let status = relay_status(&rtun);
    assert_eq!(status["refused"]["not_served"]["count"], 2, "{status}");
    assert_eq!(status["refused"]["target_refused"]["count"], 2, "{status}");
    rtun.stop();
}

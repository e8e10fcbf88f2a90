//! What no end may end for: datagrams of every length and kind, floods, and devices taken away.

use std::{
    io::Write,
    net::{TcpListener, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    common::{HUB, World, reaches, wait_until},
    support::{OPEN, Script, WITH_USERS, client, drops, is_registered, server, status},
};

/// Datagrams that mean nothing, from no byte to a few.
fn nonsense() -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    for first in [0x00, 0x45, 0x47, 0x4f, 0x60, 0xc8, 0xff] {
        for len in 1..=40 {
            let mut datagram = vec![0xa5; len];
            datagram[0] = first;
            all.push(datagram);
        }
    }
    for len in [4, 19, 20, 21, 35, 37, 51, 53] {
        let mut message = b"GOST".to_vec();
        message.resize(len, 0);
        all.push(message);
    }
    let mut claims = vec![0x45, 0, 0xff, 0xff];
    claims.resize(1000, 1);
    all.push(claims);
    all.push(vec![0x45; 65_507]);
    all
}

#[test]
fn nothing_that_anybody_sends_ends_a_server() {
    let Some(world) = World::new() else { return };
    let server = server(&world, OPEN);
    let (one, two) = (world.machine("one"), world.machine("two"));
    let first = client(&world, &one, 2, "");
    is_registered(&first);
    let (outsider, known) = (Script::new(&two), Script::new(&two));
    known.join("", &["192.168.123.9"]);
    let all = nonsense();
    for datagram in &all {
        outsider.send(datagram);
        known.send(datagram);
    }
    let mut many = b"GOST".to_vec();
    many.resize(20 + 4090 * 16, 1);
    outsider.send(&many);
    reaches(&one, "192.168.123.1");
    wait_until("counted nonsense", || {
        drops(&server, "malformed")
            + drops(&server, "unregistered")
            + drops(&server, "spoofed")
            + drops(&server, "local")
            >= 2 * all.len() as u64
    });
    known.join("", &["192.168.123.9"]);
    server.stop();
}

#[test]
fn nothing_that_a_server_sends_ends_a_client() {
    let Some(world) = World::new() else { return };
    let one = world.machine("one");
    let socket = world.hub.run(|| UdpSocket::bind("0.0.0.0:8421")).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let first = client(&world, &one, 2, "&ttl=1");
    let mut buffer = [0; 2000];
    let (_, from) = socket.recv_from(&mut buffer).unwrap();
    let all = nonsense();
    for datagram in &all {
        socket.send_to(datagram, from).unwrap();
    }
    wait_until("counted nonsense", || drops(&first, "malformed") > all.len() as u64 / 2);
    // It goes on registering, and a reply is still one.
    let mut reply = b"GOST".to_vec();
    reply.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 9, 8, 7]);
    wait_until("an understood reply", || {
        let (_, from) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&reply, from).unwrap();
        status(&first)["seen_as"] == "10.9.8.7"
    });
    // Anybody else is not heard.
    let outsider = world.hub.run(|| UdpSocket::bind("0.0.0.0:9999")).unwrap().unwrap();
    let before = status(&first)["received"]["packets_in"].clone();
    outsider.send_to(&[0xc8; 40], from).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(status(&first)["received"]["packets_in"], before);
    first.stop();
}

#[test]
fn nothing_that_a_relay_sends_ends_a_client() {
    let Some(world) = World::new() else { return };
    let one = world.machine("one");
    let listener = world.hub.run(|| TcpListener::bind("0.0.0.0:8443")).unwrap().unwrap();
    let url = "tun://:0/:8421?net=192.168.123.2/24&name=tun0&ttl=1s";
    let first = world.start(&one, &["-L", url, "-F", &format!("relay://{HUB}:8443")]);
    // In the place of an answer.
    for answer in [&b"HTTP/1.1 400 Bad Request"[..], &[1, 0], &[1, 0, 0xff, 0xff], &[0xc8; 4]] {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(answer).unwrap();
    }
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = vec![1, 0, 0, 0];
    let all = nonsense();
    for datagram in &all {
        bytes.extend(u16::try_from(datagram.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(datagram);
    }
    for piece in bytes.chunks(777) {
        stream.write_all(piece).unwrap();
    }
    wait_until("counted nonsense", || drops(&first, "malformed") > all.len() as u64 / 2);
    let mut reply = b"\0\x14GOST".to_vec();
    reply.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 9, 8, 7]);
    stream.write_all(&reply).unwrap();
    wait_until("an understood reply", || status(&first)["seen_as"] == "10.9.8.7");
    first.stop();
}

#[test]
fn a_flood_of_registers_costs_little_and_stops_nobody() {
    let Some(world) = World::new() else { return };
    let server = server(&world, WITH_USERS);
    let (one, two) = (world.machine("one"), world.machine("two"));
    let first = client(&world, &one, 2, "&ttl=1");
    is_registered(&first);
    let script = Script::new(&two);
    let mut register = b"GOSTwrong".to_vec();
    register.resize(30, 0);
    register.extend_from_slice(&[0xff, 0xff, 192, 168, 123, 3]);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        for _ in 0..200 {
            script.send(&register);
        }
    }
    reaches(&one, "192.168.123.1");
    let (auth, rate) = (drops(&server, "auth"), drops(&server, "rate"));
    assert!(auth < 1000 && rate > 2 * auth, "{auth} asked of the auther, {rate} not");
    assert!(server.log().lines().count() < 200, "{}", server.log());
}

#[test]
fn a_device_that_is_taken_away_or_set_down_comes_back() {
    let Some(world) = World::new() else { return };
    let server = server(&world, OPEN);
    let one = world.machine("one");
    let first = client(&world, &one, 2, "&ttl=1");
    is_registered(&first);
    reaches(&one, "192.168.123.1");
    let port = status(&first)["local"].clone();
    for machine in [&one, &world.hub] {
        for arguments in [&["link", "del", "tun0"][..], &["link", "set", "tun0", "down"]] {
            let ip = || Command::new("ip").args(arguments).status().unwrap().success();
            assert!(machine.run(ip).unwrap());
            reaches(&one, "192.168.123.1");
            reaches(&world.hub, "192.168.123.2");
        }
    }
    assert_eq!(status(&first)["local"], port, "the socket stays");
    server.stop();
    first.stop();
}

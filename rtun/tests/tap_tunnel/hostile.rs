//! What no end may end for: datagrams of every length and kind, changed, cut and sent again, and unauthenticated peers.

use std::{net::UdpSocket, time::Duration};

use rtun_proto::ethernet::MacAddress;

use crate::{
    common::{World, reaches, wait_until},
    support::{CLEAR, SEALED, Script, client, drops, frame, is_answered, server, status},
};

/// Datagrams whose Ethernet header is cut, from no byte to one less than a header with two tags.
fn cut_headers() -> Vec<Vec<u8>> {
    let mut tagged = vec![0xff; 6];
    tagged.extend([2, 0, 0, 0, 0, 7, 0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x08]);
    let plain = (0..14).map(|len| vec![2; len]);
    let cut = (12..18).map(|len| [&tagged[..12], &[0x81, 0, 0, 5, 8, 0][..len - 12]].concat());
    let twice = (14..tagged.len() + 1).map(|len| tagged[..len].to_vec());
    plain.chain(cut.filter(|it| it.len() < 18)).chain(twice).collect()
}

#[test]
fn nothing_that_anybody_sends_ends_a_server() {
    let Some(world) = World::new() else { return };
    let server = server(&world, CLEAR);
    let (one, two) = (world.machine("one"), world.machine("two"));
    let first = client(&world, &one, CLEAR, 2);
    is_answered(&first);
    let script = Script::new(&two, 7);
    let cut = cut_headers();
    cut.iter().for_each(|datagram| script.send(datagram));
    wait_until("counted", || drops(&server, "malformed") == cut.len() as u64);
    // Frames that are as long as can be, and of types that the system knows, cut.
    script.send_frame(&frame(MacAddress::BROADCAST, script.mac, &"x".repeat(65_000)));
    for ether_type in [0x0800_u16, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x9000] {
        for len in [0, 1, 3, 20, 41, 60] {
            let mut bytes = frame(MacAddress::BROADCAST, script.mac, &"\u{1}".repeat(len));
            bytes[12..14].copy_from_slice(&ether_type.to_be_bytes());
            script.send(&bytes);
        }
    }
    reaches(&one, "192.168.124.1");
    first.stop();
    server.stop();
}

#[test]
fn a_sealed_frame_is_taken_once_and_whole() {
    let Some(world) = World::new() else { return };
    let server = server(&world, SEALED);
    let (one, two) = (world.machine("one"), world.machine("two"));
    let first = client(&world, &one, SEALED, 2);
    is_answered(&first);
    let (a, b) = (Script::sealed(&two, 7), Script::sealed(&two, 8));
    b.say(MacAddress::BROADCAST, "hello");
    let datagram = a.datagram(&a.frame_to(b.mac, "once"));
    wait_until("a known receiver", || status(&server)["clients"].as_array().unwrap().len() == 2);
    b.texts();
    // Bypassing the cipher: too short for it, and a frame in clear text.
    for len in 0..48 {
        a.send(&vec![2; len]);
    }
    wait_until("too short", || drops(&server, "malformed") == 48);
    a.send(&a.frame_to(b.mac, &"clear text ".repeat(9)));
    let mut changed = datagram.clone();
    for at in [0, 31, 32, 40, changed.len() - 1] {
        changed[at] ^= 1;
        a.send(&changed);
        changed[at] ^= 1;
    }
    wait_until("undecryptable", || drops(&server, "undecryptable") == 6);
    assert_eq!(b.texts(), [""; 0]);
    a.send(&datagram);
    assert_eq!(b.texts(), ["once"]);
    // Somebody else cannot send it either, and becomes nobody's place.
    a.send(&datagram);
    Script::new(&two, 7).send(&datagram);
    wait_until("replayed", || drops(&server, "replayed") == 2);
    assert_eq!(b.texts(), [""; 0]);
    assert_eq!(status(&server)["clients"].as_array().unwrap().len(), 3);
    reaches(&one, "192.168.124.1");
    first.stop();
    server.stop();
}

#[test]
fn a_client_hears_its_server_alone_and_nothing_that_it_sends_ends_it() {
    let Some(world) = World::new() else { return };
    let one = world.machine("one");
    let socket = world.hub.run(|| UdpSocket::bind("0.0.0.0:8421")).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let first = client(&world, &one, CLEAR, 2);
    let mut buffer = [0; 2000];
    let (_, from) = socket.recv_from(&mut buffer).unwrap();
    let cut = cut_headers();
    for datagram in &cut {
        socket.send_to(datagram, from).unwrap();
    }
    wait_until("counted", || drops(&first, "malformed") == cut.len() as u64);
    let greeting = frame(MacAddress::BROADCAST, MacAddress::local(9), "from the server");
    socket.send_to(&greeting, from).unwrap();
    wait_until("a taken frame", || status(&first)["received"]["packets_out"] == 1);
    // Its own frames that come back, as from a network with a loop, are not taken.
    let own = crate::support::mac_of(&one);
    socket.send_to(&frame(MacAddress::BROADCAST, own, "from itself"), from).unwrap();
    wait_until("its own", || drops(&first, "own_address") == 1);
    let before = status(&first)["received"]["packets_in"].clone();
    let unknown = world.hub.run(|| UdpSocket::bind("0.0.0.0:9999")).unwrap().unwrap();
    unknown.send_to(&greeting, from).unwrap();
    // What comes after it says that it was not heard.
    socket.send_to(&greeting, from).unwrap();
    let expected = before.as_u64().unwrap() + 1;
    wait_until("the server's frame", || status(&first)["received"]["packets_out"] == 2);
    assert_eq!(status(&first)["received"]["packets_in"], expected);
    first.stop();
}

#[test]
fn who_has_another_password_is_not_heard_and_is_told_why_that_may_be() {
    let Some(world) = World::new() else { return };
    let server = server(&world, SEALED);
    let (one, two) = (world.machine("one"), world.machine("two"));
    let first = client(&world, &one, SEALED, 2);
    is_answered(&first);
    let wrong = client(&world, &two, "aes-256-gcm:other@", 3);
    wait_until("frames that do not open", || drops(&server, "undecryptable") >= 3);
    crate::common::does_not_reach(&two, "192.168.124.1");
    reaches(&one, "192.168.124.1");
    assert_eq!(status(&server)["clients"].as_array().unwrap().len(), 1);
    let log = || wrong.log();
    wait_until("likely causes", || log().contains("cipher and password are not the same"));
    wrong.stop();
    server.stop();
}

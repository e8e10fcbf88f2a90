//! A peer with a slow handshake, on any transport, is closed at the deadline and delays no other.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use common::{SOON, THREE_HOSTS, World, at, reaches};
use rtun_lab::NetNamespace;

/// `readTimeout` of the hubs here: accept to admitted.
const LIMIT: Duration = Duration::from_secs(2);

/// What an unauthenticated peer begins with, byte by byte.
const BEGINNINGS: [&[u8]; 4] = [
    b"",
    // A TLS record with a handshake of 512 bytes.
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /ws HTTP/1.1\r\nHost: hub\r\nX: ",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

macro_rules! transports {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            deadline_holds(stringify!($name));
        })*
    };
}

transports! { tcp tls ws wss mtcp mtls mws mwss h2 h2c grpc }

fn deadline_holds(transport: &str) {
    let Some(world) = World::new() else { return };
    let config = THREE_HOSTS
        .replace("type: tcp", &format!("type: {transport}"))
        .replace("router: router-0}", "router: router-0, readTimeout: 2s}");
    let hub = world.hub(&config);
    let peers = world.machine("peers");
    let slow: Vec<_> = (0..12)
        .map(|number| {
            let stream = connect(&peers);
            thread::spawn(move || dribble(stream, BEGINNINGS[number % BEGINNINGS.len()]))
        })
        .collect();

    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let node = format!("router+{transport}://server_ip:8443");
    let hosts = [(&one, 1), (&two, 2)].map(|(machine, n)| {
        let service = format!("tun:///host-{n}?net=192.168.123.{n}/24");
        world.start(machine, &["-L", &service, "-F", &node])
    });
    for host in &hosts {
        host.wait_for("joined the hub");
    }
    reaches(&one, "192.168.123.2");
    for closed_after in slow.into_iter().map(|peer| peer.join().unwrap()) {
        let longest = LIMIT + Duration::from_secs(1);
        assert!(closed_after < longest, "closed after {closed_after:?}");
    }
    for host in &hosts {
        host.stop();
    }
    hub.stop_balanced();
}

fn connect(from: &NetNamespace) -> TcpStream {
    from.run(|| TcpStream::connect_timeout(&at(common::HUB, 8443), SOON)).unwrap().unwrap()
}

/// Sends a byte now and then until the other side closes; how long that took.
fn dribble(mut stream: TcpStream, beginning: &[u8]) -> Duration {
    let start = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut bytes = beginning.iter().chain([b'a'].iter().cycle());
    let mut buffer = [0; 4096];
    while start.elapsed() < SOON {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            // What it says does not matter.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        let byte = [*bytes.next().unwrap()];
        if !beginning.is_empty() && stream.write_all(&byte).is_err() {
            break;
        }
    }
    start.elapsed()
}

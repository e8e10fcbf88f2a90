//! Servers, clients, and a client that is a plain socket.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rtun_lab::NetNamespace;
use rtun_proto::{
    checksum::Checksum,
    udp_tunnel::{FromServer, Passphrase, encode_register},
};
use serde_json::Value;

use crate::common::{HUB, Rtun, SOON, World, at, wait_until};

/// A server with an auther.
pub(crate) const WITH_USERS: &str = "
services:
- name: server
  addr: :8421
  handler: {type: tun, auther: clients}
  listener: {type: tun, metadata: {net: '192.168.123.1/24,fd99::1/64', name: tun0}}
authers:
- name: clients
  auths:
  - {username: 192.168.123.2, password: pass-2}
  - {username: 'fd99::2', password: pass-2}
  - {username: 192.168.123.3, password: pass-3}
  - {username: 192.168.123.4, password: pass-4}
";

/// A server that anybody may register at.
pub(crate) const OPEN: &str = "
services:
- name: server
  addr: :8421
  handler: {type: tun}
  listener: {type: tun, metadata: {net: '192.168.123.1/24,fd99::1/64', name: tun0}}
";

/// Starts a server on the machine of hubs and waits until it listens.
pub(crate) fn server(world: &World, config: &str) -> Rtun {
    let file = world.file("server.yaml", config);
    let server = world.start(&world.hub, &["-C", file.to_str().unwrap()]);
    wait_until("a listening server", || server.log().contains("listening on"));
    server
}

/// Starts the client `192.168.123.N` with the passphrase of [`WITH_USERS`], and these parameters.
pub(crate) fn client(world: &World, machine: &NetNamespace, n: u8, more: &str) -> Rtun {
    let url =
        format!("tun://:0/{HUB}:8421?net=192.168.123.{n}/24&passphrase=pass-{n}&name=tun0{more}");
    world.start(machine, &["-L", &url])
}

/// Waits until it is registered.
pub(crate) fn is_registered(client: &Rtun) {
    let start = Instant::now();
    while !client.log().contains("registered; the server sees us") {
        assert!(start.elapsed() < SOON, "not registered: {}", client.log());
        thread::sleep(Duration::from_millis(20));
    }
}

/// What the process says about its only service.
pub(crate) fn status(rtun: &Rtun) -> Value {
    services(rtun)[0].take()
}

/// What the process says about the service of this name.
pub(crate) fn service_status(rtun: &Rtun, name: &str) -> Value {
    let mut services = services(rtun);
    let found = services.as_array_mut().unwrap().iter_mut().find(|it| it["name"] == name);
    found.unwrap().take()
}

fn services(rtun: &Rtun) -> Value {
    let socket = rtun.wait_for("control socket is open")["path"].as_str().unwrap().to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_rtun"))
        .args(["status", "--json", "--socket", &socket])
        .output()
        .unwrap();
    let mut status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status[0]["services"].take()
}

/// How many of a server's or client's datagrams were lost for this reason, in both directions.
pub(crate) fn drops(rtun: &Rtun, reason: &str) -> u64 {
    let status = status(rtun);
    let count = |direction: &str| status[direction]["drops"][reason].as_u64().unwrap_or(0);
    count("sent") + count("received")
}

/// Where a server sees a client with this address.
pub(crate) fn outer_of(server: &Rtun, address: &str) -> Option<SocketAddr> {
    let status = status(server);
    let client =
        status["clients"].as_array().unwrap().iter().find(|client| {
            client["addresses"].as_array().unwrap().iter().any(|it| it == address)
        })?;
    client["outer"].as_str().unwrap().parse().ok()
}

/// A client that is a plain socket.
pub(crate) struct Script {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Script {
    pub(crate) fn new(machine: &NetNamespace) -> Self {
        Self::towards(machine, at(HUB, 8421))
    }

    pub(crate) fn towards(machine: &NetNamespace, server: SocketAddr) -> Self {
        let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
        let socket = machine.run(|| UdpSocket::bind(SocketAddr::new(any, 0))).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
        Self { socket, server }
    }

    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    pub(crate) fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.server).unwrap();
    }

    /// The next datagram; none when none comes for a while.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        match self.socket.recv(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                Some(buffer)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next packet, which has to come; replies to registers that were sent twice may come before.
    pub(crate) fn expect_packet(&self) -> Vec<u8> {
        loop {
            let datagram = self.expect();
            if let Ok(FromServer::Packet(_)) = FromServer::decode(&datagram) {
                return datagram;
            }
        }
    }

    /// The next datagram, which has to come.
    pub(crate) fn expect(&self) -> Vec<u8> {
        let start = Instant::now();
        loop {
            if let Some(datagram) = self.receive() {
                return datagram;
            }
            assert!(start.elapsed() < SOON, "no datagram");
        }
    }

    /// Registers, which has to be answered.
    pub(crate) fn join(&self, passphrase: &str, addresses: &[&str]) -> IpAddr {
        let start = Instant::now();
        loop {
            if let Some(outer) = self.register(passphrase, addresses) {
                return outer;
            }
            assert!(start.elapsed() < SOON, "no answer to {addresses:?}");
        }
    }

    /// Registers, and tells how the server answers, if it does.
    pub(crate) fn register(&self, passphrase: &str, addresses: &[&str]) -> Option<IpAddr> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        self.send(&encode_register(Passphrase::new(passphrase).unwrap(), &addresses));
        loop {
            match FromServer::decode(&self.receive()?) {
                Ok(FromServer::Reply(outer)) => return Some(outer),
                // What was on its way before.
                Ok(FromServer::Packet(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// An ICMP echo request.
pub(crate) fn echo(source: &str, destination: &str, payload: usize) -> Vec<u8> {
    let (source, destination): (std::net::Ipv4Addr, std::net::Ipv4Addr) =
        (source.parse().unwrap(), destination.parse().unwrap());
    let len = u16::try_from(28 + payload).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&len.to_be_bytes());
    packet.extend_from_slice(&[0, 1, 0, 0, 64, 1, 0, 0]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    let sum = Checksum::new().add_bytes(&packet).finish();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut icmp = vec![8, 0, 0, 0, 0, 1, 0, 1];
    icmp.resize(8 + payload, 7);
    let sum = Checksum::new().add_bytes(&icmp).finish();
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&icmp);
    packet
}

/// Whether a packet is the answer to an [`echo`].
pub(crate) fn is_answer(packet: &[u8]) -> bool {
    packet.len() >= 28 && packet[0] == 0x45 && packet[9] == 1 && packet[20] == 0
}

//! Servers, clients, and a client that is a plain socket.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

use rtun_lab::NetNamespace;
use rtun_proto::{
    datagram_cipher::DatagramCipher,
    ethernet::{EthernetFrame, MacAddress},
};
use serde_json::Value;

use crate::common::{HUB, Rtun, SOON, World, at, wait_until};

/// Cipher and password as in a URL.
pub(crate) const SEALED: &str = "aes-256-gcm:secret@";

/// No cipher.
pub(crate) const CLEAR: &str = "";

/// Starts a server on the machine of hubs, which is `192.168.124.1` and `fd99::1`, and waits until it listens.
pub(crate) fn server(world: &World, cipher: &str) -> Rtun {
    let server = start_server(world, cipher);
    wait_until("a listening server", || server.log().contains("listening on"));
    server
}

fn start_server(world: &World, cipher: &str) -> Rtun {
    let url = server_url(cipher);
    world.start(&world.hub, &["-L", &url])
}

/// The argument of a server.
pub(crate) fn server_url(cipher: &str) -> String {
    format!("tap://{cipher}:8421?net=192.168.124.1/24,fd99::1/64&name=tap0")
}

/// The argument of the client `192.168.124.N` and `fd99::N`.
pub(crate) fn client_url(cipher: &str, n: u8) -> String {
    format!("tap://{cipher}:0/{HUB}:8421?net=192.168.124.{n}/24,fd99::{n}/64&name=tap0")
}

/// Starts a client.
pub(crate) fn client(world: &World, machine: &NetNamespace, cipher: &str, n: u8) -> Rtun {
    world.start(machine, &["-L", &client_url(cipher, n)])
}

/// Waits until its server has answered.
pub(crate) fn is_answered(client: &Rtun) {
    wait_until("an answer of the server", || status(client)["answered"] == true);
}

/// What the process says about its first service.
pub(crate) fn status(rtun: &Rtun) -> Value {
    nth_status(rtun, 0)
}

/// What the process says about a service.
pub(crate) fn nth_status(rtun: &Rtun, n: usize) -> Value {
    let socket = rtun.wait_for("control socket is open")["path"].as_str().unwrap().to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_rtun"))
        .args(["status", "--json", "--socket", &socket])
        .output()
        .unwrap();
    let mut status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status[0]["services"][n].take()
}

/// How many frames were lost for this reason, in both directions.
pub(crate) fn drops(rtun: &Rtun, reason: &str) -> u64 {
    let status = status(rtun);
    let count = |direction: &str| status[direction]["drops"][reason].as_u64().unwrap_or(0);
    count("sent") + count("received")
}

/// Where a server has learnt that a hardware address is.
pub(crate) fn place_of(server: &Rtun, mac: MacAddress) -> Option<SocketAddr> {
    let status = status(server);
    let mac = mac.to_string();
    let client = status["clients"].as_array().unwrap().iter().find(|client| {
        client["macs"].as_array().unwrap().iter().any(|it| it.as_str() == Some(&mac))
    })?;
    client["outer"].as_str().unwrap().parse().ok()
}

/// Runs `ip`.
pub(crate) fn ip(machine: &NetNamespace, arguments: &str) -> String {
    let run = || Command::new("ip").args(arguments.split(' ')).output().unwrap();
    let output = machine.run(run).unwrap();
    assert!(output.status.success(), "{arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The hardware address of the device of the tunnel, once there is one.
pub(crate) fn mac_of(machine: &NetNamespace) -> MacAddress {
    let start = Instant::now();
    loop {
        let show = || Command::new("ip").args(["link", "show", "tap0"]).output().unwrap();
        let shown = String::from_utf8(machine.run(show).unwrap().stdout).unwrap();
        let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether");
        if let Some(mac) = words.nth(1) {
            return mac.parse().unwrap();
        }
        assert!(start.elapsed() < SOON, "no device: {shown}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client that is a plain socket.
pub(crate) struct Script {
    socket: UdpSocket,
    server: SocketAddr,
    pub(crate) mac: MacAddress,
    cipher: Option<DatagramCipher>,
    salt: std::cell::Cell<u64>,
}

impl Script {
    /// Station `n`, which sends clear text.
    pub(crate) fn new(machine: &NetNamespace, n: u64) -> Self {
        let any: IpAddr = [0; 4].into();
        let socket = machine.run(|| UdpSocket::bind(SocketAddr::new(any, 0))).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
        let mac = MacAddress::local(n);
        Self { socket, server: at(HUB, 8421), mac, cipher: None, salt: (n << 32).into() }
    }

    /// The same with the cipher of [`SEALED`].
    pub(crate) fn sealed(machine: &NetNamespace, n: u64) -> Self {
        let method = "aes-256-gcm".parse().unwrap();
        let cipher = Some(DatagramCipher::from_password(method, "secret"));
        Self { cipher, ..Self::new(machine, n) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// The datagram of a frame.
    pub(crate) fn datagram(&self, frame: &[u8]) -> Vec<u8> {
        let Some(cipher) = &self.cipher else { return frame.to_vec() };
        let salt = self.salt.replace(self.salt.get() + 1);
        let mut datagram = salt.to_be_bytes().repeat(4);
        datagram.extend_from_slice(frame);
        datagram.extend_from_slice(&[0; 16]);
        cipher.seal(&mut datagram).unwrap();
        datagram
    }

    pub(crate) fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.server).unwrap();
    }

    pub(crate) fn send_frame(&self, frame: &[u8]) {
        self.send(&self.datagram(frame));
    }

    /// A frame from this station, of a type that nobody knows, with a text.
    pub(crate) fn frame_to(&self, destination: MacAddress, text: &str) -> Vec<u8> {
        frame(destination, self.mac, text)
    }

    pub(crate) fn say(&self, destination: MacAddress, text: &str) {
        self.send_frame(&self.frame_to(destination, text));
    }

    /// The texts of the frames of [`frame`] that arrive, until none does for a while.
    pub(crate) fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(frame) = self.receive() {
            let frame = EthernetFrame::parse(&frame).unwrap();
            if frame.ether_type() == TEST_TYPE {
                texts.push(String::from_utf8(frame.payload().to_vec()).unwrap());
            }
        }
        texts
    }

    /// The next frame; none when none comes for a while.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let len = match self.socket.recv(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => panic!("{error}"),
        };
        let Some(cipher) = &self.cipher else { return Some(buffer[..len].to_vec()) };
        let mut frame = vec![0; len];
        let opened = cipher.open(&buffer[..len], &mut frame).unwrap();
        frame.truncate(opened);
        Some(frame)
    }
}

/// The first local experimental type (IEEE 802).
const TEST_TYPE: u16 = 0x88b5;

/// A frame with a text.
pub(crate) fn frame(destination: MacAddress, source: MacAddress, text: &str) -> Vec<u8> {
    let mut frame = [destination.octets(), source.octets()].concat();
    frame.extend_from_slice(&TEST_TYPE.to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame
}

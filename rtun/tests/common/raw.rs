//! A host that speaks the protocol itself, well or badly.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use rtun_lab::Namespace;
use rtun_proto::{
    checksum::Checksum,
    relay::{Association, Network, Request},
};

use super::{HUB, SOON};

/// A connection to the hub.
pub struct RawHost {
    pub stream: TcpStream,
}

/// A request as a host of that name sends it.
pub fn request(host: &str, router_id: [u8; 16]) -> Vec<u8> {
    request_as(None, host, router_id)
}

/// The same, with user and password.
pub fn request_as(user: Option<(&str, &str)>, host: &str, router_id: [u8; 16]) -> Vec<u8> {
    let user = user.map(|(user, password)| (user.into(), password.into()));
    let network = Network::Ip;
    let association = Association { user, network, source: None, host: host.into(), router_id };
    Request::associate(&association).encode().unwrap()
}

impl RawHost {
    /// Connects and says nothing.
    pub fn connect(machine: &Namespace) -> Self {
        let stream = machine.run(|| TcpStream::connect((HUB, 8443))).unwrap().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self { stream }
    }

    /// Connects and is admitted as `host` of the default namespace.
    pub fn join(machine: &Namespace, host: &str) -> Self {
        let mut raw = Self::connect(machine);
        assert_eq!(raw.ask(&request(host, [0; 16])), Answer::Status(0));
        raw
    }

    /// Sends a request; what comes back.
    pub fn ask(&mut self, request: &[u8]) -> Answer {
        self.stream.write_all(request).unwrap();
        self.answer()
    }

    /// Reads an answer, if the hub gives one.
    pub fn answer(&mut self) -> Answer {
        let mut head = [0; 4];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Answer::Silence,
            Err(_) => return Answer::Closed,
        }
        assert_eq!(head[0], 1, "version");
        let mut features = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        self.stream.read_exact(&mut features).unwrap();
        Answer::Status(head[1])
    }

    /// Sends a frame with this payload.
    pub fn send(&mut self, payload: &[u8]) {
        let mut frame = (payload.len() as u16).to_be_bytes().to_vec();
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).unwrap();
    }

    /// The payload of the next frame.
    pub fn receive(&mut self) -> Vec<u8> {
        let mut length = [0; 2];
        self.stream.read_exact(&mut length).unwrap();
        let mut payload = vec![0; usize::from(u16::from_be_bytes(length))];
        self.stream.read_exact(&mut payload).unwrap();
        payload
    }

    /// How long until the hub closes the connection.
    pub fn closed_after(&mut self, since: Instant) -> Duration {
        self.stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("never closed"),
            _ => since.elapsed(),
        }
    }
}

/// What a hub does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Status(u8),
    Closed,
    Silence,
}

/// A UDP packet to port 9 with this payload, checksums right.
pub fn udp(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let [source, destination]: [Ipv4Addr; 2] =
        [source, destination].map(|address| address.parse().unwrap());
    let total = 28 + payload.len();
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&(total as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 1, 0x40, 0, 64, 17, 0, 0]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    let sum = Checksum::new().add_bytes(&packet).finish();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&[0x30, 0x39, 0, 9]);
    packet.extend_from_slice(&((payload.len() + 8) as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(payload);
    packet
}

//! A host that speaks the protocol itself, well or badly.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use rtun_lab::NetNamespace;
use rtun_proto::{
    checksum::Checksum,
    extension::{Capabilities, Extension, Hello, HelloReply},
    relay::{Addr, AddrFeature, Association, Network, Request},
};

use super::{HUB, SOON};

/// A connection to the hub.
pub struct RawHost {
    pub stream: TcpStream,
}

/// The types of extension frames (docs/wire.md section 7).
pub mod kind {
    pub const HELLO: u8 = 1;
    pub const HELLO_REPLY: u8 = 2;
    pub const GSO_FRAME: u8 = 3;
    pub const PING: u8 = 4;
    pub const PONG: u8 = 5;
    pub const GO_AWAY: u8 = 6;
    pub const REFUSAL: u8 = 7;
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

/// A request that also tells the address of the host's device.
pub fn request_from(source: IpAddr, host: &str, router_id: [u8; 16]) -> Vec<u8> {
    let source = Some(AddrFeature { addr: Addr::Ip(source), port: 0 });
    let (host, network) = (host.into(), Network::Ip);
    let association = Association { user: None, network, source, host, router_id };
    Request::associate(&association).encode().unwrap()
}

/// The payload of a hello of the present version.
pub fn hello(instance: u8, capabilities: Capabilities) -> Vec<u8> {
    let instance = [instance; 16];
    let software = "raw".into();
    let hello = Hello { version: 1, capabilities, mtu: u16::MAX, instance, software };
    let mut frame = Vec::new();
    Extension::Hello(hello).write_frame(&mut frame).unwrap();
    frame.split_off(2)
}

impl RawHost {
    /// Connects and says nothing.
    pub fn connect(machine: &NetNamespace) -> Self {
        let stream = machine.run(|| TcpStream::connect((HUB, 8443))).unwrap().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self { stream }
    }

    /// Connects and is admitted as `host` of the default namespace.
    pub fn join(machine: &NetNamespace, host: &str) -> Self {
        let mut raw = Self::connect(machine);
        assert_eq!(raw.ask(&request(host, [0; 16])), Answer::Status(0));
        raw
    }

    /// Joins, and says hello as a run with this instance; it must be answered.
    pub fn join_greeting(
        machine: &NetNamespace,
        host: &str,
        instance: u8,
        capabilities: Capabilities,
    ) -> Self {
        let mut raw = Self::join(machine, host);
        raw.greet(instance, capabilities);
        raw
    }

    /// Says hello and takes the reply; on return it counts for what others send.
    pub fn greet(&mut self, instance: u8, capabilities: Capabilities) -> HelloReply {
        self.send(&hello(instance, capabilities));
        let reply = match Extension::decode(&self.receive()).unwrap() {
            Extension::HelloReply(reply) => reply,
            other => panic!("a hello is answered by {other:?}"),
        };
        self.is_answered();
        reply
    }

    /// Has the hub answer a ping: it has then taken all that was sent before.
    pub fn is_answered(&mut self) {
        let stamp = [7; 8];
        self.send(&[&[kind::PING][..], &stamp].concat());
        assert_eq!(self.receive(), [&[kind::PONG][..], &stamp].concat());
    }

    /// Sends a request; what comes back.
    pub fn ask(&mut self, request: &[u8]) -> Answer {
        self.stream.write_all(request).unwrap();
        self.answer()
    }

    /// Reads an answer, if the hub gives one.
    pub fn answer(&mut self) -> Answer {
        self.answer_with_features().0
    }

    /// The same with the bytes of its features.
    pub fn answer_with_features(&mut self) -> (Answer, Vec<u8>) {
        let mut features = Vec::new();
        (self.read_answer(&mut features), features)
    }

    fn read_answer(&mut self, features: &mut Vec<u8>) -> Answer {
        let mut head = [0; 4];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Answer::Silence,
            Err(_) => return Answer::Closed,
        }
        assert_eq!(head[0], 1, "version");
        features.resize(usize::from(u16::from_be_bytes([head[2], head[3]])), 0);
        self.stream.read_exact(features).unwrap();
        Answer::Status(head[1])
    }

    /// Sends a frame with this payload.
    pub fn send(&mut self, payload: &[u8]) {
        let mut frame = (payload.len() as u16).to_be_bytes().to_vec();
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).unwrap();
    }

    /// The payload of the next frame that is no window stamp; window stamps are answered.
    pub fn receive(&mut self) -> Vec<u8> {
        loop {
            let mut length = [0; 2];
            self.stream.read_exact(&mut length).unwrap();
            let mut payload = vec![0; usize::from(u16::from_be_bytes(length))];
            self.stream.read_exact(&mut payload).unwrap();
            match is_window_stamp(&payload) {
                true => self.send(&[&[kind::PONG][..], &payload[1..]].concat()),
                false => return payload,
            }
        }
    }

    /// The same, if something comes before the stream's time limit.
    pub fn try_receive(&mut self) -> Option<Vec<u8>> {
        let came = self.stream.peek(&mut [0]);
        came.is_ok().then(|| self.receive())
    }

    /// Everything until the hub closes the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("never closed"),
            _ => rest,
        }
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

/// Whether a frame's payload is a window stamp: a ping that only asks whether somebody is there has no stamp.
pub fn is_window_stamp(payload: &[u8]) -> bool {
    payload.first() == Some(&kind::PING) && payload[1..] != [0; 8]
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
    udp_to(source, destination, 9, payload)
}

/// The same to another port.
pub fn udp_to(source: &str, destination: &str, port: u16, payload: &[u8]) -> Vec<u8> {
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
    packet.extend_from_slice(&[0x30, 0x39]);
    packet.extend_from_slice(&port.to_be_bytes());
    packet.extend_from_slice(&((payload.len() + 8) as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(payload);
    packet
}

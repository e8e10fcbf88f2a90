//! GSO frames, and the packets they are to become, each made from scratch with sums of its own.

use std::net::IpAddr;

use super::{ip, raw::kind};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const CWR: u8 = 0x80;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// TCP or UDP from port 12345 to port 80 with more than one segment.
#[derive(Debug, Clone)]
pub struct GsoPacketBuilder {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub flags: u8,
    /// Whether the TCP header has the timestamp option.
    pub timestamps: bool,
    pub traffic_class: u8,
    pub ttl: u8,
    pub id: u16,
    pub sequence: u32,
    pub segment: usize,
    pub payload: Vec<u8>,
}

impl GsoPacketBuilder {
    pub fn tcp(source: &str, destination: &str, payload: usize, segment: usize) -> Self {
        Self {
            source: ip(source),
            destination: ip(destination),
            protocol: TCP,
            flags: ACK,
            timestamps: false,
            traffic_class: 0,
            ttl: 64,
            id: 1,
            sequence: 1,
            segment,
            payload: (0..payload).map(|n| (n * 31 % 251) as u8).collect(),
        }
    }

    pub fn udp(source: &str, destination: &str, payload: usize, segment: usize) -> Self {
        Self { protocol: UDP, flags: 0, ..Self::tcp(source, destination, payload, segment) }
    }

    pub fn segments(&self) -> u64 {
        self.payload.len().div_ceil(self.segment) as u64
    }

    /// The payload of the GSO frame: type, virtio-net header, packet.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = vec![kind::GSO_FRAME];
        frame.extend_from_slice(&self.virtio_header());
        frame.extend_from_slice(&self.whole());
        frame
    }

    /// The packets it stands for.
    pub fn packets(&self) -> Vec<Vec<u8>> {
        let pieces = self.payload.chunks(self.segment);
        let last = pieces.len() - 1;
        pieces
            .enumerate()
            .map(|(n, piece)| {
                let mut flags = self.flags;
                if n < last {
                    flags &= !(FIN | PSH);
                }
                if n > 0 {
                    flags &= !CWR;
                }
                let sequence = self.sequence.wrapping_add((n * self.segment) as u32);
                let mut transport = self.transport_header(sequence, flags, piece.len());
                transport.extend_from_slice(piece);
                let sum = !sum(&[&self.pseudo_header(transport.len()), &transport]);
                let sum = if sum == 0 && self.protocol == UDP { 0xffff } else { sum };
                let at = self.checksum_offset();
                transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
                self.packet(self.id.wrapping_add(n as u16), &transport)
            })
            .collect()
    }

    /// The packet before it is cut, with the sum of its pseudo-header in place of a checksum.
    fn whole(&self) -> Vec<u8> {
        let mut transport = self.transport_header(self.sequence, self.flags, self.payload.len());
        transport.extend_from_slice(&self.payload);
        let sum = sum(&[&self.pseudo_header(transport.len())]);
        let at = self.checksum_offset();
        transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        self.packet(self.id, &transport)
    }

    fn virtio_header(&self) -> [u8; 10] {
        let gso_type = match (self.protocol, self.source) {
            (UDP, _) => 5,
            (_, IpAddr::V4(_)) => 1,
            (_, IpAddr::V6(_)) => 4,
        };
        let cwr = if self.flags & CWR != 0 { 0x80 } else { 0 };
        let ip_header = if self.source.is_ipv4() { 20 } else { 40 };
        let words = [
            ip_header + self.transport_header(0, 0, 0).len() as u16,
            self.segment as u16,
            ip_header,
            self.checksum_offset() as u16,
        ];
        let mut header = [1, gso_type | cwr, 0, 0, 0, 0, 0, 0, 0, 0];
        for (n, word) in words.iter().enumerate() {
            header[2 + 2 * n..4 + 2 * n].copy_from_slice(&word.to_le_bytes());
        }
        header
    }

    fn checksum_offset(&self) -> usize {
        if self.protocol == TCP { 16 } else { 6 }
    }

    /// Without a checksum.
    fn transport_header(&self, sequence: u32, flags: u8, data: usize) -> Vec<u8> {
        let mut header = vec![0x30, 0x39, 0, 80];
        if self.protocol == UDP {
            header.extend_from_slice(&((8 + data) as u16).to_be_bytes());
            header.extend_from_slice(&[0, 0]);
            return header;
        }
        header.extend_from_slice(&sequence.to_be_bytes());
        header.extend_from_slice(&[0, 0, 0, 2, if self.timestamps { 0x80 } else { 0x50 }, flags]);
        header.extend_from_slice(&[1, 0xf4, 0, 0, 0, 0]);
        if self.timestamps {
            header.extend_from_slice(&[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
        }
        header
    }

    fn pseudo_header(&self, len: usize) -> Vec<u8> {
        let mut bytes = octets(self.source);
        bytes.extend_from_slice(&octets(self.destination));
        bytes.extend_from_slice(&(len as u32).to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, self.protocol]);
        bytes
    }

    fn packet(&self, id: u16, transport: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        if self.source.is_ipv4() {
            packet.extend_from_slice(&[0x45, self.traffic_class]);
            packet.extend_from_slice(&((20 + transport.len()) as u16).to_be_bytes());
            packet.extend_from_slice(&id.to_be_bytes());
            packet.extend_from_slice(&[0x40, 0, self.ttl, self.protocol, 0, 0]);
        } else {
            packet.extend_from_slice(&[0x60 | self.traffic_class >> 4, self.traffic_class << 4]);
            packet.extend_from_slice(&[0, 0]);
            packet.extend_from_slice(&(transport.len() as u16).to_be_bytes());
            packet.extend_from_slice(&[self.protocol, self.ttl]);
        }
        packet.extend_from_slice(&octets(self.source));
        packet.extend_from_slice(&octets(self.destination));
        if self.source.is_ipv4() {
            let sum = !sum(&[&packet]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        packet.extend_from_slice(transport);
        packet
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}

/// The one's complement sum of all parts, each of which begins at an even place, word for word as RFC 1071 says it.
pub fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for word in part.chunks(2) {
            sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    sum as u16
}

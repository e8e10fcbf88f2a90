//! Packets that say where they come from and where they may arrive.

use std::net::Ipv4Addr;

/// What a packet says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Packet {
    pub(crate) namespace: usize,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    /// No two packets of a run have the same.
    pub(crate) number: u64,
}

/// The bytes of an IPv4 packet before those that are ours.
const HEADERS: usize = 28;

impl Packet {
    /// A UDP packet of `len` bytes, at least 40.
    pub(crate) fn encode(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let total = u16::try_from(len).expect("at most the MTU").to_be_bytes();
        bytes[0] = 0x45;
        bytes[2..4].copy_from_slice(&total);
        bytes[8] = 64;
        bytes[9] = 17;
        bytes[12..16].copy_from_slice(&self.source.octets());
        bytes[16..20].copy_from_slice(&self.destination.octets());
        // Short packets and long ones of two hosts are two flows.
        bytes[20..24].copy_from_slice(&[3, 232, 0, if len > 100 { 80 } else { 81 }]);
        bytes[HEADERS] = u8::try_from(self.namespace).expect("there are few");
        bytes[HEADERS + 1..HEADERS + 9].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// What such a packet says.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let address =
            |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        let number = bytes[HEADERS + 1..HEADERS + 9].try_into().expect("eight bytes");
        Self {
            namespace: usize::from(bytes[HEADERS]),
            source: address(12),
            destination: address(16),
            number: u64::from_be_bytes(number),
        }
    }
}

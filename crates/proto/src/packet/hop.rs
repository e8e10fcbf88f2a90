//! The change that a router makes to a forwarded packet: one hop less.

use super::{
    Packet,
    layout::{v4, v6},
};
use crate::checksum::Checksum;

/// A copy of the packet with TTL or hop limit one less and the IPv4 header checksum right again; `None` when it has no
/// hop left (RFC 1812 section 5.3.1, RFC 8200 section 3).
pub fn take_hop(packet: &Packet<'_>) -> Option<Vec<u8>> {
    let left = packet.ttl().checked_sub(1).filter(|left| *left > 0)?;
    let mut bytes = packet.bytes().to_vec();
    if packet.version() == 4 {
        bytes[v4::TTL] = left;
        bytes[v4::CHECKSUM..v4::CHECKSUM + 2].fill(0);
        let sum = Checksum::new().add_bytes(&bytes[..packet.header_len()]).finish();
        bytes[v4::CHECKSUM..v4::CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    } else {
        bytes[v6::HOP_LIMIT] = left;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(ttl: u8) -> Vec<u8> {
        let mut bytes = vec![
            0x45, 0, 0, 28, 0, 1, 0x40, 0, ttl, 1, 0, 0, 192, 168, 123, 1, 192, 168, 123, 2, 8, 0,
            0xf7, 0xfd, 0, 1, 0, 1,
        ];
        let sum = Checksum::new().add_bytes(&bytes[..20]).finish();
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    #[test]
    fn only_the_hop_and_the_checksum_change() {
        let (before, expected) = (v4(64), v4(63));
        assert_eq!(take_hop(&Packet::parse(&before).unwrap()), Some(expected));

        let mut before = vec![0x60, 0, 0, 0, 0, 0, 59, 2];
        before.resize(40, 7);
        let mut expected = before.clone();
        expected[7] = 1;
        assert_eq!(take_hop(&Packet::parse(&before).unwrap()), Some(expected));
    }

    #[test]
    fn a_packet_without_a_hop_left_is_not_forwarded() {
        for ttl in [0, 1] {
            assert_eq!(take_hop(&Packet::parse(&v4(ttl)).unwrap()), None);
        }
        assert!(take_hop(&Packet::parse(&v4(2)).unwrap()).is_some());
    }
}

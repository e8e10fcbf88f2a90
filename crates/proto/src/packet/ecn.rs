//! Explicit congestion notification in the IP header (RFC 3168 section 5): reading it, and setting the CE mark.

use super::layout::{v4, v6};
use crate::checksum::Checksum;

/// The lower two bits of the traffic class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ecn {
    /// 00: the sender does not support ECN; its packets are dropped instead of getting a CE mark.
    NotEct,
    /// 10: ECN-capable.
    Ect0,
    /// 01: ECN-capable. It also asks for the treatment of RFC 9331, which rtun does not implement.
    Ect1,
    /// 11: congestion experienced.
    Ce,
}

const MASK: u8 = 0b11;

/// The position of the traffic class in IPv6: it begins four bits into the header.
const V6_CLASS_LOW: usize = 1;
const V6_SHIFT: u32 = 4;

/// The ECN field of a packet. [`Ecn::NotEct`] for bytes that are no IP packet or end inside its fixed header.
#[inline]
pub fn ecn(packet: &[u8]) -> Ecn {
    let bits = match packet.first().map(|byte| byte >> 4) {
        Some(4) if packet.len() >= v4::MIN_HEADER => packet[v4::DSCP_ECN],
        Some(6) if packet.len() >= v6::HEADER => packet[V6_CLASS_LOW] >> V6_SHIFT,
        _ => 0,
    };
    match bits & MASK {
        0b00 => Ecn::NotEct,
        0b10 => Ecn::Ect0,
        0b01 => Ecn::Ect1,
        _ => Ecn::Ce,
    }
}

/// Sets the CE mark of an ECN-capable packet. True if the packet has [`Ecn::Ce`] afterwards; any other packet is unchanged.
///
/// The IPv4 header checksum changes with it (RFC 1624 section 3), so a right one stays right and a wrong one wrong.
#[inline]
pub fn mark_ce(packet: &mut [u8]) -> bool {
    match ecn(packet) {
        Ecn::NotEct => return false,
        Ecn::Ce => return true,
        Ecn::Ect0 | Ecn::Ect1 => {}
    }
    if packet[0] >> 4 == 6 {
        packet[V6_CLASS_LOW] |= MASK << V6_SHIFT;
        return true;
    }
    let before = u16::from_be_bytes([packet[0], packet[v4::DSCP_ECN]]);
    packet[v4::DSCP_ECN] |= MASK;
    let after = u16::from_be_bytes([packet[0], packet[v4::DSCP_ECN]]);
    let checksum = &mut packet[v4::CHECKSUM..v4::CHECKSUM + 2];
    let old = u16::from_be_bytes([checksum[0], checksum[1]]);
    let new = Checksum::new().add_word(!old).add_word(!before).add_word(after).finish();
    checksum.copy_from_slice(&new.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Computes the header checksum from scratch.
    fn finish(header: &mut [u8]) {
        header[v4::CHECKSUM..v4::CHECKSUM + 2].fill(0);
        let sum = Checksum::new().add_bytes(header).finish();
        header[v4::CHECKSUM..v4::CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    }

    #[test]
    fn the_code_points_are_those_of_rfc_3168() {
        let codes = [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce];
        for (bits, code) in (0_u8..).zip(codes) {
            let v4 = [&[0x45, 0b1010_1000 | bits][..], &[0; 18]].concat();
            let v6 = [&[0x6f, bits << 4 | 0xcf][..], &[0; 38]].concat();
            for mut packet in [v4, v6] {
                assert_eq!(ecn(&packet), code);
                assert_eq!(ecn(&packet[..packet.len() - 1]), Ecn::NotEct, "a cut header");
                let before = packet.clone();
                assert_eq!(mark_ce(&mut packet), code != Ecn::NotEct);
                let marked = if code == Ecn::NotEct { Ecn::NotEct } else { Ecn::Ce };
                assert_eq!(ecn(&packet), marked);
                assert_eq!(packet == before, matches!(code, Ecn::NotEct | Ecn::Ce));
            }
        }
    }

    #[test]
    fn ipv6_keeps_the_rest_of_its_first_word() {
        let mut packet = [&[0x6a, 0x25, 1, 2][..], &[7; 36]].concat();
        assert!(mark_ce(&mut packet));
        assert_eq!(packet, [&[0x6a, 0x35, 1, 2][..], &[7; 36]].concat());
    }

    proptest! {
        #[test]
        fn the_checksum_is_that_of_the_whole_header(
            words in 5_u8..=15,
            rest in any::<[u8; 59]>(),
            class: u8,
            payload in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let len = usize::from(words) * 4;
            let mut packet = [&[0x40 | words, class][..], &rest[1..len - 1]].concat();
            finish(&mut packet);
            packet.extend(&payload);
            let mut expected = packet.clone();
            if class & MASK != 0 {
                expected[v4::DSCP_ECN] |= MASK;
                finish(&mut expected[..len]);
            }
            prop_assert_eq!(mark_ce(&mut packet), class & MASK != 0);
            prop_assert_eq!(packet, expected);
        }

        #[test]
        fn any_bytes_are_handled(mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let before = ecn(&bytes);
            prop_assert_eq!(mark_ce(&mut bytes), before != Ecn::NotEct);
            prop_assert_eq!(ecn(&bytes) == Ecn::Ce, before != Ecn::NotEct);
        }
    }
}

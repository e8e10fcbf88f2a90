//! The ICMP error that a router sends about a packet it cannot deliver (RFC 792, RFC 1191, RFC 4443), and the packet that a
//! received error is about.

mod quote;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    checksum::Checksum,
    packet::{Packet, destination_is_for_many, protocol, source_is_never_valid},
};

pub use self::quote::{Quote, quoted};

/// The longest ICMPv4 error in bytes, its IP header included (RFC 1812 section 4.3.2.3).
pub const MAX_V4: usize = 576;
/// The longest ICMPv6 error in bytes, its IP header included: the least MTU of IPv6 (RFC 4443 section 2.4 c).
pub const MAX_V6: usize = 1280;

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
/// Type, code, checksum and four bytes that only a too-big message uses.
const ICMP_HEADER: usize = 8;
const CHECKSUM: usize = 2;
const V4_CHECKSUM: usize = 10;
const TTL: u8 = 64;
/// Precedence `internetwork control` (RFC 1812 section 4.3.2.5).
const V4_PRECEDENCE: u8 = 0xc0;
const V4_DO_NOT_FRAGMENT: [u8; 2] = [0x40, 0];

/// Why a packet was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// No route leads to the destination.
    Network,
    /// The host of the route is not connected.
    Host,
    /// A rule forbids it.
    Administrative,
    /// It is larger than the path carries.
    TooBig {
        /// The largest packet that the path carries, in bytes. At most 65,535 in IPv4.
        mtu: u32,
    },
    /// Its time to live or hop limit is used up.
    HopLimit,
}

impl Unreachable {
    /// Type, code and the last four bytes of the ICMP header.
    fn v4(self) -> (u8, u8, u32) {
        match self {
            Self::Network => (3, 0, 0),
            Self::Host => (3, 1, 0),
            Self::Administrative => (3, 13, 0),
            Self::TooBig { mtu } => (3, 4, mtu.min(u32::from(u16::MAX))),
            Self::HopLimit => (11, 0, 0),
        }
    }

    fn v6(self) -> (u8, u8, u32) {
        match self {
            Self::Network => (1, 0, 0),
            Self::Host => (1, 3, 0),
            Self::Administrative => (1, 1, 0),
            Self::TooBig { mtu } => (2, 0, mtu),
            Self::HopLimit => (3, 0, 0),
        }
    }
}

/// The ICMP error that informs the sender of `packet` why it was not delivered: a whole IP packet from `from` to the
/// sender, at most [`MAX_V4`] or [`MAX_V6`] bytes, with as much of `packet` as fits.
///
/// None if a router sends no error (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e): about an ICMP error or redirect, a
/// fragment other than the first, a packet to a multicast or broadcast address, a packet whose source is no single host, or
/// a packet whose ICMP type is not found. None also if `from` has another IP version than the packet.
///
/// The caller limits the rate of such errors.
pub fn unreachable(packet: &Packet<'_>, why: Unreachable, from: IpAddr) -> Option<Vec<u8>> {
    if !may_be_answered(packet) {
        return None;
    }
    match (from, packet.source()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Some(error_v4(packet.bytes(), why, from, to)),
        (IpAddr::V6(from), IpAddr::V6(to)) => Some(error_v6(packet.bytes(), why, from, to)),
        _ => None,
    }
}

fn may_be_answered(packet: &Packet<'_>) -> bool {
    let Some(upper) = packet.upper() else { return false };
    let is_later_fragment = upper.fragment.is_some_and(|fragment| fragment.offset > 0);
    let is_error = match upper.protocol {
        protocol::ICMP => upper.payload.first().is_none_or(is_icmp_v4_error),
        protocol::ICMPV6 => upper.payload.first().is_none_or(is_icmp_v6_error),
        _ => false,
    };
    !is_later_fragment
        && !is_error
        && names_one_host(packet.source())
        && !destination_is_for_many(packet.destination())
}

/// Unreachable, source quench, redirect, time exceeded, parameter problem.
fn is_icmp_v4_error(kind: &u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

/// Errors are the lower half of the types; a redirect counts as one (RFC 4443 section 2.4 e.2).
fn is_icmp_v6_error(kind: &u8) -> bool {
    const REDIRECT: u8 = 137;
    *kind < 128 || *kind == REDIRECT
}

/// 240.0.0.0/4 is reserved (RFC 1112 section 4).
fn names_one_host(source: IpAddr) -> bool {
    let is_reserved = matches!(source, IpAddr::V4(source) if source.octets()[0] >= 240);
    !is_reserved && !source_is_never_valid(source)
}

fn error_v4(offender: &[u8], why: Unreachable, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let quoted = &offender[..offender.len().min(MAX_V4 - V4_HEADER - ICMP_HEADER)];
    let total = u16::try_from(V4_HEADER + ICMP_HEADER + quoted.len()).expect("at most MAX_V4");
    let mut bytes = Vec::with_capacity(usize::from(total));
    bytes.extend([0x45, V4_PRECEDENCE]);
    bytes.extend(total.to_be_bytes());
    // Any identification is allowed if fragmenting is forbidden (RFC 6864 section 4.1).
    bytes.extend([0, 0]);
    bytes.extend(V4_DO_NOT_FRAGMENT);
    bytes.extend([TTL, protocol::ICMP, 0, 0]);
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    let checksum = Checksum::new().add_bytes(&bytes).finish();
    put_checksum(&mut bytes[V4_CHECKSUM..], checksum);
    append_icmp(&mut bytes, why.v4(), quoted);
    let checksum = Checksum::new().add_bytes(&bytes[V4_HEADER..]).finish();
    put_checksum(&mut bytes[V4_HEADER + CHECKSUM..], checksum);
    bytes
}

fn error_v6(offender: &[u8], why: Unreachable, from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    let quoted = &offender[..offender.len().min(MAX_V6 - V6_HEADER - ICMP_HEADER)];
    let payload = u16::try_from(ICMP_HEADER + quoted.len()).expect("at most MAX_V6");
    let mut bytes = Vec::with_capacity(V6_HEADER + usize::from(payload));
    bytes.extend([0x60, 0, 0, 0]);
    bytes.extend(payload.to_be_bytes());
    bytes.extend([protocol::ICMPV6, TTL]);
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    append_icmp(&mut bytes, why.v6(), quoted);
    let checksum = Checksum::new()
        .pseudo_header_v6(from, to, protocol::ICMPV6, payload.into())
        .add_bytes(&bytes[V6_HEADER..])
        .finish();
    put_checksum(&mut bytes[V6_HEADER + CHECKSUM..], checksum);
    bytes
}

fn append_icmp(bytes: &mut Vec<u8>, (kind, code, rest): (u8, u8, u32), quoted: &[u8]) {
    bytes.extend([kind, code, 0, 0]);
    bytes.extend(rest.to_be_bytes());
    bytes.extend(quoted);
}

fn put_checksum(field: &mut [u8], checksum: u16) {
    field[..2].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const HUB_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));

    fn v4(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let total = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, protocol, 0, 0];
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(payload);
        bytes
    }

    fn v6(source: &str, destination: &str, next_header: u8, payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![0x60, 0, 0, 0, len[0], len[1], next_header, 64];
        bytes.extend(source.parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend(destination.parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend(payload);
        bytes
    }

    fn answer(offender: &[u8], why: Unreachable) -> Option<Vec<u8>> {
        let packet = Packet::parse(offender).unwrap();
        unreachable(&packet, why, if packet.version() == 4 { HUB_V4 } else { HUB_V6 })
    }

    #[test]
    fn type_code_and_mtu_follow_the_reason() {
        let offender_v4 = v4([10, 0, 0, 2], [10, 0, 0, 3], protocol::UDP, &[0; 8]);
        let offender_v6 = v6("fd00::2", "fd00::3", protocol::UDP, &[0; 8]);
        for (why, in_v4, in_v6) in [
            (Unreachable::Network, [3, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]),
            (Unreachable::Host, [3, 1, 0, 0, 0, 0], [1, 3, 0, 0, 0, 0]),
            (Unreachable::Administrative, [3, 13, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]),
            (Unreachable::TooBig { mtu: 1420 }, [3, 4, 0, 0, 5, 140], [2, 0, 0, 0, 5, 140]),
            (Unreachable::TooBig { mtu: 65_536 }, [3, 4, 0, 0, 255, 255], [2, 0, 0, 1, 0, 0]),
            (Unreachable::HopLimit, [11, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]),
        ] {
            let icmp = |bytes: Vec<u8>, header: usize| {
                [&bytes[header..header + 2], &bytes[header + 4..header + 8]].concat()
            };
            assert_eq!(icmp(answer(&offender_v4, why).unwrap(), V4_HEADER), in_v4);
            assert_eq!(icmp(answer(&offender_v6, why).unwrap(), V6_HEADER), in_v6);
        }
    }

    #[test]
    fn the_sender_gets_as_much_of_its_packet_as_fits() {
        for len in [0, 1, 519, 520, 521, 60_000] {
            let offender = v4([10, 0, 0, 2], [10, 0, 0, 3], protocol::UDP, &vec![7; len]);
            let error = answer(&offender, Unreachable::Network).unwrap();
            assert_eq!(error.len(), (28 + offender.len()).min(MAX_V4));
            assert!(offender.starts_with(&error[28..]));
            let packet = Packet::parse(&error).unwrap();
            assert_eq!((packet.source(), packet.padding()), (HUB_V4, 0));
            assert_eq!(packet.destination(), IpAddr::from([10, 0, 0, 2]));
        }
        for len in [0, 1, 1191, 1192, 1193, 60_000] {
            let offender = v6("fd00::2", "fd00::3", protocol::UDP, &vec![7; len]);
            let error = answer(&offender, Unreachable::Network).unwrap();
            assert_eq!(error.len(), (48 + offender.len()).min(MAX_V6));
            assert!(offender.starts_with(&error[48..]));
            let packet = Packet::parse(&error).unwrap();
            assert_eq!((packet.source(), packet.padding()), (HUB_V6, 0));
            assert_eq!(packet.destination(), "fd00::2".parse::<IpAddr>().unwrap());
        }
    }

    #[test]
    fn padding_is_not_quoted() {
        let mut offender = v4([10, 0, 0, 2], [10, 0, 0, 3], protocol::UDP, &[1; 8]);
        let without = answer(&offender, Unreachable::Host);
        offender.extend([0xee; 30]);
        assert_eq!(answer(&offender, Unreachable::Host), without);
    }

    #[test]
    fn icmp_questions_are_answered_and_errors_are_not() {
        for kind in 0..=255 {
            let offender = v4([10, 0, 0, 2], [10, 0, 0, 3], protocol::ICMP, &[kind; 8]);
            let answered = answer(&offender, Unreachable::Host).is_some();
            assert_eq!(answered, ![3, 4, 5, 11, 12].contains(&kind), "ICMP type {kind}");
            let offender = v6("fd00::2", "fd00::3", protocol::ICMPV6, &[kind; 8]);
            let answered = answer(&offender, Unreachable::Host).is_some();
            assert_eq!(answered, kind >= 128 && kind != 137, "ICMPv6 type {kind}");
        }
        let cut = v4([10, 0, 0, 2], [10, 0, 0, 3], protocol::ICMP, &[]);
        assert_eq!(answer(&cut, Unreachable::Host), None);
    }

    #[test]
    fn an_error_behind_extension_headers_is_still_an_error() {
        let options = [protocol::ICMPV6, 0, 1, 4, 0, 0, 0, 0];
        let behind = |kind| {
            let payload = [&options[..], &[kind; 8]].concat();
            answer(
                &v6("fd00::2", "fd00::3", protocol::DESTINATION_OPTIONS, &payload),
                Unreachable::Host,
            )
        };
        assert_eq!(behind(1), None);
        assert!(behind(128).is_some());
        let cut = v6("fd00::2", "fd00::3", protocol::DESTINATION_OPTIONS, &options[..4]);
        assert_eq!(answer(&cut, Unreachable::Host), None);
    }

    #[test]
    fn only_the_first_fragment_is_answered() {
        for (word, answered) in [([0x20, 0], true), ([0x20, 1], false), ([0, 1], false)] {
            let mut offender = v4([10, 0, 0, 2], [10, 0, 0, 3], protocol::UDP, &[0; 8]);
            offender[6..8].copy_from_slice(&word);
            assert_eq!(answer(&offender, Unreachable::Network).is_some(), answered);
        }
        for (word, answered) in [([0, 1], true), ([0, 9], false), ([0, 8], false)] {
            let payload = [&[protocol::UDP, 0, word[0], word[1], 0, 0, 0, 1], &[0; 8][..]].concat();
            let offender = v6("fd00::2", "fd00::3", protocol::FRAGMENT, &payload);
            assert_eq!(answer(&offender, Unreachable::Network).is_some(), answered);
        }
    }

    #[test]
    fn only_a_single_host_gets_an_answer() {
        let to = |destination| v4([10, 0, 0, 2], destination, protocol::UDP, &[0; 8]);
        let by = |source| v4(source, [10, 0, 0, 3], protocol::UDP, &[0; 8]);
        for offender in [
            to([224, 0, 0, 1]),
            to([255, 255, 255, 255]),
            by([0, 0, 0, 0]),
            by([127, 0, 0, 1]),
            by([224, 0, 0, 1]),
            by([240, 0, 0, 1]),
            by([255, 255, 255, 255]),
            v6("fd00::2", "ff02::1", protocol::UDP, &[0; 8]),
            v6("::", "fd00::3", protocol::UDP, &[0; 8]),
            v6("::1", "fd00::3", protocol::UDP, &[0; 8]),
            v6("ff02::1", "fd00::3", protocol::UDP, &[0; 8]),
        ] {
            assert_eq!(answer(&offender, Unreachable::Network), None, "{offender:02x?}");
        }
    }

    #[test]
    fn a_router_speaks_the_packets_version() {
        let offender = v4([10, 0, 0, 2], [10, 0, 0, 3], protocol::UDP, &[0; 8]);
        let packet = Packet::parse(&offender).unwrap();
        assert_eq!(unreachable(&packet, Unreachable::Host, HUB_V6), None);
    }
}

//! The packet that an ICMP error of a router is about.

use std::{net::IpAddr, ops::RangeInclusive};

use super::{ICMP_HEADER, V6_HEADER, is_icmp_v4_error, is_icmp_v6_error};
use crate::{
    checksum::Checksum,
    packet::{Packet, protocol},
};

/// The packet that an ICMP error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Its sender, who gets the error.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
}

/// The bytes after the quoted IP header that an ICMPv4 error must have (RFC 792), or all bytes of a shorter packet.
const QUOTED: usize = 8;

/// The bytes of a quoted packet that are read. If its IP headers do not end before, the error is ignored.
const LOOK: usize = 256;

/// Errors that a router sends about a packet, by type with their codes (RFC 792, RFC 1812 section 5.2.7.1). Source quench
/// is no longer sent (RFC 6633), and a redirect is for neighbours.
const V4: [(u8, RangeInclusive<u8>); 3] = [(3, 0..=15), (11, 0..=1), (12, 0..=2)];

/// The same for IPv6 (RFC 4443 section 3, IANA "ICMPv6 Parameters").
const V6: [(u8, RangeInclusive<u8>); 4] = [(1, 0..=8), (2, 0..=0), (3, 0..=1), (4, 0..=10)];

/// The packet that `packet` is about, if it is a whole ICMP error: destination unreachable, packet too big, time exceeded or
/// parameter problem, with a known code and a right checksum. It must quote the IP header of a packet of the same IP
/// version and, of IPv4, the first 8 bytes after that header. The quoted packet must be no ICMP error and no fragment other
/// than the first.
pub fn quoted(packet: &Packet<'_>) -> Option<Quote> {
    let upper = packet.upper().filter(|upper| upper.fragment.is_none())?;
    let is_v4 = packet.version() == 4;
    let (icmp, known, pseudo_header): (_, &[(u8, RangeInclusive<u8>)], _) =
        match (is_v4, packet.source(), packet.destination()) {
            (true, ..) => (protocol::ICMP, &V4, Checksum::new()),
            (false, IpAddr::V6(from), IpAddr::V6(to)) => {
                let len = u32::try_from(upper.payload.len()).ok()?;
                (
                    protocol::ICMPV6,
                    &V6,
                    Checksum::new().pseudo_header_v6(from, to, protocol::ICMPV6, len),
                )
            }
            _ => return None,
        };
    if upper.protocol != icmp {
        return None;
    }
    let (header, quote) = upper.payload.split_at_checked(ICMP_HEADER)?;
    let [kind, code] = [header[0], header[1]];
    let is_error = known.iter().any(|(known, codes)| *known == kind && codes.contains(&code));
    if !is_error || pseudo_header.add_bytes(upper.payload).finish() != 0 {
        return None;
    }
    if is_v4 { offender_v4(quote) } else { offender_v6(quote) }
}

fn offender_v4(quote: &[u8]) -> Option<Quote> {
    let claimed = usize::from(u16::from_be_bytes([*quote.get(2)?, *quote.get(3)?]));
    let (mut copy, len) = beginning(quote);
    let total = u16::try_from(len).ok()?.min(u16::try_from(claimed).ok()?);
    copy[2..4].copy_from_slice(&total.to_be_bytes());
    let packet = Packet::parse(&copy[..len]).ok().filter(|packet| packet.version() == 4)?;
    let payload = claimed - packet.header_len();
    if packet.len() - packet.header_len() < QUOTED.min(payload) {
        return None;
    }
    offender(&packet, protocol::ICMP, is_icmp_v4_error)
}

fn offender_v6(quote: &[u8]) -> Option<Quote> {
    let (mut copy, len) = beginning(quote);
    let payload = u16::try_from(len.checked_sub(V6_HEADER)?).ok()?;
    copy[4..6].copy_from_slice(&payload.to_be_bytes());
    let packet = Packet::parse(&copy[..len]).ok().filter(|packet| packet.version() == 6)?;
    offender(&packet, protocol::ICMPV6, is_icmp_v6_error)
}

/// A packet that an error may be about; `icmp` is its version's.
fn offender(packet: &Packet<'_>, icmp: u8, is_icmp_error: fn(&u8) -> bool) -> Option<Quote> {
    let upper = packet.upper()?;
    let is_error = upper.protocol == icmp && upper.payload.first().is_none_or(is_icmp_error);
    let is_later_fragment = upper.fragment.is_some_and(|fragment| fragment.offset > 0);
    (!is_error && !is_later_fragment)
        .then(|| Quote { source: packet.source(), destination: packet.destination() })
}

/// A copy of the first bytes of a quoted packet, and their number.
fn beginning(quote: &[u8]) -> ([u8; LOOK], usize) {
    let len = quote.len().min(LOOK);
    let mut copy = [0; LOOK];
    copy[..len].copy_from_slice(&quote[..len]);
    (copy, len)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{super::*, *};

    /// `from` to 10.0.0.9, or to fd00::9.
    fn offender(from: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        match from {
            IpAddr::V4(from) => {
                let total = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
                bytes.extend([0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, protocol, 0, 0]);
                bytes.extend(from.octets());
                bytes.extend([10, 0, 0, 9]);
            }
            IpAddr::V6(from) => {
                let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
                bytes.extend([0x60, 0, 0, 0, len[0], len[1], protocol, 64]);
                bytes.extend(from.octets());
                bytes.extend("fd00::9".parse::<Ipv6Addr>().unwrap().octets());
            }
        }
        bytes.extend(payload);
        bytes
    }

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
    const ROUTER: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::new(172, 16, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1)),
    ];

    /// Errors of a router about UDP packets of both versions.
    fn errors() -> [Vec<u8>; 2] {
        [(V4, ROUTER[0]), (V6, ROUTER[1])].map(|(from, router)| {
            let bytes = offender(from, protocol::UDP, &[7; 100]);
            let packet = Packet::parse(&bytes).unwrap();
            unreachable(&packet, Unreachable::TooBig { mtu: 1280 }, router).unwrap()
        })
    }

    fn quote_of(bytes: &[u8]) -> Option<Quote> {
        quoted(&Packet::parse(bytes).unwrap())
    }

    /// With a right checksum again.
    fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
        let packet = Packet::parse(&bytes).unwrap();
        let header = packet.header_len();
        let sum = match (packet.source(), packet.destination()) {
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let len = u32::try_from(bytes.len() - header).unwrap();
                Checksum::new().pseudo_header_v6(from, to, protocol::ICMPV6, len)
            }
            _ => Checksum::new(),
        };
        bytes[header + 2..header + 4].fill(0);
        let sum = sum.add_bytes(&bytes[header..]).finish();
        bytes[header + 2..header + 4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// The same after `change` of the ICMP message, with a right checksum.
    fn changed(bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let header = Packet::parse(bytes).unwrap().header_len();
        let mut bytes = bytes.to_vec();
        change(&mut bytes[header..]);
        summed(bytes)
    }

    /// The same with the quote cut so that `left` bytes of it are there.
    fn cut(bytes: &[u8], left: usize) -> Vec<u8> {
        let header = Packet::parse(bytes).unwrap().header_len();
        let mut bytes = bytes[..header + ICMP_HEADER + left].to_vec();
        let (place, len) = if header == 20 { (2, bytes.len()) } else { (4, bytes.len() - 40) };
        bytes[place..place + 2].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        summed(bytes)
    }

    #[test]
    fn an_error_tells_which_packet_it_is_about() {
        let [v4, v6] = errors();
        let nine = ["10.0.0.9", "fd00::9"].map(|text| text.parse().unwrap());
        assert_eq!(quote_of(&v4), Some(Quote { source: V4, destination: nine[0] }));
        assert_eq!(quote_of(&v6), Some(Quote { source: V6, destination: nine[1] }));
    }

    #[test]
    fn types_and_codes_are_those_that_routers_send() {
        let [v4, v6] = errors();
        for kind in 0..=255_u8 {
            for code in 0..=255_u8 {
                let with = |bytes| changed(bytes, |icmp| icmp[..2].copy_from_slice(&[kind, code]));
                let in_v4 = matches!((kind, code), (3, 0..=15) | (11, 0..=1) | (12, 0..=2));
                assert_eq!(quote_of(&with(&v4)).is_some(), in_v4, "ICMP {kind} {code}");
                let in_v6 = matches!((kind, code), (1, 0..=8) | (2, 0) | (3, 0..=1) | (4, 0..=10));
                assert_eq!(quote_of(&with(&v6)).is_some(), in_v6, "ICMPv6 {kind} {code}");
            }
        }
    }

    #[test]
    fn a_quote_has_the_headers_and_eight_bytes() {
        let [v4, v6] = errors();
        for left in 0..=120 {
            assert_eq!(quote_of(&cut(&v4, left)).is_some(), left >= 28, "{left}");
        }
        for left in 0..=140 {
            assert_eq!(quote_of(&cut(&v6, left)).is_some(), left >= 40, "{left}");
        }
        // Of a packet that had no more, that is enough.
        let short = offender(V4, protocol::UDP, &[7; 3]);
        let packet = Packet::parse(&short).unwrap();
        let error = unreachable(&packet, Unreachable::Host, ROUTER[0]).unwrap();
        assert!(quote_of(&error).is_some());
        assert!(quote_of(&cut(&error, 22)).is_none());
    }

    #[test]
    fn every_bit_counts_for_the_checksum() {
        for error in errors() {
            let header = Packet::parse(&error).unwrap().header_len();
            for at in header..error.len() {
                let mut wrong = error.clone();
                wrong[at] ^= 0x10;
                assert_eq!(quote_of(&wrong), None, "byte {at}");
            }
        }
    }

    #[test]
    fn neither_fragments_nor_what_is_no_icmp_is_one() {
        let [v4, v6] = errors();
        for word in [0x2000_u16, 0x0001, 0x1fff] {
            let mut fragment = v4.clone();
            fragment[6..8].copy_from_slice(&word.to_be_bytes());
            assert_eq!(quote_of(&fragment), None, "{word:04x}");
        }
        for protocol in [protocol::TCP, protocol::UDP, protocol::ICMPV6] {
            let mut other = v4.clone();
            other[9] = protocol;
            assert_eq!(quote_of(&other), None);
        }
        for next in [protocol::TCP, protocol::UDP, protocol::ICMP, protocol::FRAGMENT] {
            let mut other = v6.clone();
            other[6] = next;
            assert_eq!(quote_of(&other), None);
        }
    }

    #[test]
    fn what_no_error_is_sent_about_is_not_quoted() {
        let [v4, v6] = errors();
        let q = ICMP_HEADER;
        for (what, bytes) in [
            ("another version", changed(&v4, |icmp| icmp[q] = 0x65)),
            ("another version", changed(&v6, |icmp| icmp[q] = 0x45)),
            ("a header of 16 bytes", changed(&v4, |icmp| icmp[q] = 0x44)),
            ("a packet shorter than its header", changed(&v4, |icmp| icmp[q + 3] = 19)),
            ("a later fragment", changed(&v4, |icmp| icmp[q + 7] = 1)),
            (
                "an error",
                changed(&v4, |icmp| {
                    icmp[q + 9] = protocol::ICMP;
                    icmp[q + 20] = 3;
                }),
            ),
            (
                "an error",
                changed(&v6, |icmp| {
                    icmp[q + 6] = protocol::ICMPV6;
                    icmp[q + 40] = 1;
                }),
            ),
            (
                "a cut chain of headers",
                changed(&v6, |icmp| {
                    icmp[q + 6] = protocol::HOP_BY_HOP;
                    icmp[q + 41] = 200;
                }),
            ),
        ] {
            assert_eq!(quote_of(&bytes), None, "{what}");
        }
        let echo = changed(&v4, |icmp| {
            icmp[q + 9] = protocol::ICMP;
            icmp[q + 20] = 8;
        });
        assert!(quote_of(&echo).is_some(), "a question may be quoted");
        let first = changed(&v4, |icmp| icmp[q + 6] = 0x20);
        assert!(quote_of(&first).is_some(), "a first fragment may be quoted");
    }

    #[test]
    fn any_bytes_are_accepted_or_refused() {
        let [v4, v6] = errors();
        for bytes in [v4, v6] {
            for at in 0..bytes.len() {
                for value in [0, 1, 0x45, 0x60, 0x7f, 0xff] {
                    let mut other = bytes.clone();
                    other[at] = value;
                    let _ = Packet::parse(&other).map(|packet| quoted(&packet));
                    if at >= 48 {
                        let _ = quote_of(&summed(other));
                    }
                }
            }
        }
    }
}

//! A borrowed IP packet whose header has been checked once, on creation.
//!
//! Only what forwarding needs is looked at: version, lengths, addresses, protocol, ports for the flow. Header checksums,
//! options and the payload are the business of the hosts.

mod address;
mod ecn;
mod hop;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use address::{destination_is_never_routed, source_is_never_valid};
pub use ecn::{Ecn, ecn, mark_ce};
pub use hop::take_hop;

/// Protocol numbers (IANA "Assigned Internet Protocol Numbers") that mean something here.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// Mobility header.
    pub const MOBILITY: u8 = 135;
}

/// Offsets and values of the IPv4 header (RFC 791 section 3.1).
mod v4 {
    pub(super) const MIN_HEADER: usize = 20;
    pub(super) const DSCP_ECN: usize = 1;
    pub(super) const TOTAL_LENGTH: usize = 2;
    pub(super) const FRAGMENT: usize = 6;
    pub(super) const TTL: usize = 8;
    pub(super) const PROTOCOL: usize = 9;
    pub(super) const CHECKSUM: usize = 10;
    pub(super) const SOURCE: usize = 12;
    pub(super) const DESTINATION: usize = 16;
    /// In the byte at `FRAGMENT`.
    pub(super) const DO_NOT_FRAGMENT: u8 = 0x40;
    /// In the word at `FRAGMENT`.
    pub(super) const MORE_FRAGMENTS: u16 = 0x2000;
    pub(super) const FRAGMENT_OFFSET: u16 = 0x1fff;
}

/// Offsets and values of the IPv6 header (RFC 8200 section 3) and its fragment header (section 4.5).
mod v6 {
    pub(super) const HEADER: usize = 40;
    pub(super) const PAYLOAD_LENGTH: usize = 4;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const HOP_LIMIT: usize = 7;
    pub(super) const SOURCE: usize = 8;
    pub(super) const DESTINATION: usize = 24;
    /// In an extension header.
    pub(super) const EXTENSION_LENGTH: usize = 1;
    /// The fixed part of an authentication header (RFC 4302 section 2).
    pub(super) const MIN_AUTHENTICATION: usize = 12;
    pub(super) const FRAGMENT_HEADER: usize = 8;
    pub(super) const FRAGMENT: usize = 2;
    /// In the word at `FRAGMENT`.
    pub(super) const MORE_FRAGMENTS: u16 = 0x0001;
    /// In units of 8 bytes once the lower three bits are off.
    pub(super) const FRAGMENT_OFFSET: u16 = 0xfff8;
    /// A legal packet has at most one of each kind, destination options twice (RFC 8200 section 4.1); a longer chain is
    /// not followed.
    pub(super) const MAX_EXTENSIONS: usize = 8;
}

/// Why bytes are not an IP packet. The sender is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PacketError {
    /// The first four bits are neither 4 nor 6.
    #[error("neither an IPv4 nor an IPv6 packet")]
    Version,
    /// The bytes end inside the header, or there are none.
    #[error("the IP header is cut")]
    Truncated,
    /// The header contradicts itself: an IPv4 header of less than 20 bytes or longer than its packet, or a jumbogram.
    #[error("the IP header is impossible")]
    Malformed,
    /// The header claims a longer packet than there are bytes.
    #[error("the IP packet is shorter than its header says")]
    LengthMismatch,
}

/// A whole IPv4 or IPv6 packet.
///
/// The header is whole and agrees with the length: [`bytes`](Self::bytes) are exactly the packet. Accessors read the
/// header and cannot fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    padding: usize,
}

impl<'a> Packet<'a> {
    /// Checks the packet at the beginning of `bytes`; what follows it is [`padding`](Self::padding).
    ///
    /// An IPv6 packet without payload length whose next header is hop-by-hop options could be a jumbogram (RFC 2675),
    /// which no frame can carry; it is refused unless it ends with its fixed header.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let len = match bytes.first().map(|byte| byte >> 4) {
            Some(4) => check_v4(bytes)?,
            Some(6) => check_v6(bytes)?,
            Some(_) => return Err(PacketError::Version),
            None => return Err(PacketError::Truncated),
        };
        match bytes.split_at_checked(len) {
            Some((bytes, padding)) => Ok(Self { bytes, padding: padding.len() }),
            None => Err(PacketError::LengthMismatch),
        }
    }

    /// The packet, without padding.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The packet's length in bytes, 20 to 65,575, without padding.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a packet has at least a header")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The number of bytes that were behind the packet and are not part of it.
    #[inline]
    pub fn padding(&self) -> usize {
        self.padding
    }

    /// 4 or 6.
    #[inline]
    pub fn version(&self) -> u8 {
        self.bytes[0] >> 4
    }

    #[inline]
    fn is_v4(&self) -> bool {
        self.version() == 4
    }

    /// The source address.
    #[inline]
    pub fn source(&self) -> IpAddr {
        if self.is_v4() {
            Ipv4Addr::from(self.array(v4::SOURCE)).into()
        } else {
            Ipv6Addr::from(self.array(v6::SOURCE)).into()
        }
    }

    /// The destination address.
    #[inline]
    pub fn destination(&self) -> IpAddr {
        if self.is_v4() {
            Ipv4Addr::from(self.array(v4::DESTINATION)).into()
        } else {
            Ipv6Addr::from(self.array(v6::DESTINATION)).into()
        }
    }

    /// The protocol of IPv4, or the next header of the fixed IPv6 header, which may be an extension header; see
    /// [`upper`](Self::upper).
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.bytes[if self.is_v4() { v4::PROTOCOL } else { v6::NEXT_HEADER }]
    }

    /// The traffic class: DSCP in the upper six bits, ECN in the lower two.
    #[inline]
    pub fn dscp_ecn(&self) -> u8 {
        if self.is_v4() {
            self.bytes[v4::DSCP_ECN]
        } else {
            let [_, class] = (u16::from_be_bytes(self.array(0)) >> 4).to_be_bytes();
            class
        }
    }

    /// Time to live, or hop limit.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.bytes[if self.is_v4() { v4::TTL } else { v6::HOP_LIMIT }]
    }

    /// The length in bytes of the IPv4 header with options, or of the fixed IPv6 header.
    #[inline]
    pub fn header_len(&self) -> usize {
        if self.is_v4() { v4_header_len(self.bytes) } else { v6::HEADER }
    }

    /// Whether a router may cut the packet into fragments: an IPv4 packet without the bit that forbids it.
    #[inline]
    pub fn may_be_fragmented(&self) -> bool {
        self.is_v4() && self.bytes[v4::FRAGMENT] & v4::DO_NOT_FRAGMENT == 0
    }

    /// Whether the packet is one of several fragments. An IPv6 packet with a fragment header that is all of its
    /// datagram (RFC 6946) is not.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.upper().is_some_and(|upper| upper.fragment.is_some())
    }

    /// What follows the IP headers; none when the chain of IPv6 extension headers is cut, impossible or longer than any
    /// legal one.
    #[inline]
    pub fn upper(&self) -> Option<Upper<'a>> {
        if self.is_v4() {
            let word = u16::from_be_bytes(self.array(v4::FRAGMENT));
            let fragment = Fragment::new(
                usize::from(word & v4::FRAGMENT_OFFSET) * 8,
                word & v4::MORE_FRAGMENTS != 0,
            );
            let payload = &self.bytes[self.header_len()..];
            Some(Upper { protocol: self.protocol(), payload, fragment })
        } else {
            self.upper_v6()
        }
    }

    fn upper_v6(&self) -> Option<Upper<'a>> {
        let mut protocol = self.protocol();
        let mut payload = &self.bytes[v6::HEADER..];
        let mut fragment = None;
        for _ in 0..v6::MAX_EXTENSIONS {
            // Behind the header of a later fragment is data, whatever its next header says.
            if fragment.is_some_and(|fragment: Fragment| fragment.offset > 0) {
                break;
            }
            let len = match protocol {
                protocol::HOP_BY_HOP
                | protocol::ROUTING
                | protocol::DESTINATION_OPTIONS
                | protocol::MOBILITY => (usize::from(*payload.get(v6::EXTENSION_LENGTH)?) + 1) * 8,
                // Counted in words of 32 bits less two (RFC 4302 section 2.2).
                protocol::AUTHENTICATION => {
                    let len = (usize::from(*payload.get(v6::EXTENSION_LENGTH)?) + 2) * 4;
                    if len < v6::MIN_AUTHENTICATION {
                        return None;
                    }
                    len
                }
                protocol::FRAGMENT => {
                    let word = payload.get(v6::FRAGMENT..)?.first_chunk()?;
                    let word = u16::from_be_bytes(*word);
                    fragment = Fragment::new(
                        usize::from(word & v6::FRAGMENT_OFFSET),
                        word & v6::MORE_FRAGMENTS != 0,
                    );
                    v6::FRAGMENT_HEADER
                }
                _ => return Some(Upper { protocol, payload, fragment }),
            };
            protocol = *payload.first()?;
            payload = payload.get(len..)?;
        }
        let is_data = fragment.is_some_and(|fragment| fragment.offset > 0);
        is_data.then_some(Upper { protocol, payload, fragment })
    }

    /// A hash that is equal for the packets of one flow: addresses and protocol, and the ports of TCP and UDP where the
    /// packet is not a fragment. The two directions of a connection differ.
    ///
    /// The same `seed` gives the same hash on every machine. A seed strangers cannot know keeps them from choosing
    /// flows that fall together.
    #[inline]
    pub fn flow_hash(&self, seed: u64) -> u64 {
        let mut hash = seed;
        if self.is_v4() {
            hash = mix(hash ^ u64::from_be_bytes(self.array(v4::SOURCE)));
        } else {
            for word in self.array::<32>(v6::SOURCE).as_chunks().0 {
                hash = mix(hash ^ u64::from_be_bytes(*word));
            }
        }
        let last = match self.upper() {
            Some(Upper {
                protocol: protocol @ (protocol::TCP | protocol::UDP),
                payload: [a, b, c, d, ..],
                fragment: None,
            }) => u64::from(u32::from_be_bytes([*a, *b, *c, *d])) << 8 | u64::from(protocol),
            Some(upper) => u64::from(upper.protocol),
            None => u64::from(self.protocol()),
        };
        mix(mix(hash ^ last))
    }

    /// A fixed number of bytes of the fixed header.
    #[inline]
    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        *self.bytes[offset..].first_chunk().expect("a parsed packet has its fixed header")
    }
}

/// What an IP packet carries, behind all IP headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upper<'a> {
    /// The protocol of the payload; of a later fragment, of what the first one begins with.
    pub protocol: u8,
    /// The payload; may be empty.
    pub payload: &'a [u8],
    /// Where the payload belongs, if it is only a part.
    pub fragment: Option<Fragment>,
}

/// The place of a fragment in its datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// In bytes; 0 is the first one.
    pub offset: usize,
    /// Whether others follow.
    pub more: bool,
}

impl Fragment {
    fn new(offset: usize, more: bool) -> Option<Self> {
        (offset > 0 || more).then_some(Self { offset, more })
    }
}

/// The packet's length by its header.
#[inline]
fn check_v4(bytes: &[u8]) -> Result<usize, PacketError> {
    let header: &[u8; v4::MIN_HEADER] = bytes.first_chunk().ok_or(PacketError::Truncated)?;
    let header_len = v4_header_len(header);
    let [high, low] = [header[v4::TOTAL_LENGTH], header[v4::TOTAL_LENGTH + 1]];
    let total = usize::from(u16::from_be_bytes([high, low]));
    if header_len < v4::MIN_HEADER || total < header_len {
        return Err(PacketError::Malformed);
    }
    if bytes.len() < header_len {
        return Err(PacketError::Truncated);
    }
    Ok(total)
}

/// The packet's length by its header.
#[inline]
fn check_v6(bytes: &[u8]) -> Result<usize, PacketError> {
    let header: &[u8; v6::HEADER] = bytes.first_chunk().ok_or(PacketError::Truncated)?;
    let [high, low] = [header[v6::PAYLOAD_LENGTH], header[v6::PAYLOAD_LENGTH + 1]];
    let payload = usize::from(u16::from_be_bytes([high, low]));
    let may_be_jumbo = payload == 0 && header[v6::NEXT_HEADER] == protocol::HOP_BY_HOP;
    if may_be_jumbo && bytes.len() > v6::HEADER {
        return Err(PacketError::Malformed);
    }
    Ok(v6::HEADER + payload)
}

/// The header's length field counts words of 32 bits.
#[inline]
fn v4_header_len(header: &[u8]) -> usize {
    usize::from(header[0] & 0x0f) * 4
}

/// Spreads every bit of `x` over the whole word: the two halves of its product with an odd constant, folded.
#[inline]
fn mix(x: u64) -> u64 {
    const GOLDEN_RATIO: u128 = 0x9e37_79b9_7f4a_7c15;
    let product = u128::from(x ^ 0xd6e8_feb8_6659_fd93) * GOLDEN_RATIO;
    #[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: &[u8] =
        b"\x45\x00\x00\x1c\x00\x01\x40\x00\x40\x01\xc3\x8b\xc0\xa8\x7b\x01\xc0\xa8\x7b\x02\
                          \x08\x00\xf7\xfd\x00\x01\x00\x01";

    /// An IPv6 packet from fd00::1 to fd00::2.
    fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x6a, 0xb0, 0, 0];
        bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend([next_header, 63]);
        bytes.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend("fd00::2".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend(payload);
        bytes
    }

    fn v4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ECHO[..20].to_vec();
        bytes[2..4].copy_from_slice(&u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
        bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
        bytes[9] = protocol;
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn an_ipv4_packet_tells_its_fields() {
        let packet = Packet::parse(ECHO).unwrap();
        assert_eq!(packet.version(), 4);
        assert_eq!(packet.len(), 28);
        assert_eq!(packet.padding(), 0);
        assert_eq!(packet.bytes(), ECHO);
        assert_eq!(packet.source(), IpAddr::from([192, 168, 123, 1]));
        assert_eq!(packet.destination(), IpAddr::from([192, 168, 123, 2]));
        assert_eq!(packet.protocol(), protocol::ICMP);
        assert_eq!(packet.ttl(), 64);
        assert_eq!(packet.header_len(), 20);
        assert!(!packet.is_fragment(), "`do not fragment` is not a fragment");
        assert!(!packet.may_be_fragmented());
        let free = v4(protocol::UDP, 0, &[0; 8]);
        assert!(Packet::parse(&free).unwrap().may_be_fragmented());
        let six = v6(protocol::UDP, &[0; 8]);
        assert!(!Packet::parse(&six).unwrap().may_be_fragmented());
    }

    #[test]
    fn an_ipv6_packet_tells_its_fields() {
        let bytes = v6(protocol::UDP, &[0, 53, 0, 53, 0, 8, 0, 0]);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.version(), 6);
        assert_eq!(packet.len(), 48);
        assert_eq!(packet.source(), "fd00::1".parse::<IpAddr>().unwrap());
        assert_eq!(packet.destination(), "fd00::2".parse::<IpAddr>().unwrap());
        assert_eq!(packet.protocol(), protocol::UDP);
        assert_eq!(packet.dscp_ecn(), 0xab);
        assert_eq!(packet.ttl(), 63);
    }

    #[test]
    fn each_defect_has_its_error() {
        let with = |offset: usize, value: u8| {
            let mut bytes = ECHO.to_vec();
            bytes[offset] = value;
            bytes
        };
        for (bytes, error) in [
            (vec![], PacketError::Truncated),
            (vec![0x01], PacketError::Version),
            (vec![0x52; 60], PacketError::Version),
            (ECHO[..19].to_vec(), PacketError::Truncated),
            (with(0, 0x44), PacketError::Malformed),
            (with(0, 0x48), PacketError::Malformed),
            ([&with(0, 0x48)[..2], &[0, 32], &ECHO[4..28]].concat(), PacketError::Truncated),
            (with(3, 19), PacketError::Malformed),
            (with(3, 29), PacketError::LengthMismatch),
            (ECHO[..27].to_vec(), PacketError::LengthMismatch),
            (v6(59, &[])[..39].to_vec(), PacketError::Truncated),
            (v6(59, &[1])[..40].to_vec(), PacketError::LengthMismatch),
        ] {
            assert_eq!(Packet::parse(&bytes), Err(error), "{bytes:02x?}");
        }
    }

    #[test]
    fn what_follows_a_packet_is_cut_and_told() {
        let bytes = [ECHO, &[0; 5]].concat();
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.bytes(), packet.padding()), (ECHO, 5));
        let bytes = [&v6(59, &[])[..], &[0; 3]].concat();
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.len(), packet.padding()), (40, 3));
    }

    #[test]
    fn a_jumbogram_is_refused() {
        let empty = v6(protocol::HOP_BY_HOP, &[]);
        assert_eq!(Packet::parse(&empty).unwrap().len(), 40);
        let jumbo = [&empty[..], &[6, 0, 0xc2, 4, 0, 1, 0, 0]].concat();
        assert_eq!(Packet::parse(&jumbo), Err(PacketError::Malformed));
    }

    #[test]
    fn extension_headers_are_followed_within_bounds() {
        let udp = [0, 53, 0, 53, 0, 8, 0, 0];
        let hop = [protocol::DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0];
        let options = [protocol::AUTHENTICATION, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let authentication = [protocol::UDP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let chain = [&hop[..], &options, &authentication, &udp].concat();
        let whole = v6(protocol::HOP_BY_HOP, &chain);
        let upper = Packet::parse(&whole).unwrap().upper().unwrap();
        assert_eq!(
            (upper.protocol, upper.payload, upper.fragment),
            (protocol::UDP, &udp[..], None)
        );
        for cut in 1..36 {
            let bytes = v6(protocol::HOP_BY_HOP, &chain[..cut]);
            assert_eq!(Packet::parse(&bytes).unwrap().upper(), None, "{cut}");
        }
        let endless = v6(protocol::HOP_BY_HOP, &[0; 8 * 9]);
        assert_eq!(Packet::parse(&endless).unwrap().upper(), None);
    }

    #[test]
    fn fragments_are_known_by_offset_or_by_more() {
        for (word, fragment) in [
            (0x4000, None),
            (0x2000, Some(Fragment { offset: 0, more: true })),
            (0x2001, Some(Fragment { offset: 8, more: true })),
            (0x1fff, Some(Fragment { offset: 65_528, more: false })),
        ] {
            let bytes = v4(protocol::UDP, word, &[0; 8]);
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!(packet.upper().unwrap().fragment, fragment);
            assert_eq!(packet.is_fragment(), fragment.is_some());
        }
        for (word, fragment) in [
            ([0, 0], None),
            ([0, 1], Some(Fragment { offset: 0, more: true })),
            ([0, 8], Some(Fragment { offset: 8, more: false })),
        ] {
            // The next header claims another extension header: true of the first fragment only.
            let header = [protocol::DESTINATION_OPTIONS, 0, word[0], word[1], 0, 0, 0, 1];
            let bytes = v6(protocol::FRAGMENT, &[&header[..], &[17, 0, 1, 4, 0, 0, 0, 0]].concat());
            let upper = Packet::parse(&bytes).unwrap().upper().unwrap();
            assert_eq!(upper.fragment, fragment);
            let later = fragment.is_some_and(|fragment| fragment.offset > 0);
            assert_eq!(upper.protocol, if later { protocol::DESTINATION_OPTIONS } else { 17 });
            assert_eq!(upper.payload.len(), if later { 8 } else { 0 });
        }
    }

    #[test]
    fn a_flow_keeps_its_hash_and_every_field_of_it_counts() {
        let hash = |bytes: &[u8]| Packet::parse(bytes).unwrap().flow_hash(7);
        let ports = [0x30, 0x39, 0, 80, 1, 2, 3, 4];
        for base in [v4(protocol::TCP, 0, &ports), v6(protocol::TCP, &ports)] {
            let is_v4 = base[0] >> 4 == 4;
            let (addresses, header, ttl) = if is_v4 { (12..20, 20, 8) } else { (8..40, 40, 7) };
            for bit in (addresses.start * 8..addresses.end * 8).chain(header * 8..(header + 4) * 8)
            {
                let mut other = base.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(hash(&other), hash(&base), "bit {bit}");
            }
            for outside in [ttl, header + 4] {
                let mut same = base.clone();
                same[outside] ^= 0xff;
                assert_eq!(hash(&same), hash(&base));
            }
            assert_ne!(Packet::parse(&base).unwrap().flow_hash(8), hash(&base));
        }
        assert_ne!(hash(&v4(protocol::TCP, 0, &ports)), hash(&v4(protocol::UDP, 0, &ports)));
        let first = hash(&v4(protocol::UDP, 0x2000, &ports));
        assert_eq!(first, hash(&v4(protocol::UDP, 0x0001, &[9; 8])), "fragments stay together");
        assert_eq!(hash(&v4(protocol::UDP, 0, &[1, 2])), hash(&v4(protocol::UDP, 0, &[3])));
    }

    /// Neighbouring addresses and ports, as in real networks, must not fall together.
    #[test]
    fn flows_spread_evenly() {
        const BUCKETS: usize = 1024;
        const FLOWS: usize = 64 * BUCKETS;
        for shift in [0, 27, 54] {
            let mut buckets = vec![0_usize; BUCKETS];
            for flow in 0..FLOWS {
                let [.., host, port_high, port_low] = flow.to_be_bytes();
                let mut bytes = v4(protocol::TCP, 0, &[port_high, port_low, 0, 80]);
                bytes[15] = host;
                let hash = Packet::parse(&bytes).unwrap().flow_hash(1);
                buckets[usize::try_from(hash >> shift).unwrap() % BUCKETS] += 1;
            }
            // Of a chi-square distribution with 1023 degrees of freedom, one in a million exceeds 1250.
            let expected = FLOWS / BUCKETS;
            let chi: usize = buckets.iter().map(|n| n.abs_diff(expected).pow(2)).sum();
            assert!(chi / expected < 1250, "shift {shift}: {}", chi / expected);
        }
    }
}

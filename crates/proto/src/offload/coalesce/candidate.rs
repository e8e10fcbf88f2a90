//! Which packets may be joined at all, and which two follow on each other.

use super::super::{
    ip, tcp, udp,
    virtio::{Kind, Transport},
    word,
};
use crate::{
    checksum::Checksum,
    packet::{Packet, protocol},
};

/// What is compared of a packet that may be joined with others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) kind: Kind,
    /// Where the transport header begins.
    pub(super) transport: u16,
    /// The length of all headers.
    pub(super) headers: u16,
    /// The length of the payload, at least 1.
    pub(super) payload: u16,
    /// Source and destination port as they stand in the packet.
    pub(super) ports: u32,
    /// Of TCP.
    pub(super) flags: u8,
    sequence: u32,
    /// Of IPv4.
    pub(super) id: u16,
    pub(super) dont_fragment: bool,
}

impl Candidate {
    /// The packet, if it may be joined with another. The checksum of the payload is not looked at when it is partial.
    #[inline]
    pub(super) fn parse(bytes: &[u8], is_partial: bool) -> Option<Self> {
        let packet = Packet::parse(bytes).ok().filter(|packet| packet.padding() == 0)?;
        let (start, addresses, id, fragment) = if packet.version() == 4 {
            let is_right = packet.header_len() == ip::V4_HEADER
                && Checksum::new().add_bytes(&bytes[..ip::V4_HEADER]).finish() == 0;
            if !is_right {
                return None;
            }
            let (id, fragment) = (word(bytes, ip::V4_ID), word(bytes, ip::V4_FRAGMENT));
            (ip::V4_HEADER, ip::V4_ADDRESSES, id, fragment)
        } else {
            (ip::V6_HEADER, ip::V6_ADDRESSES, 0, ip::DONT_FRAGMENT)
        };
        if fragment & !ip::DONT_FRAGMENT != 0 {
            return None;
        }
        let transport = Transport::parse(bytes, packet.protocol(), start).ok()?;
        let header = &bytes[start..transport.payload];
        let may_join = match transport.kind {
            // No flag or reserved bit that means one packet only (RFC 9293 section 3.1).
            Kind::Tcp => {
                header[tcp::DATA_OFFSET] & 0x0f == 0
                    && header[tcp::FLAGS] & !(tcp::PSH | tcp::ECE) == tcp::ACK
            }
            Kind::Udp => is_partial || word(header, udp::CHECKSUM) != 0,
        };
        let payload = u16::try_from(bytes.len() - transport.payload).ok().filter(|len| *len > 0)?;
        if !may_join || !(is_partial || is_intact(bytes, addresses, start, packet.protocol())) {
            return None;
        }
        let sequence = match transport.kind {
            Kind::Tcp => header[tcp::SEQUENCE..].first_chunk(),
            Kind::Udp => None,
        };
        Some(Self {
            kind: transport.kind,
            transport: u16::try_from(start).ok()?,
            headers: u16::try_from(transport.payload).ok()?,
            payload,
            ports: u32::from_ne_bytes(*header.first_chunk()?),
            flags: if transport.kind == Kind::Tcp { header[tcp::FLAGS] } else { 0 },
            sequence: sequence.map_or(0, |bytes| u32::from_be_bytes(*bytes)),
            id,
            dont_fragment: fragment & ip::DONT_FRAGMENT != 0,
        })
    }

    /// Whether another packet may be joined behind this one.
    #[inline]
    pub(super) fn may_be_followed(&self) -> bool {
        self.flags & tcp::PSH == 0
    }

    /// Whether the data of `next`, of the same flow, is what comes behind this one's.
    #[inline]
    pub(super) fn goes_on(&self, next: &Self) -> bool {
        let expected = self.sequence.wrapping_add(u32::from(self.payload));
        self.may_be_followed() && (self.kind == Kind::Udp || next.sequence == expected)
    }

    /// Whether the headers of `packet`, which is this one, and of the `first` of its flow's group are the same but for
    /// lengths, IPv4 identification, checksums, sequence number and PSH.
    #[inline]
    pub(super) fn same_headers(&self, first: &[u8], packet: &[u8]) -> bool {
        let start = usize::from(self.transport);
        let same_ip = if packet[0] >> 4 == 4 {
            packet[ip::V4_DSCP_ECN] == first[ip::V4_DSCP_ECN]
                && packet[ip::V4_TTL] == first[ip::V4_TTL]
                && word(packet, ip::V4_FRAGMENT) == word(first, ip::V4_FRAGMENT)
        } else {
            packet[ip::V6_FIRST_WORD] == first[ip::V6_FIRST_WORD]
                && packet[ip::V6_HOP_LIMIT] == first[ip::V6_HOP_LIMIT]
        };
        if !same_ip || self.kind == Kind::Udp {
            return same_ip;
        }
        let (header, first) = (&packet[start..usize::from(self.headers)], &first[start..]);
        header[tcp::ACKNOWLEDGMENT..tcp::FLAGS] == first[tcp::ACKNOWLEDGMENT..tcp::FLAGS]
            && (header[tcp::FLAGS] ^ first[tcp::FLAGS]) & !tcp::PSH == 0
            && header[tcp::WINDOW..tcp::CHECKSUM] == first[tcp::WINDOW..tcp::CHECKSUM]
            && header[tcp::URGENT..] == first[tcp::URGENT..header.len()]
    }
}

/// Whether two packets have the same IP version and addresses.
#[inline]
pub(super) fn same_addresses(a: &[u8], b: &[u8]) -> bool {
    if a[0] >> 4 != b[0] >> 4 {
        false
    } else if a[0] >> 4 == 4 {
        a[ip::V4_ADDRESSES] == b[ip::V4_ADDRESSES]
    } else {
        a[ip::V6_ADDRESSES] == b[ip::V6_ADDRESSES]
    }
}

/// Whether the checksum of the transport header at `start` is right; it has one.
#[inline]
fn is_intact(packet: &[u8], addresses: std::ops::Range<usize>, start: usize, protocol: u8) -> bool {
    debug_assert!(matches!(protocol, protocol::TCP | protocol::UDP));
    let segment = &packet[start..];
    let len = super::length_field(segment.len());
    Checksum::new()
        .add_bytes(&packet[addresses])
        .add_word(protocol.into())
        .add_word(len)
        .add_bytes(segment)
        .finish()
        == 0
}

//! Which packets may be joined, and which two are consecutive.

use super::super::{
    ip, length_field, tcp, udp,
    virtio::{Segmentation, TransportKind},
    word,
};
use crate::{
    checksum::Checksum,
    packet::{Packet, protocol},
};

/// The compared fields of a packet that may be joined with others.
#[derive(Debug, Clone, Copy)]
pub(super) struct FlowCandidate {
    pub(super) kind: TransportKind,
    /// The position of the transport header.
    pub(super) transport: u16,
    /// The length of all headers.
    pub(super) headers: u16,
    /// The length of the payload, at least 1.
    pub(super) payload: u16,
    /// Source and destination port, as in the packet.
    pub(super) ports: u32,
    /// The flags of TCP.
    pub(super) flags: u8,
    sequence: u32,
    /// The identification of IPv4.
    pub(super) id: u16,
    pub(super) dont_fragment: bool,
}

impl FlowCandidate {
    /// The packet, if it may be joined with another. A partial checksum is not checked.
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
        let transport = Segmentation::parse(bytes, packet.protocol(), start).ok()?;
        let header = &bytes[start..transport.payload];
        let may_join = match transport.kind {
            // No flag or reserved bit that concerns one packet only (RFC 9293 section 3.1).
            TransportKind::Tcp => {
                header[tcp::DATA_OFFSET] & 0x0f == 0
                    && header[tcp::FLAGS] & !(tcp::PSH | tcp::ECE) == tcp::ACK
            }
            TransportKind::Udp => is_partial || word(header, udp::CHECKSUM) != 0,
        };
        let payload = u16::try_from(bytes.len() - transport.payload).ok().filter(|len| *len > 0)?;
        if !may_join || !(is_partial || is_intact(bytes, addresses, start, packet.protocol())) {
            return None;
        }
        let sequence = match transport.kind {
            TransportKind::Tcp => header[tcp::SEQUENCE..].first_chunk(),
            TransportKind::Udp => None,
        };
        Some(Self {
            kind: transport.kind,
            transport: u16::try_from(start).ok()?,
            headers: u16::try_from(transport.payload).ok()?,
            payload,
            ports: u32::from_ne_bytes(*header.first_chunk()?),
            flags: if transport.kind == TransportKind::Tcp { header[tcp::FLAGS] } else { 0 },
            sequence: sequence.map_or(0, |bytes| u32::from_be_bytes(*bytes)),
            id,
            dont_fragment: fragment & ip::DONT_FRAGMENT != 0,
        })
    }

    /// Whether another packet may be joined after this one.
    #[inline]
    pub(super) fn may_be_followed(&self) -> bool {
        self.flags & tcp::PSH == 0
    }

    /// Whether the data of `next`, a packet of the same flow, follows the data of this one.
    #[inline]
    pub(super) fn continues_with(&self, next: &Self) -> bool {
        let expected = self.sequence.wrapping_add(u32::from(self.payload));
        self.may_be_followed() && (self.kind == TransportKind::Udp || next.sequence == expected)
    }

    /// Whether the headers of `packet`, which is this one, and of `first`, the first packet of its flow's group, are the same
    /// except lengths, IPv4 identification, checksums, sequence number and PSH.
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
        if !same_ip || self.kind == TransportKind::Udp {
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

/// Whether the checksum of the transport header at `start` is right. It must have one.
#[inline]
fn is_intact(packet: &[u8], addresses: std::ops::Range<usize>, start: usize, protocol: u8) -> bool {
    debug_assert!(matches!(protocol, protocol::TCP | protocol::UDP));
    let segment = &packet[start..];
    let len = length_field(segment.len());
    Checksum::new()
        .add_bytes(&packet[addresses])
        .add_word(protocol.into())
        .add_word(len)
        .add_bytes(segment)
        .finish()
        == 0
}

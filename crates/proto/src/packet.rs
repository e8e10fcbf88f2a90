//! A borrowed IP packet whose header has been checked once, on creation.
//!
//! Only the fields that forwarding needs are read: version, lengths, addresses, protocol, ports for the flow. Hosts check
//! header checksums, options and the payload.

mod address;
mod ecn;
mod flow;
mod hop;
mod layout;
pub mod protocol;
mod upper;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use address::{destination_is_for_many, destination_is_never_routed, source_is_never_valid};
pub use ecn::{Ecn, ecn, mark_ce};
pub use hop::take_hop;
use layout::{v4, v6};
pub use upper::{Fragment, Upper};

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

    /// The number of bytes after the packet that are not part of it.
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

    /// A fixed number of bytes of the fixed header.
    #[inline]
    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        *self.bytes[offset..].first_chunk().expect("a parsed packet has its fixed header")
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

#[cfg(test)]
mod tests;

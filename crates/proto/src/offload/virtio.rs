//! The virtio-net header before a packet, and the checks before anything acts on it.

use super::{ip, tcp, udp, word};
use crate::{
    checksum::Checksum,
    ethernet::ShortFrame,
    frame::MAX_FRAME,
    packet::{Packet, PacketError, protocol},
};

/// The length in bytes of a [`VirtioHeader`], to be set with `TUNSETVNETHDRSZ`.
pub const VIRTIO_HEADER: usize = 10;

/// The most segments of a GSO packet; a packet with more is refused. With this number a full packet has 64 bytes in each
/// segment, and no sender makes smaller segments of a full packet.
pub const MAX_SEGMENTS: usize = 1024;

/// The most bytes of IP and transport headers of a GSO packet. Every segment repeats them, so the bytes that a peer can
/// cause with one packet are bounded by this times [`MAX_SEGMENTS`].
pub const MAX_HEADERS: usize = 256;

/// [`VirtioHeader::flags`] (virtio 1.3 section 5.1.6).
pub mod flag {
    /// The checksum at `csum_start` + `csum_offset` holds the sum of the pseudo-header and has to be completed.
    pub const NEEDS_CSUM: u8 = 1;
    /// The sender's device has verified the checksum. Nothing here relies on it.
    pub const DATA_VALID: u8 = 2;
}

/// [`VirtioHeader::gso_type`] (virtio 1.3 section 5.1.6).
pub mod gso_type {
    /// Not a GSO packet.
    pub const NONE: u8 = 0;
    /// TCP over IPv4.
    pub const TCPV4: u8 = 1;
    /// A UDP datagram to be fragmented by IP; no current kernel makes it; refused.
    pub const UDP: u8 = 3;
    /// TCP over IPv6.
    pub const TCPV6: u8 = 4;
    /// UDP datagrams of equal size, over IPv4 or IPv6.
    pub const UDP_L4: u8 = 5;
    /// Added to a TCP type when the first segment carries CWR.
    pub const ECN: u8 = 0x80;
}

/// `struct virtio_net_hdr`: the work left for the packet after it.
///
/// Words are little-endian here. A TUN device has them in the machine's order unless `TUNSETVNETLE` is set, so a big-endian
/// machine has to set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct VirtioHeader {
    /// Bits of [`flag`].
    pub flags: u8,
    /// One of [`gso_type`].
    pub gso_type: u8,
    /// The length of all headers, in bytes; a hint that is not relied on.
    pub hdr_len: u16,
    /// The payload of every segment but the last, in bytes.
    pub gso_size: u16,
    /// Where the checksummed bytes begin, in bytes from the beginning of the packet.
    pub csum_start: u16,
    /// The position of the checksum, in bytes from `csum_start`.
    pub csum_offset: u16,
}

impl VirtioHeader {
    /// The header and the packet after it; none if there are fewer than [`VIRTIO_HEADER`] bytes.
    #[inline]
    pub fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (header, packet) = bytes.split_first_chunk()?;
        Some((Self::decode(header), packet))
    }

    /// The header in these bytes, not yet checked; see [`check`](Self::check).
    #[inline]
    pub fn decode(bytes: &[u8; VIRTIO_HEADER]) -> Self {
        let [flags, gso_type, words @ ..] = *bytes;
        let word = |n: usize| u16::from_le_bytes([words[2 * n], words[2 * n + 1]]);
        Self {
            flags,
            gso_type,
            hdr_len: word(0),
            gso_size: word(1),
            csum_start: word(2),
            csum_offset: word(3),
        }
    }

    /// The bytes of the header.
    #[inline]
    pub fn encode(&self) -> [u8; VIRTIO_HEADER] {
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
        let words = [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset];
        for (place, word) in bytes[2..].as_chunks_mut().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        bytes
    }

    /// Checks the header, which may come from a peer, against the whole packet after it.
    ///
    /// Without [`flag::NEEDS_CSUM`] any IP packet of up to 65,535 bytes passes unchanged. With it, the packet
    /// is whole and TCP or UDP, after IP options only, or IPv6 hop-by-hop options, routing headers and destination
    /// options only, and `csum_start` and `csum_offset` point to its checksum. A GSO packet also has the type
    /// that its headers tell, at most [`MAX_HEADERS`] bytes of them, and at most [`MAX_SEGMENTS`] segments; one whose
    /// payload fits one segment is taken as an ordinary packet.
    pub fn check<'a>(&self, packet: &'a [u8]) -> Result<GsoPacket<'a>, OffloadError> {
        let ip = Packet::parse(packet)?;
        if ip.padding() > 0 {
            return Err(OffloadError::Padding(ip.padding()));
        }
        if packet.len() > MAX_FRAME {
            return Err(OffloadError::TooBig(packet.len()));
        }
        if self.flags & !(flag::NEEDS_CSUM | flag::DATA_VALID) != 0 {
            return Err(OffloadError::Flags(self.flags));
        }
        let needs_segmentation = self.gso_type != gso_type::NONE;
        if self.flags & flag::NEEDS_CSUM == 0 {
            let plain = GsoPacket { bytes: packet, transport: None, gso_size: 0 };
            return if needs_segmentation { Err(OffloadError::NoChecksum) } else { Ok(plain) };
        }
        let transport = Segmentation::find(&ip)?;
        let checksum = (usize::from(self.csum_start), usize::from(self.csum_offset));
        if checksum != (transport.start, transport.kind.checksum()) {
            return Err(OffloadError::ChecksumPlace);
        }
        let gso_size = if needs_segmentation { self.check_gso(&ip, &transport)? } else { 0 };
        Ok(GsoPacket { bytes: packet, transport: Some(transport), gso_size })
    }

    /// The payload of a segment in bytes; 0 when it is the whole payload.
    fn check_gso(&self, ip: &Packet, transport: &Segmentation) -> Result<usize, OffloadError> {
        let kind = transport.kind;
        let expected = transport.gso_type(ip.version());
        let ecn = if kind == TransportKind::Tcp { self.gso_type & gso_type::ECN } else { 0 };
        if self.gso_type != expected | ecn {
            return Err(OffloadError::GsoType(self.gso_type));
        }
        if transport.tcp_flags(ip.bytes()) & (tcp::SYN | tcp::RST) != 0 {
            return Err(OffloadError::TcpFlags);
        }
        let headers = transport.payload;
        if headers > MAX_HEADERS {
            return Err(OffloadError::Headers(headers));
        }
        let payload = ip.len() - headers;
        let gso_size = usize::from(self.gso_size);
        if gso_size == 0 || payload.div_ceil(gso_size) > MAX_SEGMENTS {
            return Err(OffloadError::GsoSize(self.gso_size));
        }
        Ok(if payload > gso_size { gso_size } else { 0 })
    }
}

/// Why a header does not belong to its packet, or the packet cannot be segmented. The sender is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OffloadError {
    /// The bytes end inside the virtio-net header.
    #[error("the virtio-net header is cut")]
    Cut,
    /// What follows is no IP packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// What follows is no Ethernet frame.
    #[error(transparent)]
    Frame(#[from] ShortFrame),
    /// Bytes after the packet.
    #[error("{0} bytes after the packet")]
    Padding(usize),
    /// Longer than [`MAX_FRAME`].
    #[error("a packet of {0} bytes fits no frame")]
    TooBig(usize),
    /// Flags that rtun does not enable on a device.
    #[error("unknown virtio-net flags {0:#04x}")]
    Flags(u8),
    /// An unknown or refused type, or not that of the packet.
    #[error("segmentation type {0:#04x} is not that of the packet")]
    GsoType(u8),
    /// A GSO packet without [`flag::NEEDS_CSUM`].
    #[error("a packet to segment has a finished checksum")]
    NoChecksum,
    /// A checksum to complete in a part of a datagram.
    #[error("a fragment has no checksum to complete")]
    Fragment,
    /// A checksum to complete in another protocol than TCP and UDP, or after an IPv6 header that may not be repeated.
    #[error("protocol {0} has no checksum to complete")]
    Protocol(u8),
    /// A TCP or UDP header, or an IPv6 extension header, that is cut, impossible or contradicts the packet's length.
    #[error("the transport header is cut or impossible")]
    TransportHeader,
    /// `csum_start` and `csum_offset` point elsewhere.
    #[error("the checksum to complete is not that of the transport header")]
    ChecksumPlace,
    /// SYN or RST in a GSO packet.
    #[error("a packet to segment opens or resets a connection")]
    TcpFlags,
    /// More than [`MAX_HEADERS`] bytes.
    #[error("a packet to segment has {0} bytes of headers")]
    Headers(usize),
    /// No segment size, or one that makes more than [`MAX_SEGMENTS`] of the packet.
    #[error("segments of {0} bytes are too small for the packet")]
    GsoSize(u16),
}

/// A packet and the work left for it, checked by [`VirtioHeader::check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GsoPacket<'a> {
    pub(super) bytes: &'a [u8],
    /// None if no work is left.
    pub(super) transport: Option<Segmentation>,
    /// The payload of every segment except the last; 0 if there is one segment.
    pub(super) gso_size: usize,
}

impl<'a> GsoPacket<'a> {
    /// The packet, unchanged.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether it has to be segmented.
    #[inline]
    pub fn needs_segmentation(&self) -> bool {
        self.gso_size > 0
    }

    /// Whether its checksum, or that of its segments, has to be completed.
    #[inline]
    pub fn has_partial_checksum(&self) -> bool {
        self.transport.is_some()
    }

    /// Whether the checksum field has the sum of the pseudo-header with the addresses of the fixed IP header, as a partial
    /// checksum should; true if the checksum is not partial.
    ///
    /// The packet of a sender with a routing header has another sum, with the last destination.
    #[inline]
    pub fn has_sum_of_pseudo_header(&self) -> bool {
        let Some(transport) = &self.transport else { return true };
        let addresses = if self.bytes[0] >> 4 == 4 { ip::V4_ADDRESSES } else { ip::V6_ADDRESSES };
        let partial = word(self.bytes, transport.start + transport.kind.checksum());
        let len = super::length_field(self.bytes.len() - transport.start);
        let difference = Checksum::new()
            .add_bytes(&self.bytes[addresses])
            .add_word(transport.kind.protocol().into())
            .add_word(len)
            .add_word(!partial);
        difference.finish() == 0
    }

    /// The header for a device that gets the packet unchanged. All its values are taken from the packet, none from the
    /// sender's header.
    pub fn header(&self) -> VirtioHeader {
        let Some(transport) = &self.transport else { return VirtioHeader::default() };
        let field = super::length_field;
        let mut header = VirtioHeader {
            flags: flag::NEEDS_CSUM,
            hdr_len: field(transport.payload),
            csum_start: field(transport.start),
            csum_offset: field(transport.kind.checksum()),
            ..VirtioHeader::default()
        };
        if self.needs_segmentation() {
            header.gso_size = field(self.gso_size);
            header.gso_type = transport.gso_type(self.bytes[0] >> 4);
            if transport.tcp_flags(self.bytes) & tcp::CWR != 0 {
                header.gso_type |= gso_type::ECN;
            }
        }
        header
    }
}

/// The transport header of a packet: where a segmentation splits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segmentation {
    pub(super) kind: TransportKind,
    /// The position of the header in the packet; even.
    pub(super) start: usize,
    /// The position of the payload in the packet; even.
    pub(super) payload: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TransportKind {
    Tcp,
    Udp,
}

impl TransportKind {
    /// The position of the checksum in the transport header.
    #[inline]
    pub(super) fn checksum(self) -> usize {
        match self {
            TransportKind::Tcp => tcp::CHECKSUM,
            TransportKind::Udp => udp::CHECKSUM,
        }
    }

    #[inline]
    pub(super) fn protocol(self) -> u8 {
        match self {
            TransportKind::Tcp => protocol::TCP,
            TransportKind::Udp => protocol::UDP,
        }
    }
}

impl Segmentation {
    fn find(packet: &Packet) -> Result<Self, OffloadError> {
        let (protocol, start) = if packet.version() == 6 {
            skip_extensions(packet)?
        } else if packet.is_fragment() {
            return Err(OffloadError::Fragment);
        } else {
            (packet.protocol(), packet.header_len())
        };
        Self::parse(packet.bytes(), protocol, start)
    }

    /// The header of this protocol at `start`, if it is whole and agrees with the length of the packet.
    #[inline]
    pub(super) fn parse(packet: &[u8], protocol: u8, start: usize) -> Result<Self, OffloadError> {
        let segment = &packet[start..];
        let (kind, header) = match protocol {
            protocol::TCP if segment.len() >= tcp::MIN_HEADER => {
                (TransportKind::Tcp, usize::from(segment[tcp::DATA_OFFSET] >> 4) * 4)
            }
            protocol::UDP if segment.len() >= udp::HEADER => {
                if usize::from(word(segment, udp::LENGTH)) != segment.len() {
                    return Err(OffloadError::TransportHeader);
                }
                (TransportKind::Udp, udp::HEADER)
            }
            protocol::TCP | protocol::UDP => return Err(OffloadError::TransportHeader),
            _ => return Err(OffloadError::Protocol(protocol)),
        };
        if header > segment.len() || (kind == TransportKind::Tcp && header < tcp::MIN_HEADER) {
            return Err(OffloadError::TransportHeader);
        }
        Ok(Self { kind, start, payload: start + header })
    }

    /// The flags of TCP; 0 for UDP.
    fn tcp_flags(&self, packet: &[u8]) -> u8 {
        match self.kind {
            TransportKind::Tcp => packet[self.start + tcp::FLAGS],
            TransportKind::Udp => 0,
        }
    }

    pub(super) fn gso_type(&self, version: u8) -> u8 {
        match (self.kind, version) {
            (TransportKind::Udp, _) => gso_type::UDP_L4,
            (TransportKind::Tcp, 4) => gso_type::TCPV4,
            (TransportKind::Tcp, _) => gso_type::TCPV6,
        }
    }
}

/// The protocol after the extension headers that have the same meaning before every segment, and its position.
fn skip_extensions(packet: &Packet) -> Result<(u8, usize), OffloadError> {
    let mut next = packet.protocol();
    let mut start = packet.header_len();
    // Each one is at least eight bytes of a packet of 64 KiB; the transport header ends the walk.
    while let protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS = next {
        let header = packet.bytes().get(start..).unwrap_or_default();
        let [after, len, ..] = header else { return Err(OffloadError::TransportHeader) };
        next = *after;
        start += (usize::from(*len) + 1) * 8;
    }
    match next {
        protocol::FRAGMENT => Err(OffloadError::Fragment),
        _ if start > packet.len() => Err(OffloadError::TransportHeader),
        _ => Ok((next, start)),
    }
}

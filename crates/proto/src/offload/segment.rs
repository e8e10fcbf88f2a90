//! Segmenting a GSO packet, and completing the checksum of an ordinary packet.

use super::{
    GsoPacket, finish_ip_header, ip, length_field, set_word, tcp, udp,
    virtio::{Segmentation, TransportKind},
    word,
};
use crate::{checksum::Checksum, frame::LEN_PREFIX};

impl GsoPacket<'_> {
    /// The number of its segments, 1 to [`MAX_SEGMENTS`](super::MAX_SEGMENTS).
    #[inline]
    pub fn segments(&self) -> usize {
        match &self.transport {
            Some(transport) if self.needs_segmentation() => {
                (self.bytes.len() - transport.payload).div_ceil(self.gso_size)
            }
            _ => 1,
        }
    }

    /// The length in bytes of its longest segment, to compare with a receiver's limit.
    #[inline]
    pub fn longest_segment(&self) -> usize {
        match &self.transport {
            Some(transport) if self.needs_segmentation() => transport.payload + self.gso_size,
            _ => self.bytes.len(),
        }
    }

    /// The number of bytes that [`write_frames`](Self::write_frames) appends: at most 65,535 and, for each segment but
    /// the first, [`MAX_HEADERS`](super::MAX_HEADERS), and two for each.
    #[inline]
    pub fn framed_len(&self) -> usize {
        let headers = self.transport.map_or(0, |transport| transport.payload);
        let segments = self.segments();
        self.bytes.len() + (segments - 1) * headers + segments * LEN_PREFIX
    }

    /// Appends its segments to `out`, each as a frame ([`crate::frame`]).
    pub fn write_frames(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.framed_len(), 0);
        self.write_frames_to(&mut out[start..]);
    }

    /// Writes its segments to the beginning of `out`, each as a frame ([`crate::frame`]). Returns the number of written
    /// bytes, [`framed_len`](Self::framed_len).
    ///
    /// The segments are those that Linux makes: each has the headers of the packet with its own lengths and checksums; IPv4
    /// identifications and TCP sequence numbers count up; only the last segment has FIN and PSH, only the first has CWR
    /// (RFC 3168 section 6.1.2). The checksum starts with the value in the packet's checksum field. That is the sum of its
    /// pseudo-header, which includes the last destination of a routing header.
    ///
    /// # Panics
    ///
    /// If `out` is shorter than that.
    pub fn write_frames_to(&self, out: &mut [u8]) -> usize {
        self.write_segments::<LEN_PREFIX>(0, 0, out)
    }

    /// The number of bytes that [`write_packets_to`](Self::write_packets_to) writes.
    #[inline]
    pub fn packets_len(&self) -> usize {
        self.framed_len() - self.segments() * LEN_PREFIX
    }

    /// Like [`write_frames_to`](Self::write_frames_to), without lengths. All segments are as long as
    /// [`longest_segment`](Self::longest_segment) but the last, which may be shorter. Returns the number of written bytes,
    /// [`packets_len`](Self::packets_len).
    ///
    /// # Panics
    ///
    /// If `out` is shorter than that.
    pub fn write_packets_to(&self, out: &mut [u8]) -> usize {
        self.write_segments::<0>(0, 0, out)
    }

    /// The same with `front` bytes left free before each, and `back` after it.
    pub(super) fn write_spaced_to(&self, front: usize, back: usize, out: &mut [u8]) -> usize {
        self.write_segments::<0>(front, back, out)
    }

    /// `PREFIX` is [`LEN_PREFIX`], or 0 for no lengths.
    fn write_segments<const PREFIX: usize>(
        &self,
        front: usize,
        back: usize,
        out: &mut [u8],
    ) -> usize {
        let Some(transport) = &self.transport else {
            return front + write_whole::<PREFIX>(self.bytes, &mut out[front..]) + back;
        };
        let (headers, payload) = self.bytes.split_at(transport.payload);
        let template = Template::new(transport, headers, payload.len());
        let last = self.segments() - 1;
        let (mut rest, mut written) = (payload, 0);
        for n in 0..=last {
            let len = if n < last { self.gso_size } else { rest.len() };
            let (data, later) = rest.split_at(len);
            rest = later;
            let place = SegmentPosition { n, last: n == last, offset: n * self.gso_size };
            written += front;
            written += template.write::<PREFIX>(place, data, &mut out[written..]) + back;
        }
        written
    }
}

/// Writes a complete packet.
fn write_whole<const PREFIX: usize>(packet: &[u8], out: &mut [u8]) -> usize {
    out[..PREFIX].copy_from_slice(&length_field(packet.len()).to_be_bytes()[..PREFIX]);
    out[PREFIX..PREFIX + packet.len()].copy_from_slice(packet);
    PREFIX + packet.len()
}

/// The common parts of the segments of a packet.
struct Template<'a> {
    transport: &'a Segmentation,
    headers: &'a [u8],
    /// The sum of the pseudo-header without the length.
    pseudo_header: Checksum,
}

/// The position of a segment.
struct SegmentPosition {
    n: usize,
    last: bool,
    /// The position of its data in that of the packet, in bytes.
    offset: usize,
}

impl<'a> Template<'a> {
    fn new(transport: &'a Segmentation, headers: &'a [u8], payload: usize) -> Self {
        let partial = word(headers, transport.start + transport.kind.checksum());
        let len = length_field(headers.len() - transport.start + payload);
        // In one's complement, adding the complement is subtracting.
        let pseudo_header = Checksum::new().add_word(partial).add_word(!len);
        Self { transport, headers, pseudo_header }
    }

    #[inline]
    fn write<const PREFIX: usize>(
        &self,
        place: SegmentPosition,
        data: &[u8],
        out: &mut [u8],
    ) -> usize {
        let len = self.headers.len() + data.len();
        let (prefix, packet) = out[..PREFIX + len].split_at_mut(PREFIX);
        prefix.copy_from_slice(&length_field(len).to_be_bytes()[..PREFIX]);
        let (headers, payload) = packet.split_at_mut(self.headers.len());
        headers.copy_from_slice(self.headers);
        payload.copy_from_slice(data);
        let (ip_header, header) = headers.split_at_mut(self.transport.start);
        if ip_header[0] >> 4 == 4 {
            let id = word(ip_header, ip::V4_ID).wrapping_add(length_field(place.n));
            set_word(ip_header, ip::V4_ID, id);
        }
        finish_ip_header(ip_header, len);
        match self.transport.kind {
            TransportKind::Tcp => finish_tcp(header, &place),
            TransportKind::Udp => {
                set_word(header, udp::LENGTH, length_field(header.len() + data.len()))
            }
        }
        let field = self.transport.kind.checksum();
        set_word(header, field, 0);
        let sum = self
            .pseudo_header
            .add_word(length_field(header.len() + data.len()))
            .add_bytes(header)
            .add_bytes(data)
            .finish();
        // Zero in UDP means no checksum (RFC 768); in one's complement 0xffff is zero too.
        let sum = if sum == 0 && self.transport.kind == TransportKind::Udp { 0xffff } else { sum };
        set_word(header, field, sum);
        PREFIX + len
    }
}

/// Sets the sequence number and the flags of a segment.
#[inline]
fn finish_tcp(header: &mut [u8], place: &SegmentPosition) {
    let sequence = header[tcp::SEQUENCE..].first_chunk_mut().expect("a checked TCP header");
    let offset = u32::from(length_field(place.offset));
    *sequence = u32::from_be_bytes(*sequence).wrapping_add(offset).to_be_bytes();
    if !place.last {
        header[tcp::FLAGS] &= !(tcp::FIN | tcp::PSH);
    }
    if place.n > 0 {
        header[tcp::FLAGS] &= !tcp::CWR;
    }
}

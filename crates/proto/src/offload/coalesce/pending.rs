//! A group while packets are added to it.

use std::ops::Range;

use super::{
    super::{
        VirtioHeader, finish_ip_header, flag, gso_type, ip, length_field, set_word, tcp, udp,
        virtio::TransportKind,
    },
    MAX_MERGED,
    candidate::FlowCandidate,
};
use crate::checksum::Checksum;

/// Ends a chain of payloads.
pub(super) const NONE: u32 = u32::MAX;

/// A range of the buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct BufferRange {
    start: u32,
    end: u32,
}

impl BufferRange {
    #[inline]
    pub(super) fn new(range: &Range<usize>) -> Self {
        Self { start: offset(range.start), end: offset(range.end) }
    }

    #[inline]
    pub(super) fn range(self) -> Range<usize> {
        position(self.start)..position(self.end)
    }
}

#[inline]
pub(super) fn offset(position: usize) -> u32 {
    u32::try_from(position).expect("a receive buffer is at most 4 GiB")
}

#[inline]
pub(super) fn position(offset: u32) -> usize {
    usize::try_from(offset).expect("the position is in memory")
}

/// The payload of a joined packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payload {
    pub(super) at: BufferRange,
    /// The next payload of the group, or [`NONE`].
    pub(super) next: u32,
}

/// How the IPv4 identifications of a group follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identifications {
    Unknown,
    Counting,
    Fixed,
}

/// A group that is not complete.
#[derive(Debug)]
pub(super) struct PendingGroup {
    /// The first packet, whole.
    pub(super) first: BufferRange,
    pub(super) first_payload: u32,
    pub(super) last_payload: u32,
    /// The number of packets.
    pub(super) count: u32,
    /// The last packet; none if nothing may be joined to it.
    last: Option<FlowCandidate>,
    gso_size: u16,
    ids: Identifications,
    /// The length of the joined packet in bytes.
    pub(super) len: u32,
    /// The rewritten headers, once they are written.
    pub(super) headers: BufferRange,
    pub(super) header: VirtioHeader,
}

impl PendingGroup {
    pub(super) fn alone(at: &Range<usize>, header: VirtioHeader) -> Self {
        Self {
            first: BufferRange::new(at),
            first_payload: NONE,
            last_payload: NONE,
            count: 1,
            last: None,
            gso_size: 0,
            ids: Identifications::Unknown,
            len: offset(at.len()),
            headers: BufferRange { start: 0, end: 0 },
            header,
        }
    }

    pub(super) fn new(
        at: &Range<usize>,
        first: FlowCandidate,
        payload: u32,
        header: VirtioHeader,
    ) -> Self {
        Self {
            first_payload: payload,
            last_payload: payload,
            last: Some(first),
            gso_size: first.payload,
            ..Self::alone(at, header)
        }
    }

    /// Whether `packet` may be joined after the last one; `first` is the first one.
    #[inline]
    pub(super) fn takes(
        &mut self,
        first: &[u8],
        packet: &[u8],
        next: &FlowCandidate,
        max: usize,
    ) -> bool {
        let Some(last) = &self.last else { return false };
        let fits = next.payload <= self.gso_size
            && position(self.len) + usize::from(next.payload) <= max
            && last.continues_with(next)
            && next.same_headers(first, packet);
        if !fits || packet[0] >> 4 == 6 {
            return fits;
        }
        let ids = match next.id.wrapping_sub(last.id) {
            1 => Identifications::Counting,
            0 if next.dont_fragment => Identifications::Fixed,
            _ => return false,
        };
        if self.ids == Identifications::Unknown {
            self.ids = ids;
        }
        self.ids == ids
    }

    #[inline]
    pub(super) fn append(&mut self, next: &FlowCandidate) {
        self.count += 1;
        self.len += u32::from(next.payload);
        self.last = Some(*next);
    }

    /// Whether nothing may follow the packet just joined.
    #[inline]
    pub(super) fn is_full(&self, last: &FlowCandidate) -> bool {
        last.payload < self.gso_size
            || !last.may_be_followed()
            || position(self.count) >= MAX_MERGED
    }

    /// Appends the headers of the joined packet to `out`.
    pub(super) fn write_headers(&mut self, buffer: &[u8], out: &mut Vec<u8>) {
        let Some(last) = &self.last else { return };
        let first = &buffer[self.first.range()];
        let start = out.len();
        out.extend_from_slice(&first[..usize::from(last.headers)]);
        self.headers = BufferRange::new(&(start..out.len()));
        let transport = usize::from(last.transport);
        let (ip_header, header) = out[start..].split_at_mut(transport);
        let len = position(self.len) - transport;
        finish_ip_header(ip_header, position(self.len));
        match last.kind {
            TransportKind::Tcp => header[tcp::FLAGS] |= last.flags & tcp::PSH,
            TransportKind::Udp => set_word(header, udp::LENGTH, length_field(len)),
        }
        let is_v4 = ip_header[0] >> 4 == 4;
        let addresses = if is_v4 { ip::V4_ADDRESSES } else { ip::V6_ADDRESSES };
        let pseudo_header = Checksum::new()
            .add_bytes(&ip_header[addresses])
            .add_word(last.kind.protocol().into())
            .add_word(length_field(len));
        // The device adds the rest and takes the complement of the sum, so here the sum is not complemented.
        set_word(header, last.kind.checksum(), !pseudo_header.finish());
        self.header = VirtioHeader {
            flags: flag::NEEDS_CSUM,
            gso_type: match last.kind {
                TransportKind::Udp => gso_type::UDP_L4,
                TransportKind::Tcp if is_v4 => gso_type::TCPV4,
                TransportKind::Tcp => gso_type::TCPV6,
            },
            hdr_len: last.headers,
            gso_size: self.gso_size,
            csum_start: last.transport,
            csum_offset: length_field(last.kind.checksum()),
        };
    }
}

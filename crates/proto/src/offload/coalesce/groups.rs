//! The groups of a batch, as they are written to the device.

use super::{
    super::{VIRTIO_HEADER, VirtioHeader},
    pending::{NONE, Payload, PendingGroup, position},
};

/// The groups of a batch, in order.
#[derive(Debug, Clone)]
pub struct Groups<'a> {
    pub(super) groups: std::slice::Iter<'a, PendingGroup>,
    pub(super) payloads: &'a [Payload],
    pub(super) headers: &'a [u8],
    pub(super) buffer: &'a [u8],
}

impl<'a> Iterator for Groups<'a> {
    type Item = Group<'a>;

    #[inline]
    fn next(&mut self) -> Option<Group<'a>> {
        let group = self.groups.next()?;
        let (head, next) = if group.count > 1 {
            (&self.headers[group.headers.range()], group.first_payload)
        } else {
            (&self.buffer[group.first.range()], NONE)
        };
        Some(Group {
            header: group.header,
            encoded: group.header.encode(),
            packets: position(group.count),
            len: position(group.len),
            head,
            rest: Payloads { payloads: self.payloads, buffer: self.buffer, next },
        })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.groups.size_hint()
    }
}

impl ExactSizeIterator for Groups<'_> {}

/// One write to the device: several joined packets, or one unchanged packet.
#[derive(Debug, Clone)]
pub struct Group<'a> {
    header: VirtioHeader,
    encoded: [u8; VIRTIO_HEADER],
    packets: usize,
    len: usize,
    head: &'a [u8],
    rest: Payloads<'a>,
}

impl Group<'_> {
    /// The number of joined packets, at most [`MAX_MERGED`](super::MAX_MERGED).
    #[inline]
    pub fn packets(&self) -> usize {
        self.packets
    }

    /// The number of packets that the device makes of it.
    #[inline]
    pub fn segments(&self) -> usize {
        let VirtioHeader { gso_size, hdr_len, .. } = self.header;
        match usize::from(gso_size) {
            0 => 1,
            size => self.len.saturating_sub(hdr_len.into()).div_ceil(size).max(1),
        }
    }

    /// The virtio-net header for the device.
    #[inline]
    pub fn header(&self) -> VirtioHeader {
        self.header
    }

    /// The length in bytes of the packet for the device, without the virtio-net header.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a group has at least a packet")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The slices of one write, at most [`MAX_SLICES`](super::MAX_SLICES): the virtio-net header; the headers, or the whole
    /// packet; the payloads.
    #[inline]
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        [&self.encoded[..], self.head].into_iter().chain(self.rest.clone())
    }
}

/// The payloads of a group, in the buffer.
#[derive(Debug, Clone)]
struct Payloads<'a> {
    payloads: &'a [Payload],
    buffer: &'a [u8],
    next: u32,
}

impl<'a> Iterator for Payloads<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.next == NONE {
            return None;
        }
        let payload = &self.payloads[position(self.next)];
        self.next = payload.next;
        Some(&self.buffer[payload.at.range()])
    }
}

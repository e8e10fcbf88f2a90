//! Joining packets that follow on each other, so that the device takes many with one write (generic receive offload).

mod candidate;

use std::ops::Range;

use super::{
    VIRTIO_HEADER, VirtioHeader, finish_ip_header, flag, gso_type, ip, length_field, set_word, tcp,
    udp,
    virtio::{Kind, OffloadError},
};
use crate::{
    checksum::Checksum,
    frame::MAX_FRAME,
    packet::{Packet, Upper, protocol},
};
use candidate::{Candidate, same_addresses};

/// The most packets joined into one. Linux takes as many datagrams; of TCP, 45 fill a GSO packet at an MTU of 1,500.
pub const MAX_MERGED: usize = 64;

/// The most slices a [`Group`] is made of, its virtio-net header included.
pub const MAX_SLICES: usize = 2 + MAX_MERGED;

/// The most flows that are joined at a time; another one ends the group of one of them.
pub const SLOTS: usize = 16;

/// Ends a chain of pieces.
const NONE: u32 = u32::MAX;

/// Joins packets of one flow that follow on each other into GSO packets. Keeps its memory from batch to batch.
///
/// Two packets are joined as Linux joins them (its `tcp_gro_receive` and `udp_gro_receive`): the same addresses, ports,
/// traffic class, hop limit and "don't fragment"; IPv4 identifications that count on, or with "don't fragment" stay;
/// no IP options and no extension headers; right checksums. Of TCP: the next sequence number, the same acknowledgment,
/// window and options, no flag but ACK, ECE and at the end PSH. Of UDP: with a checksum. All carry data, as much as the
/// first, but the last may carry less. Every other packet passes as it is, and ends the group of its flow, or of all
/// flows between its addresses when its ports cannot be seen, so the order in a flow never changes.
///
/// A batch keeps about 100 bytes for each packet, so the caller's receive buffer bounds the memory. A batch no larger
/// than an earlier one allocates nothing.
#[derive(Debug)]
pub struct Coalescer {
    groups: Vec<Pending>,
    pieces: Vec<Piece>,
    headers: Vec<u8>,
    slots: [Slot; SLOTS],
    /// The number of slots in use, the first ones.
    open: usize,
    /// The slot given up next when all are in use; they take turns.
    next_victim: usize,
    max_packet: usize,
    udp: bool,
}

impl Default for Coalescer {
    fn default() -> Self {
        Self::new()
    }
}

impl Coalescer {
    /// One that makes GSO packets of up to 65,535 bytes, of TCP and UDP.
    pub fn new() -> Self {
        Self {
            groups: Vec::new(),
            pieces: Vec::new(),
            headers: Vec::new(),
            slots: [Slot::default(); SLOTS],
            open: 0,
            next_victim: 0,
            max_packet: MAX_FRAME,
            udp: true,
        }
    }

    /// Makes no packet longer than `bytes`, of at most 65,535.
    #[must_use]
    pub fn with_max_packet(mut self, bytes: usize) -> Self {
        self.max_packet = bytes.min(MAX_FRAME);
        self
    }

    /// Whether UDP is joined; kernels before 6.2 refuse it.
    #[must_use]
    pub fn with_udp(mut self, joined: bool) -> Self {
        self.udp = joined;
        self
    }

    /// Begins with the packets in `buffer`, which is at most 4 GiB.
    pub fn batch<'a>(&'a mut self, buffer: &'a [u8]) -> Batch<'a> {
        self.begin();
        Batch { state: self, buffer }
    }

    fn begin(&mut self) {
        self.groups.clear();
        self.pieces.clear();
        self.headers.clear();
        self.open = 0;
        self.next_victim = 0;
    }
}

/// The packets of a receive buffer, given in their order.
#[derive(Debug)]
pub struct Batch<'a> {
    state: &'a mut Coalescer,
    buffer: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Adds the finished packet at this place of the buffer.
    ///
    /// # Panics
    ///
    /// If the place is not in the buffer.
    #[inline]
    pub fn push(&mut self, at: Range<usize>) {
        self.push_packet(at, false, VirtioHeader::default());
    }

    /// Adds the packet at this place of the buffer, which came with a header, from a device or as a GSO frame. A
    /// GSO packet passes as it is; a packet whose checksum is to be completed is joined like others, and its checksum
    /// taken as right.
    ///
    /// # Errors
    ///
    /// The header does not belong to the packet; nothing is added.
    ///
    /// # Panics
    ///
    /// If the place is not in the buffer.
    pub fn push_offload(
        &mut self,
        header: VirtioHeader,
        at: Range<usize>,
    ) -> Result<(), OffloadError> {
        let packet = header.check(&self.buffer[at.clone()])?;
        if packet.needs_segmentation() {
            self.push_alone(at, packet.header());
        } else {
            self.push_packet(at, packet.has_partial_checksum(), packet.header());
        }
        Ok(())
    }

    /// Hands over the packets as [`Batch::finish`] does, and begins again with none.
    pub fn flush(&mut self, each: impl FnMut(Group<'_>)) {
        Batch { state: self.state, buffer: self.buffer }.finish().for_each(each);
        self.state.begin();
    }

    /// The packets, joined where possible, in the order in which the first ones of each group were added.
    pub fn finish(self) -> Groups<'a> {
        let Self { state, buffer } = self;
        for group in state.groups.iter_mut().filter(|group| group.count > 1) {
            group.write_headers(buffer, &mut state.headers);
        }
        Groups {
            groups: state.groups.iter(),
            pieces: &state.pieces,
            headers: &state.headers,
            buffer,
        }
    }

    #[inline]
    fn push_packet(&mut self, at: Range<usize>, is_partial: bool, header: VirtioHeader) {
        let packet = &self.buffer[at.clone()];
        let candidate = Candidate::parse(packet, is_partial)
            .filter(|candidate| self.state.udp || candidate.kind == Kind::Tcp);
        let Some(candidate) = candidate else { return self.push_alone(at, header) };
        let slot = self.find(candidate.kind.protocol(), candidate.ports, packet);
        if let Some(slot) = slot {
            let index = self.state.slots[slot].group;
            let group = &mut self.state.groups[position(index)];
            let first = &self.buffer[group.first.range()];
            if group.takes(first, packet, &candidate, self.state.max_packet) {
                let piece = self.state.add_piece(&at, &candidate);
                let group = &mut self.state.groups[position(index)];
                self.state.pieces[position(group.last_piece)].next = piece;
                group.last_piece = piece;
                group.append(&candidate);
                if group.is_full(&candidate) {
                    self.state.close(slot);
                }
                return;
            }
            self.state.close(slot);
        }
        let piece = self.state.add_piece(&at, &candidate);
        let group = Pending::new(&at, candidate, piece, header);
        let index = self.add_group(group);
        if candidate.may_be_followed() {
            self.state.open(Slot {
                group: index,
                ports: candidate.ports,
                protocol: candidate.kind.protocol(),
            });
        }
    }

    /// Adds a packet that nothing joins, behind everything of its flow.
    fn push_alone(&mut self, at: Range<usize>, header: VirtioHeader) {
        let bytes = &self.buffer[at.clone()];
        if self.state.open > 0
            && let Ok(packet) = Packet::parse(bytes)
        {
            match packet.upper() {
                Some(Upper {
                    protocol: protocol @ (protocol::TCP | protocol::UDP),
                    payload: [a, b, c, d, ..],
                    fragment: None,
                }) => {
                    let ports = u32::from_ne_bytes([*a, *b, *c, *d]);
                    if let Some(slot) = self.find(protocol, ports, bytes) {
                        self.state.close(slot);
                    }
                }
                _ => self.close_between(bytes),
            }
        }
        self.add_group(Pending::alone(&at, header));
    }

    /// The slot of this flow.
    #[inline]
    fn find(&self, protocol: u8, ports: u32, packet: &[u8]) -> Option<usize> {
        let slots = &self.state.slots[..self.state.open];
        slots.iter().position(|slot| {
            slot.ports == ports
                && slot.protocol == protocol
                && same_addresses(self.first_of(slot), packet)
        })
    }

    /// Ends the groups of all flows between the addresses of `packet`.
    fn close_between(&mut self, packet: &[u8]) {
        for slot in (0..self.state.open).rev() {
            if same_addresses(self.first_of(&self.state.slots[slot]), packet) {
                self.state.close(slot);
            }
        }
    }

    fn first_of(&self, slot: &Slot) -> &'a [u8] {
        &self.buffer[self.state.groups[position(slot.group)].first.range()]
    }

    fn add_group(&mut self, group: Pending) -> u32 {
        self.state.groups.push(group);
        offset(self.state.groups.len() - 1)
    }
}

impl Coalescer {
    fn add_piece(&mut self, at: &Range<usize>, candidate: &Candidate) -> u32 {
        let data = at.start + usize::from(candidate.headers)..at.end;
        self.pieces.push(Piece { at: Span::new(&data), next: NONE });
        offset(self.pieces.len() - 1)
    }

    fn open(&mut self, slot: Slot) {
        if self.open < SLOTS {
            self.slots[self.open] = slot;
            self.open += 1;
        } else {
            self.slots[self.next_victim] = slot;
            self.next_victim = (self.next_victim + 1) % SLOTS;
        }
    }

    fn close(&mut self, slot: usize) {
        self.open -= 1;
        self.slots[slot] = self.slots[self.open];
    }
}

/// A flow whose next packet may be joined.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    group: u32,
    /// Source and destination port as they stand in the packet.
    ports: u32,
    protocol: u8,
}

/// A place in the buffer.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    #[inline]
    fn new(range: &Range<usize>) -> Self {
        Self { start: offset(range.start), end: offset(range.end) }
    }

    #[inline]
    fn range(self) -> Range<usize> {
        position(self.start)..position(self.end)
    }
}

#[inline]
fn offset(position: usize) -> u32 {
    u32::try_from(position).expect("a receive buffer is at most 4 GiB")
}

#[inline]
fn position(offset: u32) -> usize {
    usize::try_from(offset).expect("a place in a buffer in memory")
}

/// The payload of a joined packet.
#[derive(Debug, Clone, Copy)]
struct Piece {
    at: Span,
    /// The piece behind it, or [`NONE`].
    next: u32,
}

/// How the IPv4 identification goes on in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ids {
    Unknown,
    Counting,
    Fixed,
}

/// A group that is being made.
#[derive(Debug)]
struct Pending {
    /// The first packet, whole.
    first: Span,
    first_piece: u32,
    last_piece: u32,
    /// Of packets.
    count: u32,
    /// The last packet; none when nothing may be joined to it.
    last: Option<Candidate>,
    gso_size: u16,
    ids: Ids,
    /// The length of the joined packet in bytes.
    len: u32,
    /// Of the rewritten headers, once written.
    headers: Span,
    header: VirtioHeader,
}

impl Pending {
    fn alone(at: &Range<usize>, header: VirtioHeader) -> Self {
        Self {
            first: Span::new(at),
            first_piece: NONE,
            last_piece: NONE,
            count: 1,
            last: None,
            gso_size: 0,
            ids: Ids::Unknown,
            len: offset(at.len()),
            headers: Span { start: 0, end: 0 },
            header,
        }
    }

    fn new(at: &Range<usize>, first: Candidate, piece: u32, header: VirtioHeader) -> Self {
        Self {
            first_piece: piece,
            last_piece: piece,
            last: Some(first),
            gso_size: first.payload,
            ..Self::alone(at, header)
        }
    }

    /// Whether `packet` may be joined behind the last one; `first` is the first one.
    #[inline]
    fn takes(&mut self, first: &[u8], packet: &[u8], next: &Candidate, max: usize) -> bool {
        let Some(last) = &self.last else { return false };
        let fits = next.payload <= self.gso_size
            && position(self.len) + usize::from(next.payload) <= max
            && last.goes_on(next)
            && next.same_headers(first, packet);
        if !fits || packet[0] >> 4 == 6 {
            return fits;
        }
        let ids = match next.id.wrapping_sub(last.id) {
            1 => Ids::Counting,
            0 if next.dont_fragment => Ids::Fixed,
            _ => return false,
        };
        if self.ids == Ids::Unknown {
            self.ids = ids;
        }
        self.ids == ids
    }

    #[inline]
    fn append(&mut self, next: &Candidate) {
        self.count += 1;
        self.len += u32::from(next.payload);
        self.last = Some(*next);
    }

    /// Whether nothing may follow the packet just joined.
    #[inline]
    fn is_full(&self, last: &Candidate) -> bool {
        last.payload < self.gso_size
            || !last.may_be_followed()
            || position(self.count) >= MAX_MERGED
    }

    /// Appends the headers of the joined packet to `out`.
    fn write_headers(&mut self, buffer: &[u8], out: &mut Vec<u8>) {
        let Some(last) = &self.last else { return };
        let first = &buffer[self.first.range()];
        let start = out.len();
        out.extend_from_slice(&first[..usize::from(last.headers)]);
        self.headers = Span::new(&(start..out.len()));
        let transport = usize::from(last.transport);
        let (ip_header, header) = out[start..].split_at_mut(transport);
        let len = position(self.len) - transport;
        finish_ip_header(ip_header, position(self.len));
        match last.kind {
            Kind::Tcp => header[tcp::FLAGS] |= last.flags & tcp::PSH,
            Kind::Udp => set_word(header, udp::LENGTH, length_field(len)),
        }
        let is_v4 = ip_header[0] >> 4 == 4;
        let addresses = if is_v4 { ip::V4_ADDRESSES } else { ip::V6_ADDRESSES };
        let pseudo_header = Checksum::new()
            .add_bytes(&ip_header[addresses])
            .add_word(last.kind.protocol().into())
            .add_word(length_field(len));
        // The device adds the rest to the sum and takes the complement of all, so here it stays as it is.
        set_word(header, last.kind.checksum(), !pseudo_header.finish());
        self.header = VirtioHeader {
            flags: flag::NEEDS_CSUM,
            gso_type: match last.kind {
                Kind::Udp => gso_type::UDP_L4,
                Kind::Tcp if is_v4 => gso_type::TCPV4,
                Kind::Tcp => gso_type::TCPV6,
            },
            hdr_len: last.headers,
            gso_size: self.gso_size,
            csum_start: last.transport,
            csum_offset: length_field(last.kind.checksum()),
        };
    }
}

/// The groups of a batch, in order.
#[derive(Debug, Clone)]
pub struct Groups<'a> {
    groups: std::slice::Iter<'a, Pending>,
    pieces: &'a [Piece],
    headers: &'a [u8],
    buffer: &'a [u8],
}

impl<'a> Iterator for Groups<'a> {
    type Item = Group<'a>;

    #[inline]
    fn next(&mut self) -> Option<Group<'a>> {
        let group = self.groups.next()?;
        let (head, next) = if group.count > 1 {
            (&self.headers[group.headers.range()], group.first_piece)
        } else {
            (&self.buffer[group.first.range()], NONE)
        };
        Some(Group {
            header: group.header,
            encoded: group.header.encode(),
            packets: position(group.count),
            len: position(group.len),
            head,
            rest: Pieces { pieces: self.pieces, buffer: self.buffer, next },
        })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.groups.size_hint()
    }
}

impl ExactSizeIterator for Groups<'_> {}

/// One write to the device: several packets as one, or a packet that is passed as it is.
#[derive(Debug, Clone)]
pub struct Group<'a> {
    header: VirtioHeader,
    encoded: [u8; VIRTIO_HEADER],
    packets: usize,
    len: usize,
    head: &'a [u8],
    rest: Pieces<'a>,
}

impl Group<'_> {
    /// The number of packets it was made of, at most [`MAX_MERGED`].
    #[inline]
    pub fn packets(&self) -> usize {
        self.packets
    }

    /// The number of packets that the packet the device sees stands for.
    #[inline]
    pub fn segments(&self) -> usize {
        let VirtioHeader { gso_size, hdr_len, .. } = self.header;
        match usize::from(gso_size) {
            0 => 1,
            size => self.len.saturating_sub(hdr_len.into()).div_ceil(size).max(1),
        }
    }

    /// What the device is told.
    #[inline]
    pub fn header(&self) -> VirtioHeader {
        self.header
    }

    /// The length in bytes of the packet the device sees, without the virtio-net header.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a group has at least a packet")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// What to write at once, at most [`MAX_SLICES`]: the virtio-net header; the headers, or the whole packet; the
    /// payloads.
    #[inline]
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        [&self.encoded[..], self.head].into_iter().chain(self.rest.clone())
    }
}

/// The payloads of a group, in the buffer.
#[derive(Debug, Clone)]
struct Pieces<'a> {
    pieces: &'a [Piece],
    buffer: &'a [u8],
    next: u32,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.next == NONE {
            return None;
        }
        let piece = &self.pieces[position(self.next)];
        self.next = piece.next;
        Some(&self.buffer[piece.at.range()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frames, LEN_PREFIX};

    fn push_all(coalescer: &mut Coalescer, stream: &[u8]) -> usize {
        let mut batch = coalescer.batch(stream);
        for frame in Frames::new(stream) {
            batch.push(frame.range.start + LEN_PREFIX..frame.range.end);
        }
        batch.finish().map(|group| group.packets()).sum()
    }

    #[test]
    fn a_second_batch_allocates_nothing() {
        let datagram = b"\x60\0\0\0\0\x09\x11\x40\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\
                         \x03\xe8\0\x35\0\x09\0\0\x07";
        let mut datagram = datagram.to_vec();
        let sum = Checksum::new().add_bytes(&datagram[8..]).add_bytes(&[0, 17, 0, 9]).finish();
        set_word(&mut datagram, 46, sum);
        let frame = [&[0, 49][..], &datagram].concat();
        let mut coalescer = Coalescer::new();
        assert_eq!(push_all(&mut coalescer, &frame.repeat(500)), 500);
        assert_eq!(coalescer.groups.len(), 500_usize.div_ceil(MAX_MERGED));
        let capacities = |coalescer: &Coalescer| {
            [coalescer.groups.capacity(), coalescer.pieces.capacity(), coalescer.headers.capacity()]
        };
        let before = capacities(&coalescer);
        assert_eq!(push_all(&mut coalescer, &frame.repeat(500)), 500);
        assert_eq!(capacities(&coalescer), before);
        assert!(size_of::<Pending>() + size_of::<Piece>() <= 100);
    }
}

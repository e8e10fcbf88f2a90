//! Joining packets that follow on each other, so that the device takes many with one write (generic receive offload).

mod candidate;
mod groups;
mod pending;

use std::ops::Range;

use candidate::{FlowCandidate, same_addresses};
pub use groups::{Group, Groups};
use pending::{BufferRange, NONE, Payload, PendingGroup, offset, position};

use super::{
    VirtioHeader,
    virtio::{OffloadError, TransportKind},
};
use crate::{
    frame::MAX_FRAME,
    packet::{Packet, Upper, protocol},
};

/// The most packets joined into one. This is Linux's limit for datagrams; of TCP, 45 fill a GSO packet at an MTU of 1,500.
pub const MAX_MERGED: usize = 64;

/// The most slices of a [`Group`], its virtio-net header included.
pub const MAX_SLICES: usize = 2 + MAX_MERGED;

/// The most flows that are joined at the same time; a further one ends the group of one of them.
pub const SLOTS: usize = 16;

/// Joins consecutive packets of one flow into GSO packets. Keeps its memory from batch to batch.
///
/// Two packets are joined as Linux joins them (its `tcp_gro_receive` and `udp_gro_receive`): the same addresses, ports,
/// traffic class, hop limit and "don't fragment"; IPv4 identifications that count up, or with "don't fragment" are equal;
/// no IP options and no extension headers; right checksums. Of TCP: the next sequence number, the same acknowledgment,
/// window and options, no flag but ACK, ECE and at the end PSH. Of UDP: with a checksum. All carry data, as much as the
/// first; only the last may carry less. Every other packet passes unchanged. It ends the group of its flow, or of all flows
/// between its addresses if its ports are not visible, so the order in a flow never changes.
///
/// A batch has about 100 bytes of state for each packet, so the caller's receive buffer bounds the memory. A batch that is
/// not larger than an earlier one allocates nothing.
#[derive(Debug)]
pub struct Coalescer {
    groups: Vec<PendingGroup>,
    payloads: Vec<Payload>,
    headers: Vec<u8>,
    slots: [FlowSlot; SLOTS],
    /// The number of slots in use, the first ones.
    open: usize,
    /// The slot replaced next when all are in use; they take turns.
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
    /// A coalescer that makes GSO packets of up to 65,535 bytes, of TCP and UDP.
    pub fn new() -> Self {
        Self {
            groups: Vec::new(),
            payloads: Vec::new(),
            headers: Vec::new(),
            slots: [FlowSlot::default(); SLOTS],
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
        self.payloads.clear();
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
    /// Adds the complete packet in this range of the buffer.
    ///
    /// # Panics
    ///
    /// If the range is not in the buffer.
    #[inline]
    pub fn push(&mut self, at: Range<usize>) {
        self.push_packet(at, false, VirtioHeader::default());
    }

    /// Adds the packet in this range of the buffer, which came with a header, from a device or as a GSO frame. A GSO packet
    /// passes unchanged. A packet with a partial checksum is joined like others, and its checksum counts as right.
    ///
    /// # Errors
    ///
    /// The header does not belong to the packet; nothing is added.
    ///
    /// # Panics
    ///
    /// If the range is not in the buffer.
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

    /// Hands over the packets as [`Batch::finish`] does, and continues with an empty batch.
    pub fn flush(&mut self, each: impl FnMut(Group<'_>)) {
        Batch { state: self.state, buffer: self.buffer }.finish().for_each(each);
        self.state.begin();
    }

    /// The packets, joined if possible, in the order of the first packet of each group.
    pub fn finish(self) -> Groups<'a> {
        let Self { state, buffer } = self;
        for group in state.groups.iter_mut().filter(|group| group.count > 1) {
            group.write_headers(buffer, &mut state.headers);
        }
        Groups {
            groups: state.groups.iter(),
            payloads: &state.payloads,
            headers: &state.headers,
            buffer,
        }
    }

    #[inline]
    fn push_packet(&mut self, at: Range<usize>, is_partial: bool, header: VirtioHeader) {
        let packet = &self.buffer[at.clone()];
        let candidate = FlowCandidate::parse(packet, is_partial)
            .filter(|candidate| self.state.udp || candidate.kind == TransportKind::Tcp);
        let Some(candidate) = candidate else { return self.push_alone(at, header) };
        let slot = self.find(candidate.kind.protocol(), candidate.ports, packet);
        if let Some(slot) = slot {
            let index = self.state.slots[slot].group;
            let group = &mut self.state.groups[position(index)];
            let first = &self.buffer[group.first.range()];
            if group.takes(first, packet, &candidate, self.state.max_packet) {
                let payload = self.state.add_payload(&at, &candidate);
                let group = &mut self.state.groups[position(index)];
                self.state.payloads[position(group.last_payload)].next = payload;
                group.last_payload = payload;
                group.append(&candidate);
                if group.is_full(&candidate) {
                    self.state.close(slot);
                }
                return;
            }
            self.state.close(slot);
        }
        let payload = self.state.add_payload(&at, &candidate);
        let group = PendingGroup::new(&at, candidate, payload, header);
        let index = self.add_group(group);
        if candidate.may_be_followed() {
            self.state.open(FlowSlot {
                group: index,
                ports: candidate.ports,
                protocol: candidate.kind.protocol(),
            });
        }
    }

    /// Adds a packet that is not joined, after all packets of its flow.
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
        self.add_group(PendingGroup::alone(&at, header));
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

    fn first_of(&self, slot: &FlowSlot) -> &'a [u8] {
        &self.buffer[self.state.groups[position(slot.group)].first.range()]
    }

    fn add_group(&mut self, group: PendingGroup) -> u32 {
        self.state.groups.push(group);
        offset(self.state.groups.len() - 1)
    }
}

impl Coalescer {
    fn add_payload(&mut self, at: &Range<usize>, candidate: &FlowCandidate) -> u32 {
        let data = at.start + usize::from(candidate.headers)..at.end;
        self.payloads.push(Payload { at: BufferRange::new(&data), next: NONE });
        offset(self.payloads.len() - 1)
    }

    fn open(&mut self, slot: FlowSlot) {
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
struct FlowSlot {
    group: u32,
    /// Source and destination port, as in the packet.
    ports: u32,
    protocol: u8,
}

#[cfg(test)]
mod tests {
    use super::{super::set_word, *};
    use crate::{
        checksum::Checksum,
        frame::{Frames, LEN_PREFIX},
    };

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
            [
                coalescer.groups.capacity(),
                coalescer.payloads.capacity(),
                coalescer.headers.capacity(),
            ]
        };
        let before = capacities(&coalescer);
        assert_eq!(push_all(&mut coalescer, &frame.repeat(500)), 500);
        assert_eq!(capacities(&coalescer), before);
        assert!(size_of::<PendingGroup>() + size_of::<Payload>() <= 100);
    }
}

//! Ethernet frames as a Linux TAP device with `IFF_VNET_HDR` exchanges them: with the payload of many after one header, and with
//! checksums still to be completed.

use std::ops::Range;

use super::{
    Coalescer, Group, GsoPacket, OffloadError, VIRTIO_HEADER, VirtioHeader, flag, gso_type,
    length_field, set_word,
};
use crate::{
    checksum::Checksum,
    ethernet::{EthernetFrame, ether_type},
};

/// The most bytes of an Ethernet header with its VLAN tags.
pub const MAX_ETHERNET_HEADER: usize = 22;

/// An Ethernet header without tags.
const PLAIN_HEADER: usize = 14;

/// What a device gives at once: one frame, or one that has to be cut. Checked by [`VirtioHeader::check_frame`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceFrame<'a> {
    bytes: &'a [u8],
    /// The packet after the Ethernet header, if it has to be cut.
    packet: Option<GsoPacket<'a>>,
}

impl VirtioHeader {
    /// Checks the header against the whole Ethernet frame after it. A checksum that is all that is left to do is completed in
    /// place, whatever protocol it is of.
    ///
    /// A frame to be cut has an IP packet after at most two VLAN tags, which keeps to what [`check`](Self::check) says.
    ///
    /// # Errors
    ///
    /// What does not belong to the frame.
    pub fn check_frame<'a>(&self, frame: &'a mut [u8]) -> Result<DeviceFrame<'a>, OffloadError> {
        let ethernet = frame.len() - EthernetFrame::parse(frame)?.payload().len();
        if self.flags & !(flag::NEEDS_CSUM | flag::DATA_VALID) != 0 {
            return Err(OffloadError::Flags(self.flags));
        }
        if self.gso_type == gso_type::NONE {
            if self.flags & flag::NEEDS_CSUM != 0 {
                self.complete(frame)?;
            }
            return Ok(DeviceFrame { bytes: frame, packet: None });
        }
        let frame: &'a [u8] = frame;
        let start = usize::from(self.csum_start).checked_sub(ethernet);
        let start = start.and_then(|start| u16::try_from(start).ok());
        let csum_start = start.ok_or(OffloadError::ChecksumPlace)?;
        let packet = Self { csum_start, ..*self }.check(&frame[ethernet..])?;
        Ok(DeviceFrame { bytes: frame, packet: Some(packet) })
    }

    /// Completes the checksum of these bytes (virtio 1.3 section 5.1.6.2).
    fn complete(&self, frame: &mut [u8]) -> Result<(), OffloadError> {
        let (start, offset) = (usize::from(self.csum_start), usize::from(self.csum_offset));
        let summed = frame.get_mut(start..).ok_or(OffloadError::ChecksumPlace)?;
        if summed.len() < offset + 2 {
            return Err(OffloadError::ChecksumPlace);
        }
        let sum = Checksum::new().add_bytes(summed).finish();
        // Zero in UDP means no checksum (RFC 768); in one's complement 0xffff is zero too.
        set_word(summed, offset, if sum == 0 { 0xffff } else { sum });
        Ok(())
    }
}

impl<'a> DeviceFrame<'a> {
    /// The frame, of which the first [`MAX_ETHERNET_HEADER`] bytes at most are its header.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The number of frames that it becomes, 1 to [`MAX_SEGMENTS`](super::MAX_SEGMENTS).
    pub fn frames(&self) -> usize {
        self.packet.as_ref().map_or(1, GsoPacket::segments)
    }

    /// The length of the longest of them in bytes; only the last one may be shorter.
    pub fn longest(&self) -> usize {
        match &self.packet {
            Some(packet) => self.header().len() + packet.longest_segment(),
            None => self.bytes.len(),
        }
    }

    /// The bytes of all of them.
    pub fn frames_len(&self) -> usize {
        match &self.packet {
            Some(packet) => packet.segments() * self.header().len() + packet.packets_len(),
            None => self.bytes.len(),
        }
    }

    /// Writes them to the beginning of `out`, each with `front` bytes left free before it and `back` after it. Returns the number
    /// of bytes that this takes.
    ///
    /// # Panics
    ///
    /// If `out` is shorter than that.
    pub fn write_spaced_to(&self, front: usize, back: usize, out: &mut [u8]) -> usize {
        let Some(packet) = &self.packet else {
            out[front..front + self.bytes.len()].copy_from_slice(self.bytes);
            return front + self.bytes.len() + back;
        };
        let header = self.header();
        let written = packet.write_spaced_to(front + header.len(), back, out);
        for at in self.places(front, back) {
            out[at.start..at.start + header.len()].copy_from_slice(header);
        }
        written
    }

    /// Where [`write_spaced_to`](Self::write_spaced_to) writes each of them.
    pub fn places(&self, front: usize, back: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (frames, longest, all) = (self.frames(), self.longest(), self.frames_len());
        (0..frames).map(move |n| {
            let start = n * (front + longest + back) + front;
            let len = if n + 1 < frames { longest } else { all - n * longest };
            start..start + len
        })
    }

    /// The Ethernet header of a frame that has to be cut.
    fn header(&self) -> &'a [u8] {
        let packet = self.packet.as_ref().map_or(0, |packet| packet.bytes().len());
        &self.bytes[..self.bytes.len() - packet]
    }
}

/// One write to a device: several frames joined, or one as it is.
#[derive(Debug, Clone)]
pub struct JoinedFrames<'a> {
    encoded: [u8; VIRTIO_HEADER],
    /// The Ethernet header, or the whole frame where nothing is joined.
    ethernet: &'a [u8],
    packets: Option<Group<'a>>,
}

impl<'a> JoinedFrames<'a> {
    fn alone(frame: &'a [u8]) -> Self {
        let encoded = VirtioHeader::default().encode();
        Self { encoded, ethernet: frame, packets: None }
    }

    fn of(ethernet: &'a [u8], packets: Group<'a>) -> Self {
        let mut header = packets.header();
        if header.flags & flag::NEEDS_CSUM != 0 {
            // A group is of packets that fit a field with their Ethernet header.
            header.hdr_len += length_field(PLAIN_HEADER);
            header.csum_start += length_field(PLAIN_HEADER);
        }
        Self { encoded: header.encode(), ethernet, packets: Some(packets) }
    }

    /// The number of frames.
    pub fn frames(&self) -> usize {
        self.packets.as_ref().map_or(1, Group::packets)
    }

    /// The bytes of all of them, as they came.
    pub fn frames_len(&self) -> usize {
        let Some(packets) = &self.packets else { return self.ethernet.len() };
        let more = packets.packets() - 1;
        let headers = self.ethernet.len() + usize::from(packets.header().hdr_len);
        self.ethernet.len() + packets.len() + more * headers
    }

    /// The slices of one write, at most one more than [`MAX_SLICES`](super::MAX_SLICES): the virtio-net header; the Ethernet
    /// header, or the whole frame; the rest.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let own = [&self.encoded[..], self.ethernet];
        own.into_iter().chain(self.packets.iter().flat_map(|group| group.slices().skip(1)))
    }
}

impl Coalescer {
    /// Hands the frames at these places of `buffer` to `each`, in their order: those joined that follow on each other with the same
    /// Ethernet header and whose packets can be joined. What has a VLAN tag or is no IP packet is not joined.
    ///
    /// # Panics
    ///
    /// If a place is not in the buffer.
    pub fn join_frames(
        &mut self,
        buffer: &[u8],
        places: impl IntoIterator<Item = Range<usize>>,
        mut each: impl FnMut(&JoinedFrames<'_>),
    ) {
        let mut batch = self.batch(buffer);
        // The header that all packets of the batch have.
        let mut ethernet: &[u8] = &[];
        for at in places {
            let frame = &buffer[at.clone()];
            let header = plain_header(frame);
            if header.is_none_or(|header| header != ethernet) {
                batch.flush(|packets| each(&JoinedFrames::of(ethernet, packets)));
            }
            match header {
                Some(header) => {
                    ethernet = header;
                    batch.push(at.start + PLAIN_HEADER..at.end);
                }
                None => {
                    ethernet = &[];
                    each(&JoinedFrames::alone(frame));
                }
            }
        }
        batch.flush(|packets| each(&JoinedFrames::of(ethernet, packets)));
    }
}

/// The header of a frame whose packets may be joined.
fn plain_header(frame: &[u8]) -> Option<&[u8]> {
    let parsed = EthernetFrame::parse(frame).ok()?;
    let version = match parsed.ether_type() {
        ether_type::IPV4 => 4,
        ether_type::IPV6 => 6,
        _ => return None,
    };
    let is_plain = frame.len() - parsed.payload().len() == PLAIN_HEADER;
    let is_right = parsed.payload().first().is_some_and(|first| first >> 4 == version);
    (is_plain && is_right).then(|| &frame[..PLAIN_HEADER])
}

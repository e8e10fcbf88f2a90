//! Packets as a Linux TUN device with `IFF_VNET_HDR` exchanges them: up to 64 KiB at once, with partial checksums.
//!
//! Sending, a device read is a [`VirtioHeader`] and a packet. [`VirtioHeader::check`] checks the two and returns
//! a [`GsoPacket`], whose [`write_frames`](GsoPacket::write_frames) segments it. Receiving, a [`Coalescer`] joins
//! consecutive packets of a receive buffer, so that one device write takes many.
//!
//! ```
//! use rtun_proto::{
//!     frame::{FrameBuffer, Frames, LEN_PREFIX},
//!     offload::{Coalescer, OffloadError, VirtioHeader},
//! };
//!
//! /// From the device to the hub: one read becomes frames after those already in `out`.
//! fn uplink(read: &[u8], out: &mut Vec<u8>) -> Result<(), OffloadError> {
//!     let (header, packet) = VirtioHeader::split(read).ok_or(OffloadError::Cut)?;
//!     header.check(packet)?.write_frames(out);
//!     Ok(())
//! }
//!
//! /// From the hub to the device: every whole frame received becomes part of a `writev`.
//! fn downlink(received: &mut FrameBuffer, coalescer: &mut Coalescer, writev: impl Fn(&[&[u8]])) {
//!     let mut frames = Frames::new(received.filled());
//!     let mut batch = coalescer.batch(received.filled());
//!     for frame in frames.by_ref().filter(|frame| !frame.payload.is_empty()) {
//!         batch.push(frame.range.start + LEN_PREFIX..frame.range.end);
//!     }
//!     for group in batch.finish() {
//!         writev(&group.slices().collect::<Vec<_>>()); // real code uses an array of MAX_SLICES
//!     }
//!     let consumed = frames.consumed();
//!     received.consume(consumed);
//! }
//! ```

mod coalesce;
mod ethernet;
mod segment;
mod virtio;

pub use coalesce::{Batch, Coalescer, Group, Groups, MAX_MERGED, MAX_SLICES, SLOTS};
pub use ethernet::{DeviceFrame, JoinedFrames, MAX_ETHERNET_HEADER};
pub use virtio::{
    GsoPacket, MAX_HEADERS, MAX_SEGMENTS, OffloadError, VIRTIO_HEADER, VirtioHeader, flag, gso_type,
};

/// Offsets and values of the IP headers that are rewritten (RFC 791 section 3.1, RFC 8200 section 3).
mod ip {
    pub(super) const V4_HEADER: usize = 20;
    pub(super) const V4_DSCP_ECN: usize = 1;
    pub(super) const V4_TOTAL_LENGTH: usize = 2;
    pub(super) const V4_ID: usize = 4;
    pub(super) const V4_FRAGMENT: usize = 6;
    pub(super) const V4_TTL: usize = 8;
    pub(super) const V4_CHECKSUM: usize = 10;
    pub(super) const V4_ADDRESSES: std::ops::Range<usize> = 12..20;
    /// In the word at `V4_FRAGMENT`.
    pub(super) const DONT_FRAGMENT: u16 = 0x4000;
    pub(super) const V6_HEADER: usize = 40;
    /// Version, traffic class, flow label.
    pub(super) const V6_FIRST_WORD: std::ops::Range<usize> = 0..4;
    pub(super) const V6_PAYLOAD_LENGTH: usize = 4;
    pub(super) const V6_HOP_LIMIT: usize = 7;
    pub(super) const V6_ADDRESSES: std::ops::Range<usize> = 8..40;
}

/// Offsets and flags of the TCP header (RFC 9293 section 3.1).
mod tcp {
    pub(super) const MIN_HEADER: usize = 20;
    pub(super) const SEQUENCE: usize = 4;
    pub(super) const ACKNOWLEDGMENT: usize = 8;
    /// The header's length in words of 32 bits in the upper four bits.
    pub(super) const DATA_OFFSET: usize = 12;
    pub(super) const FLAGS: usize = 13;
    pub(super) const WINDOW: usize = 14;
    pub(super) const CHECKSUM: usize = 16;
    pub(super) const URGENT: usize = 18;

    pub(super) const FIN: u8 = 0x01;
    pub(super) const SYN: u8 = 0x02;
    pub(super) const RST: u8 = 0x04;
    pub(super) const PSH: u8 = 0x08;
    pub(super) const ACK: u8 = 0x10;
    pub(super) const ECE: u8 = 0x40;
    pub(super) const CWR: u8 = 0x80;
}

/// Offsets of the UDP header (RFC 768).
mod udp {
    pub(super) const HEADER: usize = 8;
    pub(super) const LENGTH: usize = 4;
    pub(super) const CHECKSUM: usize = 6;
}

/// The word of 16 bits at `offset` of a header whose length has been checked.
#[inline]
fn word(header: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes([header[offset], header[offset + 1]])
}

#[inline]
fn set_word(header: &mut [u8], offset: usize, value: u16) {
    header[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
}

/// A length that was checked to fit a header's field.
#[inline]
fn length_field(len: usize) -> u16 {
    u16::try_from(len).expect("no packet here is longer than a frame, 65535 bytes")
}

/// Sets the IP packet's length and, of IPv4, the header checksum. `header` is the whole IP header, `len` the packet's.
#[inline]
fn finish_ip_header(header: &mut [u8], len: usize) {
    if header[0] >> 4 == 4 {
        set_word(header, ip::V4_TOTAL_LENGTH, length_field(len));
        set_word(header, ip::V4_CHECKSUM, 0);
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let sum = crate::checksum::Checksum::new().add_bytes(&header[..header_len]).finish();
        set_word(header, ip::V4_CHECKSUM, sum);
    } else {
        set_word(header, ip::V6_PAYLOAD_LENGTH, length_field(len - ip::V6_HEADER));
    }
}

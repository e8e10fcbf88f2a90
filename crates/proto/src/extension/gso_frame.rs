//! A packet of up to 64 KiB on the wire, still to be segmented: a virtio-net header and the packet.
//!
//! The header of a GSO frame is *canonical*: byte for byte the one that [`GsoPacket::header`] computes from the packet. So
//! code with a checked GSO frame may trust its header without reading the packet.

use super::{
    ExtensionError, kind,
    limits::{GSO_FRAME_HEADER, MAX_GSO_PACKET},
};
use crate::{
    frame::{LEN_PREFIX, length_prefix},
    offload::{GsoPacket, VirtioHeader},
};

/// The bytes of a GSO frame before its packet, the frame's length included.
pub const GSO_FRAME_PREFIX: usize = LEN_PREFIX + GSO_FRAME_HEADER;

/// The bytes before the packet that make it a GSO frame: frame length, type, canonical virtio-net header.
///
/// None if it is no GSO packet, is longer than [`MAX_GSO_PACKET`], or has not the sum of its pseudo-header
/// ([`GsoPacket::has_sum_of_pseudo_header`]), as with a routing header. Such a packet is sent as
/// [its segments](GsoPacket::write_frames).
#[inline]
pub fn gso_frame_prefix(packet: &GsoPacket<'_>) -> Option<[u8; GSO_FRAME_PREFIX]> {
    let len = packet.bytes().len();
    if !packet.needs_segmentation() || len > MAX_GSO_PACKET || !packet.has_sum_of_pseudo_header() {
        return None;
    }
    let mut prefix = [0; GSO_FRAME_PREFIX];
    let (length, rest) = prefix.split_at_mut(LEN_PREFIX);
    length.copy_from_slice(&length_prefix(GSO_FRAME_HEADER + len).ok()?);
    rest[0] = kind::GSO_FRAME;
    rest[1..].copy_from_slice(&packet.header().encode());
    Some(prefix)
}

/// Reads the payload of a GSO frame.
///
/// An accepted frame can be forwarded unchanged, and its segments have right checksums: that of the transport header starts
/// with the sum of the pseudo-header, which is checked here; that of the IPv4 header is computed for every segment. The
/// IPv4 header checksum of the packet itself is not checked, as of no other packet.
#[inline]
pub fn decode_gso_frame(payload: &[u8]) -> Result<GsoPacket<'_>, ExtensionError> {
    let Some((&kind::GSO_FRAME, body)) = payload.split_first() else {
        return Err(ExtensionError::Type);
    };
    let (header, packet) =
        VirtioHeader::split(body).ok_or(ExtensionError::Short { kind: "GSO frame" })?;
    if packet.len() > MAX_GSO_PACKET {
        return Err(ExtensionError::TooLong(packet.len()));
    }
    let checked = header.check(packet)?;
    if !checked.needs_segmentation() || checked.header() != header {
        return Err(ExtensionError::NotCanonical);
    }
    if !checked.has_sum_of_pseudo_header() {
        return Err(ExtensionError::PseudoHeader);
    }
    Ok(checked)
}

/// The IP packet in the payload of a checked frame: the payload itself, or the packet of a GSO frame. None for other
/// extension frames and an empty payload.
#[inline]
pub fn ip_packet(payload: &[u8]) -> Option<&[u8]> {
    payload.get(packet_start(payload)?..)
}

/// As [`ip_packet`], mutable.
#[inline]
pub fn ip_packet_mut(payload: &mut [u8]) -> Option<&mut [u8]> {
    payload.get_mut(packet_start(payload)?..)
}

/// The position of a packet of at least one byte.
#[inline]
fn packet_start(payload: &[u8]) -> Option<usize> {
    match payload.first()? {
        first if matches!(first >> 4, 4 | 6) => Some(0),
        &kind::GSO_FRAME if payload.len() > GSO_FRAME_HEADER => Some(GSO_FRAME_HEADER),
        _ => None,
    }
}

/// The number of IP packets that the payload of a checked frame stands for: the segments of a GSO frame
/// ([`GsoPacket::segments`]), else 1. At least 1 for any payload.
#[inline]
pub fn packets(payload: &[u8]) -> usize {
    let Some((&kind::GSO_FRAME, body)) = payload.split_first() else { return 1 };
    let Some((header, packet)) = VirtioHeader::split(body) else { return 1 };
    let data = packet.len().saturating_sub(usize::from(header.hdr_len));
    match usize::from(header.gso_size) {
        0 => 1,
        size => data.div_ceil(size).max(1),
    }
}

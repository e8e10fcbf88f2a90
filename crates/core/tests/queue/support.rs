//! Frames to queue, and helpers to send them.

#![allow(clippy::unwrap_used, reason = "a test that cannot make its frames has failed")]

use std::{io::IoSlice, net::Ipv4Addr, time::Duration};

use rtun_core::{FlowQueue, Lost, QueueLimits};
use rtun_proto::{
    checksum::Checksum,
    extension::GSO_FRAME_HEADER,
    frame::{Frames, write_frame},
    offload::{VirtioHeader, flag, gso_type},
    packet::protocol,
};

/// A sender.
pub(crate) const ONE: u64 = 1;
/// IPv4 and UDP.
pub(crate) const HEADERS: usize = 28;
/// ECN-capable transport (RFC 3168 section 5).
pub(crate) const ECT: u8 = 0b10;
/// Congestion experienced.
pub(crate) const CE: u8 = 0b11;

/// A UDP packet of `len` bytes, at least [`HEADERS`], of a flow by its source port.
pub(crate) fn packet(flow: u16, len: usize, fill: u8, ecn: u8) -> Vec<u8> {
    let mut bytes = vec![fill; len];
    bytes[..HEADERS].fill(0);
    bytes[0] = 0x45;
    bytes[1] = ecn;
    bytes[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
    bytes[8] = 64;
    bytes[9] = protocol::UDP;
    bytes[12..16].copy_from_slice(&Ipv4Addr::new(10, 0, 0, 1).octets());
    bytes[16..20].copy_from_slice(&Ipv4Addr::new(10, 0, 0, 2).octets());
    let sum = Checksum::new().add_bytes(&bytes[..20]).finish();
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes[20..22].copy_from_slice(&flow.to_be_bytes());
    bytes[24..26].copy_from_slice(&u16::try_from(len - 20).unwrap().to_be_bytes());
    bytes
}

/// A frame with such a packet.
pub(crate) fn frame(flow: u16, len: usize, fill: u8) -> Vec<u8> {
    frame_of(&packet(flow, len, fill, 0))
}

pub(crate) fn frame_of(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(payload, &mut frame).unwrap();
    frame
}

/// A GSO frame with such a packet, to be cut into pieces of `size` bytes.
pub(crate) fn gso_frame(flow: u16, len: usize, fill: u8, ecn: u8, size: u16) -> Vec<u8> {
    let header = VirtioHeader {
        flags: flag::NEEDS_CSUM,
        gso_type: gso_type::UDP_L4,
        hdr_len: u16::try_from(HEADERS).unwrap(),
        gso_size: size,
        csum_start: 20,
        csum_offset: 6,
    };
    let payload = [&[3][..], &header.encode(), &packet(flow, len, fill, ecn)].concat();
    assert_eq!(payload.len(), GSO_FRAME_HEADER + len);
    frame_of(&payload)
}

/// Staged bytes, of at most 1,024 pieces.
pub(crate) fn staged(queue: &FlowQueue) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 1024];
    let filled = queue.slices(&mut slices);
    assert!(filled < slices.len());
    slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
}

/// Sends everything staged and returns the frames.
pub(crate) fn send_staged(queue: &mut FlowQueue) -> Vec<Vec<u8>> {
    let bytes = staged(queue);
    queue.advance(bytes.len(), |_| {});
    split(&bytes)
}

pub(crate) fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Frames::new(bytes);
    let all = frames.by_ref().map(|frame| bytes[frame.range].to_vec()).collect();
    assert_eq!(frames.consumed(), bytes.len(), "a frame is cut");
    all
}

/// The flow of a frame made here.
pub(crate) fn flow_of(frame: &[u8]) -> u16 {
    let packet = rtun_proto::extension::ip_packet(&frame[2..]).unwrap();
    u16::from_be_bytes([packet[20], packet[21]])
}

pub(crate) fn nothing_lost(lost: Lost<'_>) {
    panic!("{lost:?}");
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn limits(bytes: usize, frames: usize) -> QueueLimits {
    QueueLimits { bytes, frames, ..QueueLimits::default() }
}

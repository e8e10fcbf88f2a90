//! Frames on a stream, and the IP packets in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtun_proto::{
    checksum::Checksum,
    frame::{FrameBuffer, Frames, LEN_PREFIX, write_frame},
    icmp::{MAX_V4, MAX_V6, Unreachable, quoted, unreachable},
    packet::{Packet, destination_is_never_routed, protocol, source_is_never_valid},
};

/// A stream of frames. The first byte is the number of bytes after it that set the lengths of reads; the rest is the stream.
pub fn frame_stream(bytes: &[u8]) {
    let Some((&reads, rest)) = bytes.split_first() else { return };
    let (reads, mut rest) = rest.split_at(rest.len().min(usize::from(reads % 16)));
    let (expected, expected_left) = slow_frames(rest);
    let mut reads = reads.iter().map(|n| usize::from(*n).pow(2)).chain(std::iter::repeat(4096));
    let mut buffer = FrameBuffer::with_capacity(0);
    let mut got = Vec::new();
    while !rest.is_empty() {
        let space = buffer.space();
        assert!(!space.is_empty(), "whole frames are consumed, so there is room");
        let n = space.len().min(rest.len()).min(reads.next().expect("endless") + 1);
        let (read, unread) = rest.split_at(n);
        space[..n].copy_from_slice(read);
        rest = unread;
        buffer.advance(n);
        let mut frames = Frames::new(buffer.filled());
        got.extend(frames.by_ref().map(|frame| frame.payload.to_vec()));
        let consumed = frames.consumed();
        buffer.consume(consumed);
    }
    assert_eq!(got, expected);
    assert_eq!(buffer.filled(), expected_left);

    let mut sent = Vec::new();
    let written = got.iter().filter(|payload| write_frame(payload, &mut sent).is_ok()).count();
    assert_eq!(written, got.iter().filter(|payload| !payload.is_empty()).count());
    assert!(Frames::new(&sent).all(|frame| !frame.payload.is_empty()));
}

/// The payloads of the whole frames, and the bytes after them.
fn slow_frames(mut bytes: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
    let mut payloads = Vec::new();
    while let [high, low, ..] = bytes {
        let len = usize::from(*high) * 256 + usize::from(*low);
        if bytes.len() < LEN_PREFIX + len {
            break;
        }
        payloads.push(bytes[LEN_PREFIX..LEN_PREFIX + len].to_vec());
        bytes = &bytes[LEN_PREFIX + len..];
    }
    (payloads, bytes)
}

/// The payload of a frame from an admitted host.
pub fn ip_header(bytes: &[u8]) {
    let Ok(packet) = Packet::parse(bytes) else { return };
    assert_eq!(packet.bytes(), &bytes[..packet.len()]);
    assert_eq!(packet.len() + packet.padding(), bytes.len());
    assert_eq!(Packet::parse(packet.bytes()).map(|again| again.padding()), Ok(0));
    let (source, destination) = (packet.source(), packet.destination());
    assert!(!source_is_never_valid(destination) || destination_is_never_routed(destination));
    assert!(packet.header_len() <= packet.len());
    assert_eq!(packet.flow_hash(1), packet.flow_hash(1));
    let _ = (packet.protocol(), packet.dscp_ecn(), packet.ttl());
    if let Some(upper) = packet.upper() {
        assert!(packet.bytes().ends_with(upper.payload));
        assert_eq!(packet.is_fragment(), upper.fragment.is_some());
    }
    let (hub, max): (IpAddr, usize) = match source {
        IpAddr::V4(_) => (Ipv4Addr::new(10, 0, 0, 1).into(), MAX_V4),
        IpAddr::V6(_) => (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(), MAX_V6),
    };
    for why in [Unreachable::Host, Unreachable::TooBig { mtu: 1420 }] {
        let Some(error) = unreachable(&packet, why, hub) else { continue };
        assert!(error.len() <= max);
        let error = Packet::parse(&error).expect("an ICMP error is a packet");
        assert_eq!((error.source(), error.destination()), (hub, source));
        assert_eq!(error.padding(), 0);
        assert_eq!(unreachable(&error, why, hub), None, "no error about an error");
        if let Some(quote) = quoted(&error) {
            assert_eq!((quote.source, quote.destination), (source, destination));
        }
    }
    let _ = quoted(&packet);
    // With a right checksum the quote is read too.
    let (mut error, header) = (packet.bytes().to_vec(), packet.header_len());
    let Some(sum) = error.get_mut(header + 2..header + 4) else { return };
    sum.fill(0);
    let sum = match (source, destination) {
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let len = u32::try_from(error.len() - header).expect("a packet is short");
            Checksum::new().pseudo_header_v6(from, to, protocol::ICMPV6, len)
        }
        _ => Checksum::new(),
    };
    let sum = sum.add_bytes(&error[header..]).finish();
    error[header + 2..header + 4].copy_from_slice(&sum.to_be_bytes());
    let _ = quoted(&Packet::parse(&error).expect("its header is the same"));
}

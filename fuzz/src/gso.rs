//! Packets that are still to be segmented, and the extension frames that carry them.

use rtun_proto::{
    extension::{Extension, ip_packet, ip_packet_mut, is_echo, is_extension, packets},
    frame::{Frames, LEN_PREFIX, MAX_FRAME},
    offload::{
        Coalescer, GsoPacket, MAX_HEADERS, MAX_MERGED, MAX_SEGMENTS, MAX_SLICES, VirtioHeader,
    },
    packet::{Ecn, Packet, ecn, mark_ce},
};

/// A virtio-net header and a packet, as a peer claims to have read them from its device.
pub fn virtio(bytes: &[u8]) {
    let Some((header, packet)) = VirtioHeader::split(bytes) else { return };
    let checked = match header.check(packet) {
        Ok(checked) => checked,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(checked.header().check(packet), Ok(checked), "the header is already right");
    let mut segments = Vec::new();
    checked.write_frames(&mut segments);
    assert!(segments.len() <= MAX_FRAME + MAX_SEGMENTS * (MAX_HEADERS + LEN_PREFIX));
    assert_eq!(segments.len(), checked.framed_len());

    let mut coalescer = Coalescer::new();
    let mut batch = coalescer.batch(&segments);
    for frame in Frames::new(&segments) {
        let segment = Packet::parse(frame.payload).expect("a segment is a packet");
        assert_eq!(segment.padding(), 0);
        batch.push(frame.range.start + LEN_PREFIX..frame.range.end);
    }
    let mut again = Vec::new();
    let mut packets = 0;
    for group in batch.finish() {
        assert!(group.packets() <= MAX_MERGED && group.slices().count() <= MAX_SLICES);
        packets += group.packets();
        let written: Vec<u8> = group.slices().flatten().copied().collect();
        let (header, packet) = VirtioHeader::split(&written).expect("a header is written first");
        header.check(packet).expect("a written header is right").write_frames(&mut again);
    }
    assert_eq!(packets, checked.segments());
    assert_eq!(again, segments, "joined packets are segmented to the same packets");
}

/// The payload of a frame between rtun ends, extension or not.
pub fn extension_frame(bytes: &[u8]) {
    let mut with_ce = bytes.to_vec();
    assert!(packets(bytes) >= 1);
    if let Some(packet) = ip_packet_mut(&mut with_ce) {
        let before = ecn(packet);
        assert_eq!(mark_ce(packet), before != Ecn::NotEct);
        assert_eq!(ecn(packet) == Ecn::Ce, before != Ecn::NotEct);
    }
    assert_eq!(ip_packet(&with_ce).map(<[u8]>::len), ip_packet(bytes).map(<[u8]>::len));
    let extension = match Extension::decode(bytes) {
        Ok(extension) => extension,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(is_extension(bytes));
    let mut again = Vec::new();
    if extension.write_frame(&mut again).is_err() {
        return assert!(matches!(extension, Extension::Unknown(kind) if kind == bytes[0]));
    }
    let mut frames = Frames::new(&again);
    let payload = frames.next().expect("one whole frame").payload;
    assert_eq!(frames.consumed(), again.len());
    if is_echo(bytes) {
        // Padding is written as zeros, and not looked at.
        assert_eq!(payload.len(), bytes.len());
        assert_eq!(Extension::decode(payload), Ok(extension));
        return;
    }
    // Bytes after the known fields are ignored.
    assert!(bytes.starts_with(payload));
    if let Extension::GsoFrame(packet) = &extension {
        assert_eq!(payload, bytes);
        assert_eq!(ip_packet(bytes), Some(packet.bytes()));
        assert_eq!(packets(bytes), packet.segments());
        segments_are_intact(packet);
        let Ok(Extension::GsoFrame(packet)) = Extension::decode(&with_ce) else {
            panic!("a GSO frame with a CE mark is a GSO frame")
        };
        segments_are_intact(&packet);
    }
}

/// Every segment of a GSO packet has right lengths and checksums, and together they carry its payload.
fn segments_are_intact(packet: &GsoPacket<'_>) {
    let mut segments = Vec::new();
    packet.write_frames(&mut segments);
    let start = usize::from(packet.header().csum_start);
    let headers = usize::from(packet.header().hdr_len);
    let mut data = packet.bytes()[headers..].to_vec();
    let mut count = 0;
    for frame in Frames::new(&segments) {
        let segment = frame.payload;
        let parsed = Packet::parse(segment).expect("a segment is a packet");
        assert_eq!(parsed.padding(), 0);
        let (addresses, protocol) = match parsed.version() {
            4 => {
                assert_eq!(slow_sum(&segment[..start]), 0xffff);
                (&segment[12..20], segment[9])
            }
            _ => (&segment[8..40], if headers - start == 8 { 17 } else { 6 }),
        };
        let len = u32::try_from(segment.len() - start).expect("at most a frame").to_be_bytes();
        let pseudo_header = [addresses, &len, &[0, 0, 0, protocol]].concat();
        assert_eq!(slow_sum(&[&pseudo_header, &segment[start..]].concat()), 0xffff);
        let own = data.drain(..segment.len() - headers);
        assert!(own.as_slice() == &segment[headers..]);
        count += 1;
    }
    assert!(data.is_empty());
    assert_eq!(count, packet.segments());
}

/// The one's complement sum of words of 16 bits, the carry put back after each (RFC 1071 section 1).
fn slow_sum(bytes: &[u8]) -> u16 {
    let mut sum: u16 = 0;
    for word in bytes.chunks(2) {
        let word = u16::from(word[0]) << 8 | word.get(1).map_or(0, |low| u16::from(*low));
        let (next, carry) = sum.overflowing_add(word);
        sum = next + u16::from(carry);
    }
    sum
}

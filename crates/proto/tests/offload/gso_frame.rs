//! GSO packets sent whole: the other end reads what one end writes, and refuses everything that no rtun writes.

use proptest::prelude::*;
use rtun_proto::{
    extension::{
        Extension, ExtensionEncodeError, ExtensionError, GSO_FRAME_HEADER, MAX_GSO_PACKET,
        decode_gso_frame, gso_frame_prefix, ip_packet, ip_packet_mut, is_extension, packets,
    },
    frame::{Frames, LEN_PREFIX},
    offload::{MAX_SEGMENTS, VirtioHeader, flag},
    packet::{Ecn, ecn, mark_ce},
};

use crate::{packets::*, segment::fields};

/// The payload of the GSO frame with `header` and `packet`.
fn payload(header: VirtioHeader, packet: &[u8]) -> Vec<u8> {
    [&[3][..], &header.encode(), packet].concat()
}

/// The packets a hub makes of a GSO frame.
fn segments(payload: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    decode_gso_frame(payload).unwrap().write_frames(&mut out);
    Frames::new(&out).map(|frame| frame.payload.to_vec()).collect()
}

/// Checks that the segments of an accepted frame are intact and that it is forwarded unchanged. Returns whether it was
/// accepted.
fn check_segments(received: &[u8]) -> bool {
    let Ok(checked) = decode_gso_frame(received) else { return false };
    assert_eq!(packets(received), checked.segments());
    assert_eq!(&checked.header().encode()[..], &received[1..GSO_FRAME_HEADER]);
    let data: Vec<u8> =
        segments(received).iter().flat_map(|packet| payload_of_intact(packet)).collect();
    assert!(checked.bytes().ends_with(&data));
    let mut written = Vec::new();
    Extension::GsoFrame(checked).write_frame(&mut written).unwrap();
    assert_eq!(&written[LEN_PREFIX..], received);
    true
}

/// Packets of several segments of this size.
fn super_fields() -> impl Strategy<Value = (Fields, u16)> {
    (fields(), 20_u16..3000).prop_filter("has to be cut", |(fields, size)| {
        let len = fields.payload.len();
        len > usize::from(*size) && len.div_ceil(usize::from(*size)) <= MAX_SEGMENTS
    })
}

proptest! {
    #[test]
    fn what_is_sent_is_read(
        (fields, size) in super_fields(),
        (hdr_len, is_valid) in (any::<u16>(), any::<bool>()),
    ) {
        // As a device may say it: the length of the headers is a hint.
        let flags = flag::NEEDS_CSUM | if is_valid { flag::DATA_VALID } else { 0 };
        let header = VirtioHeader { flags, hdr_len, ..fields.virtio(size) };
        let mut packet = fields.build_partial();
        let checked = header.check(&packet).unwrap();
        let frame = [&gso_frame_prefix(&checked).unwrap()[..], &packet].concat();
        let mut written = vec![9];
        Extension::GsoFrame(checked).write_frame(&mut written).unwrap();
        prop_assert_eq!(&written[1..], &frame);

        let frames: Vec<_> = Frames::new(&frame).map(|frame| frame.payload).collect();
        prop_assert_eq!(&frames, &[&frame[LEN_PREFIX..]]);
        let mut received = frames[0].to_vec();
        prop_assert_eq!(&received, &payload(fields.virtio(size), &packet));
        prop_assert!(is_extension(&received));
        prop_assert_eq!(decode_gso_frame(&received), Ok(checked));
        prop_assert_eq!(Extension::decode(&received), Ok(Extension::GsoFrame(checked)));
        prop_assert_eq!(segments(&received), fields.cut(usize::from(size)));
        prop_assert_eq!(packets(&received), checked.segments());
        prop_assert_eq!(ip_packet(&received), Some(&packet[..]));
        prop_assert_eq!(ip_packet_mut(&mut received), Some(&mut packet[..]));
    }

    #[test]
    fn segments_are_intact_whatever_a_stranger_sends(
        (fields, size) in super_fields(),
        changes in prop::collection::vec((0_usize..140, any::<u8>()), 0..4),
    ) {
        let mut received = payload(fields.virtio(size), &fields.build_partial());
        for (place, value) in changes {
            if let Some(byte) = received.get_mut(place) {
                *byte = value;
            }
        }
        check_segments(&received);
    }

    #[test]
    fn a_header_that_is_not_canonical_is_refused(
        (fields, size) in super_fields(),
        (byte, value) in (0_usize..10, any::<u8>()),
    ) {
        let mut received = payload(fields.virtio(size), &fields.build_partial());
        let before = received[1 + byte];
        received[1 + byte] = value;
        // Another segment size is another GSO frame; of all else there is one right value.
        let is_size = (4..6).contains(&byte);
        prop_assert!(decode_gso_frame(&received).is_err() || is_size || value == before);
    }

    #[test]
    fn a_mark_reaches_every_segment((fields, size) in super_fields()) {
        let mut received = payload(fields.virtio(size), &fields.build_partial());
        let marked = mark_ce(ip_packet_mut(&mut received).unwrap());
        prop_assert_eq!(marked, fields.dscp_ecn & 3 != 0);
        let dscp_ecn = fields.dscp_ecn | if marked { 3 } else { 0 };
        let expected = Fields { dscp_ecn, ..fields };
        prop_assert_eq!(ip_packet(&received).unwrap(), &expected.build_partial());
        for segment in segments(&received) {
            prop_assert_eq!(ecn(&segment) == Ecn::Ce, marked);
            payload_of_intact(&segment);
        }
    }

    #[test]
    fn any_bytes_are_survived(
        kind in prop_oneof![3 => Just(3), 1 => any::<u8>()],
        rest in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut bytes = [&[kind][..], &rest].concat();
        let _ = decode_gso_frame(&bytes);
        prop_assert!((1..=60).contains(&packets(&bytes)));
        let expected = match bytes[0] {
            3 => bytes.get(GSO_FRAME_HEADER..).filter(|packet| !packet.is_empty()),
            0x40..=0x4f | 0x60..=0x6f => Some(&bytes[..]),
            _ => None,
        };
        let mut expected = expected.map(<[u8]>::to_vec);
        prop_assert_eq!(ip_packet(&bytes), expected.as_deref());
        prop_assert_eq!(ip_packet_mut(&mut bytes), expected.as_deref_mut());
    }
}

/// Bits without a meaning, and extension headers in an unusual order, are repeated in every segment unchanged.
#[test]
fn what_is_reserved_is_repeated_in_every_segment() {
    let options = |v6| Fields { tcp_options: vec![1; 20], ..Fields::new(v6, TCP, data(1421, 1)) };
    let hop_by_hop = [60, 0, 1, 4, 0, 0, 0, 0];
    let extended = Fields {
        extensions: (0, [hop_by_hop, [TCP, 0, 1, 4, 0, 0, 0, 0]].concat()),
        ..options(true)
    };
    for (fields, place, value) in [
        // Reserved bits of the TCP header.
        (options(true), 40 + 12, 0xa2),
        (options(false), 20 + 12, 0xae),
        // The reserved bit before "do not fragment".
        (options(false), 6, 0xc0),
        // A second header of hop-by-hop options.
        (extended, 40, 0),
    ] {
        let mut received = payload(fields.virtio(20), &fields.build_partial());
        received[GSO_FRAME_HEADER + place] = value;
        assert!(check_segments(&received));
        for segment in segments(&received) {
            assert_eq!(segment[place], value);
        }
    }
}

#[test]
fn nothing_holds_no_packet() {
    assert_eq!(ip_packet(&[]), None);
    assert_eq!(ip_packet_mut(&mut []), None);
    assert_eq!(packets(&[]), 1);
    assert_eq!(decode_gso_frame(&[]), Err(ExtensionError::Type));
    assert_eq!(decode_gso_frame(&[4; 60]), Err(ExtensionError::Type));
    assert_eq!(
        decode_gso_frame(&[3; GSO_FRAME_HEADER - 1]),
        Err(ExtensionError::Short { kind: "GSO frame" })
    );
}

#[test]
fn a_packet_that_need_not_be_cut_is_none() {
    let fields = Fields::new(false, TCP, data(1000, 1));
    let packet = fields.build_partial();
    for header in [fields.virtio(0), fields.virtio(1000)] {
        assert_eq!(gso_frame_prefix(&header.check(&packet).unwrap()), None);
        assert_eq!(decode_gso_frame(&payload(header, &packet)), Err(ExtensionError::NotCanonical));
    }
    let finished = fields.build();
    let checked = VirtioHeader::default().check(&finished).unwrap();
    assert_eq!(gso_frame_prefix(&checked), None);
    let mut out = vec![1];
    let refused = Extension::GsoFrame(checked).write_frame(&mut out);
    assert_eq!((refused, out), (Err(ExtensionEncodeError::GsoFrame), vec![1]));
}

#[test]
fn the_longest_packet_fills_a_frame() {
    for (v6, protocol) in [(false, TCP), (true, TCP), (false, UDP), (true, UDP)] {
        let mut fields = Fields::new(v6, protocol, Vec::new());
        fields.payload = data(MAX_GSO_PACKET - fields.headers(), 1);
        let packet = fields.build_partial();
        let prefix = gso_frame_prefix(&fields.virtio(1400).check(&packet).unwrap()).unwrap();
        assert_eq!(prefix[..3], [0xff, 0xff, 3]);
        assert!(decode_gso_frame(&payload(fields.virtio(1400), &packet)).is_ok());

        fields.payload.push(0);
        let packet = fields.build_partial();
        let checked = fields.virtio(1400).check(&packet).unwrap();
        assert_eq!(gso_frame_prefix(&checked), None);
        assert_eq!(
            decode_gso_frame(&payload(fields.virtio(1400), &packet)),
            Err(ExtensionError::TooLong(MAX_GSO_PACKET + 1))
        );
    }
}

/// The checksums of segments start with the packet's field, so with a wrong one all of them would be wrong.
#[test]
fn the_sum_of_the_pseudo_header_is_compared() {
    for (v6, protocol, place) in
        [(false, TCP, 16), (true, TCP, 16), (false, UDP, 6), (true, UDP, 6)]
    {
        let fields = Fields::new(v6, protocol, data(3000, 1));
        let start = fields.transport();
        let header = fields.virtio(1000);
        // Bits of the sum, and of both addresses.
        let addresses = if v6 { 8..40 } else { 12..20 };
        for at in addresses.chain(start + place..start + place + 2) {
            let mut packet = fields.build_partial();
            packet[at] ^= 0x10;
            assert!(!header.check(&packet).unwrap().has_sum_of_pseudo_header());
            assert_eq!(gso_frame_prefix(&header.check(&packet).unwrap()), None);
            let refused = decode_gso_frame(&payload(header, &packet)).err();
            assert_eq!(refused, Some(ExtensionError::PseudoHeader), "byte {at}");
        }
        // What a finished packet holds is not what has to be completed.
        let refused = decode_gso_frame(&payload(header, &fields.build())).err();
        assert_eq!(refused, Some(ExtensionError::PseudoHeader));
    }
}

#[test]
fn the_ipv4_header_checksum_is_made_anew() {
    let mut fields = Fields::new(false, TCP, data(3000, 1));
    fields.ip_options = vec![1; 8];
    let mut packet = fields.build_partial();
    packet[10..12].copy_from_slice(&[0xde, 0xad]);
    let received = payload(fields.virtio(1000), &packet);
    assert_eq!(segments(&received), fields.cut(1000));
}

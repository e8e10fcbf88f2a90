//! The segments of a GSO packet are the packets that its sender would have sent without offload.

use proptest::prelude::*;
use rtun_proto::{
    frame::Frames,
    offload::{MAX_SEGMENTS, VirtioHeader, flag},
};

use crate::packets::*;

/// The packets written for a packet with this header.
fn segments(header: VirtioHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let checked = header.check(packet).unwrap();
    let mut out = b"before".to_vec();
    out.reserve(checked.framed_len());
    let capacity = out.capacity();
    checked.write_frames(&mut out);
    assert_eq!(out.capacity(), capacity, "the length was known before");
    assert_eq!(&out[..6], b"before");
    assert_eq!(out.len() - 6, checked.framed_len());
    let mut frames = Frames::new(&out[6..]);
    let packets: Vec<_> = frames.by_ref().map(|frame| frame.payload.to_vec()).collect();
    assert_eq!(frames.consumed(), out.len() - 6);
    assert_eq!(packets.len(), checked.segments());
    assert_eq!(packets.iter().map(Vec::len).max(), Some(checked.longest_segment()));
    let mut bare = vec![0; checked.packets_len() + 7];
    assert_eq!(checked.write_packets_to(&mut bare), checked.packets_len());
    assert_eq!(bare[..checked.packets_len()], packets.concat()[..]);
    let others = &packets[..packets.len() - 1];
    assert!(others.iter().all(|packet| packet.len() == checked.longest_segment()));
    packets
}

/// Extension headers before a transport header: hop-by-hop and destination options.
fn extensions(protocol: u8) -> (u8, Vec<u8>) {
    let hop_by_hop = [60, 0, 1, 4, 0, 0, 0, 0];
    let destination = [protocol, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    (0, [&hop_by_hop[..], &destination].concat())
}

/// Any packet that can be segmented, and some that are too small.
pub(crate) fn fields() -> impl Strategy<Value = Fields> {
    let ip = (any::<bool>(), prop::sample::select(vec![TCP, UDP]), any::<[u8; 2]>());
    let header = (any::<u8>(), any::<u16>(), prop::sample::select(vec![0, DF]), 0_usize..3);
    let flags = prop::sample::subsequence(vec![FIN, PSH, ACK, URG, ECE, CWR], 0..=6);
    let tcp = (any::<u32>(), any::<u32>(), flags, any::<[u16; 2]>(), 0_usize..=10);
    let payload = (0_usize..20_000, any::<u32>(), any::<[u16; 2]>());
    (ip, header, tcp, payload).prop_map(|(ip, header, tcp, (len, seed, ports))| {
        let (v6, protocol, hosts) = ip;
        let mut fields = Fields::new(v6, protocol, data(len, seed));
        (fields.hosts, fields.ports) = (hosts, ports);
        (fields.dscp_ecn, fields.id, fields.fragment) = (header.0, header.1, header.2);
        fields.ip_options = [1].repeat(4 * header.3);
        if header.3 > 0 {
            fields.extensions = extensions(protocol);
        }
        (fields.sequence, fields.acknowledgment) = (tcp.0, tcp.1);
        fields.flags = tcp.2.into_iter().sum();
        [fields.window, fields.urgent] = tcp.3;
        fields.tcp_options = [1].repeat(4 * tcp.4);
        fields
    })
}

proptest! {
    #[test]
    fn equal_those_of_a_sender_without_offload(fields in fields(), size in 20_u16..3000) {
        let header = fields.virtio(size);
        let cut = segments(header, &fields.build_partial());
        prop_assert_eq!(&cut, &fields.cut(usize::from(size)));
        let payload: Vec<u8> = cut.iter().flat_map(|packet| payload_of_intact(packet)).collect();
        prop_assert_eq!(payload, fields.payload);
    }

    #[test]
    fn a_partial_checksum_is_completed(fields in fields()) {
        let done = segments(fields.virtio(0), &fields.build_partial());
        prop_assert_eq!(done, [fields.build()]);
    }

    #[test]
    fn a_finished_packet_is_left_alone(fields in fields(), is_valid in any::<bool>()) {
        let flags = if is_valid { flag::DATA_VALID } else { 0 };
        let header = VirtioHeader { flags, ..VirtioHeader::default() };
        prop_assert_eq!(segments(header, &fields.build()), [fields.build()]);
    }

    #[test]
    fn the_header_for_the_device_is_that_of_the_sender(fields in fields(), size in 1_u16..3000) {
        prop_assume!(fields.payload.len().div_ceil(usize::from(size)) <= MAX_SEGMENTS);
        let packet = fields.build_partial();
        let lying = VirtioHeader {
            hdr_len: 7,
            flags: flag::NEEDS_CSUM | flag::DATA_VALID,
            ..fields.virtio(size)
        };
        let needs_segmentation = fields.payload.len() > usize::from(size);
        let expected = fields.virtio(if needs_segmentation { size } else { 0 });
        prop_assert_eq!(lying.check(&packet).unwrap().header(), expected);
    }
}

#[test]
fn full_gso_packets_of_each_kind() {
    for (v6, protocol) in [(false, TCP), (true, TCP), (false, UDP), (true, UDP)] {
        let mut fields = Fields::new(v6, protocol, Vec::new());
        fields.flags = ACK | PSH | FIN | CWR;
        fields.payload = data(65_535 - fields.headers(), 3);
        let cut = segments(fields.virtio(1388), &fields.build_partial());
        assert_eq!(cut, fields.cut(1388));
        assert_eq!(cut.len(), 48);
    }
}

/// A checksum of zero means "none" in UDP, so the other zero is sent.
#[test]
fn a_udp_checksum_of_zero_is_sent_as_ffff() {
    for v6 in [false, true] {
        let mut fields = Fields::new(v6, UDP, vec![0; 4]);
        let packet = fields.build();
        let checksum = &packet[fields.transport() + 6..fields.transport() + 8];
        fields.payload = [checksum, &[0, 0]].concat();
        let done = segments(fields.virtio(0), &fields.build_partial());
        assert_eq!(done[0][fields.transport() + 6..][..2], [0xff, 0xff]);
        assert_eq!(payload_of_intact(&done[0]), fields.payload);
    }
}

/// With a routing header the pseudo-header has the last destination (RFC 8200 section 8.1), as the sender knew.
#[test]
fn the_last_destination_of_a_routing_header_counts() {
    let mut fields = Fields::new(true, UDP, data(3000, 1));
    let last = [0xfd, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0x77];
    fields.extensions = (43, [&[UDP, 2, 4, 1, 0, 0, 0, 0][..], &last].concat());
    let mut packet = fields.build_partial();
    let start = fields.transport();
    let len = u16::try_from(packet.len() - start).unwrap();
    let source = packet[8..24].to_vec();
    let pseudo_header = |len: u16| [&source[..], &last, &len.to_be_bytes(), &[0, UDP]].concat();
    put(&mut packet[start + 6..], sum(&pseudo_header(len)));
    for segment in segments(fields.virtio(1000), &packet) {
        let len = u16::try_from(segment.len() - start).unwrap();
        assert_eq!(sum(&[&pseudo_header(len)[..], &segment[start..]].concat()), 0xffff);
    }
}

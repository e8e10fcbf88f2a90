//! Headers that do not belong to their packets.

use proptest::prelude::*;
use rtun_proto::{
    frame::{Frames, MAX_FRAME},
    offload::{
        Coalescer, MAX_HEADERS, MAX_SEGMENTS, OffloadError, VIRTIO_HEADER, VirtioHeader, flag,
        gso_type,
    },
    packet::{Packet, PacketError},
};

use crate::packets::*;

fn tcp() -> Fields {
    Fields::new(false, TCP, data(5000, 1))
}

fn refused(header: VirtioHeader, packet: &[u8]) -> OffloadError {
    header.check(packet).unwrap_err()
}

#[test]
fn the_bytes_are_those_of_linux() {
    let bytes = [1, 0x81, 66, 0, 0xa8, 5, 34, 0, 16, 0];
    let header = VirtioHeader {
        flags: flag::NEEDS_CSUM,
        gso_type: gso_type::TCPV4 | gso_type::ECN,
        hdr_len: 66,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
    };
    assert_eq!(VirtioHeader::decode(&bytes), header);
    assert_eq!(header.encode(), bytes);
    assert_eq!(VirtioHeader::split(&bytes), Some((header, &[][..])));
    assert_eq!(VirtioHeader::split(&bytes[..VIRTIO_HEADER - 1]), None);
}

#[test]
fn every_field_is_compared() {
    let (packet, header) = (tcp().build_partial(), tcp().virtio(1000));
    assert!(header.check(&packet).is_ok());
    let with = |change: &dyn Fn(&mut VirtioHeader)| {
        let mut header = header;
        change(&mut header);
        header.check(&packet).err()
    };
    for bit in [4, 8, 16, 32, 64, 128] {
        assert_eq!(with(&|h| h.flags |= bit), Some(OffloadError::Flags(1 | bit)));
    }
    assert_eq!(with(&|h| h.flags = 0), Some(OffloadError::NoChecksum));
    assert_eq!(with(&|h| h.flags = flag::DATA_VALID), Some(OffloadError::NoChecksum));
    for kind in [2, gso_type::UDP, gso_type::TCPV6, gso_type::UDP_L4, 6, 0x21, 0x80, 0x85, 0xff] {
        assert_eq!(with(&|h| h.gso_type = kind), Some(OffloadError::GsoType(kind)));
    }
    assert_eq!(with(&|h| h.gso_type |= gso_type::ECN), None);
    assert_eq!(with(&|h| h.csum_start = 22), Some(OffloadError::ChecksumPlace));
    assert_eq!(with(&|h| h.csum_start = 0), Some(OffloadError::ChecksumPlace));
    assert_eq!(with(&|h| h.csum_offset = 6), Some(OffloadError::ChecksumPlace));
    assert_eq!(with(&|h| h.gso_size = 0), Some(OffloadError::GsoSize(0)));
    assert_eq!(with(&|h| h.gso_size = 4), Some(OffloadError::GsoSize(4)));
    assert_eq!(with(&|h| h.gso_size = 5), None, "1000 segments");
    assert_eq!(with(&|h| h.hdr_len = 0xffff), None, "not relied on");
}

#[test]
fn the_packet_must_be_whole_and_allow_it() {
    let header = tcp().virtio(1000);
    let packet = tcp().build_partial();
    let padded = [&packet[..], &[0]].concat();
    assert_eq!(refused(header, &padded), OffloadError::Padding(1));
    assert_eq!(
        refused(header, &packet[..packet.len() - 1]),
        OffloadError::Packet(PacketError::LengthMismatch)
    );
    assert_eq!(refused(header, &[]), OffloadError::Packet(PacketError::Truncated));
    for fragment in [0x2000, 0x0001] {
        let fields = Fields { fragment, ..tcp() };
        assert_eq!(refused(header, &fields.build_partial()), OffloadError::Fragment);
    }
    for flags in [SYN, RST | ACK] {
        let fields = Fields { flags, ..tcp() };
        assert_eq!(refused(header, &fields.build_partial()), OffloadError::TcpFlags);
        assert!(fields.virtio(0).check(&fields.build_partial()).is_ok());
    }
    for (place, value) in [(32, 0x40), (32, 0xf0)] {
        let mut packet = Fields { payload: vec![1; 20], ..tcp() }.build_partial();
        packet[place] = value;
        assert_eq!(refused(header, &packet), OffloadError::TransportHeader);
    }
    let mut udp = Fields::new(true, UDP, data(3000, 1));
    let mut packet = udp.build_partial();
    packet[45] ^= 1;
    assert_eq!(refused(udp.virtio(0), &packet), OffloadError::TransportHeader);
    let mut packet = udp.build_partial();
    packet[6] = 58;
    assert_eq!(refused(udp.virtio(0), &packet), OffloadError::Protocol(58));
    udp.extensions = (44, vec![UDP, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(refused(udp.virtio(0), &udp.build_partial()), OffloadError::Fragment);
    udp.extensions = (51, vec![UDP, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(refused(udp.virtio(0), &udp.build_partial()), OffloadError::Protocol(51));
    udp.extensions = (60, [&[UDP, 31][..], &[0; 254]].concat());
    assert_eq!(refused(udp.virtio(1000), &udp.build_partial()), OffloadError::Headers(304));
    assert!(udp.virtio(0).check(&udp.build_partial()).is_ok());
}

#[test]
fn a_packet_that_fits_no_frame_is_refused() {
    let mut packet = vec![0; 65_536];
    packet[0] = 0x60;
    packet[4..6].copy_from_slice(&(65_536_u32 - 40).to_be_bytes()[2..]);
    packet[6] = 59;
    assert_eq!(refused(VirtioHeader::default(), &packet), OffloadError::TooBig(65_536));
    packet.pop();
    packet[4..6].copy_from_slice(&(65_535_u16 - 40).to_be_bytes());
    assert!(VirtioHeader::default().check(&packet).is_ok());
}

/// Everything that is accepted stays within the limits, as segments and as a packet for the device.
fn survives(header: VirtioHeader, packet: &[u8]) -> Result<(), TestCaseError> {
    let mut coalescer = Coalescer::new();
    let mut batch = coalescer.batch(packet);
    let pushed = batch.push_offload(header, 0..packet.len());
    let checked = header.check(packet);
    prop_assert_eq!(pushed.err(), checked.err());
    let Ok(checked) = checked else { return Ok(()) };
    let mut out = Vec::new();
    checked.write_frames(&mut out);
    prop_assert!(out.len() <= MAX_FRAME + MAX_SEGMENTS * (MAX_HEADERS + 2));
    for frame in Frames::new(&out) {
        prop_assert_eq!(Packet::parse(frame.payload).unwrap().padding(), 0);
    }
    let group = batch.finish().next().unwrap();
    prop_assert_eq!(group.header(), checked.header());
    let written: Vec<u8> = group.slices().skip(1).flatten().copied().collect();
    prop_assert_eq!(&written[..], packet);
    prop_assert_eq!(checked.header().check(packet).unwrap(), checked);
    Ok(())
}

proptest! {
    #[test]
    fn random_bytes_do_no_harm(header in any::<[u8; VIRTIO_HEADER]>(), packet: Vec<u8>) {
        survives(VirtioHeader::decode(&header), &packet)?;
    }

    #[test]
    fn random_changes_do_no_harm(
        (v6, protocol) in (any::<bool>(), prop::sample::select(vec![TCP, UDP])),
        (len, size) in (0_usize..9000, any::<u16>()),
        changes in prop::collection::vec((0_usize..100, any::<u8>()), 0..4),
    ) {
        let fields = Fields::new(v6, protocol, data(len, 1));
        let mut bytes = fields.virtio(size).encode().to_vec();
        bytes.extend(fields.build_partial());
        for (place, value) in changes {
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
        }
        let (header, packet) = VirtioHeader::split(&bytes).unwrap();
        survives(header, packet)?;
    }
}

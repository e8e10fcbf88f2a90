//! What a TAP device gives becomes the frames of a sender without offload, and what it is handed becomes the frames that came.

use proptest::prelude::*;
use rtun_proto::{
    ethernet::EthernetFrame,
    offload::{
        Coalescer, MAX_ETHERNET_HEADER, MAX_SLICES, OffloadError, VirtioHeader, flag, gso_type,
    },
};

use crate::{
    coalesce::{Written, expand, without_free_id},
    packets::*,
    segment::fields,
};

/// An Ethernet header for a packet, with this many VLAN tags.
fn header(stations: [u8; 2], v6: bool, tags: usize) -> Vec<u8> {
    let mut header = vec![2, 0, 0, 0, 0, stations[0], 2, 0, 0, 0, 0, stations[1]];
    (0..tags).for_each(|_| header.extend([0x81, 0, 0, 7]));
    header.extend(if v6 { [0x86, 0xdd] } else { [8, 0] });
    header
}

/// The frames that a frame of a device becomes, with room around each.
fn cut(given: VirtioHeader, frame: &[u8]) -> Result<Vec<Vec<u8>>, OffloadError> {
    const FRONT: usize = 5;
    const BACK: usize = 3;
    let mut frame = frame.to_vec();
    let checked = given.check_frame(&mut frame)?;
    let mut out = vec![0xee; checked.frames_len() + checked.frames() * (FRONT + BACK)];
    assert_eq!(checked.write_spaced_to(FRONT, BACK, &mut out), out.len());
    let frames: Vec<Vec<u8>> = checked.places(FRONT, BACK).map(|at| out[at].to_vec()).collect();
    assert_eq!(frames.len(), checked.frames());
    assert_eq!(frames.iter().map(Vec::len).sum::<usize>(), checked.frames_len());
    assert!(frames[..frames.len() - 1].iter().all(|frame| frame.len() == checked.longest()));
    assert!(frames.last().is_some_and(|frame| frame.len() <= checked.longest()));
    Ok(frames)
}

proptest! {
    #[test]
    fn a_frame_is_cut_as_its_packet(
        fields in fields(),
        size in 20_u16..3000,
        tags in 0_usize..3,
        stations in any::<[u8; 2]>(),
    ) {
        let ethernet = header(stations, fields.v6, tags);
        prop_assert!(ethernet.len() <= MAX_ETHERNET_HEADER);
        let mut given = fields.virtio(size);
        given.csum_start += u16::try_from(ethernet.len()).unwrap();
        let frames = cut(given, &[&ethernet[..], &fields.build_partial()].concat()).unwrap();
        let expected = fields.cut(usize::from(size));
        let expected: Vec<_> =
            expected.iter().map(|packet| [&ethernet[..], packet].concat()).collect();
        prop_assert_eq!(frames, expected);
    }

    #[test]
    fn a_checksum_alone_is_completed(fields in fields(), tags in 0_usize..3) {
        let ethernet = header([1, 2], fields.v6, tags);
        let given = VirtioHeader {
            flags: flag::NEEDS_CSUM,
            csum_start: u16::try_from(ethernet.len() + fields.transport()).unwrap(),
            csum_offset: if fields.protocol == TCP { 16 } else { 6 },
            ..VirtioHeader::default()
        };
        let frames = cut(given, &[&ethernet[..], &fields.build_partial()].concat()).unwrap();
        let packet = frames[0][ethernet.len()..].to_vec();
        prop_assert_eq!(payload_of_intact(&packet), fields.payload);
    }

    /// Nothing that a device gives does harm.
    #[test]
    fn any_header_and_any_bytes_are_cut_or_refused(
        given in any::<[u8; 10]>(),
        frame in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut given = VirtioHeader::decode(&given);
        let _ = cut(given, &frame);
        (given.flags, given.gso_type) = (flag::NEEDS_CSUM, gso_type::NONE);
        let _ = cut(given, &frame);
    }

    /// A mixture of flows between stations, of frames with tags and of others, arrives as it came.
    #[test]
    fn joined_frames_are_those_that_came(
        steps in prop::collection::vec((0_u8..3, 0_u8..2, 0_usize..9, 1_usize..4), 1..60),
        with_udp in any::<bool>(),
    ) {
        let mut sequences = [1_u32; 8];
        let mut frames: Vec<Vec<u8>> = Vec::new();
        for (station, flow, kind, times) in steps {
            for _ in 0..times {
                let protocol = if flow == 0 { TCP } else { UDP };
                let mut fields = Fields::new(station == 1, protocol, data(100, 7));
                let sequence = &mut sequences[usize::from(station * 2 + flow)];
                (fields.hosts, fields.ports) = ([station, 9], [u16::from(flow), 5]);
                (fields.sequence, fields.id) = (*sequence * 100, u16::try_from(*sequence).unwrap());
                *sequence += 1;
                let tags = usize::from(kind == 7);
                let mut frame = header([station, 0], fields.v6, tags);
                match kind {
                    // What is no IP packet, whatever it looks like, and one with bytes after it.
                    8 => frame[12..14].copy_from_slice(&[8, 6]),
                    6 => fields.payload.truncate(20),
                    _ => {}
                }
                frame.extend(fields.build());
                frame.extend(&[0; 3][..if kind == 5 { 3 } else { 0 }]);
                frames.push(frame);
            }
        }
        let mut buffer = Vec::new();
        let mut places = Vec::new();
        for frame in &frames {
            places.push(buffer.len()..buffer.len() + frame.len());
            buffer.extend(frame);
        }
        let mut coalescer = Coalescer::new().with_udp(with_udp);
        let (mut arrived, mut bytes) = (Vec::new(), 0);
        coalescer.join_frames(&buffer, places, |joined| {
            let slices: Vec<&[u8]> = joined.slices().collect();
            assert!(slices.len() <= MAX_SLICES + 1);
            let (header, whole) = (slices[0], slices[1..].concat());
            let header = VirtioHeader::decode(header.try_into().unwrap());
            bytes += joined.frames_len();
            if header == VirtioHeader::default() {
                assert_eq!(joined.frames(), 1);
                return arrived.push(whole);
            }
            let (ethernet, packet) = whole.split_at(14);
            let header = VirtioHeader {
                csum_start: header.csum_start - 14,
                hdr_len: header.hdr_len - 14,
                ..header
            };
            let group = Written { packets: joined.frames(), header, packet: packet.to_vec() };
            arrived.extend(expand(&group).iter().map(|packet| [ethernet, packet].concat()));
        });
        prop_assert_eq!(bytes, buffer.len());
        // Frames of one station keep their order in each flow: here each flow has its own sequence of contents.
        let of = |all: &[Vec<u8>], station: u8, udp: bool| -> Vec<Vec<u8>> {
            let of_flow = |frame: &&Vec<u8>| {
                let plain = EthernetFrame::parse(frame).unwrap();
                let packet = plain.payload();
                let protocol = if packet[0] >> 4 == 4 { packet[9] } else { packet[6] };
                frame[5] == station && (protocol == UDP) == udp
            };
            let comparable = |frame: &Vec<u8>| {
                let header = frame.len() - EthernetFrame::parse(frame).unwrap().payload().len();
                let (ethernet, packet) = frame.split_at(header);
                [ethernet, &without_free_id(packet)].concat()
            };
            all.iter().filter(of_flow).map(comparable).collect()
        };
        for (station, udp) in [(0, false), (0, true), (1, false), (1, true), (2, false), (2, true)] {
            prop_assert_eq!(of(&arrived, station, udp), of(&frames, station, udp));
        }
    }
}

#[test]
fn what_follows_on_each_other_between_two_stations_is_joined() {
    let mut buffer = Vec::new();
    let mut places = Vec::new();
    for n in 0..30_u16 {
        let mut fields = Fields::new(false, TCP, data(1000, 3));
        (fields.sequence, fields.id) = (u32::from(n) * 1000, n);
        // From the twentieth on it is another station's.
        let frame = [header([u8::from(n >= 20), 0], false, 0), fields.build()].concat();
        places.push(buffer.len()..buffer.len() + frame.len());
        buffer.extend(frame);
    }
    let mut sizes = Vec::new();
    Coalescer::new().join_frames(&buffer, places, |joined| sizes.push(joined.frames()));
    assert_eq!(sizes, [20, 10]);
}

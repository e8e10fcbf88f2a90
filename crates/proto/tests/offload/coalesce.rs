//! Joined packets, segmented again, are the received ones; and packets that Linux would join are joined.

use std::{collections::BTreeSet, net::IpAddr};

use proptest::prelude::*;
use rtun_proto::{
    frame::{Frames, LEN_PREFIX, write_frame},
    offload::{Coalescer, MAX_MERGED, MAX_SLICES, SLOTS, VIRTIO_HEADER, VirtioHeader, gso_type},
    packet::Packet,
};

use crate::packets::*;

/// A group as the device gets it.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) packets: usize,
    pub(crate) header: VirtioHeader,
    pub(crate) packet: Vec<u8>,
}

/// Gives complete packets in one receive buffer.
fn coalesce(coalescer: &mut Coalescer, packets: &[Vec<u8>]) -> Vec<Written> {
    let mut buffer = Vec::new();
    for packet in packets {
        write_frame(packet, &mut buffer).unwrap();
    }
    let mut batch = coalescer.batch(&buffer);
    for frame in Frames::new(&buffer) {
        batch.push(frame.range.start + LEN_PREFIX..frame.range.end);
    }
    let groups = batch.finish();
    groups
        .map(|group| {
            let slices: Vec<&[u8]> = group.slices().collect();
            assert!(slices.len() <= MAX_SLICES && group.packets() <= MAX_MERGED);
            assert!(slices.iter().all(|slice| !slice.is_empty()));
            let bytes = slices.concat();
            assert_eq!(bytes.len(), VIRTIO_HEADER + group.len());
            let (header, packet) = VirtioHeader::split(&bytes).unwrap();
            assert_eq!(header, group.header());
            Written { packets: group.packets(), header, packet: packet.to_vec() }
        })
        .collect()
}

fn shape(written: &[Written]) -> Vec<usize> {
    written.iter().map(|group| group.packets).collect()
}

fn joined(packets: &[Vec<u8>]) -> Vec<usize> {
    shape(&coalesce(&mut Coalescer::new(), packets))
}

/// The packets that a device makes of a group, computed slowly and only from its virtio-net header.
pub(crate) fn expand(group: &Written) -> Vec<Vec<u8>> {
    if group.header.gso_type == gso_type::NONE {
        assert_eq!((group.packets, group.header), (1, VirtioHeader::default()));
        return vec![group.packet.clone()];
    }
    let headers = usize::from(group.header.hdr_len);
    let start = usize::from(group.header.csum_start);
    let field = start + usize::from(group.header.csum_offset);
    let is_v4 = group.packet[0] >> 4 == 4;
    let addresses = if is_v4 { 12..20 } else { 8..40 };
    let protocol = if is_v4 { group.packet[9] } else { group.packet[6] };
    let pseudo_header = |packet: &[u8]| {
        let len = u16::try_from(packet.len() - start).unwrap();
        [&packet[addresses.clone()], &[0, protocol], &len.to_be_bytes()].concat()
    };
    let partial = u16::from_be_bytes([group.packet[field], group.packet[field + 1]]);
    assert_eq!(partial, sum(&pseudo_header(&group.packet)));

    let size = usize::from(group.header.gso_size);
    let chunks: Vec<_> = group.packet[headers..].chunks(size).collect();
    assert_eq!(chunks.len(), group.packets);
    let mut packets = Vec::new();
    for (n, chunk) in chunks.iter().enumerate() {
        let mut packet = [&group.packet[..headers], chunk].concat();
        let len = u16::try_from(packet.len()).unwrap();
        if is_v4 {
            put(&mut packet[2..], len);
            let id = u16::from_be_bytes([packet[4], packet[5]]);
            put(&mut packet[4..], id.wrapping_add(u16::try_from(n).unwrap()));
            put(&mut packet[10..], 0);
            let check = !sum(&packet[..20]);
            put(&mut packet[10..], check);
        } else {
            put(&mut packet[4..], len - 40);
        }
        if protocol == TCP {
            let sequence = u32::from_be_bytes(packet[start + 4..start + 8].try_into().unwrap());
            let sequence = sequence.wrapping_add(u32::try_from(n * size).unwrap());
            packet[start + 4..start + 8].copy_from_slice(&sequence.to_be_bytes());
            if n + 1 < chunks.len() {
                packet[start + 13] &= !(PSH | FIN);
            }
        } else {
            let len = u16::try_from(packet.len() - start).unwrap();
            put(&mut packet[start + 4..], len);
        }
        put(&mut packet[field..], 0);
        let check = !sum(&[pseudo_header(&packet), packet[start..].to_vec()].concat());
        put(&mut packet[field..], if check == 0 && protocol == UDP { 0xffff } else { check });
        packets.push(packet);
    }
    packets
}

/// The same through the code under test.
fn segment(group: &Written) -> Vec<Vec<u8>> {
    if group.packets == 1 {
        assert_eq!(group.header, VirtioHeader::default(), "nothing to do, not even to check");
        return vec![group.packet.clone()];
    }
    let mut out = Vec::new();
    let checked = group.header.check(&group.packet).unwrap();
    assert_eq!(checked.header(), group.header, "nothing is left to correct");
    checked.write_frames(&mut out);
    Frames::new(&out).map(|frame| frame.payload.to_vec()).collect()
}

/// A packet with "don't fragment" may have any identification (RFC 6864 section 4.1), so a fixed one may become a counted
/// one.
pub(crate) fn without_free_id(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

type Flow = (IpAddr, IpAddr, Option<(u8, Vec<u8>)>);

fn flow(packet: &[u8]) -> Flow {
    let packet = Packet::parse(packet).unwrap();
    let ports = packet.upper().and_then(|upper| match upper.protocol {
        TCP | UDP if upper.fragment.is_none() => {
            Some((upper.protocol, upper.payload.get(..4)?.to_vec()))
        }
        _ => None,
    });
    (packet.source(), packet.destination(), ports)
}

/// The packets of one flow, and those that could belong to it.
fn of_flow(packets: &[Vec<u8>], of: &Flow) -> Vec<Vec<u8>> {
    let may_be = |(source, destination, ports): Flow| {
        (source, destination) == (of.0, of.1) && (ports.is_none() || ports == of.2)
    };
    packets.iter().filter(|packet| may_be(flow(packet))).map(|p| without_free_id(p)).collect()
}

/// A receiver's view: all packets, those of each flow in order, for any segmentation of the groups.
fn check(packets: &[Vec<u8>], written: &[Written]) -> Result<(), TestCaseError> {
    let expanded: Vec<_> = written.iter().flat_map(expand).collect();
    let cut: Vec<_> = written.iter().flat_map(segment).collect();
    prop_assert_eq!(&cut, &expanded);
    let sorted = |packets: &[Vec<u8>]| {
        let mut packets: Vec<_> = packets.iter().map(|p| without_free_id(p)).collect();
        packets.sort();
        packets
    };
    prop_assert_eq!(sorted(packets), sorted(&expanded));
    for flow in packets.iter().map(|packet| flow(packet)).collect::<BTreeSet<_>>() {
        prop_assert_eq!(of_flow(packets, &flow), of_flow(&expanded, &flow));
    }
    Ok(())
}

/// A change of a flow's next packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twist {
    Nothing,
    Short,
    Long,
    NoData,
    Gap,
    Again,
    Flags(u8),
    Window,
    Acknowledgment,
    Urgent,
    TcpOptions,
    Ttl,
    DscpEcn,
    Id,
    NoDf,
    Fragment,
    ReservedBit,
    IpOptions,
    Extensions,
    BadChecksum,
    NoChecksum,
    BadIpChecksum,
    Padding,
    OtherProtocol,
}

fn twist() -> impl Strategy<Value = Twist> {
    use Twist::*;
    let flags = prop::sample::select(vec![FIN, SYN, RST, PSH, URG, ECE, CWR, ACK]).prop_map(Flags);
    let others = prop::sample::select(vec![
        Short,
        Long,
        NoData,
        Gap,
        Again,
        Window,
        Acknowledgment,
        Urgent,
        TcpOptions,
        Ttl,
        DscpEcn,
        Id,
        NoDf,
        Fragment,
        ReservedBit,
        IpOptions,
        Extensions,
        BadChecksum,
        NoChecksum,
        BadIpChecksum,
        Padding,
        OtherProtocol,
    ]);
    prop_oneof![6 => Just(Nothing), 1 => Just(Short), 1 => flags, 3 => others]
}

/// A sender that continues its flow.
struct Sender {
    fields: Fields,
    size: usize,
    fixed_id: bool,
    sent: u32,
}

impl Sender {
    fn new(n: u8, size: usize) -> Self {
        let protocol = if n & 2 == 0 { TCP } else { UDP };
        let mut fields = Fields::new(n & 1 != 0, protocol, Vec::new());
        // Pairs of flows share their addresses.
        fields.hosts = [1, n & 4];
        fields.ports[0] = u16::from(n);
        fields.fragment = if n & 8 == 0 { DF } else { 0 };
        Self { fields, size, fixed_id: n & 12 == 4, sent: 0 }
    }

    fn send(&mut self, twist: Twist) -> Vec<u8> {
        let fields = &mut self.fields;
        let base = fields.clone();
        let mut len = self.size;
        match twist {
            Twist::Short => len = len / 2 + 1,
            Twist::Long => len += 100,
            Twist::NoData => len = 0,
            Twist::Gap => fields.sequence = fields.sequence.wrapping_add(3),
            Twist::Again => fields.sequence = fields.sequence.wrapping_sub(3),
            Twist::Flags(flags) => fields.flags ^= flags,
            Twist::Window => fields.window += 1,
            Twist::Acknowledgment => fields.acknowledgment += 1,
            Twist::Urgent => fields.urgent = 1,
            Twist::TcpOptions => fields.tcp_options = vec![1; 12],
            Twist::Ttl => fields.ttl -= 1,
            Twist::DscpEcn => fields.dscp_ecn |= 3,
            Twist::Id => fields.id = fields.id.wrapping_add(5),
            Twist::NoDf => fields.fragment ^= DF,
            Twist::Fragment => fields.fragment |= 0x2000,
            Twist::ReservedBit => fields.fragment |= 0x8000,
            Twist::IpOptions => fields.ip_options = vec![1; 4],
            Twist::Extensions => {
                fields.extensions = (60, vec![fields.protocol, 0, 1, 4, 0, 0, 0, 0]);
            }
            _ => {}
        }
        self.sent += 1;
        fields.payload = data(len, self.sent);
        let mut packet = fields.build();
        let start = fields.transport();
        match twist {
            Twist::BadChecksum => *packet.last_mut().unwrap() ^= 1,
            Twist::NoChecksum if fields.protocol == UDP => packet[start + 6..start + 8].fill(0),
            Twist::BadIpChecksum if !fields.v6 => packet[10] ^= 1,
            Twist::Padding => packet.push(0),
            Twist::OtherProtocol if fields.v6 => packet[6] = 58,
            Twist::OtherProtocol => packet[9] = 1,
            _ => {}
        }
        let (sequence, id) = (fields.sequence, fields.id);
        *fields = base;
        fields.sequence = sequence.wrapping_add(u32::try_from(len).unwrap());
        fields.id = if self.fixed_id { id } else { id.wrapping_add(1) };
        packet
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_changed_lost_or_reordered(
        size in prop::sample::select(vec![1_usize, 101, 1000]),
        flows in 1_u8..16,
        steps in prop::collection::vec((any::<u8>(), twist()), 1..120),
        swaps in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        max in prop::sample::select(vec![1000, 5000, 65_535]),
    ) {
        let mut senders: Vec<_> = (0..flows).map(|n| Sender::new(n, size)).collect();
        let mut packets: Vec<_> =
            steps.iter().map(|(n, twist)| senders[usize::from(n % flows)].send(*twist)).collect();
        for at in swaps {
            let at = at.index(packets.len());
            let other = (at + 1) % packets.len();
            packets.swap(at, other);
        }
        let mut coalescer = Coalescer::new().with_max_packet(max);
        for _ in 0..2 {
            let written = coalesce(&mut coalescer, &packets);
            prop_assert!(written.iter().all(|group| group.packets == 1 || group.packet.len() <= max));
            check(&packets, &written)?;
        }
    }
}

/// A flow of full packets, `n & 1` IPv6, `n & 2` UDP.
fn run(n: u8, size: usize, count: usize) -> Vec<Vec<u8>> {
    let mut sender = Sender::new(n, size);
    (0..count).map(|_| sender.send(Twist::Nothing)).collect()
}

#[test]
fn a_flow_becomes_as_few_packets_as_their_length_allows() {
    for n in 0..16 {
        assert_eq!(joined(&run(n, 1388, 60)), [47, 13], "flow {n}");
        assert_eq!(joined(&run(n, 100, 130)), [MAX_MERGED, MAX_MERGED, 2], "flow {n}");
    }
}

#[test]
fn interleaved_flows_are_joined_each_by_itself() {
    let flows: Vec<_> = (0..16).map(|n| run(n, 500, 20)).collect();
    let packets: Vec<_> =
        (0..20).flat_map(|k| flows.iter().map(move |flow| flow[k].clone())).collect();
    let written = coalesce(&mut Coalescer::new(), &packets);
    assert_eq!(shape(&written), [20; SLOTS]);
    check(&packets, &written).unwrap();
}

#[test]
fn one_flow_more_than_slots_ends_only_one_of_them() {
    let mut packets: Vec<_> = (0..16).flat_map(|n| run(n, 500, 2)).collect();
    packets.extend(run(16, 500, 2));
    let mut more: Vec<_> = (0..16).map(|n| run(n, 500, 3).pop().unwrap()).collect();
    more.rotate_left(1);
    packets.extend(more);
    let written = coalesce(&mut Coalescer::new(), &packets);
    check(&packets, &written).unwrap();
    assert_eq!(shape(&written), [&[2][..], &[3; 15], &[2, 1]].concat());
}

#[test]
fn each_difference_ends_the_group_and_the_flow_goes_on() {
    use Twist::*;
    // What the third of five packets has, and what the five become, for IPv4 TCP with counting identifications.
    for (twist, expected) in [
        (Nothing, &[5][..]),
        (Short, &[3, 2]),
        (Flags(PSH), &[3, 2]),
        (Long, &[2, 3]),
        (NoData, &[2, 1, 2]),
        (Gap, &[2, 3]),
        (Again, &[2, 3]),
        (Flags(FIN), &[2, 1, 2]),
        (Flags(CWR), &[2, 1, 2]),
        (Flags(URG), &[2, 1, 2]),
        (Flags(ECE), &[2, 1, 2]),
        (Flags(ACK), &[2, 1, 2]),
        (Window, &[2, 1, 2]),
        (Acknowledgment, &[2, 1, 2]),
        (Urgent, &[2, 1, 2]),
        (TcpOptions, &[2, 1, 2]),
        (Ttl, &[2, 1, 2]),
        (DscpEcn, &[2, 1, 2]),
        (Id, &[2, 3]),
        (NoDf, &[2, 1, 2]),
        (Fragment, &[2, 1, 2]),
        (ReservedBit, &[2, 1, 2]),
        (IpOptions, &[2, 1, 2]),
        (BadChecksum, &[2, 1, 2]),
        (BadIpChecksum, &[2, 1, 2]),
        (Padding, &[2, 1, 2]),
        (OtherProtocol, &[2, 1, 2]),
    ] {
        let mut sender = Sender::new(0, 700);
        let twists = [Nothing, Nothing, twist, Nothing, Nothing];
        let packets: Vec<_> = twists.into_iter().map(|twist| sender.send(twist)).collect();
        let written = coalesce(&mut Coalescer::new(), &packets);
        check(&packets, &written).unwrap();
        // A longer packet begins a group whose next packets are shorter, which ends it.
        let expected = if twist == Long { &[2, 2, 1][..] } else { expected };
        assert_eq!(shape(&written), expected, "{twist:?}");
    }
}

#[test]
fn identifications_stay_or_count_but_only_stay_with_df() {
    let ids = |fragment: u16, ids: &[u16]| {
        let mut sender = Sender::new(0, 700);
        sender.fields.fragment = fragment;
        let mut send = |id: &u16| {
            sender.fields.id = *id;
            sender.send(Twist::Nothing)
        };
        joined(&ids.iter().map(&mut send).collect::<Vec<_>>())
    };
    assert_eq!(ids(DF, &[7, 7, 7, 7]), [4]);
    assert_eq!(ids(DF, &[0xffff, 0, 1]), [3]);
    assert_eq!(ids(DF, &[7, 8, 8, 8]), [2, 2]);
    assert_eq!(ids(DF, &[7, 7, 8, 9]), [2, 2]);
    assert_eq!(ids(0, &[0xffff, 0, 1]), [3]);
    assert_eq!(ids(0, &[7, 7, 8]), [1, 2]);
}

#[test]
fn udp_is_left_alone_when_asked() {
    let mut coalescer = Coalescer::new().with_udp(false);
    for n in 0..4 {
        let written = coalesce(&mut coalescer, &run(n, 700, 5));
        assert_eq!(shape(&written), if n & 2 == 0 { vec![5] } else { vec![1; 5] });
    }
}

/// Two packets from a local sender, a GSO packet of the same flow, and another packet.
#[test]
fn packets_with_partial_checksums_join_and_gso_packets_keep_their_place() {
    for n in 0..4 {
        let mut sender = Sender::new(n, 700);
        let mut buffer = Vec::new();
        let mut expected = Vec::new();
        let mut parts = Vec::new();
        for size in [0, 0, 700, 0] {
            let mut fields = sender.fields.clone();
            fields.payload = data(if size > 0 { 2100 } else { 700 }, 9);
            parts.push((fields.virtio(size), buffer.len()..buffer.len() + fields.build().len()));
            buffer.extend(fields.build_partial());
            let cut = fields.cut(700);
            sender.fields.id = sender.fields.id.wrapping_add(u16::try_from(cut.len()).unwrap());
            let len = u32::try_from(fields.payload.len()).unwrap();
            sender.fields.sequence = sender.fields.sequence.wrapping_add(len);
            expected.extend(cut);
        }
        let mut coalescer = Coalescer::new();
        let mut batch = coalescer.batch(&buffer);
        for (header, range) in parts.clone() {
            batch.push_offload(header, range).unwrap();
        }
        let wrong = VirtioHeader { csum_start: 3, ..parts[0].0 };
        assert!(batch.push_offload(wrong, parts[0].1.clone()).is_err());
        let mut out = Vec::new();
        let mut packets = Vec::new();
        for group in batch.finish() {
            packets.push(group.packets());
            let bytes: Vec<u8> = group.slices().flatten().copied().collect();
            let (header, packet) = VirtioHeader::split(&bytes).unwrap();
            header.check(packet).unwrap().write_frames(&mut out);
        }
        assert_eq!(packets, [2, 1, 1]);
        let got: Vec<_> = Frames::new(&out).map(|frame| frame.payload.to_vec()).collect();
        assert_eq!(got, expected);
    }
}

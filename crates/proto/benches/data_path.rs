//! The work of the data path for every packet: frames, checksum, segmentation, coalescing, GSO frames, CE marks.

use std::{hint::black_box, net::Ipv4Addr};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rtun_proto::{
    checksum::Checksum,
    extension::{decode_gso_frame, gso_frame_prefix, ip_packet, packets},
    frame::{Frames, LEN_PREFIX, write_frame},
    offload::{Coalescer, VirtioHeader, flag, gso_type},
    packet::mark_ce,
};

/// The bytes of one large read.
const BATCH: usize = 64 * 1024;
/// The payload of a TCP segment with timestamps at an MTU of 1,500.
const MSS: u16 = 1448;
/// IPv4 and TCP with timestamps.
const HEADERS: usize = 20 + 32;

criterion_group!(benches, frames, checksum, segment, coalesce, gso_frame, ce_mark);
criterion_main!(benches);

fn bytes(len: usize) -> Throughput {
    Throughput::Bytes(u64::try_from(len).expect("a length in memory"))
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frames");
    for size in [64, 1400] {
        let mut stream = Vec::new();
        while stream.len() + LEN_PREFIX + size <= 4 * BATCH {
            write_frame(&vec![0x45; size], &mut stream).expect("a packet fits a frame");
        }
        let count = stream.len() / (LEN_PREFIX + size);
        group.throughput(Throughput::Elements(u64::try_from(count).expect("a small number")));
        group.bench_with_input(BenchmarkId::from_parameter(size), &stream, |b, stream| {
            b.iter(|| {
                let mut frames = Frames::new(black_box(stream));
                let first_bytes: usize =
                    frames.by_ref().map(|frame| usize::from(frame.payload[0])).sum();
                (first_bytes, frames.consumed())
            });
        });
    }
}

fn checksum(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for size in [64, 1400, 65_000] {
        let data = vec![0xa5; size];
        group.throughput(bytes(size));
        group.bench_with_input(BenchmarkId::from_parameter(size), &data, |b, data| {
            b.iter(|| Checksum::new().add_bytes(black_box(data)).finish());
        });
    }
}

fn segment(c: &mut Criterion) {
    let (header, packet) = gso_packet(1000, BATCH - 1 - HEADERS);
    let mut group = c.benchmark_group("segment");
    group.throughput(bytes(packet.len()));
    let mut out = Vec::new();
    group.bench_function("64 KiB TCP into 1448", |b| {
        b.iter(|| {
            out.clear();
            let header = black_box(&header);
            header.check(black_box(&packet)).expect("a right header").write_frames(&mut out);
            out.len()
        });
    });
}

fn coalesce(c: &mut Criterion) {
    let mut group = c.benchmark_group("coalesce");
    for flows in [1, 4] {
        let stream = interleaved(flows, BATCH);
        group.throughput(bytes(stream.len()));
        let mut coalescer = Coalescer::new();
        group.bench_with_input(BenchmarkId::new("64 KiB, flows", flows), &stream, |b, stream| {
            b.iter(|| {
                let mut batch = coalescer.batch(black_box(stream));
                for frame in Frames::new(stream) {
                    batch.push(frame.range.start + LEN_PREFIX..frame.range.end);
                }
                let groups = batch.finish();
                assert_eq!(groups.len(), usize::from(flows));
                groups.map(|group| group.slices().count()).sum::<usize>()
            });
        });
    }
}

fn gso_frame(c: &mut Criterion) {
    let (header, packet) = gso_packet(1000, 60_000);
    let mut group = c.benchmark_group("GSO frame");
    let checked = header.check(&packet).expect("a right header");
    let prefix = gso_frame_prefix(&checked).expect("a GSO packet");
    let payload = [&prefix[LEN_PREFIX..], &packet].concat();
    group.bench_function("prefix", |b| b.iter(|| gso_frame_prefix(black_box(&checked))));
    group.bench_function("decode_gso_frame", |b| {
        b.iter(|| decode_gso_frame(black_box(&payload)).expect("a GSO frame").needs_segmentation());
    });
    group.bench_function("packets", |b| {
        b.iter(|| packets(black_box(&payload)));
    });
    group.bench_function("ip_packet", |b| {
        b.iter(|| ip_packet(black_box(&payload)).map(<[u8]>::len));
    });
}

fn ce_mark(c: &mut Criterion) {
    let mut group = c.benchmark_group("mark_ce");
    let (_, v4) = gso_packet(1000, 1400);
    let v6 = [&[0x60, 0x20, 0, 0][..], &[0; 1400]].concat();
    for (name, mut packet) in [("IPv4", v4), ("IPv6", v6)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                // ECT(0) again, so that there is a CE mark to set.
                if packet[0] >> 4 == 4 {
                    packet[1] = 2;
                } else {
                    packet[1] = 0x20;
                }
                mark_ce(black_box(&mut packet))
            });
        });
    }
}

/// Frames of segments of this number of flows in turn, about `len` bytes together.
fn interleaved(flows: u16, len: usize) -> Vec<u8> {
    let each = (len - 1) / usize::from(flows) - HEADERS;
    let streams: Vec<Vec<u8>> = (0..flows)
        .map(|flow| {
            let (header, packet) = gso_packet(1000 + flow, each);
            let mut out = Vec::new();
            header.check(&packet).expect("a right header").write_frames(&mut out);
            out
        })
        .collect();
    let mut walks: Vec<_> = streams.iter().map(|stream| Frames::new(stream)).collect();
    let mut out = Vec::new();
    loop {
        let before = out.len();
        for frame in walks.iter_mut().filter_map(Iterator::next) {
            write_frame(frame.payload, &mut out).expect("a packet fits a frame");
        }
        if out.len() == before {
            return out;
        }
    }
}

/// A GSO packet of TCP over IPv4 as a device gives it.
fn gso_packet(port: u16, payload: usize) -> (VirtioHeader, Vec<u8>) {
    let len = u16::try_from(HEADERS + payload).expect("at most 64 KiB");
    let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let mut packet = vec![0x45, 2];
    packet.extend(len.to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(port.to_be_bytes());
    packet.extend([0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x10, 1, 0xf4]);
    let pseudo_header = Checksum::new().pseudo_header_v4(from, to, 6, len - 20).finish();
    packet.extend((!pseudo_header).to_be_bytes());
    packet.extend([0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    packet.extend((0_u32..).flat_map(u32::to_be_bytes).take(payload));
    let header = VirtioHeader {
        flags: flag::NEEDS_CSUM,
        gso_type: gso_type::TCPV4,
        hdr_len: u16::try_from(HEADERS).expect("a small number"),
        gso_size: MSS,
        csum_start: 20,
        csum_offset: 16,
    };
    (header, packet)
}

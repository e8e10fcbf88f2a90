//! What each fuzz target does with its input, callable without a fuzzer.
//!
//! A target panics when something does not hold; that an input is refused is fine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

mod tls;

pub use tls::{tls_headers, tls_messages, tls_opener, tls_padding};

use rtun_core::{
    Matcher, Parsed, TooManyRows,
    limit::LimitScope,
    parse_connection_limits, parse_matchers, parse_request_limits, parse_traffic_limits, parse_routes, parse_rules, parse_users,
};
use rtun_proto::{
    checksum::Checksum,
    extension::{Extension, ip_packet, ip_packet_mut, is_extension, packets},
    frame::{FrameBuffer, Frames, LEN_PREFIX, MAX_FRAME, write_frame},
    icmp::{MAX_V4, MAX_V6, Unreachable, quoted, unreachable},
    mux::{self, Command, Decoder, Event, Version},
    offload::{
        Coalescer, GsoPacket, MAX_HEADERS, MAX_MERGED, MAX_SEGMENTS, MAX_SLICES, VirtioHeader,
    },
    packet::{
        Ecn, Packet, destination_is_never_routed, ecn, mark_ce, protocol, source_is_never_valid,
    },
    proxy::{header, http_connect, socks5},
    relay::{DecodeError, Decoded, MAX_REQUEST, Request, Response},
};
use rtun_transport::{
    grpc::chunk,
    ws::{frame, upgrade},
};

/// A target: its name, which is also that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 22] = [
    ("relay_request", relay_request),
    ("relay_response", relay_response),
    ("frame_stream", frame_stream),
    ("ip_header", ip_header),
    ("virtio", virtio),
    ("extension_frame", extension_frame),
    ("smux_frames", smux_frames),
    ("proxy_reply", proxy_reply),
    ("proxy_preamble", proxy_preamble),
    ("config_yaml", config_yaml),
    ("cli_url", cli_url),
    ("routes_text", routes_text),
    ("ingress_text", ingress_text),
    ("auth_text", auth_text),
    ("admission_text", admission_text),
    ("limits_text", limits_text),
    ("ws_frames", ws_frames),
    ("ws_upgrade", ws_upgrade),
    ("grpc_chunks", grpc_chunks),
    ("tls_headers", tls_headers),
    ("tls_padding", tls_padding),
    ("tls_messages", tls_messages),
    ("tls_opener", tls_opener),
];

/// A stranger's first bytes at a hub.
pub fn relay_request(bytes: &[u8]) {
    let Some(request) = decoded(bytes, Request::decode) else { return };
    let again = request.encode().expect("what fitted in a message fits in one");
    assert_eq!(decoded(&again, Request::decode).as_ref(), Some(&request));
    let association = request.association();
    assert!(association.host.len() <= 255);
    let shown = format!("{request:?} {association:?}");
    assert!(shown.len() < 64 * 1024, "at most a few characters for each byte");
    let asked = Request::associate(&association);
    let bytes = asked.encode().expect("one of each feature fits in a message");
    assert_eq!(decoded(&bytes, Request::decode), Some(asked));
}

/// A hub's first bytes at a host.
pub fn relay_response(bytes: &[u8]) {
    let Some(response) = decoded(bytes, Response::decode) else { return };
    let again = response.encode().expect("what fitted in a message fits in one");
    assert_eq!(decoded(&again, Response::decode).as_ref(), Some(&response));
    if let Some(id) = response.connector_id() {
        assert_ne!(id.rtun_version(), Some(0));
    }
    let _ = format!("{response:?} {}", response.status);
}

/// The message at the beginning of `bytes`, if a whole one is there, after checking the bounds of the answer.
fn decoded<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, DecodeError>,
) -> Option<T> {
    match decode(bytes) {
        Ok(Decoded::Complete { value, len }) => {
            assert!(len <= bytes.len() && len <= MAX_REQUEST);
            for cut in [0, 1, 3, 4, len / 2, len - 1] {
                match decode(&bytes[..cut.min(len - 1)]) {
                    Ok(Decoded::Incomplete { needed }) => assert!(needed > cut.min(len - 1)),
                    other => panic!("{other:?} of the beginning of a message"),
                }
            }
            Some(value)
        }
        Ok(Decoded::Incomplete { needed }) => {
            assert!(needed > bytes.len() && needed <= MAX_REQUEST);
            None
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

/// A stream of frames. The first byte tells how many of the next ones say where reads end; the rest is the stream.
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

/// The payloads of the whole frames, and the bytes behind them.
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
    // With a right checksum what it quotes counts.
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

/// A packet behind a virtio-net header, as another host says it came from its device.
pub fn virtio(bytes: &[u8]) {
    let Some((header, packet)) = VirtioHeader::split(bytes) else { return };
    let checked = match header.check(packet) {
        Ok(checked) => checked,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(checked.header().check(packet), Ok(checked), "nothing is left to correct");
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
        header.check(packet).expect("what is written is right").write_frames(&mut again);
    }
    assert_eq!(packets, checked.segments());
    assert_eq!(again, segments, "what was joined is cut to the same");
}

/// The payload of a frame between rtun ends, extension or not.
pub fn extension_frame(bytes: &[u8]) {
    let mut marked = bytes.to_vec();
    assert!(packets(bytes) >= 1);
    if let Some(packet) = ip_packet_mut(&mut marked) {
        let before = ecn(packet);
        assert_eq!(mark_ce(packet), before != Ecn::NotEct);
        assert_eq!(ecn(packet) == Ecn::Ce, before != Ecn::NotEct);
    }
    assert_eq!(ip_packet(&marked).map(<[u8]>::len), ip_packet(bytes).map(<[u8]>::len));
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
    // What is behind the known fields is ignored.
    assert!(bytes.starts_with(payload));
    if let Extension::GsoFrame(packet) = &extension {
        assert_eq!(payload, bytes);
        assert_eq!(ip_packet(bytes), Some(packet.bytes()));
        assert_eq!(packets(bytes), packet.segments());
        segments_are_intact(packet);
        let Ok(Extension::GsoFrame(packet)) = Extension::decode(&marked) else {
            panic!("a mark leaves a GSO frame one")
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

/// What the other end of a multiplexed session sends. The first byte tells the version and how many of the next ones say
/// where reads end; the rest is the stream.
pub fn smux_frames(bytes: &[u8]) {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let version = if first & 0x80 == 0 { Version::One } else { Version::Two };
    let (reads, mut rest) = rest.split_at(rest.len().min(usize::from(first % 16)));
    let expected = slow_smux(version, rest);
    let mut reads = reads.iter().map(|n| usize::from(*n)).chain(std::iter::repeat(4096));
    let mut decoder = Decoder::new(version);
    let mut got = Vec::new();
    while !rest.is_empty() {
        let (mut read, unread) = rest.split_at(rest.len().min(reads.next().expect("endless") + 1));
        rest = unread;
        loop {
            match decoder.next(&mut read) {
                Ok(Some(Event::Psh(id, payload))) => {
                    assert!(!payload.is_empty());
                    got.extend(payload.iter().map(|byte| (Command::Psh, id, u64::from(*byte))));
                }
                Ok(Some(Event::Syn(id))) => got.push((Command::Syn, id, 0)),
                Ok(Some(Event::Fin(id))) => got.push((Command::Fin, id, 0)),
                Ok(Some(Event::Nop)) => got.push((Command::Nop, 0, 0)),
                Ok(Some(Event::Upd { id, consumed, window })) => {
                    got.push((Command::Upd, id, u64::from(consumed) << 32 | u64::from(window)));
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    return assert_eq!((got, false), expected);
                }
            }
        }
        assert!(read.is_empty());
    }
    assert_eq!((got, true), expected);
}

/// What whole frames and the beginning of the last one say, payload byte by byte, and whether nothing is wrong behind them.
fn slow_smux(version: Version, mut bytes: &[u8]) -> (Vec<(Command, u32, u64)>, bool) {
    let word = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let mut said = Vec::new();
    while bytes.len() >= mux::HEADER {
        let length = usize::from(bytes[2]) + 256 * usize::from(bytes[3]);
        let id = word(&bytes[4..]);
        let body = &bytes[8..bytes.len().min(8 + length)];
        match (bytes[1], length) {
            _ if bytes[0] != version as u8 => return (said, false),
            (0, 0) => said.push((Command::Syn, id, 0)),
            (1, 0) => said.push((Command::Fin, id, 0)),
            (2, _) => said.extend(body.iter().map(|byte| (Command::Psh, id, u64::from(*byte)))),
            (3, 0) => said.push((Command::Nop, 0, 0)),
            (4, 8) if version == Version::Two && body.len() < 8 => break,
            (4, 8) if version == Version::Two => {
                let (consumed, window) = (word(body), word(&body[4..]));
                said.push((Command::Upd, id, u64::from(consumed) << 32 | u64::from(window)));
            }
            _ => return (said, false),
        }
        bytes = &bytes[8 + body.len()..];
    }
    (said, true)
}

/// What a proxy answers. The first byte tells to what; the rest is the answer.
pub fn proxy_reply(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    match first % 5 {
        0 => {
            let Some((reply, head)) =
                taken(bytes, http_connect::MAX_REPLY, http_connect::decode_reply)
            else {
                return;
            };
            assert!(head.ends_with(b"\n\n") || head.ends_with(b"\n\r\n"));
            assert!(reply.status >= 200 && reply.line.len() <= 200);
            assert!(reply.line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
        1 => drop(taken(bytes, 262, socks5::decode_reply)),
        2 => drop(taken(bytes, 2, socks5::decode_password_reply)),
        has_password => {
            let method = taken(bytes, 2, |bytes| socks5::decode_method(bytes, has_password == 3));
            assert!(has_password == 3 || method.is_none_or(|(m, _)| m == socks5::Method::None));
        }
    }
}

/// What a stranger, or a proxy, sends before all else.
pub fn proxy_preamble(bytes: &[u8]) {
    let Some((addresses, head)) = taken(bytes, header::MAX_V2, header::decode) else { return };
    assert!(head.starts_with(b"PROXY ") || head.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    let Some(addresses) = addresses else { return };
    for version in [header::Version::One, header::Version::Two] {
        let again = header::encode(version, Some(addresses));
        let (read, head) = taken(&again, header::MAX_V2, header::decode).expect("a whole header");
        assert_eq!(head, again);
        // An IPv4 address mapped to IPv6 is told as what it is, unless the other one is IPv6.
        let read = read.expect("addresses were written");
        assert_eq!(read.source.ip().to_canonical(), addresses.source.ip().to_canonical());
        assert_eq!(read.destination.ip().to_canonical(), addresses.destination.ip().to_canonical());
        assert_eq!(read.source.port(), addresses.source.port());
        assert_eq!(read.destination.port(), addresses.destination.port());
    }
}

/// Reads a message by taking as many bytes as are asked for: the message and its bytes, of which there are at most `max`
/// and no byte that follows.
fn taken<T, E: std::fmt::Display>(
    bytes: &[u8],
    max: usize,
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, E>,
) -> Option<(T, &[u8])> {
    let mut taken = 0;
    loop {
        match decode(&bytes[..taken]) {
            Ok(Decoded::Complete { value, len }) => {
                assert_eq!(len, taken);
                return Some((value, &bytes[..len]));
            }
            Ok(Decoded::Incomplete { needed }) => {
                assert!(needed > taken && needed <= max);
                if needed > bytes.len() {
                    return None;
                }
                taken = needed;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return None;
            }
        }
    }
}

/// A configuration file, as YAML and as JSON.
pub fn config_yaml(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        rtun_config::config_yaml(text);
    }
}

/// A `-L` or `-F` argument.
pub fn cli_url(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        rtun_config::cli_url(text);
    }
}

/// A routing table from a file, redis or HTTP.
pub fn routes_text(bytes: &[u8]) {
    table(bytes, parse_routes, |route| {
        assert_eq!(route.prefix, route.prefix.trunc());
        format!("{} {}", route.prefix, route.gateway)
    });
}

/// The lines of the three kinds of limiters.
pub fn limits_text(bytes: &[u8]) {
    fn scope(scope: &LimitScope) -> String {
        match scope {
            LimitScope::Service => "$".to_owned(),
            LimitScope::Each => "$$".to_owned(),
            LimitScope::Network(network) => network.to_string(),
            LimitScope::Namespace(namespace) => format!("*@{namespace}"),
            LimitScope::Host(host, Some(namespace)) => format!("{host}@{namespace}"),
            LimitScope::Host(host, None) => format!("{host}@*"),
        }
    }
    table(bytes, parse_traffic_limits, |row| {
        let rates = [row.limit.input, row.limit.output];
        let bytes = rates.map(|rate| rate.map_or(0, |rate| rate.bytes_per_second.get()));
        let burst = rates.into_iter().flatten().map(|rate| rate.burst).max().unwrap_or(0);
        assert!(burst <= i64::MAX as u64, "a burst is a size, or a part of one");
        // A rate below 1 KB has a default burst of 0, which is read as the default again.
        let same = rates.into_iter().flatten().all(|rate| rate.burst == burst);
        let burst = if same && burst > 0 { format!(" {burst}B") } else { String::new() };
        format!("{} {}B {}B{burst}", scope(&row.scope), bytes[0], bytes[1])
    });
    table(bytes, parse_connection_limits, |row| format!("{} {}", scope(&row.scope), row.limit));
    table(bytes, parse_request_limits, |row| format!("{} {}", scope(&row.scope), row.limit));
}

/// The rules of an ingress.
pub fn ingress_text(bytes: &[u8]) {
    table(bytes, parse_rules, |rule| {
        assert!(!rule.namespace.is_default());
        format!("{} {}", rule.pattern, rule.namespace)
    });
}

/// A list of users.
pub fn auth_text(bytes: &[u8]) {
    table(bytes, parse_users, |user| {
        assert!(!user.name.is_empty() && !user.password.expose().is_empty());
        assert!(user.name.len() <= 255 && user.password.expose().len() <= 255);
        format!("{} {}", user.name, user.password.expose())
    });
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(parsed) = parse_users(text, MAX_ROWS) else { return };
    assert!(parsed.bad.first.iter().all(|bad| bad.word.is_none()));
}

/// What an admission matches.
pub fn admission_text(bytes: &[u8]) {
    table(bytes, parse_matchers, |matcher| match matcher {
        Matcher::Prefix(prefix) => prefix.to_string(),
        Matcher::Name(name) => name.clone(),
    });
}

/// Lines that are read of one input.
const MAX_ROWS: usize = 1000;

/// Reads a text, each of its lines alone, and what its rows are when `written` out again.
fn table<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    parse: fn(&str, usize) -> Result<Parsed<T>, TooManyRows>,
    written: fn(&T) -> String,
) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let parsed = match parse(text, MAX_ROWS) {
        Ok(parsed) => parsed,
        Err(refused) => return assert_eq!(refused.limit, MAX_ROWS),
    };
    assert!(parsed.rows.len() + parsed.bad.count <= MAX_ROWS);
    assert_eq!(parsed.bad.first.len(), parsed.bad.count.min(10));
    assert!(parsed.bad.first.iter().all(|bad| !bad.to_string().is_empty()));
    let mut rows = parsed.rows.iter().peekable();
    let mut bad = 0;
    for (number, line) in (1..).zip(text.split('\n')) {
        let alone = parse(line, 1).expect("one line");
        bad += alone.bad.count;
        let row = rows.next_if(|row| row.line == number);
        assert_eq!(alone.rows.first().map(|row| &row.value), row.map(|row| &row.value));
    }
    assert_eq!((rows.next(), bad), (None, parsed.bad.count));
    let again: Vec<_> = parsed.rows.iter().map(|row| written(&row.value)).collect();
    let again = parse(&again.join("\r\n"), MAX_ROWS).expect("no more rows than there were");
    assert_eq!(again.bad.count, 0);
    assert!(again.rows.iter().map(|row| &row.value).eq(parsed.rows.iter().map(|row| &row.value)));
}

/// A WebSocket peer's frames. The first byte tells who it is and how many of the next ones say where reads end; the rest is
/// the stream.
pub fn ws_frames(bytes: &[u8]) {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let is_client = first >= 128;
    let (reads, stream) = rest.split_at(rest.len().min(usize::from(first % 16)));
    let decode = |mut rest: &[u8], reads: &[u8]| {
        let mut decoder = match is_client {
            true => frame::Decoder::of_client(),
            false => frame::Decoder::of_server(),
        };
        let mut reads = reads.iter().map(|n| usize::from(*n) + 1).chain(std::iter::repeat(1));
        let mut messages = Vec::new();
        let mut ping = None;
        while !rest.is_empty() {
            let read;
            (read, rest) = rest.split_at(reads.next().expect("endless").min(rest.len()));
            let mut read = read.to_vec();
            let len = decoder.decode(&mut read);
            messages.extend_from_slice(&read[..len]);
            ping = decoder.take_ping().or(ping);
        }
        if let Some(end) = decoder.end() {
            assert!(end.reason().len() + 2 <= frame::CONTROL_MAX);
        }
        (messages, ping, decoder.end().copied(), decoder.is_between_messages())
    };
    let outcome = decode(stream, reads);
    assert_eq!(outcome, decode(stream, &[]), "where reads end makes no difference");
    let (messages, ..) = outcome;
    assert!(messages.len() <= stream.len());

    let key = is_client.then_some([1, 2, 3, first]);
    let mut written =
        frame::Header::new(frame::Opcode::Binary, messages.len(), key).bytes().to_vec();
    let payload_at = written.len();
    written.extend_from_slice(&messages);
    frame::mask(&mut written[payload_at..], key.unwrap_or_default());
    assert_eq!(decode(&written, reads), (messages, None, None, true));
}

/// A stranger's HTTP request, or a server's response.
pub fn ws_upgrade(bytes: &[u8]) {
    for pattern in ["/ws", "/"] {
        match upgrade::answer(bytes, pattern) {
            Ok((response, forwarded)) => {
                assert!(response.is_ascii() && response.starts_with("HTTP/1.1 101 "));
                assert_eq!(response.find("\r\n\r\n"), Some(response.len() - 4));
                assert!(forwarded.present || forwarded.client().is_none());
                let error = upgrade::check(response.as_bytes(), &upgrade::Key::new([0; 16]));
                assert!(error.is_err() || response.contains("ICX+Yqv66kxgM0FcWaLWlFLwTAI="));
            }
            Err(error) => {
                assert!(upgrade::refusal(&error).is_some(), "{error}");
                assert!(error.to_string().bytes().all(|byte| (32..127).contains(&byte)));
            }
        }
    }
    if let Err(error) = upgrade::check(bytes, &upgrade::Key::new([0; 16])) {
        assert!(error.to_string().bytes().all(|byte| (32..127).contains(&byte)));
    }
}

/// A gRPC peer's messages. The first byte tells how many of the next ones say where reads end; the rest is the stream.
pub fn grpc_chunks(bytes: &[u8]) {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let (reads, stream) = rest.split_at(rest.len().min(usize::from(first % 16)));
    let decode = |mut rest: &[u8], reads: &[u8]| {
        let mut decoder = chunk::Decoder::default();
        let mut reads = reads.iter().map(|n| usize::from(*n) + 1).chain(std::iter::repeat(1));
        let mut data = Vec::new();
        while !rest.is_empty() && decoder.failure().is_none() {
            let read = &rest[..reads.next().expect("endless").min(rest.len())];
            let mut into = [0; 7];
            let progress = decoder.decode(read, &mut into);
            assert!(progress.consumed > 0 && progress.written <= progress.consumed);
            data.extend_from_slice(&into[..progress.written]);
            rest = &rest[progress.consumed..];
        }
        (data, decoder.failure(), decoder.is_between_messages())
    };
    let outcome = decode(stream, reads);
    assert_eq!(outcome, decode(stream, &[]), "where reads end makes no difference");
    let (data, ..) = outcome;
    let mut written = chunk::Header::new(data.len() as u32).bytes().to_vec();
    written.extend_from_slice(&data);
    assert_eq!(decode(&written, reads), (data, None, true));
}

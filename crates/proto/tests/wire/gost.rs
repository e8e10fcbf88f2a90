//! Bytes recorded from GOST 3.3.0 (`fixtures/gost`) are read with the recorded meaning, and written the same again.

use std::{collections::BTreeSet, fs, path::PathBuf};

use rtun_proto::{
    frame::{Frames, write_frame},
    packet::{Packet, Upper, protocol},
    relay::{AddrFeature, Association, Decoded, Network, Request, Response, Status},
};

use crate::fixtures::hex;

const NAMESPACE: [u8; 16] = [
    0xe8, 0x7f, 0x56, 0xdd, 0xfd, 0x57, 0x49, 0x21, 0x9a, 0xb8, 0xa0, 0x84, 0x76, 0x62, 0xda, 0xae,
];
/// The name of the request's fixture, the device's address, the host's name as a hub understands it.
const REQUESTS: [(&str, &str, &str); 10] = [
    ("host_request_plain", "192.168.123.1", "host-1"),
    ("host_request_auth", "192.168.123.1", "host-1"),
    ("host_request_auth_id", "192.168.123.1", "host-1"),
    ("host_request_id", "192.168.123.1", "host-1"),
    ("host_request_dual", "fd00::1", "host-1"),
    ("host_request_udp", "192.168.123.1", "host-1"),
    ("host_request_ipv4_literal", "192.168.123.2", "10.1.2.3"),
    ("host_request_ipv6_device", "fd00::1", "host-6"),
    ("host_request_ipv6_literal", "fd00::1", "fd00:64::7"),
    ("host_request_ipv6_literal_brackets", "fd00::1", ""),
];
const RESPONSES: [(&str, Status); 4] = [
    ("hub_response_ok", Status::Ok),
    ("hub_response_bad_request", Status::BadRequest),
    ("hub_response_unauthorized", Status::Unauthorized),
    ("hub_response_host_unreachable", Status::HostUnreachable),
];
const FRAMES: [(&str, &str, &str, usize); 3] = [
    ("frame_icmp_echo", "192.168.123.1", "192.168.123.2", 28),
    ("frame_udp_via_hub", "192.168.123.1", "192.168.123.2", 120),
    ("frame_ipv6_via_hub", "fd00::1", "fd00::2", 48),
];
const REGISTER: &str = "host_register_frame";
const STREAMS: [&str; 2] = ["host_stream", "hub_stream"];

#[test]
fn every_fixture_is_read_by_a_test() {
    let there: BTreeSet<String> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let read = REQUESTS.iter().map(|(name, ..)| *name);
    let read = read.chain(RESPONSES.iter().map(|(name, _)| *name));
    let read = read.chain(FRAMES.iter().map(|(name, ..)| *name)).chain([REGISTER]).chain(STREAMS);
    assert_eq!(there, read.map(str::to_owned).collect());
}

#[test]
fn requests_are_read_and_written_the_same() {
    for (name, source, host) in REQUESTS {
        let bytes = fixture(name);
        let request = whole_request(&bytes);
        assert_eq!(request.encode().unwrap(), bytes, "{name}");
        let expected = Association {
            user: name.contains("auth").then(|| (b"alice".to_vec(), b"s3cret".to_vec())),
            network: if name.ends_with("udp") { Network::Udp } else { Network::Ip },
            source: Some(AddrFeature::from_text(source)),
            host: host.to_owned(),
            router_id: if name.ends_with("id") { NAMESPACE } else { [0; 16] },
        };
        assert_eq!(request.association(), expected, "{name}");
    }
}

#[test]
fn requests_for_the_same_are_the_same_bytes() {
    for (name, _, host) in REQUESTS {
        let bytes = fixture(name);
        let mut association = whole_request(&bytes).association();
        if host.is_empty() {
            association.host = "[fd00:64::7]".to_owned();
        }
        assert_eq!(Request::associate(&association).encode().unwrap(), bytes, "{name}");
    }
}

#[test]
fn responses_are_read_and_written_the_same() {
    for (name, status) in RESPONSES {
        let bytes = fixture(name);
        let response = whole_response(&bytes);
        assert_eq!(response.status, status, "{name}");
        assert_eq!(response.connector_id().is_some(), status == Status::Ok, "{name}");
        assert!(response.connector_id().is_none_or(|id| id.rtun_version().is_none()), "{name}");
        assert_eq!(response.encode().unwrap(), bytes, "{name}");
    }
}

#[test]
fn frames_carry_the_packets_they_were_recorded_of() {
    for (name, source, destination, len) in FRAMES {
        let bytes = fixture(name);
        let payloads = payloads(&bytes);
        assert_eq!(payloads.len(), 1, "{name}");
        let packet = Packet::parse(payloads[0]).unwrap();
        assert_eq!(packet.len(), len, "{name}");
        assert_eq!(packet.source().to_string(), source, "{name}");
        assert_eq!(packet.destination().to_string(), destination, "{name}");
        assert_eq!(framed(&payloads), bytes, "{name}");
    }
}

#[test]
fn a_register_message_is_a_frame_that_is_no_packet() {
    let bytes = fixture(REGISTER);
    let payloads = payloads(&bytes);
    assert_eq!(payloads.len(), 1);
    assert!(payloads[0].starts_with(b"GOST"));
    assert!(Packet::parse(payloads[0]).is_err());
    assert_eq!(framed(&payloads), bytes);
}

#[test]
fn whole_streams_are_a_message_and_then_packets() {
    for name in STREAMS {
        let bytes = fixture(name);
        let (message, frames) = if name == "host_stream" {
            let Decoded::Complete { value, len } = Request::decode(&bytes).unwrap() else {
                panic!("no whole request");
            };
            assert_eq!(value.association().host, "host-1");
            (value.encode().unwrap(), &bytes[len..])
        } else {
            let Decoded::Complete { value, len } = Response::decode(&bytes).unwrap() else {
                panic!("no whole response");
            };
            assert_eq!(value.status, Status::Ok);
            (value.encode().unwrap(), &bytes[len..])
        };
        let payloads = payloads(frames);
        assert_eq!([message, framed(&payloads)].concat(), bytes, "{name}");
        let packets: Vec<_> = payloads.iter().map(|bytes| Packet::parse(bytes).unwrap()).collect();
        let echo = |packet: &&Packet<'_>| packet.upper().is_some_and(|upper| is_echo(&upper));
        assert!(packets.iter().filter(echo).count() >= 4, "{name}");
        assert!(packets.iter().any(|packet| packet.len() == 1420), "{name}: one of MTU size");
        assert!(packets.iter().any(Packet::is_fragment), "{name}: fragments");
        assert!(packets.iter().any(|packet| packet.version() == 6), "{name}: IPv6");
    }
}

fn is_echo(upper: &Upper<'_>) -> bool {
    match (upper.protocol, upper.payload.first()) {
        (protocol::ICMP, Some(kind)) => matches!(kind, 0 | 8),
        (protocol::ICMPV6, Some(kind)) => matches!(kind, 128 | 129),
        _ => false,
    }
}

fn whole_request(bytes: &[u8]) -> Request {
    match Request::decode(bytes).unwrap() {
        Decoded::Complete { value, len } if len == bytes.len() => value,
        other => panic!("{other:?}"),
    }
}

fn whole_response(bytes: &[u8]) -> Response {
    match Response::decode(bytes).unwrap() {
        Decoded::Complete { value, len } if len == bytes.len() => value,
        other => panic!("{other:?}"),
    }
}

/// The payloads of `bytes`, which must be whole frames and nothing else.
fn payloads(bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Frames::new(bytes);
    let payloads = frames.by_ref().map(|frame| frame.payload).collect();
    assert_eq!(frames.consumed(), bytes.len());
    payloads
}

fn framed(payloads: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for payload in payloads {
        write_frame(payload, &mut bytes).unwrap();
    }
    bytes
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gost")
}

/// A fixture's bytes; a line that begins with `#` describes them.
fn fixture(name: &str) -> Vec<u8> {
    let text = fs::read_to_string(directory().join(name).with_extension("hex")).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    hex(&lines.join("\n"))
}

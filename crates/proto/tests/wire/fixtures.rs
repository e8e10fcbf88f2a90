//! Every file of `tests/fixtures`, byte for byte: it has the expected meaning, and rtun encodes that meaning the same.

use std::time::Duration;

use rtun_proto::{
    extension::{
        Capabilities, Echo, EchoOutcome, EchoReply, Extension, ExtensionError, GoAway, Hello,
        HelloReply, Notice, RefusalNotice, RefusalReason, ip_packet, packets,
    },
    frame::{Frames, write_frame},
    packet::{Packet, PacketError},
    relay::{
        Addr, AddrFeature, Association, DecodeError, Decoded, Feature, Network, Request, Response,
        Status, TunnelId,
    },
};

const NAMESPACE: [u8; 16] = [
    0xe8, 0x7f, 0x56, 0xdd, 0xfd, 0x57, 0x49, 0x21, 0x9a, 0xb8, 0xa0, 0x84, 0x76, 0x62, 0xda, 0xae,
];
const CONNECTOR: [u8; 16] = [
    0x0e, 0x6a, 0x2f, 0x0c, 0x6f, 0x0b, 0x4d, 0x0b, 0x9c, 0x1d, 0x2a, 0x3b, 0x4c, 0x5d, 0x6e, 0x7f,
];

/// The bytes written as two hexadecimal digits each; blanks, line ends and `|` only structure them.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    text.split([' ', '|', '\n'])
        .filter(|byte| !byte.is_empty())
        .map(|byte| {
            assert_eq!(byte.len(), 2, "{byte:?} in {text:?}");
            u8::from_str_radix(byte, 16).unwrap()
        })
        .collect()
}

/// The fixtures with their names, in order.
pub(crate) fn all() -> Vec<(String, Vec<u8>)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let mut all: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let name = name.strip_suffix(".hex").unwrap().to_owned();
            (name, hex(&std::fs::read_to_string(path).unwrap()))
        })
        .collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

/// The fixture of this name.
fn named(name: &str) -> Vec<u8> {
    all().into_iter().find(|(other, _)| other == name).unwrap().1
}

fn request(
    user: Option<(&str, &str)>,
    source: &str,
    host: &str,
    router_id: [u8; 16],
) -> Association {
    Association {
        user: user.map(|(user, password)| (user.into(), password.into())),
        network: Network::Ip,
        source: Some(AddrFeature { addr: Addr::Ip(source.parse().unwrap()), port: 0 }),
        host: host.to_owned(),
        router_id,
    }
}

fn is_request(bytes: &[u8], association: &Association) {
    let request = Request::associate(association);
    let len = bytes.len();
    assert_eq!(Request::decode(bytes), Ok(Decoded::Complete { value: request.clone(), len }));
    assert_eq!(request.association(), *association);
    assert_eq!(request.encode().unwrap(), bytes);
}

fn is_response(bytes: &[u8], response: Response) {
    assert_eq!(response.encode().unwrap(), bytes);
    let len = bytes.len();
    assert_eq!(Response::decode(bytes), Ok(Decoded::Complete { value: response, len }));
}

fn is_refused(bytes: &[u8], error: DecodeError) {
    assert_eq!(Request::decode(bytes), Err(error));
    for cut in 0..bytes.len() {
        let early = Request::decode(&bytes[..cut]);
        assert!(early.is_err() || matches!(early, Ok(Decoded::Incomplete { .. })), "{cut}");
    }
}

/// The payload of the one frame in `bytes`, and that a payload is written as that frame.
fn only_frame(bytes: &[u8]) -> &[u8] {
    let mut frames = Frames::new(bytes);
    let payload = frames.next().unwrap().payload;
    assert_eq!(frames.next(), None);
    assert_eq!(frames.consumed(), bytes.len());
    let mut written = Vec::new();
    if write_frame(payload, &mut written).is_ok() {
        assert_eq!(written, bytes);
    }
    payload
}

fn is_dropped(bytes: &[u8], error: PacketError) {
    assert_eq!(Packet::parse(only_frame(bytes)), Err(error));
}

fn is_echo(packet: Result<Packet<'_>, PacketError>, padding: usize) {
    let packet = packet.unwrap();
    assert_eq!(packet.source().to_string(), "192.168.123.1");
    assert_eq!(packet.destination().to_string(), "192.168.123.2");
    assert_eq!((packet.len(), packet.padding()), (28, padding));
}

fn is_entrypoint_datagram(bytes: &[u8]) {
    let name = Addr::Name("host-2".to_owned());
    let value = Request {
        command: 3,
        flags: 0,
        features: vec![
            Feature::Tunnel(TunnelId::new(NAMESPACE)),
            Feature::Addr(AddrFeature { addr: name, port: 0 }),
        ],
    };
    assert_eq!(value.encode().unwrap(), bytes[..40]);
    assert_eq!(Request::decode(bytes), Ok(Decoded::Complete { value, len: 40 }));
    is_echo(Packet::parse(&bytes[40..]), 0);
}

fn is_extension(bytes: &[u8], extension: &Extension<'_>) {
    assert_eq!(Extension::decode(only_frame(bytes)).as_ref(), Ok(extension));
    let mut written = Vec::new();
    extension.write_frame(&mut written).unwrap();
    assert_eq!(written, bytes);
}

fn hello() -> Hello {
    Hello {
        version: 1,
        capabilities: Capabilities::GSO_FRAMES,
        mtu: 1420,
        instance: CONNECTOR,
        software: "rtun 0.1.0".to_owned(),
    }
}

fn hello_reply() -> HelloReply {
    HelloReply {
        version: 1,
        accepted: Capabilities::GSO_FRAMES,
        max_frame: 65_535,
        reconnect_window: Duration::from_millis(200),
        namespace: NAMESPACE,
        addresses: vec![("192.168.123.1".parse().unwrap(), 24), ("fd00::1".parse().unwrap(), 64)],
    }
}

fn is_gso_frame(bytes: &[u8]) {
    let payload = only_frame(bytes);
    let extension = Extension::decode(payload).unwrap();
    is_extension(bytes, &extension);
    let Extension::GsoFrame(packet) = extension else { panic!("{extension:?}") };
    assert_eq!((packets(payload), packet.segments()), (2, 2));
    assert_eq!(ip_packet(payload), Some(packet.bytes()));
    assert!(packet.bytes().ends_with(b"rtunrtun"));
    let mut segments = Vec::new();
    packet.write_frames(&mut segments);
    assert_eq!(segments, named("extension-gso-frame-segments"));
}

fn is_refused_extension(bytes: &[u8], error: ExtensionError) {
    assert_eq!(Extension::decode(only_frame(bytes)), Err(error));
}

/// Checks the meaning of the fixture of this name. Unknown names fail, so that a new fixture needs its meaning here.
pub(crate) fn check(name: &str, bytes: &[u8]) {
    match name {
        "request-plain" => is_request(bytes, &request(None, "192.168.123.1", "host-1", [0; 16])),
        "request-user-namespace" => {
            let user = Some(("alice", "s3cret"));
            is_request(bytes, &request(user, "192.168.123.1", "host-1", NAMESPACE));
        }
        "request-ipv6" => is_request(bytes, &request(None, "fd00::1", "fd00:64::7", [0; 16])),
        "request-ipv4-name" => {
            is_request(bytes, &request(None, "192.168.123.2", "10.1.2.3", [0; 16]));
        }
        "response-ok" => is_response(bytes, Response::ok(TunnelId::new(CONNECTOR))),
        "response-ok-marked" => {
            let id = TunnelId::from_rtun(CONNECTOR);
            assert_eq!(id.rtun_version(), Some(1));
            is_response(bytes, Response::ok(id));
        }
        "response-bad-request" => is_response(bytes, Response::refusal(Status::BadRequest)),
        "response-unauthorized" => is_response(bytes, Response::refusal(Status::Unauthorized)),
        "response-host-unreachable" => {
            is_response(bytes, Response::refusal(Status::HostUnreachable));
        }
        "response-internal-error" => is_response(bytes, Response::refusal(Status::InternalError)),
        "entrypoint-datagram" => is_entrypoint_datagram(bytes),
        "frame-icmp-echo" => is_echo(Packet::parse(only_frame(bytes)), 0),
        "frame-padded" => is_echo(Packet::parse(only_frame(bytes)), 2),
        "frame-keepalive-to-hub" => {
            is_dropped(bytes, PacketError::Version);
            assert_eq!(Extension::decode(only_frame(bytes)), Ok(Extension::Unknown(0)));
        }
        // Reads as an IPv4 header of 28 bytes, 8 more than there are.
        "frame-keepalive-to-host" | "frame-cut" => is_dropped(bytes, PacketError::Truncated),
        "frame-lying" => is_dropped(bytes, PacketError::LengthMismatch),
        "frame-impossible" => is_dropped(bytes, PacketError::Malformed),
        "frame-empty" => assert_eq!(only_frame(bytes), []),
        "request-unknown-feature" => {
            let Ok(Decoded::Complete { value, len }) = Request::decode(bytes) else { panic!() };
            assert_eq!((value.features, len), (vec![Feature::Network(Network::Ip)], bytes.len()));
        }
        "refused-version" => is_refused(bytes, DecodeError::Version(5)),
        "refused-too-long" => is_refused(bytes, DecodeError::TooLong { len: 2049 }),
        "refused-feature-length" => is_refused(bytes, DecodeError::FeatureLength),
        "refused-short-feature" => {
            is_refused(bytes, DecodeError::FeatureShort { feature: "network" });
        }
        "refused-address-type" => is_refused(bytes, DecodeError::AddressType(2)),
        "refused-name" => is_refused(bytes, DecodeError::NameNotText),
        "extension-hello" => is_extension(bytes, &Extension::Hello(hello())),
        "extension-hello-reply" => is_extension(bytes, &Extension::HelloReply(hello_reply())),
        "extension-longer-hello" => {
            let capabilities = Capabilities::from_bits(0x8000_0001);
            let later = Hello { version: 2, capabilities, mtu: 1500, ..hello() };
            assert_eq!(Extension::decode(only_frame(bytes)), Ok(Extension::Hello(later)));
        }
        "extension-gso-frame" => is_gso_frame(bytes),
        "extension-gso-frame-segments" => {
            let frames: Vec<_> = Frames::new(bytes).map(|frame| frame.payload).collect();
            let ends = [&b"rtunr"[..], b"tun"];
            assert!(frames.len() == 2 && frames.iter().zip(ends).all(|(f, end)| f.ends_with(end)));
            assert!(frames.iter().all(|frame| Packet::parse(frame).unwrap().padding() == 0));
        }
        "extension-not-canonical" => is_refused_extension(bytes, ExtensionError::NotCanonical),
        "extension-pseudo-header" => is_refused_extension(bytes, ExtensionError::PseudoHeader),
        "extension-ping" => is_extension(bytes, &Extension::Ping([1, 2, 3, 4, 5, 6, 7, 8])),
        "extension-pong" => is_extension(bytes, &Extension::Pong([1, 2, 3, 4, 5, 6, 7, 8])),
        "extension-go-away" => {
            let within = Duration::from_secs(5);
            is_extension(bytes, &Extension::GoAway(GoAway { within }));
        }
        "extension-refusal" => {
            let text = "another connection of this name".to_owned();
            let notice = RefusalNotice { reason: RefusalReason::Replaced, text };
            is_extension(bytes, &Extension::Refusal(notice));
        }
        "extension-notice" => {
            let text = "192.0.2.7:40000 reports this name too".to_owned();
            is_extension(bytes, &Extension::Notice(Notice { text }));
        }
        "extension-echo" => {
            let (stamp, host) = ([1, 2, 3, 4, 5, 6, 7, 8], "host-2".to_owned());
            is_extension(bytes, &Extension::Echo(Echo { stamp, host, length: 20 }));
        }
        "extension-echo-reply" => {
            let reply = EchoReply {
                stamp: [1, 2, 3, 4, 5, 6, 7, 8],
                outcome: EchoOutcome::Answered,
                round_trip: Duration::from_micros(1500),
                mtu: 1420,
                datagram: 1382,
                length: 20,
            };
            is_extension(bytes, &Extension::EchoReply(reply));
        }
        "extension-unknown" => {
            assert_eq!(Extension::decode(only_frame(bytes)), Ok(Extension::Unknown(0x7f)));
        }
        other => panic!("fixture {other} has no meaning"),
    }
}

#[test]
fn every_fixture_means_what_it_says() {
    for (name, bytes) in all() {
        check(&name, &bytes);
    }
}

//! Bytes recorded of UDP tunnels (`fixtures/udp_tunnel`) are read as what they are, and written the same again.

use std::{collections::BTreeSet, fs, net::IpAddr, path::PathBuf};

use rtun_proto::{
    datagram_cipher::{CipherMethod, DatagramCipher},
    ethernet::{EthernetFrame, MacAddress, ether_type},
    frame::Frames,
    packet::{Packet, PacketError, destination_is_never_routed},
    relay::{AddrFeature, Decoded, Feature, Network, Request, Response, Status},
    udp_tunnel::{
        DatagramError, FromClient, FromServer, Passphrase,
        addressed::{AddressedDecoder, AddressedEncoder, AddressedError, decode_header},
        encode_register, encode_reply,
    },
};

use crate::fixtures::hex;

/// Name, passphrase as sent, addresses.
const REGISTERS: [(&str, &str, &[&str]); 4] = [
    ("register-plain", "", &["192.168.123.2"]),
    ("register-two", "userpass1", &["192.168.123.2", "fd99::2"]),
    ("register-cut", "this-is-longer-t", &["192.168.123.2"]),
    ("register-wrong", "nope", &["192.168.123.2"]),
];
const REPLIES: [(&str, &str); 3] =
    [("reply-ipv4", "10.77.0.2"), ("reply-ipv6", "fd77::2"), ("reply-moved", "10.77.0.3")];
const PACKETS: [(&str, &str, &str); 5] = [
    ("packet-echo", "192.168.123.2", "192.168.123.1"),
    ("packet-answer", "192.168.123.1", "192.168.123.2"),
    ("packet-router-solicitation", "fe80::a7b4:ff69:d7b8:7bd7", "ff02::2"),
    ("packet-unknown-destination", "192.168.123.2", "8.8.8.8"),
    ("packet-forged", "9.9.9.9", "192.168.123.2"),
];
const REFUSED: [(&str, usize); 2] = [("refused-length", 37), ("refused-short", 20)];
/// Cipher `aes-256-gcm`, password `secret`.
const ENCRYPTED: &str = "ethernet-encrypted";
const OTHERS: [&str; 10] = [
    "ethernet-arp-request",
    "ethernet-arp-answer",
    "relay-request",
    "relay-response",
    "relay-request-user",
    "relay-response-refused",
    "relay-request-ethernet",
    "relay-response-ethernet",
    "addressed-ethernet",
    "addressed-register",
];

#[test]
fn every_fixture_is_read_by_a_test() {
    let there: BTreeSet<String> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let read = REGISTERS.iter().map(|(name, ..)| *name);
    let read = read.chain(REPLIES.iter().map(|(name, _)| *name));
    let read = read.chain(PACKETS.iter().map(|(name, ..)| *name));
    let read = read.chain(REFUSED.iter().map(|(name, _)| *name)).chain(OTHERS).chain([ENCRYPTED]);
    assert_eq!(there, read.map(str::to_owned).collect());
}

#[test]
fn registers_are_read_and_written_the_same() {
    for (name, passphrase, addresses) in REGISTERS {
        let bytes = fixture(name);
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let Ok(FromClient::Register(register)) = FromClient::decode(&bytes) else {
            panic!("{name}");
        };
        assert_eq!(register.passphrase(), passphrase.as_bytes(), "{name}");
        assert_eq!(register.addresses().collect::<Vec<_>>(), addresses, "{name}");
        let passphrase = Passphrase::new(passphrase).unwrap();
        assert_eq!(encode_register(passphrase, &addresses), bytes, "{name}");
    }
}

#[test]
fn replies_are_read_and_written_the_same() {
    for (name, outer) in REPLIES {
        let bytes = fixture(name);
        let outer: IpAddr = outer.parse().unwrap();
        assert_eq!(FromServer::decode(&bytes), Ok(FromServer::Reply(outer)), "{name}");
        assert_eq!(encode_reply(outer)[..], bytes, "{name}");
        assert_eq!(FromClient::decode(&bytes), Err(DatagramError::MessageLength(20)), "{name}");
    }
}

#[test]
fn packets_are_packets_to_both_ends() {
    for (name, source, destination) in PACKETS {
        let bytes = fixture(name);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(FromClient::decode(&bytes), Ok(FromClient::Packet(packet)), "{name}");
        assert_eq!(FromServer::decode(&bytes), Ok(FromServer::Packet(packet)), "{name}");
        let ends = (packet.source().to_string(), packet.destination().to_string());
        assert_eq!(ends, (source.to_owned(), destination.to_owned()), "{name}");
        let noise = name == "packet-router-solicitation";
        assert_eq!(destination_is_never_routed(packet.destination()), noise, "{name}");
    }
}

#[test]
fn messages_of_other_lengths_are_refused() {
    for (name, len) in REFUSED {
        let bytes = fixture(name);
        assert_eq!(FromClient::decode(&bytes), Err(DatagramError::MessageLength(len)), "{name}");
    }
    assert_eq!(FromClient::decode(&[]), Err(DatagramError::Empty));
    for len in 1..=40 {
        let cut: &[PacketError] = &[PacketError::Truncated, PacketError::Malformed];
        for (first, errors) in [
            (
                0x45,
                &[PacketError::Truncated, PacketError::Malformed, PacketError::LengthMismatch][..],
            ),
            (0x47, cut),
            (0x60, cut),
            (0xc8, &[PacketError::Version][..]),
        ] {
            let mut bytes = vec![0; len];
            bytes[0] = first;
            match FromClient::decode(&bytes) {
                Err(DatagramError::Packet(error)) => assert!(errors.contains(&error), "{error}"),
                Ok(FromClient::Packet(packet)) => assert_eq!((first, packet.len()), (0x60, 40)),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn ethernet_frames_are_told_by_their_header() {
    let request = fixture("ethernet-arp-request");
    let request = EthernetFrame::parse(&request).unwrap();
    assert_eq!(request.destination(), MacAddress::BROADCAST);
    assert_eq!((request.ether_type(), request.payload().len()), (ether_type::ARP, 28));
    let answer = fixture("ethernet-arp-answer");
    let answer = EthernetFrame::parse(&answer).unwrap();
    assert_eq!(answer.destination(), request.source());
    assert!(answer.source().is_station());
}

#[test]
fn a_sealed_frame_opens_and_is_sealed_the_same() {
    let bytes = fixture(ENCRYPTED);
    let cipher = DatagramCipher::from_password("AEAD_AES_256_GCM".parse().unwrap(), "secret");
    let key = hex(
        "5e be 22 94 ec d0 e0 f0 8e ab 76 90 d2 a6 ee 69 26 ae 5c c8 54 e3 6b 6b df ca 36 68 48 de a6 bb",
    );
    assert!(cipher == DatagramCipher::from_key(CipherMethod::Aes256Gcm, &key).unwrap());
    let mut room = vec![0; bytes.len()];
    let len = cipher.open(&bytes, &mut room).unwrap();
    let frame = EthernetFrame::parse(&room[..len]).unwrap();
    assert_eq!((frame.destination(), frame.ether_type()), (MacAddress::BROADCAST, ether_type::ARP));
    let asks = (&frame.payload()[14..18], &frame.payload()[24..28]);
    assert_eq!(asks, (&[192, 168, 124, 2][..], &[192, 168, 124, 1][..]));
    let mut again = bytes.clone();
    again[32..32 + len].copy_from_slice(frame.bytes());
    again[32 + len..].fill(0);
    cipher.seal(&mut again).unwrap();
    assert_eq!(again, bytes);
}

#[test]
fn a_relay_carries_the_messages_in_frames() {
    let bytes = fixture("relay-request");
    let (request, len) = whole_request(&bytes);
    let target = Feature::Addr(AddrFeature::from_text(":8421"));
    assert_eq!((request.command, request.flags), (1, 0x80));
    assert_eq!(request.features, [Feature::Network(Network::Udp), target]);
    assert_eq!(request.encode().unwrap(), bytes[..len]);
    let frames: Vec<_> = Frames::new(&bytes[len..]).map(|frame| frame.payload).collect();
    assert_eq!(frames, [fixture("register-plain")]);

    let bytes = fixture("relay-response");
    let Ok(Decoded::Complete { value, len }) = Response::decode(&bytes) else { panic!() };
    assert_eq!(value.status, Status::Ok);
    let frames: Vec<_> = Frames::new(&bytes[len..]).map(|frame| frame.payload).collect();
    let reply = FromServer::decode(frames[0]);
    assert_eq!((reply, frames.len()), (Ok(FromServer::Reply([127, 0, 0, 1].into())), 1));

    let bytes = fixture("relay-response-refused");
    let Ok(Decoded::Complete { value, .. }) = Response::decode(&bytes) else { panic!() };
    assert_eq!(value.status, Status::Unauthorized);
}

#[test]
fn a_relay_is_told_the_user_before_or_behind_the_network() {
    for (name, command, first) in
        [("relay-request-user", 1, false), ("relay-request-ethernet", 2, true)]
    {
        let bytes = fixture(name);
        let (request, len) = whole_request(&bytes);
        assert_eq!((request.command, len), (command, bytes.len()), "{name}");
        let user = request.features.iter().position(|it| matches!(it, Feature::UserAuth { .. }));
        assert_eq!(user, Some(if first { 0 } else { 1 }), "{name}");
        assert_eq!(request.encode().unwrap(), bytes, "{name}");
    }
    let bytes = fixture("relay-response-ethernet");
    let Ok(Decoded::Complete { len, .. }) = Response::decode(&bytes) else { panic!() };
    assert_eq!(len, bytes.len());
}

#[test]
fn datagrams_with_addresses_count_their_payload_alone() {
    let bytes = fixture("addressed-register");
    let (mut frame, mut asked) = (Vec::new(), Vec::new());
    let takes = |address: &AddrFeature, len| {
        asked.push((address.clone(), len));
        true
    };
    AddressedDecoder::default().decode(&bytes, &mut frame, takes).unwrap();
    let register = fixture("register-plain");
    assert_eq!(Frames::new(&frame).next().unwrap().payload, register);
    assert_eq!(asked, [(AddrFeature::from_text("0.0.0.0:8421"), register.len())]);
    let mut again = Vec::new();
    AddressedEncoder::new(([0; 4], 8421).into()).encode(&frame, &mut again);
    assert_eq!(again, bytes);

    let bytes = fixture("addressed-ethernet");
    let header = decode_header(&bytes).unwrap().unwrap();
    assert_eq!((header.address, header.datagram), (AddrFeature::from_text("127.0.0.1:8421"), 90));
    assert_eq!(decode_header(&bytes[1..]), Err(AddressedError::Fragment(1)));
}

fn whole_request(bytes: &[u8]) -> (Request, usize) {
    match Request::decode(bytes).unwrap() {
        Decoded::Complete { value, len } => (value, len),
        other @ Decoded::Incomplete { .. } => panic!("{other:?}"),
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/udp_tunnel")
}

/// A fixture's bytes; a line beginning with `#` says what they are.
fn fixture(name: &str) -> Vec<u8> {
    let text = fs::read_to_string(directory().join(name).with_extension("hex")).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    hex(&lines.join("\n"))
}

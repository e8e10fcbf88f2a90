//! The packet view, compared with a slow model written from the RFCs and with another parser.

use std::net::IpAddr;

use etherparse::{Ipv4HeaderSlice, Ipv6ExtensionsSlice, Ipv6HeaderSlice, err::ipv6_exts};
use proptest::{collection::vec, prelude::*, sample::select};
use rtun_proto::packet::{Fragment, Packet, PacketError, protocol};

/// Headers in which every field that is checked is right, wrong by one, or anything.
pub(crate) fn ip_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => shape(40, payload()).prop_map(|(header, payload, lie)| v4(header, &payload, lie)),
        8 => shape(40, payload()).prop_map(|(header, payload, lie)| v6(header, &payload, lie)),
        8 => shape(40, extensions()).prop_map(|(header, payload, lie)| v6(header, &payload, lie)),
        1 => vec(any::<u8>(), 0..80),
    ]
}

fn shape(
    header: usize,
    payload: impl Strategy<Value = Vec<u8>>,
) -> impl Strategy<Value = (Vec<u8>, Vec<u8>, i32)> {
    (
        vec(any::<u8>(), header),
        payload,
        prop_oneof![5 => Just(0), 2 => -30..30_i32, 1 => -65_535..65_535],
    )
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![10 => vec(any::<u8>(), 0..60), 1 => vec(any::<u8>(), 1300..1500)]
}

/// A chain of extension headers, each naming the next, then ports or ICMP; cut anywhere.
fn extensions() -> impl Strategy<Value = Vec<u8>> {
    let header = (select(vec![0, 43, 44, 51, 60, 6, 17, 58, 59]), 0..3_u8, any::<[u8; 30]>());
    (vec(header, 0..7), any::<prop::sample::Index>()).prop_map(|(headers, cut)| {
        let mut chain: Vec<u8> = Vec::new();
        for (next, len, body) in headers {
            chain.extend([next, len]);
            chain.extend(&body[..usize::from(len) * 8 + 6]);
        }
        chain.truncate(1 + cut.index(2 * chain.len() + 1));
        chain
    })
}

fn add(len: usize, lie: i32) -> [u8; 2] {
    let len = i32::try_from(len).unwrap() + lie;
    u16::try_from(len.clamp(0, 65_535)).unwrap().to_be_bytes()
}

fn v4(mut header: Vec<u8>, payload: &[u8], lie: i32) -> Vec<u8> {
    // Mostly without options, so that the payload is where it belongs.
    let words = if header[0].is_multiple_of(4) { header[0] >> 4 } else { 5 };
    header[0] = 0x40 | words;
    header.truncate(usize::from(words.max(5)) * 4);
    if header[7].is_multiple_of(2) {
        header[6..8].fill(0);
    }
    if header[9] < 0xc0 {
        header[9] = [1, 6, 17][usize::from(header[9] % 3)];
    }
    let total = add(header.len() + payload.len(), lie);
    header[2..4].copy_from_slice(&total);
    [&header, payload].concat()
}

fn v6(mut header: Vec<u8>, payload: &[u8], lie: i32) -> Vec<u8> {
    header[0] = 0x60 | header[0] & 0x0f;
    header[4..6].copy_from_slice(&add(payload.len(), lie));
    header[6] = [0, 43, 44, 51, 60, 6, 17, 58][usize::from(header[6] % 8)];
    [&header, payload].concat()
}

fn u16_at(bytes: &[u8], offset: usize) -> usize {
    usize::from(bytes[offset]) * 256 + usize::from(bytes[offset + 1])
}

/// The packet's length, or what is wrong with it.
fn slow(bytes: &[u8]) -> Result<usize, PacketError> {
    if bytes.is_empty() {
        return Err(PacketError::Truncated);
    }
    let total = match bytes[0] >> 4 {
        4 => {
            let header = usize::from(bytes[0] % 16) * 4;
            if bytes.len() < 20 {
                return Err(PacketError::Truncated);
            }
            let total = u16_at(bytes, 2);
            if header < 20 || total < header {
                return Err(PacketError::Malformed);
            }
            if bytes.len() < header {
                return Err(PacketError::Truncated);
            }
            total
        }
        6 => {
            if bytes.len() < 40 {
                return Err(PacketError::Truncated);
            }
            if u16_at(bytes, 4) == 0 && bytes[6] == 0 && bytes.len() != 40 {
                return Err(PacketError::Malformed);
            }
            40 + u16_at(bytes, 4)
        }
        _ => return Err(PacketError::Version),
    };
    if total > bytes.len() { Err(PacketError::LengthMismatch) } else { Ok(total) }
}

fn agrees_with_other_parser(packet: &Packet<'_>) -> Result<(), TestCaseError> {
    if packet.version() == 4 {
        let other = Ipv4HeaderSlice::from_slice(packet.bytes()).unwrap();
        prop_assert_eq!(packet.source(), IpAddr::from(other.source()));
        prop_assert_eq!(packet.destination(), IpAddr::from(other.destination()));
        prop_assert_eq!(packet.protocol(), other.protocol().0);
        prop_assert_eq!(packet.ttl(), other.ttl());
        prop_assert_eq!(packet.header_len(), other.slice().len());
        prop_assert_eq!(packet.len(), usize::from(other.total_len()));
        prop_assert_eq!(packet.dscp_ecn(), other.dcp().value() << 2 | other.ecn().value());
        prop_assert_eq!(packet.is_fragment(), other.is_fragmenting_payload());
        let upper = packet.upper().unwrap();
        prop_assert_eq!(upper.payload, &packet.bytes()[other.slice().len()..]);
        let offset = usize::from(other.fragments_offset().value()) * 8;
        let fragment = Fragment { offset, more: other.more_fragments() };
        let expected = other.is_fragmenting_payload().then_some(fragment);
        prop_assert_eq!(upper.fragment, expected);
    } else {
        let other = Ipv6HeaderSlice::from_slice(packet.bytes()).unwrap();
        prop_assert_eq!(packet.source(), IpAddr::from(other.source()));
        prop_assert_eq!(packet.destination(), IpAddr::from(other.destination()));
        prop_assert_eq!(packet.protocol(), other.next_header().0);
        prop_assert_eq!(packet.ttl(), other.hop_limit());
        prop_assert_eq!(packet.len(), 40 + usize::from(other.payload_length()));
        prop_assert_eq!(packet.dscp_ecn(), other.traffic_class());
        agrees_on_extensions(packet, other)?;
    }
    Ok(())
}

fn agrees_on_extensions(
    packet: &Packet<'_>,
    header: Ipv6HeaderSlice<'_>,
) -> Result<(), TestCaseError> {
    let upper = packet.upper();
    // The other parser continues after the header of a later fragment, where there is only data.
    if upper.is_some_and(|upper| upper.fragment.is_some_and(|fragment| fragment.offset > 0)) {
        return Ok(());
    }
    match Ipv6ExtensionsSlice::from_slice(header.next_header(), &packet.bytes()[40..]) {
        // The other parser takes the mobility header for a payload.
        Ok((_, protocol, _)) if protocol.0 == protocol::MOBILITY => {}
        Ok((extensions, protocol, payload)) => {
            let is_fragment = extensions.is_fragmenting_payload();
            let Some(upper) = upper else {
                prop_assert!(extensions.into_iter().count() > 7, "longer than any legal chain");
                return Ok(());
            };
            prop_assert_eq!((upper.protocol, upper.payload), (protocol.0, payload));
            prop_assert_eq!(packet.is_fragment(), is_fragment);
        }
        Err(ipv6_exts::HeaderSliceError::Len(_)) => prop_assert_eq!(upper, None),
        // Stricter than a router needs to be: the order of the headers, an authentication header without data.
        Err(ipv6_exts::HeaderSliceError::Content(_)) => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn ip_shapes(bytes in ip_bytes()) {
        let packet = Packet::parse(&bytes);
        prop_assert_eq!(packet.map(|packet| packet.len()), slow(&bytes));
        if let Ok(packet) = packet {
            prop_assert_eq!(packet.bytes(), &bytes[..packet.len()]);
            prop_assert_eq!(packet.padding(), bytes.len() - packet.len());
            prop_assert_eq!(Packet::parse(packet.bytes()).unwrap().padding(), 0);
            packet.flow_hash(1);
            agrees_with_other_parser(&packet)?;
        }
    }
}

/// Every length a frame can have, whole and one byte short.
#[test]
fn every_length_is_taken_whole_or_not_at_all() {
    let mut bytes = vec![0; 65_535];
    bytes[0] = 0x45;
    for len in 20..=65_535_u16 {
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        let len = usize::from(len);
        assert_eq!(Packet::parse(&bytes[..len]).unwrap().len(), len);
        let short = if len == 20 { PacketError::Truncated } else { PacketError::LengthMismatch };
        assert_eq!(Packet::parse(&bytes[..len - 1]), Err(short));
    }
}

use super::*;

const ECHO: &[u8] =
    b"\x45\x00\x00\x1c\x00\x01\x40\x00\x40\x01\xc3\x8b\xc0\xa8\x7b\x01\xc0\xa8\x7b\x02\
                      \x08\x00\xf7\xfd\x00\x01\x00\x01";

/// An IPv6 packet from fd00::1 to fd00::2.
fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x6a, 0xb0, 0, 0];
    bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend([next_header, 63]);
    bytes.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend("fd00::2".parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend(payload);
    bytes
}

fn v4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ECHO[..20].to_vec();
    bytes[2..4].copy_from_slice(&u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
    bytes[9] = protocol;
    bytes.extend(payload);
    bytes
}

#[test]
fn an_ipv4_packet_tells_its_fields() {
    let packet = Packet::parse(ECHO).unwrap();
    assert_eq!(packet.version(), 4);
    assert_eq!(packet.len(), 28);
    assert_eq!(packet.padding(), 0);
    assert_eq!(packet.bytes(), ECHO);
    assert_eq!(packet.source(), IpAddr::from([192, 168, 123, 1]));
    assert_eq!(packet.destination(), IpAddr::from([192, 168, 123, 2]));
    assert_eq!(packet.protocol(), protocol::ICMP);
    assert_eq!(packet.ttl(), 64);
    assert_eq!(packet.header_len(), 20);
    assert!(!packet.is_fragment(), "`do not fragment` is not a fragment");
    assert!(!packet.may_be_fragmented());
    let free = v4(protocol::UDP, 0, &[0; 8]);
    assert!(Packet::parse(&free).unwrap().may_be_fragmented());
    let six = v6(protocol::UDP, &[0; 8]);
    assert!(!Packet::parse(&six).unwrap().may_be_fragmented());
}

#[test]
fn an_ipv6_packet_tells_its_fields() {
    let bytes = v6(protocol::UDP, &[0, 53, 0, 53, 0, 8, 0, 0]);
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(packet.version(), 6);
    assert_eq!(packet.len(), 48);
    assert_eq!(packet.source(), "fd00::1".parse::<IpAddr>().unwrap());
    assert_eq!(packet.destination(), "fd00::2".parse::<IpAddr>().unwrap());
    assert_eq!(packet.protocol(), protocol::UDP);
    assert_eq!(packet.dscp_ecn(), 0xab);
    assert_eq!(packet.ttl(), 63);
}

#[test]
fn each_defect_has_its_error() {
    let with = |offset: usize, value: u8| {
        let mut bytes = ECHO.to_vec();
        bytes[offset] = value;
        bytes
    };
    for (bytes, error) in [
        (vec![], PacketError::Truncated),
        (vec![0x01], PacketError::Version),
        (vec![0x52; 60], PacketError::Version),
        (ECHO[..19].to_vec(), PacketError::Truncated),
        (with(0, 0x44), PacketError::Malformed),
        (with(0, 0x48), PacketError::Malformed),
        ([&with(0, 0x48)[..2], &[0, 32], &ECHO[4..28]].concat(), PacketError::Truncated),
        (with(3, 19), PacketError::Malformed),
        (with(3, 29), PacketError::LengthMismatch),
        (ECHO[..27].to_vec(), PacketError::LengthMismatch),
        (v6(59, &[])[..39].to_vec(), PacketError::Truncated),
        (v6(59, &[1])[..40].to_vec(), PacketError::LengthMismatch),
    ] {
        assert_eq!(Packet::parse(&bytes), Err(error), "{bytes:02x?}");
    }
}

#[test]
fn what_follows_a_packet_is_cut_and_told() {
    let bytes = [ECHO, &[0; 5]].concat();
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.bytes(), packet.padding()), (ECHO, 5));
    let bytes = [&v6(59, &[])[..], &[0; 3]].concat();
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.len(), packet.padding()), (40, 3));
}

#[test]
fn a_jumbogram_is_refused() {
    let empty = v6(protocol::HOP_BY_HOP, &[]);
    assert_eq!(Packet::parse(&empty).unwrap().len(), 40);
    let jumbo = [&empty[..], &[6, 0, 0xc2, 4, 0, 1, 0, 0]].concat();
    assert_eq!(Packet::parse(&jumbo), Err(PacketError::Malformed));
}

#[test]
fn extension_headers_are_followed_within_bounds() {
    let udp = [0, 53, 0, 53, 0, 8, 0, 0];
    let hop = [protocol::DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0];
    let options = [protocol::AUTHENTICATION, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let authentication = [protocol::UDP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let chain = [&hop[..], &options, &authentication, &udp].concat();
    let whole = v6(protocol::HOP_BY_HOP, &chain);
    let upper = Packet::parse(&whole).unwrap().upper().unwrap();
    assert_eq!((upper.protocol, upper.payload, upper.fragment), (protocol::UDP, &udp[..], None));
    for cut in 1..36 {
        let bytes = v6(protocol::HOP_BY_HOP, &chain[..cut]);
        assert_eq!(Packet::parse(&bytes).unwrap().upper(), None, "{cut}");
    }
    let endless = v6(protocol::HOP_BY_HOP, &[0; 8 * 9]);
    assert_eq!(Packet::parse(&endless).unwrap().upper(), None);
}

#[test]
fn fragments_are_known_by_offset_or_by_more() {
    for (word, fragment) in [
        (0x4000, None),
        (0x2000, Some(Fragment { offset: 0, more: true })),
        (0x2001, Some(Fragment { offset: 8, more: true })),
        (0x1fff, Some(Fragment { offset: 65_528, more: false })),
    ] {
        let bytes = v4(protocol::UDP, word, &[0; 8]);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.upper().unwrap().fragment, fragment);
        assert_eq!(packet.is_fragment(), fragment.is_some());
    }
    for (word, fragment) in [
        ([0, 0], None),
        ([0, 1], Some(Fragment { offset: 0, more: true })),
        ([0, 8], Some(Fragment { offset: 8, more: false })),
    ] {
        // The next header claims another extension header: true of the first fragment only.
        let header = [protocol::DESTINATION_OPTIONS, 0, word[0], word[1], 0, 0, 0, 1];
        let bytes = v6(protocol::FRAGMENT, &[&header[..], &[17, 0, 1, 4, 0, 0, 0, 0]].concat());
        let upper = Packet::parse(&bytes).unwrap().upper().unwrap();
        assert_eq!(upper.fragment, fragment);
        let later = fragment.is_some_and(|fragment| fragment.offset > 0);
        assert_eq!(upper.protocol, if later { protocol::DESTINATION_OPTIONS } else { 17 });
        assert_eq!(upper.payload.len(), if later { 8 } else { 0 });
    }
}

#[test]
fn a_flow_keeps_its_hash_and_every_field_of_it_counts() {
    let hash = |bytes: &[u8]| Packet::parse(bytes).unwrap().flow_hash(7);
    let ports = [0x30, 0x39, 0, 80, 1, 2, 3, 4];
    for base in [v4(protocol::TCP, 0, &ports), v6(protocol::TCP, &ports)] {
        let is_v4 = base[0] >> 4 == 4;
        let (addresses, header, ttl) = if is_v4 { (12..20, 20, 8) } else { (8..40, 40, 7) };
        for bit in (addresses.start * 8..addresses.end * 8).chain(header * 8..(header + 4) * 8) {
            let mut other = base.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(hash(&other), hash(&base), "bit {bit}");
        }
        for outside in [ttl, header + 4] {
            let mut same = base.clone();
            same[outside] ^= 0xff;
            assert_eq!(hash(&same), hash(&base));
        }
        assert_ne!(Packet::parse(&base).unwrap().flow_hash(8), hash(&base));
    }
    assert_ne!(hash(&v4(protocol::TCP, 0, &ports)), hash(&v4(protocol::UDP, 0, &ports)));
    let first = hash(&v4(protocol::UDP, 0x2000, &ports));
    assert_eq!(first, hash(&v4(protocol::UDP, 0x0001, &[9; 8])), "fragments stay together");
    assert_eq!(hash(&v4(protocol::UDP, 0, &[1, 2])), hash(&v4(protocol::UDP, 0, &[3])));
}

/// Neighbouring addresses and ports, as in real networks, must not fall together.
#[test]
fn flows_spread_evenly() {
    const BUCKETS: usize = 1024;
    const FLOWS: usize = 64 * BUCKETS;
    for shift in [0, 27, 54] {
        let mut buckets = vec![0_usize; BUCKETS];
        for flow in 0..FLOWS {
            let [.., host, port_high, port_low] = flow.to_be_bytes();
            let mut bytes = v4(protocol::TCP, 0, &[port_high, port_low, 0, 80]);
            bytes[15] = host;
            let hash = Packet::parse(&bytes).unwrap().flow_hash(1);
            buckets[usize::try_from(hash >> shift).unwrap() % BUCKETS] += 1;
        }
        // Of a chi-square distribution with 1023 degrees of freedom, one in a million exceeds 1250.
        let expected = FLOWS / BUCKETS;
        let chi: usize = buckets.iter().map(|n| n.abs_diff(expected).pow(2)).sum();
        assert!(chi / expected < 1250, "shift {shift}: {}", chi / expected);
    }
}

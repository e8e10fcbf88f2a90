//! ICMP errors as another parser reads them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, IpSlice, checksum::Sum16BitWords, icmpv4,
    icmpv6,
};
use proptest::{prelude::*, sample::select};
use rtun_proto::{
    icmp::{MAX_V4, MAX_V6, Unreachable, unreachable},
    packet::{Packet, source_is_never_valid},
};

use crate::packet::ip_bytes;

const HUB_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const HUB_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

fn reasons() -> impl Strategy<Value = Unreachable> {
    prop_oneof![
        select(vec![
            Unreachable::Network,
            Unreachable::Host,
            Unreachable::Administrative,
            Unreachable::HopLimit,
        ]),
        any::<u32>().prop_map(|mtu| Unreachable::TooBig { mtu }),
    ]
}

fn type_v4(why: Unreachable) -> Icmpv4Type {
    use icmpv4::DestUnreachableHeader as Why;
    Icmpv4Type::DestinationUnreachable(match why {
        Unreachable::Network => Why::Network,
        Unreachable::Host => Why::Host,
        Unreachable::Administrative => Why::FilterProhibited,
        Unreachable::TooBig { mtu } => {
            Why::FragmentationNeeded { next_hop_mtu: u16::try_from(mtu).unwrap_or(u16::MAX) }
        }
        Unreachable::HopLimit => {
            return Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
        }
    })
}

fn type_v6(why: Unreachable) -> Icmpv6Type {
    use icmpv6::DestUnreachableCode as Why;
    Icmpv6Type::DestinationUnreachable(match why {
        Unreachable::Network => Why::NoRoute,
        Unreachable::Host => Why::Address,
        Unreachable::Administrative => Why::Prohibited,
        Unreachable::TooBig { mtu } => return Icmpv6Type::PacketTooBig { mtu },
        Unreachable::HopLimit => {
            return Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded);
        }
    })
}

fn check(packet: &Packet<'_>, why: Unreachable, error: &[u8]) -> Result<(), TestCaseError> {
    let other = IpSlice::from_slice(error).unwrap();
    prop_assert_eq!(other.destination_addr(), packet.source());
    let payload = other.payload().payload;
    let (quoted, room) = match &other {
        IpSlice::Ipv4(other) => {
            let header = other.header();
            prop_assert_eq!(usize::from(header.total_len()), error.len());
            prop_assert_eq!(Sum16BitWords::new().add_slice(header.slice()).ones_complement(), 0);
            prop_assert_eq!(Sum16BitWords::new().add_slice(payload).ones_complement(), 0);
            let icmp = Icmpv4Slice::from_slice(payload).unwrap();
            prop_assert_eq!(icmp.icmp_type(), type_v4(why));
            (icmp.payload(), MAX_V4 - 28)
        }
        IpSlice::Ipv6(other) => {
            let header = other.header();
            prop_assert_eq!(usize::from(header.payload_length()), error.len() - 40);
            let icmp = Icmpv6Slice::from_slice(payload).unwrap();
            prop_assert!(icmp.is_checksum_valid(header.source(), header.destination()));
            prop_assert_eq!(icmp.icmp_type(), type_v6(why));
            (icmp.payload(), MAX_V6 - 48)
        }
    };
    prop_assert_eq!(quoted, &packet.bytes()[..packet.len().min(room)]);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn an_error_is_what_a_router_sends(bytes in ip_bytes(), why in reasons()) {
        let Ok(packet) = Packet::parse(&bytes) else { return Ok(()) };
        let (hub, elsewhere): (IpAddr, IpAddr) = match packet.version() {
            4 => (HUB_V4.into(), HUB_V6.into()),
            _ => (HUB_V6.into(), HUB_V4.into()),
        };
        prop_assert_eq!(unreachable(&packet, why, elsewhere), None);
        if let Some(error) = unreachable(&packet, why, hub) {
            prop_assert!(!source_is_never_valid(packet.source()));
            prop_assert!(!packet.destination().is_multicast());
            check(&packet, why, &error)?;
            let error = Packet::parse(&error).unwrap();
            prop_assert_eq!(unreachable(&error, why, hub), None, "no error about an error");
        }
    }
}

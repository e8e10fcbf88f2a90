//! Why a frame goes where it goes at the server of an Ethernet tunnel.

use std::{fmt::Display, hash::Hash, time::Instant};

use serde::{Deserialize, Serialize};

use super::{AppliedLimit, TunnelConclusion};
use crate::udp_tunnel::{Bridge, BridgePort, DatagramDrop, FrameTarget, MacAddress};

/// What happens to a frame at the server of an Ethernet tunnel, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchExplanation {
    /// The server's service name.
    pub service: String,
    /// The VLAN of the frame; 0: no tag.
    pub vlan: u16,
    /// Where the source is.
    pub source: Station,
    /// Where the destination is.
    pub destination: Station,
    /// What happens to it.
    pub conclusion: TunnelConclusion,
    /// The limits that it has to keep to.
    #[serde(default)]
    pub limits: Vec<AppliedLimit>,
}

/// What a switch knows about a hardware address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Station {
    /// The address.
    pub mac: String,
    /// Where it is.
    #[serde(flatten)]
    pub place: StationPlace,
}

/// Where a hardware address is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "where", rename_all = "snake_case")]
pub enum StationPlace {
    /// It is that of the server's own device.
    Own,
    /// It is that of a group, as broadcast and multicast have.
    Group,
    /// No machine has it.
    Nobody,
    /// Frames from it have come from there.
    Learnt {
        /// `device`, or where the client sends from.
        at: String,
        /// Since the last frame, in seconds.
        seconds: u64,
    },
    /// The same, too long ago: it is not known any more.
    Expired {
        /// `device`, or where the client sends from.
        at: String,
        /// Since the last frame, in seconds.
        seconds: u64,
    },
    /// No frame has come from it, in this VLAN.
    Unknown,
}

/// Explains where a frame goes, by what the switch of `service` has learnt so far. VLAN 0: no tag.
pub fn explain_frame<P: Copy + Eq + Hash + Display>(
    service: &str,
    bridge: &Bridge<P>,
    vlan: u16,
    source: MacAddress,
    destination: MacAddress,
    now: Instant,
) -> SwitchExplanation {
    let from = match bridge.last_place(vlan, source, now) {
        _ if source == bridge.own() => Some(BridgePort::Device),
        Some((port, _, true)) => Some(port),
        // It comes from somebody new.
        Some((_, _, false)) | None => None,
    };
    let conclusion = match bridge.target(from, vlan, destination, now) {
        _ if !source.is_station() => TunnelConclusion::Dropped { reason: DatagramDrop::BadAddress },
        Err(reason) => TunnelConclusion::Dropped { reason },
        Ok(FrameTarget::Port(port)) => TunnelConclusion::Delivered { to: name(port) },
        Ok(FrameTarget::Flood | FrameTarget::Echo) => {
            let clients = bridge.others(from.unwrap_or(BridgePort::Device)).count();
            TunnelConclusion::Flooded { clients, device: from != Some(BridgePort::Device) }
        }
    };
    let station = |mac: MacAddress| {
        let seconds = |seen| now.saturating_duration_since(seen).as_secs();
        let place = match bridge.last_place(vlan, mac, now) {
            _ if mac == bridge.own() => StationPlace::Own,
            _ if mac.is_group() => StationPlace::Group,
            _ if !mac.is_station() => StationPlace::Nobody,
            Some((port, seen, true)) => {
                StationPlace::Learnt { at: name(port), seconds: seconds(seen) }
            }
            Some((port, seen, false)) => {
                StationPlace::Expired { at: name(port), seconds: seconds(seen) }
            }
            None => StationPlace::Unknown,
        };
        Station { mac: mac.to_string(), place }
    };
    SwitchExplanation {
        service: service.to_owned(),
        vlan,
        source: station(source),
        destination: station(destination),
        conclusion,
        limits: Vec::new(),
    }
}

fn name<P: Display>(port: BridgePort<P>) -> String {
    match port {
        BridgePort::Device => "device".to_owned(),
        BridgePort::Peer(peer) => peer.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rtun_proto::ethernet::EthernetFrame;

    use super::*;

    const OWN: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 0xff]);

    fn say(bridge: &mut Bridge<char>, from: char, source: MacAddress, now: Instant) {
        let mut bytes = [MacAddress::BROADCAST.octets(), source.octets()].concat();
        bytes.extend([0x08, 0x00, 1, 2, 3]);
        let frame = EthernetFrame::parse(&bytes).unwrap();
        bridge.forward(BridgePort::Peer(from), &frame, now).unwrap();
    }

    #[test]
    fn a_frame_goes_where_its_destination_was_heard_and_else_to_all() {
        let mut bridge = Bridge::new(OWN);
        let start = Instant::now();
        let (one, two, three) = (MacAddress::local(1), MacAddress::local(2), MacAddress::local(3));
        say(&mut bridge, 'a', one, start);
        say(&mut bridge, 'b', two, start);
        let now = start + Duration::from_secs(5);
        let explain = |source, destination, now| {
            explain_frame("switch", &bridge, 0, source, destination, now)
        };
        let said = explain(one, two, now);
        assert_eq!(said.source.place, StationPlace::Learnt { at: "a".into(), seconds: 5 });
        assert_eq!(said.conclusion, TunnelConclusion::Delivered { to: "b".into() });
        let to_all = |clients, device| TunnelConclusion::Flooded { clients, device };
        for (source, destination, expected) in [
            (one, OWN, TunnelConclusion::Delivered { to: "device".into() }),
            (OWN, one, TunnelConclusion::Delivered { to: "a".into() }),
            (one, one, TunnelConclusion::Dropped { reason: DatagramDrop::Local }),
            (one, three, to_all(1, true)),
            (one, MacAddress::BROADCAST, to_all(1, true)),
            (OWN, MacAddress::BROADCAST, to_all(2, false)),
            (three, MacAddress::BROADCAST, to_all(2, true)),
            (
                MacAddress::BROADCAST,
                one,
                TunnelConclusion::Dropped { reason: DatagramDrop::BadAddress },
            ),
        ] {
            assert_eq!(explain(source, destination, now).conclusion, expected);
        }
        let later = start + Duration::from_secs(400);
        let said = explain(OWN, one, later);
        assert_eq!(said.destination.place, StationPlace::Expired { at: "a".into(), seconds: 400 });
        assert_eq!(said.conclusion, to_all(2, false));
        let other_vlan = explain_frame("switch", &bridge, 7, one, two, now);
        assert_eq!(other_vlan.destination.place, StationPlace::Unknown);
    }
}

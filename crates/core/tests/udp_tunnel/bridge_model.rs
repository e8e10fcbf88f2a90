//! The bridge against one that keeps lists.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use rtun_core::udp_tunnel::{Bridge, BridgePort, DatagramDrop, FrameTarget};
use rtun_proto::ethernet::{EthernetFrame, MacAddress};

type Port = BridgePort<u8>;

const AGE: Duration = Duration::from_secs(300);
const STAYS: Duration = Duration::from_secs(2);

struct Learnt {
    vlan: u16,
    mac: MacAddress,
    port: Port,
    seen: Instant,
    moved: Option<Instant>,
}

/// Who is to get a frame, by the rules read one by one.
struct Model {
    own: MacAddress,
    learnt: Vec<Learnt>,
}

impl Model {
    fn place_of(&self, vlan: u16, mac: MacAddress, now: Instant) -> Option<Port> {
        let found = self.learnt.iter().find(|it| it.vlan == vlan && it.mac == mac)?;
        (now - found.seen < AGE).then_some(found.port)
    }

    fn peers(&self) -> BTreeSet<u8> {
        let peer = |it: &Learnt| match it.port {
            Port::Device => None,
            Port::Peer(peer) => Some(peer),
        };
        self.learnt.iter().filter_map(peer).collect()
    }

    fn forward(
        &mut self,
        from: Port,
        vlan: u16,
        source: MacAddress,
        destination: MacAddress,
        now: Instant,
    ) -> Result<BTreeSet<Port>, DatagramDrop> {
        if !source.is_station() {
            return Err(DatagramDrop::BadAddress);
        }
        if from != Port::Device && source == self.own {
            return Err(DatagramDrop::OwnAddress);
        }
        match self.learnt.iter_mut().find(|it| it.vlan == vlan && it.mac == source) {
            None => {
                let (mac, port, seen) = (source, from, now);
                self.learnt.push(Learnt { vlan, mac, port, seen, moved: None });
            }
            Some(known) if known.port == from => known.seen = now,
            Some(known) => {
                let stays =
                    now - known.seen < AGE && known.moved.is_some_and(|at| now - at < STAYS);
                if !stays {
                    (known.port, known.seen, known.moved) = (from, now, Some(now));
                }
            }
        }
        if let Port::Peer(peer) = from
            && !self.peers().contains(&peer)
        {
            return Err(DatagramDrop::Duplicate);
        }
        let known = if destination == self.own {
            Some(Port::Device)
        } else if destination.is_group() {
            None
        } else {
            self.place_of(vlan, destination, now)
        };
        let mut all: BTreeSet<Port> = self.peers().into_iter().map(Port::Peer).collect();
        all.insert(Port::Device);
        all.remove(&from);
        match known {
            Some(port) if port == from => Err(DatagramDrop::Local),
            Some(port) => Ok([port].into()),
            None if all.is_empty() => Err(DatagramDrop::NoRoute),
            None => Ok(all),
        }
    }
}

fn address(n: u64) -> MacAddress {
    match n {
        6 => MacAddress::BROADCAST,
        7 => MacAddress::new([0x33, 0x33, 0, 0, 0, 1]),
        8 => MacAddress::new([0; 6]),
        n => MacAddress::local(n),
    }
}

proptest! {
    #[test]
    fn frames_go_where_lists_say(
        steps in prop::collection::vec(
            (0..5_u8, 0..9_u64, 0..8_u64, prop::option::of(1..3_u16), 0..400_u64, any::<bool>()), 0..120,
        ),
    ) {
        let own = address(0);
        let mut bridge = Bridge::new(own);
        let mut model = Model { own, learnt: Vec::new() };
        let mut now = Instant::now();
        for (from, source, destination, vlan, millis, long) in steps {
            now += Duration::from_millis(if long { millis * 1000 } else { millis * 10 });
            let from = if from == 0 { Port::Device } else { Port::Peer(from) };
            let (source, destination) = (address(source), address(destination));
            let mut bytes = [destination.octets(), source.octets()].concat();
            if let Some(vlan) = vlan {
                bytes.extend([0x81, 0x00, 0x60, u8::try_from(vlan).unwrap()]);
            }
            bytes.extend([0x08, 0x00]);
            let frame = EthernetFrame::parse(&bytes).unwrap();
            let went = bridge.forward(from, &frame, now).map(|target| match target {
                FrameTarget::Port(port) => [port].into(),
                FrameTarget::Flood => {
                    let mut all: BTreeSet<Port> = bridge.others(from).map(Port::Peer).collect();
                    if from != Port::Device {
                        all.insert(Port::Device);
                    }
                    all
                }
                FrameTarget::Echo => unreachable!("nobody asks"),
            });
            let expected = model.forward(from, vlan.unwrap_or(0), source, destination, now);
            prop_assert_eq!(went, expected);
            let peers: BTreeSet<u8> = bridge.others(Port::Device).collect();
            prop_assert_eq!(&peers, &model.peers());
            prop_assert!(bridge.peers().keys().all(|peer| peers.contains(peer)));
        }
    }
}

//! Where an Ethernet frame goes: to the one place that its destination is known to be at, or to all but its sender.

use std::{collections::HashMap, hash::Hash, net::IpAddr, time::Instant};

use rtun_proto::ethernet::{EthernetFrame, MacAddress, is_keepalive};

use super::{DatagramDrop, MAX_MACS_PER_PEER, MacTable, Volume};

/// The most addresses behind the device: networks may be bridged to it.
pub const MAX_MACS_OF_DEVICE: usize = 1024;

/// One side of the bridge: its own device, or a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BridgePort<P> {
    /// The device.
    Device,
    /// A peer, by where it sends from.
    Peer(P),
}

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameTarget<P> {
    /// There alone; never whence it came.
    Port(BridgePort<P>),
    /// To the device and all peers ([`Bridge::others`]), less whence it came.
    Flood,
    /// Back to its sender, who asks whether anybody is there.
    Echo,
}

/// A switch whose ports are a device and peers. Bounded as [`MacTable`] is.
#[derive(Debug)]
pub struct Bridge<P> {
    own: MacAddress,
    table: MacTable<BridgePort<P>>,
    passed: HashMap<P, PeerTraffic>,
}

/// What has passed from and to a peer.
#[derive(Debug, Clone, Copy)]
pub struct PeerTraffic {
    /// When it was heard first.
    pub since: Instant,
    /// When it was heard last.
    pub heard: Instant,
    /// Our address that it sends to, where that is known.
    pub local: Option<IpAddr>,
    /// Frames from it.
    pub received: Volume,
    /// Frames to it.
    pub sent: Volume,
}

impl<P: Copy + Eq + Hash> Bridge<P> {
    /// One that knows nobody. `own` is the device's address, which is always there.
    pub fn new(own: MacAddress) -> Self {
        Self { own, table: MacTable::default(), passed: HashMap::new() }
    }

    /// Learns from a frame that has come in at `from`, and tells where it goes.
    ///
    /// # Errors
    ///
    /// Why it goes nowhere: [`DatagramDrop::BadAddress`], no station sends from its source; [`DatagramDrop::OwnAddress`], a peer
    /// sends as the device does; [`DatagramDrop::Duplicate`], the peer is new, and its only address has moved elsewhere a moment
    /// ago; [`DatagramDrop::TableFull`], it is new, and there is no room; [`DatagramDrop::Local`], the destination is where the
    /// frame came from; [`DatagramDrop::NoRoute`], there is nobody.
    pub fn forward(
        &mut self,
        from: BridgePort<P>,
        frame: &EthernetFrame<'_>,
        now: Instant,
    ) -> Result<FrameTarget<P>, DatagramDrop> {
        let (source, destination) = (frame.source(), frame.destination());
        let vlan = frame.vlan().unwrap_or(0);
        if !source.is_station() {
            return Err(DatagramDrop::BadAddress);
        }
        match from {
            BridgePort::Device => {
                self.table.learn_up_to(MAX_MACS_OF_DEVICE, from, vlan, source, now);
            }
            BridgePort::Peer(peer) => {
                if source == self.own {
                    return Err(DatagramDrop::OwnAddress);
                }
                self.table.learn_up_to(MAX_MACS_PER_PEER, from, vlan, source, now);
                if !self.knows(peer) {
                    let is_elsewhere = self.table.lookup(vlan, source, now).is_some();
                    let full = DatagramDrop::TableFull;
                    return Err(if is_elsewhere { DatagramDrop::Duplicate } else { full });
                }
                self.hears(peer, frame.bytes().len(), now);
                if is_keepalive(frame) {
                    return Ok(FrameTarget::Echo);
                }
            }
        }
        self.target(Some(from), vlan, destination, now)
    }

    /// Where a frame goes that may pass; `from` is none for a peer that is not known yet.
    ///
    /// # Errors
    ///
    /// [`DatagramDrop::Local`] and [`DatagramDrop::NoRoute`], as [`forward`](Self::forward).
    pub fn target(
        &self,
        from: Option<BridgePort<P>>,
        vlan: u16,
        destination: MacAddress,
        now: Instant,
    ) -> Result<FrameTarget<P>, DatagramDrop> {
        let known = match destination {
            own if own == self.own => Some(BridgePort::Device),
            group if group.is_group() => None,
            station => self.table.lookup(vlan, station, now),
        };
        match known {
            Some(port) if Some(port) == from => Err(DatagramDrop::Local),
            Some(port) => Ok(FrameTarget::Port(port)),
            None if from == Some(BridgePort::Device)
                && self.others(BridgePort::Device).next().is_none() =>
            {
                Err(DatagramDrop::NoRoute)
            }
            None => Ok(FrameTarget::Flood),
        }
    }

    /// The device's own address.
    pub fn own(&self) -> MacAddress {
        self.own
    }

    /// Where an address was heard last, when that was, and whether it is still known: what has sent nothing for 300 s is not.
    pub fn last_place(
        &self,
        vlan: u16,
        address: MacAddress,
        now: Instant,
    ) -> Option<(BridgePort<P>, Instant, bool)> {
        let (port, seen) = self.table.last_place(vlan, address)?;
        Some((port, seen, self.table.lookup(vlan, address, now).is_some()))
    }

    /// The peers that a frame from `from` is flooded to, in no order.
    pub fn others(&self, from: BridgePort<P>) -> impl Iterator<Item = P> {
        self.table.peers().filter_map(move |port| match port {
            BridgePort::Peer(peer) if port != from => Some(peer),
            BridgePort::Peer(_) | BridgePort::Device => None,
        })
    }

    /// What has passed from and to a peer that is known.
    pub fn traffic(&mut self, peer: P) -> Option<&mut PeerTraffic> {
        self.passed.get_mut(&peer)
    }

    /// The peers that are known, each with the addresses that are reached through it as VLAN (0: none) and address.
    pub fn peers(&self) -> HashMap<P, (PeerTraffic, Vec<(u16, MacAddress)>)> {
        let known = self.passed.iter().filter(|(peer, _)| self.knows(**peer));
        let mut peers: HashMap<P, _> =
            known.map(|(peer, traffic)| (*peer, (*traffic, Vec::new()))).collect();
        for (vlan, mac, port, _) in self.table.iter() {
            if let BridgePort::Peer(peer) = port
                && let Some((_, macs)) = peers.get_mut(&peer)
            {
                macs.push((vlan, mac));
            }
        }
        peers
    }

    /// Forgets the peers that this does not name, with all that is reached through them.
    pub fn keep_only(&mut self, mut keeps: impl FnMut(P) -> bool) {
        let gone: Vec<P> = self.others(BridgePort::Device).filter(|peer| !keeps(*peer)).collect();
        for peer in gone {
            self.table.forget(BridgePort::Peer(peer));
            self.passed.remove(&peer);
        }
    }

    fn knows(&self, peer: P) -> bool {
        self.table.knows(BridgePort::Peer(peer))
    }

    /// Counts a frame of a peer that is known.
    fn hears(&mut self, peer: P, bytes: usize, now: Instant) {
        // Of those that are forgotten some are left behind; they go once they are as many as those that are known.
        if self.passed.len() >= 64 + 2 * self.table.peers().count() {
            let table = &self.table;
            self.passed.retain(|peer, _| table.knows(BridgePort::Peer(*peer)));
        }
        let new = PeerTraffic {
            since: now,
            heard: now,
            local: None,
            received: Volume::default(),
            sent: Volume::default(),
        };
        let traffic = self.passed.entry(peer).or_insert(new);
        traffic.heard = now;
        traffic.received.add(1, bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use rtun_proto::ethernet::keepalive;

    use super::*;

    const OWN: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 0xff]);
    const A: BridgePort<char> = BridgePort::Peer('a');
    const B: BridgePort<char> = BridgePort::Peer('b');
    const DEVICE: BridgePort<char> = BridgePort::Device;

    fn mac(n: u64) -> MacAddress {
        MacAddress::local(n)
    }

    fn frame(destination: MacAddress, source: MacAddress) -> Vec<u8> {
        let mut bytes = destination.octets().to_vec();
        bytes.extend(source.octets());
        bytes.extend([0x08, 0x00, 1, 2, 3]);
        bytes
    }

    fn send(
        bridge: &mut Bridge<char>,
        from: BridgePort<char>,
        source: MacAddress,
        destination: MacAddress,
        now: Instant,
    ) -> Result<FrameTarget<char>, DatagramDrop> {
        let bytes = frame(destination, source);
        bridge.forward(from, &EthernetFrame::parse(&bytes).unwrap(), now)
    }

    #[test]
    fn a_frame_goes_to_all_until_it_is_known_where_to() {
        let (mut bridge, now) = (Bridge::new(OWN), Instant::now());
        assert_eq!(send(&mut bridge, DEVICE, OWN, mac(1), now), Err(DatagramDrop::NoRoute));
        let all = MacAddress::BROADCAST;
        assert_eq!(send(&mut bridge, A, mac(1), all, now), Ok(FrameTarget::Flood));
        assert_eq!(send(&mut bridge, DEVICE, OWN, mac(1), now), Ok(FrameTarget::Port(A)));
        assert_eq!(send(&mut bridge, B, mac(2), OWN, now), Ok(FrameTarget::Port(DEVICE)));
        assert_eq!(send(&mut bridge, B, mac(2), mac(1), now), Ok(FrameTarget::Port(A)));
        assert_eq!(send(&mut bridge, A, mac(1), mac(9), now), Ok(FrameTarget::Flood), "unknown");
        assert_eq!(bridge.others(A).collect::<Vec<_>>(), ['b']);
        assert_eq!(bridge.others(DEVICE).count(), 2);
        assert_eq!(send(&mut bridge, A, mac(3), mac(1), now), Err(DatagramDrop::Local), "no echo");
        let passed = bridge.traffic('a').unwrap();
        assert_eq!((passed.received.packets, passed.received.bytes), (3, 51));
        assert_eq!(bridge.peers()[&'a'].1.len(), 2);
        bridge.keep_only(|peer| peer != 'a');
        assert_eq!(bridge.others(DEVICE).collect::<Vec<_>>(), ['b']);
        assert_eq!(send(&mut bridge, B, mac(2), mac(1), now), Ok(FrameTarget::Flood));
    }

    #[test]
    fn addresses_that_are_nobodys_or_the_devices_are_not_learnt() {
        let (mut bridge, now) = (Bridge::new(OWN), Instant::now());
        let all = MacAddress::BROADCAST;
        send(&mut bridge, A, mac(1), all, now).unwrap();
        for source in [all, MacAddress::new([1, 0, 0x5e, 0, 0, 1]), MacAddress::new([0; 6])] {
            assert_eq!(send(&mut bridge, B, source, all, now), Err(DatagramDrop::BadAddress));
        }
        assert_eq!(send(&mut bridge, B, OWN, all, now), Err(DatagramDrop::OwnAddress));
        assert_eq!(bridge.others(DEVICE).collect::<Vec<_>>(), ['a']);
        assert_eq!(send(&mut bridge, B, mac(1), all, now), Ok(FrameTarget::Flood), "it has moved");
        assert_eq!(send(&mut bridge, A, mac(1), all, now), Err(DatagramDrop::Duplicate));
        assert_eq!(send(&mut bridge, DEVICE, OWN, mac(1), now), Ok(FrameTarget::Port(B)));
    }

    #[test]
    fn who_asks_whether_anybody_is_there_is_answered_alone() {
        let (mut bridge, now) = (Bridge::new(OWN), Instant::now());
        let bytes = keepalive(mac(1));
        let asks = EthernetFrame::parse(&bytes).unwrap();
        assert_eq!(bridge.forward(A, &asks, now), Ok(FrameTarget::Echo));
        assert_eq!(send(&mut bridge, DEVICE, OWN, mac(1), now), Ok(FrameTarget::Port(A)));
    }

    #[test]
    fn what_is_kept_of_peers_that_are_gone_is_bounded() {
        let mut bridge = Bridge::new(OWN);
        let mut now = Instant::now();
        for port in 0..10_000_u64 {
            now += std::time::Duration::from_secs(3);
            let bytes = frame(MacAddress::BROADCAST, mac(1));
            let frame = EthernetFrame::parse(&bytes).unwrap();
            bridge.forward(BridgePort::Peer(port), &frame, now).unwrap();
        }
        assert_eq!(bridge.others(BridgePort::Device).collect::<Vec<_>>(), [9999]);
        assert!(bridge.passed.len() <= 66, "{}", bridge.passed.len());
        assert_eq!(bridge.peers().len(), 1);
    }
}

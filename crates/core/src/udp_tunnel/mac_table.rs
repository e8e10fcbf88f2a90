//! Behind whom a hardware address is, learnt from the frames that come (IEEE 802.1D section 7.8).

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

use rtun_proto::ethernet::MacAddress;

/// The most addresses that are known.
pub const MAX_MACS: usize = 4096;

/// The most addresses behind one peer.
pub const MAX_MACS_PER_PEER: usize = 64;

/// The most peers.
pub const MAX_PEERS: usize = MAX_MACS;

/// An address that has sent nothing for so long is forgotten.
const AGE: Duration = Duration::from_secs(300);

/// A peer that has sent nothing for so long is forgotten. A machine that nobody asks may be silent for hours, and is reached
/// by flooding only.
const PEER_AGE: Duration = Duration::from_secs(24 * 3600);

/// Past [`MAX_PEERS`] the peer that has been silent for longest makes room, if that is so long.
const MAKES_ROOM: Duration = Duration::from_secs(30);

/// The table is walked to make room at most so often.
const WALK: Duration = Duration::from_secs(1);

/// An address that has moved stays where it is for so long.
const STAYS: Duration = Duration::from_secs(2);

/// Addresses and the peers they are behind. Bounded: past the limits an address is not learnt, and frames for it are flooded; a
/// peer is not known, and gets none.
#[derive(Debug)]
pub struct MacTable<P> {
    known: HashMap<(u16, MacAddress), Learnt<P>>,
    peers: HashMap<P, KnownPeer>,
    /// When the table was walked last to make room.
    walked: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Learnt<P> {
    peer: P,
    seen: Instant,
    moved: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct KnownPeer {
    macs: usize,
    heard: Instant,
}

impl<P> Default for MacTable<P> {
    fn default() -> Self {
        Self { known: HashMap::new(), peers: HashMap::new(), walked: None }
    }
}

impl<P: Copy + Eq + Hash> MacTable<P> {
    /// A frame of `vlan` (0: none) from `source` has come from `peer`: whether `source` is reached through it now.
    pub fn learn(&mut self, peer: P, vlan: u16, source: MacAddress, now: Instant) -> bool {
        self.learn_up_to(MAX_MACS_PER_PEER, peer, vlan, source, now)
    }

    /// The same for a peer that may have `most` addresses.
    pub fn learn_up_to(
        &mut self,
        most: usize,
        peer: P,
        vlan: u16,
        source: MacAddress,
        now: Instant,
    ) -> bool {
        if !source.is_station() {
            return false;
        }
        let is_new = !self.peers.contains_key(&peer);
        if !self.hears(peer, now) {
            return false;
        }
        let learns = self.learn_of_known(most, peer, vlan, source, now);
        if !learns && is_new {
            self.peers.remove(&peer);
        }
        learns
    }

    fn learn_of_known(
        &mut self,
        most: usize,
        peer: P,
        vlan: u16,
        source: MacAddress,
        now: Instant,
    ) -> bool {
        if let Some(learnt) = self.known.get_mut(&(vlan, source)) {
            if learnt.peer == peer {
                learnt.seen = now;
                return true;
            }
            let former = learnt.peer;
            let has_aged = is_past(learnt.seen, AGE, now);
            let may_move = learnt.moved.is_none_or(|at| is_past(at, STAYS, now)) || has_aged;
            if !may_move || !has_room(&self.peers, peer, most) {
                return false;
            }
            *learnt = Learnt { peer, seen: now, moved: Some(now) };
            self.count_in(peer);
            self.count_out(former);
            return true;
        }
        let is_full = |it: &Self| it.known.len() >= MAX_MACS || !has_room(&it.peers, peer, most);
        if is_full(self) {
            self.walk(now);
            if is_full(self) {
                return false;
            }
        }
        self.known.insert((vlan, source), Learnt { peer, seen: now, moved: None });
        self.count_in(peer);
        true
    }

    /// The peer that `address` is behind; none: not known, or a group, so frames for it are flooded.
    pub fn lookup(&self, vlan: u16, address: MacAddress, now: Instant) -> Option<P> {
        let learnt = self.known.get(&(vlan, address))?;
        (!is_past(learnt.seen, AGE, now)).then_some(learnt.peer)
    }

    /// The peer that `address` was behind last and when it was heard there, also past its age until it makes room.
    pub fn last_place(&self, vlan: u16, address: MacAddress) -> Option<(P, Instant)> {
        self.known.get(&(vlan, address)).map(|learnt| (learnt.peer, learnt.seen))
    }

    /// Everybody whom frames are flooded to.
    pub fn peers(&self) -> impl Iterator<Item = P> {
        self.peers.keys().copied()
    }

    /// Whether frames are flooded to this one.
    pub fn knows(&self, peer: P) -> bool {
        self.peers.contains_key(&peer)
    }

    /// What is known, in no order: VLAN, address, peer, when it sent last.
    pub fn iter(&self) -> impl Iterator<Item = (u16, MacAddress, P, Instant)> {
        self.known.iter().map(|((vlan, mac), it)| (*vlan, *mac, it.peer, it.seen))
    }

    /// Forgets addresses that have sent nothing for 300 s and peers that have sent nothing for a day; costs a walk over the
    /// table.
    pub fn forget_aged(&mut self, now: Instant) {
        let peers = &mut self.peers;
        self.known.retain(|_, learnt| {
            let stays = !is_past(learnt.seen, AGE, now);
            if !stays && let Some(peer) = peers.get_mut(&learnt.peer) {
                peer.macs -= 1;
            }
            stays
        });
        self.peers.retain(|_, peer| peer.macs > 0 || !is_past(peer.heard, PEER_AGE, now));
    }

    /// Forgets a peer with all that is reached through it.
    pub fn forget(&mut self, peer: P) {
        self.known.retain(|_, learnt| learnt.peer != peer);
        self.peers.remove(&peer);
    }

    /// Notes that a peer has sent; false: it is a new one, and there is no room.
    fn hears(&mut self, peer: P, now: Instant) -> bool {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.heard = now;
            return true;
        }
        if self.peers.len() >= MAX_PEERS && !self.make_room_for_a_peer(now) {
            return false;
        }
        self.peers.insert(peer, KnownPeer { macs: 0, heard: now });
        true
    }

    fn make_room_for_a_peer(&mut self, now: Instant) -> bool {
        if !self.walk(now) {
            return false;
        }
        if self.peers.len() < MAX_PEERS {
            return true;
        }
        let silent = self.peers.iter().filter(|(_, it)| is_past(it.heard, MAKES_ROOM, now));
        let longest = silent.min_by_key(|(_, it)| it.heard).map(|(peer, _)| *peer);
        longest.inspect(|peer| self.forget(*peer)).is_some()
    }

    /// Forgets what has aged, unless that was done a moment ago.
    fn walk(&mut self, now: Instant) -> bool {
        let is_time = self.walked.is_none_or(|at| is_past(at, WALK, now));
        if is_time {
            self.walked = Some(now);
            self.forget_aged(now);
        }
        is_time
    }

    fn count_in(&mut self, peer: P) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.macs += 1;
        }
    }

    /// A peer whose last address has moved away is the former place of a machine.
    fn count_out(&mut self, peer: P) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.macs -= 1;
            if known.macs == 0 {
                self.peers.remove(&peer);
            }
        }
    }
}

fn has_room<P: Eq + Hash>(peers: &HashMap<P, KnownPeer>, peer: P, most: usize) -> bool {
    peers.get(&peer).is_none_or(|known| known.macs < most)
}

fn is_past(at: Instant, age: Duration, now: Instant) -> bool {
    now.saturating_duration_since(at) >= age
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(n: u64) -> MacAddress {
        MacAddress::local(n)
    }

    #[test]
    fn an_address_is_behind_whom_it_sent_from_last_but_does_not_jump() {
        let mut table = MacTable::default();
        let now = Instant::now();
        assert!(table.learn('a', 0, mac(1), now));
        assert_eq!(table.lookup(0, mac(1), now), Some('a'));
        assert_eq!(table.lookup(7, mac(1), now), None, "another network");
        assert!(table.learn('b', 0, mac(1), now), "it moves at once");
        assert!(!table.learn('a', 0, mac(1), now), "and stays for a while");
        assert_eq!(table.lookup(0, mac(1), now), Some('b'));
        assert_eq!(table.peers().collect::<Vec<_>>(), ['b']);
        let later = now + STAYS;
        assert!(table.learn('a', 0, mac(1), later));
        assert_eq!(table.lookup(0, mac(1), later), Some('a'));
        assert_eq!(table.lookup(0, mac(1), later + AGE), None, "forgotten");
        assert!(!table.learn('a', 0, MacAddress::BROADCAST, now));
        assert!(!table.learn('a', 0, MacAddress::new([0; 6]), now));
    }

    #[test]
    fn no_peer_fills_the_table() {
        let mut table = MacTable::default();
        let now = Instant::now();
        for n in 0..1000 {
            assert_eq!(table.learn(0, 0, mac(n), now), n < MAX_MACS_PER_PEER as u64);
        }
        let mut learnt = MAX_MACS_PER_PEER;
        for n in 1000..100_000_u64 {
            learnt += usize::from(table.learn(n, 0, mac(n), now));
        }
        assert_eq!((learnt, table.iter().count()), (MAX_MACS, MAX_MACS));
        assert!(table.learn(1, 0, mac(7_000_000), now + AGE), "what has aged makes room");
        assert_eq!(table.iter().count(), 1);
        assert_eq!(table.peers().count(), 2 + MAX_MACS - MAX_MACS_PER_PEER, "peers stay");
        table.forget(1);
        assert!(!table.knows(1));
        table.forget_aged(now + PEER_AGE);
        assert_eq!((table.iter().count(), table.peers().count()), (0, 0));
    }

    #[test]
    fn a_peer_that_is_silent_for_long_makes_room_for_a_new_one() {
        let mut table = MacTable::default();
        let now = Instant::now();
        for n in 0..MAX_PEERS as u64 {
            assert!(table.learn(n, 0, mac(n), now + Duration::from_millis(n)));
        }
        let mut later = now + AGE;
        table.forget_aged(later + AGE);
        assert!((0..10).all(|n| table.knows(n)), "silence alone ends no peer");
        later += AGE + WALK;
        assert!(table.learn(10_000, 0, mac(10_000), later));
        assert!(!table.knows(0) && table.knows(1), "the one that was silent for longest");
        assert!(!table.learn(10_001, 0, mac(10_001), later), "one a second");
        let mut table = MacTable::default();
        for n in 0..MAX_PEERS as u64 {
            table.learn(n, 0, mac(n), now);
        }
        assert!(!table.learn(10_000, 0, mac(10_000), now + WALK), "nobody is silent");
        assert!(!table.knows(10_000));
    }
}

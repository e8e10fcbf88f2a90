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

/// An address that has sent nothing for so long is forgotten.
const AGE: Duration = Duration::from_secs(300);

/// The table is walked to make room at most so often.
const WALK: Duration = Duration::from_secs(1);

/// An address that has moved stays where it is for so long.
const STAYS: Duration = Duration::from_secs(2);

/// Addresses and the peers they are behind. Bounded: past the limits an address is not learnt, and frames for it are flooded.
#[derive(Debug)]
pub struct MacTable<P> {
    known: HashMap<(u16, MacAddress), Learnt<P>>,
    /// How many addresses are behind each peer.
    peers: HashMap<P, usize>,
    /// When the table was walked last to make room.
    walked: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Learnt<P> {
    peer: P,
    seen: Instant,
    moved: Option<Instant>,
}

impl<P> Default for MacTable<P> {
    fn default() -> Self {
        Self { known: HashMap::new(), peers: HashMap::new(), walked: None }
    }
}

impl<P: Copy + Eq + Hash> MacTable<P> {
    /// A frame of `vlan` (0: none) from `source` has come from `peer`: whether `source` is behind it now.
    pub fn learn(&mut self, peer: P, vlan: u16, source: MacAddress, now: Instant) -> bool {
        if !source.is_station() {
            return false;
        }
        if let Some(learnt) = self.known.get(&(vlan, source)).copied() {
            let has_aged = is_past(learnt.seen, AGE, now);
            let may_move = learnt.moved.is_none_or(|at| is_past(at, STAYS, now)) || has_aged;
            if learnt.peer != peer && (!may_move || !self.has_room(peer)) {
                return false;
            }
            let moved = if learnt.peer == peer { learnt.moved } else { Some(now) };
            if learnt.peer != peer {
                self.count_out(learnt.peer);
                *self.peers.entry(peer).or_default() += 1;
            }
            self.known.insert((vlan, source), Learnt { peer, seen: now, moved });
            return true;
        }
        if self.known.len() >= MAX_MACS || !self.has_room(peer) {
            if self.walked.is_none_or(|at| is_past(at, WALK, now)) {
                self.walked = Some(now);
                self.forget_aged(now);
            }
            if self.known.len() >= MAX_MACS || !self.has_room(peer) {
                return false;
            }
        }
        self.known.insert((vlan, source), Learnt { peer, seen: now, moved: None });
        *self.peers.entry(peer).or_default() += 1;
        true
    }

    /// The peer that `address` is behind; none: not known, or a group, so frames for it are flooded.
    pub fn lookup(&self, vlan: u16, address: MacAddress, now: Instant) -> Option<P> {
        let learnt = self.known.get(&(vlan, address))?;
        (!is_past(learnt.seen, AGE, now)).then_some(learnt.peer)
    }

    /// Everybody whom frames are flooded to.
    pub fn peers(&self) -> impl Iterator<Item = P> {
        self.peers.keys().copied()
    }

    /// What is known, in no order: VLAN, address, peer, when it sent last.
    pub fn iter(&self) -> impl Iterator<Item = (u16, MacAddress, P, Instant)> {
        self.known.iter().map(|((vlan, mac), it)| (*vlan, *mac, it.peer, it.seen))
    }

    /// Forgets what has sent nothing for 300 s; costs a walk over the table.
    pub fn forget_aged(&mut self, now: Instant) {
        let peers = &mut self.peers;
        self.known.retain(|_, learnt| {
            let stays = !is_past(learnt.seen, AGE, now);
            if !stays && let Some(count) = peers.get_mut(&learnt.peer) {
                *count -= 1;
            }
            stays
        });
        self.peers.retain(|_, count| *count > 0);
    }

    /// Forgets a peer with all that is behind it.
    pub fn forget(&mut self, peer: P) {
        self.known.retain(|_, learnt| learnt.peer != peer);
        self.peers.remove(&peer);
    }

    fn has_room(&self, peer: P) -> bool {
        self.peers.get(&peer).is_none_or(|count| *count < MAX_MACS_PER_PEER)
    }

    fn count_out(&mut self, peer: P) {
        if let Some(count) = self.peers.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&peer);
            }
        }
    }
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
        table.forget(1);
        assert_eq!((table.iter().count(), table.peers().count()), (0, 0));
    }
}

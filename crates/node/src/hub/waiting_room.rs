//! Connections that have not been admitted yet: few, brief, and the oldest makes room.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// At most this many connections wait to be admitted.
pub(super) const MAX_WAITING: usize = 512;

/// At most this many of them come from one IPv4 address or IPv6 /64.
pub(super) const MAX_PER_SOURCE: usize = 64;

/// Who waits. Past either bound the one that has waited longest is turned out, of the same source where that source
/// has too many: a host that means it needs a round trip, one that does not sits until its time is up.
#[derive(Default)]
pub(super) struct WaitingRoom {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    by_age: BTreeMap<u64, (IpAddr, CancellationToken)>,
    by_source: HashMap<IpAddr, VecDeque<u64>>,
}

/// A place in the waiting room; dropping it leaves.
pub(super) struct Place {
    room: Arc<WaitingRoom>,
    number: u64,
    turned_out: CancellationToken,
}

impl WaitingRoom {
    /// Takes a place, turning somebody out if there is none.
    pub(super) fn enter(self: &Arc<Self>, source: IpAddr) -> Place {
        let source = group(source);
        let mut state = self.state();
        if state.by_source.get(&source).is_some_and(|places| places.len() >= MAX_PER_SOURCE) {
            let oldest = state.by_source.get(&source).and_then(|places| places.front().copied());
            state.turn_out(oldest);
        } else if state.by_age.len() >= MAX_WAITING {
            let oldest = state.by_age.keys().next().copied();
            state.turn_out(oldest);
        }
        let number = state.next;
        state.next += 1;
        let turned_out = CancellationToken::new();
        state.by_age.insert(number, (source, turned_out.clone()));
        state.by_source.entry(source).or_default().push_back(number);
        Place { room: Arc::clone(self), number, turned_out }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.state().by_age.len()
    }

    /// A poisoned lock still guards whole maps: no critical section panics half way through a change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Resolves when the place is needed for another.
    pub(super) async fn turned_out(&self) {
        self.turned_out.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.state().remove(self.number);
    }
}

impl State {
    fn turn_out(&mut self, number: Option<u64>) {
        if let Some(turned_out) = number.and_then(|number| self.remove(number)) {
            turned_out.cancel();
        }
    }

    fn remove(&mut self, number: u64) -> Option<CancellationToken> {
        let (source, turned_out) = self.by_age.remove(&number)?;
        if let Some(places) = self.by_source.get_mut(&source) {
            places.retain(|place| *place != number);
            if places.is_empty() {
                self.by_source.remove(&source);
            }
        }
        Some(turned_out)
    }
}

/// What counts as one source: an IPv4 address, also where it is mapped into IPv6, or an IPv6 /64.
fn group(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(addr) => IpAddr::V4(addr),
        IpAddr::V6(addr) => IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: usize) -> IpAddr {
        IpAddr::from([10, 0, (n / 256) as u8, (n % 256) as u8])
    }

    fn is_turned_out(place: &Place) -> bool {
        place.turned_out.is_cancelled()
    }

    #[test]
    fn the_oldest_of_a_crowded_source_makes_room() {
        let room = Arc::new(WaitingRoom::default());
        let other = room.enter(source(2));
        let places: Vec<_> = (0..=MAX_PER_SOURCE).map(|_| room.enter(source(1))).collect();
        assert!(is_turned_out(&places[0]));
        assert!(!places[1..].iter().any(is_turned_out));
        assert!(!is_turned_out(&other));
        assert_eq!(room.len(), MAX_PER_SOURCE + 1);
    }

    #[test]
    fn the_oldest_of_all_makes_room_in_a_full_house() {
        let room = Arc::new(WaitingRoom::default());
        let places: Vec<_> = (0..=MAX_WAITING).map(|n| room.enter(source(n))).collect();
        assert!(is_turned_out(&places[0]));
        assert!(!places[1..].iter().any(is_turned_out));
        assert_eq!(room.len(), MAX_WAITING);
        drop(places);
        assert_eq!(room.len(), 0);
        assert!(room.state().by_source.is_empty());
    }

    #[test]
    fn a_64_counts_as_one_source_and_a_mapped_address_as_itself() {
        let addr = |text: &str| group(text.parse().unwrap());
        assert_eq!(addr("2001:db8::1"), addr("2001:db8::ffff:1"));
        assert_ne!(addr("2001:db8::1"), addr("2001:db8:0:1::1"));
        assert_eq!(addr("::ffff:10.0.0.1"), addr("10.0.0.1"));
    }
}

//! Connections on which no host is admitted yet: their number and their time are bounded, and those that have proven more
//! stay longer.
//!
//! A host needs some round trips to be admitted. A flood consists of many connections that stop at the same point. So
//! connections are grouped by what they have proven ([`ProofLevel`]), and each source has [`SLOTS`] slots for each of these levels:
//!
//! - A connection that has proven nothing makes room for the next such one of its source: a host sends its request at once.
//! - A connection that has proven something keeps its slot for [`GRACE`], longer than a round trip. If all have been there for
//!   less, the new one is turned out instead.
//! - When all slots are taken, the source with the most connections gives one up: the oldest of those that have proven least.
//!   So a source with few connections gets a slot, whatever the others do.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// At most this many connections wait to be admitted; fewer where descriptors are few.
pub(in crate::hub) const WAITING: usize = 512;

/// At most this many of them come from one IPv4 address or IPv6 /64 and have proven the same.
pub(in crate::hub) const SLOTS: usize = 64;

/// A connection that has proven something keeps its slot for this long.
pub(in crate::hub) const GRACE: Duration = Duration::from_millis(300);

/// What a connection has proven so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::hub) enum ProofLevel {
    /// Nothing: it was accepted.
    Nothing,
    /// It has sent something.
    Speech,
    /// It has completed its transport's handshakes.
    Transport,
}

/// The number of levels.
const LEVELS: usize = 3;

/// The connections that wait to be admitted.
pub(in crate::hub) struct WaitingRoom {
    capacity: usize,
    /// The most connections of one source at one level.
    slots: usize,
    state: Mutex<WaitingRoomState>,
}

#[derive(Default)]
struct WaitingRoomState {
    next: u64,
    waiting: HashMap<u64, WaitingConnection>,
    by_source: HashMap<IpAddr, SourceQueues>,
}

struct WaitingConnection {
    source: IpAddr,
    proven: ProofLevel,
    /// When it proved that.
    since: Instant,
    turned_out: CancellationToken,
}

/// The connections of a source by what they have proven, each level oldest first; never all empty.
#[derive(Default)]
struct SourceQueues([VecDeque<u64>; LEVELS]);

/// A slot in the waiting room; dropping it frees the slot.
pub(in crate::hub) struct WaitingSlot {
    room: Arc<WaitingRoom>,
    number: u64,
    turned_out: CancellationToken,
}

impl WaitingRoom {
    /// For at most a quarter of this many descriptors.
    pub(in crate::hub) fn new(descriptors: u64) -> Arc<Self> {
        let capacity = usize::try_from(descriptors / 4).unwrap_or(WAITING).clamp(8, WAITING);
        Arc::new(Self { capacity, slots: SLOTS.min(capacity / 2), state: Mutex::default() })
    }

    /// Takes a slot for a connection that has proven nothing; none if no slot is free and none can be freed.
    pub(in crate::hub) fn enter(self: &Arc<Self>, source: IpAddr) -> Option<WaitingSlot> {
        let (source, now) = (group(source), Instant::now());
        let mut state = self.state();
        let own = state.by_source.get(&source);
        if let Some(oldest) =
            own.and_then(|own| own.oldest_of_full(ProofLevel::Nothing, self.slots))
        {
            state.turn_out(oldest);
        }
        if state.waiting.len() >= self.capacity && !state.make_room(source, now) {
            return None;
        }
        let number = state.next;
        state.next += 1;
        let turned_out = CancellationToken::new();
        let (proven, token) = (ProofLevel::Nothing, turned_out.clone());
        state
            .waiting
            .insert(number, WaitingConnection { source, proven, since: now, turned_out: token });
        state.by_source.entry(source).or_default().0[proven as usize].push_back(number);
        Some(WaitingSlot { room: Arc::clone(self), number, turned_out })
    }

    /// The number of connections that wait.
    pub(in crate::hub) fn len(&self) -> usize {
        self.state().waiting.len()
    }

    /// The maps of a poisoned lock are consistent: no critical section panics in the middle of a change.
    fn state(&self) -> MutexGuard<'_, WaitingRoomState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitingSlot {
    /// The connection has proven more than before. At the new level it may be turned out, or turn another out.
    pub(in crate::hub) fn proves(&self, proven: ProofLevel) {
        self.room.state().promote(self.number, proven, self.room.slots, Instant::now());
    }

    /// Resolves when the slot is needed for another connection.
    pub(in crate::hub) async fn turned_out(&self) {
        self.turned_out.cancelled().await;
    }
}

impl Drop for WaitingSlot {
    fn drop(&mut self) {
        self.room.state().remove(self.number);
    }
}

impl WaitingRoomState {
    /// Makes room for one more connection of `source` that has proven nothing; whether there is room now.
    fn make_room(&mut self, source: IpAddr, now: Instant) -> bool {
        let Some((&fattest, slots)) = self.by_source.iter().max_by_key(|(_, own)| own.len()) else {
            return false;
        };
        let own = self.by_source.get(&source).map_or(0, SourceQueues::len);
        let is_thin = own + 1 < slots.len();
        // A source that has as many connections as any other makes room itself.
        let from = if is_thin || own == 0 { fattest } else { source };
        let Some((least, oldest)) = self.by_source.get(&from).and_then(SourceQueues::least_proven)
        else {
            return false;
        };
        let may_go = is_thin || least == ProofLevel::Nothing || self.has_had_its_time(oldest, now);
        if may_go {
            self.turn_out(oldest);
        }
        may_go
    }

    fn promote(&mut self, number: u64, proven: ProofLevel, slots: usize, now: Instant) {
        let Some(waiting) = self.waiting.get(&number).filter(|it| it.proven < proven) else {
            return;
        };
        let own = self.by_source.get(&waiting.source);
        if let Some(oldest) = own.and_then(|own| own.oldest_of_full(proven, slots)) {
            if !self.has_had_its_time(oldest, now) {
                return self.turn_out(number);
            }
            self.turn_out(oldest);
        }
        if let Some(waiting) = self.waiting.get_mut(&number) {
            let own = self.by_source.entry(waiting.source).or_default();
            own.0[waiting.proven as usize].retain(|&other| other != number);
            own.0[proven as usize].push_back(number);
            (waiting.proven, waiting.since) = (proven, now);
        }
    }

    fn has_had_its_time(&self, number: u64, now: Instant) -> bool {
        self.waiting.get(&number).is_none_or(|it| now.duration_since(it.since) >= GRACE)
    }

    fn turn_out(&mut self, number: u64) {
        if let Some(waiting) = self.remove(number) {
            waiting.turned_out.cancel();
        }
    }

    fn remove(&mut self, number: u64) -> Option<WaitingConnection> {
        let waiting = self.waiting.remove(&number)?;
        if let Some(own) = self.by_source.get_mut(&waiting.source) {
            own.0[waiting.proven as usize].retain(|&other| other != number);
            if own.len() == 0 {
                self.by_source.remove(&waiting.source);
            }
        }
        Some(waiting)
    }
}

impl SourceQueues {
    fn len(&self) -> usize {
        self.0.iter().map(VecDeque::len).sum()
    }

    /// The oldest that have proven `proven`, if there are `slots` of these.
    fn oldest_of_full(&self, proven: ProofLevel, slots: usize) -> Option<u64> {
        let level = &self.0[proven as usize];
        level.front().copied().filter(|_| level.len() >= slots)
    }

    /// The oldest of those that have proven least.
    fn least_proven(&self) -> Option<(ProofLevel, u64)> {
        let levels = [ProofLevel::Nothing, ProofLevel::Speech, ProofLevel::Transport];
        levels.into_iter().zip(&self.0).find_map(|(proven, level)| Some((proven, *level.front()?)))
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
mod tests;

//! The senders that wait, the flows of each, and whose turn it is: deficit round robin among senders and among the flows
//! of a sender, those that begin first (RFC 8290 section 4).

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::{
    codel::Codel,
    store::{FrameId, FrameList, Store},
};

/// Buckets the flows of one sender are hashed into. Of 50 flows, each shares its bucket with another with a probability
/// of 9 %.
const BUCKETS: u64 = 512;

/// Flows there is room for without using the place of one that waits for nothing.
const FEW_FLOWS: usize = 512;

/// Flows told apart. Past it a flow that begins is taken for one with another of its sender; a sender has one flow in any
/// case.
const MAX_FLOWS: usize = 2048;

/// Senders told apart. Past it a sender that begins shares the turns of another.
const MAX_SENDERS: usize = 1024;

/// Places looked at for a flow that waits for nothing before there is another place.
const LOOK: usize = 16;

/// Bytes a flow, and a sender, may send in one round.
pub(super) const QUANTUM: i64 = 1514;

/// A queue of at most the longest frame seen is not a standing one; frames up to this length are not told apart.
const ONE_FRAME: usize = 1514;

/// What a frame counts besides its bytes where room is to be made: as many as the bounds of a queue have for each frame,
/// so that who fills it with short frames is found too.
const FRAME: usize = 256;

/// Frames the fattest flow loses before another one is looked for (RFC 8290 section 4.1).
const BATCH: u8 = 64;

/// Names a flow of [`Flows`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FlowId(u16);

/// The frames of one bucket of one sender.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    frames: FrameList,
    /// Of the frames, length prefixes included.
    bytes: usize,
    /// Those, and [`FRAME`] for each.
    fatness: usize,
    /// What it may still send in this round. A frame may overdraw it by its length; that is paid back in the rounds
    /// that follow, so that flows of long and of short frames send equally many bytes.
    deficit: i64,
    /// The longest frame since it last began to send, at least [`ONE_FRAME`].
    pub(super) one_frame: usize,
    pub(super) codel: Codel,
    /// Of which sender and bucket it is, see [`key`].
    key: u64,
    /// Its sender's place while it is active.
    sender: u16,
    next: u16,
    /// In one of the two lists of its sender; it may be empty then.
    is_active: bool,
}

/// Somebody whose frames wait.
#[derive(Debug)]
struct Sender {
    id: u64,
    /// Flows that had nothing waiting a moment ago; they go first, once.
    new: List,
    old: List,
    /// As a flow's.
    deficit: i64,
    /// Of all its flows.
    fatness: usize,
    next: u16,
}

/// All flows of a queue.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: Vec<Flow>,
    /// Those of `flows`, by their keys; also those that wait for nothing now, whose CoDel state stays.
    by_key: HashMap<u64, u16, Mix>,
    /// Where the next flow that waits for nothing is looked for.
    hand: usize,
    senders: Vec<Sender>,
    /// Those in one of the two lists, by id.
    by_id: HashMap<u64, u16, Mix>,
    vacant: List,
    /// Senders that had nothing waiting a moment ago; they go first, once.
    new: List,
    old: List,
    fattest: Option<Fattest>,
}

/// The flow that was found to be the fattest of the fattest sender, and for how long it is taken without looking again.
#[derive(Debug, Clone, Copy)]
struct Fattest {
    flow: FlowId,
    /// Half of what it had.
    floor: usize,
    /// Half of what its sender had.
    sender_floor: usize,
    turns: u8,
}

/// Of which sender and bucket a flow is. Senders' numbers below 2^55 are told apart.
fn key(sender: u64, hash: u64) -> u64 {
    sender.wrapping_mul(BUCKETS) | (hash % BUCKETS)
}

impl Flow {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Flows {
    pub(super) fn flow_mut(&mut self, id: FlowId) -> &mut Flow {
        &mut self.flows[usize::from(id.0)]
    }

    /// Appends a frame to the flow of `sender` with this hash.
    pub(super) fn push(&mut self, sender: u64, hash: u64, frame: FrameId, store: &mut Store) {
        let id = self.flow_of(sender, key(sender, hash));
        let len = store.get(frame).len();
        let flow = &mut self.flows[usize::from(id)];
        flow.one_frame = flow.one_frame.max(len);
        flow.bytes += len;
        flow.fatness += len + FRAME;
        flow.frames.push(store, frame);
        self.senders[usize::from(flow.sender)].fatness += len + FRAME;
    }

    /// Takes the first frame off a flow's queue.
    pub(super) fn pop(&mut self, id: FlowId, store: &Store) -> Option<FrameId> {
        let flow = &mut self.flows[usize::from(id.0)];
        let frame = flow.frames.pop(store)?;
        let len = store.get(frame).len();
        flow.bytes -= len;
        flow.fatness -= len + FRAME;
        self.senders[usize::from(flow.sender)].fatness -= len + FRAME;
        Some(frame)
    }

    /// Counts a frame that is sent against the shares of the flow and of its sender.
    pub(super) fn pay(&mut self, id: FlowId, len: usize) {
        let len = i64::try_from(len).expect("a frame's length is small");
        let flow = &mut self.flows[usize::from(id.0)];
        flow.deficit -= len;
        self.senders[usize::from(flow.sender)].deficit -= len;
    }

    /// The flow whose turn it is: of the sender whose turn it is the first new one that has not used its share up, else
    /// the first old one. It may turn out to be empty. None when there is no flow. Paying the longest frame back takes
    /// 44 rounds.
    pub(super) fn next(&mut self) -> Option<FlowId> {
        loop {
            let sender = turn(&mut self.new, &mut self.old, &mut self.senders)?;
            let Sender { new, old, .. } = &mut self.senders[usize::from(sender)];
            if let Some(flow) = turn(new, old, &mut self.flows) {
                return Some(FlowId(flow));
            }
            if let Some(gone) = retire(&mut self.new, &mut self.old, &mut self.senders) {
                self.by_id.remove(&self.senders[usize::from(gone)].id);
                self.vacant.push_back(gone, &mut self.senders);
            }
        }
    }

    /// Takes the flow [`Flows::next`] gave, which is empty, off its list. A new one joins the old ones first: it could
    /// keep them from sending otherwise, by being new again and again.
    pub(super) fn retire(&mut self) {
        let first = if self.new.is_empty() { &self.old } else { &self.new };
        let Some(sender) = first.first() else { return };
        let Sender { new, old, .. } = &mut self.senders[usize::from(sender)];
        if let Some(gone) = retire(new, old, &mut self.flows) {
            self.flows[usize::from(gone)].is_active = false;
        }
    }

    /// The fattest flow of the fattest sender; none when nothing waits.
    ///
    /// Looking for it takes as long as there are senders, and flows of one. Therefore the one found is taken again until
    /// it or its sender has lost half of its bytes, or it [`BATCH`] frames, or [`Flows::forget_fattest`]: the batch of
    /// RFC 8290 section 4.1, though no more of it is dropped than is needed.
    pub(super) fn fattest(&mut self) -> Option<FlowId> {
        let known = self.fattest.filter(|fattest| {
            let flow = &self.flows[usize::from(fattest.flow.0)];
            let sender = &self.senders[usize::from(flow.sender)];
            fattest.turns > 0
                && flow.fatness > fattest.floor
                && sender.fatness > fattest.sender_floor
        });
        let fattest = known.or_else(|| self.look_for_fattest())?;
        self.fattest = Some(Fattest { turns: fattest.turns - 1, ..fattest });
        Some(fattest.flow)
    }

    /// To be called when frames are sent, since that changes which flow is the fattest.
    pub(super) fn forget_fattest(&mut self) {
        self.fattest = None;
    }

    fn look_for_fattest(&self) -> Option<Fattest> {
        let senders = self.new.iter(&self.senders).chain(self.old.iter(&self.senders));
        let senders = senders.map(|sender| &self.senders[usize::from(sender)]);
        let sender = senders.max_by_key(|sender| sender.fatness)?;
        let flows = sender.new.iter(&self.flows).chain(sender.old.iter(&self.flows));
        let flow = flows.max_by_key(|flow| self.flows[usize::from(*flow)].fatness)?;
        let fatness = self.flows[usize::from(flow)].fatness;
        (fatness > 0).then_some(Fattest {
            flow: FlowId(flow),
            floor: fatness / 2,
            sender_floor: sender.fatness / 2,
            turns: BATCH,
        })
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        let entries = self.by_key.capacity() + self.by_id.capacity();
        self.flows.capacity() * size_of::<Flow>()
            + self.senders.capacity() * size_of::<Sender>()
            + entries * size_of::<(u64, u16)>()
    }

    /// The place of the flow with this key, which is active then.
    fn flow_of(&mut self, sender: u64, key: u64) -> u16 {
        let known = self.by_key.get(&key).copied();
        if let Some(id) = known
            && self.flows[usize::from(id)].is_active
        {
            return id;
        }
        let sender = self.sender_of(sender);
        let Some(id) = known.or_else(|| self.place_for(sender, key)) else {
            let Sender { new, old, .. } = &self.senders[usize::from(sender)];
            return old.last().or(new.last()).expect("a sender without a flow was given a place");
        };
        let flow = &mut self.flows[usize::from(id)];
        flow.is_active = true;
        flow.deficit = QUANTUM;
        flow.one_frame = ONE_FRAME;
        flow.sender = sender;
        self.senders[usize::from(sender)].new.push_back(id, &mut self.flows);
        id
    }

    /// A place for a new flow of this sender; none when there are too many and the sender has another.
    fn place_for(&mut self, sender: u16, key: u64) -> Option<u16> {
        let flow = Flow {
            frames: FrameList::default(),
            bytes: 0,
            fatness: 0,
            deficit: 0,
            one_frame: ONE_FRAME,
            codel: Codel::default(),
            key,
            sender,
            next: NONE,
            is_active: false,
        };
        let len = self.flows.len();
        let idle = (len >= FEW_FLOWS).then(|| {
            let place = (0..LOOK)
                .map(|step| (self.hand + step) % len)
                .find(|place| !self.flows[*place].is_active);
            self.hand = (place.unwrap_or(self.hand + LOOK) + 1) % len;
            place
        });
        let place = match idle.flatten() {
            Some(place) => {
                self.by_key.remove(&self.flows[place].key);
                self.flows[place] = flow;
                place
            }
            None if len < MAX_FLOWS || self.senders[usize::from(sender)].has_no_flow() => {
                self.flows.push(flow);
                len
            }
            None => return None,
        };
        let place = u16::try_from(place).expect("flows and senders are bounded");
        self.by_key.insert(key, place);
        Some(place)
    }

    /// The place of this sender, which is active then.
    fn sender_of(&mut self, id: u64) -> u16 {
        if let Some(place) = self.by_id.get(&id) {
            return *place;
        }
        let sender = Sender {
            id,
            new: List::EMPTY,
            old: List::EMPTY,
            deficit: QUANTUM,
            fatness: 0,
            next: NONE,
        };
        let place = match self.vacant.pop_front(&self.senders) {
            Some(place) => {
                self.senders[usize::from(place)] = sender;
                place
            }
            None if self.senders.len() < MAX_SENDERS => {
                self.senders.push(sender);
                u16::try_from(self.senders.len() - 1).expect("senders are bounded")
            }
            // All of them are active.
            None => return u16::try_from(id % MAX_SENDERS as u64).expect("senders are bounded"),
        };
        self.by_id.insert(id, place);
        self.new.push_back(place, &mut self.senders);
        place
    }
}

impl Sender {
    fn has_no_flow(&self) -> bool {
        self.new.is_empty() && self.old.is_empty()
    }
}

/// Whose turn it is in one of two lists.
fn turn<T: Waits>(new: &mut List, old: &mut List, all: &mut [T]) -> Option<u16> {
    loop {
        let list = if new.is_empty() { &mut *old } else { &mut *new };
        let id = list.first()?;
        let deficit = all[usize::from(id)].deficit();
        if *deficit > 0 {
            return Some(id);
        }
        *deficit += QUANTUM;
        list.pop_front(all);
        old.push_back(id, all);
    }
}

/// Takes the first one, which has nothing left, off its list; none when it is in the other one now.
fn retire<T: Waits>(new: &mut List, old: &mut List, all: &mut [T]) -> Option<u16> {
    if let Some(id) = new.pop_front(all) {
        if old.is_empty() {
            return Some(id);
        }
        old.push_back(id, all);
        return None;
    }
    old.pop_front(all)
}

/// Somebody who takes turns.
trait Waits {
    fn deficit(&mut self) -> &mut i64;
    fn next(&self) -> u16;
    fn set_next(&mut self, next: u16);
}

impl Waits for Flow {
    fn deficit(&mut self) -> &mut i64 {
        &mut self.deficit
    }

    fn next(&self) -> u16 {
        self.next
    }

    fn set_next(&mut self, next: u16) {
        self.next = next;
    }
}

impl Waits for Sender {
    fn deficit(&mut self) -> &mut i64 {
        &mut self.deficit
    }

    fn next(&self) -> u16 {
        self.next
    }

    fn set_next(&mut self, next: u16) {
        self.next = next;
    }
}

/// Nobody.
const NONE: u16 = u16::MAX;

/// Places in a slice, in an order; each is in one list at most.
#[derive(Debug, Clone, Copy)]
struct List {
    head: u16,
    tail: u16,
}

impl List {
    const EMPTY: Self = Self { head: NONE, tail: NONE };

    fn is_empty(self) -> bool {
        self.head == NONE
    }

    fn first(self) -> Option<u16> {
        (self.head != NONE).then_some(self.head)
    }

    fn last(self) -> Option<u16> {
        (self.head != NONE).then_some(self.tail)
    }

    fn push_back<T: Waits>(&mut self, id: u16, all: &mut [T]) {
        all[usize::from(id)].set_next(NONE);
        match self.last() {
            Some(last) => all[usize::from(last)].set_next(id),
            None => self.head = id,
        }
        self.tail = id;
    }

    fn pop_front<T: Waits>(&mut self, all: &[T]) -> Option<u16> {
        let first = self.first()?;
        self.head = all[usize::from(first)].next();
        Some(first)
    }

    fn iter<T: Waits>(self, all: &[T]) -> impl Iterator<Item = u16> {
        let mut next = self.head;
        std::iter::from_fn(move || {
            let id = (next != NONE).then_some(next)?;
            next = all[usize::from(id)].next();
            Some(id)
        })
    }
}

impl Default for List {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Spreads numbers that no stranger chooses: senders are numbered here, and flows are hashed with a seed.
type Mix = BuildHasherDefault<Spread>;

#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, number: u64) {
        const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
        let product = (self.0 ^ number).wrapping_mul(GOLDEN_RATIO);
        self.0 = product ^ (product >> 32);
    }
}

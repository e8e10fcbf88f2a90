//! The waiting senders, the flows of each, and whose turn it is: deficit round robin among senders and among the flows of a
//! sender. New ones go first (RFC 8290 section 4).

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::{
    codel::Codel,
    store::{FrameId, FrameList, Store},
};

/// The number of buckets that the flows of one sender are hashed into. Of 50 flows, each shares its bucket with another with
/// a probability of 9 %.
const BUCKETS: u64 = 512;

/// The number of slots for flows before slots of idle flows are used again.
const FEW_FLOWS: usize = 512;

/// The most flows. At the bound a new flow shares the queue of another flow of its sender. Every sender has at least one
/// flow.
const MAX_FLOWS: usize = 2048;

/// The most senders. At the bound a new sender shares the turns of another one.
const MAX_SENDERS: usize = 1024;

/// How many slots are checked for an idle flow before a new slot is made.
const SLOTS_CHECKED: usize = 16;

/// Bytes a flow, and a sender, may send in one round.
pub(super) const QUANTUM: i64 = 1514;

/// A queue of at most the longest frame seen is not a standing queue. Shorter longest frames count as this length.
const ONE_FRAME: usize = 1514;

/// The bytes that each frame counts in addition to its own when room is to be made: the bytes that the bounds of a queue
/// have for each frame. So a sender that fills it with short frames is found too.
const FRAME_COST: usize = 256;

/// How many frames the largest flow loses before it is searched for again (RFC 8290 section 4.1).
const BATCH: u8 = 64;

/// Names a flow of [`Flows`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FlowId(u16);

/// The frames of one bucket of one sender.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    frames: FrameList,
    /// The bytes of the frames, length prefixes included.
    bytes: usize,
    /// The bytes plus [`FRAME_COST`] for each frame.
    cost: usize,
    /// The bytes it may still send in this round. A frame may take it below zero; the next rounds pay that back, so that
    /// flows of long and of short frames send equally many bytes.
    deficit: i64,
    /// The longest frame since it last became active, at least [`ONE_FRAME`].
    pub(super) one_frame: usize,
    pub(super) codel: Codel,
    /// Its sender and bucket, see [`key`].
    key: u64,
    /// Its sender's slot while it is active.
    sender: u16,
    next: u16,
    /// Whether it is in one of the two lists of its sender. It may be empty then.
    is_active: bool,
}

/// A sender with waiting frames.
#[derive(Debug)]
struct QueueSender {
    id: u64,
    /// Flows that just became active; they go first, once.
    new: SlotList,
    old: SlotList,
    /// As of a flow.
    deficit: i64,
    /// The sum of its flows.
    cost: usize,
    next: u16,
}

/// All flows of a queue.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: Vec<Flow>,
    /// Slots in `flows` by key. Idle flows are included: their CoDel state stays.
    by_key: HashMap<u64, u16, NumberHash>,
    /// The slot where the next search for an idle flow begins.
    hand: usize,
    senders: Vec<QueueSender>,
    /// Slots of the senders in one of the two lists, by id.
    by_id: HashMap<u64, u16, NumberHash>,
    vacant: SlotList,
    /// Senders that just became active; they go first, once.
    new: SlotList,
    old: SlotList,
    largest: Option<LargestFlow>,
}

/// The largest flow of the largest sender, and for how long it is used without searching again.
#[derive(Debug, Clone, Copy)]
struct LargestFlow {
    flow: FlowId,
    /// Half of its cost when it was found.
    floor: usize,
    /// Half of the cost of its sender then.
    sender_floor: usize,
    drops_left: u8,
}

/// The sender and the bucket of a flow in one number. Different for senders' numbers below 2^55.
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
        flow.cost += len + FRAME_COST;
        flow.frames.push(store, frame);
        self.senders[usize::from(flow.sender)].cost += len + FRAME_COST;
    }

    /// Removes the first frame from a flow's queue.
    pub(super) fn pop(&mut self, id: FlowId, store: &Store) -> Option<FrameId> {
        let flow = &mut self.flows[usize::from(id.0)];
        let frame = flow.frames.pop(store)?;
        let len = store.get(frame).len();
        flow.bytes -= len;
        flow.cost -= len + FRAME_COST;
        self.senders[usize::from(flow.sender)].cost -= len + FRAME_COST;
        Some(frame)
    }

    /// Subtracts a sent frame from the shares of the flow and of its sender.
    pub(super) fn pay(&mut self, id: FlowId, len: usize) {
        let len = i64::try_from(len).expect("a frame's length is small");
        let flow = &mut self.flows[usize::from(id.0)];
        flow.deficit -= len;
        self.senders[usize::from(flow.sender)].deficit -= len;
    }

    /// The flow whose turn it is: of the sender whose turn it is, the first new flow with a share left, else the first old
    /// one. It may be empty. None if there is no flow. Paying the longest frame back takes 44 rounds.
    pub(super) fn next(&mut self) -> Option<FlowId> {
        loop {
            let sender = turn(&mut self.new, &mut self.old, &mut self.senders)?;
            let QueueSender { new, old, .. } = &mut self.senders[usize::from(sender)];
            if let Some(flow) = turn(new, old, &mut self.flows) {
                return Some(FlowId(flow));
            }
            if let Some(gone) = retire(&mut self.new, &mut self.old, &mut self.senders) {
                self.by_id.remove(&self.senders[usize::from(gone)].id);
                self.vacant.push_back(gone, &mut self.senders);
            }
        }
    }

    /// Removes the flow that [`Flows::next`] returned, which is empty, from its list. A new one moves to the old ones first:
    /// otherwise it could stop them from sending by becoming new again and again.
    pub(super) fn retire(&mut self) {
        let first = if self.new.is_empty() { &self.old } else { &self.new };
        let Some(sender) = first.first() else { return };
        let QueueSender { new, old, .. } = &mut self.senders[usize::from(sender)];
        if let Some(gone) = retire(new, old, &mut self.flows) {
            self.flows[usize::from(gone)].is_active = false;
        }
    }

    /// The largest flow of the largest sender; none if no frame waits.
    ///
    /// The search takes time for each sender, and for each flow of the largest one. Therefore the result is used again until
    /// it or its sender has lost half of its cost, or it has lost [`BATCH`] frames, or [`Flows::forget_largest`] is called.
    /// This is the batch of RFC 8290 section 4.1, but no more of it is dropped than needed.
    pub(super) fn largest(&mut self) -> Option<FlowId> {
        let known = self.largest.filter(|largest| {
            let flow = &self.flows[usize::from(largest.flow.0)];
            let sender = &self.senders[usize::from(flow.sender)];
            largest.drops_left > 0
                && flow.cost > largest.floor
                && sender.cost > largest.sender_floor
        });
        let largest = known.or_else(|| self.search_largest())?;
        self.largest = Some(LargestFlow { drops_left: largest.drops_left - 1, ..largest });
        Some(largest.flow)
    }

    /// To be called when frames are sent, because then another flow may be the largest.
    pub(super) fn forget_largest(&mut self) {
        self.largest = None;
    }

    fn search_largest(&self) -> Option<LargestFlow> {
        let senders = self.new.iter(&self.senders).chain(self.old.iter(&self.senders));
        let senders = senders.map(|sender| &self.senders[usize::from(sender)]);
        let sender = senders.max_by_key(|sender| sender.cost)?;
        let flows = sender.new.iter(&self.flows).chain(sender.old.iter(&self.flows));
        let flow = flows.max_by_key(|flow| self.flows[usize::from(*flow)].cost)?;
        let cost = self.flows[usize::from(flow)].cost;
        (cost > 0).then_some(LargestFlow {
            flow: FlowId(flow),
            floor: cost / 2,
            sender_floor: sender.cost / 2,
            drops_left: BATCH,
        })
    }

    /// Bytes of memory in use.
    pub(super) fn memory(&self) -> usize {
        let entries = self.by_key.capacity() + self.by_id.capacity();
        self.flows.capacity() * size_of::<Flow>()
            + self.senders.capacity() * size_of::<QueueSender>()
            + entries * size_of::<(u64, u16)>()
    }

    /// Makes the flow with this key active and returns its slot.
    fn flow_of(&mut self, sender: u64, key: u64) -> u16 {
        let known = self.by_key.get(&key).copied();
        if let Some(id) = known
            && self.flows[usize::from(id)].is_active
        {
            return id;
        }
        let sender = self.sender_of(sender);
        let Some(id) = known.or_else(|| self.slot_for(sender, key)) else {
            let QueueSender { new, old, .. } = &self.senders[usize::from(sender)];
            return old.last().or(new.last()).expect("a sender without a flow was given a slot");
        };
        let flow = &mut self.flows[usize::from(id)];
        flow.is_active = true;
        flow.deficit = QUANTUM;
        flow.one_frame = ONE_FRAME;
        flow.sender = sender;
        self.senders[usize::from(sender)].new.push_back(id, &mut self.flows);
        id
    }

    /// A slot for a new flow of this sender; none if there are too many flows and the sender has another one.
    fn slot_for(&mut self, sender: u16, key: u64) -> Option<u16> {
        let flow = Flow {
            frames: FrameList::default(),
            bytes: 0,
            cost: 0,
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
            let slot = (0..SLOTS_CHECKED)
                .map(|step| (self.hand + step) % len)
                .find(|slot| !self.flows[*slot].is_active);
            self.hand = (slot.unwrap_or(self.hand + SLOTS_CHECKED) + 1) % len;
            slot
        });
        let slot = match idle.flatten() {
            Some(slot) => {
                self.by_key.remove(&self.flows[slot].key);
                self.flows[slot] = flow;
                slot
            }
            None if len < MAX_FLOWS || self.senders[usize::from(sender)].has_no_flow() => {
                self.flows.push(flow);
                len
            }
            None => return None,
        };
        let slot = u16::try_from(slot).expect("flows and senders are bounded");
        self.by_key.insert(key, slot);
        Some(slot)
    }

    /// Makes this sender active and returns its slot.
    fn sender_of(&mut self, id: u64) -> u16 {
        if let Some(slot) = self.by_id.get(&id) {
            return *slot;
        }
        let sender = QueueSender {
            id,
            new: SlotList::EMPTY,
            old: SlotList::EMPTY,
            deficit: QUANTUM,
            cost: 0,
            next: NONE,
        };
        let slot = match self.vacant.pop_front(&self.senders) {
            Some(slot) => {
                self.senders[usize::from(slot)] = sender;
                slot
            }
            None if self.senders.len() < MAX_SENDERS => {
                self.senders.push(sender);
                u16::try_from(self.senders.len() - 1).expect("senders are bounded")
            }
            // All slots are active.
            None => return u16::try_from(id % MAX_SENDERS as u64).expect("senders are bounded"),
        };
        self.by_id.insert(id, slot);
        self.new.push_back(slot, &mut self.senders);
        slot
    }
}

impl QueueSender {
    fn has_no_flow(&self) -> bool {
        self.new.is_empty() && self.old.is_empty()
    }
}

/// The one whose turn it is in two lists.
fn turn<T: TakesTurns>(new: &mut SlotList, old: &mut SlotList, all: &mut [T]) -> Option<u16> {
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

/// Removes the first one, which is empty, from its list; none if it is in the other list now.
fn retire<T: TakesTurns>(new: &mut SlotList, old: &mut SlotList, all: &mut [T]) -> Option<u16> {
    if let Some(id) = new.pop_front(all) {
        if old.is_empty() {
            return Some(id);
        }
        old.push_back(id, all);
        return None;
    }
    old.pop_front(all)
}

/// A flow or a sender: takes turns with others in a list.
trait TakesTurns {
    fn deficit(&mut self) -> &mut i64;
    fn next(&self) -> u16;
    fn set_next(&mut self, next: u16);
}

impl TakesTurns for Flow {
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

impl TakesTurns for QueueSender {
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

/// No slot.
const NONE: u16 = u16::MAX;

/// A linked list of slots. Each slot is in at most one list.
#[derive(Debug, Clone, Copy)]
struct SlotList {
    head: u16,
    tail: u16,
}

impl SlotList {
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

    fn push_back<T: TakesTurns>(&mut self, id: u16, all: &mut [T]) {
        all[usize::from(id)].set_next(NONE);
        match self.last() {
            Some(last) => all[usize::from(last)].set_next(id),
            None => self.head = id,
        }
        self.tail = id;
    }

    fn pop_front<T: TakesTurns>(&mut self, all: &[T]) -> Option<u16> {
        let first = self.first()?;
        self.head = all[usize::from(first)].next();
        Some(first)
    }

    fn iter<T: TakesTurns>(self, all: &[T]) -> impl Iterator<Item = u16> {
        let mut next = self.head;
        std::iter::from_fn(move || {
            let id = (next != NONE).then_some(next)?;
            next = all[usize::from(id)].next();
            Some(id)
        })
    }
}

impl Default for SlotList {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// A fast hash for numbers that no peer chooses: senders are numbered here, and flows are hashed with a seed.
type NumberHash = BuildHasherDefault<NumberHasher>;

#[derive(Debug, Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
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

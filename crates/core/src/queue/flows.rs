//! The flows that wait and whose turn it is: deficit round robin, new flows first (RFC 8290 section 4).

use std::collections::VecDeque;

use super::{
    codel::Codel,
    store::{FrameId, FrameList, Store},
};

/// Buckets the flows are hashed into. Of 50 flows, each shares its bucket with another with a probability of 9 %.
const FLOWS: usize = 512;

/// Bytes a flow may send in one round.
pub(super) const QUANTUM: i64 = 1514;

/// A queue of at most the longest frame seen is not a standing one; frames up to this length are not told apart.
const ONE_FRAME: usize = 1514;

/// Frames the fattest flow loses before another one is looked for (RFC 8290 section 4.1).
const BATCH: u8 = 64;

/// Names a flow of [`Flows`].
pub(super) type FlowId = u16;

/// The frames of one bucket.
#[derive(Debug, Clone, Default)]
pub(super) struct Flow {
    frames: FrameList,
    /// Of the frames, length prefixes included.
    bytes: usize,
    /// What it may still send in this round. A frame may overdraw it by its length; that is paid back in the rounds
    /// that follow, so that flows of long and of short frames send equally many bytes.
    deficit: i64,
    /// The longest frame since it last began to send, at least [`ONE_FRAME`].
    pub(super) one_frame: usize,
    pub(super) codel: Codel,
    /// In one of the two lists of [`Flows`]; it may be empty then.
    is_active: bool,
}

impl Flow {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn pop(&mut self, store: &Store) -> Option<FrameId> {
        let id = self.frames.pop(store)?;
        self.bytes -= store.get(id).len();
        Some(id)
    }

    /// Counts a frame that is sent against the flow's share.
    pub(super) fn pay(&mut self, len: usize) {
        self.deficit -= i64::try_from(len).expect("a frame's length is small");
    }
}

/// All flows of a queue.
#[derive(Debug)]
pub(super) struct Flows {
    table: Vec<Flow>,
    /// Flows that had nothing waiting a moment ago; they go first, once.
    new: VecDeque<FlowId>,
    old: VecDeque<FlowId>,
    fattest: Option<Fattest>,
}

/// The flow that was found to have the most bytes, and for how long it is taken without looking again.
#[derive(Debug, Clone, Copy)]
struct Fattest {
    flow: FlowId,
    /// Half of the bytes it had.
    floor: usize,
    turns: u8,
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            table: vec![Flow::default(); FLOWS],
            new: VecDeque::new(),
            old: VecDeque::new(),
            fattest: None,
        }
    }
}

impl Flows {
    pub(super) fn bucket(hash: u64) -> FlowId {
        FlowId::try_from(hash % FLOWS as u64).expect("there are fewer flows")
    }

    pub(super) fn flow_mut(&mut self, id: FlowId) -> &mut Flow {
        &mut self.table[usize::from(id)]
    }

    pub(super) fn push(&mut self, id: FlowId, frame: FrameId, store: &mut Store) {
        let len = store.get(frame).len();
        let flow = &mut self.table[usize::from(id)];
        if !flow.is_active {
            flow.is_active = true;
            flow.deficit = QUANTUM;
            flow.one_frame = ONE_FRAME;
            self.new.push_back(id);
        }
        flow.one_frame = flow.one_frame.max(len);
        flow.bytes += len;
        flow.frames.push(store, frame);
    }

    /// The flow whose turn it is: the first new one that has not used its share up, else the first old one. It may turn
    /// out to be empty. None when there is no flow. Paying the longest frame back takes 44 rounds.
    pub(super) fn next(&mut self) -> Option<FlowId> {
        loop {
            let list = if self.new.is_empty() { &mut self.old } else { &mut self.new };
            let id = *list.front()?;
            let flow = &mut self.table[usize::from(id)];
            if flow.deficit > 0 {
                return Some(id);
            }
            list.pop_front();
            flow.deficit += QUANTUM;
            self.old.push_back(id);
        }
    }

    /// Takes the flow [`Flows::next`] gave, which is empty, off its list. A new one joins the old ones first: it could
    /// keep them from sending otherwise, by being new again and again.
    pub(super) fn retire(&mut self) {
        let was_new = self.new.pop_front();
        let Some(id) = was_new.or_else(|| self.old.pop_front()) else { return };
        if was_new.is_some() && !self.old.is_empty() {
            self.old.push_back(id);
        } else {
            self.table[usize::from(id)].is_active = false;
        }
    }

    /// The flow with the most bytes; none when nothing waits.
    ///
    /// Looking for it takes as long as there are flows. Therefore the one found is taken again until it has lost half
    /// of its bytes or [`BATCH`] frames, or [`Flows::forget_fattest`]: the batch of RFC 8290 section 4.1, though no
    /// more of it is dropped than is needed.
    pub(super) fn fattest(&mut self) -> Option<FlowId> {
        let known = self.fattest.filter(|fattest| {
            fattest.turns > 0 && self.table[usize::from(fattest.flow)].bytes > fattest.floor
        });
        let Fattest { flow, floor, turns } = known.or_else(|| self.look_for_fattest())?;
        self.fattest = Some(Fattest { flow, floor, turns: turns - 1 });
        Some(flow)
    }

    /// To be called when frames are sent, since that changes which flow is the fattest.
    pub(super) fn forget_fattest(&mut self) {
        self.fattest = None;
    }

    fn look_for_fattest(&self) -> Option<Fattest> {
        let active = self.new.iter().chain(&self.old).copied();
        let flow = active.max_by_key(|flow| self.table[usize::from(*flow)].bytes)?;
        let bytes = self.table[usize::from(flow)].bytes;
        (bytes > 0).then_some(Fattest { flow, floor: bytes / 2, turns: BATCH })
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.table.capacity() * size_of::<Flow>()
            + (self.new.capacity() + self.old.capacity()) * size_of::<FlowId>()
    }
}

//! The queue of frames in front of one destination: flow-queued CoDel (RFC 8290), bounded in bytes, frames and age.

mod codel;
mod flows;
mod store;

use std::{
    io::IoSlice,
    time::{Duration, Instant},
};

use rtun_proto::{
    frame::{Frames, LEN_PREFIX},
    frame_content::FrameContent,
};

use self::{
    codel::{CodelParameters, Judgement},
    flows::{FlowId, Flows},
    store::{FrameId, FrameList, Store},
};
use crate::DropReason;

/// The most bytes of waiting control frames, length prefixes included, without those staged.
pub const MAX_CONTROL: usize = 16 * 1024;

/// Bounds of a [`FlowQueue`], and the parameters of CoDel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// The most bytes, length prefixes included. At the bound the largest flow of the largest sender, counted in bytes plus
    /// 256 for each frame, loses its oldest frames. One frame always fits when no other waits.
    pub bytes: usize,
    /// The most frames; at the bound the same happens.
    pub frames: usize,
    /// How long a frame may wait; an older one is dropped instead of being staged.
    pub age: Duration,
    /// The delay of a standing queue CoDel accepts (RFC 8289 section 4).
    pub target: Duration,
    /// How long the delay must be above the target before CoDel acts: a long round trip (RFC 8289 section 4).
    pub interval: Duration,
}

impl Default for QueueLimits {
    /// 1 MiB, 4096 frames, 200 ms: a burst at 1 Gbit/s has 8 ms to drain, and below 40 Mbit/s the age bounds the delay
    /// before the bytes do. 5 ms and 100 ms are those of RFC 8289.
    fn default() -> Self {
        Self {
            bytes: 1024 * 1024,
            frames: 4096,
            age: Duration::from_millis(200),
            target: Duration::from_millis(5),
            interval: Duration::from_millis(100),
        }
    }
}

/// A frame that was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost<'a> {
    /// Why.
    pub reason: DropReason,
    /// IP packets: a GSO frame counts its segments.
    pub packets: u64,
    /// The frame's payload.
    pub payload: &'a [u8],
}

/// Frames whose last byte is now on the wire; control frames are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// IP packets: a GSO frame counts its segments.
    pub packets: u64,
    /// Bytes of the frames' payloads.
    pub bytes: usize,
}

/// Whole frames waiting for a slow destination.
///
/// Senders take turns with equal shares of bytes, and so do the flows of a sender, each with its own queue: a sender gains
/// nothing by many flows or many addresses. A sender or flow that had nothing waiting goes first, so that a ping does not
/// wait for a transfer. If a queue is longer than the target for too long, its sender is informed by a CE mark, or by a
/// drop if the packet does not support ECN. A chosen frame is *staged*: staged frames are written in their order and are
/// never dropped, because the receiver could not find the next frame after a cut one.
///
/// Frames are stored in chunks of 32 KiB. Frames that stay keep their chunks in use. When the chunks in use have more than
/// twice the waiting bytes plus 128 KiB, frames are moved together before another chunk is used. With spare chunks the
/// memory is two and a half times the waiting bytes plus 256 KiB, so it is bounded by [`QueueLimits::bytes`]. A queue that
/// has grown and stays as full allocates nothing more. An idle queue has no memory after [`FlowQueue::shrink`].
#[derive(Debug)]
pub struct FlowQueue {
    limits: QueueLimits,
    seed: u64,
    content: FrameContent,
    backlog: Option<Box<Backlog>>,
}

/// The part of a queue that exists only when a frame had to wait.
#[derive(Debug, Default)]
struct Backlog {
    store: Store,
    flows: Flows,
    control: FrameList,
    staged: FrameList,
    /// Bytes of the first staged frame that are already on the wire.
    staged_sent: usize,
    /// Bytes not yet on the wire: of the staged frames, of the control frames that are not staged, of all frames.
    staged_bytes: usize,
    control_bytes: usize,
    bytes: usize,
    /// IP packets of all frames.
    packets: u64,
    /// The number of frames in the flows' queues, and of those plus the staged ones; without control frames.
    queued: usize,
    frames: usize,
}

impl FlowQueue {
    /// An empty queue. `seed` is that of the flows' hash ([`FrameContent::flow_hash`]).
    pub fn new(limits: QueueLimits, seed: u64) -> Self {
        Self { limits, seed, content: FrameContent::default(), backlog: None }
    }

    /// The same for frames of another kind than packets.
    #[must_use]
    pub fn carrying(self, content: FrameContent) -> Self {
        Self { content, ..self }
    }

    /// What its frames are.
    pub fn content(&self) -> FrameContent {
        self.content
    }

    /// Whether no frame waits, staged or not.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Whether a staged frame or a control frame waits. These are sent even when packets are held back.
    pub fn is_urgent(&self) -> bool {
        self.backlog.as_ref().is_some_and(|b| b.staged_bytes > 0 || b.control_bytes > 0)
    }

    /// IP packets waiting, those of staged frames included, and of the one that is partly sent.
    pub fn packets(&self) -> u64 {
        self.backlog.as_ref().map_or(0, |backlog| backlog.packets)
    }

    /// Bytes to be sent, length prefixes and control frames included.
    pub fn bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.bytes)
    }

    /// Bytes of memory in use besides the queue itself: chunks, spare ones included, and tables.
    pub fn memory(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| {
            size_of::<Backlog>() + backlog.store.memory() + backlog.flows.memory()
        })
    }

    /// Takes over a frame whose first `sent` bytes, length prefix included, are already on the wire. It goes before all other
    /// frames. Only for a queue with nothing staged. It is accepted past every bound.
    pub fn start_with(&mut self, frame: &[u8], sent: usize) {
        let packets = packets(self.content, frame.get(LEN_PREFIX..).unwrap_or_default());
        self.start(frame, sent, packets);
    }

    /// The same with a control frame.
    pub fn start_with_control(&mut self, frame: &[u8], sent: usize) {
        self.start(frame, sent, 0);
    }

    fn start(&mut self, frame: &[u8], sent: usize, packets: u32) {
        let backlog = self.backlog.get_or_insert_default();
        debug_assert!(backlog.staged.is_empty(), "only the first frame can be partly sent");
        debug_assert!(sent < frame.len(), "the frame is not completely on the wire");
        let id = backlog.store.add(frame, packets, None);
        backlog.bytes += frame.len() - sent;
        backlog.packets += u64::from(packets);
        backlog.frames += usize::from(packets > 0);
        backlog.push_staged(id);
        backlog.staged_sent = sent;
        backlog.staged_bytes -= sent;
    }

    /// Appends a whole control frame. It goes before all frames that are not staged, and counts as no packet. Only
    /// [`FlowQueue::clear`] drops it, without a report. Returns false and appends nothing if more than [`MAX_CONTROL`] bytes
    /// of control frames would wait.
    #[must_use]
    pub fn push_control(&mut self, frame: &[u8]) -> bool {
        let backlog = self.backlog.get_or_insert_default();
        if backlog.control_bytes + frame.len() > MAX_CONTROL {
            return false;
        }
        let id = backlog.store.add(frame, 0, None);
        backlog.control.push(&mut backlog.store, id);
        backlog.control_bytes += frame.len();
        backlog.bytes += frame.len();
        true
    }

    /// Bytes of the waiting control frames that are not staged.
    pub fn control_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.control_bytes)
    }

    /// Appends `frames` of `sender`, whole frames one after the other. `lost` is called for each frame dropped to make room:
    /// one of the largest flow of the largest sender.
    ///
    /// `sender`: a number below 2^55 that identifies the sender.
    ///
    /// `allowance`: the bytes this queue may have now, counted as [`FlowQueue::bytes`] does. The bound is the smaller of it
    /// and [`QueueLimits::bytes`]. The reason of a drop is [`DropReason::QueueBudget`] if the bound was the allowance, and
    /// [`DropReason::QueueFullOldest`] otherwise. A new frame is dropped itself only if all frames that may be dropped were
    /// dropped and the staged ones still leave no room for it.
    pub fn push(
        &mut self,
        sender: u64,
        frames: &[u8],
        now: Instant,
        allowance: usize,
        mut lost: impl FnMut(Lost<'_>),
    ) {
        let backlog = self.backlog.get_or_insert_default();
        for frame in Frames::new(frames) {
            let packets = packets(self.content, frame.payload);
            let whole = &frames[frame.range];
            if let Err(reason) = backlog.make_room(whole.len(), &self.limits, allowance, &mut lost)
            {
                lost(Lost { reason, packets: packets.into(), payload: frame.payload });
                continue;
            }
            let flow = self.content.flow_hash(frame.payload, self.seed);
            let id = backlog.store.add(whole, packets, Some(now));
            backlog.flows.push(sender, flow, id, &mut backlog.store);
            backlog.bytes += whole.len();
            backlog.packets += u64::from(packets);
            backlog.queued += 1;
            backlog.frames += 1;
        }
    }

    /// Chooses the next frames and stages them, until at least `bytes` are staged or no other frame waits. `lost` is called
    /// for each frame that was too old or dropped by CoDel.
    pub fn stage(&mut self, bytes: usize, now: Instant, mut lost: impl FnMut(Lost<'_>)) {
        let Some(backlog) = &mut self.backlog else { return };
        while backlog.staged_bytes < bytes
            && let Some(id) = backlog.control.pop(&backlog.store)
        {
            backlog.control_bytes -= backlog.store.get(id).len();
            backlog.push_staged(id);
        }
        backlog.flows.forget_largest();
        while backlog.staged_bytes < bytes
            && let Some(id) = backlog.choose(now, &self.limits, self.content, &mut lost)
        {
            backlog.push_staged(id);
        }
    }

    /// The staged bytes in order, as many pieces as fit into `slices`. Returns the number of filled slices.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let Some(backlog) = &self.backlog else { return 0 };
        let pieces = backlog.store.pieces(&backlog.staged, backlog.staged_sent);
        slices.iter_mut().zip(pieces).map(|(slot, piece)| *slot = IoSlice::new(piece)).count()
    }

    /// The first staged frame, its length prefix included, and how many of its bytes are on the wire.
    pub fn front(&self) -> Option<(&[u8], usize)> {
        let backlog = self.backlog.as_ref()?;
        let frame = backlog.store.bytes(backlog.staged.first()?);
        Some((frame, backlog.staged_sent))
    }

    /// Removes `sent` bytes from the front of the staged bytes. `done` is called once for all frames that are now completely
    /// on the wire, if there are any.
    pub fn advance(&mut self, sent: usize, done: impl FnOnce(Sent)) {
        let Some(backlog) = &mut self.backlog else { return };
        debug_assert!(sent <= backlog.staged_bytes, "only staged bytes are sent");
        let sent = sent.min(backlog.staged_bytes);
        backlog.bytes -= sent;
        backlog.staged_bytes -= sent;
        backlog.staged_sent += sent;
        let mut total = Sent::default();
        while let Some(id) = backlog.staged.first()
            && let len = backlog.store.get(id).len()
            && len <= backlog.staged_sent
        {
            backlog.staged.pop(&backlog.store);
            backlog.staged_sent -= len;
            let packets = backlog.forget(id);
            if packets > 0 {
                total.packets += packets;
                total.bytes += len - LEN_PREFIX;
            }
        }
        if total.packets > 0 {
            done(total);
        }
    }

    /// Empties the queue. `lost` is called for each frame, including staged ones and the partly sent one.
    pub fn clear(&mut self, reason: DropReason, mut lost: impl FnMut(Lost<'_>)) {
        let Some(backlog) = &mut self.backlog else { return };
        while let Some(id) = backlog.staged.pop(&backlog.store) {
            backlog.bytes -= backlog.store.get(id).len() - backlog.staged_sent;
            backlog.staged_sent = 0;
            backlog.lose(id, reason, &mut lost);
        }
        while let Some(id) = backlog.control.pop(&backlog.store) {
            backlog.bytes -= backlog.store.get(id).len();
            backlog.forget(id);
        }
        backlog.staged_bytes = 0;
        backlog.control_bytes = 0;
        while backlog.drop_from_largest(reason, &mut lost) {}
    }

    /// Frees all memory, including the state of the flows. For a queue that has been empty for some time; a queue with
    /// waiting frames stays unchanged.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.backlog = None;
        }
    }
}

impl Backlog {
    /// Drops frames until one of `len` bytes fits. The error is the reason why it does not fit.
    fn make_room(
        &mut self,
        len: usize,
        limits: &QueueLimits,
        allowance: usize,
        lost: &mut impl FnMut(Lost<'_>),
    ) -> Result<(), DropReason> {
        while self.frames > 0 {
            let reason = if self.bytes + len > allowance && allowance < limits.bytes {
                DropReason::QueueBudget
            } else if self.bytes + len > limits.bytes || self.frames >= limits.frames {
                DropReason::QueueFullOldest
            } else {
                break;
            };
            if !self.drop_from_largest(reason, lost) {
                return Err(reason);
            }
        }
        Ok(())
    }

    /// Drops the oldest frame of the largest flow; false if no frame may be dropped.
    fn drop_from_largest(&mut self, reason: DropReason, lost: &mut impl FnMut(Lost<'_>)) -> bool {
        let Some(flow) = self.flows.largest() else { return false };
        let Some(id) = self.flows.pop(flow, &self.store) else { return false };
        self.drop_queued(id, reason, lost);
        true
    }

    /// Removes the next frame to be sent from its flow's queue.
    fn choose(
        &mut self,
        now: Instant,
        limits: &QueueLimits,
        content: FrameContent,
        lost: &mut impl FnMut(Lost<'_>),
    ) -> Option<FrameId> {
        while self.queued > 0 {
            let flow = self.flows.next()?;
            if let Some(id) = self.front_of(flow, now, limits, content, lost) {
                let len = self.store.get(id).len();
                self.flows.pay(flow, len);
                self.queued -= 1;
                return Some(id);
            }
            self.flows.retire();
        }
        None
    }

    /// Removes frames from the flow's queue up to the first one that is neither too old nor dropped by CoDel.
    fn front_of(
        &mut self,
        flow: FlowId,
        now: Instant,
        limits: &QueueLimits,
        content: FrameContent,
        lost: &mut impl FnMut(Lost<'_>),
    ) -> Option<FrameId> {
        let parameters = CodelParameters { target: limits.target, interval: limits.interval };
        loop {
            let popped = self.flows.pop(flow, &self.store);
            let flow = self.flows.flow_mut(flow);
            let Some(id) = popped else {
                flow.codel.emptied();
                return None;
            };
            let arrived = self.store.get(id).arrived.unwrap_or(now);
            let sojourn = now.saturating_duration_since(arrived);
            if sojourn > limits.age {
                self.drop_queued(id, DropReason::QueueTooOld, lost);
                continue;
            }
            let (bytes, one_frame) = (flow.bytes(), flow.one_frame);
            if flow.codel.judge(parameters, now, sojourn, bytes, one_frame) == Judgement::Send
                || content.mark_ce(self.store.payload_mut(id))
            {
                return Some(id);
            }
            self.drop_queued(id, DropReason::QueueCodel, lost);
        }
    }

    /// Stages a frame that is in no list.
    fn push_staged(&mut self, id: FrameId) {
        self.staged_bytes += self.store.get(id).len();
        self.staged.push(&mut self.store, id);
    }

    /// Drops a frame that was just removed from its flow's queue.
    fn drop_queued(&mut self, id: FrameId, reason: DropReason, lost: &mut impl FnMut(Lost<'_>)) {
        self.queued -= 1;
        self.bytes -= self.store.get(id).len();
        self.lose(id, reason, lost);
    }

    fn lose(&mut self, id: FrameId, reason: DropReason, lost: &mut impl FnMut(Lost<'_>)) {
        let packets = u64::from(self.store.get(id).packets);
        if packets > 0 {
            let payload = &self.store.bytes(id)[LEN_PREFIX..];
            lost(Lost { reason, packets, payload });
        }
        self.forget(id);
    }

    /// Removes a frame that is in no list, and returns its packets.
    fn forget(&mut self, id: FrameId) -> u64 {
        let packets = u64::from(self.store.get(id).packets);
        self.store.remove(id);
        self.packets -= packets;
        self.frames -= usize::from(packets > 0);
        packets
    }
}

/// The segments of a GSO frame; any other frame counts as one packet.
fn packets(content: FrameContent, payload: &[u8]) -> u32 {
    u32::try_from(content.packets(payload)).expect("a packet has at least a byte")
}

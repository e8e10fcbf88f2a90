//! The queue of frames in front of one destination: flow-queued CoDel (RFC 8290), bounded in bytes, frames and age.

mod codel;
mod flows;
mod store;

use std::{
    io::IoSlice,
    time::{Duration, Instant},
};

use rtun_proto::{
    extension::{self, ip_packet, ip_packet_mut},
    frame::{Frames, LEN_PREFIX},
    packet::{Packet, mark_ce},
};

use self::{
    codel::{Aim, Judgement},
    flows::{FlowId, Flows},
    store::{FrameId, FrameList, Store},
};
use crate::DropReason;

/// The most bytes of control frames that wait, length prefixes included, besides those staged.
pub const MAX_CONTROL: usize = 16 * 1024;

/// Bounds of a [`FlowQueue`], and what it aims at below them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Bytes, length prefixes included. Past them the fattest flow of the fattest sender, counted in bytes and 256 for each
    /// frame, loses its oldest frames. One frame always
    /// fits when no other waits.
    pub bytes: usize,
    /// Frames; past them the same happens.
    pub frames: usize,
    /// How long a frame may wait; an older one is dropped instead of being staged.
    pub age: Duration,
    /// The delay of a standing queue CoDel accepts (RFC 8289 section 4).
    pub target: Duration,
    /// How long the delay is above the target before CoDel acts: a long round trip (RFC 8289 section 4).
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

/// A frame that goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Why.
    pub reason: DropReason,
    /// IP packets: a GSO frame counts its segments.
    pub packets: u64,
    /// Bytes of the frame's payload.
    pub bytes: usize,
}

/// Frames that are now wholly on the wire; control frames do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// IP packets: a GSO frame counts its segments.
    pub packets: u64,
    /// Bytes of the frames' payloads.
    pub bytes: usize,
}

/// Whole frames waiting for a slow destination.
///
/// Senders take turns in equal shares of bytes, and so do the flows of a sender, each with a queue of its own: neither
/// many flows nor many addresses get a sender more. Who did not send a moment ago goes first, so that a ping does not wait
/// behind a transfer. A queue that stands for longer than the
/// target is told to its sender by a CE mark, or a drop where the packet may not be marked. What was chosen is *staged*:
/// it is written in that order and dropped no more, since the receiver could not find the next frame behind one that is
/// cut.
///
/// Bytes are held in chunks of 32 KiB. Frames that stay while others pass hold chunks; when those in use have twice the
/// waiting bytes and 128 KiB on top, frames are moved together before there is another one. With spare chunks it is two
/// and a half times the waiting bytes and 256 KiB, so never much more than that of [`QueueLimits::bytes`]. Once grown, a
/// queue that stays as full as it is allocates nothing. An idle one holds nothing after [`FlowQueue::shrink`].
#[derive(Debug)]
pub struct FlowQueue {
    limits: QueueLimits,
    seed: u64,
    backlog: Option<Box<Backlog>>,
}

/// What exists only after something had to wait.
#[derive(Debug, Default)]
struct Backlog {
    store: Store,
    flows: Flows,
    control: FrameList,
    staged: FrameList,
    /// Bytes of the first staged frame that are on the wire.
    staged_sent: usize,
    /// Bytes not yet on the wire: of the frames that are staged, of the control frames that are not, of all.
    staged_bytes: usize,
    control_bytes: usize,
    bytes: usize,
    /// IP packets of all frames.
    packets: u64,
    /// Frames in the flows' queues, and those plus the staged ones; without control frames.
    queued: usize,
    frames: usize,
}

impl FlowQueue {
    /// An empty queue. `seed` is that of the flows' hash ([`Packet::flow_hash`]).
    pub fn new(limits: QueueLimits, seed: u64) -> Self {
        Self { limits, seed, backlog: None }
    }

    /// Whether nothing waits, staged or not.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Whether something waits that is sent whatever else holds packets back: staged frames and control frames.
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

    /// Bytes of memory held besides the queue itself: chunks, waiting or spare, and tables.
    pub fn memory(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| {
            size_of::<Backlog>() + backlog.store.memory() + backlog.flows.memory()
        })
    }

    /// Takes over a frame whose first `sent` bytes are on the wire already, length prefix included; it goes before
    /// everything. Only for a queue with nothing staged. No bound refuses it.
    pub fn start_with(&mut self, frame: &[u8], sent: usize) {
        let packets = packets(frame.get(LEN_PREFIX..).unwrap_or_default());
        self.start(frame, sent, packets);
    }

    /// The same with a control frame.
    pub fn start_with_control(&mut self, frame: &[u8], sent: usize) {
        self.start(frame, sent, 0);
    }

    fn start(&mut self, frame: &[u8], sent: usize, packets: u32) {
        let backlog = self.backlog.get_or_insert_default();
        debug_assert!(backlog.staged.is_empty(), "only the frame in front can be partly sent");
        debug_assert!(sent < frame.len(), "the frame is not wholly on the wire");
        let id = backlog.store.add(frame, packets, None);
        backlog.bytes += frame.len() - sent;
        backlog.packets += u64::from(packets);
        backlog.frames += usize::from(packets > 0);
        backlog.push_staged(id);
        backlog.staged_sent = sent;
        backlog.staged_bytes -= sent;
    }

    /// Appends a whole frame that is no sender's packet; it goes before everything that is not staged. It counts as no
    /// packet, and is lost only by [`FlowQueue::clear`], unreported. False, and nothing is appended, when more than
    /// [`MAX_CONTROL`] bytes of such frames would wait.
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

    /// Bytes of the control frames that wait and are not staged.
    pub fn control_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.control_bytes)
    }

    /// Appends `frames` of `sender`, whole frames back to back. `lost` is told of each frame that made room: the fattest
    /// sender's, of its fattest flow.
    ///
    /// `sender`: any number below 2^55 that tells senders apart.
    ///
    /// `allowance`: the bytes this queue may hold now, counted as [`FlowQueue::bytes`] does; the smaller of it and
    /// [`QueueLimits::bytes`] is the bound. What is dropped past it is [`DropReason::QueueBudget`] when that was the
    /// allowance, and [`DropReason::QueueFullOldest`] otherwise. A new frame is dropped itself only when everything that
    /// may be dropped has been and staged frames still leave no room for it.
    pub fn push(
        &mut self,
        sender: u64,
        frames: &[u8],
        now: Instant,
        allowance: usize,
        mut lost: impl FnMut(Lost),
    ) {
        let backlog = self.backlog.get_or_insert_default();
        for frame in Frames::new(frames) {
            let packets = packets(frame.payload);
            let whole = &frames[frame.range];
            if let Err(reason) = backlog.make_room(whole.len(), &self.limits, allowance, &mut lost)
            {
                let bytes = frame.payload.len();
                lost(Lost { reason, packets: packets.into(), bytes });
                continue;
            }
            let flow = flow_hash(frame.payload, self.seed);
            let id = backlog.store.add(whole, packets, Some(now));
            backlog.flows.push(sender, flow, id, &mut backlog.store);
            backlog.bytes += whole.len();
            backlog.packets += u64::from(packets);
            backlog.queued += 1;
            backlog.frames += 1;
        }
    }

    /// Chooses what is sent next and stages it, until at least `bytes` are staged or nothing else waits. `lost` is told
    /// of each frame that was too old, or dropped by CoDel.
    pub fn stage(&mut self, bytes: usize, now: Instant, mut lost: impl FnMut(Lost)) {
        let Some(backlog) = &mut self.backlog else { return };
        while backlog.staged_bytes < bytes
            && let Some(id) = backlog.control.pop(&backlog.store)
        {
            backlog.control_bytes -= backlog.store.get(id).len();
            backlog.push_staged(id);
        }
        backlog.flows.forget_fattest();
        while backlog.staged_bytes < bytes
            && let Some(id) = backlog.choose(now, &self.limits, &mut lost)
        {
            backlog.push_staged(id);
        }
    }

    /// The staged bytes in order, as many pieces as fit into `slices`; returns how many were filled.
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

    /// Removes `sent` bytes from the front of what is staged. `done` is told once of all the frames that are now wholly
    /// on the wire, if there is any.
    pub fn advance(&mut self, sent: usize, done: impl FnOnce(Sent)) {
        let Some(backlog) = &mut self.backlog else { return };
        debug_assert!(sent <= backlog.staged_bytes, "only what is staged is sent");
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

    /// Empties the queue; `lost` is told of each frame, those staged and the one partly sent included.
    pub fn clear(&mut self, reason: DropReason, mut lost: impl FnMut(Lost)) {
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
        while backlog.drop_from_fattest(reason, &mut lost) {}
    }

    /// Gives all memory back, with what is remembered of the flows. For a queue that has been empty for a while; any
    /// other is left as it is.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.backlog = None;
        }
    }
}

impl Backlog {
    /// Drops frames until one of `len` bytes fits; an error says why it does not.
    fn make_room(
        &mut self,
        len: usize,
        limits: &QueueLimits,
        allowance: usize,
        lost: &mut impl FnMut(Lost),
    ) -> Result<(), DropReason> {
        while self.frames > 0 {
            let reason = if self.bytes + len > allowance && allowance < limits.bytes {
                DropReason::QueueBudget
            } else if self.bytes + len > limits.bytes || self.frames >= limits.frames {
                DropReason::QueueFullOldest
            } else {
                break;
            };
            if !self.drop_from_fattest(reason, lost) {
                return Err(reason);
            }
        }
        Ok(())
    }

    /// Drops the oldest frame of the fattest flow; false when none may be dropped.
    fn drop_from_fattest(&mut self, reason: DropReason, lost: &mut impl FnMut(Lost)) -> bool {
        let Some(flow) = self.flows.fattest() else { return false };
        let Some(id) = self.flows.pop(flow, &self.store) else { return false };
        self.drop_queued(id, reason, lost);
        true
    }

    /// Takes the next frame to be sent off its flow's queue.
    fn choose(
        &mut self,
        now: Instant,
        limits: &QueueLimits,
        lost: &mut impl FnMut(Lost),
    ) -> Option<FrameId> {
        while self.queued > 0 {
            let flow = self.flows.next()?;
            if let Some(id) = self.front_of(flow, now, limits, lost) {
                let len = self.store.get(id).len();
                self.flows.pay(flow, len);
                self.queued -= 1;
                return Some(id);
            }
            self.flows.retire();
        }
        None
    }

    /// Takes the first frame off the flow's queue that is neither too old nor dropped by CoDel.
    fn front_of(
        &mut self,
        flow: FlowId,
        now: Instant,
        limits: &QueueLimits,
        lost: &mut impl FnMut(Lost),
    ) -> Option<FrameId> {
        let aim = Aim { target: limits.target, interval: limits.interval };
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
            if flow.codel.judge(aim, now, sojourn, bytes, one_frame) == Judgement::Send
                || ip_packet_mut(self.store.payload_mut(id)).is_some_and(mark_ce)
            {
                return Some(id);
            }
            self.drop_queued(id, DropReason::QueueCodel, lost);
        }
    }

    /// Stages a frame that is in no queue.
    fn push_staged(&mut self, id: FrameId) {
        self.staged_bytes += self.store.get(id).len();
        self.staged.push(&mut self.store, id);
    }

    /// Drops a frame that was just taken off its flow's queue.
    fn drop_queued(&mut self, id: FrameId, reason: DropReason, lost: &mut impl FnMut(Lost)) {
        self.queued -= 1;
        self.bytes -= self.store.get(id).len();
        self.lose(id, reason, lost);
    }

    fn lose(&mut self, id: FrameId, reason: DropReason, lost: &mut impl FnMut(Lost)) {
        let bytes = self.store.get(id).len() - LEN_PREFIX;
        let packets = self.forget(id);
        if packets > 0 {
            lost(Lost { reason, packets, bytes });
        }
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

/// The segments of a GSO frame; everything else counts as one packet.
fn packets(payload: &[u8]) -> u32 {
    u32::try_from(extension::packets(payload)).expect("a packet has at least a byte")
}

/// Whatever is no whole IP packet is one flow.
fn flow_hash(payload: &[u8], seed: u64) -> u64 {
    let packet = ip_packet(payload).and_then(|packet| Packet::parse(packet).ok());
    packet.map_or(0, |packet| packet.flow_hash(seed))
}

//! The bounded queue of frames in front of one destination.

use std::{
    collections::VecDeque,
    io::IoSlice,
    time::{Duration, Instant},
};

use rtun_proto::frame::LEN_PREFIX;

use crate::DropReason;

/// Bounds of a [`FrameQueue`]. Past any of them the oldest whole frames make room: what is new is worth more than
/// what is old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Bytes, length prefixes included. At least one largest frame always fits.
    pub bytes: usize,
    /// Frames.
    pub frames: usize,
    /// How long a frame may wait.
    pub age: Duration,
}

impl Default for QueueLimits {
    /// 256 KiB, 512 frames, 200 ms: at 10 Mbit/s and above the bytes drain within the age; below, the age keeps the
    /// delay bearable.
    fn default() -> Self {
        Self { bytes: 256 * 1024, frames: 512, age: Duration::from_millis(200) }
    }
}

/// Whole frames waiting for a slow destination, in order, with their length prefixes.
///
/// A frame whose first bytes are on the wire already is finished before anything else and never dropped, since the
/// receiver could not find the next frame otherwise. Empty, the queue holds no memory.
#[derive(Debug)]
pub struct FrameQueue {
    limits: QueueLimits,
    /// The frame that is partly on the wire, and how many of its bytes are.
    started: Vec<u8>,
    started_sent: usize,
    runs: VecDeque<Run>,
    bytes: usize,
    frames: usize,
}

/// Frames that arrived together.
#[derive(Debug)]
struct Run {
    bytes: Vec<u8>,
    start: usize,
    arrived: Instant,
}

/// Small runs are joined up to this size, so that many small batches cost few allocations.
const JOIN: usize = 16 * 1024;

impl FrameQueue {
    /// An empty queue.
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            started: Vec::new(),
            started_sent: 0,
            runs: VecDeque::new(),
            bytes: 0,
            frames: 0,
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames == 0 && self.started.is_empty()
    }

    /// Frames waiting, the partly sent one included.
    pub fn frames(&self) -> usize {
        self.frames + usize::from(!self.started.is_empty())
    }

    /// Bytes waiting.
    pub fn bytes(&self) -> usize {
        self.bytes + self.started.len() - self.started_sent
    }

    /// Takes over a frame whose first `sent` bytes are on the wire already. Only for an empty queue.
    pub fn start_with(&mut self, frame: &[u8], sent: usize) {
        debug_assert!(self.is_empty(), "only the frame in front can be partly sent");
        self.started.extend_from_slice(frame);
        self.started_sent = sent;
    }

    /// Appends `frames`, whole frames back to back. `dropped` is told of each frame that made room.
    pub fn push(
        &mut self,
        frames: &[u8],
        now: Instant,
        mut dropped: impl FnMut(DropReason, usize),
    ) {
        self.drop_aged(now, &mut dropped);
        let mut rest = frames;
        while let Some(len) = front_frame(rest) {
            let (frame, after) = rest.split_at(len);
            rest = after;
            while self.frames > 0
                && (self.bytes + len > self.limits.bytes || self.frames >= self.limits.frames)
            {
                self.drop_front(DropReason::QueueFullOldest, &mut dropped);
            }
            self.append(frame, now);
        }
    }

    /// Drops what has waited too long.
    pub fn drop_aged(&mut self, now: Instant, dropped: &mut impl FnMut(DropReason, usize)) {
        while let Some(run) = self.runs.front()
            && now.saturating_duration_since(run.arrived) > self.limits.age
        {
            self.drop_front(DropReason::QueueTooOld, dropped);
        }
    }

    /// The waiting bytes in order, as many pieces as fit into `slices`; returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let started = Some(&self.started[self.started_sent..]).filter(|bytes| !bytes.is_empty());
        let runs = self.runs.iter().map(|run| &run.bytes[run.start..]);
        let mut filled = 0;
        for (slot, piece) in slices.iter_mut().zip(started.into_iter().chain(runs)) {
            *slot = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    /// Removes `sent` bytes from the front; `done` is told the size of each frame that is now wholly on the wire.
    pub fn advance(&mut self, mut sent: usize, mut done: impl FnMut(usize)) {
        if !self.started.is_empty() {
            let step = sent.min(self.started.len() - self.started_sent);
            self.started_sent += step;
            sent -= step;
            if self.started_sent < self.started.len() {
                return;
            }
            done(self.started.len());
            self.started = Vec::new();
            self.started_sent = 0;
        }
        while sent > 0
            && let Some(run) = self.runs.front()
            && let Some(len) = front_frame(&run.bytes[run.start..])
        {
            if len > sent {
                self.started = run.bytes[run.start..run.start + len].to_vec();
                self.started_sent = sent;
                self.remove_front(len);
                return;
            }
            self.remove_front(len);
            sent -= len;
            done(len);
        }
    }

    /// Empties the queue; `dropped` is told of each frame, the partly sent one included, and its whole size.
    pub fn clear(&mut self, reason: DropReason, mut dropped: impl FnMut(DropReason, usize)) {
        if !self.started.is_empty() {
            dropped(reason, self.started.len());
            self.started = Vec::new();
            self.started_sent = 0;
        }
        while self.frames > 0 {
            self.drop_front(reason, &mut dropped);
        }
    }

    fn append(&mut self, frame: &[u8], now: Instant) {
        self.bytes += frame.len();
        self.frames += 1;
        if let Some(last) = self.runs.back_mut()
            && last.arrived == now
            && last.bytes.len() + frame.len() <= JOIN
        {
            last.bytes.extend_from_slice(frame);
        } else {
            self.runs.push_back(Run { bytes: frame.to_vec(), start: 0, arrived: now });
        }
    }

    fn drop_front(&mut self, reason: DropReason, dropped: &mut impl FnMut(DropReason, usize)) {
        if let Some(len) = self.runs.front().and_then(|run| front_frame(&run.bytes[run.start..])) {
            self.remove_front(len);
            dropped(reason, len);
        }
    }

    /// Removes the frame of `len` bytes in front of the first run.
    fn remove_front(&mut self, len: usize) {
        let Some(run) = self.runs.front_mut() else { return };
        run.start += len;
        self.bytes -= len;
        self.frames -= 1;
        if run.start == run.bytes.len() {
            self.runs.pop_front();
        }
        if self.runs.is_empty() {
            self.runs.shrink_to(0);
        }
    }
}

/// Length, prefix included, of the whole frame in front of `bytes`.
fn front_frame(bytes: &[u8]) -> Option<usize> {
    let (prefix, payload) = bytes.split_first_chunk::<LEN_PREFIX>()?;
    let len = usize::from(u16::from_be_bytes(*prefix));
    (payload.len() >= len).then_some(LEN_PREFIX + len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(len: usize, fill: u8) -> Vec<u8> {
        let mut bytes = (len as u16).to_be_bytes().to_vec();
        bytes.resize(LEN_PREFIX + len, fill);
        bytes
    }

    fn limits(bytes: usize, frames: usize) -> QueueLimits {
        QueueLimits { bytes, frames, age: Duration::from_millis(200) }
    }

    fn contents(queue: &FrameQueue) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = queue.slices(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn a_full_queue_drops_its_oldest_whole_frames() {
        let now = Instant::now();
        let mut queue = FrameQueue::new(limits(100, 100));
        let mut lost = Vec::new();
        for fill in 0..5 {
            queue.push(&frame(30, fill), now, |reason, len| lost.push((reason, len)));
        }
        assert_eq!(lost, [(DropReason::QueueFullOldest, 32); 2]);
        assert_eq!(contents(&queue), [frame(30, 2), frame(30, 3), frame(30, 4)].concat());

        let mut few = FrameQueue::new(limits(1 << 20, 2));
        let mut lost = 0;
        few.push(&[frame(1, 1), frame(1, 2), frame(1, 3)].concat(), now, |_, _| lost += 1);
        assert_eq!((lost, few.frames()), (1, 2));
    }

    #[test]
    fn a_frame_larger_than_the_limit_still_passes_alone() {
        let mut queue = FrameQueue::new(limits(100, 100));
        queue.push(&frame(500, 1), Instant::now(), |_, _| panic!("nothing else to drop"));
        assert_eq!(queue.frames(), 1);
    }

    #[test]
    fn what_waited_too_long_is_dropped() {
        let start = Instant::now();
        let mut queue = FrameQueue::new(limits(1000, 100));
        queue.push(&frame(10, 1), start, |_, _| {});
        queue.push(&frame(10, 2), start + Duration::from_millis(150), |_, _| {});
        let mut lost = Vec::new();
        queue.drop_aged(start + Duration::from_millis(250), &mut |reason, len| {
            lost.push((reason, len))
        });
        assert_eq!(lost, [(DropReason::QueueTooOld, 12)]);
        assert_eq!(contents(&queue), frame(10, 2));
    }

    #[test]
    fn a_frame_partly_on_the_wire_is_finished_whatever_happens() {
        let start = Instant::now();
        let mut queue = FrameQueue::new(limits(60, 100));
        queue.push(&[frame(30, 1), frame(20, 2)].concat(), start, |_, _| {});
        let mut done = Vec::new();
        queue.advance(10, |len| done.push(len));
        queue.push(&frame(50, 3), start + Duration::from_secs(9), |_, _| {});
        assert_eq!(contents(&queue), [&frame(30, 1)[10..], &frame(50, 3)[..]].concat());
        queue.advance(22 + 52, |len| done.push(len));
        assert_eq!(done, [32, 52]);
        assert!(queue.is_empty());

        queue.start_with(&frame(9, 4), 5);
        assert_eq!((queue.frames(), queue.bytes()), (1, 6));
        queue.clear(DropReason::GatewayClosing, |reason, len| {
            assert_eq!((reason, len), (DropReason::GatewayClosing, 11));
        });
        assert!(queue.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(Vec<usize>),
        Sent(usize),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            prop::collection::vec(1usize..60, 1..5).prop_map(Step::Push),
            (0usize..150).prop_map(Step::Sent),
            (0u64..150).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Against a list of frames: the wire sees whole frames in order, and in = out + drops + queued.
        #[test]
        fn frames_stay_whole_and_the_books_balance(steps in prop::collection::vec(step(), 0..80)) {
            let mut now = Instant::now();
            let mut queue = FrameQueue::new(limits(200, 6));
            let (mut pushed, mut dropped, mut done) = (0usize, 0usize, 0usize);
            let mut wire = Vec::new();
            let mut serial = 0u8;
            for step in steps {
                match step {
                    Step::Push(lens) => {
                        let mut run = Vec::new();
                        for len in lens {
                            serial = serial.wrapping_add(1);
                            run.extend(frame(len, serial));
                            pushed += 1;
                        }
                        queue.push(&run, now, |_, _| dropped += 1);
                    }
                    Step::Sent(n) => {
                        let waiting = contents(&queue);
                        let n = n.min(waiting.len());
                        wire.extend_from_slice(&waiting[..n]);
                        queue.advance(n, |_| done += 1);
                    }
                    Step::Wait(ms) => {
                        now += Duration::from_millis(ms);
                        queue.drop_aged(now, &mut |_, _| dropped += 1);
                    }
                }
                prop_assert_eq!(contents(&queue).len(), queue.bytes());
                prop_assert_eq!(pushed, done + dropped + queue.frames());
                prop_assert!(queue.bytes() <= 200 + 62);
            }
            let rest = contents(&queue);
            wire.extend_from_slice(&rest);
            queue.advance(rest.len(), |_| done += 1);
            prop_assert!(queue.is_empty());
            prop_assert_eq!(pushed, done + dropped);

            let (mut seen, mut last) = (0, 0u8);
            let mut rest = &wire[..];
            while let Some(len) = front_frame(rest) {
                let payload = &rest[LEN_PREFIX..len];
                prop_assert!(payload.iter().all(|byte| *byte == payload[0]), "frame cut");
                prop_assert!(payload[0].wrapping_sub(last) < 128, "order");
                last = payload[0];
                seen += 1;
                rest = &rest[len..];
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(seen, done);
        }
    }
}

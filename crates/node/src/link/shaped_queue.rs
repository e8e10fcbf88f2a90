//! Frames that may not go on yet, since a limit lets less through.

use std::{sync::Arc, time::Instant};

use rtun_core::{DropReason, FlowQueue, Lost, QueueLimits, limit::ShaperSet};
use rtun_proto::{
    frame::{Frames, LEN_PREFIX},
    frame_content::FrameContent,
};

use crate::runtime::budget::{Budget, Charge};

/// Bytes handed on at once.
const STAGE: usize = 64 * 1024;

/// A [`FlowQueue`] in front of limits, within its bounds and a budget. What finds no room is lost as
/// [`DropReason::RateLimited`]; a flow whose packets wait too long gets CE marks.
pub(crate) struct ShapedQueue {
    queue: FlowQueue,
    charge: Charge,
    shapers: ShaperSet,
    /// Bytes of each frame that do not count.
    uncounted: usize,
}

impl ShapedQueue {
    /// Of frames on a stream, which count with their length.
    pub(crate) fn of_stream(
        shapers: ShaperSet,
        content: FrameContent,
        budget: &Arc<Budget>,
    ) -> Self {
        let queue = FlowQueue::new(QueueLimits::default(), fastrand::u64(..)).carrying(content);
        Self { queue, charge: Charge::new(budget), shapers, uncounted: 0 }
    }

    /// Of datagrams, as frames whose length does not count, since it is not sent.
    pub(crate) fn of_datagrams(
        shapers: ShaperSet,
        content: FrameContent,
        budget: &Arc<Budget>,
    ) -> Self {
        Self { uncounted: LEN_PREFIX, ..Self::of_stream(shapers, content, budget) }
    }

    /// From now on these are the limits, also of what waits.
    pub(crate) fn limit(&mut self, shapers: ShaperSet) {
        self.shapers = shapers;
    }

    /// Whether frames have to be pushed: a limit applies now, or others wait.
    pub(crate) fn is_limited(&self) -> bool {
        self.shapers.is_limited() || !self.queue.is_empty()
    }

    /// Whether no frame waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Packets that wait, and their bytes.
    pub(crate) fn queued(&self) -> (u64, usize) {
        (self.queue.packets(), self.queue.bytes())
    }

    /// Appends whole frames of `sender`; each sender has a fair share. `lost` gets each that finds no room.
    pub(crate) fn push(&mut self, sender: u64, frames: &[u8], mut lost: impl FnMut(Lost<'_>)) {
        let now = now();
        match self.charge.allowance() {
            Some(allowance) => {
                self.queue.push(sender, frames, now, allowance, |it| lost(limited(it)));
                self.charge.set(self.queue.memory());
            }
            None => {
                let content = self.queue.content();
                for frame in Frames::new(frames) {
                    let (reason, payload) = (DropReason::RateLimited, frame.payload);
                    lost(Lost { reason, packets: content.packets(payload) as u64, payload });
                }
            }
        }
    }

    /// Hands whole frames to `take` that may go on now. Returns when more may; `None`: nothing waits.
    pub(crate) fn release(
        &mut self,
        mut take: impl FnMut(&[u8]),
        mut lost: impl FnMut(Lost<'_>),
    ) -> Option<Instant> {
        let until = loop {
            let now = now();
            if self.queue.is_empty() {
                self.queue.shrink();
                break None;
            }
            let allowance = match self.shapers.allowance(now) {
                Ok(allowance) => allowance.min(STAGE),
                Err(until) => break Some(until),
            };
            self.queue.stage(allowance, now, |it| lost(limited(it)));
            while let Some((frame, _)) = self.queue.front() {
                take(frame);
                let bytes = frame.len();
                self.queue.advance(bytes, |_| {});
                self.shapers.send(bytes.saturating_sub(self.uncounted), now);
            }
        };
        self.charge.set(self.queue.memory());
        until
    }

    /// Loses all that waits.
    pub(crate) fn clear(&mut self, lost: impl FnMut(Lost<'_>)) {
        self.queue.clear(DropReason::RateLimited, lost);
    }
}

/// What its bounds drop is lost to the limit in front of it.
fn limited(lost: Lost<'_>) -> Lost<'_> {
    let reason = match lost.reason {
        DropReason::QueueFullOldest
        | DropReason::QueueTooOld
        | DropReason::QueueCodel
        | DropReason::QueueBudget => DropReason::RateLimited,
        other => other,
    };
    Lost { reason, ..lost }
}

/// On the clock that tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

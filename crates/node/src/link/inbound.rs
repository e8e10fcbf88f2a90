//! What has arrived and may not go on yet: packets of a peer whose rate is limited.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use rtun_core::{DropReason, Lost, limit::ShaperSet};
use rtun_proto::{
    extension::{decode_gso_frame, ip_packet},
    frame::Frames,
    frame_content::FrameContent,
    packet::Packet,
};

use super::{Receiver, ShapedQueue};
use crate::{counters::Counters, runtime::budget::Budget};

/// While packets wait, the limit is read again at least this often, since it may change.
const RECHECK: Duration = Duration::from_millis(100);

/// Packets of a link that wait for a limit. The link is read all the time: what finds no room here is lost, and counted as
/// [`DropReason::RateLimited`]; a flow whose packets wait too long gets CE marks, as in any [`ShapedQueue`].
pub(super) struct Inbound {
    queue: ShapedQueue,
    content: FrameContent,
    /// When to go on; `None`: nothing waits.
    until: Option<Instant>,
    counters: Arc<Counters>,
    /// Packets cut out of GSO frames; empty between two.
    cut: Vec<u8>,
}

impl Inbound {
    /// What is lost here is counted as received and lost.
    pub(super) fn new(
        shapers: ShaperSet,
        content: FrameContent,
        budget: &Arc<Budget>,
        counters: Arc<Counters>,
    ) -> Self {
        let queue = ShapedQueue::of_stream(shapers, content, budget);
        Self { queue, content, until: None, counters, cut: Vec::new() }
    }

    /// From now on these are the limits, also of what waits.
    pub(super) fn limit(&mut self, shapers: ShaperSet) {
        self.queue.limit(shapers);
    }

    /// Hands the whole frames at the beginning of `bytes` to `receiver`, now or as the limits allow it. Returns how many
    /// bytes they were.
    pub(super) fn take(&mut self, bytes: &[u8], receiver: &mut impl Receiver) -> usize {
        let is_over_quota = self.counters.is_over_quota();
        if !self.queue.is_limited() && !is_over_quota {
            return receiver.take(bytes);
        }
        let mut consumed = 0;
        for frame in Frames::new(bytes) {
            consumed = frame.range.end;
            let (whole, payload) = (&bytes[frame.range], frame.payload);
            let (is_whole, counts) = match self.content {
                FrameContent::Packets => (
                    ip_packet(payload).is_some_and(|it| Packet::parse(it).is_ok()),
                    ip_packet(payload).is_some(),
                ),
                FrameContent::Ethernet => (!payload.is_empty(), !payload.is_empty()),
            };
            if is_over_quota && counts {
                let packets = self.content.packets(payload) as u64;
                let reason = DropReason::QuotaExceeded;
                count_lost(Lost { reason, packets, payload }, self.content, &self.counters);
            } else if self.content == FrameContent::Packets
                && let Ok(gso) = decode_gso_frame(payload)
            {
                let mut cut = mem::take(&mut self.cut);
                gso.write_frames(&mut cut);
                self.push(&cut);
                cut.clear();
                self.cut = cut;
            } else if is_whole {
                self.push(whole);
            } else {
                // Not a packet: of the extension, a message, or to be counted as what it is.
                receiver.take(whole);
            }
        }
        self.release(receiver);
        consumed
    }

    /// Resolves when packets may go on that wait.
    pub(super) async fn ready(&self) {
        match self.until {
            Some(until) => tokio::time::sleep_until(until.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Hands to `receiver` what may go on now.
    pub(super) fn release(&mut self, receiver: &mut impl Receiver) {
        let Self { queue, content, counters, .. } = self;
        let take = |frame: &[u8]| {
            receiver.take(frame);
        };
        let until = queue.release(take, |lost| count_lost(lost, *content, counters));
        let latest = tokio::time::Instant::now().into_std() + RECHECK;
        self.until = until.map(|until| until.min(latest));
    }

    fn push(&mut self, frames: &[u8]) {
        let Self { queue, content, counters, .. } = self;
        queue.push(0, frames, |lost| count_lost(lost, *content, counters));
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        let Self { queue, content, counters, .. } = self;
        queue.clear(|lost| count_lost(lost, *content, counters));
    }
}

fn count_lost(lost: Lost<'_>, content: FrameContent, counters: &Counters) {
    let Lost { reason, packets, payload } = lost;
    let bytes = match content {
        FrameContent::Packets => ip_packet(payload).map_or(0, <[u8]>::len),
        FrameContent::Ethernet => payload.len(),
    };
    counters.count_in(packets, bytes as u64);
    counters.count_drops(reason, packets);
    counters.sample_drop(reason, payload);
}

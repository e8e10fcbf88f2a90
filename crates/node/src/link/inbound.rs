//! What has arrived and may not go on yet: packets of a peer whose rate is limited.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use rtun_core::{DropReason, FlowQueue, Lost, QueueLimits, limit::ShaperSet};
use rtun_proto::{
    extension::{decode_gso_frame, ip_packet, packets},
    frame::Frames,
    packet::Packet,
};

use super::Receiver;
use crate::{
    counters::Counters,
    runtime::budget::{Budget, Charge},
};

/// While packets wait, the limit is read again at least this often, since it may change.
const RECHECK: Duration = Duration::from_millis(100);

/// Bytes handed on at once.
const STAGE: usize = 64 * 1024;

/// Packets of a link that wait for a limit. The link is read all the time: what finds no room here is lost, and counted as
/// [`DropReason::RateLimited`]; a flow whose packets wait too long gets CE marks, as in any [`FlowQueue`].
pub(super) struct Inbound {
    queue: FlowQueue,
    charge: Charge,
    shapers: ShaperSet,
    /// When to go on; `None`: nothing waits.
    until: Option<Instant>,
    counters: Arc<Counters>,
    /// Packets cut out of GSO frames; empty between two.
    cut: Vec<u8>,
}

impl Inbound {
    /// What is lost here is counted as received and lost.
    pub(super) fn new(shapers: ShaperSet, budget: &Arc<Budget>, counters: Arc<Counters>) -> Self {
        Self {
            queue: FlowQueue::new(QueueLimits::default(), fastrand::u64(..)),
            charge: Charge::new(budget),
            shapers,
            until: None,
            counters,
            cut: Vec::new(),
        }
    }

    /// Hands the whole frames at the beginning of `bytes` to `receiver`, now or as the limits allow it. Returns how many
    /// bytes they were.
    pub(super) fn take(&mut self, bytes: &[u8], receiver: &mut impl Receiver) -> usize {
        let is_over_quota = self.counters.is_over_quota();
        if self.queue.is_empty() && !self.shapers.is_limited() && !is_over_quota {
            return receiver.take(bytes);
        }
        let mut consumed = 0;
        for frame in Frames::new(bytes) {
            consumed = frame.range.end;
            let whole = &bytes[frame.range];
            if is_over_quota && ip_packet(frame.payload).is_some() {
                self.lose(DropReason::QuotaExceeded, frame.payload);
            } else if let Ok(gso) = decode_gso_frame(frame.payload) {
                let mut cut = mem::take(&mut self.cut);
                gso.write_frames(&mut cut);
                self.push(&cut);
                cut.clear();
                self.cut = cut;
            } else if ip_packet(frame.payload).is_some_and(|it| Packet::parse(it).is_ok()) {
                self.push(whole);
            } else {
                // Not a packet: of the extension, or to be counted as what it is.
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
        let counters = Arc::clone(&self.counters);
        loop {
            let now = tokio::time::Instant::now().into_std();
            if self.queue.is_empty() {
                self.until = None;
                break;
            }
            let allowance = match self.shapers.allowance(now) {
                Ok(allowance) => allowance.min(STAGE),
                Err(until) => {
                    self.until = Some(until.min(now + RECHECK));
                    break;
                }
            };
            self.queue.stage(allowance, now, |lost| count_lost(lost, &counters));
            while let Some((frame, _)) = self.queue.front() {
                receiver.take(frame);
                let bytes = frame.len();
                self.queue.advance(bytes, |_| {});
                self.shapers.send(bytes, now);
            }
        }
        if self.queue.is_empty() {
            self.queue.shrink();
        }
        self.charge.set(self.queue.memory());
    }

    fn push(&mut self, frames: &[u8]) {
        let now = tokio::time::Instant::now().into_std();
        let counters = Arc::clone(&self.counters);
        match self.charge.allowance() {
            Some(allowance) => {
                self.queue.push(0, frames, now, allowance, |lost| count_lost(lost, &counters));
                self.charge.set(self.queue.memory());
            }
            None => {
                for frame in Frames::new(frames) {
                    self.lose(DropReason::RateLimited, frame.payload);
                }
            }
        }
    }

    fn lose(&self, reason: DropReason, payload: &[u8]) {
        count_lost(Lost { reason, packets: packets(payload) as u64, payload }, &self.counters);
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        let counters = Arc::clone(&self.counters);
        self.queue.clear(DropReason::RateLimited, |lost| count_lost(lost, &counters));
    }
}

fn count_lost(Lost { reason, packets, payload }: Lost<'_>, counters: &Counters) {
    let reason = match reason {
        DropReason::QueueFullOldest
        | DropReason::QueueTooOld
        | DropReason::QueueCodel
        | DropReason::QueueBudget => DropReason::RateLimited,
        other => other,
    };
    counters.count_in(packets, ip_packet(payload).map_or(0, <[u8]>::len) as u64);
    counters.count_drops(reason, packets);
    counters.sample_drop(reason, payload);
}

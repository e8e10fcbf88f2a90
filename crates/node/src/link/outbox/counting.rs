//! Counts packets that have left, and those that are lost, by the frames they are in.

use rtun_core::{DropReason, Lost, Sent};
use rtun_proto::{
    frame::{Frames, LEN_PREFIX},
    frame_content::FrameContent,
};

use crate::counters::Counters;

pub(super) fn count_sent(Sent { packets, bytes }: Sent, counters: &Counters) {
    counters.count_out(packets, bytes as u64);
}

/// What is lost while packets wait for a limit is lost to the limit.
pub(super) fn shaped(lost: Lost<'_>, is_shaped: bool) -> Lost<'_> {
    let reason = match lost.reason {
        DropReason::QueueFullOldest
        | DropReason::QueueTooOld
        | DropReason::QueueCodel
        | DropReason::QueueBudget
            if is_shaped =>
        {
            DropReason::RateLimited
        }
        other => other,
    };
    Lost { reason, ..lost }
}

pub(super) fn count_lost(Lost { reason, packets, payload }: Lost<'_>, counters: &Counters) {
    counters.count_drops(reason, packets);
    counters.sample_drop(reason, payload);
}

pub(super) fn count_out(content: FrameContent, run: &[u8], counters: &Counters) {
    let (mut all, mut frames) = (0, 0);
    for frame in Frames::new(run) {
        all += content.packets(frame.payload);
        frames += 1;
    }
    counters.count_out(all as u64, (run.len() - frames * LEN_PREFIX) as u64);
}

pub(super) fn count_drops(
    reason: DropReason,
    content: FrameContent,
    run: &[u8],
    counters: &Counters,
) {
    let all: usize = Frames::new(run).map(|frame| content.packets(frame.payload)).sum();
    counters.count_drops(reason, all as u64);
    if counters.samples_drops() {
        Frames::new(run).for_each(|frame| counters.sample_drop(reason, frame.payload));
    }
}

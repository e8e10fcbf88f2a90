//! Each rule of RFC 8290 and of the bounds, alone.

use std::{collections::HashMap, io::IoSlice, time::Instant};

use proptest::prelude::*;
use rtun_core::{DropReason, FlowQueue, MAX_CONTROL, QueueLimits, Sent};
use rtun_proto::{checksum::Checksum, frame::MAX_FRAME};

use crate::support::*;

const NO_BUDGET: usize = usize::MAX;

fn queue() -> FlowQueue {
    FlowQueue::new(QueueLimits::default(), 7)
}

/// Stages and sends one frame.
fn send_one(queue: &mut FlowQueue, now: Instant) -> Vec<u8> {
    queue.stage(1, now, nothing_lost);
    send_staged(queue).pop().unwrap()
}

#[test]
fn a_new_flow_goes_before_older_ones() {
    let now = Instant::now();
    let mut queue = queue();
    let bulk: Vec<u8> = (0..50).flat_map(|fill| frame(1, 1400, fill)).collect();
    queue.push(ONE, &bulk, now, NO_BUDGET, nothing_lost);
    for _ in 0..3 {
        assert_eq!(flow_of(&send_one(&mut queue, now)), 1);
    }
    queue.push(ONE, &frame(2, 84, 0), now, NO_BUDGET, nothing_lost);
    assert_eq!(flow_of(&send_one(&mut queue, now)), 2);
    assert_eq!(flow_of(&send_one(&mut queue, now)), 1);
}

/// RFC 8290 section 4.2: a new flow that empties joins the old ones before it can be new again.
#[test]
fn flows_of_few_packets_cannot_stay_new() {
    let now = Instant::now();
    let mut queue = queue();
    let bulk: Vec<u8> = (0..60).flat_map(|fill| frame(1, 1400, fill)).collect();
    queue.push(
        ONE,
        &[frame(2, 1400, 0), frame(3, 1400, 0), bulk].concat(),
        now,
        NO_BUDGET,
        nothing_lost,
    );
    let (mut of_bulk, mut before) = (0, None);
    for _ in 0..60 {
        let flow = flow_of(&send_one(&mut queue, now));
        of_bulk += usize::from(flow == 1);
        // The next frame comes after the flow was found empty.
        if let Some(flow) = before.replace(flow).filter(|flow| *flow != 1) {
            queue.push(ONE, &frame(flow, 1400, 0), now, NO_BUDGET, nothing_lost);
        }
    }
    assert!((18..=22).contains(&of_bulk), "{of_bulk} of 60, where a third is fair");
}

#[test]
fn flows_send_equally_many_bytes_with_frames_of_any_length() {
    const LONG: u16 = 1;
    const SHORT: u16 = 2;
    const TINY: u16 = 3;
    let now = Instant::now();
    let mut queue = queue();
    let long = gso_frame(LONG, 65_000, 0, 0, 1400);
    let short = frame(SHORT, 1000, 0);
    let tiny: Vec<u8> = (0..10).flat_map(|fill| frame(TINY, 98, fill)).collect();
    let (mut waiting, mut sent) = (HashMap::<u16, usize>::new(), HashMap::<u16, usize>::new());
    for _ in 0..2000 {
        for (flow, run) in [(LONG, &long), (SHORT, &short), (TINY, &tiny)] {
            let waits = waiting.entry(flow).or_default();
            while *waits < 150_000 {
                queue.push(ONE, run, now, NO_BUDGET, nothing_lost);
                *waits += run.len();
            }
        }
        queue.stage(16_000, now, nothing_lost);
        for frame in send_staged(&mut queue) {
            *sent.entry(flow_of(&frame)).or_default() += frame.len();
            *waiting.get_mut(&flow_of(&frame)).unwrap() -= frame.len();
        }
    }
    let total: usize = sent.values().sum();
    assert!(total > 30_000_000);
    for (flow, bytes) in sent {
        assert!((bytes * 3).abs_diff(total) < total / 10, "flow {flow}: {bytes} of {total}");
    }
}

/// Bytes that each sender gets from a queue that is always full. Each run is pushed equally often.
fn shares(runs: &[(u64, Vec<Vec<u8>>)], rounds: usize) -> HashMap<u64, usize> {
    let now = Instant::now();
    let mut queue = queue();
    let sender_of = |frame: &[u8]| u64::from(frame[2 + 20 + 6]);
    let mut sent = HashMap::<u64, usize>::new();
    for round in 0..rounds {
        for (sender, frames) in runs {
            for frame in frames.iter().cycle().skip(round * 40 % frames.len()).take(40) {
                // The checksum, which the queue does not check, identifies the sender.
                let mut frame = frame.clone();
                frame[2 + 20 + 6] = u8::try_from(*sender).unwrap();
                queue.push(*sender, &frame, now, NO_BUDGET, |_| {});
            }
        }
        queue.stage(14_000, now, nothing_lost);
        for frame in send_staged(&mut queue) {
            *sent.entry(sender_of(&frame)).or_default() += frame.len();
        }
    }
    sent
}

#[test]
fn many_flows_get_a_sender_no_more_than_one_does() {
    let many: Vec<_> = (0..500).map(|flow| frame(flow, 1400, 0)).collect();
    let few: Vec<_> = (0..5).map(|flow| frame(flow, 1400, 0)).collect();
    let one = vec![frame(7, 1400, 0)];
    let sent = shares(&[(1, many), (2, few), (3, one)], 1500);
    let total: usize = sent.values().sum();
    assert!(total > 20_000_000, "{total}");
    for (sender, bytes) in sent {
        assert!((bytes * 3).abs_diff(total) < total / 20, "sender {sender}: {bytes} of {total}");
    }
}

/// The bound of frames is reached by another sender than the bound of bytes.
#[test]
fn short_frames_of_many_flows_cost_no_other_sender_a_frame() {
    let now = Instant::now();
    let mut queue = queue();
    let honest: Vec<u8> = (0..150).flat_map(|fill| frame(1, 1400, fill)).collect();
    queue.push(2, &honest, now, NO_BUDGET, nothing_lost);
    let mut lost = Vec::new();
    for flow in 0..8000_u16 {
        queue.push(1, &frame(flow, 60, 0), now, NO_BUDGET, |loss| lost.push(loss.payload.len()));
    }
    assert_eq!(lost.len(), 8000 + 150 - 4096);
    assert!(lost.iter().all(|bytes| *bytes == 60), "only of the sender of short frames");
}

#[test]
fn the_largest_sender_makes_room_even_if_its_flows_are_small() {
    let now = Instant::now();
    let mut queue = FlowQueue::new(limits(100_000, 1000), 7);
    let honest: Vec<u8> = (0..30).flat_map(|fill| frame(1, 998, fill)).collect();
    queue.push(2, &honest, now, NO_BUDGET, nothing_lost);
    for flow in 0..300 {
        queue.push(1, &frame(flow, 898, 0), now, NO_BUDGET, |loss| {
            assert_eq!(loss.payload.len(), 898)
        });
    }
}

#[test]
fn a_new_sender_goes_before_older_ones() {
    let now = Instant::now();
    let mut queue = queue();
    for flow in 10..100 {
        queue.push(1, &frame(flow, 1400, 0), now, NO_BUDGET, nothing_lost);
    }
    send_one(&mut queue, now);
    send_one(&mut queue, now);
    queue.push(2, &frame(5, 84, 0), now, NO_BUDGET, nothing_lost);
    assert_eq!(flow_of(&send_one(&mut queue, now)), 5);
}

/// More senders and flows, one after the other, than the queue has slots for.
#[test]
fn the_state_of_senders_and_flows_is_bounded() {
    let now = Instant::now();
    let mut queue = queue();
    let (mut pushed, mut lost, mut sent, mut most) = (0, 0, 0, 0);
    for n in 0..60_000_u64 {
        let flow = u16::try_from(n % 50_000).unwrap();
        queue.push(n * 7 % 3001, &frame(flow, 60, 0), now, NO_BUDGET, |_| lost += 1);
        pushed += 1;
        if n % 8000 > 5000 {
            queue.stage(120, now, nothing_lost);
            sent += send_staged(&mut queue).len();
        }
        most = most.max(queue.memory());
    }
    while !queue.is_empty() {
        queue.stage(6_000, now, nothing_lost);
        sent += send_staged(&mut queue).len();
    }
    assert_eq!(pushed, lost + sent);
    assert!(lost > 10_000 && sent > 10_000, "{lost} lost, {sent} sent");
    assert!(most < 2 << 20, "{most} bytes");
}

/// A standing queue of 30 ms for half a second: the times of the signals in milliseconds, and the sent frames.
fn standing_queue(ecn: u8) -> (Vec<u64>, Vec<Vec<u8>>) {
    let start = Instant::now();
    let mut queue = queue();
    let (mut losses, mut sent) = (Vec::new(), Vec::new());
    for at in 0..500 {
        let now = start + ms(at);
        queue.push(ONE, &frame_of(&packet(1, 1000, 0, ecn)), now, NO_BUDGET, nothing_lost);
        if at >= 30 {
            queue.stage(1, now, |lost| {
                assert_eq!((lost.reason, lost.payload.len()), (DropReason::QueueCodel, 1000));
                assert_eq!(ecn, 0, "an ECN-capable packet is not dropped");
                losses.push(at);
            });
            for frame in send_staged(&mut queue) {
                if frame[3] & CE == CE {
                    losses.push(at);
                }
                sent.push(frame);
            }
        }
    }
    (losses, sent)
}

#[test]
fn a_standing_queue_loses_packets_after_an_interval_and_then_more_and_more_often() {
    let (losses, sent) = standing_queue(0);
    // 30 + 100, then 100, 100/sqrt(2), 100/sqrt(3), rounded up.
    assert_eq!(losses[..4], [130, 230, 301, 359]);
    assert!(losses.len() > 5);
    assert_eq!(sent.len(), 470);
}

#[test]
fn ecn_capable_packets_get_a_ce_mark_instead() {
    let (signals, sent) = standing_queue(ECT);
    assert_eq!(signals[..4], [130, 230, 301, 359]);
    assert_eq!(sent.len(), 470);
    for frame in &sent {
        assert_eq!(Checksum::new().add_bytes(&frame[2..22]).finish(), 0, "header checksum");
    }
}

#[test]
fn an_ecn_capable_gso_frame_gets_a_ce_mark() {
    let start = Instant::now();
    let mut queue = queue();
    let mut marked = 0;
    for at in 0..200 {
        let now = start + ms(at);
        queue.push(ONE, &gso_frame(1, 9000, 0, ECT, 1400), now, NO_BUDGET, nothing_lost);
        if at >= 30 {
            queue.stage(1, now, nothing_lost);
            for frame in send_staged(&mut queue) {
                let ip = rtun_proto::extension::ip_packet(&frame[2..]).unwrap();
                marked += usize::from(ip[1] == CE);
                assert_eq!(Checksum::new().add_bytes(&ip[..20]).finish(), 0);
            }
        }
    }
    assert_eq!(marked, 1, "at 130 ms; the next one is due at 230 ms");
}

/// RFC 8289 section 5, with GSO frames: the one frame may be a long one.
#[test]
fn one_more_frame_is_no_standing_queue_however_long() {
    let start = Instant::now();
    let mut queue = queue();
    for at in 0..100 {
        let now = start + ms(10 * at);
        queue.push(ONE, &gso_frame(1, 60_000, 0, 0, 1400), now, NO_BUDGET, nothing_lost);
        if at > 0 {
            queue.stage(1, now, nothing_lost);
            send_staged(&mut queue);
        }
    }
}

#[test]
fn a_flow_that_was_empty_has_an_interval_again() {
    let start = Instant::now();
    let mut queue = queue();
    let burst: Vec<u8> = (0..60).flat_map(|fill| frame(1, 1000, fill)).collect();
    queue.push(ONE, &burst, start, NO_BUDGET, nothing_lost);
    let mut lost = Vec::new();
    for at in [10, 50, 111, 1000] {
        queue.stage(1, start + ms(at), |loss| lost.push(loss.reason));
        send_staged(&mut queue);
    }
    assert_eq!(lost[0], DropReason::QueueCodel);
    assert_eq!(lost[1..], [DropReason::QueueTooOld; 56]);
    queue.push(ONE, &burst, start + ms(1000), NO_BUDGET, nothing_lost);
    for at in 1020..1080 {
        queue.stage(1, start + ms(at), nothing_lost);
        send_staged(&mut queue);
    }
    assert!(queue.is_empty());
}

/// The largest flow is searched for again when frames were sent, even if the known one has more than half of its bytes.
#[test]
fn the_largest_flow_changes_when_frames_are_sent() {
    let now = Instant::now();
    let mut queue = FlowQueue::new(limits(20_000, 100), 7);
    let (large, small) = (frame(1, 998, 0), frame(2, 898, 0));
    let mut lost = Vec::new();
    queue.push(ONE, &[large.repeat(15), small.repeat(5)].concat(), now, NO_BUDGET, nothing_lost);
    queue.push(ONE, &large, now, NO_BUDGET, |loss| lost.push(loss.payload.len()));
    assert_eq!(lost, [998]);
    let mut left = 15;
    while left > 8 {
        left -= usize::from(flow_of(&send_one(&mut queue, now)) == 1);
    }
    queue.push(ONE, &small.repeat(10), now, NO_BUDGET, nothing_lost);
    while lost.len() < 2 {
        queue.push(ONE, &frame(3, 498, 0), now, NO_BUDGET, |loss| lost.push(loss.payload.len()));
    }
    assert_eq!(lost[1..], [898]);
}

#[test]
fn a_full_queue_drops_frames_of_its_largest_flow() {
    let now = Instant::now();
    let mut queue = FlowQueue::new(limits(10_000, 100), 7);
    let large: Vec<u8> = (0..6).flat_map(|fill| frame(1, 998, fill)).collect();
    let small: Vec<u8> = (0..4).flat_map(|fill| frame(2, 998, fill)).collect();
    queue.push(ONE, &[large, small].concat(), now, NO_BUDGET, nothing_lost);
    assert_eq!(queue.bytes(), 10_000);
    let mut lost = Vec::new();
    queue.push(ONE, &frame(3, 1500, 0), now, NO_BUDGET, |loss| {
        lost.push((loss.reason, loss.payload.len()))
    });
    assert_eq!(lost, [(DropReason::QueueFullOldest, 998); 2]);
    queue.stage(usize::MAX, now, nothing_lost);
    let left = send_staged(&mut queue);
    let fills = |flow| -> Vec<u8> {
        left.iter().filter(|frame| flow_of(frame) == flow).map(|frame| frame[40]).collect()
    };
    assert_eq!((fills(1), fills(2), fills(3)), (vec![2, 3, 4, 5], vec![0, 1, 2, 3], vec![0]));
}

#[test]
fn the_number_of_frames_is_bounded_too() {
    let now = Instant::now();
    let mut queue = FlowQueue::new(limits(1 << 20, 5), 7);
    let mut lost = 0;
    for fill in 0..20 {
        queue.push(ONE, &frame(1, 100, fill), now, NO_BUDGET, |loss| {
            assert_eq!(loss.reason, DropReason::QueueFullOldest);
            lost += 1;
        });
    }
    assert_eq!((lost, queue.packets()), (15, 5));
}

#[test]
fn drops_by_the_budget_have_their_own_reason() {
    let now = Instant::now();
    let mut queue = FlowQueue::new(limits(10_000, 100), 7);
    let run: Vec<u8> = (0..5).flat_map(|fill| frame(1, 998, fill)).collect();
    queue.push(ONE, &run, now, 5000, nothing_lost);
    let mut lost = Vec::new();
    queue.push(ONE, &frame(2, 998, 0), now, 5000, |loss| lost.push(loss.reason));
    assert_eq!(lost, [DropReason::QueueBudget]);
    // No budget: the waiting frames are dropped, and one frame stays.
    lost.clear();
    queue.push(ONE, &frame(2, 998, 1), now, 0, |loss| lost.push(loss.reason));
    assert_eq!(lost, [DropReason::QueueBudget; 5]);
    assert_eq!(queue.packets(), 1);
    // A staged frame stays, so the new one is dropped.
    queue.stage(1, now, nothing_lost);
    lost.clear();
    queue.push(ONE, &frame(2, 998, 2), now, 1500, |loss| lost.push(loss.reason));
    assert_eq!(lost, [DropReason::QueueBudget]);
    assert_eq!(send_staged(&mut queue), [frame(2, 998, 1)]);
}

#[test]
fn a_frame_larger_than_the_bound_passes_alone() {
    let now = Instant::now();
    let mut queue = FlowQueue::new(limits(100, 100), 7);
    queue.push(ONE, &frame(1, 500, 0), now, NO_BUDGET, nothing_lost);
    queue.stage(1, now, nothing_lost);
    assert_eq!(send_staged(&mut queue), [frame(1, 500, 0)]);
}

#[test]
fn a_frame_too_old_is_not_sent() {
    let start = Instant::now();
    let mut queue = queue();
    queue.push(ONE, &frame(1, 100, 1), start, NO_BUDGET, nothing_lost);
    queue.push(ONE, &frame(1, 100, 2), start + ms(150), NO_BUDGET, nothing_lost);
    let mut lost = Vec::new();
    queue.stage(1, start + ms(201), |loss| {
        lost.push((loss.reason, loss.packets, loss.payload.len()))
    });
    assert_eq!(lost, [(DropReason::QueueTooOld, 1, 100)]);
    assert_eq!(send_staged(&mut queue), [frame(1, 100, 2)]);
}

#[test]
fn staged_frames_and_control_frames_do_not_age() {
    let start = Instant::now();
    let mut queue = queue();
    queue.push(ONE, &frame(1, 100, 1), start, NO_BUDGET, nothing_lost);
    queue.stage(1, start, nothing_lost);
    assert!(queue.push_control(&frame_of(&[4; 9])));
    queue.stage(usize::MAX, start + ms(9000), nothing_lost);
    assert_eq!(send_staged(&mut queue), [frame(1, 100, 1), frame_of(&[4; 9])]);
}

#[test]
fn control_frames_go_before_unstaged_frames() {
    let now = Instant::now();
    let mut queue = queue();
    let run = [frame(1, 100, 1), frame(2, 100, 2)].concat();
    queue.push(ONE, &run, now, NO_BUDGET, nothing_lost);
    queue.stage(1, now, nothing_lost);
    let (ping, pong) = (frame_of(&[4; 9]), frame_of(&[5; 9]));
    assert!(queue.push_control(&ping) && queue.push_control(&pong));
    assert_eq!((queue.packets(), queue.bytes()), (2, 204 + 22));
    queue.stage(usize::MAX, now, nothing_lost);
    let mut sent = Vec::new();
    let all = staged(&queue);
    queue.advance(all.len(), |done| sent.push(done));
    assert_eq!(split(&all), [frame(1, 100, 1), ping, pong, frame(2, 100, 2)]);
    assert_eq!(sent, [Sent { packets: 2, bytes: 200 }], "control frames are no packets");
    assert!(queue.is_empty());
}

#[test]
fn few_control_frames_wait() {
    let mut queue = queue();
    let frame = frame_of(&[4; 1022]);
    for _ in 0..MAX_CONTROL / 1024 {
        assert!(queue.push_control(&frame));
    }
    assert!(!queue.push_control(&frame));
    assert_eq!(queue.bytes(), MAX_CONTROL);
    queue.stage(1024, Instant::now(), nothing_lost);
    assert!(queue.push_control(&frame), "staged frames no longer count");
}

#[test]
fn a_frame_partly_on_the_wire_is_finished_first() {
    let now = Instant::now();
    let mut queue = queue();
    queue.push(ONE, &frame(2, 100, 2), now, NO_BUDGET, nothing_lost);
    assert!(queue.push_control(&frame_of(&[4; 9])));
    queue.start_with(&frame(1, 100, 1), 60);
    assert_eq!((queue.packets(), queue.bytes()), (2, 42 + 11 + 102));
    queue.stage(usize::MAX, now, nothing_lost);
    let expected = [&frame(1, 100, 1)[60..], &frame_of(&[4; 9]), &frame(2, 100, 2)].concat();
    assert_eq!(staged(&queue), expected);
    let mut sent = Vec::new();
    for byte in 0..expected.len() {
        assert_eq!(staged(&queue), expected[byte..]);
        queue.advance(1, |done| sent.push((byte, done)));
    }
    let done = Sent { packets: 1, bytes: 100 };
    assert_eq!(sent, [(41, done), (expected.len() - 1, done)]);
}

#[test]
fn a_control_frame_partly_on_the_wire_is_no_packet() {
    let mut queue = queue();
    queue.start_with_control(&frame_of(&[4; 9]), 3);
    assert_eq!((queue.packets(), queue.bytes(), queue.is_empty()), (0, 8, false));
    assert_eq!(staged(&queue), [4; 8]);
    queue.advance(8, |sent| panic!("{sent:?}"));
    assert!(queue.is_empty());
}

#[test]
fn a_gso_frame_counts_its_segments() {
    let now = Instant::now();
    let mut queue = queue();
    queue.push(ONE, &gso_frame(1, HEADERS + 2801, 0, 0, 1400), now, NO_BUDGET, nothing_lost);
    queue.push(ONE, &frame(1, 100, 0), now, NO_BUDGET, nothing_lost);
    assert_eq!(queue.packets(), 4);
    queue.stage(1, now, nothing_lost);
    let len = staged(&queue).len();
    queue.advance(len, |sent| assert_eq!(sent, Sent { packets: 3, bytes: 11 + HEADERS + 2801 }));
    let mut lost = 0;
    queue.push(ONE, &gso_frame(1, HEADERS + 2800, 0, 0, 1400), now, NO_BUDGET, nothing_lost);
    queue.clear(DropReason::WriteError, |loss| lost += loss.packets);
    assert_eq!(lost, 3);
}

#[test]
fn clearing_reports_everything_once() {
    let now = Instant::now();
    let mut queue = queue();
    let run: Vec<u8> = (0..10).flat_map(|flow| frame(flow, 100, 0)).collect();
    queue.push(ONE, &run, now, NO_BUDGET, nothing_lost);
    queue.stage(300, now, nothing_lost);
    queue.advance(150, |_| {});
    assert!(queue.push_control(&frame_of(&[4; 9])));
    let mut lost = Vec::new();
    queue.clear(DropReason::WriteError, |loss| {
        lost.push((loss.reason, loss.packets, loss.payload.len()))
    });
    assert_eq!(lost, [(DropReason::WriteError, 1, 100); 9]);
    assert!(queue.is_empty());
    assert_eq!((queue.bytes(), queue.packets(), staged(&queue)), (0, 0, vec![]));
    queue.push(ONE, &frame(1, 100, 5), now, NO_BUDGET, nothing_lost);
    queue.stage(1, now, nothing_lost);
    assert_eq!(send_staged(&mut queue), [frame(1, 100, 5)]);
}

#[test]
fn frames_of_one_flow_are_written_in_few_pieces() {
    let now = Instant::now();
    let mut queue = queue();
    let run: Vec<u8> = (0..40).flat_map(|fill| frame(1, 1398, fill)).collect();
    queue.push(ONE, &run, now, NO_BUDGET, nothing_lost);
    queue.stage(usize::MAX, now, nothing_lost);
    let mut slices = [IoSlice::new(&[]); 64];
    assert_eq!(queue.slices(&mut slices), 2, "two chunks");
    assert_eq!(queue.slices(&mut slices[..1]), 1);
    assert_eq!(slices[0].len(), 23 * 1400);
    assert_eq!(queue.slices(&mut []), 0);
}

#[test]
fn an_idle_queue_has_almost_no_memory() {
    assert!(size_of::<FlowQueue>() < 300, "{}", size_of::<FlowQueue>());
    let now = Instant::now();
    let mut queue = queue();
    assert_eq!(queue.memory(), 0);
    queue.push(ONE, &gso_frame(1, 65_000, 0, 0, 1400), now, NO_BUDGET, nothing_lost);
    queue.shrink();
    assert_eq!(queue.packets(), 47, "only an empty queue is shrunk");
    assert!(queue.memory() > MAX_FRAME);
    queue.stage(1, now, nothing_lost);
    send_staged(&mut queue);
    queue.shrink();
    assert_eq!(queue.memory(), 0);
}

proptest! {
    /// Of flows with frames of any sizes, the largest one loses frames: by bytes plus 256 for each frame.
    #[test]
    fn the_fattest_flow_pays(sizes in prop::collection::vec((1_u16..4, 100_usize..2000), 2..30)) {
        let now = Instant::now();
        let bytes = sizes.iter().map(|(_, len)| len + 2).sum();
        let mut queue = FlowQueue::new(limits(bytes, 100), 7);
        let mut of_flow = HashMap::<u16, usize>::new();
        for (flow, len) in &sizes {
            queue.push(ONE, &frame(*flow, *len, 0), now, NO_BUDGET, nothing_lost);
            *of_flow.entry(*flow).or_default() += len + 2 + 256;
        }
        let most = *of_flow.values().max().unwrap();
        let oldest_of_fattest: Vec<usize> = sizes
            .iter()
            .enumerate()
            .filter(|(at, (flow, _))| {
                of_flow[flow] == most && !sizes[..*at].iter().any(|(other, _)| other == flow)
            })
            .map(|(_, (_, len))| *len)
            .collect();
        let mut lost = Vec::new();
        queue.push(ONE, &frame(9, 28, 0), now, NO_BUDGET, |loss| lost.push(loss.payload.len()));
        prop_assert_eq!(lost.len(), 1);
        prop_assert!(oldest_of_fattest.contains(&lost[0]));
    }
}

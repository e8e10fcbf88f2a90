//! Delays over virtual time: a transfer that adapts to losses, and pings at the same time.

use std::{collections::VecDeque, time::Instant};

use rtun_core::{DropReason, FlowQueue, QueueLimits};

use crate::support::*;

const BULK: u16 = 1;
const PING: u16 = 2;
/// Bytes per millisecond of the link: 10 Mbit/s.
const BYTES_PER_MS: usize = 1250;
const BULK_LEN: usize = 1400;
const ROUND_TRIP: u64 = 20;
const PING_EVERY: u64 = 10;
const DURATION: u64 = 60_000;

/// A sender with Reno's congestion avoidance: one packet more per round trip, half of them after a loss. It learns
/// one round trip later whether a packet arrived.
struct Reno {
    window: f64,
    in_flight: usize,
    /// When it learns about a packet, and whether the packet arrived.
    news: VecDeque<(u64, bool)>,
    deaf_until: u64,
}

impl Reno {
    fn learn(&mut self, at: u64) {
        while let Some((due, arrived)) = self.news.front().copied()
            && due <= at
        {
            self.news.pop_front();
            self.in_flight -= 1;
            if arrived {
                self.window += 1.0 / self.window;
            } else if at >= self.deaf_until {
                self.window = (self.window / 2.0).max(2.0);
                self.deaf_until = at + ROUND_TRIP;
            }
        }
    }

    fn may_send(&mut self) -> bool {
        let may = (self.in_flight as f64) < self.window;
        self.in_flight += usize::from(may);
        may
    }
}

#[test]
fn pings_overtake_a_transfer_whose_delay_returns_to_the_target() {
    let start = Instant::now();
    let mut queue = FlowQueue::new(QueueLimits::default(), 7);
    // As after slow start: 150 packets at once are 170 ms of the link.
    let mut bulk = Reno { window: 150.0, in_flight: 0, news: VecDeque::new(), deaf_until: 0 };
    let (mut pings_sent, mut sojourns, mut backlogs) = (0, Vec::new(), Vec::new());
    let (mut front, mut credit) = (None, 0);
    for at in 0..DURATION {
        let now = start + ms(at);
        bulk.learn(at);
        while bulk.may_send() {
            queue.push(ONE, &frame(BULK, BULK_LEN, 0), now, usize::MAX, nothing_lost);
        }
        if at % PING_EVERY == 0 {
            queue.push(ONE, &frame(PING, 84, 0), now, usize::MAX, nothing_lost);
            pings_sent += 1;
        }
        credit += BYTES_PER_MS;
        while credit > 0 && !queue.is_empty() {
            queue.stage(1, now, |lost| {
                assert_eq!((lost.reason, lost.payload.len()), (DropReason::QueueCodel, BULK_LEN));
                bulk.news.push_back((at + ROUND_TRIP, false));
            });
            let waiting = staged(&queue);
            let flow = *front.get_or_insert_with(|| flow_of(&waiting));
            let sent = waiting.len().min(credit);
            credit -= sent;
            queue.advance(sent, |_| match flow {
                BULK => bulk.news.push_back((at + ROUND_TRIP, true)),
                _ => sojourns.push(at - PING_EVERY * sojourns.len() as u64),
            });
            if sent == waiting.len() {
                front = None;
            }
        }
        if queue.is_empty() {
            credit = 0;
        }
        backlogs.push(queue.bytes() / BYTES_PER_MS);
    }

    assert!(pings_sent - sojourns.len() <= 1, "every ping arrives");
    let [ping_median, ping_p99] = quantiles(&mut sojourns);
    let began_at = backlogs[0];
    let [median, p99] = quantiles(&mut backlogs[2_000..]);
    println!("pings {ping_median} ms, p99 {ping_p99} ms; transfer {median} ms, p99 {p99} ms");
    assert!(ping_p99 < 10, "pings wait {ping_p99} ms");
    assert!(began_at > 150, "the queue was full at first");
    assert!((1..=8).contains(&median), "the transfer's queue stands at {median} ms");
    assert!(p99 <= 25, "the transfer's queue stands at {p99} ms");
}

/// Median and 99th percentile.
fn quantiles<T: Ord + Copy>(values: &mut [T]) -> [T; 2] {
    values.sort_unstable();
    [values[values.len() / 2], values[values.len() * 99 / 100]]
}

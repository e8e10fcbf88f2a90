use std::{num::NonZeroU64, slice};

use rtun_core::limit::{ShaperPair, TrafficLimit, TrafficRate};
use rtun_transport::memory;

use super::*;

/// Packets that are queued one by one before they are sent, and leave at once.
#[tokio::test(start_paused = true)]
async fn memory_is_given_back_although_nothing_ever_waited() {
    let (stream, other) = memory::pair(1 << 20);
    let stream: Arc<dyn Stream> = Arc::new(stream);
    let (budget, counters) = (Budget::new(1 << 24), Arc::<Counters>::default());
    let outbox = Arc::new(Outbox::new(Arc::clone(&stream), FrameContent::Packets, &budget));
    outbox.open();
    outbox.begin_datagrams();
    let (its_outbox, its_counters) = (Arc::clone(&outbox), Arc::clone(&counters));
    let drain = tokio::spawn(async move { its_outbox.drain(&*stream, &its_counters).await });
    tokio::time::sleep(2 * QUIET).await;

    let mut frame = vec![0, 20, 0x45];
    frame.resize(LEN_PREFIX + 20, 0);
    outbox.send(1, &frame, slice::from_ref(&(0..frame.len())), &counters).unwrap();
    assert_eq!((outbox.queued(), counters.read().packets_out), ((0, 0), 1));
    assert!(budget.read().0 > 0, "it was queued");
    tokio::time::sleep(2 * QUIET).await;
    assert_eq!(budget.read().0, 0);
    drain.abort();
    drop(other);
}

/// In simulated time: a sender that always has more, through a stream that takes everything.
#[tokio::test(start_paused = true)]
async fn a_limit_is_kept_to_3_percent_and_what_it_holds_back_is_bounded() {
    for mbit in [1, 10, 100, 1000_u64] {
        let bytes = mbit * 125_000;
        let limit =
            TrafficLimit { input: None, output: NonZeroU64::new(bytes).map(TrafficRate::new) };
        let pair = Arc::new(ShaperPair::new(Some(limit), now()));
        let (stream, other) = memory::pair(1 << 22);
        let stream: Arc<dyn Stream> = Arc::new(stream);
        let (budget, counters) = (Budget::new(1 << 28), Arc::<Counters>::default());
        let outbox = Arc::new(Outbox::new(Arc::clone(&stream), FrameContent::Packets, &budget));
        outbox.limit(ShaperSet::output([pair]));
        outbox.open();
        let (its_outbox, its_counters) = (Arc::clone(&outbox), Arc::clone(&counters));
        let drain = tokio::spawn(async move { its_outbox.drain(&*stream, &its_counters).await });

        let mut frame = vec![0x05, 0x78, 0x45];
        frame.resize(LEN_PREFIX + 1400, 0);
        // In each millisecond a quarter more than the limit lets through.
        let each = (bytes * 5 / 4 / 1000).div_ceil(frame.len() as u64) as usize;
        let run = frame.repeat(each);
        let (mut buffer, mut arrived, mut pushed) = (vec![0; 1 << 20], 0, 0);
        for millis in 0..1500 {
            outbox.send(1, &run, slice::from_ref(&(0..run.len())), &counters).unwrap();
            pushed += each as u64;
            assert!(outbox.queued().1 <= QueueLimits::default().bytes + STAGE_MAX);
            tokio::time::sleep(Duration::from_millis(1)).await;
            while let Ok(read) = other.try_read(&mut buffer) {
                arrived += if millis >= 500 { read as u64 } else { 0 };
            }
        }
        let error = arrived.abs_diff(bytes) as f64 / bytes as f64;
        assert!(error < 0.03, "{mbit} Mbit/s: {arrived} in 1 s, {error:.4}");
        let traffic = counters.read();
        let lost = traffic.dropped(DropReason::RateLimited);
        assert!(lost > 0 && traffic.drops().to_string() == format!("rate_limited={lost}"));
        assert_eq!(traffic.packets_out + lost + outbox.queued().0, pushed);
        drain.abort();
    }
}

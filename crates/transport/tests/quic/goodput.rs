//! How much arrives over a long and lossy path, by which controller. Ignored: measurements, run by hand with `--ignored
//! --nocapture`.

use std::{
    future::poll_fn,
    sync::Arc,
    time::{Duration, Instant},
};

use rtun_settings::{CongestionControl, QuicSettings};
use rtun_transport::{Stream, quic::QuicStream};
use tokio::time::timeout;

use super::{
    certificates::NAME,
    pair::{PATIENCE, as_stream, connect, first_stream, server_with},
    relay::{EmulatedPath, Relay},
};

const SETTLE: Duration = Duration::from_secs(2);
const MEASURE: Duration = Duration::from_secs(8);
const SIZE: usize = 1100;

struct Figure {
    mbit: f64,
    /// From taken by the stream to given by the other.
    median: Duration,
    late: Duration,
}

/// Both ends over `path`, the dialled one first.
async fn ends(
    path: EmulatedPath,
    congestion: CongestionControl,
) -> (Relay, Arc<QuicStream>, Arc<QuicStream>) {
    let settings = QuicSettings { congestion, ..QuicSettings::default() };
    let server = server_with(&settings);
    let relay = Relay::start(server.listener.local_addr().unwrap(), path, 1);
    let (addr, tls) = (relay.addr(), server.ca.client());
    let (client, connection) =
        tokio::join!(connect(&addr, NAME, tls, &settings, PATIENCE), server.accept());
    let client = client.unwrap();
    let accepted = first_stream(&client, &connection).await;
    (relay, client, accepted)
}

fn stamp(origin: Instant) -> Vec<u8> {
    let mut packet = vec![0; SIZE];
    packet[..8].copy_from_slice(&(origin.elapsed().as_nanos() as u64).to_be_bytes());
    packet
}

fn age(origin: Instant, packet: &[u8]) -> Duration {
    let sent = u64::from_be_bytes(packet[..8].try_into().unwrap());
    origin.elapsed() - Duration::from_nanos(sent)
}

fn figure(mut ages: Vec<Duration>) -> Figure {
    ages.sort_unstable();
    let mbit = (ages.len() * SIZE * 8) as f64 / MEASURE.as_secs_f64() / 1e6;
    let at = |share: f64| ages[((ages.len() - 1) as f64 * share) as usize];
    Figure { mbit, median: at(0.5), late: at(0.99) }
}

async fn datagrams(path: EmulatedPath, congestion: CongestionControl) -> Figure {
    let (_relay, a, b) = ends(path, congestion).await;
    let origin = Instant::now();
    let sender = tokio::spawn(async move {
        let a = a.datagrams().unwrap();
        while poll_fn(|cx| a.poll_sendable(cx)).await.is_ok() {
            let _ = a.try_send(&stamp(origin));
        }
    });
    let mut ages = Vec::new();
    let mut packet = Vec::new();
    let _ = timeout(SETTLE + MEASURE, async {
        loop {
            packet.clear();
            let b = b.datagrams().unwrap();
            poll_fn(|cx| b.poll_recv(cx, &mut packet)).await.unwrap();
            if origin.elapsed() > SETTLE {
                ages.push(age(origin, &packet));
            }
        }
    })
    .await;
    sender.abort();
    figure(ages)
}

async fn stream(path: EmulatedPath, congestion: CongestionControl) -> Figure {
    let (_relay, a, b) = ends(path, congestion).await;
    let origin = Instant::now();
    let sender = tokio::spawn(async move {
        let a: &dyn Stream = &*a;
        while a.write_all(&stamp(origin)).await.is_ok() {}
    });
    let mut ages = Vec::new();
    let mut packet = vec![0; SIZE];
    let _ = timeout(SETTLE + MEASURE, async {
        loop {
            as_stream(&b).read_exact(&mut packet).await.unwrap();
            if origin.elapsed() > SETTLE {
                ages.push(age(origin, &packet));
            }
        }
    })
    .await;
    sender.abort();
    figure(ages)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn controllers() {
    let only = std::env::var("CONTROLLER").ok();
    for (rate, queue) in [(20e6, 100), (20e6, 20), (2e6, 200)] {
        for loss in [0.0, 0.01, 0.03] {
            let path = EmulatedPath {
                delay: Duration::from_millis(25),
                loss,
                rate,
                queue: Duration::from_millis(queue),
            };
            for congestion in
                [CongestionControl::Adaptive, CongestionControl::Cubic, CongestionControl::Bbr]
            {
                if only.as_ref().is_some_and(|only| *only != format!("{congestion:?}")) {
                    continue;
                }
                for (kind, figure) in [
                    ("datagrams", datagrams(path, congestion).await),
                    ("stream", stream(path, congestion).await),
                ] {
                    println!(
                        "{:3} Mbit/s, queue {queue:3} ms, loss {loss:4}: {congestion:?} {kind:9} {:5.1} Mbit/s, {:?} median, {:?} late",
                        rate / 1e6,
                        figure.mbit,
                        figure.median,
                        figure.late
                    );
                }
            }
        }
    }
}

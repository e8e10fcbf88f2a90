//! How much of the traffic in the tunnel arrives when the path between a host and its hub loses packets.

use std::{
    thread,
    time::{Duration, Instant},
};

use rtun_lab::tools::{TcpLoad, udp_load};

use super::{
    BenchError, CONGESTION_CONTROL, echo::Echoes, emulated_path, figure::Figure, world::World,
};

/// Streams grow slowly where packets are lost.
const WARM_UP: Duration = Duration::from_secs(1);

/// Streams at once.
const STREAMS: usize = 8;

/// Between two echo requests.
const PAUSE: Duration = Duration::from_millis(10);

/// The datagrams offered: bytes of each, and a fifth of the path's rate.
const PAYLOAD: usize = 1200;
const OFFERED: f64 = 40_000_000.0;

/// What arrives of one stream, of eight, and of datagrams; how long an echo takes next to the eight.
pub(super) fn measure(world: &World, during: Duration) -> Result<Vec<Figure>, BenchError> {
    let one = streams(world, 1, || thread::sleep(during))?;
    let mut echoes = Echoes::default();
    let tunnel = !world.is_relay();
    let eight = streams(world, STREAMS, || match tunnel {
        true => echoes = Echoes::during(world, PAUSE, during),
        false => thread::sleep(during),
    })?;
    let run = udp_load(&world.datagrams(PAYLOAD, OFFERED / 8.0 / PAYLOAD as f64, during))?;
    let udp = run.rate() * PAYLOAD as f64 * 8.0 / 1e6;
    if let Some(wan) = world.wan() {
        emulated_path::check(wan)?;
    }
    let mut figures = vec![
        Figure::new("tcp1", "Mbit/s", one),
        Figure::new("tcp8", "Mbit/s", eight),
        Figure::new("udp", "Mbit/s", udp),
        Figure::derived("udp lost", "%", 100.0 * run.loss()),
    ];
    if tunnel {
        // Lost ones say nothing of how long the others wait.
        figures.push(Figure::new("load p50", "ms", echoes.percentile(50.0)?));
        figures.push(Figure::new("load p99", "ms", echoes.percentile(99.0)?));
        figures.push(Figure::derived("echo lost", "%", echoes.lost_percent()));
    }
    Ok(figures)
}

/// Mbit/s over all of `count` streams while `meanwhile` lasts.
fn streams(world: &World, count: usize, meanwhile: impl FnOnce()) -> Result<f64, BenchError> {
    let load = TcpLoad::start(&vec![world.flow(0, 1, false); count], CONGESTION_CONTROL)?;
    thread::sleep(WARM_UP);
    let (before, start) = (load.arrived(), Instant::now());
    meanwhile();
    let (bytes, elapsed) = (load.arrived() - before, start.elapsed());
    load.stop()?;
    Ok(bytes as f64 * 8.0 / 1e6 / elapsed.as_secs_f64())
}

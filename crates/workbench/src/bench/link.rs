//! How long a packet waits behind a TCP stream when the receiver's access link is the bottleneck.

use std::{
    thread,
    time::{Duration, Instant},
};

use rtun_lab::tools::TcpLoad;

use super::{BenchError, CONGESTION_CONTROL, echo::Echoes, figure::Figure, world::World};

/// Between two echo requests.
const PAUSE: Duration = Duration::from_millis(10);

/// A stream needs this long to fill the link's queue and find its pace.
const WARM_UP: Duration = Duration::from_secs(1);

/// The stream's goodput; the echo without it, next to it, and the difference.
pub(super) fn measure(world: &World, during: Duration) -> Result<Vec<Figure>, BenchError> {
    let idle = Echoes::during(world, PAUSE, during);
    let load = TcpLoad::start(&[world.flow(0, 1, false)], CONGESTION_CONTROL)?;
    thread::sleep(WARM_UP);
    let (before, start) = (load.arrived(), Instant::now());
    let loaded = Echoes::during(world, PAUSE, during);
    let (bytes, elapsed) = (load.arrived() - before, start.elapsed());
    load.stop()?;
    let [idle50, idle99] = [idle.percentile(50.0)?, idle.percentile(99.0)?];
    let [load50, load99] = [loaded.percentile(50.0)?, loaded.percentile_of_all(99.0)];
    Ok(vec![
        Figure::new("goodput", "Mbit/s", bytes as f64 * 8.0 / 1e6 / elapsed.as_secs_f64()),
        Figure::new("idle p50", "ms", idle50),
        Figure::new("idle p99", "ms", idle99),
        Figure::new("load p50", "ms", load50),
        Figure::new("load p99", "ms", load99),
        Figure::derived("added p50", "ms", load50 - idle50),
        Figure::derived("added p99", "ms", load99 - idle99),
        Figure::derived("lost", "%", loaded.lost_percent()),
    ])
}

//! What packets notice of a hub's replacing a large table.

use std::{
    hint,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use rtun_lab::tools::{Pulse, udp_echo, udp_load};

use super::{BenchError, figure::Figure, memory, statistics::Summary, world::World};

/// Tables that replace one another, each next to two windows without: a longest gap varies much.
const SWAPS: u8 = 3;

/// Between two numbered datagrams there and back.
const BEAT: Duration = Duration::from_millis(1);

/// The other datagrams: per second, and bytes of each.
const RATE: f64 = 5_000.0;
const PAYLOAD: usize = 1200;

/// Port of the echo server; the generator has another.
const ECHO_PORT: u16 = 6001;

/// Beyond its window a table may take this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one question whether the new table counts waits.
const LOOK: Duration = Duration::from_millis(20);

/// What was seen in windows of one kind.
#[derive(Debug, Default)]
struct SeenWindows {
    /// In ms, the longest of each window.
    gaps: Vec<f64>,
    lost: u64,
}

/// Packets lost, and the longest gap between received ones (the median of several windows): without a swap; without
/// one, while another program computes as long as a swap took; and while the hub reads its file and swaps.
pub(super) fn measure(world: &World, during: Duration) -> Result<Vec<Figure>, BenchError> {
    let window = during.max(3 * world.loaded_in());
    let hub = world.hub_id();
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let before = mebibytes(memory::resident(hub)?);
    let (echoing, _) = world.machine(1);
    let mut echo = world.inner_address(1);
    echo.set_port(ECHO_PORT);
    let _server = udp_echo(echoing, ([0, 0, 0, 0], ECHO_PORT).into())?;
    let [mut quiet, mut busy, mut swap]: [SeenWindows; 3] = Default::default();
    let mut times = Vec::new();
    for generation in 1..=SWAPS {
        quiet.watch(world, echo, window, || Ok(()))?;
        let took = swap.watch(world, echo, window, || replace(world, generation))?;
        times.push(took.as_secs_f64());
        busy.watch(world, echo, window, || {
            compute(took);
            Ok(())
        })?;
    }
    let median = |values: &[f64]| Summary::of(values).map_or(0.0, |summary| summary.median);
    let [gap, gap_busy, gap_swap] = [&quiet, &busy, &swap].map(|seen| median(&seen.gaps));
    Ok(vec![
        Figure::new("swap in", "s", median(&times)),
        Figure::new("memory", "MiB", before),
        Figure::new("peak", "MiB", mebibytes(memory::peak(hub)?)),
        Figure::derived("lost", "packets", swap.lost as f64),
        Figure::derived("lost quiet", "packets", (quiet.lost + busy.lost) as f64),
        Figure::new("gap quiet", "ms", gap),
        Figure::new("gap busy", "ms", gap_busy),
        Figure::new("gap swap", "ms", gap_swap),
        Figure::derived("added gap", "ms", gap_swap - gap),
        Figure::derived("over busy", "ms", gap_swap - gap_busy),
    ])
}

impl SeenWindows {
    /// Runs both streams for a window, and `event` after a quarter of it.
    fn watch<T>(
        &mut self,
        world: &World,
        echo: SocketAddr,
        window: Duration,
        event: impl FnOnce() -> Result<T, BenchError>,
    ) -> Result<T, BenchError> {
        let (client, _) = world.machine(0);
        let load = world.datagrams(PAYLOAD, RATE, window);
        let pulse = Pulse::start(client, echo, BEAT)?;
        let (result, datagrams) = thread::scope(|scope| {
            let datagrams = scope.spawn(|| udp_load(&load));
            thread::sleep(window / 4);
            let result = event();
            (result, datagrams.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let (result, datagrams, echoes) = (result?, datagrams?, pulse.stop()?);
        self.gaps.push(echoes.longest_gap.as_secs_f64() * 1000.0);
        self.lost += (datagrams.sent - datagrams.arrived) + (echoes.sent - echoes.arrived);
        Ok(result)
    }
}

/// Replaces the hub's table; how long until packets follow the new one.
fn replace(world: &World, generation: u8) -> Result<Duration, BenchError> {
    let start = world.replace_table(generation)?;
    while !world.reaches(generation, LOOK) {
        if start.elapsed() > PATIENCE {
            return Err(BenchError::NoSwap(PATIENCE));
        }
    }
    Ok(start.elapsed())
}

/// Keeps a core busy.
fn compute(during: Duration) {
    let start = Instant::now();
    let mut sum: u64 = 0;
    while start.elapsed() < during {
        for number in 0..10_000 {
            sum = hint::black_box(sum.wrapping_add(number));
        }
    }
}

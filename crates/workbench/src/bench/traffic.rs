//! Streams and datagrams for a while, what arrives of them, and what that costs.

use std::{
    thread,
    time::{Duration, Instant},
};

use rtun_lab::tools::{LoadFlow, TcpLoad, udp_load};

use super::{
    BenchError, CONGESTION_CONTROL,
    figure::{Figure, warm_up},
    search::{LOSS, highest_load},
    world::World,
};

/// The name of every scenario's first figure, or of its only one that counts.
const THROUGHPUT: &str = "throughput";
const RATE: &str = "rate";

/// Bytes that arrive while streams run, after they have grown for a while.
pub(super) fn tcp(
    world: &World,
    flows: &[LoadFlow<'_>],
    during: Duration,
) -> Result<Vec<Figure>, BenchError> {
    let load = TcpLoad::start(flows, CONGESTION_CONTROL)?;
    thread::sleep(warm_up(during));
    let (cpu, before, start) = (world.cpu()?, load.arrived(), Instant::now());
    thread::sleep(during);
    let (bytes, elapsed, cpu_after) = (load.arrived() - before, start.elapsed(), world.cpu()?);
    load.stop()?;
    let mut figures = vec![throughput(bytes, elapsed)];
    figures.extend(cpu_figures(&cpu, &cpu_after, bytes as f64 / 1e9, "s/GB"));
    Ok(figures)
}

pub(super) fn throughput(bytes: u64, elapsed: Duration) -> Figure {
    let value = bytes as f64 * 8.0 / 1e9 / elapsed.as_secs_f64();
    Figure::new(THROUGHPUT, "Gbit/s", value)
}

/// The highest rate with little loss, and what it costs.
pub(super) fn udp(
    world: &World,
    payload: usize,
    during: Duration,
) -> Result<Vec<Figure>, BenchError> {
    let each = (during / 8).max(Duration::from_millis(200));
    let probe = |rate| {
        let before = world.cpu()?;
        let run = udp_load(&world.datagrams(payload, rate, each))?;
        Ok::<_, BenchError>((run, (before, world.cpu()?)))
    };
    let (run, (before, after)) = highest_load(probe)?.ok_or(BenchError::Lossy { limit: LOSS })?;
    let mut figures = vec![Figure::new(RATE, "packets/s", run.rate())];
    figures.extend(cpu_figures(&before, &after, run.arrived as f64 / 1e6, "us/packet"));
    Ok(figures)
}

/// CPU seconds of the hub, of each host (of more than two: of all hosts) and of all together, for each `amount`.
fn cpu_figures(before: &[f64], after: &[f64], amount: f64, unit: &'static str) -> Vec<Figure> {
    let used: Vec<f64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
    let all = used.iter().sum();
    let named = match used[..] {
        [hub] => vec![("cpu hub", hub)],
        [hub, a, b] => {
            vec![("cpu hub", hub), ("cpu host A", a), ("cpu host B", b), ("cpu all", all)]
        }
        [hub, ..] => vec![("cpu hub", hub), ("cpu hosts", all - hub), ("cpu all", all)],
        [] => vec![],
    };
    let figure = |(name, used)| Figure::new(name, unit, used / amount);
    named.into_iter().map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_given_for_each_process_and_many_hosts_as_one() {
        let value = |figures: &[Figure]| -> Vec<(String, f64)> {
            figures.iter().map(|figure| (figure.name.clone(), figure.value)).collect()
        };
        let two = cpu_figures(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0], 2.0, "s/GB");
        assert_eq!(
            value(&two),
            [
                ("cpu hub".into(), 0.5),
                ("cpu host A".into(), 1.0),
                ("cpu host B".into(), 1.5),
                ("cpu all".into(), 3.0)
            ]
        );
        let relay = cpu_figures(&[1.0], &[2.0], 4.0, "s/GB");
        assert_eq!(value(&relay), [("cpu hub".into(), 0.25)]);
        let many = cpu_figures(&[0.0; 5], &[1.0, 1.0, 2.0, 3.0, 4.0], 1.0, "s/GB");
        assert_eq!(
            value(&many),
            [("cpu hub".into(), 1.0), ("cpu hosts".into(), 10.0), ("cpu all".into(), 11.0)]
        );
    }
}

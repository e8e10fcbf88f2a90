//! What is measured: one scenario in one running network gives a few figures.

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use rtun_lab::tools::{Flow, TcpLoad, udp_load};

use super::{
    BenchError, CONGESTION_CONTROL,
    search::{LOSS, highest_load},
    statistics::percentile,
    world::World,
};

/// One kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Scenario {
    /// One TCP stream
    Tcp1,
    /// Four TCP streams
    Tcp4,
    /// One TCP stream, sent by who accepted it
    Reverse,
    /// Two TCP streams, one each way
    Bidir,
    /// UDP datagrams of 64 bytes: most per second at a loss under 1 %
    Udp64,
    /// UDP datagrams of 512 bytes
    Udp512,
    /// UDP datagrams of 1372 bytes
    Udp1372,
    /// Time of an echo there and back, without other traffic
    PingIdle,
    /// The same while four TCP streams saturate the machine
    PingLoad,
    /// 16 hosts in 8 pairs, one TCP stream each
    Pairs16,
}

/// One measured value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) unit: &'static str,
    pub(super) value: f64,
}

/// The name of every scenario's first figure, or of its only one that counts.
const THROUGHPUT: &str = "throughput";
const RATE: &str = "rate";

/// Between two echo requests.
const PING_PAUSE: Duration = Duration::from_millis(2);

/// After this an echo counts as lost.
const PING_PATIENCE: Duration = Duration::from_secs(1);

impl Scenario {
    /// As in `--only` and in JSON.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value().expect("no scenario is skipped");
        value.get_name().to_owned()
    }

    /// One line for people.
    pub(super) fn description(self) -> String {
        let value = self.to_possible_value().expect("no scenario is skipped");
        value.get_help().map(ToString::to_string).unwrap_or_default()
    }

    /// How many hosts the network needs.
    pub(super) fn hosts(self) -> usize {
        match self {
            Scenario::Pairs16 => 16,
            _ => 2,
        }
    }

    /// Whether a plain relay carries this traffic.
    pub(super) fn fits_relay(self) -> bool {
        !matches!(self, Scenario::PingIdle | Scenario::PingLoad)
    }

    /// Measures for about `during`.
    pub(super) fn measure(
        self,
        world: &World,
        during: Duration,
    ) -> Result<Vec<Figure>, BenchError> {
        match self {
            Scenario::Tcp1 => tcp(world, &[world.flow(0, 1, false)], during),
            Scenario::Tcp4 => tcp(world, &[world.flow(0, 1, false); 4], during),
            Scenario::Reverse => tcp(world, &[world.flow(0, 1, true)], during),
            Scenario::Bidir => {
                tcp(world, &[world.flow(0, 1, false), world.flow(1, 0, false)], during)
            }
            Scenario::Udp64 => udp(world, 64, during),
            Scenario::Udp512 => udp(world, 512, during),
            Scenario::Udp1372 => udp(world, 1372, during),
            Scenario::PingIdle => echoes(world, during),
            Scenario::PingLoad => {
                let load = TcpLoad::start(&[world.flow(0, 1, false); 4], CONGESTION_CONTROL)?;
                thread::sleep(warm_up(during));
                let (before, start) = (load.arrived(), Instant::now());
                let mut figures = echoes(world, during)?;
                figures.push(throughput(load.arrived() - before, start.elapsed()));
                load.stop()?;
                Ok(figures)
            }
            Scenario::Pairs16 => {
                let flows: Vec<_> = (0..8).map(|n| world.flow(2 * n, 2 * n + 1, false)).collect();
                tcp(world, &flows, during)
            }
        }
    }
}

/// Bytes that arrive while streams run, after they have grown for a while.
fn tcp(world: &World, flows: &[Flow<'_>], during: Duration) -> Result<Vec<Figure>, BenchError> {
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

fn throughput(bytes: u64, elapsed: Duration) -> Figure {
    let value = bytes as f64 * 8.0 / 1e9 / elapsed.as_secs_f64();
    Figure { name: THROUGHPUT.into(), unit: "Gbit/s", value }
}

/// The highest rate with little loss, and what it costs.
fn udp(world: &World, payload: usize, during: Duration) -> Result<Vec<Figure>, BenchError> {
    let each = (during / 8).max(Duration::from_millis(200));
    let probe = |rate| {
        let before = world.cpu()?;
        let run = udp_load(&world.datagrams(payload, rate, each))?;
        Ok::<_, BenchError>((run, (before, world.cpu()?)))
    };
    let (run, (before, after)) = highest_load(probe)?.ok_or(BenchError::Lossy { limit: LOSS })?;
    let mut figures = vec![Figure { name: RATE.into(), unit: "packets/s", value: run.rate() }];
    figures.extend(cpu_figures(&before, &after, run.arrived as f64 / 1e6, "us/packet"));
    Ok(figures)
}

fn echoes(world: &World, during: Duration) -> Result<Vec<Figure>, BenchError> {
    let start = Instant::now();
    let (mut times, mut lost) = (Vec::new(), 0);
    while start.elapsed() < during {
        match world.ping_once(PING_PATIENCE) {
            Some(time) => times.push(time.as_secs_f64() * 1000.0),
            None => lost += 1,
        }
        thread::sleep(PING_PAUSE);
    }
    let at = |percent| percentile(&times, percent).ok_or(BenchError::NoEcho { lost });
    let (p50, p99) = (at(50.0)?, at(99.0)?);
    let lost = 100.0 * f64::from(lost) / (times.len() as f64 + f64::from(lost));
    Ok(vec![
        Figure { name: "p50".into(), unit: "ms", value: p50 },
        Figure { name: "p99".into(), unit: "ms", value: p99 },
        Figure { name: "lost".into(), unit: "%", value: lost },
    ])
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
    let figure =
        |(name, used): (&str, f64)| Figure { name: name.to_owned(), unit, value: used / amount };
    named.into_iter().map(figure).collect()
}

/// Streams grow and queues fill before anything is counted.
fn warm_up(during: Duration) -> Duration {
    (during / 4).clamp(Duration::from_millis(200), Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        let names: Vec<_> = Scenario::value_variants().iter().map(|it| it.name()).collect();
        assert_eq!(
            names,
            [
                "tcp1",
                "tcp4",
                "reverse",
                "bidir",
                "udp64",
                "udp512",
                "udp1372",
                "ping-idle",
                "ping-load",
                "pairs16"
            ]
        );
        assert_eq!(Scenario::Tcp4.description(), "Four TCP streams");
    }

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

//! What is measured: one scenario in one running network gives a few figures.

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use rtun_lab::tools::{LoadFlow, TcpLoad, udp_load};

use super::{
    BenchError, CONGESTION_CONTROL,
    echo::Echoes,
    emulated_path::EmulatedPath,
    fair,
    figure::{Figure, PING_PAUSE, warm_up},
    idle, link, lossy,
    search::{LOSS, highest_load},
    stalled, swap,
    table::TableOrigin,
    world::{Layout, World},
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
    /// Four TCP streams and an echo next to datagrams for a third host that reads them, or does not
    Stalled,
    /// A TCP stream and an echo through an access link of 100 Mbit/s at the receiver
    Link100,
    /// TCP, datagrams and an echo where 1 % of the packets between a host and its hub is lost, 50 ms there and back, over
    /// each transport
    Lossy,
    /// How a connection of each transport shares 100 Mbit/s, 20 ms there and back, with a TCP stream and with another
    Fair100,
    /// One TCP stream over each transport
    Transports,
    /// Idle hosts and what each costs the hub; measured once
    Idle10000,
    /// A table of 100,000 routes replaced while an echo each ms and UDP run; measured once
    Swap,
}

/// How large and how long everything is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// One measurement, about.
    pub(super) during: Duration,
    pub(super) associations: usize,
    pub(super) routes: usize,
    pub(super) origin: TableOrigin,
}

/// The name of every scenario's first figure, or of its only one that counts.
const THROUGHPUT: &str = "throughput";
const RATE: &str = "rate";

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

    /// The network it needs.
    pub(super) fn layout(self, sizes: &Sizes) -> Layout {
        match self {
            Scenario::Pairs16 => Layout::hosts(16),
            Scenario::Stalled => Layout { machines: 3, ..Layout::hosts(2) },
            Scenario::Link100 => Layout { access_link: Some(100), ..Layout::hosts(2) },
            Scenario::Lossy => Layout { path: Some(EmulatedPath::Lossy), ..Layout::hosts(2) },
            Scenario::Fair100 => Layout { path: Some(EmulatedPath::Shared), ..Layout::hosts(2) },
            Scenario::Idle10000 => Layout { hosts: 0, ..Layout::hosts(2) },
            Scenario::Swap => {
                Layout { routes: sizes.routes, origin: sizes.origin, ..Layout::hosts(2) }
            }
            _ => Layout::hosts(2),
        }
    }

    /// Whether a plain relay carries this traffic.
    pub(super) fn fits_relay(self) -> bool {
        self <= Scenario::Udp1372 || matches!(self, Scenario::Pairs16 | Scenario::Lossy)
    }

    /// Whether it compares transports instead of tunnels over TCP.
    pub(super) fn is_over_transports(self) -> bool {
        matches!(self, Scenario::Lossy | Scenario::Fair100 | Scenario::Transports)
    }

    /// Whether it is measured in the first round only, because it takes long and varies little.
    pub(super) fn is_once(self) -> bool {
        matches!(self, Scenario::Idle10000 | Scenario::Swap)
    }

    /// Measures.
    pub(super) fn measure(self, world: &World, sizes: &Sizes) -> Result<Vec<Figure>, BenchError> {
        let during = sizes.during;
        match self {
            Scenario::Tcp1 | Scenario::Transports => tcp(world, &[world.flow(0, 1, false)], during),
            Scenario::Tcp4 => tcp(world, &[world.flow(0, 1, false); 4], during),
            Scenario::Reverse => tcp(world, &[world.flow(0, 1, true)], during),
            Scenario::Bidir => {
                tcp(world, &[world.flow(0, 1, false), world.flow(1, 0, false)], during)
            }
            Scenario::Udp64 => udp(world, 64, during),
            Scenario::Udp512 => udp(world, 512, during),
            Scenario::Udp1372 => udp(world, 1372, during),
            Scenario::PingIdle => ping(world, during),
            Scenario::PingLoad => {
                let load = TcpLoad::start(&[world.flow(0, 1, false); 4], CONGESTION_CONTROL)?;
                thread::sleep(warm_up(during));
                let (before, start) = (load.arrived(), Instant::now());
                let mut figures = ping(world, during)?;
                figures.push(throughput(load.arrived() - before, start.elapsed()));
                load.stop()?;
                Ok(figures)
            }
            Scenario::Pairs16 => {
                let flows: Vec<_> = (0..8).map(|n| world.flow(2 * n, 2 * n + 1, false)).collect();
                tcp(world, &flows, during)
            }
            Scenario::Stalled => stalled::measure(world, during),
            Scenario::Link100 => link::measure(world, during),
            Scenario::Lossy => lossy::measure(world, during),
            Scenario::Fair100 => fair::measure(world, during),
            Scenario::Idle10000 => idle::measure(world, during, sizes.associations),
            Scenario::Swap => swap::measure(world, during),
        }
    }
}

/// Bytes that arrive while streams run, after they have grown for a while.
fn tcp(world: &World, flows: &[LoadFlow<'_>], during: Duration) -> Result<Vec<Figure>, BenchError> {
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
    Figure::new(THROUGHPUT, "Gbit/s", value)
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
    let mut figures = vec![Figure::new(RATE, "packets/s", run.rate())];
    figures.extend(cpu_figures(&before, &after, run.arrived as f64 / 1e6, "us/packet"));
    Ok(figures)
}

fn ping(world: &World, during: Duration) -> Result<Vec<Figure>, BenchError> {
    let echoes = Echoes::during(world, PING_PAUSE, during);
    Ok(vec![
        Figure::new("p50", "ms", echoes.percentile(50.0)?),
        Figure::new("p99", "ms", echoes.percentile(99.0)?),
        Figure::derived("lost", "%", echoes.lost_percent()),
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
    let figure = |(name, used)| Figure::new(name, unit, used / amount);
    named.into_iter().map(figure).collect()
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
                "pairs16",
                "stalled",
                "link100",
                "lossy",
                "fair100",
                "transports",
                "idle10000",
                "swap"
            ]
        );
        let relayed = Scenario::value_variants().iter().filter(|it| it.fits_relay());
        assert_eq!(relayed.count(), 9);
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

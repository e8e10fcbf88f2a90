//! What is measured: one scenario in one running network gives a few figures.

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use rtun_lab::tools::TcpLoad;

use super::{
    BenchError, CONGESTION_CONTROL,
    echo::Echoes,
    emulated_path::EmulatedPath,
    fair,
    figure::{Figure, PING_PAUSE, warm_up},
    idle, link, lossy, stalled, swap,
    table::TableOrigin,
    traffic::{tcp, throughput, udp},
    udp_tunnel, watched,
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
    /// Four TCP streams and an echo while a live page shows everything, and while none does; an idle hub with a page
    Watched,
    /// A TCP stream and an echo through an access link of 100 Mbit/s at the receiver
    Link100,
    /// TCP, datagrams and an echo where 1 % of the packets between a host and its hub is lost, 50 ms there and back, over
    /// each transport
    Lossy,
    /// How a connection of each transport shares 100 Mbit/s, 20 ms there and back, with a TCP stream and with another
    Fair100,
    /// One TCP stream over each transport
    Transports,
    /// A UDP tunnel, directly, through relays and as an Ethernet tunnel: one TCP stream to the server and between clients, datagrams
    /// of 1372 bytes, an echo while four streams run
    UdpTunnel,
    /// A UDP tunnel's server with 65,536 addresses; measured once
    UdpAddresses,
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
            Scenario::Watched => Layout { api: true, ..Layout::hosts(2) },
            Scenario::Link100 => Layout { access_link: Some(100), ..Layout::hosts(2) },
            Scenario::Lossy => Layout { path: Some(EmulatedPath::Lossy), ..Layout::hosts(2) },
            Scenario::Fair100 => Layout { path: Some(EmulatedPath::Shared), ..Layout::hosts(2) },
            Scenario::UdpAddresses => Layout { wide: true, ..Layout::hosts(2) },
            Scenario::Idle10000 => Layout { hosts: 0, api: true, ..Layout::hosts(2) },
            Scenario::Swap => {
                Layout { routes: sizes.routes, origin: sizes.origin, ..Layout::hosts(2) }
            }
            _ => Layout::hosts(2),
        }
    }

    /// Whether a plain relay carries this traffic.
    pub(super) fn fits_relay(self) -> bool {
        self <= Scenario::Udp1372
            || matches!(self, Scenario::Pairs16 | Scenario::Lossy | Scenario::UdpTunnel)
    }

    /// Whether it compares transports instead of tunnels over TCP.
    pub(super) fn is_over_transports(self) -> bool {
        matches!(self, Scenario::Lossy | Scenario::Fair100 | Scenario::Transports)
    }

    /// Whether it compares variants of UDP and Ethernet tunnels.
    pub(super) fn is_over_variants(self) -> bool {
        matches!(self, Scenario::UdpTunnel | Scenario::UdpAddresses)
    }

    /// Whether it is measured in the first round only, because it takes long and varies little.
    pub(super) fn is_once(self) -> bool {
        matches!(self, Scenario::UdpAddresses | Scenario::Idle10000 | Scenario::Swap)
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
            Scenario::Watched => watched::measure(world, during),
            Scenario::Link100 => link::measure(world, during),
            Scenario::Lossy => lossy::measure(world, during),
            Scenario::Fair100 => fair::measure(world, during),
            Scenario::UdpTunnel => udp_tunnel::measure(world, during),
            Scenario::UdpAddresses => udp_tunnel::addresses(world),
            Scenario::Idle10000 => idle::measure(world, during, sizes.associations),
            Scenario::Swap => swap::measure(world, during),
        }
    }
}

fn ping(world: &World, during: Duration) -> Result<Vec<Figure>, BenchError> {
    let echoes = Echoes::during(world, PING_PAUSE, during);
    Ok(vec![
        Figure::new("p50", "ms", echoes.percentile(50.0)?),
        Figure::new("p99", "ms", echoes.percentile(99.0)?),
        Figure::derived("lost", "%", echoes.lost_percent()),
    ])
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
                "watched",
                "link100",
                "lossy",
                "fair100",
                "transports",
                "udp-tunnel",
                "udp-addresses",
                "idle10000",
                "swap"
            ]
        );
        let relayed = Scenario::value_variants().iter().filter(|it| it.fits_relay());
        assert_eq!(relayed.count(), 10);
        assert_eq!(Scenario::Tcp4.description(), "Four TCP streams");
    }
}

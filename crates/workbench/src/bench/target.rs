//! The figures the data path is to reach, and whether it does (docs/performance.md).

use super::scenario::Scenario;

/// A bound on a figure of one contender.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FigureTarget {
    scenarios: &'static [Scenario],
    contender: &'static str,
    figure: &'static str,
    /// The beginning of the name of who the median is divided by; without it the median itself counts.
    pub(super) over: Option<&'static str>,
    pub(super) bound: Bound,
}

/// Which side of a value is right; the value itself is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

const UDP_TUNNEL: &[Scenario] = &[Scenario::UdpTunnel];
const TCP: &[Scenario] = &[Scenario::Tcp1, Scenario::Tcp4];

const TARGETS: [FigureTarget; 25] = [
    target(TCP, "rtun", "throughput", Some("relay"), Bound::AtLeast(0.6)),
    target(TCP, "rtun-plain", "throughput", Some("relay"), Bound::AtLeast(0.5)),
    target(TCP, "rtun", "throughput", Some("gost"), Bound::AtLeast(15.0)),
    target(TCP, "rtun", "cpu hub", Some("relay"), Bound::AtMost(0.8)),
    target(&[Scenario::Udp1372], "rtun", "rate", Some("gost"), Bound::AtLeast(2.0)),
    target(&[Scenario::PingLoad], "rtun", "p99", None, Bound::AtMost(5.0)),
    target(&[Scenario::Stalled], "rtun", "kept", None, Bound::AtLeast(99.0)),
    target(&[Scenario::Stalled], "rtun", "added p99", None, Bound::AtMost(1.0)),
    target(&[Scenario::Watched], "rtun", "kept", None, Bound::AtLeast(97.0)),
    target(&[Scenario::Watched], "rtun", "added p99", None, Bound::AtMost(1.0)),
    target(&[Scenario::Watched], "rtun", "idle cpu", None, Bound::AtMost(0.1)),
    target(&[Scenario::Link100], "rtun", "added p99", None, Bound::AtMost(10.0)),
    target(&[Scenario::Lossy], "rtun+quic", "tcp8", Some("rtun+tcp"), Bound::AtLeast(5.0)),
    target(&[Scenario::Lossy], "rtun+quic", "udp", Some("rtun+tcp"), Bound::AtLeast(5.0)),
    target(
        &[Scenario::Transports],
        "rtun+tls",
        "throughput",
        Some("rtun+tcp"),
        Bound::AtLeast(0.6),
    ),
    target(UDP_TUNNEL, "rtun+udp", "throughput", Some("gost"), Bound::AtLeast(8.0)),
    target(UDP_TUNNEL, "rtun+udp", "rate", Some("gost"), Bound::AtLeast(4.0)),
    target(UDP_TUNNEL, "rtun+udp", "load p99", None, Bound::AtMost(8.0)),
    target(&[Scenario::UdpAddresses], "rtun+udp", "memory", None, Bound::AtMost(64.0)),
    target(&[Scenario::Idle10000], "rtun", "held", None, Bound::AtLeast(10_000.0)),
    target(&[Scenario::Idle10000], "rtun", "memory each", None, Bound::AtMost(16.0)),
    target(&[Scenario::Idle10000], "rtun", "listed in", None, Bound::AtMost(100.0)),
    target(&[Scenario::Idle10000], "rtun", "list memory", None, Bound::AtMost(20.0)),
    target(&[Scenario::Swap], "rtun", "lost", None, Bound::AtMost(0.0)),
    target(&[Scenario::Swap], "rtun", "added gap", None, Bound::AtMost(1.0)),
];

const fn target(
    scenarios: &'static [Scenario],
    contender: &'static str,
    figure: &'static str,
    over: Option<&'static str>,
    bound: Bound,
) -> FigureTarget {
    FigureTarget { scenarios, contender, figure, over, bound }
}

/// Those of this figure.
pub(super) fn targets(
    scenario: Scenario,
    contender: &str,
    figure: &str,
) -> impl Iterator<Item = FigureTarget> {
    TARGETS.into_iter().filter(move |target| {
        target.scenarios.contains(&scenario)
            && target.contender == contender
            && target.figure == figure
    })
}

impl Bound {
    pub(super) fn is_met(self, value: f64) -> bool {
        match self {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_met_at_their_value() {
        assert!(Bound::AtLeast(0.6).is_met(0.6) && !Bound::AtLeast(0.6).is_met(0.59));
        assert!(Bound::AtMost(5.0).is_met(5.0) && !Bound::AtMost(5.0).is_met(5.1));
    }

    #[test]
    fn a_figure_has_the_targets_of_its_contender() {
        let over = |contender: &str| -> Vec<_> {
            let targets = targets(Scenario::Tcp4, contender, "throughput");
            targets.map(|target| target.over.unwrap()).collect()
        };
        assert_eq!(over("rtun"), ["relay", "gost"]);
        assert_eq!(over("rtun-plain"), ["relay"]);
        assert_eq!(over("gost"), [""; 0]);
    }
}

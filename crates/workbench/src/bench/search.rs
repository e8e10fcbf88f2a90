//! The highest offered load that a path carries with little loss, found by search.

use rtun_lab::tools::UdpRun;

/// The part of the datagrams that may be lost.
pub(super) const LOSS: f64 = 0.01;

/// Probes after the first: the last two rates tried are within 3 % of each other.
const STEPS: usize = 7;

/// How far below and above what arrives of a flood the search looks.
const BELOW: f64 = 8.0;
const ABOVE: f64 = 1.5;

/// The run that delivered most among those that lost less than [`LOSS`]; `None` if none did.
///
/// The first probe floods; what arrives of that bounds the search, which then halves the range of offered rates
/// geometrically. A rate is given up only when it loses too much twice: on a shared machine one probe may have met
/// somebody else's work. A path that loses much at every rate ends it with the lowest rates tried.
pub(super) fn highest_load<T, E>(
    mut probe: impl FnMut(f64) -> Result<(UdpRun, T), E>,
) -> Result<Option<(UdpRun, T)>, E> {
    let flood = probe(f64::INFINITY)?;
    let arrived = flood.0.rate().max(1.0);
    let (mut low, mut high) = (arrived / BELOW, arrived * ABOVE);
    let mut best = (flood.0.loss() < LOSS).then_some(flood);
    for _ in 0..STEPS {
        let rate = (low * high).sqrt();
        let mut run = probe(rate)?;
        if run.0.loss() >= LOSS {
            run = probe(rate)?;
        }
        if run.0.loss() < LOSS {
            low = rate;
            if best.as_ref().is_none_or(|best| best.0.rate() < run.0.rate()) {
                best = Some(run);
            }
        } else {
            high = rate;
            if best.is_none() {
                low /= 2.0;
            }
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use super::*;

    /// A path that carries `capacity` datagrams per second, and fewer when flooded.
    fn path(capacity: f64, sender: f64) -> impl FnMut(f64) -> Result<(UdpRun, ()), Infallible> {
        move |rate| {
            let offered = rate.min(sender);
            let delivered = if offered <= capacity { offered } else { 0.7 * capacity };
            let run = UdpRun {
                sent: offered as u64,
                arrived: delivered as u64,
                elapsed: Duration::from_secs(1),
            };
            Ok((run, ()))
        }
    }

    fn found(probe: impl FnMut(f64) -> Result<(UdpRun, ()), Infallible>) -> Option<f64> {
        highest_load(probe).unwrap().map(|(run, ())| run.rate())
    }

    #[test]
    fn the_capacity_is_found_closely() {
        for capacity in [3_000.0, 54_321.0, 1_000_000.0] {
            let rate = found(path(capacity, 2_000_000.0)).unwrap();
            assert!(rate <= capacity && rate > 0.96 * capacity, "{rate} of {capacity}");
        }
    }

    #[test]
    fn a_sender_slower_than_the_path_is_the_bound() {
        assert_eq!(found(path(500_000.0, 90_000.0)), Some(90_000.0));
    }

    #[test]
    fn a_path_that_loses_at_every_rate_has_no_figure() {
        let lossy = |rate: f64| {
            let sent = rate.min(1e6) as u64;
            Ok((UdpRun { sent, arrived: sent / 2, elapsed: Duration::from_secs(1) }, ()))
        };
        assert_eq!(found(lossy), None);
    }
}

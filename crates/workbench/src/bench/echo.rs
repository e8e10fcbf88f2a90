//! Echoes sent one after the other, and how long they take.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{BenchError, statistics::percentile, world::World};

/// After this an echo counts as lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// The number of echoes that are sent, if none comes back in the time of a measurement, before it has failed.
const TRIES: u32 = 5;

/// The times of echoes between the first two hosts.
#[derive(Debug, Clone, Default)]
pub(super) struct Echoes {
    /// In ms, of those that came back.
    times: Vec<f64>,
    lost: u32,
}

impl Echoes {
    /// Sends one at a time, with this pause after each; goes on for a while if none has come back by then.
    pub(super) fn during(world: &World, pause: Duration, during: Duration) -> Self {
        Self::of(|within| world.ping_once(within), pause, during)
    }

    /// The same of any echo; `ping` takes how long to wait for it.
    pub(super) fn of(
        ping: impl Fn(Duration) -> Option<Duration>,
        pause: Duration,
        during: Duration,
    ) -> Self {
        let start = Instant::now();
        let mut echoes = Self::default();
        let is_silent = |echoes: &Self| echoes.times.is_empty() && echoes.lost < TRIES;
        while start.elapsed() < during || is_silent(&echoes) {
            match ping(PATIENCE) {
                Some(time) => echoes.times.push(time.as_secs_f64() * 1000.0),
                None => echoes.lost += 1,
            }
            thread::sleep(pause);
        }
        echoes
    }

    /// These and the others, as if measured at once.
    pub(super) fn extend(&mut self, others: Self) {
        self.times.extend(others.times);
        self.lost += others.lost;
    }

    /// In ms, of those that came back.
    pub(super) fn percentile(&self, percent: f64) -> Result<f64, BenchError> {
        percentile(&self.times, percent).ok_or(BenchError::NoEcho { lost: self.lost })
    }

    /// In ms; one that was lost counts as if it had come back when it was given up, after 1 s.
    pub(super) fn percentile_of_all(&self, percent: f64) -> f64 {
        let given_up = PATIENCE.as_secs_f64() * 1000.0;
        let mut times = self.times.clone();
        times.extend((0..self.lost).map(|_| given_up));
        percentile(&times, percent).unwrap_or(given_up)
    }

    pub(super) fn lost_percent(&self) -> f64 {
        let lost = f64::from(self.lost);
        100.0 * lost / (self.times.len() as f64 + lost).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_echo_that_is_lost_does_not_end_a_short_measurement() {
        let sent = std::cell::Cell::new(0);
        let ping = |_| {
            sent.set(sent.get() + 1);
            (sent.get() > 2).then_some(Duration::from_millis(1))
        };
        let echoes = Echoes::of(ping, Duration::ZERO, Duration::ZERO);
        assert_eq!((echoes.times.len(), echoes.lost), (1, 2));
        let echoes = Echoes::of(|_| None, Duration::ZERO, Duration::ZERO);
        assert_eq!(echoes.lost, TRIES);
    }

    #[test]
    fn lost_echoes_count_apart_or_as_very_late() {
        let mut echoes = Echoes { times: vec![1.0, 2.0], lost: 0 };
        echoes.extend(Echoes { times: vec![3.0], lost: 1 });
        assert_eq!(echoes.percentile(99.0).unwrap(), 3.0);
        assert_eq!(echoes.percentile_of_all(99.0), 1000.0);
        assert_eq!(echoes.percentile_of_all(50.0), 2.0);
        assert_eq!(echoes.lost_percent(), 25.0);
        assert!(Echoes::default().percentile(50.0).is_err());
    }
}

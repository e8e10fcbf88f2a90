//! When a host tries again to reach its hub.

use std::time::Duration;

/// Why the next attempt is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    /// An established connection ended.
    Lost,
    /// The hub could not be reached or did not answer.
    Unreachable,
    /// The hub answered and refused.
    Refused,
}

/// When to try again: at once after a loss, then after a random part of a growing window ("full jitter").
///
/// While the hub cannot be reached, the window stays below [`Backoff::UNREACHABLE_CAP`], so that every host is back within
/// 2 s after its hub starts. While the hub refuses, the window grows up to [`Backoff::REFUSED_CAP`].
///
/// A hub may ask its hosts to spread their return over a window ([`Backoff::spread_over`]). The wait after a loss is then
/// a random part of that window, and no later window is smaller.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
    spread: Option<Duration>,
}

impl Backoff {
    /// The largest window for a hub that cannot be reached.
    pub const UNREACHABLE_CAP: Duration = Duration::from_millis(1500);
    /// The largest window for a hub that refuses.
    pub const REFUSED_CAP: Duration = Duration::from_secs(30);
    /// A connection that lasted this long resets the window.
    pub const HEALTHY: Duration = Duration::from_secs(10);
    /// The largest window a hub may ask for.
    pub const SPREAD_MAX: Duration = Duration::from_secs(30);
    const FIRST: Duration = Duration::from_millis(100);

    /// Sets the window that the last joined hub asks for; `None`: it asks for none. More than [`Backoff::SPREAD_MAX`] counts
    /// as that.
    pub fn spread_over(&mut self, window: Option<Duration>) {
        self.spread = window.map(|window| window.min(Self::SPREAD_MAX));
    }

    /// How long to wait now. `random` is uniform over all of `u32`; `lasted` is how long the connection existed.
    pub fn next(&mut self, setback: Setback, lasted: Duration, random: u32) -> Duration {
        if lasted >= Self::HEALTHY {
            self.failures = 0;
        }
        let first_after_loss = setback == Setback::Lost && self.failures == 0;
        let cap = match setback {
            Setback::Refused => Self::REFUSED_CAP,
            Setback::Lost | Setback::Unreachable => Self::UNREACHABLE_CAP,
        };
        let window = Self::FIRST.saturating_mul(1 << self.failures.min(16)).min(cap);
        let window = if first_after_loss { Duration::ZERO } else { window };
        let window = window.max(self.spread.unwrap_or_default());
        self.failures += 1;
        window.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIEF: Duration = Duration::from_secs(1);

    #[test]
    fn a_lost_connection_is_made_again_at_once_but_not_in_a_loop() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Setback::Lost, BRIEF, u32::MAX), Duration::ZERO);
        assert_eq!(backoff.next(Setback::Lost, BRIEF, u32::MAX), Duration::from_millis(200));
        assert_eq!(backoff.next(Setback::Lost, Backoff::HEALTHY, u32::MAX), Duration::ZERO);
    }

    #[test]
    fn a_hub_may_ask_for_a_spread_return() {
        let mut backoff = Backoff::default();
        backoff.spread_over(Some(Duration::from_secs(4)));
        assert_eq!(backoff.next(Setback::Lost, BRIEF, u32::MAX), Duration::from_secs(4));
        let half = backoff.next(Setback::Unreachable, BRIEF, u32::MAX / 2);
        assert_eq!(half.as_secs_f64().round(), 2.0);
        backoff.spread_over(Some(Duration::MAX));
        let longest = backoff.next(Setback::Lost, BRIEF, u32::MAX);
        assert_eq!(longest, Backoff::SPREAD_MAX);
        backoff.spread_over(None);
        assert_eq!(backoff.next(Setback::Lost, Backoff::HEALTHY, u32::MAX), Duration::ZERO);
    }

    #[test]
    fn windows_grow_to_their_caps() {
        for (setback, cap) in [
            (Setback::Unreachable, Backoff::UNREACHABLE_CAP),
            (Setback::Refused, Backoff::REFUSED_CAP),
        ] {
            let mut backoff = Backoff::default();
            let waits: Vec<_> =
                (0..40).map(|_| backoff.next(setback, Duration::ZERO, u32::MAX)).collect();
            assert_eq!(waits[0], Duration::from_millis(100));
            assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
            assert_eq!(waits[39], cap);
            assert_eq!(Backoff::default().next(setback, Duration::ZERO, 0), Duration::ZERO);
        }
    }
}

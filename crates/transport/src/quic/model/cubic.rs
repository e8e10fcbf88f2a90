//! How many packets may be on their way next to others who make room only when packets are lost: CUBIC (RFC 9438), by rounds.

use std::time::{Duration, Instant};

/// What a loss leaves (section 4.6).
const BETA: f64 = 0.7;
/// Packets per second cubed (section 4.1).
const C: f64 = 0.4;
/// Packets per round trip with which it grows as Reno does (section 4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// Growth of a round, at most (section 4.4).
const GROWTH_MAX: f64 = 1.5;
/// Packets that are left of it, at least.
const LEAST: f64 = 2.0;

/// A window since its last loss.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cubic {
    /// In packets: now, when something was lost, and as Reno would have it now.
    window: f64,
    peak: f64,
    reno: f64,
    since: Instant,
}

impl Cubic {
    /// After a loss with this many packets in flight.
    pub(super) fn cut(now: Instant, packets: f64) -> Self {
        let window = (BETA * packets).max(LEAST);
        Self { window, peak: packets, reno: window, since: now }
    }

    /// As if this many packets were what a loss has left.
    pub(super) fn joining(now: Instant, packets: f64) -> Self {
        Self::cut(now, packets / BETA)
    }

    /// Makes room for others: more if it had not come up to the last peak (section 4.7).
    pub(super) fn lost(&mut self, now: Instant) {
        let is_lower = self.window < self.peak;
        let peak = if is_lower { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        *self = Self { peak, ..Self::cut(now, self.window) };
    }

    /// A round that took `round_trip` used it all and lost nothing.
    pub(super) fn grow(&mut self, now: Instant, round_trip: Duration) {
        self.reno += ALPHA;
        let until_peak = (self.peak * (1.0 - BETA) / C).cbrt();
        let time = now.saturating_duration_since(self.since) + round_trip;
        let cubic = C * (time.as_secs_f64() - until_peak).powi(3) + self.peak;
        self.window = cubic.max(self.reno).clamp(self.window, GROWTH_MAX * self.window);
    }

    /// Packets.
    pub(super) fn window(&self) -> f64 {
        self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(50);

    /// Rounds of [`ROUND_TRIP`] until it is at least so large.
    fn rounds_until(cubic: &mut Cubic, start: Instant, packets: f64) -> u32 {
        let mut rounds = 0;
        while cubic.window() < packets {
            rounds += 1;
            assert!(rounds < 10_000, "{cubic:?}");
            let before = cubic.window();
            cubic.grow(start + rounds * ROUND_TRIP, ROUND_TRIP);
            assert!(cubic.window() >= before && cubic.window() <= GROWTH_MAX * before);
        }
        rounds
    }

    #[test]
    fn a_large_window_is_back_at_its_peak_when_the_standard_says_and_waits_there() {
        let start = Instant::now();
        let mut cubic = Cubic::cut(start, 2000.0);
        assert_eq!(cubic.window(), 1400.0);
        // The cube root of 2000 * 0.3 / 0.4 seconds, less the round trip it looks ahead.
        let rounds = rounds_until(&mut cubic, start, 1999.9);
        assert!((215..=230).contains(&rounds), "{rounds}");
        let later = start + Duration::from_millis(11_500);
        cubic.grow(later, ROUND_TRIP);
        assert!(cubic.window() < 2001.0, "flat around the peak: {cubic:?}");
    }

    #[test]
    fn a_small_window_grows_as_reno_does() {
        let start = Instant::now();
        let mut cubic = Cubic::cut(start, 10.0);
        let rounds = rounds_until(&mut cubic, start, 10.0);
        assert!((5..=6).contains(&rounds), "3 packets, 0.53 each round: {rounds}");
    }

    #[test]
    fn losses_below_the_peak_make_more_room_and_it_never_goes() {
        let start = Instant::now();
        let mut cubic = Cubic::cut(start, 100.0);
        cubic.lost(start);
        assert!((cubic.window() - 49.0).abs() < 1e-9, "{cubic:?}");
        assert!((cubic.peak - 59.5).abs() < 1e-9, "{cubic:?}");
        for _ in 0..100 {
            cubic.lost(start);
        }
        assert_eq!(cubic.window(), LEAST);
    }

    #[test]
    fn who_joins_begins_where_it_is() {
        assert!((Cubic::joining(Instant::now(), 50.0).window() - 50.0).abs() < 1e-9);
    }
}

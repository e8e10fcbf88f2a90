//! CoDel (RFC 8289): which frame signals to its sender that the queue has been too long for too much time.

use std::time::{Duration, Instant};

/// A dropping state that begins within this many intervals after the last signal was due continues at the rate reached
/// before (RFC 8289 section 5).
const REMEMBERED_INTERVALS: u32 = 16;

/// CoDel's parameters (RFC 8289 section 4).
#[derive(Debug, Clone, Copy)]
pub(super) struct CodelParameters {
    /// The standing delay that is accepted.
    pub(super) target: Duration,
    /// How long the delay must be above the target before a signal: a worst-case round trip.
    pub(super) interval: Duration,
}

/// The state of one flow's queue, with the names of RFC 8289 section 5.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Codel {
    first_above: Option<Instant>,
    /// Meaningless before the first time in the dropping state.
    drop_next: Option<Instant>,
    count: u32,
    last_count: u32,
    dropping: bool,
}

/// What to do with the first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    Send,
    /// Signal to its sender: set the CE mark, or drop it and judge the next one.
    Signal,
}

impl Codel {
    /// Judges the frame just removed from the front, which waited for `sojourn`. `backlog` bytes are still queued; at most
    /// `one_frame` of them is no standing queue.
    ///
    /// This is `dequeue` of RFC 8289 section 5, one frame at a time.
    pub(super) fn judge(
        &mut self,
        parameters: CodelParameters,
        now: Instant,
        sojourn: Duration,
        backlog: usize,
        one_frame: usize,
    ) -> Judgement {
        if !self.stands(parameters, now, sojourn, backlog <= one_frame) {
            self.dropping = false;
            return Judgement::Send;
        }
        let drop_next = self.drop_next.unwrap_or(now);
        if self.dropping {
            if now < drop_next {
                return Judgement::Send;
            }
            self.count = self.count.saturating_add(1);
            self.drop_next = Some(control_law(drop_next, parameters.interval, self.count));
        } else {
            self.dropping = true;
            let delta = self.count.saturating_sub(self.last_count);
            let recent = now.saturating_duration_since(drop_next)
                < REMEMBERED_INTERVALS * parameters.interval;
            self.count = if delta > 1 && recent { delta } else { 1 };
            self.last_count = self.count;
            self.drop_next = Some(control_law(now, parameters.interval, self.count));
        }
        Judgement::Signal
    }

    /// Records that the queue is empty.
    pub(super) fn emptied(&mut self) {
        self.first_above = None;
        self.dropping = false;
    }

    /// `dodequeue` of RFC 8289 section 5: whether the delay has been above the target for an interval.
    fn stands(
        &mut self,
        parameters: CodelParameters,
        now: Instant,
        sojourn: Duration,
        is_last: bool,
    ) -> bool {
        if sojourn < parameters.target || is_last {
            self.first_above = None;
            return false;
        }
        let until = *self.first_above.get_or_insert(now + parameters.interval);
        now >= until
    }
}

/// The time of the next signal. The rate of signals grows with the square root of their number (RFC 8289 section 5).
fn control_law(from: Instant, interval: Duration, count: u32) -> Instant {
    from + interval.div_f64(f64::from(count.max(1)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: CodelParameters =
        CodelParameters { target: Duration::from_millis(5), interval: Duration::from_millis(100) };
    const FRAME: usize = 1514;

    /// Judges one frame per millisecond, with the same delay and backlog, and returns the milliseconds of the signals.
    fn signals(
        codel: &mut Codel,
        start: Instant,
        millis: std::ops::Range<u64>,
        sojourn: u64,
    ) -> Vec<u64> {
        let sojourn = Duration::from_millis(sojourn);
        millis
            .filter(|at| {
                let now = start + Duration::from_millis(*at);
                codel.judge(PARAMETERS, now, sojourn, 10 * FRAME, FRAME) == Judgement::Signal
            })
            .collect()
    }

    #[test]
    fn signals_begin_after_an_interval_above_target_and_come_faster_with_the_root() {
        let start = Instant::now();
        let seen = signals(&mut Codel::default(), start, 0..400, 20);
        // 100, then + 100, + 100/sqrt(2), + 100/sqrt(3), rounded up to the millisecond.
        assert_eq!(seen, [100, 200, 271, 329, 379]);
    }

    #[test]
    fn a_delay_that_returns_below_target_starts_the_interval_anew() {
        let (start, mut codel) = (Instant::now(), Codel::default());
        assert!(signals(&mut codel, start, 0..99, 5).is_empty());
        assert!(signals(&mut codel, start, 99..100, 4).is_empty());
        assert!(signals(&mut codel, start, 100..200, 5).is_empty());
        assert_eq!(signals(&mut codel, start, 200..210, 5), [200]);
    }

    #[test]
    fn the_last_frame_is_no_standing_queue() {
        let (start, mut codel) = (Instant::now(), Codel::default());
        for at in 0..1000 {
            let now = start + Duration::from_millis(at);
            let judged = codel.judge(PARAMETERS, now, Duration::from_secs(1), FRAME, FRAME);
            assert_eq!(judged, Judgement::Send);
        }
    }

    #[test]
    fn one_good_frame_ends_the_dropping_state() {
        let (start, mut codel) = (Instant::now(), Codel::default());
        assert_eq!(signals(&mut codel, start, 0..250, 20), [100, 200]);
        assert!(signals(&mut codel, start, 250..251, 4).is_empty());
        assert!(!codel.dropping);
        // A whole interval above the target again, then at once.
        assert_eq!(signals(&mut codel, start, 251..352, 20), [351]);
    }

    #[test]
    fn a_dropping_state_soon_after_another_continues_at_its_rate() {
        let (start, mut codel) = (Instant::now(), Codel::default());
        assert_eq!(signals(&mut codel, start, 0..400, 20).len(), 5);
        assert_eq!(codel.count, 5);
        codel.emptied();
        assert_eq!(signals(&mut codel, start, 500..601, 20), [600]);
        assert_eq!(codel.count, 4, "by how much it grew");
        codel.emptied();
        assert_eq!(signals(&mut codel, start, 9000..9101, 20), [9100]);
        assert_eq!(codel.count, 1, "long forgotten");
    }
}

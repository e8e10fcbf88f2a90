//! When a client says that it is there, and when its server counts as gone.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

/// A server that has not answered yet is asked again after this long, then after twice as long.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// One that has not answered for this long counts as gone; so does one that was said to be unreachable and is silent.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// This many intervals without a datagram mean that the server is gone.
const SILENT_INTERVALS: u32 = 3;

/// Waits until then; without an end if there is no time.
pub(super) async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

/// When a client registers, and when its server counts as gone.
#[derive(Debug)]
pub(super) struct KeepaliveClock {
    keepalive: Option<Duration>,
    started: Instant,
    /// The last datagram of the server, or the beginning.
    heard: Instant,
    /// When the next register is due; none: no more.
    due: Option<Instant>,
    /// How long the register after the next one waits, while there was no answer.
    ask_again: Duration,
    pub(super) answered: bool,
    /// What the network said, and since when the server has been silent after that.
    hint: Option<(String, Instant)>,
}

impl KeepaliveClock {
    pub(super) fn new(keepalive: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            keepalive,
            started: now,
            heard: now,
            due: Some(now),
            ask_again: ASK_AGAIN,
            answered: false,
            hint: None,
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    pub(super) fn registers(&mut self, now: Instant) {
        let next = if self.answered {
            self.keepalive
        } else {
            let again = self.ask_again;
            self.ask_again *= 2;
            Some(self.keepalive.map_or(again, |keepalive| keepalive.min(again)))
        };
        self.due = next.map(|next| now + next);
    }

    /// A datagram of the server: it is there, whatever it says.
    pub(super) fn hears(&mut self, now: Instant) {
        (self.heard, self.hint) = (now, None);
    }

    /// A reply.
    pub(super) fn is_answered(&mut self) {
        if !self.answered {
            self.answered = true;
            self.due = self.keepalive.map(|keepalive| self.heard + keepalive);
        }
    }

    /// The network says that the server is not there, which anybody can forge.
    pub(super) fn is_hinted(&mut self, why: String, now: Instant) {
        self.hint.get_or_insert((why, now));
    }

    /// When something has to be done at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.end().map(|(end, _)| end)).min()
    }

    fn end(&self) -> Option<(Instant, &str)> {
        let hinted = self.hint.as_ref().map(|(why, since)| (*since + ASK_AGAIN, &**why));
        let silent = match (self.answered, self.keepalive) {
            (false, _) => Some((self.started.max(self.heard) + FIRST_ANSWER, "it does not answer")),
            (true, Some(keepalive)) => {
                Some((self.heard + keepalive * SILENT_INTERVALS, "it has been silent for too long"))
            }
            // It registered once, and nothing is to be heard from a server that has no packets.
            (true, None) => None,
        };
        hinted.into_iter().chain(silent).min_by_key(|(end, _)| *end)
    }

    pub(super) fn is_over(&self, now: Instant) -> Option<String> {
        let (end, why) = self.end()?;
        (end <= now).then(|| why.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The seconds at which a clock registers within `time`; `answers`: at which second the server says something.
    fn registers(
        clock: &mut KeepaliveClock,
        time: u64,
        answers: impl Fn(u64) -> bool,
    ) -> (Vec<u64>, Option<u64>) {
        let start = clock.started;
        let mut at = Vec::new();
        for second in 0..time {
            let now = start + SECOND * u32::try_from(second).unwrap();
            if clock.is_over(now).is_some() {
                return (at, Some(second));
            }
            if clock.is_due(now) {
                clock.registers(now);
                at.push(second);
            }
            if answers(second) {
                clock.hears(now);
                clock.is_answered();
            }
        }
        (at, None)
    }

    #[test]
    fn it_registers_at_each_interval_and_gives_up_after_three_without_a_sign() {
        let mut clock = KeepaliveClock::new(Some(2 * SECOND));
        let (at, over) = registers(&mut clock, 100, |second| second < 10);
        assert_eq!(at, [0, 2, 4, 6, 8, 10, 12, 14]);
        assert_eq!(over, Some(15));
    }

    #[test]
    fn a_server_that_never_answers_is_asked_a_few_times() {
        let mut clock = KeepaliveClock::new(Some(10 * SECOND));
        assert_eq!(registers(&mut clock, 100, |_| false), (vec![0, 1, 3], Some(5)));
        let mut clock = KeepaliveClock::new(None);
        assert_eq!(registers(&mut clock, 100, |_| false), (vec![0, 1, 3], Some(5)));
    }

    #[test]
    fn without_keepalive_it_registers_until_it_is_answered_and_then_no_more() {
        let mut clock = KeepaliveClock::new(None);
        assert_eq!(registers(&mut clock, 1000, |second| second == 2), (vec![0, 1], None));
        assert_eq!(clock.next(), None);
        let now = clock.started + 1000 * SECOND;
        clock.is_hinted("refused".into(), now);
        assert_eq!(clock.is_over(now), None, "a hint may be forged");
        assert_eq!(clock.is_over(now + SECOND).as_deref(), Some("refused"));
        clock.hears(now);
        assert_eq!(clock.is_over(now + SECOND), None, "it is there all the same");
    }

    #[test]
    fn data_is_a_sign_of_life() {
        let mut clock = KeepaliveClock::new(Some(SECOND));
        registers(&mut clock, 2, |second| second == 0);
        for second in 2..50 {
            let now = clock.started + SECOND * second;
            assert_eq!(clock.is_over(now), None, "{second}");
            clock.hears(now);
        }
    }
}

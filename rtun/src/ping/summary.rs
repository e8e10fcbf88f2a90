//! What many probes of a path have shown of each leg.

use std::time::Duration;

use rtun_node::{LegOutcome, PathView, units::short};
use serde::Serialize;

use super::milliseconds;
use crate::table::table;

/// The legs of a path, after some probes.
#[derive(Default)]
pub(super) struct PathSummary {
    pub(super) legs: Vec<LegSummary>,
}

/// A leg, after some probes. Times in seconds; the JSON of `rtun ping --json` has these names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct LegSummary {
    from: String,
    to: String,
    /// Probes of which it is known what came of them.
    sent: u64,
    received: u64,
    /// The share that was lost, from 0 to 1.
    loss: f64,
    min: Option<f64>,
    mean: Option<f64>,
    max: Option<f64>,
    /// The mean difference from one round trip to the next.
    jitter: Option<f64>,
    /// The longest packet that the leg takes, in bytes.
    mtu: Option<u16>,
    /// The longest packet that goes as a datagram, in bytes.
    datagram: Option<u16>,
    #[serde(skip)]
    times: LegTimes,
}

/// What is kept of the round trips, in seconds.
#[derive(Debug, Clone, Default, PartialEq)]
struct LegTimes {
    sum: f64,
    last: Option<f64>,
    differences: f64,
    count_of_differences: u64,
}

impl PathSummary {
    pub(super) fn add(&mut self, path: &PathView) {
        for (number, leg) in path.legs.iter().enumerate() {
            if self.legs.len() == number {
                self.legs.push(LegSummary::of(&leg.from, &leg.to));
            }
            let summary = &mut self.legs[number];
            (summary.mtu, summary.datagram) =
                (leg.mtu.or(summary.mtu), leg.datagram.or(summary.datagram));
            match &leg.outcome {
                LegOutcome::Answered { round_trip } => summary.answered(*round_trip),
                LegOutcome::Lost => summary.sent += 1,
                LegOutcome::Unknown | LegOutcome::NotMeasured { .. } => continue,
            }
            summary.loss = 1.0 - summary.received as f64 / summary.sent as f64;
        }
    }

    /// Whether an answer came over the last leg.
    pub(super) fn is_reached(&self) -> bool {
        self.legs.last().is_some_and(|leg| leg.received > 0)
    }

    pub(super) fn text(&self) -> String {
        let head = ["LEG", "SENT", "LOST", "MIN", "MEAN", "MAX", "JITTER", "MTU", "DATAGRAM"];
        let time = |seconds: Option<f64>| {
            let shown = seconds.and_then(|it| Duration::try_from_secs_f64(it).ok());
            shown.map_or("-".into(), milliseconds)
        };
        let length = |bytes: Option<u16>| bytes.map_or("-".into(), |bytes| bytes.to_string());
        let rows = self.legs.iter().map(|leg| {
            let (share, is_known) = (leg.loss * 100.0, leg.sent > 0);
            vec![
                format!("{} -> {}", short(&leg.from), short(&leg.to)),
                leg.sent.to_string(),
                if is_known { format!("{share:.0} %") } else { "-".into() },
                time(leg.min),
                time(leg.mean),
                time(leg.max),
                time(leg.jitter),
                length(leg.mtu),
                length(leg.datagram),
            ]
        });
        let head = head.map(str::to_owned).to_vec();
        format!("\n{}", table("", "lrrrrrrrr", std::iter::once(head).chain(rows).collect()))
    }
}

impl LegSummary {
    fn of(from: &str, to: &str) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            sent: 0,
            received: 0,
            loss: 0.0,
            min: None,
            mean: None,
            max: None,
            jitter: None,
            mtu: None,
            datagram: None,
            times: LegTimes::default(),
        }
    }

    fn answered(&mut self, round_trip: Duration) {
        let seconds = round_trip.as_secs_f64();
        let times = &mut self.times;
        self.sent += 1;
        self.received += 1;
        self.min = Some(self.min.map_or(seconds, |min| min.min(seconds)));
        self.max = Some(self.max.map_or(seconds, |max| max.max(seconds)));
        times.sum += seconds;
        self.mean = Some(times.sum / self.received as f64);
        if let Some(last) = times.last.replace(seconds) {
            times.differences += (seconds - last).abs();
            times.count_of_differences += 1;
            self.jitter = Some(times.differences / times.count_of_differences as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use rtun_node::PathLeg;

    use super::*;

    fn path(outcomes: [LegOutcome; 2]) -> PathView {
        let legs = outcomes.map(|outcome| PathLeg {
            from: "a".into(),
            to: "b".into(),
            outcome,
            mtu: Some(1420),
            datagram: None,
        });
        PathView {
            service: "host".into(),
            namespace: "0".parse().unwrap_or_default(),
            legs: legs.into(),
        }
    }

    #[test]
    fn each_leg_has_its_own_losses_and_times() {
        let answered = |ms| LegOutcome::Answered { round_trip: Duration::from_millis(ms) };
        let mut summary = PathSummary::default();
        for outcomes in [
            [answered(10), LegOutcome::Lost],
            [answered(30), answered(1)],
            [LegOutcome::Lost, LegOutcome::Unknown],
            [answered(20), answered(1)],
        ] {
            summary.add(&path(outcomes));
        }
        let [first, second] = &summary.legs[..] else { panic!("{:?}", summary.legs) };
        assert_eq!((first.sent, first.received, first.loss), (4, 3, 0.25));
        assert_eq!((first.min, first.mean, first.max), (Some(0.01), Some(0.02), Some(0.03)));
        assert!((first.jitter.unwrap() - 0.015).abs() < 1e-9, "{first:?}");
        assert_eq!((second.sent, second.received), (3, 2), "what is not known counts nowhere");
        assert!(summary.is_reached());
        let text = summary.text();
        assert!(
            text.contains(
                "a -> b     4  25 %  10.00 ms  20.00 ms  30.00 ms  15.00 ms  1420         -"
            ),
            "{text}"
        );
    }
}

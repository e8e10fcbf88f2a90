//! The last hour, a point every ten seconds.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::sample::ServiceRate;

/// The time between two points.
pub const STEP: Duration = Duration::from_secs(10);

/// Points kept; the oldest makes room.
pub const MAX_POINTS: usize = 360;

/// The names of the series.
pub const SERIES_NAMES: [&str; 6] =
    ["in_bytes", "out_bytes", "in_packets", "out_packets", "drops", "hosts"];

/// Series of the last hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesView {
    /// Seconds between two points.
    pub step: u64,
    /// The time of the last point, in seconds of Unix time.
    pub end: u64,
    /// By name: the points, the newest last. Rates a second, and the number of hosts; `None` where it is not known.
    pub series: BTreeMap<String, Vec<Option<f64>>>,
}

/// The points: 40 KiB at most.
#[derive(Default)]
pub(super) struct SeriesRing {
    points: VecDeque<SeriesPoint>,
}

/// What was at one moment.
struct SeriesPoint {
    /// In seconds of Unix time.
    at: u64,
    values: [Option<f64>; SERIES_NAMES.len()],
}

impl SeriesRing {
    /// Adds the point of `now`.
    pub(super) fn add(&mut self, now: SystemTime, rate: Option<ServiceRate>, hosts: usize) {
        if self.points.len() >= MAX_POINTS {
            self.points.pop_front();
        }
        let values = [
            rate.map(|it| it.traffic.input.bytes),
            rate.map(|it| it.traffic.output.bytes),
            rate.map(|it| it.traffic.input.packets),
            rate.map(|it| it.traffic.output.packets),
            rate.map(|it| it.drops),
            Some(hosts as f64),
        ];
        let at = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.points.push_back(SeriesPoint { at, values });
    }

    /// The series of these names, all if there are none; of `since`, in seconds of Unix time, only points after that.
    pub(super) fn view(&self, names: &[String], since: Option<u64>) -> SeriesView {
        let wanted = |point: &&SeriesPoint| since.is_none_or(|since| point.at > since);
        let numbered = SERIES_NAMES.iter().enumerate();
        let named =
            numbered.filter(|(_, name)| names.is_empty() || names.iter().any(|it| it == *name));
        let series = named.map(|(number, name)| {
            let points = self.points.iter().filter(wanted).map(|point| point.values[number]);
            ((*name).to_owned(), points.collect())
        });
        let end = self.points.back().map_or(0, |point| point.at);
        SeriesView { step: STEP.as_secs(), end, series: series.collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However late points come, who asks from the end of one answer on gets each of them once.
        #[test]
        fn who_asks_again_and_again_gets_every_point_once(
            delays in prop::collection::vec((9_000..12_000_u64, any::<bool>()), 1..500),
        ) {
            let mut ring = SeriesRing::default();
            let (mut now, mut since, mut got) = (UNIX_EPOCH + Duration::from_secs(1_000_000), None, 0);
            for (number, (delay, asks)) in delays.iter().enumerate() {
                now += Duration::from_millis(*delay);
                ring.add(now, None, number);
                // Within the hour that is kept.
                if *asks || (number + 1).is_multiple_of(MAX_POINTS / 2) {
                    let view = ring.view(&["hosts".to_owned()], since);
                    for value in &view.series["hosts"] {
                        prop_assert_eq!(*value, Some(got as f64));
                        got += 1;
                    }
                    prop_assert_eq!(got, number + 1);
                    since = Some(view.end);
                }
            }
        }
    }

    #[test]
    fn an_hour_is_kept_and_parts_of_it_are_given() {
        let mut ring = SeriesRing::default();
        let start = UNIX_EPOCH + Duration::from_secs(1_000_000);
        for n in 0..500 {
            ring.add(start + n * STEP, (n > 0).then(ServiceRate::default), n as usize);
        }
        let all = ring.view(&[], None);
        assert_eq!((all.step, all.end), (10, 1_004_990));
        assert_eq!(all.series.len(), SERIES_NAMES.len());
        assert!(all.series.values().all(|points| points.len() == MAX_POINTS));
        assert_eq!(all.series["hosts"].last(), Some(&Some(499.0)));
        let some = ring.view(&["hosts".into(), "nonsense".into()], Some(1_004_970));
        assert_eq!(some.series["hosts"], [Some(498.0), Some(499.0)]);
        assert_eq!(some.series.len(), 1);
        assert_eq!(ring.view(&[], Some(u64::MAX)).series["drops"], []);
    }
}

//! Series of the sources of rows.

use std::fmt;

use rtun_control::FeedStatus;

use crate::operations::{
    board::MetricsSample,
    metrics::page::{MetricsPage, of_service, truth},
};

pub(super) fn encode(sample: &MetricsSample, page: &mut MetricsPage<'_>) -> fmt::Result {
    let of = |source: &FeedStatus| {
        let FeedStatus { kind, name, source, .. } = source;
        vec![("kind", kind.clone()), ("name", name.clone()), ("source", source.clone())]
    };
    let sources = || sample.status.sources.iter();
    let loads = sources().flat_map(|source| {
        [("ok", source.loads_ok), ("failed", source.loads_failed)].map(|(result, count)| {
            let mut labels = of(source);
            labels.push(("result", result.into()));
            (labels, count)
        })
    });
    page.counter("rtun_reload", "Readings of a source, taken and not", loads)?;
    page.gauge(
        "rtun_reload_age_seconds",
        "Time since a source last gave rows that were taken",
        sources().filter_map(|source| Some((of(source), source.last_success?))),
    )?;
    page.gauge(
        "rtun_reload_lines_skipped",
        "Lines of a source that are left out",
        sources().map(|source| (of(source), source.bad_lines as f64)),
    )?;
    page.gauge(
        "rtun_source_rows",
        "Rows of a source that are in force",
        sources().map(|source| (of(source), source.rows as f64)),
    )?;
    page.gauge(
        "rtun_rules_behind",
        "Whether a hub cannot go by what its sources say now: 0 or 1",
        sample.hubs().map(|(name, hub)| (of_service(name), truth(hub.behind.is_some()))),
    )
}

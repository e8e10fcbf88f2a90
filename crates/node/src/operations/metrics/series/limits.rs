//! Series of limits and quotas, of hubs and hosts.

use std::{collections::BTreeMap, fmt};

use crate::{
    operations::{
        board::MetricsSample,
        metrics::page::{Labels, MetricsPage, truth},
    },
    report::{LimitReport, QuotaReport},
};

pub(super) fn encode(sample: &MetricsSample, page: &mut MetricsPage<'_>) -> fmt::Result {
    let mut limited: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    // What a whole service shares is the same for each of its hosts.
    let mut rates: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    let of_hubs = sample.hubs().flat_map(|(service, hub)| {
        hub.hosts().flat_map(|host| &host.limits).map(move |limit| (service, limit))
    });
    let of_devices = sample
        .devices()
        .flat_map(|(service, device)| device.limits.iter().map(move |limit| (service, limit)));
    for (service, limit) in of_hubs.chain(of_devices) {
        let LimitReport { limiter, scope, input, output } = limit;
        *limited.entry((service, limiter, scope)).or_default() += 1;
        if scope == "service" {
            for (direction, rate) in [("in", input), ("out", output)] {
                rates.extend(rate.map(|rate| ((service, &**limiter, direction), rate)));
            }
        }
    }
    page.gauge(
        "rtun_limited_connections",
        "Connections whose traffic a limit applies to",
        limited.into_iter().map(|((service, limiter, scope), count)| {
            (labels(&[("service", service), ("limiter", limiter), ("scope", scope)]), count as f64)
        }),
    )?;
    page.gauge(
        "rtun_limit_bytes_per_second",
        "Limit that all traffic of a service shares",
        rates.into_iter().map(|((service, limiter, direction), rate)| {
            let words = [("service", service), ("limiter", limiter), ("direction", direction)];
            (labels(&words), rate as f64)
        }),
    )?;
    let quotas: Vec<(&str, &QuotaReport)> =
        sample
            .hubs()
            .flat_map(|(service, hub)| hub.quotas.iter().map(move |quota| (service, quota)))
            .chain(sample.devices().flat_map(|(service, device)| {
                device.quotas.iter().map(move |quota| (service, quota))
            }))
            .collect();
    for (name, help, of) in [
        (
            "rtun_quota_used_bytes",
            "Bytes counted against a quota",
            (|quota| quota.used as f64) as fn(&QuotaReport) -> f64,
        ),
        ("rtun_quota_limit_bytes", "Bytes that a quota allows; 0: any number", |quota| {
            quota.limit as f64
        }),
        (
            "rtun_quota_exceeded",
            "Whether a quota is used up, so that nothing passes: 0 or 1",
            |quota| truth(quota.exceeded),
        ),
    ] {
        page.gauge(
            name,
            help,
            quotas.iter().map(|(service, quota)| {
                (labels(&[("service", *service), ("quota", &*quota.name)]), of(quota))
            }),
        )?;
    }
    Ok(())
}

fn labels(words: &[(&'static str, &str)]) -> Labels {
    words.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

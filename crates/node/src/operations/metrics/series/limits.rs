//! Series of limits and quotas, of all kinds of service.

use std::{collections::BTreeMap, fmt};

use crate::{
    operations::{
        board::MetricsSample,
        metrics::page::{Labels, MetricsPage, truth},
    },
    report::{KindReport, LimitReport, QuotaReport},
};

pub(super) fn encode(sample: &MetricsSample, page: &mut MetricsPage<'_>) -> fmt::Result {
    let mut limited: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    // What a whole service shares is the same for each of its hosts or clients.
    let mut rates: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    let services = || sample.status.services.iter().map(|it| (&*it.name, &it.kind));
    for (service, limit) in services()
        .flat_map(|(service, kind)| limits_of(kind).into_iter().map(move |limit| (service, limit)))
    {
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
    let quotas: Vec<(&str, &QuotaReport)> = services()
        .flat_map(|(service, kind)| quotas_of(kind).iter().map(move |quota| (service, quota)))
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

/// The limits of each of its connections, clients or devices.
fn limits_of(kind: &KindReport) -> Vec<&LimitReport> {
    match kind {
        KindReport::Hub(hub) => hub.hosts().flat_map(|host| &host.limits).collect(),
        KindReport::Host(device) => device.limits.iter().collect(),
        KindReport::UdpServer(server) => server.clients.iter().flat_map(|it| &it.limits).collect(),
        KindReport::UdpClient(client) => client.limits.iter().collect(),
        KindReport::Relay(relay) => relay.clients.iter().flat_map(|it| &it.limits).collect(),
        KindReport::TapServer(server) => server.clients.iter().flat_map(|it| &it.limits).collect(),
        KindReport::TapClient(client) => client.limits.iter().collect(),
    }
}

fn quotas_of(kind: &KindReport) -> &[QuotaReport] {
    match kind {
        KindReport::Hub(hub) => &hub.quotas,
        KindReport::Host(device) => &device.quotas,
        KindReport::UdpServer(server) => &server.quotas,
        KindReport::UdpClient(client) => &client.quotas,
        KindReport::Relay(relay) => &relay.quotas,
        KindReport::TapServer(server) => &server.quotas,
        KindReport::TapClient(client) => &client.quotas,
    }
}

fn labels(words: &[(&'static str, &str)]) -> Labels {
    words.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

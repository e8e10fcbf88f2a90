//! Series of the plugins that hubs and hosts ask, of observers and of recorders. Services share the latter two, so these name no service.

use std::fmt;

use rtun_control::PluginStatus;

use crate::operations::{
    board::MetricsSample,
    metrics::page::{MetricsPage, truth},
};

pub(super) fn encode(sample: &MetricsSample, page: &mut MetricsPage<'_>) -> fmt::Result {
    let of = |service: &str, plugin: &PluginStatus| {
        let kind = plugin.kind.as_str();
        vec![("service", service.into()), ("kind", kind.into()), ("name", plugin.name.clone())]
    };
    let plugins = || {
        let status = &sample.status;
        let recorders = status.recorders.iter().map(|recorder| &recorder.target);
        let informed = status.observers.iter().chain(recorders).map(|it| ("", it));
        let of_hubs = sample.hubs().map(|(service, hub)| (service, &hub.plugins));
        let of_hosts = sample.devices().map(|(service, host)| (service, &host.plugins));
        let of_services = of_hubs.chain(of_hosts).flat_map(|(service, plugins)| {
            let first = |n: &usize| {
                let same = |it: &PluginStatus| {
                    (it.kind, &it.name) == (plugins[*n].kind, &plugins[*n].name)
                };
                plugins.iter().position(same) == Some(*n)
            };
            // A plugin that is named twice is one series.
            (0..plugins.len()).filter(first).map(move |n| (service, &plugins[n]))
        });
        of_services.chain(informed)
    };
    let questions = plugins().flat_map(|(service, plugin)| {
        [("answered", plugin.answered), ("failed", plugin.failed)].map(|(result, count)| {
            let mut labels = of(service, plugin);
            labels.push(("result", result.into()));
            (labels, count)
        })
    });
    page.counter("rtun_plugin", "Questions to a plugin, answered and not", questions)?;
    page.gauge(
        "rtun_plugin_waiting",
        "Packets, hosts, events or records that wait for a plugin's answer",
        plugins().map(|(service, plugin)| (of(service, plugin), plugin.waiting as f64)),
    )?;
    page.gauge(
        "rtun_plugin_breaker_open",
        "Whether a plugin is left alone for having failed too often: 0 or 1",
        plugins().map(|(service, plugin)| (of(service, plugin), truth(plugin.paused))),
    )?;
    let dropped = sample
        .status
        .recorders
        .iter()
        .map(|recorder| (vec![("recorder", recorder.target.name.clone())], recorder.dropped));
    page.counter("rtun_recorder_dropped", "Records that a recorder has lost", dropped)
}

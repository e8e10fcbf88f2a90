//! GOST's series, where they have a meaning here.

use std::fmt;

use crate::{
    operations::{board::MetricsSample, metrics::page::MetricsPage},
    report::KindReport,
};

pub(super) fn encode(sample: &MetricsSample, page: &mut MetricsPage<'_>) -> fmt::Result {
    let machine = nix::unistd::gethostname().unwrap_or_default();
    let machine = machine.to_string_lossy();
    let service = |name: &str| vec![("host", machine.to_string()), ("service", name.into())];
    let client = |name: &str| {
        let mut labels = service(name);
        labels.push(("client", String::new()));
        labels
    };
    let node = |node: &str| {
        let chain = ("chain", String::new());
        vec![("host", machine.to_string()), chain, ("node", node.to_owned())]
    };
    let running = sample.status.services.len() as f64;
    page.gauge(
        "gost_services",
        "Services that run",
        [(vec![("host", machine.to_string())], running)],
    )?;
    page.counter(
        "gost_service_requests",
        "Connections that a hub has taken, admitted or not",
        sample.hubs().map(|(name, hub)| (client(name), hub.admitted + hub.all_refused())),
    )?;
    page.gauge(
        "gost_service_requests_in_flight",
        "Connections that a hub has now, admitted or not",
        sample
            .hubs()
            .map(|(name, hub)| (client(name), (hub.unadmitted + hub.hosts().count()) as f64)),
    )?;
    page.histogram(
        "gost_service_request_duration_seconds",
        "How long connections of a hub lasted that have ended",
        sample.lasted.iter().map(|(name, lasted)| (service(name), lasted)),
    )?;
    for (name, help, of) in [
        (
            "gost_service_transfer_input_bytes",
            "Bytes of packets that hosts sent to a hub, or that a device gave",
            KindReport::bytes_in as fn(&KindReport) -> u64,
        ),
        (
            "gost_service_transfer_output_bytes",
            "Bytes of packets that a hub handed to hosts, or that a device took",
            KindReport::bytes_out,
        ),
        (
            "gost_service_handler_errors",
            "Connections that were refused, failed or were lost",
            KindReport::errors,
        ),
    ] {
        let services = sample.status.services.iter();
        page.counter(name, help, services.map(|it| (client(&it.name), of(&it.kind))))?;
    }
    let nodes = || sample.nodes.iter().flat_map(|(_, nodes)| nodes);
    page.histogram(
        "gost_chain_node_connect_duration_seconds",
        "How long it took until a hub admitted the host",
        nodes().map(|it| (node(&it.name), &it.connect_seconds)),
    )?;
    page.counter(
        "gost_chain_errors",
        "Hubs that could not be reached",
        nodes().map(|it| (node(&it.name), it.unreachable)),
    )?;
    let recorders = sample.status.recorders.iter();
    page.counter(
        "gost_recorder_records",
        "Records for a recorder, written or not",
        recorders.map(|it| {
            let name = ("recorder", it.target.name.clone());
            (vec![("host", machine.to_string()), name], it.records)
        }),
    )
}

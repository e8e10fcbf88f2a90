//! GOST's series, where they have a meaning here.

use std::fmt;

use crate::{
    host::HubNodeHistory,
    operations::{
        board::{ClientCounts, MetricsSample},
        metrics::page::MetricsPage,
    },
    report::KindReport,
};

pub(super) fn encode(sample: &MetricsSample, page: &mut MetricsPage<'_>) -> fmt::Result {
    let machine = nix::unistd::gethostname().unwrap_or_default();
    let machine = machine.to_string_lossy();
    let service = |name: &str| vec![("host", machine.to_string()), ("service", name.into())];
    let client = |name: &str, client: String| {
        let mut labels = service(name);
        labels.push(("client", client));
        labels
    };
    let by_client = |of: fn(&ClientCounts) -> u64| {
        sample.clients.iter().flat_map(move |(name, clients)| {
            clients.iter().map(move |(address, counts)| {
                let address = address.map_or("other".into(), |address| address.to_string());
                (client(name, address), of(counts))
            })
        })
    };
    let node = |node: &HubNodeHistory| {
        let chain = ("chain", node.chain.clone());
        vec![("host", machine.to_string()), chain, ("node", node.name.clone())]
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
        by_client(|counts| counts.requests),
    )?;
    page.gauge(
        "gost_service_requests_in_flight",
        "Connections that a hub has now, admitted or not",
        by_client(|counts| counts.in_flight).map(|(labels, count)| (labels, count as f64)),
    )?;
    page.histogram(
        "gost_service_request_duration_seconds",
        "How long connections of a hub lasted that have ended",
        sample.lasted.iter().map(|(name, lasted)| (service(name), lasted)),
    )?;
    // Only a hub has clients.
    let others = |of: fn(&KindReport) -> u64| {
        let services = sample.status.services.iter();
        let others = services.filter(|service| !matches!(service.kind, KindReport::Hub(_)));
        others.map(move |it| (client(&it.name, String::new()), of(&it.kind)))
    };
    page.counter(
        "gost_service_transfer_input_bytes",
        "Bytes of packets that hosts sent to a hub, or that a device gave",
        by_client(|counts| counts.bytes_in).chain(others(KindReport::bytes_in)),
    )?;
    page.counter(
        "gost_service_transfer_output_bytes",
        "Bytes of packets that a hub handed to hosts, or that a device took",
        by_client(|counts| counts.bytes_out).chain(others(KindReport::bytes_out)),
    )?;
    let services = sample.status.services.iter();
    page.counter(
        "gost_service_handler_errors",
        "Connections that were refused, failed or were lost",
        services.map(|it| (client(&it.name, String::new()), it.kind.errors())),
    )?;
    let nodes = || sample.nodes.iter().flat_map(|(_, nodes)| nodes);
    page.histogram(
        "gost_chain_node_connect_duration_seconds",
        "How long it took until a hub admitted the host",
        nodes().map(|it| (node(it), &it.connect_seconds)),
    )?;
    page.counter(
        "gost_chain_errors",
        "Hubs that could not be reached",
        nodes().map(|it| (node(it), it.unreachable)),
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

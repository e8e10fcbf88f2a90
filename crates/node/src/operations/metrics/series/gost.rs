//! GOST's series, where they have a meaning here.

use std::fmt;

use crate::{
    operations::{board::MetricsSample, metrics::page::MetricsPage},
    report::KindReport,
};

/// Reasons for the end of an association that GOST does not count as errors.
const NO_ERRORS: [&str; 4] = ["peer_closed", "replaced", "revoked", "shutdown"];

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
            transferred_in as fn(&KindReport) -> u64,
        ),
        (
            "gost_service_transfer_output_bytes",
            "Bytes of packets that a hub handed to hosts, or that a device took",
            transferred_out,
        ),
        (
            "gost_service_handler_errors",
            "Connections that were refused, failed or were lost",
            errors,
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
    )
}

fn transferred_in(kind: &KindReport) -> u64 {
    match kind {
        KindReport::Hub(hub) => hub.traffic().bytes_in,
        KindReport::Host(device) => device.sent.bytes_in,
        KindReport::UdpServer(server) => server.received.bytes_in + server.sent.bytes_in,
        KindReport::UdpClient(client) => client.sent.bytes_in,
        KindReport::Relay(relay) => relay.received.bytes_in,
        KindReport::TapServer(server) => server.received.bytes_in + server.sent.bytes_in,
        KindReport::TapClient(client) => client.sent.bytes_in,
    }
}

fn transferred_out(kind: &KindReport) -> u64 {
    match kind {
        KindReport::Hub(hub) => hub.traffic().bytes_out,
        KindReport::Host(device) => device.received.bytes_out,
        KindReport::UdpServer(server) => server.received.bytes_out + server.sent.bytes_out,
        KindReport::UdpClient(client) => client.received.bytes_out,
        KindReport::Relay(relay) => relay.sent.bytes_out,
        KindReport::TapServer(server) => server.received.bytes_out + server.sent.bytes_out,
        KindReport::TapClient(client) => client.received.bytes_out,
    }
}

fn errors(kind: &KindReport) -> u64 {
    match kind {
        KindReport::Hub(hub) => {
            let ended = hub.ended.iter().filter(|(word, _)| !NO_ERRORS.contains(&word.as_str()));
            hub.all_refused() + ended.map(|(_, happened)| happened.count).sum::<u64>()
        }
        KindReport::Host(device) => device.failed,
        KindReport::UdpServer(_) | KindReport::TapServer(_) => 0,
        KindReport::UdpClient(client) => client.failed,
        KindReport::Relay(relay) => relay.refused.values().map(|happened| happened.count).sum(),
        KindReport::TapClient(client) => client.failed,
    }
}

//! Series of hubs: packets, admissions, queues, certificates, routes.

use std::fmt;

use rtun_core::NamespaceId;

use crate::{
    counters::Traffic,
    operations::{
        board::{MetricsSample, Totals, is_labelled},
        metrics::page::{Labels, MetricsPage, drops, name_of, words},
    },
    report::{HubReport, Transport},
};

pub(super) fn encode(sample: &MetricsSample, page: &mut MetricsPage<'_>) -> fmt::Result {
    let Totals { traffic, admissions, ends } = &sample.totals;
    let directions = |of: fn(&Traffic) -> [u64; 2]| {
        traffic.iter().flat_map(move |(id, traffic)| {
            let directed = ["in", "out"].into_iter().zip(of(traffic));
            directed.map(|(direction, count)| {
                (vec![("ns", name_of(*id)), ("direction", direction.into())], count)
            })
        })
    };
    page.counter(
        "rtun_packets",
        "Packets that hosts sent (in) and that were handed to hosts (out)",
        directions(|traffic| [traffic.packets_in, traffic.packets_out]),
    )?;
    page.counter(
        "rtun_bytes",
        "Bytes of these packets",
        directions(|traffic| [traffic.bytes_in, traffic.bytes_out]),
    )?;
    let drops = traffic.iter().flat_map(|(id, traffic)| {
        drops(traffic).map(|(reason, count)| {
            let mut labels = vec![("ns", name_of(*id))];
            labels.extend(words(reason));
            (labels, count)
        })
    });
    page.counter("rtun_drop_packets", "Packets that went nowhere at a hub", drops)?;
    page.counter(
        "rtun_copied_packets",
        "Packets that a hub made of packets for many: one less than the hosts that each was for",
        traffic.iter().map(|(id, traffic)| (vec![("ns", name_of(*id))], traffic.copies)),
    )?;
    page.counter(
        "rtun_icmp_errors",
        "ICMP errors that a hub sent to hosts about packets that went nowhere",
        traffic.iter().map(|(id, traffic)| (vec![("ns", name_of(*id))], traffic.answered)),
    )?;
    let worded =
        |word: &'static str, (value, count): (&String, &u64)| (vec![(word, value.clone())], *count);
    page.counter(
        "rtun_admission",
        "Connections that asked to be admitted, by outcome",
        admissions.iter().map(|it| worded("result", it)),
    )?;
    page.counter(
        "rtun_session_end",
        "Connections of hosts that have ended, by reason",
        ends.iter().map(|it| worded("reason", it)),
    )?;
    encode_now(sample, page)
}

/// Gauges: the current state.
fn encode_now(sample: &MetricsSample, page: &mut MetricsPage<'_>) -> fmt::Result {
    let hubs: Vec<&HubReport> = sample.hubs().map(|(_, hub)| hub).collect();
    let sum = |of: fn(&HubReport) -> usize| hubs.iter().map(|hub| of(hub)).sum::<usize>() as f64;
    page.gauge(
        "rtun_sessions",
        "Hosts connected, those standing by included",
        Transport::ALL.into_iter().filter_map(|transport| {
            let by =
                |hub: &&HubReport| hub.hosts().filter(|host| host.transport == transport).count();
            let hosts = hubs.iter().map(by).sum::<usize>();
            let used = hosts > 0 || transport == Transport::Tcp;
            used.then(|| (vec![("transport", transport.as_str().into())], hosts as f64))
        }),
    )?;
    for (name, help, value) in [
        ("rtun_sessions_unadmitted", "Connections not admitted yet", sum(|hub| hub.unadmitted)),
        ("rtun_namespaces", "Namespaces there are", sum(|hub| hub.namespaces.len())),
        (
            "rtun_queue_bytes",
            "Bytes that wait for the sockets of hosts",
            sum(|hub| hub.hosts().map(|host| host.queued.bytes as usize).sum()),
        ),
    ] {
        page.gauge(name, help, [(Labels::new(), value)])?;
    }
    let used = hubs.iter().map(|hub| hub.queue_memory as f64 / hub.queue_budget.max(1) as f64);
    page.gauge(
        "rtun_queue_budget_used",
        "Part of the memory for queues that is in use, from 0 to 1: the fullest hub's",
        [(Labels::new(), used.fold(0.0, f64::max))],
    )?;
    let listeners = sample.hubs().flat_map(|(service, hub)| {
        hub.listen.iter().filter_map(move |listener| {
            let left = listener.certificate.as_ref()?.expires_in;
            let name = format!("{}://{}", listener.transport.as_str(), listener.address);
            Some((vec![("service", service.into()), ("listener", name)], left))
        })
    });
    page.gauge(
        "rtun_tls_cert_expiry_seconds",
        "Time until the certificate ends that a listener shows; negative when it has ended",
        listeners,
    )?;
    let mut routes = std::collections::BTreeMap::<NamespaceId, usize>::new();
    for namespace in hubs.iter().flat_map(|hub| &hub.namespaces) {
        if is_labelled(namespace.id, namespace.configured) {
            *routes.entry(namespace.id).or_default() += namespace.routes;
        }
    }
    page.gauge(
        "rtun_route_entries",
        "Prefixes in the tables of a namespace",
        routes.into_iter().map(|(id, routes)| (vec![("ns", name_of(Some(id)))], routes as f64)),
    )
}

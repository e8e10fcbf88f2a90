//! Series of hosts: their devices and their connections to hubs.

use std::fmt;

use crate::{
    counters::Traffic,
    operations::{
        board::MetricsSample,
        metrics::page::{MetricsPage, directed, drops, of_service, truth, words},
    },
    report::DeviceReport,
};

pub(super) fn encode(sample: &MetricsSample, page: &mut MetricsPage<'_>) -> fmt::Result {
    let directions = |of: fn(&Traffic) -> u64| {
        sample.devices().flat_map(move |(service, device)| {
            [
                (directed(service, "to_hub"), of(&device.sent)),
                (directed(service, "from_hub"), of(&device.received)),
            ]
        })
    };
    page.counter(
        "rtun_device_packets",
        "Packets that a device's service handed to the hub, and to the device",
        directions(|traffic| traffic.packets_out),
    )?;
    page.counter(
        "rtun_device_bytes",
        "Bytes of these packets",
        directions(|traffic| traffic.bytes_out),
    )?;
    let drops = sample.devices().flat_map(|(service, device)| {
        let both = [("to_hub", &device.sent), ("from_hub", &device.received)];
        both.into_iter().flat_map(move |(direction, traffic)| {
            drops(traffic).map(move |(reason, count)| {
                let mut labels = directed(service, direction);
                labels.extend(words(reason));
                (labels, count)
            })
        })
    });
    page.counter("rtun_device_drop_packets", "Packets that went nowhere at a host", drops)?;
    for (name, help, of) in [
        (
            "rtun_device_joined",
            "Connections that a hub has admitted",
            (|device| device.joined) as fn(&DeviceReport) -> u64,
        ),
        ("rtun_device_failed", "Connections that failed or were lost", |device| device.failed),
    ] {
        page.counter(name, help, sample.devices().map(|(name, it)| (of_service(name), of(it))))?;
    }
    page.gauge(
        "rtun_device_connected",
        "Whether a hub has admitted the host: 0 or 1",
        sample
            .devices()
            .map(|(service, device)| (of_service(service), truth(device.connection.is_some()))),
    )?;
    page.gauge(
        "rtun_device_up",
        "Whether the host has its device: 0 or 1",
        sample
            .devices()
            .map(|(service, device)| (of_service(service), truth(device.health.missing.is_none()))),
    )
}

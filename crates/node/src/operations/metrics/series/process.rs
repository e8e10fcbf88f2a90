//! Series of the process.

use std::fmt;

use crate::{
    operations::{
        board::MetricsSample,
        metrics::{
            page::{Labels, MetricsPage},
            process::Usage,
        },
    },
    report::NodeStatus,
};

pub(super) fn encode(sample: &MetricsSample, page: &mut MetricsPage<'_>) -> fmt::Result {
    let NodeStatus { version, started, .. } = &sample.status;
    let version = vec![("version", version.clone())];
    page.gauge("rtun_build_info", "The version that runs", [(version, 1.0)])?;
    let hooks = sample.status.failed_hooks.iter().map(|failed| {
        let labels = vec![("service", failed.service.clone()), ("hook", failed.hook.clone())];
        (labels, failed.failures)
    });
    page.counter("rtun_hook_failures", "Commands of hooks that have failed", hooks)?;
    page.counter_f64(
        "rtun_log_lines_lost",
        "Log lines that were lost, since their destination was full or slow",
        sample.lost_log_lines as f64,
    )?;
    let usage = Usage::read();
    if let Some(cpu) = usage.cpu {
        let help = "CPU time used, user and system";
        page.counter_f64("process_cpu_seconds", help, cpu.as_secs_f64())?;
    }
    let start = Some(*started);
    for (name, help, value) in [
        ("process_start_time_seconds", "When the process started, Unix time", start),
        ("process_resident_memory_bytes", "Memory in use", usage.resident),
        ("process_virtual_memory_bytes", "Memory reserved", usage.virtual_memory),
        ("process_open_fds", "Descriptors in use", usage.open_descriptors),
        ("process_max_fds", "Descriptors that may be in use", usage.max_descriptors),
    ] {
        page.gauge(name, help, value.map(|value| (Labels::new(), value as f64)))?;
    }
    Ok(())
}

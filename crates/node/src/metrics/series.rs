//! The page of metrics: rtun's own series, GOST's where they have a meaning here, and those of the process.
//!
//! Labels are what the configuration names, fixed words, and nothing that a host or its address could choose: a stranger
//! cannot make the page grow.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, histogram::Histogram},
    registry::Registry,
};
use rtun_control::{FeedStatus, PluginKind, PluginStatus};
use rtun_core::{DropReason, NamespaceId};

use super::{
    ledger::{Totals, is_labelled},
    process::Usage,
};
use crate::{
    counters::Traffic,
    report::{DeviceReport, HubReport, KindReport, Status, Transport},
    status::{Board, NodeHistory},
};

/// Ways for an association to end that GOST counts as no error.
const NO_ERRORS: [&str; 4] = ["peer_closed", "replaced", "revoked", "shutdown"];

/// The page as of now.
pub(super) fn page(board: &Board) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(board.look()));
    let mut page = String::new();
    text::encode(&mut page, &registry).expect("writing into a string does not fail");
    page
}

/// Everything the page is made of, as of one moment.
pub(crate) struct Snapshot {
    pub(crate) status: Status,
    pub(crate) totals: Totals,
    /// Of each hub service, by its name: how long its connections lasted, in seconds.
    pub(crate) lasted: Vec<(String, Histogram)>,
    /// Of each host service, by its name: the hubs it may connect to.
    pub(crate) nodes: Vec<(String, Vec<NodeHistory>)>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

type Labels = Vec<(&'static str, String)>;

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder };
        self.encode_process(&mut page)?;
        self.encode_hubs(&mut page)?;
        self.encode_sources(&mut page)?;
        self.encode_plugins(&mut page)?;
        self.encode_devices(&mut page)?;
        self.encode_as_gost(&mut page)
    }
}

impl Snapshot {
    fn encode_process(&self, page: &mut Page<'_>) -> fmt::Result {
        let Status { version, started, .. } = &self.status;
        let version = vec![("version", version.clone())];
        page.gauge("rtun_build_info", "The version that runs", [(version, 1.0)])?;
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

    fn encode_hubs(&self, page: &mut Page<'_>) -> fmt::Result {
        let Totals { traffic, admissions, ends } = &self.totals;
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
            "rtun_icmp_errors",
            "ICMP errors that a hub sent to hosts about packets that went nowhere",
            traffic.iter().map(|(id, traffic)| (vec![("ns", name_of(*id))], traffic.answered)),
        )?;
        let worded = |word: &'static str, (value, count): (&String, &u64)| {
            (vec![(word, value.clone())], *count)
        };
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
        self.encode_hubs_now(page)
    }

    /// What is not counted but is so at the moment.
    fn encode_hubs_now(&self, page: &mut Page<'_>) -> fmt::Result {
        let hubs: Vec<&HubReport> = self.hubs().map(|(_, hub)| hub).collect();
        let sum =
            |of: fn(&HubReport) -> usize| hubs.iter().map(|hub| of(hub)).sum::<usize>() as f64;
        page.gauge(
            "rtun_sessions",
            "Hosts connected, those standing by included",
            Transport::ALL.into_iter().filter_map(|transport| {
                let by = |hub: &&HubReport| {
                    hub.hosts().filter(|host| host.transport == transport).count()
                };
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
        let listeners = self.hubs().flat_map(|(service, hub)| {
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

    fn encode_sources(&self, page: &mut Page<'_>) -> fmt::Result {
        let of = |source: &FeedStatus| {
            let FeedStatus { kind, name, source, .. } = source;
            vec![("kind", kind.clone()), ("name", name.clone()), ("source", source.clone())]
        };
        let sources = || self.status.sources.iter();
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
            self.hubs().map(|(name, hub)| (of_service(name), truth(hub.behind.is_some()))),
        )
    }

    fn encode_plugins(&self, page: &mut Page<'_>) -> fmt::Result {
        let of = |service: &str, plugin: &PluginStatus| {
            let kind = plugin_kind(plugin.kind);
            vec![("service", service.into()), ("kind", kind.into()), ("name", plugin.name.clone())]
        };
        let plugins = || {
            self.hubs().flat_map(|(service, hub)| {
                let first = |n: &usize| {
                    let same = |it: &PluginStatus| {
                        (it.kind, &it.name) == (hub.plugins[*n].kind, &hub.plugins[*n].name)
                    };
                    hub.plugins.iter().position(same) == Some(*n)
                };
                // One that is named twice is one series.
                (0..hub.plugins.len()).filter(first).map(move |n| (service, &hub.plugins[n]))
            })
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
            "Packets, or hosts, that wait for a plugin's answer",
            plugins().map(|(service, plugin)| (of(service, plugin), plugin.waiting as f64)),
        )?;
        page.gauge(
            "rtun_plugin_breaker_open",
            "Whether a plugin is left alone for having failed too often: 0 or 1",
            plugins().map(|(service, plugin)| (of(service, plugin), truth(plugin.paused))),
        )
    }

    fn encode_devices(&self, page: &mut Page<'_>) -> fmt::Result {
        let ways = |of: fn(&Traffic) -> u64| {
            self.devices().flat_map(move |(service, device)| {
                [
                    (way(service, "to_hub"), of(&device.sent)),
                    (way(service, "from_hub"), of(&device.received)),
                ]
            })
        };
        page.counter(
            "rtun_device_packets",
            "Packets that a device's service handed to the hub, and to the device",
            ways(|traffic| traffic.packets_out),
        )?;
        page.counter(
            "rtun_device_bytes",
            "Bytes of these packets",
            ways(|traffic| traffic.bytes_out),
        )?;
        let drops = self.devices().flat_map(|(service, device)| {
            let ways = [("to_hub", &device.sent), ("from_hub", &device.received)];
            ways.into_iter().flat_map(move |(direction, traffic)| {
                drops(traffic).map(move |(reason, count)| {
                    let mut labels = way(service, direction);
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
            page.counter(name, help, self.devices().map(|(name, it)| (of_service(name), of(it))))?;
        }
        page.gauge(
            "rtun_device_connected",
            "Whether a hub has admitted the host: 0 or 1",
            self.devices()
                .map(|(service, device)| (of_service(service), truth(device.connection.is_some()))),
        )?;
        page.gauge(
            "rtun_device_up",
            "Whether the host has its device: 0 or 1",
            self.devices().map(|(service, device)| {
                (of_service(service), truth(device.health.missing.is_none()))
            }),
        )
    }

    fn encode_as_gost(&self, page: &mut Page<'_>) -> fmt::Result {
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
        let running = self.status.services.len() as f64;
        page.gauge(
            "gost_services",
            "Services that run",
            [(vec![("host", machine.to_string())], running)],
        )?;
        page.counter(
            "gost_service_requests",
            "Connections that a hub has taken, admitted or not",
            self.hubs().map(|(name, hub)| (client(name), hub.admitted + hub.all_refused())),
        )?;
        page.gauge(
            "gost_service_requests_in_flight",
            "Connections that a hub has now, admitted or not",
            self.hubs()
                .map(|(name, hub)| (client(name), (hub.unadmitted + hub.hosts().count()) as f64)),
        )?;
        page.histogram(
            "gost_service_request_duration_seconds",
            "How long connections of a hub lasted that have ended",
            self.lasted.iter().map(|(name, lasted)| (service(name), lasted)),
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
            let services = self.status.services.iter();
            page.counter(name, help, services.map(|it| (client(&it.name), of(&it.kind))))?;
        }
        let nodes = || self.nodes.iter().flat_map(|(_, nodes)| nodes);
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

    fn hubs(&self) -> impl Iterator<Item = (&str, &HubReport)> {
        self.status.services.iter().filter_map(|service| match &service.kind {
            KindReport::Hub(hub) => Some((&*service.name, &**hub)),
            KindReport::Host(_) => None,
        })
    }

    fn devices(&self) -> impl Iterator<Item = (&str, &DeviceReport)> {
        self.status.services.iter().filter_map(|service| match &service.kind {
            KindReport::Host(device) => Some((&*service.name, &**device)),
            KindReport::Hub(_) => None,
        })
    }
}

/// The label of a namespace; of those without one of their own, `other`.
fn name_of(id: Option<NamespaceId>) -> String {
    match id {
        Some(id) if id.is_default() => "default".into(),
        Some(id) => id.to_string(),
        None => "other".into(),
    }
}

fn truth(it: bool) -> f64 {
    f64::from(u8::from(it))
}

fn plugin_kind(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Router => "router",
        PluginKind::Ingress => "ingress",
        PluginKind::Auther => "auther",
        PluginKind::Admission => "admission",
        PluginKind::Limiter => "limiter",
    }
}

fn of_service(name: &str) -> Labels {
    vec![("service", name.into())]
}

fn way(service: &str, direction: &str) -> Labels {
    vec![("service", service.into()), ("direction", direction.into())]
}

fn words(reason: DropReason) -> [(&'static str, String); 2] {
    [("stage", stage(reason).into()), ("reason", reason.as_str().into())]
}

/// The reasons that there were.
fn drops(traffic: &Traffic) -> impl Iterator<Item = (DropReason, u64)> {
    let counts = DropReason::ALL.into_iter().map(|reason| (reason, traffic.dropped(reason)));
    counts.filter(|(_, count)| *count > 0)
}

/// Where on its way a packet is lost for this reason.
fn stage(reason: DropReason) -> &'static str {
    match reason {
        DropReason::FrameEmpty
        | DropReason::FrameTooBig
        | DropReason::FrameLengthMismatch
        | DropReason::FrameUnknown
        | DropReason::FrameMalformed => "frame",
        DropReason::IpVersion
        | DropReason::IpTruncated
        | DropReason::IpMalformed
        | DropReason::IpDisallowedDst => "ip",
        DropReason::SrcNotAllowed => "policy",
        DropReason::NoRoute
        | DropReason::NoTable
        | DropReason::RoutePendingTimeout
        | DropReason::RoutePendingFull
        | DropReason::RouteDenied
        | DropReason::Hairpin
        | DropReason::TtlExpired => "route",
        DropReason::NoGatewayConnected | DropReason::GatewayClosing => "member",
        DropReason::QueueFullOldest
        | DropReason::QueueTooOld
        | DropReason::QueueCodel
        | DropReason::QueueBudget
        | DropReason::WriteError => "queue",
        DropReason::TunWriteError | DropReason::NotConnected => "host",
        DropReason::Internal => "any",
    }
}

fn transferred_in(kind: &KindReport) -> u64 {
    match kind {
        KindReport::Hub(hub) => hub.traffic().bytes_in,
        KindReport::Host(device) => device.sent.bytes_in,
    }
}

fn transferred_out(kind: &KindReport) -> u64 {
    match kind {
        KindReport::Hub(hub) => hub.traffic().bytes_out,
        KindReport::Host(device) => device.received.bytes_out,
    }
}

fn errors(kind: &KindReport) -> u64 {
    match kind {
        KindReport::Hub(hub) => {
            let ended = hub.ended.iter().filter(|(word, _)| !NO_ERRORS.contains(&word.as_str()));
            hub.all_refused() + ended.map(|(_, happened)| happened.count).sum::<u64>()
        }
        KindReport::Host(device) => device.failed,
    }
}

/// The page as it is written; a name without `_total`, which counters get.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    fn counter(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            metric.encode_family(&labels)?.encode_counter::<Labels, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn counter_f64(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<Labels, _, u64>(&value, None)
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            if labels.is_empty() {
                metric.encode_gauge(&value)?;
            } else {
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    fn histogram<'h>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, &'h Histogram)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, histogram) in samples {
            histogram.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

//! The state of a host's connection for reports. It is apart from the device, which ends with its service.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use prometheus_client::metrics::histogram::Histogram;
use rtun_core::{HostName, NamespaceId};
use rtun_settings::{HostSettings, HubNode};
use tokio::time::Instant;

use super::{asked_hops::AskedHops, limiter::HostLimiter, session::Session};
use crate::{
    counters::{CountedAt, Counters},
    device::DeviceHistory,
    report::{ConnectionReport, DeviceReport, FailureReport, Queued, quota_reports},
};

/// A host's session if it has one, its counters, and its last failure.
pub(crate) struct HostProgress {
    pub(super) session: ArcSwapOption<Session>,
    pub(super) sent: Arc<Counters>,
    pub(super) received: Arc<Counters>,
    pub(super) limiter: HostLimiter,
    pub(super) device: DeviceHistory,
    pub(super) host: HostName,
    device_name: String,
    pub(super) mtu: u16,
    joined: AtomicU64,
    failed: AtomicU64,
    story: Mutex<Story>,
    /// The plugins of its hops.
    asked: ArcSwap<AskedHops>,
    /// In the order of the configuration.
    nodes: ArcSwap<Vec<Arc<HubNodeProgress>>>,
}

/// Counts of connections to one of the hubs.
struct HubNodeProgress {
    name: String,
    chain: String,
    connect_seconds: Histogram,
    unreachable: AtomicU64,
}

/// Counts of connections to one of the hubs of a host.
pub(crate) struct HubNodeHistory {
    /// As configured.
    pub(crate) name: String,
    /// The chain that leads to it.
    pub(crate) chain: String,
    /// How long it took from dialling to being admitted, in seconds.
    pub(crate) connect_seconds: Histogram,
    /// Attempts that did not reach it.
    pub(crate) unreachable: u64,
}

/// Bucket bounds, in seconds, of GOST's histogram of how long connecting took.
const CONNECT: [f64; 13] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0];

#[derive(Default)]
struct Story {
    /// Address and namespace of the hub joined last.
    hub: Option<(String, NamespaceId)>,
    failure: Option<Failure>,
}

struct Failure {
    hub: String,
    error: String,
    when: Instant,
}

impl HostProgress {
    /// The device's name.
    pub(super) fn device_name(&self) -> &str {
        &self.device_name
    }

    pub(super) fn new(
        config: &HostSettings,
        device: &str,
        mtu: u16,
        limiter: HostLimiter,
        asked: Arc<AskedHops>,
        counted: CountedAt,
    ) -> Self {
        let sent = Counters::with_quotas(Some(Arc::clone(&limiter.quotas)), None);
        let received = Counters::with_quotas(None, Some(Arc::clone(&limiter.quotas)));
        Self {
            asked: ArcSwap::new(asked),
            nodes: ArcSwap::from_pointee(nodes_of(config, &[])),
            session: ArcSwapOption::empty(),
            sent: Arc::new(sent.counted_at(counted.clone())),
            received: Arc::new(received.counted_at(counted)),
            limiter,
            host: config.name.clone(),
            device: DeviceHistory::default(),
            device_name: device.to_owned(),
            mtu,
            joined: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            story: Mutex::default(),
        }
    }

    /// Its hubs are those of `config` from now on; of those that stay the counts go on.
    pub(super) fn steer(&self, config: &HostSettings, asked: Arc<AskedHops>) {
        self.asked.store(asked);
        self.nodes.store(Arc::new(nodes_of(config, &self.nodes.load())));
    }

    /// Has a session keep to the limits in force.
    pub(super) fn limit(&self, session: &Session) {
        self.limiter.limit(&session.link, &self.received);
    }

    /// From now on packets go to this session.
    pub(super) fn joined(&self, hub: &HubNode, session: &Arc<Session>) {
        self.joined.fetch_add(1, Ordering::Relaxed);
        self.with_story(|story| story.hub = Some((hub.addr.clone(), hub.namespace)));
        self.session.store(Some(Arc::clone(session)));
        // They may have changed before that.
        self.limit(session);
    }

    /// A hub has admitted the host, this long after it was dialled.
    pub(super) fn connected(&self, hub: &HubNode, took: Duration) {
        if let Some(node) = self.node(hub) {
            node.connect_seconds.observe(took.as_secs_f64());
        }
    }

    /// A hub was not reached.
    pub(super) fn unreachable(&self, hub: &HubNode) {
        if let Some(node) = self.node(hub) {
            node.unreachable.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts of each hub.
    pub(crate) fn nodes(&self) -> Vec<HubNodeHistory> {
        let history = |node: &Arc<HubNodeProgress>| HubNodeHistory {
            name: node.name.clone(),
            chain: node.chain.clone(),
            connect_seconds: node.connect_seconds.clone(),
            unreachable: node.unreachable.load(Ordering::Relaxed),
        };
        self.nodes.load().iter().map(history).collect()
    }

    fn node(&self, hub: &HubNode) -> Option<Arc<HubNodeProgress>> {
        self.nodes.load().iter().find(|node| node.is(hub)).cloned()
    }

    /// Packets no longer go to this session.
    pub(super) fn left(&self, session: &Arc<Session>) {
        let none: Option<Arc<Session>> = None;
        self.session.compare_and_swap(&Some(Arc::clone(session)), none);
    }

    /// A connection to the hub at `hub`, or that the plugin at `hub` was to name, could not be made, or has ended.
    pub(super) fn failed(&self, hub: &str, error: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let failure = Failure { hub: hub.to_owned(), error, when: Instant::now() };
        self.with_story(|story| story.failure = Some(failure));
    }

    /// Address and namespace of the hub joined last.
    pub(super) fn hub(&self) -> Option<(String, NamespaceId)> {
        self.with_story(|story| story.hub.clone())
    }

    /// The report of the host service.
    pub(crate) fn report(&self) -> DeviceReport {
        let session = self.session.load_full();
        let (hub, last_error) = self.with_story(|story| {
            let failure = story.failure.as_ref().map(|Failure { hub, error, when }| {
                FailureReport { hub: hub.clone(), error: error.clone(), ago: when.elapsed() }
            });
            (story.hub.clone(), failure)
        });
        let connection =
            session.as_ref().zip(hub).map(|(session, (hub, namespace))| ConnectionReport {
                hub,
                namespace,
                transport: session.transport,
                connected: session.since.elapsed(),
                rtun: session.is_rtun,
                gso_frames: session.gso_frames(),
                datagrams: session.link.uses_datagrams(),
                notice: session.noticed(),
            });
        DeviceReport {
            host: self.host.clone(),
            device: self.device_name.clone(),
            health: self.device.report(),
            mtu: self.mtu,
            connection,
            joined: self.joined.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            last_error,
            queued: session.as_ref().map_or_else(Queued::default, |session| session.queued()),
            sent: self.sent.read(),
            received: self.received.read(),
            limits: self.limiter.report().into_iter().collect(),
            plugins: self.limiter.plugin().into_iter().chain(self.asked.load().status()).collect(),
            quotas: quota_reports(&self.limiter.quotas),
        }
    }

    /// The story of a poisoned lock is consistent: each change is one assignment.
    fn with_story<T>(&self, look: impl FnOnce(&mut Story) -> T) -> T {
        look(&mut self.story.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HubNodeProgress {
    fn is(&self, hub: &HubNode) -> bool {
        (&self.name, &self.chain) == (&hub.name, &hub.chain)
    }
}

/// The hubs of `config`, with the counts of those of `before`.
fn nodes_of(config: &HostSettings, before: &[Arc<HubNodeProgress>]) -> Vec<Arc<HubNodeProgress>> {
    let node = |hub: &HubNode| {
        let known = before.iter().find(|node| node.is(hub)).cloned();
        known.unwrap_or_else(|| {
            Arc::new(HubNodeProgress {
                name: hub.name.clone(),
                chain: hub.chain.clone(),
                connect_seconds: Histogram::new(CONNECT),
                unreachable: AtomicU64::new(0),
            })
        })
    };
    config.all_hubs().map(node).collect()
}

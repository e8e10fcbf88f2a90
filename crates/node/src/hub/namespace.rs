//! One isolated namespace: how it routes, and its member hosts.

use std::{
    mem, ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use rtun_core::{
    Answers, HostConnections, HostName, NamespaceId, PluginId, PluginRoute, Routing, Sharing,
    SourceCheck,
};
use rtun_settings::IcmpErrors;
use tokio::time::Instant;

use super::{
    association::HostAssociation,
    rules::{RoutePluginAnswers, Rules},
    use_meters::RouteMeters,
};
use crate::{
    counters::{Ended, Traffic},
    link::EndReason,
};

/// A namespace with at least one member, or one that the configuration names.
pub(super) struct Namespace {
    pub(super) id: NamespaceId,
    /// Grows with every change of rules or members: what a reader has cached is valid for one generation.
    generation: AtomicU64,
    snapshot: ArcSwap<RoutingSnapshot>,
    /// Weak, since each association is owned by its task, which removes it here when it ends. The task also owns the namespace:
    /// with strong references in entries that the map has not reclaimed yet, both would stay.
    members: papaya::HashMap<HostName, HostConnections<Weak<HostAssociation>>>,
    /// The counts of associations that have ended.
    ended: Mutex<Ended>,
    /// When it began: the epoch of the meters of its routes and hosts.
    pub(super) since: Instant,
    pub(super) routes: RouteMeters,
    /// Whether there may be meters of routes that are gone.
    replaced_routes: AtomicBool,
}

/// How a namespace routes at one moment.
pub(super) struct RoutingSnapshot {
    pub(super) routing: Routing,
    pub(super) plugins: Arc<[Arc<RoutePluginAnswers>]>,
    /// Whether the hub decrements the TTL or hop limit of each packet.
    pub(super) takes_hops: bool,
    /// Whether hosts that say hello are offered GSO frames.
    pub(super) gso_frames: bool,
    /// Whether hosts get ICMP errors about their lost packets, and the source addresses of these.
    pub(super) icmp: Option<IcmpErrors>,
}

/// What a routing decision depends on at one moment.
pub(super) struct Moment<'a> {
    pub(super) snapshot: &'a RoutingSnapshot,
    /// The connected hosts; `None`: there are none.
    pub(super) namespace: Option<&'a Namespace>,
}

impl RoutingSnapshot {
    pub(super) fn new(id: NamespaceId, rules: &Rules) -> Self {
        Self {
            routing: rules.routing(id),
            plugins: rules.plugins.routes(),
            takes_hops: rules.config.ttl,
            gso_frames: rules.config.gso_frames,
            icmp: rules.config.icmp,
        }
    }

    /// Whether all packets for a host go to the same association, whatever their flow.
    pub(super) fn one_active_per_host(&self) -> bool {
        self.routing.sharing() == Sharing::Newest
    }
}

impl Answers for Moment<'_> {
    fn known(
        &self,
        plugin: PluginId,
        namespace: NamespaceId,
        addr: std::net::IpAddr,
    ) -> PluginRoute {
        let plugin = self.snapshot.plugins.get(plugin.0);
        plugin.map_or(PluginRoute::Nothing, |plugin| plugin.known(namespace, addr))
    }

    fn is_connected(&self, host: &HostName) -> bool {
        self.namespace.is_some_and(|namespace| namespace.has(host))
    }
}

impl Namespace {
    pub(super) fn new(id: NamespaceId, rules: &Rules) -> Self {
        Self {
            id,
            generation: AtomicU64::new(0),
            snapshot: ArcSwap::from_pointee(RoutingSnapshot::new(id, rules)),
            members: papaya::HashMap::new(),
            ended: Mutex::default(),
            since: Instant::now(),
            routes: RouteMeters::default(),
            replaced_routes: AtomicBool::new(false),
        }
    }

    /// The current generation; read it before the snapshot and the members it guards.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn snapshot(&self) -> Arc<RoutingSnapshot> {
        self.snapshot.load_full()
    }

    /// A routing snapshot that routes nothing and keeps nothing alive.
    pub(super) fn no_snapshot(&self) -> Arc<RoutingSnapshot> {
        Arc::new(RoutingSnapshot {
            routing: Routing::new(self.id, Vec::new(), SourceCheck::Strict, Sharing::Newest),
            plugins: Arc::new([]),
            takes_hops: false,
            gso_frames: false,
            icmp: None,
        })
    }

    pub(super) fn apply(&self, rules: &Rules) {
        self.snapshot.store(Arc::new(RoutingSnapshot::new(self.id, rules)));
        self.replaced_routes.store(true, Ordering::Relaxed);
        self.changed();
    }

    /// Whether its routes were replaced since this was asked last.
    pub(super) fn has_replaced_routes(&self) -> bool {
        self.replaced_routes.swap(false, Ordering::Relaxed)
    }

    /// The active association of `host` for a flow with this hash.
    pub(super) fn active(
        &self,
        snapshot: &RoutingSnapshot,
        host: &HostName,
        flow_hash: impl FnOnce() -> u64,
    ) -> Option<Arc<HostAssociation>> {
        let members = self.members.pin();
        let sharing = snapshot.routing.sharing();
        members.get(host).and_then(|claims| claims.for_flow(sharing, flow_hash).upgrade())
    }

    /// Whether a host of this name is connected.
    pub(super) fn has(&self, host: &HostName) -> bool {
        self.members.pin().contains_key(host)
    }

    /// The associations of `host`, newest first.
    pub(super) fn claims(&self, host: &HostName) -> Vec<Arc<HostAssociation>> {
        let members = self.members.pin();
        let claims = members.get(host).into_iter().flat_map(HostConnections::iter);
        claims.filter_map(Weak::upgrade).collect()
    }

    /// Adds an association before those of the same name; returns the one that it evicts. The registry's lock ensures that calls
    /// to this and to [`Namespace::remove`] never overlap.
    pub(super) fn add(&self, association: &Arc<HostAssociation>) -> Option<Arc<HostAssociation>> {
        let members = self.members.pin();
        let newest = Arc::downgrade(association);
        let (claims, evicted) = match members.get(&association.host) {
            Some(claims) => claims.with(newest),
            None => (HostConnections::new(newest), None),
        };
        members.insert(association.host.clone(), claims);
        self.changed();
        evicted.as_ref().and_then(Weak::upgrade)
    }

    pub(super) fn remove(&self, association: &HostAssociation) {
        let members = self.members.pin();
        if let Some(claims) = members.get(&association.host) {
            match claims.without(|claim| ptr::eq(claim.as_ptr(), association)) {
                Some(rest) => members.insert(association.host.clone(), rest),
                None => members.remove(&association.host),
            };
        }
        self.changed();
        self.ended_counters().add(Arc::clone(&association.counters));
    }

    /// Ends older associations of the same run of this host: the host has given them up already.
    pub(super) fn end_older_of_run(&self, newest: &HostAssociation) {
        let run = |association: &HostAssociation| association.greeting.get().map(|g| g.instance);
        for claim in self.claims(&newest.host) {
            if claim.id < newest.id && run(&claim).is_some() && run(&claim) == run(newest) {
                claim.end(EndReason::Replaced);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Every association, active or standby.
    pub(super) fn associations(&self) -> Vec<Arc<HostAssociation>> {
        let members = self.members.pin();
        members.values().flat_map(HostConnections::iter).filter_map(Weak::upgrade).collect()
    }

    /// The counts of associations that have ended.
    pub(super) fn ended(&self) -> Traffic {
        self.ended_counters().read()
    }

    /// Takes these counts out, for a namespace that is removed.
    pub(super) fn take_ended(&self) -> Ended {
        mem::take(&mut *self.ended_counters())
    }

    fn ended_counters(&self) -> MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }
}

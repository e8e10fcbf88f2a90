//! One isolated routing world: how it routes, who is in it.

use std::{
    mem, ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use rtun_core::{
    Answers, HostConnections, HostName, NamespaceId, PluginId, PluginRoute, Routing, Sharing,
    SourceCheck,
};
use rtun_settings::IcmpErrors;

use super::{
    association::HostAssociation,
    rules::{RoutePluginAnswers, Rules},
};
use crate::{
    counters::{Ended, Traffic},
    link::EndReason,
};

/// A namespace with at least one member, or one that the configuration names.
pub(super) struct Namespace {
    pub(super) id: NamespaceId,
    /// Grows with every change of rules or members: whatever a reader remembers holds for one generation.
    generation: AtomicU64,
    snapshot: ArcSwap<RoutingSnapshot>,
    /// Each association has an owner of its own, which takes it out here when it ends. It keeps its namespace: if the
    /// namespace kept it too, what the map has not reclaimed yet would keep both.
    members: papaya::HashMap<HostName, HostConnections<Weak<HostAssociation>>>,
    /// What associations that have ended had counted.
    ended: Mutex<Ended>,
}

/// How a namespace routes at one moment.
pub(super) struct RoutingSnapshot {
    pub(super) routing: Routing,
    pub(super) plugins: Arc<[Arc<RoutePluginAnswers>]>,
    /// Whether the hub takes a hop from each packet.
    pub(super) takes_hops: bool,
    /// Whether hosts that say hello are offered GSO frames.
    pub(super) gso_frames: bool,
    /// Whether hosts are told of their packets that go nowhere, and from where.
    pub(super) icmp: Option<IcmpErrors>,
}

/// What a decision depends on at one moment.
pub(super) struct Moment<'a> {
    pub(super) snapshot: &'a RoutingSnapshot,
    /// Who is connected; `None`: nobody.
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
        }
    }

    /// The current generation; read it before the snapshot and the members it guards.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn snapshot(&self) -> Arc<RoutingSnapshot> {
        self.snapshot.load_full()
    }

    /// One that routes nothing and keeps nothing alive.
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
        self.changed();
    }

    /// The association that carries packets of the flow with this hash to `host`.
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

    /// Adds an association in front of those of the same name; returns the one that has to go. Calls to this and to
    /// [`Namespace::remove`] never overlap: the registry's lock sees to it.
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

    /// Ends associations of the same host that its present run made before: it has given them up already.
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

    /// Every association, active or standing by.
    pub(super) fn associations(&self) -> Vec<Arc<HostAssociation>> {
        let members = self.members.pin();
        members.values().flat_map(HostConnections::iter).filter_map(Weak::upgrade).collect()
    }

    /// What associations that have ended had counted.
    pub(super) fn ended(&self) -> Traffic {
        self.ended_counters().read()
    }

    /// The same to be kept elsewhere, for a namespace that goes.
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

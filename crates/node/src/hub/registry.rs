//! Who is where: namespaces and their members, joined and left under the hub's rules.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rtun_core::{JoinRequest, NamespaceId, Refusal};
use tracing::{info, warn};

use super::{
    association::{Arrival, Association, Commons, EndReason, Parked},
    namespace::Namespace,
    rules::{Rules, retire},
};
use crate::{
    budget::Budget,
    counters::{Ended, Traffic},
    report::{HostReport, NamespaceReport, Queued, Transport},
};

/// A hub's namespaces and the rules they live under.
pub(super) struct Registry {
    world: Mutex<World>,
    next_id: AtomicU64,
    commons: Commons,
}

struct World {
    rules: Arc<Rules>,
    namespaces: HashMap<NamespaceId, Arc<Namespace>>,
    /// What namespaces had counted that are gone.
    gone: Ended,
}

/// The part of a hub's report that is the registry's.
pub(super) struct Census {
    pub(super) namespaces: Vec<NamespaceReport>,
    pub(super) gone: Traffic,
    pub(super) waiting_for_plugins: u64,
    pub(super) queue_memory: usize,
    pub(super) queue_budget: usize,
}

impl Registry {
    /// The namespaces that the rules name exist from the beginning.
    pub(super) fn new(rules: Rules) -> Self {
        let queue_budget = rules.queue_budget;
        let mut world =
            World { rules: Arc::new(rules), namespaces: HashMap::new(), gone: Ended::default() };
        world.add_configured();
        Self {
            world: Mutex::new(world),
            next_id: AtomicU64::new(1),
            commons: Commons { budget: Budget::new(queue_budget), population: Arc::default() },
        }
    }

    /// Admits a host, or hands its connection back with the reason why not. The association receives packets from now
    /// on; they are held back until it has been welcomed.
    pub(super) fn join(
        &self,
        request: &JoinRequest<'_>,
        arrival: Arrival,
    ) -> Result<Arc<Association>, (Refusal, Arrival)> {
        let mut world = self.world();
        let host = match world.rules.access.admit(request) {
            Ok(host) => host,
            Err(refusal) => return Err((refusal, arrival)),
        };
        let user: Option<Box<[u8]>> = match (&world.rules.access.credentials, request.credential) {
            (Some(_), Some((user, _))) => Some(user.into()),
            _ => None,
        };
        let namespace = world.namespace(request.namespace);
        let claims = namespace.claims(&host);
        if let Some(claims) = &claims
            && claims.iter().any(|other| other.user != user)
        {
            return Err((Refusal::NameInUse, arrival));
        }
        if let Some(claims) = &claims {
            let older: Vec<_> = claims.iter().map(|claim| claim.peer.to_string()).collect();
            warn!(
                namespace = %namespace.id, host = %host, peer = %arrival.peer, older = older.join(" "),
                "one more connection reports this host name; the newest carries its packets"
            );
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let association =
            Association::new(id, host, namespace.clone(), user, arrival, &self.commons);
        let association = Arc::new(association);
        if let Some(evicted) = namespace.add(Arc::clone(&association)) {
            evicted.end(EndReason::Replaced);
        }
        self.commons.population.fetch_add(1, Ordering::Relaxed);
        Ok(association)
    }

    /// Takes an association out that has ended.
    pub(super) fn leave(&self, association: &Association) {
        let mut world = self.world();
        let namespace = &association.namespace;
        namespace.remove(association);
        self.commons.population.fetch_sub(1, Ordering::Relaxed);
        world.forget_if_unneeded(namespace.id);
    }

    /// Replaces the rules at once for everybody; ends the associations that they no longer allow. Calls do not overlap.
    pub(super) fn apply<E>(
        &self,
        compile: impl FnOnce(&Rules) -> Result<Rules, E>,
    ) -> Result<(), E> {
        let before = Arc::clone(&self.world().rules);
        // Without the lock: large tables take long, and hosts join and leave meanwhile.
        let rules = Arc::new(compile(&before)?);
        tokio::spawn(retire(before));
        let mut world = self.world();
        world.rules = rules;
        self.commons.budget.set_limit(world.rules.queue_budget);
        world.add_configured();
        for id in world.namespaces.keys().copied().collect::<Vec<_>>() {
            world.forget_if_unneeded(id);
        }
        let World { rules, namespaces, .. } = &*world;
        for namespace in namespaces.values() {
            namespace.apply(rules);
            for association in namespace.associations() {
                let user = association.user.as_deref();
                if let Err(refusal) =
                    rules.access.still_admits(user, &association.host, namespace.id)
                {
                    info!(
                        namespace = %namespace.id, host = %association.host,
                        "no longer admitted: {refusal}"
                    );
                    association.end(EndReason::Revoked);
                }
            }
        }
        Ok(())
    }

    /// Ends every association.
    pub(super) fn end_all(&self, reason: EndReason) {
        for namespace in self.world().namespaces.values() {
            for association in namespace.associations() {
                association.end(reason);
            }
        }
    }

    /// Who is connected, what passed and what was lost.
    pub(super) fn census(&self) -> Census {
        let mut world = self.world();
        let configured = &world.rules.access.namespaces;
        let mut namespaces: Vec<_> = world
            .namespaces
            .values()
            .map(|namespace| report(namespace, configured.contains(&namespace.id)))
            .collect();
        namespaces.sort_by_key(|namespace| namespace.id);
        let waiting =
            world.rules.plugins.iter().map(|plugin| plugin.waiting(Parked::packets) as u64).sum();
        let (queue_memory, queue_budget) = self.commons.budget.read();
        let gone = world.gone.read();
        Census { namespaces, gone, waiting_for_plugins: waiting, queue_memory, queue_budget }
    }

    /// A poisoned lock still guards a whole world: no critical section panics half way through a change.
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    fn add_configured(&mut self) {
        for id in self.rules.access.namespaces.clone() {
            self.namespace(id);
        }
    }

    /// Removes a namespace that has no member and that the rules do not name; what it had counted stays.
    fn forget_if_unneeded(&mut self, id: NamespaceId) {
        let Entry::Occupied(entry) = self.namespaces.entry(id) else { return };
        if entry.get().is_empty() && !self.rules.access.namespaces.contains(&id) {
            self.gone.absorb(entry.remove().take_ended());
        }
    }

    fn namespace(&mut self, id: NamespaceId) -> Arc<Namespace> {
        let Self { rules, namespaces, .. } = self;
        Arc::clone(namespaces.entry(id).or_insert_with(|| Arc::new(Namespace::new(id, rules))))
    }
}

fn report(namespace: &Namespace, configured: bool) -> NamespaceReport {
    let snapshot = namespace.snapshot();
    let mut traffic = namespace.ended();
    let mut associations = namespace.associations();
    associations.sort_by(|a, b| a.host.cmp(&b.host).then(b.id.cmp(&a.id)));
    let mut hosts: Vec<HostReport> = Vec::with_capacity(associations.len());
    for association in associations {
        let (packets, bytes) = association.outbox.queued();
        let greeting = association.greeting.get();
        let newest = hosts.last().is_none_or(|before| before.host != association.host);
        let host = HostReport {
            host: association.host.clone(),
            peer: association.peer,
            transport: Transport::Tcp,
            connected: association.since.elapsed(),
            carries: newest || !snapshot.one_carrier_per_host(),
            software: greeting.map(|greeting| greeting.software.clone()),
            mtu: greeting.map(|greeting| greeting.mtu),
            super_frames: association.super_frames(),
            traffic: association.counters.read(),
            queued: Queued { packets, bytes: bytes as u64 },
        };
        traffic += &host.traffic;
        hosts.push(host);
    }
    let routes = snapshot.routing.prefixes();
    NamespaceReport { id: namespace.id, configured, routes, hosts, traffic }
}

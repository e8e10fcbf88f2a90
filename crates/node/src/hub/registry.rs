//! The namespaces of a hub and their members: hosts join and leave by the hub's rules.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    mem,
    net::IpAddr,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use rtun_core::{Admitted, Decision, Guesses, JoinRequest, NamespaceId, Question, Refusal};
use rtun_proto::frame::FrameBuffer;
use rtun_settings::HubLimits;
use tokio::time::Instant;
use tracing::{info, warn};

mod stats;

use self::stats::report;
pub(super) use self::stats::{RegistryStats, report_host};
use super::{
    association::{Arrival, Commons, HostAssociation},
    forward::Forwarder,
    limiters::{AskedFor, HubLimiters},
    namespace::{Namespace, RoutingSnapshot},
    parked::Parked,
    rules::{Rules, retire},
};
use crate::{
    counters::{Ended, Happened, QuotaGroup, Tally, Traffic},
    limiters::SharedLimiters,
    link::EndReason,
    observers::Observed,
    runtime::{
        budget::Budget,
        events::{EventFacts, EventLog, NodeEventKind},
        machine::Machine,
    },
};

/// A hub's namespaces and its rules.
pub(super) struct Registry {
    service: String,
    state: Mutex<RegistryState>,
    next_id: AtomicU64,
    /// Grows with each host that joins or leaves.
    changes: AtomicU64,
    commons: Commons,
    ends: Tally,
    events: Arc<EventLog>,
    guesses: Mutex<Guesses>,
    pub(super) limiters: HubLimiters,
    /// Where hosts are counted for an observer.
    observed: ArcSwapOption<Observed>,
}

/// The outcome of a request to join.
pub(super) enum Joining {
    /// It has joined.
    Joined(Membership),
    /// A plugin has to be asked first.
    Ask(Question, Arrival),
    /// It may not.
    Refused(Refusal, Arrival),
}

/// A host's membership of its namespace. Dropping it, however its task ends, closes the link, removes the host, keeps its
/// counts and logs that it left.
pub(super) struct Membership {
    registry: Arc<Registry>,
    pub(super) namespace: Arc<Namespace>,
    association: Arc<HostAssociation>,
}

/// A namespace and its routing snapshot.
pub(super) type PresentNamespace = (Arc<Namespace>, Arc<RoutingSnapshot>);

struct RegistryState {
    rules: Arc<Rules>,
    namespaces: HashMap<NamespaceId, Arc<Namespace>>,
    /// The number of connected hosts of each user that has any.
    hosts_by_user: HashMap<Box<[u8]>, usize>,
    /// The counts of namespaces that are gone.
    gone: Ended,
}

impl Registry {
    /// A registry without members. The namespaces that the rules name exist from the beginning.
    pub(super) fn new(
        service: &str,
        rules: Rules,
        limiters: HubLimiters,
        quotas: Arc<QuotaGroup>,
        observed: Option<Arc<Observed>>,
        machine: &Machine,
    ) -> Self {
        let queue_budget = rules.config.queue_budget;
        let mut state = RegistryState {
            rules: Arc::new(rules),
            namespaces: HashMap::new(),
            hosts_by_user: HashMap::new(),
            gone: Ended::default(),
        };
        state.add_configured();
        Self {
            service: service.to_owned(),
            state: Mutex::new(state),
            next_id: AtomicU64::new(1),
            changes: AtomicU64::new(0),
            limiters,
            commons: Commons {
                budget: Budget::new(queue_budget),
                population: Arc::default(),
                quotas,
                service: service.into(),
                samples: Arc::clone(&machine.drop_samples),
            },
            events: Arc::clone(&machine.events),
            ends: Tally::default(),
            guesses: Mutex::default(),
            observed: ArcSwapOption::new(observed),
        }
    }

    /// From now on hosts are counted there, or for nobody. Of hosts that are connected all counts that they have.
    pub(super) fn observe(&self, observed: Option<Arc<Observed>>) {
        let state = self.state();
        let before = self.observed.swap(observed.clone());
        let Some(observed) = observed.filter(|now| before.is_none_or(|it| !Arc::ptr_eq(&it, now)))
        else {
            return;
        };
        let connected = || {
            let namespaces = state.namespaces.values();
            namespaces.flat_map(|it| it.associations().into_iter().map(|host| (it.id, host)))
        };
        for (namespace, association) in connected() {
            if let Some(meter) = association.counters.observed() {
                observed.adopt(&association.host, namespace, meter);
            }
        }
        for (namespace, association) in connected() {
            if association.counters.observed().is_none() {
                let traffic = association.counters.read();
                let meter = observed.client(&association.host, namespace);
                association.observe(meter);
                association.counters.observed().inspect(|meter| {
                    meter.count_in(traffic.bytes_in);
                    meter.count_out(traffic.bytes_out);
                });
            }
        }
    }

    /// The current rules.
    pub(super) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.state().rules)
    }

    /// How often a host has joined or left.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether nothing passes because a quota is used up.
    pub(super) fn is_over_quota(&self) -> bool {
        self.commons.quotas.is_exceeded()
    }

    /// The namespaces that exist now.
    pub(super) fn namespaces(&self) -> BTreeSet<NamespaceId> {
        self.state().namespaces.keys().copied().collect()
    }

    /// The current rules, and the namespace with its routing snapshot, if it exists.
    pub(super) fn moment(&self, id: NamespaceId) -> (Arc<Rules>, Option<PresentNamespace>) {
        let state = self.state();
        let namespace = state.namespaces.get(&id);
        let present = namespace.map(|namespace| (Arc::clone(namespace), namespace.snapshot()));
        (Arc::clone(&state.rules), present)
    }

    /// Notes a wrong password; returns how long the peer has to wait for the answer.
    pub(super) fn failed(&self, user: &[u8], source: IpAddr) -> Duration {
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        guesses.failed(user, source, Instant::now().into_std())
    }

    /// Admits a host, or returns its connection. From now on the association receives packets; they are held back until the
    /// answer has been sent.
    pub(super) fn join(self: &Arc<Self>, request: &JoinRequest<'_>, arrival: Arrival) -> Joining {
        let mut state = self.state();
        let admitted = match state.rules.access.decide(request) {
            Decision::Admit(admitted) => admitted,
            Decision::Ask(question) => return Joining::Ask(question, arrival),
            Decision::Refuse(refusal) => return Joining::Refused(refusal, arrival),
        };
        if self.is_over_quota() {
            return Joining::Refused(Refusal::QuotaExceeded, arrival);
        }
        let population = self.commons.population.load(Ordering::Relaxed);
        if let Err(refusal) = state.has_room(&admitted, request.namespace, population) {
            return Joining::Refused(refusal, arrival);
        }
        let namespace = state.namespace(request.namespace);
        let claims = namespace.claims(&admitted.host);
        let user = admitted.identity.as_ref().map(|identity| &*identity.user);
        if claims.iter().any(|other| other.user() != user) {
            return Joining::Refused(Refusal::NameInUse, arrival);
        }
        if !claims.is_empty() {
            let older: Vec<_> = claims.iter().map(|claim| claim.peer.to_string()).collect();
            warn!(
                namespace = %namespace.id, host = %admitted.host, peer = %arrival.peer,
                older = older.join(" "),
                "one more connection reports this host name; packets go to the newest"
            );
        }
        if let Some(user) = user {
            *state.hosts_by_user.entry(user.into()).or_default() += 1;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let shapers = self.limiters.shapers(arrival.peer.ip(), &admitted.host, request.namespace);
        let association =
            HostAssociation::new(id, request.namespace, admitted, arrival, shapers, &self.commons);
        if let Some(observed) = &*self.observed.load() {
            association.observe(observed.client(&association.host, request.namespace));
        }
        let association = Arc::new(association);
        if let Some(evicted) = namespace.add(&association) {
            let _ = evicted.replaced_by.set(association.peer);
            evicted.end(EndReason::Replaced);
        }
        self.commons.population.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Release);
        let HostAssociation { peer, transport, .. } = &*association;
        self.say(
            NodeEventKind::HostJoined,
            &association,
            namespace.id,
            &format!("connected from {peer} ({})", transport.as_str()),
        );
        Joining::Joined(Membership { registry: Arc::clone(self), namespace, association })
    }

    fn say(&self, kind: NodeEventKind, host: &HostAssociation, namespace: NamespaceId, text: &str) {
        let namespace = namespace.to_string();
        self.events.add(
            kind,
            &EventFacts {
                service: Some(&self.service),
                namespace: Some(&namespace),
                host: Some(host.host.as_str()),
                text,
            },
        );
    }

    fn leave(&self, association: &HostAssociation, namespace: &Namespace) {
        let mut state = self.state();
        namespace.remove(association);
        self.commons.population.fetch_sub(1, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Release);
        state.leave_user(association);
        state.forget_if_unneeded(namespace.id);
    }

    /// Replaces the rules at once for all namespaces; ends the associations that they no longer admit. Calls do not overlap.
    pub(super) fn apply(&self, rules: Rules) {
        let rules = Arc::new(rules);
        let mut state = self.state();
        let before = mem::replace(&mut state.rules, Arc::clone(&rules));
        self.commons.budget.set_limit(rules.config.queue_budget);
        state.add_configured();
        for id in state.namespaces.keys().copied().collect::<Vec<_>>() {
            state.forget_if_unneeded(id);
        }
        for namespace in state.namespaces.values() {
            namespace.apply(&rules);
            for association in namespace.associations() {
                if let Err(why) = still_admitted(&rules, &association, namespace.id) {
                    info!(
                        namespace = %namespace.id, host = %association.host,
                        "no longer admitted: {why}"
                    );
                    association.end(EndReason::Revoked);
                }
            }
        }
        drop(state);
        tokio::spawn(retire(before, &rules));
    }

    /// Changes the limits, also of the hosts that are connected, and of those that join meanwhile.
    pub(super) fn limit(&self, settings: &HubLimits, shared: SharedLimiters) {
        let state = self.state();
        if self.limiters.apply(settings, shared) {
            for namespace in state.namespaces.values() {
                for association in namespace.associations() {
                    let HostAssociation { peer, host, .. } = &*association;
                    association.keep_to(self.limiters.shapers(peer.ip(), host, namespace.id));
                }
            }
        }
        drop(state);
        self.limiters.ask_again();
    }

    /// Ends every association.
    pub(super) fn end_all(&self, reason: EndReason) {
        for namespace in self.state().namespaces.values() {
            for association in namespace.associations() {
                association.end(reason);
            }
        }
    }

    /// How associations ended, by reason.
    pub(super) fn ends(&self) -> BTreeMap<String, Happened> {
        self.ends.read()
    }

    /// Calls `look` with each namespace and whether the configuration names it, and with the counts of those that are gone,
    /// while nobody joins or leaves.
    pub(super) fn with_namespaces<T>(
        &self,
        look: impl FnOnce(&mut dyn Iterator<Item = (&Arc<Namespace>, bool)>, Traffic) -> T,
    ) -> T {
        let mut state = self.state();
        let gone = state.gone.read();
        let configured = &state.rules.access.namespaces;
        let is_configured = |it: &Arc<Namespace>| configured.contains(&it.id);
        look(&mut state.namespaces.values().map(|it| (it, is_configured(it))), gone)
    }

    /// How many hosts are connected, and what passed.
    pub(super) fn totals(&self) -> (usize, Traffic) {
        self.with_namespaces(|namespaces, mut traffic| {
            let mut hosts = 0;
            for (namespace, _) in namespaces {
                traffic += &namespace.ended();
                for association in namespace.associations() {
                    hosts += 1;
                    traffic += &association.counters.read();
                }
            }
            (hosts, traffic)
        })
    }

    /// Who is connected, what passed and what was lost.
    pub(super) fn stats(&self) -> RegistryStats {
        let mut state = self.state();
        let configured = &state.rules.access.namespaces;
        let mut namespaces: Vec<_> = state
            .namespaces
            .values()
            .map(|namespace| report(namespace, configured.contains(&namespace.id)))
            .collect();
        namespaces.sort_by_key(|namespace| namespace.id);
        let plugins = state.rules.plugins.status();
        let waiting = state
            .rules
            .plugins
            .routes()
            .iter()
            .map(|plugin| plugin.waiting(Parked::packets) as u64)
            .sum();
        let (queue_memory, queue_budget) = self.commons.budget.read();
        let gone = state.gone.read();
        RegistryStats {
            namespaces,
            gone,
            waiting_for_plugins: waiting,
            plugins,
            queue_memory,
            queue_budget,
        }
    }

    /// The state of a poisoned lock is consistent: no critical section panics in the middle of a change.
    fn state(&self) -> MutexGuard<'_, RegistryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Membership {
    /// Forwards what the host sends, and sends what waits for it, until its link ends. `buffer` holds what arrived after
    /// the host's request.
    pub(super) async fn run(&self, buffer: FrameBuffer) -> EndReason {
        let Self { registry, namespace, association } = self;
        let of = AskedFor { service: &registry.service, namespace: namespace.id, association };
        // The first answers are there before packets pass, or their time is over. Boxed, so that connections without plugins
        // need little memory for this.
        Box::pin(of.ask(&registry.rules(), &registry.limiters)).await;
        let mut forwarder = Forwarder::new(Arc::clone(association), Arc::clone(namespace));
        let following = registry.limiters.follow_plugins(|| registry.rules(), &of);
        let reason = tokio::select! {
            reason = association.link.run(&mut forwarder, buffer) => reason,
            never = following => never,
        };
        association.announce_end(reason);
        reason
    }
}

impl Deref for Membership {
    type Target = Arc<HostAssociation>;

    fn deref(&self) -> &Self::Target {
        &self.association
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let Self { registry, namespace, association } = self;
        let HostAssociation { id, host, peer, since, link, counters, .. } = &**association;
        // If nothing else has ended the link, its task was aborted.
        link.end(EndReason::Internal);
        link.close();
        registry.leave(association, namespace);
        if let Some(meter) = counters.observed() {
            meter.disconnected();
        }
        let reason = link.end_reason().unwrap_or(EndReason::Internal);
        registry.ends.count(reason.as_str());
        let text = format!("disconnected from {peer}: {}", reason.as_str());
        registry.say(NodeEventKind::HostLeft, association, namespace.id, &text);
        let traffic = counters.read();
        info!(
            service = registry.service, namespace = %namespace.id, host = %host, peer = %peer, sid = id,
            reason = %reason, seconds = since.elapsed().as_secs(),
            packets_in = traffic.packets_in, packets_out = traffic.packets_out,
            drops = %traffic.drops(), "host left"
        );
    }
}

/// Whether the rules still admit this association.
fn still_admitted(
    rules: &Rules,
    association: &HostAssociation,
    namespace: NamespaceId,
) -> Result<(), String> {
    if !rules.addresses.admit(association.peer.ip()) {
        return Err(format!("connections from {} are refused", association.peer.ip()));
    }
    let HostAssociation { identity, host, peer, .. } = association;
    let admitted = rules.access.still_admits(identity.as_ref(), host, namespace, peer.ip());
    admitted.map_err(|refusal| refusal.to_string())
}

impl RegistryState {
    /// Whether the quotas leave room for one more host.
    fn has_room(
        &self,
        admitted: &Admitted,
        namespace: NamespaceId,
        population: usize,
    ) -> Result<(), Refusal> {
        let quotas = &self.rules.config.quotas;
        if population >= quotas.hosts {
            return Err(Refusal::LimitTotal);
        }
        if let (Some(identity), Some(limit)) = (&admitted.identity, quotas.hosts_per_user)
            && self.hosts_by_user.get(&identity.user).is_some_and(|hosts| *hosts >= limit)
        {
            return Err(Refusal::LimitCredential);
        }
        if !self.namespaces.contains_key(&namespace) && self.namespaces.len() >= quotas.namespaces {
            return Err(Refusal::LimitNamespaces);
        }
        Ok(())
    }

    fn leave_user(&mut self, association: &HostAssociation) {
        let Some(user) = association.user() else { return };
        if let Some(hosts) = self.hosts_by_user.get_mut(user) {
            *hosts -= 1;
            if *hosts == 0 {
                self.hosts_by_user.remove(user);
            }
        }
    }

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

#[cfg(test)]
mod tests;

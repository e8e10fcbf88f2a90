//! A relay: clients of UDP tunnels connect to it, and their datagrams go to a server of the same machine.
//!
//! Each client has a UDP socket of its own, connected to the server, so that the server tells clients apart.

mod client;
mod limiters;
mod rules;
mod streams;

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use rtun_core::udp_tunnel::RelayTargets;
use rtun_settings::{Hook, RelayRules, RelaySettings};
use tokio::runtime::Handle;
use tracing::info;

use self::{
    client::RelayClients, limiters::RelayLimiters, rules::CompiledRelay, streams::RelayStreams,
};
use super::{
    counters::DatagramSampling,
    followed::{FollowedRules, RulesUser, follow, replace},
};
use crate::{
    feeds::Feeds,
    hooks::{HookError, HookFacts, Hooks},
    inbound::{Connections, HubListenError, ListenerView, Listeners},
    limiters::ServiceMeters,
    recorders::ServiceRecorders,
    report::{RelayReport, quota_reports},
    runtime::{duties::Duty, machine::Machine, workers::Workers},
};

/// A running relay.
pub(crate) struct RelayService {
    connections: Arc<Connections<RelayStreams>>,
    duties: Vec<Duty>,
    /// At least one.
    listeners: Arc<[ListenerView]>,
    facts: HookFacts,
}

/// What a relay uses of the process.
pub(crate) struct RelayUses {
    pub(crate) meters: ServiceMeters,
    /// Of its users.
    pub(crate) feeds: Feeds,
    pub(crate) recorders: ServiceRecorders,
}

/// A relay cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] HubListenError),
    /// A command that has to succeed first has failed.
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// A relay as reports see it. Does not keep it running.
#[derive(Clone)]
pub(crate) struct RelayServiceView {
    connections: Arc<Connections<RelayStreams>>,
    listeners: Arc<[ListenerView]>,
}

impl RelayService {
    /// Listens, runs the hooks, then serves clients in the background.
    pub(crate) async fn start(
        service: &str,
        config: &RelaySettings,
        hooks: Hooks<'_>,
        uses: RelayUses,
        workers: &Arc<Workers>,
        machine: &Machine,
    ) -> Result<Self, RelayError> {
        let RelayUses { meters, feeds, recorders } = uses;
        let listeners = Listeners::open(service, config.listeners(), workers, machine)?;
        let views = Arc::clone(&listeners.views);
        let (followed, rules) = FollowedRules::begin(config.rules.clone(), feeds);
        let streams = RelayStreams {
            service: service.to_owned(),
            rules: ArcSwap::from_pointee(CompiledRelay::new(&rules)),
            followed,
            netns: config.listener.sockets.netns.clone(),
            clients: Arc::new(RelayClients::default()),
            limiters: RelayLimiters::new(&config.rules, meters),
            sampling: DatagramSampling::new(service, None, machine),
            events: Arc::clone(&machine.events),
        };
        let timeout = config.handshake_timeout;
        let connections = Connections::new(service, streams, timeout, machine, recorders);
        let facts = HookFacts::of_listeners(&config.listener, views.iter().map(|it| it.address));
        hooks.pre_up(&facts).await?;
        for ListenerView { address, transport, .. } in &*views {
            let transport = transport.as_str();
            info!(service, %address, transport, "relay listens");
        }
        hooks.run(Hook::PostUp, &facts).await;
        let mut duties = listeners.accept(&connections, workers, machine);
        let name = format!("{service}: following certificates");
        let relay = Arc::clone(&connections);
        duties.push(machine.duties.keep(&Handle::current(), name, move || {
            let (relay, listeners) = (Arc::clone(&relay), Arc::clone(&listeners));
            async move {
                let following = listeners.follow_certificates(&relay.service);
                relay.stop.run_until_cancelled(following).await;
            }
        }));
        let name = format!("{service}: following users");
        let relay = Arc::clone(&connections);
        duties.push(machine.duties.keep(&Handle::current(), name, move || {
            let relay = Arc::clone(&relay);
            async move {
                let following = follow(&relay.service, &relay);
                relay.stop.run_until_cancelled(following).await;
            }
        }));
        Ok(Self { connections, duties, listeners: views, facts })
    }

    /// Replaces everything but the listeners. Clients that the new rules do not admit are disconnected.
    pub(crate) async fn apply(&self, config: &RelaySettings, feeds: Feeds, meters: ServiceMeters) {
        self.connections.limit_handshakes(config.handshake_timeout);
        let RelayStreams { clients, limiters, .. } = &self.connections.served;
        if limiters.apply(&config.rules, meters) {
            clients.limit(limiters);
        }
        replace(&self.connections, config.rules.clone(), feeds).await;
    }

    /// From now on these are given the address of each connection.
    pub(crate) fn record(&self, recorders: ServiceRecorders) {
        self.connections.record(recorders);
    }

    /// Reads the files of its certificates now.
    pub(crate) fn reload_certificates(&self) {
        self.listeners.iter().for_each(ListenerView::reload_certificate);
    }

    /// What its hooks are informed of.
    pub(crate) fn hook_facts(&self) -> HookFacts {
        self.facts.clone()
    }

    /// The address of its first listener.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.listeners[0].address
    }

    /// Writes to the log who is connected, what passed and what was lost.
    pub(crate) fn log_report(&self) {
        self.view().report().log(&self.connections.service);
    }

    /// The relay as reports see it.
    pub(crate) fn view(&self) -> RelayServiceView {
        let Self { connections, listeners, .. } = self;
        RelayServiceView { connections: Arc::clone(connections), listeners: Arc::clone(listeners) }
    }

    /// Stops listening and disconnects every client.
    pub(crate) async fn stop(self) {
        self.connections.stop.cancel();
        join_all(self.duties.into_iter().map(Duty::end)).await;
        self.connections.end().await;
    }
}

impl RulesUser for Connections<RelayStreams> {
    type Rules = RelayRules;

    fn followed(&self) -> &FollowedRules<RelayRules> {
        &self.served.followed
    }

    fn go_by(&self, rules: RelayRules) {
        let compiled = Arc::new(CompiledRelay::new(&rules));
        self.served.rules.store(Arc::clone(&compiled));
        self.served.clients.keep_only(|client| compiled.still_admits(client));
    }
}

impl RelayServiceView {
    /// Whether it cannot take connections.
    pub(crate) fn is_failing(&self) -> bool {
        self.connections.is_failing()
    }

    /// Whether both are views of the same running relay.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.connections, &other.connections)
    }

    /// Who is connected, who was not admitted, what passed and what was lost.
    pub(crate) fn report(&self) -> RelayReport {
        let Connections { served, waiting_room, admissions, .. } = &*self.connections;
        let clients = served.clients.report();
        RelayReport {
            listen: self.listeners.iter().map(ListenerView::report).collect(),
            target: match &served.rules.load().targets {
                RelayTargets::Fixed(target) => Some(*target),
                RelayTargets::Servers(_) => None,
            },
            clients: clients.clients,
            sent: clients.sent,
            received: clients.received,
            admitted: admissions.admitted(),
            refused: admissions.refused(),
            ended: clients.ended,
            unadmitted: waiting_room.len(),
            connections: served.limiters.connections.connections(),
            quotas: quota_reports(&served.limiters.quotas),
        }
    }
}

/// Whether a relay with the first settings can go on by the second ones.
pub(crate) fn listen_alike(old: &RelaySettings, new: &RelaySettings) -> bool {
    let listeners = |relay: &RelaySettings| relay.listeners().cloned().collect::<Vec<_>>();
    listeners(old) == listeners(new)
}

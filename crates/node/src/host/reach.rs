//! How a host gets to its hubs: by the hubs in force, until others take their place.

use std::sync::Arc;

use rtun_control::{NodeQuestion, in_background};
use rtun_settings::{HostSettings, HubNode, ProxyHop};
use tokio::sync::{Mutex, watch};

use super::{
    HostError,
    asked_hops::{AskedHops, NoHub},
    progress::HostProgress,
};
use crate::{
    device::{PeerChanges, TunnelPeers, mark_own},
    dial::{Hubs, NameTables, address_book},
    feeds::Feeds,
    runtime::{machine::Machine, surroundings::Surroundings},
};

/// How a host gets to its hubs, and where its packets go for it.
pub(crate) type NextHubs = (HubsInForce, TunnelPeers);

/// What a host knows of its hubs.
pub(crate) struct HubPlan {
    service: String,
    /// As configured: hops of plugins have no nodes.
    config: HostSettings,
    /// Of the tables of names.
    feeds: Feeds,
    machine: Machine,
    pub(super) asked: Arc<AskedHops>,
}

/// How a host gets to its hubs now.
pub(crate) struct HubsInForce {
    pub(super) hubs: Hubs,
    /// What they are made of, with the nodes that plugins have named.
    pub(super) config: HostSettings,
    pub(super) plan: Arc<HubPlan>,
    /// Why there is no hub, where a plugin is to name it.
    pub(super) lacking: Option<NoHub>,
}

impl HubPlan {
    /// What `config` says; plugins that are in `before` too keep their answers.
    pub(super) fn new(
        service: &str,
        config: &HostSettings,
        feeds: &Feeds,
        machine: &Machine,
        before: Option<&Self>,
    ) -> Result<Arc<Self>, HostError> {
        Ok(Arc::new(Self {
            service: service.to_owned(),
            config: config.clone(),
            feeds: feeds.of_lookups(&config.lookups),
            machine: machine.clone(),
            asked: Arc::new(AskedHops::of(
                service,
                config,
                machine.node_reader,
                machine.state.as_ref(),
                before.map(|plan| &*plan.asked),
            )?),
        }))
    }

    /// What it leads to, by what plugins named last.
    pub(super) fn next(self: &Arc<Self>) -> Result<NextHubs, HostError> {
        let (config, lacking) = self.filled();
        self.next_by(config, lacking)
    }

    fn filled(&self) -> (HostSettings, Option<NoHub>) {
        self.asked.fill(&self.service, &self.config)
    }

    fn next_by(
        self: &Arc<Self>,
        config: HostSettings,
        lacking: Option<NoHub>,
    ) -> Result<NextHubs, HostError> {
        let Self { service, machine, feeds, .. } = &**self;
        let plan = Arc::clone(self);
        if let Surroundings::Twin(_) = &machine.surroundings {
            let hubs = Hubs::of_host(&config, &machine.surroundings, Arc::default())?;
            let peers = TunnelPeers::none(&Arc::default());
            return Ok((HubsInForce { hubs, config, plan, lacking }, peers));
        }
        let mut marked = config.clone();
        mark_own(&mut marked.lookups);
        let tables = NameTables::new(&marked.lookups, feeds);
        let names = address_book::names_of(machine.state.as_ref(), &marked.lookups, &tables);
        let peers = {
            let HostSettings { hubs, proxies, group, lookups, device, .. } = &mut marked;
            let more = group.more.iter_mut().map(|it| (&mut it.hubs[..], &mut it.proxies[..]));
            let chains = std::iter::once((&mut hubs[..], &mut proxies[..])).chain(more);
            TunnelPeers::of_chains(service, chains, lookups, device, &names)
        };
        let hubs = Hubs::of_host(&marked, &machine.surroundings, names)?.following(tables);
        Ok((HubsInForce { hubs, config, plan, lacking }, peers))
    }
}

impl HubsInForce {
    pub(super) fn dial_timeout(&self) -> Option<std::time::Duration> {
        self.config.dial_timeout
    }

    /// The hubs in their order, each with the proxies before it.
    pub(super) fn listed(&self) -> impl Iterator<Item = (&HubNode, &[ProxyHop])> {
        let chains = self.config.chains();
        chains.flat_map(|(hubs, proxies)| hubs.iter().map(move |hub| (hub, proxies)))
    }
}

/// Puts hubs in force: for the connections of a host, for its device and for reports.
pub(super) struct HubSteering {
    peers: PeerChanges,
    progress: Arc<HostProgress>,
    in_force: watch::Sender<Arc<HubsInForce>>,
    /// Changes come one after the other.
    turn: Mutex<()>,
}

impl HubSteering {
    pub(super) fn new(first: HubsInForce, peers: PeerChanges, progress: Arc<HostProgress>) -> Self {
        let in_force = watch::Sender::new(Arc::new(first));
        Self { peers, progress, in_force, turn: Mutex::default() }
    }

    /// The hubs in force, as they change.
    pub(super) fn in_force(&self) -> watch::Receiver<Arc<HubsInForce>> {
        self.in_force.subscribe()
    }

    /// The plan in force.
    pub(super) fn plan(&self) -> Arc<HubPlan> {
        Arc::clone(&self.in_force.borrow().plan)
    }

    /// Has these take the place of the hubs in force.
    pub(super) async fn steer(&self, next: NextHubs) {
        let _turn = self.turn.lock().await;
        self.put_in_force(next).await;
    }

    /// Asks the plugins of `reach`, if it has any, and puts in force what they name, unless something else is in force by then.
    pub(super) async fn ask(
        &self,
        reach: &Arc<HubsInForce>,
        question: &NodeQuestion,
    ) -> Result<(), HostError> {
        let plan = &reach.plan;
        if !plan.asked.are_there() {
            return Ok(());
        }
        plan.asked.ask(question).await;
        let (config, lacking) = plan.filled();
        if plan.asked.have_news() {
            let asked = Arc::clone(&plan.asked);
            in_background(move || asked.save()).await;
        }
        if (&config, &lacking) == (&reach.config, &reach.lacking) {
            return Ok(());
        }
        let next = plan.next_by(config, lacking)?;
        let _turn = self.turn.lock().await;
        if Arc::ptr_eq(reach, &self.in_force.borrow()) {
            self.put_in_force(next).await;
        }
        Ok(())
    }

    async fn put_in_force(&self, (reach, peers): NextHubs) {
        self.peers.change(peers).await;
        self.progress.steer(&reach.config, Arc::clone(&reach.plan.asked));
        self.in_force.send_replace(Arc::new(reach));
    }
}

//! The hubs or relays that a service may connect to, their endpoints, and which one is tried next.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use rtun_core::Selection;
use rtun_settings::{HostSettings, HubNode, NodePreference, ProxyHop};
use rtun_transport::{names::Names, race::first_of};
use tokio::time::Instant;

use super::{
    attempt::SetupError,
    choice::{Choice, HubChoice},
    endpoints::{DialContext, HubConnection, HubEndpoints, NoEndpoint},
    lookups::NameTables,
    proxies::Proxies,
};
use crate::runtime::surroundings::Surroundings;

/// The hubs or relays of a service, and what connections to them need.
pub(crate) struct Hubs {
    /// Those of all chains, one chain after the other.
    pub(crate) nodes: Vec<HubTarget>,
    /// Of each chain.
    proxies: Vec<Proxies>,
    /// Resolves the names of hubs and proxies; it remembers at most as many as are configured.
    pub(crate) names: Arc<Names>,
    pub(crate) choice: HubChoice,
    tables: NameTables,
}

/// One of the hubs, with its endpoints.
pub(crate) struct HubTarget {
    pub(crate) config: HubNode,
    pub(crate) endpoints: HubEndpoints,
    chain: usize,
}

/// The last hop of a chain, and the hops before it.
struct ChainParts<'a> {
    hubs: &'a [HubNode],
    selector: Selection,
    proxies: &'a [ProxyHop],
}

impl Hubs {
    /// Those of a host.
    pub(crate) fn of_host(
        config: &HostSettings,
        surroundings: &Surroundings,
        names: Arc<Names>,
    ) -> Result<Self, SetupError> {
        let HostSettings { name, hubs, selector, proxies, group, .. } = config;
        let first = ChainParts { hubs, selector: *selector, proxies };
        let more = group.more.iter().map(|chain| ChainParts {
            hubs: &chain.hubs,
            selector: chain.selector,
            proxies: &chain.proxies,
        });
        let chains: Vec<_> = std::iter::once(first).chain(more).collect();
        let preferences = group.more.iter().map(|chain| &chain.preference);
        let preferences = std::iter::once(&group.first).chain(preferences);
        let choice = Choice::new(group.selector, preferences, name.as_str());
        Self::of_chains(&chains, choice, name.as_str(), surroundings, names)
    }

    /// Those of the last hop of a chain, which are reached through `proxies`; `name` chooses where nodes are chosen by hash.
    pub(crate) fn new(
        nodes: &[HubNode],
        selector: Selection,
        proxies: &[ProxyHop],
        name: &str,
        surroundings: &Surroundings,
        names: Arc<Names>,
    ) -> Result<Self, SetupError> {
        let only = [NodePreference::default()];
        let choice = Choice::new(Selection::default(), only.iter(), name);
        let chain = ChainParts { hubs: nodes, selector, proxies };
        Self::of_chains(&[chain], choice, name, surroundings, names)
    }

    fn of_chains(
        chains: &[ChainParts<'_>],
        choice: Choice,
        name: &str,
        surroundings: &Surroundings,
        names: Arc<Names>,
    ) -> Result<Self, SetupError> {
        let (mut nodes, mut proxies, mut choices) = (Vec::new(), Vec::new(), Vec::new());
        for (chain, ChainParts { hubs, selector, proxies: before }) in chains.iter().enumerate() {
            for hub in *hubs {
                let endpoints = HubEndpoints::new(hub, surroundings)?;
                nodes.push(HubTarget { endpoints, config: hub.clone(), chain });
            }
            let preferences = hubs.iter().map(|hub| &hub.preference);
            choices.push((hubs.len(), Choice::new(*selector, preferences, name)));
            proxies.push(Proxies::new(before, name)?);
        }
        let choice = HubChoice::new(choice, choices);
        Ok(Self { nodes, proxies, names, choice, tables: NameTables::default() })
    }

    /// The same, with the tables of names that `names` uses.
    pub(crate) fn following(self, tables: NameTables) -> Self {
        Self { tables, ..self }
    }

    /// Connects to the hub that is to be tried next, or to the first to answer of several; which one it was.
    pub(crate) async fn connect(
        &self,
        within: Option<Duration>,
    ) -> (usize, Result<HubConnection, NoEndpoint>) {
        let open = |node: usize| async move {
            let begin = Instant::now();
            let connected = self.nodes[node].endpoints.connect(self.context_of(node), within).await;
            connected.map(|connection| (connection, begin.elapsed()))
        };
        let mut failures: Vec<(usize, NoEndpoint)> = Vec::new();
        let raced = first_of(self.choice.choose_all(), open, Duration::ZERO, |node, error| {
            failures.push((node, error));
        });
        let won = raced.await;
        let last = if won.is_none() { failures.pop() } else { None };
        for (node, _) in failures {
            self.choice.failed(node);
        }
        match (won, last) {
            (Some((node, (connection, took))), _) => {
                self.choice.measured(node, took);
                (node, Ok(connection))
            }
            (None, Some((node, error))) => (node, Err(error)),
            (None, None) => unreachable!("at least one hub is tried, and it succeeds or fails"),
        }
    }

    /// What dialers of a hub share.
    pub(crate) fn context_of(&self, node: usize) -> DialContext<'_> {
        DialContext { names: &self.names, proxies: &self.proxies[self.nodes[node].chain] }
    }

    /// Probes hubs and follows the tables of names, without end.
    pub(crate) async fn look_after(&self) {
        tokio::join!(self.probe(), self.tables.follow());
    }

    /// Probes the hubs with a configured probe, without end.
    async fn probe(&self) {
        let probes = self.nodes.iter().enumerate().filter_map(|(node, hub)| {
            let probe = hub.config.preference.probe.as_ref()?;
            Some(async move {
                loop {
                    let begin = Instant::now();
                    let answers = hub.endpoints.probe(self.context_of(node), probe).await;
                    self.choice.probed(node, answers.then(|| begin.elapsed()));
                    tokio::time::sleep(probe.interval).await;
                }
            })
        });
        let _: Vec<()> = join_all(probes).await;
        std::future::pending().await
    }
}

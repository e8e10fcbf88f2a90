//! The hubs or relays that a service may connect to, their endpoints, and which one is tried next.

use std::sync::Arc;

use futures_util::future::join_all;
use rtun_core::Selection;
use rtun_settings::{HostSettings, HubNode, ProxyHop};
use rtun_transport::names::Names;

use super::{
    attempt::SetupError,
    choice::Choice,
    endpoints::{DialContext, HubEndpoints},
    proxies::Proxies,
};
use crate::runtime::surroundings::Surroundings;

/// The hubs or relays of a service, and what connections to them need.
pub(crate) struct Hubs {
    pub(crate) nodes: Vec<HubTarget>,
    pub(crate) proxies: Proxies,
    /// Resolves the names of hubs and proxies; it remembers at most as many as are configured.
    pub(crate) names: Arc<Names>,
    pub(crate) choice: Choice,
}

/// One of the hubs, with its endpoints.
pub(crate) struct HubTarget {
    pub(crate) config: HubNode,
    pub(crate) endpoints: HubEndpoints,
}

impl Hubs {
    /// Those of a host.
    pub(crate) fn of_host(
        config: &HostSettings,
        surroundings: &Surroundings,
        names: Arc<Names>,
    ) -> Result<Self, SetupError> {
        let HostSettings { name, hubs, selector, proxies, .. } = config;
        Self::new(hubs, *selector, proxies, name.as_str(), surroundings, names)
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
        let hub = |config: &HubNode| {
            Ok(HubTarget {
                endpoints: HubEndpoints::new(config, surroundings)?,
                config: config.clone(),
            })
        };
        let preferences = nodes.iter().map(|hub| &hub.preference);
        Ok(Self {
            choice: Choice::new(selector, preferences, name),
            nodes: nodes.iter().map(hub).collect::<Result<_, _>>()?,
            proxies: Proxies::new(proxies, name)?,
            names,
        })
    }

    /// What all dialers share.
    pub(crate) fn dial_context(&self) -> DialContext<'_> {
        DialContext { names: &self.names, proxies: &self.proxies }
    }

    /// Probes the hubs with a configured probe, without end.
    pub(crate) async fn probe(&self) {
        let probes = self.nodes.iter().enumerate().filter_map(|(node, hub)| {
            let probe = hub.config.preference.probe?;
            Some(async move {
                loop {
                    tokio::time::sleep(probe.interval).await;
                    match hub.endpoints.probe(self.dial_context(), probe.timeout).await {
                        true => self.choice.recovered(node),
                        false => self.choice.failed(node),
                    }
                }
            })
        });
        let _: Vec<()> = join_all(probes).await;
        std::future::pending().await
    }
}

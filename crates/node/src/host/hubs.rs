//! The hubs that a host may connect to, their endpoints, and which one is tried next.

use std::sync::Arc;

use futures_util::future::join_all;
use rtun_settings::{self, HubNode};
use rtun_transport::names::Names;

use super::{
    attempt::SetupError,
    choice::Choice,
    endpoints::{DialContext, HubEndpoints},
    proxies::Proxies,
};
use crate::runtime::surroundings::Surroundings;

/// A host's hubs, and what connections to them need.
pub(super) struct Hubs {
    pub(super) nodes: Vec<HubTarget>,
    pub(super) proxies: Proxies,
    /// Resolves the names of hubs and proxies; it remembers at most as many as are configured.
    pub(super) names: Arc<Names>,
    pub(super) choice: Choice,
}

/// One of the hubs, with its endpoints.
pub(super) struct HubTarget {
    pub(super) config: HubNode,
    pub(super) endpoints: HubEndpoints,
}

impl Hubs {
    pub(super) fn new(
        config: &rtun_settings::HostSettings,
        surroundings: &Surroundings,
        names: Arc<Names>,
    ) -> Result<Self, SetupError> {
        let hub = |config: &HubNode| {
            Ok(HubTarget {
                endpoints: HubEndpoints::new(config, surroundings)?,
                config: config.clone(),
            })
        };
        let preferences = config.hubs.iter().map(|hub| &hub.preference);
        Ok(Self {
            nodes: config.hubs.iter().map(hub).collect::<Result<_, _>>()?,
            proxies: Proxies::new(&config.proxies, config.name.as_str())?,
            names,
            choice: Choice::new(config.selector, preferences, config.name.as_str()),
        })
    }

    /// What all dialers share.
    pub(super) fn dial_context(&self) -> DialContext<'_> {
        DialContext { names: &self.names, proxies: &self.proxies }
    }

    /// Probes the hubs with a configured probe, without end.
    pub(super) async fn probe(&self) {
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

//! The hubs that a host may connect to: which one is tried next, and by which ways.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rtun_config::model::{self, HubNode};
use rtun_core::{Selector, Standing, Strategy};

use super::{dial::SetupError, proxies::Proxies, way::Ways};

/// A host's hubs and the way to them.
pub(super) struct Hubs {
    pub(super) nodes: Vec<Hub>,
    pub(super) proxies: Proxies,
    selector: Mutex<Selector>,
    /// For [`Strategy::Hash`]: the same for the same host.
    hash: Option<u32>,
    begin: Instant,
}

/// One of the hubs.
pub(super) struct Hub {
    pub(super) config: HubNode,
    pub(super) ways: Ways,
}

impl Hubs {
    pub(super) fn new(config: &model::Host) -> Result<Self, SetupError> {
        let hub = |config: &HubNode| Ok(Hub { ways: Ways::new(config)?, config: config.clone() });
        let selection = config.selector;
        let standings = config.hubs.iter().map(|hub| standing(&hub.standing));
        Ok(Self {
            nodes: config.hubs.iter().map(hub).collect::<Result<_, _>>()?,
            proxies: Proxies::new(&config.proxies, config.name.as_str())?,
            selector: Mutex::new(Selector::new(selection, standings)),
            hash: (selection.strategy == Strategy::Hash).then(|| hash(config.name.as_str())),
            begin: Instant::now(),
        })
    }

    /// The one to try now.
    pub(super) fn choose(&self) -> usize {
        let random = self.hash.unwrap_or_else(|| fastrand::u32(..));
        self.selector().choose(self.now(), random)
    }

    /// Whether there is another one to try without waiting.
    pub(super) fn has_fresh(&self) -> bool {
        self.selector().has_fresh(self.now())
    }

    /// All have been tried.
    pub(super) fn begin_round(&self) {
        self.selector().begin_round();
    }

    pub(super) fn succeeded(&self, node: usize) {
        self.selector().succeeded(node);
    }

    pub(super) fn failed(&self, node: usize) {
        let now = self.now();
        self.selector().failed(node, now);
    }

    /// Tries those that are to be probed, for ever.
    pub(super) async fn probe(&self) {
        let probes = self.nodes.iter().enumerate().filter_map(|(node, hub)| {
            let probe = hub.config.standing.probe?;
            Some(async move {
                loop {
                    tokio::time::sleep(probe.interval).await;
                    match hub.ways.probe(&self.proxies, probe.timeout).await {
                        true => self.selector().recovered(node),
                        false => self.failed(node),
                    }
                }
            })
        });
        let _: Vec<()> = join_all(probes).await;
        std::future::pending().await
    }

    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// A poisoned lock still guards a whole selector: nothing in it panics half way through a change.
    fn selector(&self) -> MutexGuard<'_, Selector> {
        self.selector.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node is among the others.
pub(super) fn standing(config: &model::Standing) -> Standing {
    Standing { weight: config.weight, backup: config.backup }
}

/// FNV-1a, 32 bits.
pub(super) fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

//! Hops whose node a plugin names for each connection: whom to ask, and what was answered last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use rtun_control::{NoNode, NodeCalls, NodeQuestion, PluginStatus, connect_node_plugin};
use rtun_core::Setback;
use rtun_settings::{GroupedChain, HopPlugin, HostSettings, HubNode};
use tracing::warn;

use super::HostError;
use crate::runtime::node_reader::{NodeReader, ReadNode};

/// The hops of a host whose nodes plugins name, each once.
#[derive(Default)]
pub(super) struct AskedHops {
    reader: NodeReader,
    hops: Vec<Arc<AskedHop>>,
}

struct AskedHop {
    settings: HopPlugin,
    calls: NodeCalls,
    answer: Mutex<HopAnswer>,
}

/// What a plugin said last.
#[derive(Default)]
struct HopAnswer {
    /// The node that it named last; it counts until another is named, or none.
    node: Option<Arc<str>>,
    /// Why there is none, or no newer one.
    problem: Option<NoNode>,
    /// What was logged of the node.
    warned: Vec<String>,
}

/// No hub is known to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoHub {
    /// Where the plugin is asked.
    pub(super) plugin: String,
    /// Why it names none.
    pub(super) reason: String,
    /// What the next attempt is after.
    pub(super) setback: Setback,
}

impl AskedHops {
    /// Those of `config`; those of `before` that stay keep their answers.
    pub(super) fn of(
        config: &HostSettings,
        reader: NodeReader,
        before: Option<&Self>,
    ) -> Result<Self, HostError> {
        let mut hops: Vec<Arc<AskedHop>> = Vec::new();
        for settings in config.hop_plugins() {
            let is_it = |hop: &&Arc<AskedHop>| hop.settings == *settings;
            if hops.iter().any(|hop| is_it(&hop)) {
                continue;
            }
            let known = before.and_then(|before| before.hops.iter().find(is_it));
            hops.push(match known {
                Some(known) => Arc::clone(known),
                None => Arc::new(AskedHop::new(settings)?),
            });
        }
        Ok(Self { reader, hops })
    }

    /// Whether there is a plugin to ask.
    pub(super) fn are_there(&self) -> bool {
        !self.hops.is_empty()
    }

    /// Asks all plugins, at the same time. Where one gives no answer its last one stays.
    pub(super) async fn ask(&self, question: &NodeQuestion) {
        join_all(self.hops.iter().map(|hop| hop.ask(question))).await;
    }

    /// `config` with the nodes that the plugins named last; chains of which one is not known are left out. Where none is left it has no
    /// hub, and why that is.
    pub(super) fn fill(
        &self,
        service: &str,
        config: &HostSettings,
    ) -> (HostSettings, Option<NoHub>) {
        let mut filled = config.clone();
        if !self.are_there() {
            return (filled, None);
        }
        let (mut chains, mut lacking) = (Vec::new(), None);
        for chain in chains_of(config) {
            match self.fill_chain(service, chain) {
                Ok(chain) => chains.push(chain),
                Err(error) => lacking = Some(error),
            }
        }
        (filled.hubs, filled.proxies, filled.group.more) = Default::default();
        let mut chains = chains.into_iter();
        if let Some(GroupedChain { hubs, selector, plugin, proxies, preference }) = chains.next() {
            (filled.hubs, filled.selector, filled.plugin) = (hubs, selector, plugin);
            filled.proxies = proxies;
            (filled.group.first, filled.group.more) = (preference, chains.collect());
            lacking = None;
        }
        (filled, lacking)
    }

    /// The states of the plugins.
    pub(super) fn status(&self) -> Vec<PluginStatus> {
        self.hops.iter().map(|hop| hop.calls.status()).collect()
    }

    fn fill_chain(&self, service: &str, mut chain: GroupedChain) -> Result<GroupedChain, NoHub> {
        for (place, hop) in chain.proxies.iter_mut().enumerate() {
            if let Some(plugin) = &hop.plugin {
                let read = |text: &str| (self.reader.proxy)(text, place == 0);
                hop.nodes = vec![self.of_plugin(plugin).node(service, read)?];
            }
        }
        if let Some(plugin) = &chain.plugin {
            let hub = self.of_plugin(plugin).node(service, self.reader.hub)?;
            chain.hubs = vec![HubNode { chain: plugin.chain.clone(), ..hub }];
        }
        Ok(chain)
    }

    fn of_plugin(&self, plugin: &HopPlugin) -> &AskedHop {
        let hop = self.hops.iter().find(|hop| hop.settings == *plugin);
        hop.expect("each plugin of the configuration has its hop")
    }
}

impl AskedHop {
    fn new(settings: &HopPlugin) -> Result<Self, HostError> {
        let HopPlugin { hop, plugin, .. } = settings;
        let connected = connect_node_plugin(plugin)
            .map_err(|source| HostError::Hop { name: hop.clone(), source })?;
        Ok(Self {
            settings: settings.clone(),
            calls: NodeCalls::new(hop.clone(), connected, plugin.timeout),
            answer: Mutex::default(),
        })
    }

    async fn ask(&self, question: &NodeQuestion) {
        let said = self.calls.ask(question).await;
        let mut answer = self.answer();
        match said {
            Ok(node) => {
                answer.node = Some(node.into());
                answer.problem = None;
            }
            Err(error) => {
                if error == NoNode::Unknown {
                    answer.node = None;
                }
                answer.problem = Some(error);
            }
        }
    }

    /// The node that counts, as `read` reads it. What there is to say of it is logged once.
    fn node<T>(&self, service: &str, read: impl FnOnce(&str) -> ReadNode<T>) -> Result<T, NoHub> {
        let no_hub =
            |reason, setback| NoHub { plugin: self.calls.address().to_owned(), reason, setback };
        let mut answer = self.answer();
        let Some(text) = answer.node.clone() else {
            let problem = answer.problem.as_ref();
            let reason = problem.map_or_else(|| "not asked yet".to_owned(), ToString::to_string);
            let setback = match problem {
                Some(NoNode::Unknown) => Setback::Refused,
                Some(NoNode::Failed(_)) | None => Setback::Unreachable,
            };
            return Err(no_hub(reason, setback));
        };
        let (node, warnings) = read(&text).map_err(|wrong| {
            let reason =
                format!("the node that the plugin of the hop names cannot be used: {wrong}");
            no_hub(reason, Setback::Refused)
        })?;
        if answer.warned != warnings {
            let hop = &self.settings.hop;
            warnings.iter().for_each(|what| warn!(service, hop, "the node of a plugin: {what}"));
            answer.warned = warnings;
        }
        Ok(node)
    }

    /// The answer of a poisoned lock is whole: each change is a few assignments.
    fn answer(&self) -> MutexGuard<'_, HopAnswer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All chains of a host, each as one of a group.
fn chains_of(config: &HostSettings) -> impl Iterator<Item = GroupedChain> {
    let HostSettings { hubs, selector, plugin, proxies, group, .. } = config.clone();
    let first = GroupedChain { hubs, selector, plugin, proxies, preference: group.first };
    std::iter::once(first).chain(group.more)
}

//! Hops whose node a plugin names for each connection: whom to ask, and what was answered last, in this run or an earlier one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use rtun_control::{NoNode, NodeCalls, NodeQuestion, PluginStatus, SavedRows, connect_node_plugin};
use rtun_core::Setback;
use rtun_settings::{GroupedChain, HopPlugin, HostSettings, HubNode};
use rtun_state::StateDir;
use tracing::warn;

use super::HostError;
use crate::runtime::node_reader::{NodeReader, ReadNode};

/// What the saved nodes are in the state directory.
const KIND: &str = "node";

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
    /// Where the next start finds the node that was used last.
    saved: Option<SavedRows>,
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
    /// The last node that could be used; `None`: none, or the plugin has said since that there is none.
    used: Option<Arc<str>>,
    /// What is saved of that.
    on_disk: Option<Arc<str>>,
    /// Whether the node was named in an earlier run.
    is_old: bool,
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
    /// Those of `config`; those of `before` that stay keep their answers, others have what `state` has of an earlier run.
    pub(super) fn of(
        service: &str,
        config: &HostSettings,
        reader: NodeReader,
        state: Option<&Arc<StateDir>>,
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
                None => Arc::new(AskedHop::new(service, settings, state)?),
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

    /// Whether there is something to [save](Self::save).
    pub(super) fn have_news(&self) -> bool {
        self.hops.iter().any(|hop| hop.has_news())
    }

    /// Saves the nodes that are used for the next start. Files are written where this is called.
    pub(super) fn save(&self) {
        self.hops.iter().filter(|hop| hop.has_news()).for_each(|hop| hop.save());
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
    fn new(
        service: &str,
        settings: &HopPlugin,
        state: Option<&Arc<StateDir>>,
    ) -> Result<Self, HostError> {
        let HopPlugin { hop, plugin, .. } = settings;
        let connected = connect_node_plugin(plugin)
            .map_err(|source| HostError::Hop { name: hop.clone(), source })?;
        let calls = NodeCalls::new(hop.clone(), connected, plugin.timeout);
        // What a plugin answers is about one host.
        let saved = state.map(|state| {
            SavedRows::new(Arc::clone(state), KIND, &format!("{service} {hop}"), calls.address())
        });
        let node: Option<Arc<str>> = saved.as_ref().and_then(SavedRows::read).map(Into::into);
        let node = node.filter(|node| !node.is_empty());
        let (used, on_disk, is_old) = (node.clone(), node.clone(), node.is_some());
        let answer = HopAnswer { node, used, on_disk, is_old, ..HopAnswer::default() };
        Ok(Self { settings: settings.clone(), calls, answer: Mutex::new(answer), saved })
    }

    async fn ask(&self, question: &NodeQuestion) {
        let said = self.calls.ask(question).await;
        let mut answer = self.answer();
        match said {
            Ok(node) => {
                answer.node = Some(node.into());
                (answer.problem, answer.is_old) = (None, false);
            }
            Err(error) => {
                let hop = &self.settings.hop;
                if error == NoNode::Unknown {
                    (answer.node, answer.used, answer.is_old) = (None, None, false);
                } else if std::mem::take(&mut answer.is_old) {
                    warn!(hop, "{error}; the node that it named in an earlier run is used");
                }
                answer.problem = Some(error);
            }
        }
    }

    /// Whether there is something to save.
    fn has_news(&self) -> bool {
        let HopAnswer { used, on_disk, .. } = &*self.answer();
        let is_lost = |saved: &SavedRows| used.is_some() && saved.is_lost();
        self.saved.as_ref().is_some_and(|saved| used != on_disk || is_lost(saved))
    }

    fn save(&self) {
        let Some(saved) = &self.saved else { return };
        let used = self.answer().used.clone();
        saved.write(used.as_deref().unwrap_or_default());
        self.answer().on_disk = used;
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
        answer.used = Some(text);
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

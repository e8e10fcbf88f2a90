//! How plugins of hops are asked: GOST's words, and the calls.

use std::{net::IpAddr, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    NodePlugin, NodeQuestion, PluginError,
    caller::{CallError, CallLimits, PluginCaller},
    status::{PluginKind, PluginStatus},
};

/// Asks the plugin of one hop.
pub struct NodeCalls {
    caller: PluginCaller,
    plugin: Arc<dyn NodePlugin>,
}

/// No node came of a question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoNode {
    /// The plugin gave no answer.
    #[error("the plugin of the hop: {0}")]
    Failed(PluginError),
    /// It answered that it knows none.
    #[error("the plugin of the hop knows no node for this host")]
    Unknown,
}

impl NodeCalls {
    /// Nothing is asked yet; `name` is the hop's, `deadline` is for one question.
    pub fn new(name: String, plugin: Arc<dyn NodePlugin>, deadline: Duration) -> Self {
        // The host waits between its attempts anyway.
        let limits =
            CallLimits { deadline, failures: 5, pause: Duration::ZERO, refusals_count: true };
        let address = plugin.address().to_owned();
        Self { caller: PluginCaller::new(PluginKind::Hop, name, address, limits), plugin }
    }

    /// The node for a connection, as JSON. A failure is logged and counted.
    pub async fn ask(&self, question: &NodeQuestion) -> Result<String, NoNode> {
        match self.caller.call(None, self.plugin.node(question)).await {
            Ok(Some(node)) => Ok(node),
            Ok(None) => Err(NoNode::Unknown),
            Err(CallError::Failed(error)) => Err(NoNode::Failed(error)),
            // It pauses for no time: another question is under way.
            Err(CallError::Paused) => Err(NoNode::Failed(PluginError::Timeout)),
        }
    }

    /// Where the plugin is asked, without secrets.
    pub fn address(&self) -> &str {
        self.plugin.address()
    }

    /// The state of the plugin.
    pub fn status(&self) -> PluginStatus {
        self.caller.status(0, 0)
    }
}

/// A question in GOST's words: the forward target is the host's name, in the network `ip`.
#[derive(Serialize)]
pub(crate) struct NodeWords {
    pub(crate) network: &'static str,
    pub(crate) addr: String,
    pub(crate) host: String,
    pub(crate) path: &'static str,
    pub(crate) client: &'static str,
    pub(crate) src: String,
}

impl NodeWords {
    pub(crate) fn of(question: &NodeQuestion) -> Self {
        let (host, src) = (question.host.to_string(), address(question.source));
        Self { network: "ip", addr: host.clone(), host, path: "", client: "", src }
    }
}

/// An unspecified address is none.
fn address(source: IpAddr) -> String {
    if source.is_unspecified() { String::new() } else { source.to_string() }
}

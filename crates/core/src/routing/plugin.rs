//! What a decision needs besides the tables: plugins' answers, and which hosts are connected.

use std::net::IpAddr;

use crate::{HostName, NamespaceId};

/// The plugin that a router stands for. The caller gives the number its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PluginId(pub usize);

/// What is known now of a plugin's route to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginRoute {
    /// The plugin named this gateway.
    Gateway(HostName),
    /// The plugin has no route.
    Nothing,
    /// The plugin has to be asked.
    Unasked,
}

/// What a decision depends on besides the tables, as it is known now.
pub trait Answers {
    /// What is known of the route of `plugin` to `addr` in `namespace`.
    fn known(&self, plugin: PluginId, namespace: NamespaceId, addr: IpAddr) -> PluginRoute;

    /// Whether a host of this name is connected. Only asked about hosts that share a prefix with others.
    fn is_connected(&self, host: &HostName) -> bool;
}

/// For namespaces without plugins, with every host connected.
pub struct NoAnswers;

impl Answers for NoAnswers {
    fn known(&self, _: PluginId, _: NamespaceId, _: IpAddr) -> PluginRoute {
        PluginRoute::Nothing
    }

    fn is_connected(&self, _: &HostName) -> bool {
        true
    }
}

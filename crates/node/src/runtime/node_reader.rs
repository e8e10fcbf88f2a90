//! How the nodes that plugins of hops name are read.

use rtun_settings::{HubNode, ProxyNode};

/// Reads nodes that plugins name as the configuration reads its own.
#[derive(Clone, Copy)]
pub struct NodeReader {
    /// The hub in GOST's JSON of a node.
    pub hub: fn(&str) -> ReadNode<HubNode>,
    /// The proxy likewise; whether it is connected to directly.
    pub proxy: fn(&str, bool) -> ReadNode<ProxyNode>,
}

/// A node and warnings about it, or what is wrong with it.
pub type ReadNode<T> = Result<(T, Vec<String>), String>;

impl Default for NodeReader {
    /// Reads none.
    fn default() -> Self {
        const NOBODY: &str = "nobody reads nodes of plugins here";
        Self { hub: |_| Err(NOBODY.to_owned()), proxy: |_, _| Err(NOBODY.to_owned()) }
    }
}

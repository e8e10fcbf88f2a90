//! rtun's decisions, free of I/O, clocks and randomness: who may join, where a packet goes, what a queue keeps.

mod host;
mod namespace;
mod route;

pub use host::{HostName, HostNameError};
pub use namespace::{NamespaceId, NamespaceIdError};
pub use route::{Route, host_prefix};

//! The machine that a node runs on, or a twin of it in memory, with which many nodes run in one process on simulated time.

use std::{net::SocketAddr, sync::Arc};

use futures_util::future::BoxFuture;
use rtun_control::{RoutePlugin, Source};
use rtun_system::tun::memory::MemoryTun;
use rtun_transport::{
    Stream,
    tcp::{ConnectError, ListenError},
};

/// Where a node's sockets, devices, sources and threads are.
#[derive(Clone, Default)]
pub enum Surroundings {
    /// The system's.
    #[default]
    System,
    /// Those of a twin, for tests. All tasks run on the runtime that the node is started on.
    Twin(Arc<dyn Twin>),
}

/// The twin of a machine in memory: it provides what a node would ask the system for. All else remains the system's: QUIC
/// sockets, proxies, and plugins for anything but routes.
pub trait Twin: Send + Sync + 'static {
    /// Listens on `addr`, in place of TCP, until the listener is dropped.
    fn listen(&self, addr: &str) -> Result<Box<dyn TwinListener>, ListenError>;

    /// Connects to `addr`, in place of TCP. The caller limits the time.
    fn connect<'a>(&'a self, addr: &'a str)
    -> BoxFuture<'a, Result<Arc<dyn Stream>, ConnectError>>;

    /// A device of this name, which has all addresses and routes already.
    fn device(&self, name: &str, mtu: u16) -> MemoryTun;

    /// What is read in place of `source`.
    fn source(&self, source: &rtun_settings::SourceSettings) -> Box<dyn Source>;

    /// What is asked in place of the plugin with these settings.
    fn route_plugin(&self, settings: &rtun_settings::PluginSettings) -> Arc<dyn RoutePlugin>;
}

/// A listening socket of a [`Twin`].
pub trait TwinListener: Send + Sync {
    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// The next connection, and its peer's address.
    fn accept(&self) -> BoxFuture<'_, (Arc<dyn Stream>, SocketAddr)>;
}

//! What each end of a tunnel runs: a device with its hooks, and a supervised task that talks to the other end.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use rtun_proto::ethernet::MacAddress;
use rtun_settings::{DeviceSettings, ListenOptions, NetworkNamespace, RelayChain, SocketOptions};
use rtun_system::tun::PacketDevice;
use rtun_transport::{names::Names, tcp::ListenError, udp::DatagramSocket};
use tokio_util::sync::CancellationToken;

use super::relayed::RelayPath;
use crate::{
    device::{
        DeviceError, DeviceMaker, DevicePort, DeviceTask, DeviceUser, MadeDevice, TunnelPeers,
        mark_own,
    },
    dial::{NameTables, SetupError, address_book},
    feeds::Feeds,
    hooks::{HookError, HookFacts, Hooks},
    runtime::{
        duties::Duty,
        events::{EventFacts, EventLog, NodeEventKind},
        machine::Machine,
        workers::WorkerSlot,
    },
};

/// The server of a UDP or Ethernet tunnel cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum TunnelServerError {
    /// Its socket cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Its socket does not tell where it is bound.
    #[error("the socket for {addr} cannot be used: {source}")]
    Socket {
        /// As configured.
        addr: String,
        /// What the system answered.
        source: io::Error,
    },
    /// Its device cannot be used.
    #[error(transparent)]
    Device(#[from] TunnelDeviceError),
}

/// The client of a UDP or Ethernet tunnel cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum TunnelClientError {
    /// Its device cannot be used.
    #[error(transparent)]
    Device(#[from] TunnelDeviceError),
    /// A relay or a proxy cannot be used as configured.
    #[error(transparent)]
    Relay(#[from] SetupError),
}

/// A tunnel's device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TunnelDeviceError {
    /// It cannot be made or set up.
    #[error(transparent)]
    Make(#[from] DeviceError),
    /// A command that has to succeed before it is used has failed.
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// A server's socket.
pub(super) struct ServerListener {
    pub(super) socket: DatagramSocket,
    /// Where it is bound.
    pub(super) address: SocketAddr,
    /// What the routes of the device must leave alone.
    pub(super) peers: TunnelPeers,
}

impl ServerListener {
    /// Binds `addr`, watched by the worker that `slot` is on.
    pub(super) fn bind(
        addr: &str,
        mut so_mark: Option<u32>,
        netns: Option<&NetworkNamespace>,
        slot: &WorkerSlot,
    ) -> Result<Self, TunnelServerError> {
        let peers = TunnelPeers::of_listener(&mut so_mark, netns);
        let options = ListenOptions { so_mark, netns: netns.cloned(), ..ListenOptions::default() };
        let socket = {
            let _watched_by = slot.handle().enter();
            DatagramSocket::listen(addr, &options)?
        };
        let unusable = |source| TunnelServerError::Socket { addr: addr.to_owned(), source };
        let address = socket.local_addr().map_err(unusable)?;
        Ok(Self { socket, address, peers })
    }
}

/// What leads a client to its servers.
pub(super) struct ServersPath {
    /// Resolves the names of servers, relays and proxies.
    pub(super) names: Arc<Names>,
    /// What the routes of the device must leave alone.
    pub(super) peers: TunnelPeers,
    /// What leads to the servers, if they are not reached directly.
    pub(super) relay: Option<RelayPath>,
}

/// What leads to `servers`, through `relay` if there is one. Gives the sockets the `so_mark` that the routes of the device need.
pub(super) fn path_to_servers(
    service: &str,
    servers: &[String],
    sockets: &mut SocketOptions,
    relay: Option<&mut RelayChain>,
    device: &DeviceSettings,
    feeds: &Feeds,
    machine: &Machine,
) -> Result<ServersPath, SetupError> {
    let mut lookups = relay.as_ref().map(|relay| relay.lookups.clone()).unwrap_or_default();
    mark_own(&mut lookups);
    let tables = NameTables::new(&lookups, feeds);
    let names = address_book::names_of(machine.state.as_ref(), &lookups, &tables);
    let Some(relay) = relay else {
        let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
        let peers = TunnelPeers::of_dialler(&servers, sockets, device, &names);
        return Ok(ServersPath { names, peers, relay: None });
    };
    let RelayChain { relays, proxies, .. } = &mut *relay;
    let chain = [(&mut relays[..], &mut proxies[..])];
    let peers = TunnelPeers::of_chains(service, chain, &lookups, device, &names);
    let relay = RelayPath::new(relay, service, &machine.surroundings, Arc::clone(&names), tables)?;
    Ok(ServersPath { names, peers, relay: Some(relay) })
}

/// Adds an event about a client of a tunnel, which is named by where it sends from.
pub(super) fn say_of_client(
    events: &EventLog,
    service: &str,
    kind: NodeEventKind,
    client: SocketAddr,
    text: &str,
) {
    let client = client.to_string();
    let host = Some(client.as_str());
    let facts = EventFacts { service: Some(service), host, text, ..EventFacts::default() };
    events.add(kind, &facts);
}

/// A device that is made and whose hooks have run, before it is kept.
pub(super) struct TunnelDevice {
    maker: DeviceMaker,
    made: MadeDevice,
    facts: HookFacts,
    pub(super) port: Arc<DevicePort>,
}

impl TunnelDevice {
    /// Makes the device, one of Ethernet frames if it is given an address for them, and runs the hooks. `remotes` is what these
    /// are informed of as the tunnel's addresses.
    pub(super) async fn make<A: fmt::Display>(
        hooks: Hooks<'_>,
        config: &DeviceSettings,
        ethernet: Option<MacAddress>,
        peers: TunnelPeers,
        remotes: impl Iterator<Item = A>,
        slot: &WorkerSlot,
    ) -> Result<Self, TunnelDeviceError> {
        let mut maker = DeviceMaker {
            service: hooks.service.to_owned(),
            host: None,
            config: config.clone(),
            ethernet,
            peers,
            packets: slot.handle().clone(),
        };
        let made = maker.make(config.name.as_deref()).await?;
        let facts = HookFacts::of_device(config, made.tun().name(), remotes);
        let made = maker.run_hooks(made, hooks, &facts).await?;
        let port = Arc::new(DevicePort::like(made.tun()));
        Ok(Self { maker, made, facts, port })
    }
}

/// A running end of a tunnel, whose state is `S`.
pub(crate) struct TunnelService<S> {
    pub(super) service: String,
    pub(super) state: Arc<S>,
    facts: HookFacts,
    stop: CancellationToken,
    talking: Duty,
    /// Follows the sources of its rules, and ends when this is dropped.
    _following: Option<Duty>,
    keeping: DeviceTask,
    _slot: WorkerSlot,
}

impl<S> TunnelService<S> {
    /// Keeps the device for `user`, and the task that `talk` makes, called `task`, on the worker that `slot` is on. The task
    /// ends once its token is cancelled.
    pub(super) fn run<U: DeviceUser, T>(
        device: TunnelDevice,
        (state, user): (Arc<S>, Arc<U>),
        machine: &Machine,
        slot: WorkerSlot,
        task: &str,
        talk: impl Fn(CancellationToken) -> T + Send + 'static,
    ) -> Self
    where
        T: Future<Output = ()> + Send + 'static,
    {
        let TunnelDevice { maker, made, facts, port } = device;
        let service = maker.service.clone();
        let keeping = DeviceTask::start(maker, made, port, user);
        let stop = CancellationToken::new();
        let ended = stop.clone();
        let name = format!("{service}: {task}");
        let talking = machine.duties.keep(slot.handle(), name, move || talk(ended.clone()));
        Self { service, state, facts, stop, talking, _following: None, keeping, _slot: slot }
    }

    /// With this task, which follows the sources of its rules.
    pub(super) fn following(self, duty: Duty) -> Self {
        Self { _following: Some(duty), ..self }
    }

    /// What its hooks are informed of.
    pub(crate) fn hook_facts(&self) -> HookFacts {
        self.facts.clone()
    }

    /// Its state, for reports.
    pub(crate) fn view(&self) -> Arc<S> {
        Arc::clone(&self.state)
    }

    /// Has the device looked at, and made again if it is gone, at once.
    pub(crate) fn look_at_device(&self) {
        self.keeping.look_again();
    }

    /// Ends the task, then removes the device with all that was set up for it.
    pub(crate) async fn stop(self) {
        let Self { stop, talking, keeping, .. } = self;
        stop.cancel();
        talking.end().await;
        keeping.end().await;
    }
}

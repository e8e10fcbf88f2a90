//! A UDP tunnel's server: clients register at its socket, and packets pass between them and its device.
//!
//! Two tasks on one thread move all packets: [`uplink`] those of the device, [`downlink`] those of clients. What they decide
//! by is behind one lock, which each holds for one batch; a report holds it for a walk over the clients.

mod decisions;
mod downlink;
mod refusals;
mod uplink;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use rtun_settings::{ListenOptions, UdpServerRules, UdpServerSettings};
use rtun_system::tun::{PacketDevice, Tun};
use rtun_transport::{tcp::ListenError, udp::DatagramSocket};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::decisions::ServerDecisions;
use super::counters::{DatagramCounters, by_word};
use crate::{
    device::{
        DeviceError, DeviceHistory, DeviceMaker, DevicePort, DeviceTask, DeviceUser, TunnelPeers,
    },
    hooks::{HookError, HookFacts, Hooks},
    report::{RegisteredReport, TunnelServerReport},
    runtime::{duties::Duty, machine::Machine, workers::WorkerSlot},
};

/// A server of a UDP tunnel cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum UdpServerError {
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
    /// Its device cannot be made or set up.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A command that has to succeed first has failed.
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// A running server.
pub(crate) struct UdpServerService {
    service: String,
    state: Arc<UdpServerState>,
    facts: HookFacts,
    stop: CancellationToken,
    receiving: Duty,
    keeping: DeviceTask,
    _slot: WorkerSlot,
}

/// How a server goes, for reports. Keeps neither its socket nor its device.
pub(crate) struct UdpServerState {
    service: String,
    listen: SocketAddr,
    device: String,
    mtu: u16,
    decisions: Mutex<ServerDecisions>,
    history: DeviceHistory,
    sent: DatagramCounters,
    received: DatagramCounters,
}

/// What both packet paths need.
struct UdpServerPaths {
    state: Arc<UdpServerState>,
    socket: DatagramSocket,
    port: Arc<DevicePort>,
}

impl UdpServerService {
    /// Binds the socket and makes the device. All packets are moved on the worker that `slot` is on.
    pub(crate) async fn start(
        service: &str,
        config: &UdpServerSettings,
        hooks: Hooks<'_>,
        machine: &Machine,
        slot: WorkerSlot,
    ) -> Result<Self, UdpServerError> {
        let mut so_mark = config.so_mark;
        let peers = TunnelPeers::of_listener(&mut so_mark, config.netns.as_ref());
        let options =
            ListenOptions { so_mark, netns: config.netns.clone(), ..ListenOptions::default() };
        let socket = {
            let _watched_by = slot.handle().enter();
            DatagramSocket::listen(&config.addr, &options)?
        };
        let unusable = |source| UdpServerError::Socket { addr: config.addr.clone(), source };
        let listen = socket.local_addr().map_err(unusable)?;
        let mut maker = DeviceMaker {
            service: service.to_owned(),
            host: None,
            config: config.device.clone(),
            ethernet: None,
            peers,
            packets: slot.handle().clone(),
        };
        let made = maker.make(config.device.name.as_deref()).await?;
        let facts =
            HookFacts::of_device(&config.device, made.tun().name(), std::iter::once(listen));
        let made = maker.run_hooks(made, hooks, &facts).await?;
        let port = Arc::new(DevicePort::like(made.tun()));
        let state = Arc::new(UdpServerState {
            service: service.to_owned(),
            listen,
            device: port.name().to_owned(),
            mtu: config.device.mtu,
            decisions: Mutex::new(ServerDecisions::new(&config.device.addresses, &config.rules)),
            history: DeviceHistory::default(),
            sent: DatagramCounters::default(),
            received: DatagramCounters::default(),
        });
        let shared =
            Arc::new(UdpServerPaths { state: Arc::clone(&state), socket, port: Arc::clone(&port) });
        let keeping = DeviceTask::start(maker, made, port, Arc::clone(&shared));
        let stop = CancellationToken::new();
        let (task, ended) = (format!("{service}: receiving from clients"), stop.clone());
        let receiving = machine.duties.keep(slot.handle(), task, move || {
            let (shared, ended) = (Arc::clone(&shared), ended.clone());
            async move {
                ended.run_until_cancelled(downlink::run(&shared)).await;
            }
        });
        info!(service, "listening on {listen} (udp)");
        Ok(Self {
            service: service.to_owned(),
            state,
            facts,
            stop,
            receiving,
            keeping,
            _slot: slot,
        })
    }

    /// Goes by other rules from now on; clients that these would not have let in are forgotten.
    pub(crate) fn apply(&self, config: &UdpServerSettings) {
        let gone = self.state.decisions().replace(&config.device.addresses, &config.rules);
        for outer in gone {
            info!(
                service = self.service,
                client = %outer,
                "the client's registration does not hold by the new rules"
            );
        }
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.state.listen
    }

    /// What its hooks are informed of.
    pub(crate) fn hook_facts(&self) -> HookFacts {
        self.facts.clone()
    }

    /// Writes to the log who is registered, what passed and what was lost.
    pub(crate) fn log_report(&self) {
        self.state.report().log(&self.service);
    }

    /// Its state, for reports.
    pub(crate) fn view(&self) -> Arc<UdpServerState> {
        Arc::clone(&self.state)
    }

    /// Has the device looked at, and made again if it is gone, at once.
    pub(crate) fn look_at_device(&self) {
        self.keeping.look_again();
    }

    /// Stops receiving and removes the device with all that was set up for it.
    pub(crate) async fn stop(self) {
        let Self { stop, receiving, keeping, .. } = self;
        stop.cancel();
        receiving.end().await;
        keeping.end().await;
    }
}

/// Whether a service with the first settings can go on by the second ones.
pub(crate) fn differ_in_rules_only(old: &UdpServerSettings, new: &UdpServerSettings) -> bool {
    let changeable = |rules: &UdpServerRules| UdpServerRules {
        point_to_point: rules.point_to_point,
        ..UdpServerRules::default()
    };
    let fixed = |server: &UdpServerSettings| UdpServerSettings {
        rules: changeable(&server.rules),
        ..server.clone()
    };
    fixed(old) == fixed(new)
}

impl UdpServerState {
    /// A poisoned lock still guards usable decisions: at worst one datagram is not counted.
    fn decisions(&self) -> MutexGuard<'_, ServerDecisions> {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it goes.
    pub(crate) fn report(&self) -> TunnelServerReport {
        let now = Instant::now();
        let (mut clients, refused) = {
            let decisions = self.decisions();
            let clients: Vec<RegisteredReport> =
                decisions.routing.clients.iter().map(|client| registered(client, now)).collect();
            (clients, decisions.refusals.report(now))
        };
        clients.sort_by_key(|client| client.addresses.first().copied());
        TunnelServerReport {
            listen: self.listen,
            device: self.device.clone(),
            mtu: self.mtu,
            health: self.history.report(),
            clients,
            sent: self.sent.read(),
            received: self.received.read(),
            refused,
        }
    }
}

fn registered(client: &rtun_core::udp_tunnel::TunnelClient, now: Instant) -> RegisteredReport {
    let mut addresses: Vec<IpAddr> =
        client.addresses.iter().copied().filter(|address| !address.is_unspecified()).collect();
    addresses.sort_unstable();
    RegisteredReport {
        addresses,
        outer: client.outer,
        since: now.saturating_duration_since(client.since),
        registered: now.saturating_duration_since(client.registered),
        data: now.saturating_duration_since(client.data),
        packets_in: client.received.packets,
        bytes_in: client.received.bytes,
        packets_out: client.sent.packets,
        bytes_out: client.sent.bytes,
        drops: by_word(|reason| client.drops[reason.index()]),
    }
}

impl DeviceUser for UdpServerPaths {
    fn history(&self) -> &DeviceHistory {
        &self.state.history
    }

    fn is_connected(&self) -> bool {
        true
    }

    async fn carry(self: Arc<Self>, device: Arc<Tun>) -> io::Error {
        uplink::run(&self, &*device).await
    }
}

//! An Ethernet tunnel's server: a switch whose ports are its device and its clients.
//!
//! Two tasks on one thread move all frames: [`uplink`] those of the device, [`downlink`] those of clients. What they decide
//! by is behind one lock, which each holds for one batch; a report holds it for a walk over what is known.

mod downlink;
mod uplink;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use rtun_core::{
    AddressList,
    udp_tunnel::{Bridge, PeerTraffic},
};
use rtun_proto::ethernet::MacAddress;
use rtun_settings::{ListenOptions, TapServerSettings};
use rtun_system::tun::{PacketDevice, Tun};
use rtun_transport::{tcp::ListenError, udp::DatagramSocket};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    super::{
        access::{admissions, admits},
        counters::DatagramCounters,
        gather::DatagramDestination,
    },
    hardware_address,
    sealing::Sealing,
};
use crate::{
    device::{
        DeviceError, DeviceHistory, DeviceMaker, DevicePort, DeviceTask, DeviceUser, TunnelPeers,
    },
    hooks::{HookError, HookFacts, Hooks},
    report::{TapPeerReport, TapServerReport},
    runtime::{duties::Duty, machine::Machine, workers::WorkerSlot},
};

/// A server of an Ethernet tunnel cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum TapServerError {
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
    /// A command that has to succeed before its device is used has failed.
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// A running server.
pub(crate) struct TapServerService {
    service: String,
    state: Arc<TapServerState>,
    stop: CancellationToken,
    receiving: Duty,
    keeping: DeviceTask,
    facts: HookFacts,
    _slot: WorkerSlot,
}

/// How a server goes, for reports. Keeps neither its socket nor its device.
pub(crate) struct TapServerState {
    service: String,
    listen: SocketAddr,
    device: String,
    mac: MacAddress,
    mtu: u16,
    sealing: Sealing,
    switching: Mutex<Switching>,
    history: DeviceHistory,
    sent: DatagramCounters,
    received: DatagramCounters,
}

/// Everything behind the server's lock.
struct Switching {
    bridge: Bridge<SocketAddr>,
    admissions: Vec<AddressList>,
}

/// What both ways of frames need.
struct SwitchPaths {
    state: Arc<TapServerState>,
    socket: DatagramSocket,
    port: Arc<DevicePort>,
}

impl TapServerService {
    /// Binds the socket and makes the device. All frames are moved on the worker that `slot` is on.
    pub(crate) async fn start(
        service: &str,
        config: &TapServerSettings,
        hooks: Hooks<'_>,
        machine: &Machine,
        slot: WorkerSlot,
    ) -> Result<Self, TapServerError> {
        let device = &config.tap.device;
        let mut so_mark = config.so_mark;
        let peers = TunnelPeers::of_listener(&mut so_mark, config.netns.as_ref());
        let options =
            ListenOptions { so_mark, netns: config.netns.clone(), ..ListenOptions::default() };
        let socket = {
            let _watched_by = slot.handle().enter();
            DatagramSocket::listen(&config.addr, &options)?
        };
        let unusable = |source| TapServerError::Socket { addr: config.addr.clone(), source };
        let listen = socket.local_addr().map_err(unusable)?;
        let mac = hardware_address::address_of(service, &config.tap, machine.state.as_deref());
        let mut maker = DeviceMaker {
            service: service.to_owned(),
            host: None,
            config: device.clone(),
            ethernet: Some(mac),
            peers,
            packets: slot.handle().clone(),
        };
        let made = maker.make(device.name.as_deref()).await?;
        let facts = HookFacts::of_device(device, made.tun().name(), std::iter::once(listen));
        let made = maker.run_hooks(made, hooks, &facts).await?;
        let port = Arc::new(DevicePort::like(made.tun()));
        let state = Arc::new(TapServerState {
            service: service.to_owned(),
            listen,
            device: port.name().to_owned(),
            mac,
            mtu: device.mtu,
            sealing: Sealing::new(config.tap.cipher.clone()),
            switching: Mutex::new(Switching {
                bridge: Bridge::new(mac),
                admissions: admissions(&config.admissions),
            }),
            history: DeviceHistory::default(),
            sent: DatagramCounters::default(),
            received: DatagramCounters::default(),
        });
        let paths =
            Arc::new(SwitchPaths { state: Arc::clone(&state), socket, port: Arc::clone(&port) });
        let keeping = DeviceTask::start(maker, made, port, Arc::clone(&paths));
        let stop = CancellationToken::new();
        let (task, stopped) = (format!("{service}: receiving from clients"), stop.clone());
        let receiving = machine.duties.keep(slot.handle(), task, move || {
            let (paths, stopped) = (Arc::clone(&paths), stopped.clone());
            async move {
                stopped.run_until_cancelled(downlink::run(&paths)).await;
            }
        });
        info!(service, "listening on {listen} (udp)");
        Ok(Self {
            service: service.to_owned(),
            state,
            stop,
            receiving,
            keeping,
            facts,
            _slot: slot,
        })
    }

    /// Goes by other admissions from now on; clients that these do not admit are forgotten.
    pub(crate) fn apply(&self, config: &TapServerSettings) {
        let mut switching = self.state.switching();
        let Switching { bridge, admissions: lists } = &mut *switching;
        *lists = admissions(&config.admissions);
        bridge.keep_only(|peer| admits(lists, peer.ip()));
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.state.listen
    }

    /// Writes to the log who is there, what passed and what was lost.
    pub(crate) fn log_report(&self) {
        self.state.report().log(&self.service);
    }

    /// What its hooks are informed of.
    pub(crate) fn hook_facts(&self) -> HookFacts {
        self.facts.clone()
    }

    /// Its state, for reports.
    pub(crate) fn view(&self) -> Arc<TapServerState> {
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
pub(crate) fn differ_in_admissions_only(old: &TapServerSettings, new: &TapServerSettings) -> bool {
    let fixed =
        |server: &TapServerSettings| TapServerSettings { admissions: Vec::new(), ..server.clone() };
    fixed(old) == fixed(new)
}

impl TapServerState {
    /// A poisoned lock still guards a usable switch: at worst one frame is not counted.
    fn switching(&self) -> MutexGuard<'_, Switching> {
        self.switching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it goes.
    pub(crate) fn report(&self) -> TapServerReport {
        let now = Instant::now();
        let peers = self.switching().bridge.peers();
        let mut clients: Vec<TapPeerReport> = peers
            .into_iter()
            .map(|(outer, (traffic, macs))| peer(outer, &traffic, macs, now))
            .collect();
        clients.sort_by_key(|client| client.outer);
        TapServerReport {
            listen: self.listen,
            device: self.device.clone(),
            mac: self.mac.to_string(),
            mtu: self.mtu,
            cipher: self.sealing.method(),
            health: self.history.report(),
            clients,
            sent: self.sent.read(),
            received: self.received.read(),
        }
    }
}

fn peer(
    outer: SocketAddr,
    traffic: &PeerTraffic,
    mut macs: Vec<(u16, MacAddress)>,
    now: Instant,
) -> TapPeerReport {
    macs.sort_unstable();
    let name = |(vlan, mac): (u16, MacAddress)| match vlan {
        0 => mac.to_string(),
        vlan => format!("{mac}@{vlan}"),
    };
    TapPeerReport {
        outer,
        macs: macs.into_iter().map(name).collect(),
        since: now.saturating_duration_since(traffic.since),
        heard: now.saturating_duration_since(traffic.heard),
        packets_in: traffic.received.packets,
        bytes_in: traffic.received.bytes,
        packets_out: traffic.sent.packets,
        bytes_out: traffic.sent.bytes,
    }
}

impl Switching {
    /// The way to a client, to whom a frame of this many bytes goes; none: it is not known any more.
    fn towards(&mut self, peer: SocketAddr, bytes: usize) -> Option<DatagramDestination> {
        let traffic = self.bridge.traffic(peer)?;
        traffic.sent.add(1, bytes as u64);
        Some(DatagramDestination { to: peer, local: traffic.local })
    }
}

impl DeviceUser for SwitchPaths {
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

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
    explain::{SwitchExplanation, TunnelConclusion, explain_frame},
    udp_tunnel::{Bridge, BridgePort, DatagramDrop, PeerTraffic},
};
use rtun_proto::{ethernet::MacAddress, frame_content::FrameContent};
use rtun_settings::{TapServerSettings, TunnelLimitSettings};
use rtun_system::tun::{PacketDevice, Tun};
use rtun_transport::udp::DatagramSocket;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    super::{
        access::{admissions, admits},
        counters::{DatagramCounters, DatagramSampling},
        gather::DatagramDestination,
        limits::{LimitedPath, TunnelLimits},
        service::{ServerListener, TunnelDevice, TunnelServerError, TunnelService, say_of_client},
    },
    hardware_address,
    sealing::Sealing,
};
use crate::{
    device::{DeviceHistory, DevicePort, DeviceUser},
    hooks::Hooks,
    limiters::ServiceMeters,
    report::{TapPeerReport, TapServerReport},
    runtime::{
        events::{EventLog, NodeEventKind},
        machine::Machine,
        workers::WorkerSlot,
    },
};

/// A running server.
pub(crate) type TapServerService = TunnelService<TapServerState>;

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
    limits: TunnelLimits,
    events: Arc<EventLog>,
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
        meters: ServiceMeters,
        machine: &Machine,
        slot: WorkerSlot,
    ) -> Result<Self, TunnelServerError> {
        let ServerListener { socket, address: listen, peers } =
            ServerListener::bind(&config.addr, config.so_mark, config.netns.as_ref(), &slot)?;
        let mac = hardware_address::address_of(service, &config.tap, machine.state.as_deref());
        let (settings, addresses) = (&config.tap.device, std::iter::once(listen));
        let device =
            TunnelDevice::make(hooks, settings, Some(mac), peers, addresses, &slot).await?;
        let port = Arc::clone(&device.port);
        let limits = TunnelLimits::new(FrameContent::Ethernet, &config.limits, meters);
        let is_clear = config.tap.cipher.is_none();
        let content = is_clear.then_some(FrameContent::Ethernet);
        let sampling = DatagramSampling::new(service, content, machine);
        let state = Arc::new(TapServerState {
            service: service.to_owned(),
            listen,
            device: port.name().to_owned(),
            mac,
            mtu: settings.mtu,
            sealing: Sealing::new(config.tap.cipher.clone()),
            switching: Mutex::new(Switching {
                bridge: Bridge::new(mac),
                admissions: admissions(&config.admissions),
            }),
            history: DeviceHistory::default(),
            sent: DatagramCounters::with_quotas_out(&limits.quotas).sampled(sampling.clone()),
            received: DatagramCounters::with_quotas_in(&limits.quotas).sampled(sampling),
            limits,
            events: Arc::clone(&machine.events),
        });
        let paths = Arc::new(SwitchPaths { state: Arc::clone(&state), socket, port });
        let shared = Arc::clone(&paths);
        let receive = move |ended: CancellationToken| {
            let paths = Arc::clone(&paths);
            async move {
                tokio::select! {
                    () = downlink::run(&paths) => {}
                    () = downlink::release(&paths) => {}
                    () = ended.cancelled() => {}
                }
            }
        };
        let (ends, task) = ((state, shared), "receiving from clients");
        let server = Self::run(device, ends, machine, slot, task, receive);
        info!(service, "listening on {listen} (udp)");
        Ok(server)
    }

    /// Goes by other admissions and limits from now on; clients that these do not admit are forgotten.
    pub(crate) fn apply(&self, config: &TapServerSettings, meters: ServiceMeters) {
        self.state.limits.apply(&config.limits, meters);
        let mut switching = self.state.switching();
        let Switching { bridge, admissions: lists } = &mut *switching;
        *lists = admissions(&config.admissions);
        bridge.keep_only(|peer| {
            let stays = admits(lists, peer.ip());
            if !stays {
                self.state.say(NodeEventKind::HostLeft, peer, "the admissions let it in no more");
            }
            stays
        });
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.state.listen
    }

    /// Writes to the log who is there, what passed and what was lost.
    pub(crate) fn log_report(&self) {
        self.state.report().log(&self.service);
    }
}

/// Whether a service with the first settings can go on by the second ones.
pub(crate) fn differ_in_rules_only(old: &TapServerSettings, new: &TapServerSettings) -> bool {
    let fixed = |server: &TapServerSettings| TapServerSettings {
        admissions: Vec::new(),
        limits: TunnelLimitSettings::default(),
        ..server.clone()
    };
    fixed(old) == fixed(new)
}

impl TapServerState {
    /// A poisoned lock still guards a usable switch: at worst one frame is not counted.
    fn switching(&self) -> MutexGuard<'_, Switching> {
        self.switching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event about a client.
    fn say(&self, kind: NodeEventKind, client: SocketAddr, text: &str) {
        say_of_client(&self.events, &self.service, kind, client, text);
    }

    /// Explains what happens to a frame; VLAN 0: it has no tag.
    pub(crate) fn explain(
        &self,
        vlan: u16,
        source: MacAddress,
        destination: MacAddress,
    ) -> SwitchExplanation {
        let (switching, now) = (self.switching(), Instant::now());
        let bridge = &switching.bridge;
        let mut explanation = explain_frame(&self.service, bridge, vlan, source, destination, now);
        for (mac, path) in [(source, LimitedPath::In), (destination, LimitedPath::Out)] {
            if let Some((BridgePort::Peer(peer), _, true)) = bridge.last_place(vlan, mac, now) {
                explanation.limits.extend(self.limits.explained(peer, path));
            }
        }
        if self.limits.is_over_quota() && explanation.conclusion.is_delivered() {
            explanation.conclusion =
                TunnelConclusion::Dropped { reason: DatagramDrop::QuotaExceeded };
        }
        explanation
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
        for client in &mut clients {
            client.limits = self.limits.of_peer(client.outer.ip());
        }
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
            queued: self.limits.queued(),
            quotas: self.limits.quota_reports(),
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
        limits: Vec::new(),
    }
}

impl Switching {
    /// The way to a client, to whom this many frames and bytes go; none: it is not known any more.
    fn towards(
        &mut self,
        peer: SocketAddr,
        frames: usize,
        bytes: usize,
    ) -> Option<DatagramDestination> {
        let traffic = self.bridge.traffic(peer)?;
        traffic.sent.add(frames as u64, bytes as u64);
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

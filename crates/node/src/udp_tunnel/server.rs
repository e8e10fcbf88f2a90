//! A UDP tunnel's server: clients register at its socket, and packets pass between them and its device.
//!
//! Two tasks on one thread move all packets: [`uplink`] those of the device, [`downlink`] those of clients. What they decide
//! by is behind one lock, which each holds for one batch; a report holds it for a walk over the clients.

mod decisions;
mod downlink;
mod explain;
mod limited;
mod refusals;
mod uplink;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use ipnet::IpNet;
use rtun_proto::frame_content::FrameContent;
use rtun_settings::{UdpServerRules, UdpServerSettings};
use rtun_system::tun::{PacketDevice, Tun};
use rtun_transport::udp::DatagramSocket;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::decisions::{ServerDecisions, users};
use super::{
    counters::{DatagramCounters, DatagramSampling, by_word},
    followed::{FollowedRules, RulesUser, follow, replace},
    gather::{DatagramDestination, OutgoingRuns},
    limits::{LimitedPath, TunnelLimits, number_of},
    service::{ServerListener, TunnelDevice, TunnelServerError, TunnelService, say_of_client},
};
use crate::{
    device::{DeviceHistory, DevicePort, DeviceUser},
    feeds::Feeds,
    hooks::Hooks,
    limiters::ServiceMeters,
    report::{RegisteredReport, TunnelServerReport},
    runtime::{
        events::{EventLog, NodeEventKind},
        machine::Machine,
        workers::WorkerSlot,
    },
};

/// A running server.
pub(crate) type UdpServerService = TunnelService<UdpServerState>;

/// How a server goes, for reports. Keeps neither its socket nor its device.
pub(crate) struct UdpServerState {
    service: String,
    listen: SocketAddr,
    device: String,
    mtu: u16,
    /// Addresses and networks of the device.
    own: Vec<IpNet>,
    followed: FollowedRules<UdpServerRules>,
    decisions: Mutex<ServerDecisions>,
    history: DeviceHistory,
    sent: DatagramCounters,
    received: DatagramCounters,
    limits: TunnelLimits,
    events: Arc<EventLog>,
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
        meters: ServiceMeters,
        feeds: Feeds,
        machine: &Machine,
        slot: WorkerSlot,
    ) -> Result<Self, TunnelServerError> {
        let ServerListener { socket, address: listen, peers } =
            ServerListener::bind(&config.addr, config.so_mark, config.netns.as_ref(), &slot)?;
        let addresses = std::iter::once(listen);
        let device =
            TunnelDevice::make(hooks, &config.device, None, peers, addresses, &slot).await?;
        let port = Arc::clone(&device.port);
        let limits = TunnelLimits::new(FrameContent::Packets, &config.rules.limits, meters);
        let sampling = DatagramSampling::new(service, Some(FrameContent::Packets), machine);
        let (followed, rules) = FollowedRules::begin(config.rules.clone(), feeds);
        let state = Arc::new(UdpServerState {
            service: service.to_owned(),
            listen,
            device: port.name().to_owned(),
            mtu: config.device.mtu,
            own: config.device.addresses.clone(),
            decisions: Mutex::new(ServerDecisions::new(&config.device.addresses, rules)),
            followed,
            history: DeviceHistory::default(),
            sent: DatagramCounters::with_quotas_out(&limits.quotas).sampled(sampling.clone()),
            received: DatagramCounters::with_quotas_in(&limits.quotas).sampled(sampling),
            limits,
            events: Arc::clone(&machine.events),
        });
        let paths = Arc::new(UdpServerPaths { state: Arc::clone(&state), socket, port });
        let shared = Arc::clone(&paths);
        let receive = move |ended: CancellationToken| {
            let paths = Arc::clone(&paths);
            async move {
                tokio::select! {
                    () = downlink::run(&paths) => {}
                    () = limited::run(&paths) => {}
                    () = ended.cancelled() => {}
                }
            }
        };
        let (name, rules_of) = (service.to_owned(), Arc::clone(&state));
        let following = machine.duties.keep(
            &Handle::current(),
            format!("{service}: following users"),
            move || {
                let (service, state) = (name.clone(), Arc::clone(&rules_of));
                async move { follow(&service, &state).await }
            },
        );
        let (ends, task) = ((state, shared), "receiving from clients");
        let server = Self::run(device, ends, machine, slot, task, receive).following(following);
        info!(service, "listening on {listen} (udp)");
        Ok(server)
    }

    /// Goes by other rules from now on; clients that these would not have let in are forgotten.
    pub(crate) async fn apply(
        &self,
        config: &UdpServerSettings,
        feeds: Feeds,
        meters: ServiceMeters,
    ) {
        self.state.limits.apply(&config.rules.limits, meters);
        replace(&self.state, config.rules.clone(), feeds).await;
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.state.listen
    }

    /// Writes to the log who is registered, what passed and what was lost.
    pub(crate) fn log_report(&self) {
        self.state.report().log(&self.service);
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

    /// Has a packet of a client, which stands at this place of `buffer`, sent to another one, now or as the limits of that allow.
    fn send_on(
        &self,
        from: SocketAddr,
        destination: DatagramDestination,
        at: Range<usize>,
        buffer: &[u8],
        outgoings: &mut OutgoingRuns,
    ) {
        let len = at.len() as u64;
        if self.limits.holds(LimitedPath::Out, destination.to) {
            // From here on it counts as what clients are sent.
            self.received.count_out(1, len);
            self.sent.count_in(1, len);
            let (to, sender) = (destination.to, number_of(from));
            self.limits.wait(LimitedPath::Out, to, sender, &buffer[at], &self.sent);
            return;
        }
        self.limits.quotas.each(|meter| meter.count_out(len));
        let segment = at.len();
        outgoings.push(destination, at, segment);
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
        for client in &mut clients {
            client.limits = self.limits.of_peer(client.outer.ip());
        }
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
            queued: self.limits.queued(),
            quotas: self.limits.quota_reports(),
        }
    }
}

impl RulesUser for UdpServerState {
    type Rules = UdpServerRules;

    fn followed(&self) -> &FollowedRules<UdpServerRules> {
        &self.followed
    }

    fn go_by(&self, rules: UdpServerRules) {
        let users = users(&rules);
        let gone = self.decisions().replace(&self.own, rules, users);
        for outer in gone {
            info!(
                service = self.service,
                client = %outer,
                "the client's registration does not hold by the new rules"
            );
            let text = "its registration does not hold by the new rules";
            let (events, service) = (&self.events, &self.service);
            say_of_client(events, service, NodeEventKind::HostLeft, outer, text);
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
        limits: Vec::new(),
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

//! A UDP tunnel's client: a device that stays, and a server that it registers at.
//!
//! One thread moves all packets: [`uplink`] those of the device, at once and whether the server has answered or not;
//! [`downlink`] what the server sends.

mod downlink;
mod registration;
mod uplink;

use std::{io, net::IpAddr, sync::Arc};

use rtun_proto::{frame_content::FrameContent, udp_tunnel::encode_register};
use rtun_settings::{TunnelLimitSettings, UdpClientSettings};
use rtun_system::tun::{PacketDevice, Tun};
use tokio_util::sync::CancellationToken;

use self::registration::ClientRegistration;
use super::{
    conversation::DialledServer,
    counters::{DatagramCounters, DatagramSampling, with_relayed},
    limits::{SERVER, TunnelLimits},
    service::{ServersPath, TunnelClientError, TunnelDevice, TunnelService, path_to_servers},
    session::ServerSession,
};
use crate::{
    device::{DeviceHistory, DeviceUser},
    feeds::Feeds,
    hooks::Hooks,
    limiters::ServiceMeters,
    report::TunnelClientReport,
    runtime::{machine::Machine, workers::WorkerSlot},
};

/// A running client.
pub(crate) type UdpClientService = TunnelService<UdpClientState>;

/// How a client goes, for reports. Keeps no device.
pub(crate) struct UdpClientState {
    addresses: Vec<IpAddr>,
    device: String,
    mtu: u16,
    history: DeviceHistory,
    sent: DatagramCounters,
    received: DatagramCounters,
    dialled: DialledServer,
    limits: TunnelLimits,
}

impl UdpClientService {
    /// Makes the device, then keeps it registered in the background.
    pub(crate) async fn start(
        service: &str,
        config: &UdpClientSettings,
        hooks: Hooks<'_>,
        meters: ServiceMeters,
        feeds: &Feeds,
        machine: &Machine,
        slot: WorkerSlot,
    ) -> Result<Self, TunnelClientError> {
        let mut config = config.clone();
        let UdpClientSettings { servers, device, sockets, relay, .. } = &mut config;
        let relay = relay.as_mut();
        let found = path_to_servers(service, servers, sockets, relay, device, feeds, machine)?;
        let ServersPath { names, peers, relay } = found;
        let addresses: Vec<IpAddr> = config.device.addresses.iter().map(|net| net.addr()).collect();
        let register = encode_register(config.passphrase, &addresses);
        let remotes = config.servers.iter();
        let device = TunnelDevice::make(hooks, &config.device, None, peers, remotes, &slot).await?;
        let port = Arc::clone(&device.port);
        let limits = TunnelLimits::new(FrameContent::Packets, &config.limits, meters);
        let sampling = DatagramSampling::new(service, Some(FrameContent::Packets), machine);
        let state = Arc::new(UdpClientState {
            addresses,
            device: port.name().to_owned(),
            mtu: config.device.mtu,
            history: DeviceHistory::default(),
            sent: DatagramCounters::with_quotas_in(&limits.quotas).sampled(sampling.clone()),
            received: DatagramCounters::with_quotas_out(&limits.quotas).sampled(sampling),
            dialled: DialledServer::default(),
            limits,
        });
        let session = Arc::new(ServerSession {
            service: service.to_owned(),
            servers: config.servers.clone(),
            interval: config.keepalive,
            sockets: config.sockets.clone(),
            names,
            relay,
            conversation: ClientRegistration {
                service: service.to_owned(),
                register,
                port,
                state: Arc::clone(&state),
            },
        });
        let register = move |ended: CancellationToken| {
            let session = Arc::clone(&session);
            async move {
                tokio::select! {
                    () = session.run_until(&ended) => {}
                    () = session.conversation.release() => {}
                }
            }
        };
        let ends = (Arc::clone(&state), state);
        Ok(Self::run(device, ends, machine, slot, "registering at a server", register))
    }

    /// Goes by other limits from now on.
    pub(crate) fn limit(&self, limits: &TunnelLimitSettings, meters: ServiceMeters) {
        self.state.limits.apply(limits, meters);
    }

    /// Writes to the log how it goes.
    pub(crate) fn log_report(&self) {
        self.state.report().log(&self.service);
    }
}

impl UdpClientState {
    /// How it goes.
    pub(crate) fn report(&self) -> TunnelClientReport {
        self.dialled.with(|story| TunnelClientReport {
            addresses: self.addresses.clone(),
            device: self.device.clone(),
            mtu: self.mtu,
            health: self.history.report(),
            server: story.server.clone(),
            remote: story.remote,
            relay: self.dialled.relayed.relay.load().as_deref().cloned(),
            queued: self.dialled.queued() + self.limits.queued(),
            local: story.local,
            seen_as: story.seen_as,
            heard: story.heard.map(|at| at.elapsed()),
            registers: story.keepalives,
            replies: story.answers,
            failed: story.failed,
            last_error: story.failure(),
            sent: with_relayed(self.sent.read(), &self.dialled.relayed.sent.read()),
            received: self.received.read(),
            limits: self.limits.of_peer(SERVER.ip()),
            quotas: self.limits.quota_reports(),
        })
    }
}

impl DeviceUser for UdpClientState {
    fn history(&self) -> &DeviceHistory {
        &self.history
    }

    fn is_connected(&self) -> bool {
        self.dialled.with(|story| story.answered)
    }

    async fn carry(self: Arc<Self>, device: Arc<Tun>) -> io::Error {
        uplink::run(&self, &*device).await
    }
}

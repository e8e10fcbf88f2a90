//! An Ethernet tunnel's client: a device that stays, and a server that its frames go to.
//!
//! One thread moves all frames: [`uplink`] those of the device, at once and whether the server has answered or not;
//! [`downlink`] what the server sends.

mod downlink;
mod uplink;

use std::{io, sync::Arc, time::Duration};

use rtun_proto::{ethernet::MacAddress, frame_content::FrameContent};
use rtun_settings::{TapClientSettings, TunnelLimitSettings};
use rtun_system::tun::{PacketDevice, Tun};
use tokio_util::sync::CancellationToken;

use self::downlink::Switched;
use super::{
    super::{
        conversation::DialledServer,
        counters::{DatagramCounters, DatagramSampling, with_relayed},
        limits::{SERVER, TunnelLimits},
        service::{ServersPath, TunnelClientError, TunnelDevice, TunnelService, path_to_servers},
        session::ServerSession,
    },
    hardware_address,
    sealing::Sealing,
};
use crate::{
    device::{DeviceHistory, DeviceUser},
    feeds::Feeds,
    hooks::Hooks,
    limiters::ServiceMeters,
    report::TapClientReport,
    runtime::{machine::Machine, workers::WorkerSlot},
};

/// Between the frames by which a client says that it is there.
const INTERVAL: Duration = Duration::from_secs(10);

/// A running client.
pub(crate) type TapClientService = TunnelService<TapClientState>;

/// How a client goes, for reports. Keeps no device.
pub(crate) struct TapClientState {
    device: String,
    mac: MacAddress,
    mtu: u16,
    sealing: Sealing,
    history: DeviceHistory,
    sent: DatagramCounters,
    received: DatagramCounters,
    dialled: DialledServer,
    limits: TunnelLimits,
}

impl TapClientService {
    /// Makes the device, then keeps a server in the background.
    pub(crate) async fn start(
        service: &str,
        config: &TapClientSettings,
        hooks: Hooks<'_>,
        meters: ServiceMeters,
        feeds: &Feeds,
        machine: &Machine,
        slot: WorkerSlot,
    ) -> Result<Self, TunnelClientError> {
        let TapClientSettings { servers, tap, mut sockets, mut relay, limits } = config.clone();
        let settings = &tap.device;
        let relay = relay.as_mut();
        let found =
            path_to_servers(service, &servers, &mut sockets, relay, settings, feeds, machine)?;
        let ServersPath { names, peers, relay } = found;
        let mac = hardware_address::address_of(service, &tap, machine.state.as_deref());
        let remotes = servers.iter();
        let device = TunnelDevice::make(hooks, settings, Some(mac), peers, remotes, &slot).await?;
        let port = Arc::clone(&device.port);
        let limits = TunnelLimits::new(FrameContent::Ethernet, &limits, meters);
        let content = tap.cipher.is_none().then_some(FrameContent::Ethernet);
        let sampling = DatagramSampling::new(service, content, machine);
        let state = Arc::new(TapClientState {
            device: port.name().to_owned(),
            mac,
            mtu: settings.mtu,
            sealing: Sealing::new(tap.cipher.clone()),
            history: DeviceHistory::default(),
            sent: DatagramCounters::with_quotas_in(&limits.quotas).sampled(sampling.clone()),
            received: DatagramCounters::with_quotas_out(&limits.quotas).sampled(sampling),
            dialled: DialledServer::default(),
            limits,
        });
        let session = Arc::new(ServerSession {
            service: service.to_owned(),
            servers,
            interval: Some(INTERVAL),
            sockets,
            names,
            relay,
            conversation: Switched { service: service.to_owned(), port, state: Arc::clone(&state) },
        });
        let talk = move |ended: CancellationToken| {
            let session = Arc::clone(&session);
            async move {
                tokio::select! {
                    () = session.run_until(&ended) => {}
                    () = session.conversation.release() => {}
                }
            }
        };
        let ends = (Arc::clone(&state), state);
        Ok(Self::run(device, ends, machine, slot, "keeping a server", talk))
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

impl TapClientState {
    /// How it goes.
    pub(crate) fn report(&self) -> TapClientReport {
        self.dialled.with(|story| TapClientReport {
            device: self.device.clone(),
            mac: self.mac.to_string(),
            mtu: self.mtu,
            cipher: self.sealing.method(),
            health: self.history.report(),
            server: story.server.clone(),
            remote: story.remote,
            relay: self.dialled.relayed.relay.load().as_deref().cloned(),
            queued: self.dialled.queued() + self.limits.queued(),
            local: story.local,
            answered: story.answered,
            heard: story.heard.map(|at| at.elapsed()),
            failed: story.failed,
            last_error: story.failure(),
            sent: with_relayed(self.sent.read(), &self.dialled.relayed.sent.read()),
            received: self.received.read(),
            limits: self.limits.of_peer(SERVER.ip()),
            quotas: self.limits.quota_reports(),
        })
    }
}

impl DeviceUser for TapClientState {
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

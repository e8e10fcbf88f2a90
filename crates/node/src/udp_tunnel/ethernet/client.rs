//! An Ethernet tunnel's client: a device that stays, and a server that its frames go to.
//!
//! One thread moves all frames: [`uplink`] those of the device, at once and whether the server has answered or not;
//! [`downlink`] what the server sends.

mod downlink;
mod uplink;

use std::{io, sync::Arc, time::Duration};

use rtun_proto::ethernet::MacAddress;
use rtun_settings::TapClientSettings;
use rtun_system::tun::{PacketDevice, Tun};
use rtun_transport::names::Names;
use tokio_util::sync::CancellationToken;

use self::downlink::Switched;
use super::{
    super::{
        counters::DatagramCounters,
        service::{TunnelClientError, TunnelDevice, TunnelService},
        session::{DialledServer, ServerSession},
    },
    hardware_address,
    sealing::Sealing,
};
use crate::{
    device::{DeviceHistory, DeviceUser, TunnelPeers},
    dial::address_book,
    hooks::Hooks,
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
}

impl TapClientService {
    /// Makes the device, then keeps a server in the background.
    pub(crate) async fn start(
        service: &str,
        config: &TapClientSettings,
        hooks: Hooks<'_>,
        machine: &Machine,
        slot: WorkerSlot,
    ) -> Result<Self, TunnelClientError> {
        let mut sockets = config.sockets.clone();
        let settings = &config.tap.device;
        let names: Arc<Names> = Arc::new(address_book::names(machine.state.as_ref()));
        let servers: Vec<&str> = config.servers.iter().map(String::as_str).collect();
        let peers = TunnelPeers::of_dialler(&servers, &mut sockets, settings, &names);
        let mac = hardware_address::address_of(service, &config.tap, machine.state.as_deref());
        let remotes = config.servers.iter();
        let device = TunnelDevice::make(hooks, settings, Some(mac), peers, remotes, &slot).await?;
        let port = Arc::clone(&device.port);
        let state = Arc::new(TapClientState {
            device: port.name().to_owned(),
            mac,
            mtu: settings.mtu,
            sealing: Sealing::new(config.tap.cipher.clone()),
            history: DeviceHistory::default(),
            sent: DatagramCounters::default(),
            received: DatagramCounters::default(),
            dialled: DialledServer::default(),
        });
        let session = Arc::new(ServerSession {
            service: service.to_owned(),
            servers: config.servers.clone(),
            interval: Some(INTERVAL),
            sockets,
            names,
            conversation: Switched { service: service.to_owned(), port, state: Arc::clone(&state) },
        });
        let talk = move |ended: CancellationToken| {
            let session = Arc::clone(&session);
            async move {
                ended.run_until_cancelled(session.run()).await;
                session.conversation.state.dialled.socket.store(None);
            }
        };
        let ends = (Arc::clone(&state), state);
        Ok(Self::run(device, ends, machine, slot, "keeping a server", talk))
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
            server: story.server.clone().zip(story.remote),
            local: story.local,
            answered: story.answered,
            heard: story.heard.map(|at| at.elapsed()),
            failed: story.failed,
            last_error: story.failure(),
            sent: self.sent.read(),
            received: self.received.read(),
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

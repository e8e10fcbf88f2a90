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
        session::{DialledServer, ServerSession},
    },
    hardware_address,
    sealing::Sealing,
};
use crate::{
    device::{
        DeviceError, DeviceHistory, DeviceMaker, DevicePort, DeviceTask, DeviceUser, TunnelPeers,
    },
    dial::address_book,
    hooks::{HookError, HookFacts, Hooks},
    report::TapClientReport,
    runtime::{duties::Duty, machine::Machine, workers::WorkerSlot},
};

/// Between the frames by which a client says that it is there.
const INTERVAL: Duration = Duration::from_secs(10);

/// A client of an Ethernet tunnel cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum TapClientError {
    /// Its device cannot be made or set up.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A command that has to succeed before its device is used has failed.
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// A running client.
pub(crate) struct TapClientService {
    service: String,
    state: Arc<TapClientState>,
    stop: CancellationToken,
    talking: Duty,
    keeping: DeviceTask,
    facts: HookFacts,
    _slot: WorkerSlot,
}

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
    ) -> Result<Self, TapClientError> {
        let mut sockets = config.sockets.clone();
        let device = &config.tap.device;
        let names: Arc<Names> = Arc::new(address_book::names(machine.state.as_ref()));
        let servers: Vec<&str> = config.servers.iter().map(String::as_str).collect();
        let peers = TunnelPeers::of_dialler(&servers, &mut sockets, device, &names);
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
        let facts = HookFacts::of_device(device, made.tun().name(), config.servers.iter());
        let made = maker.run_hooks(made, hooks, &facts).await?;
        let port = Arc::new(DevicePort::like(made.tun()));
        let state = Arc::new(TapClientState {
            device: port.name().to_owned(),
            mac,
            mtu: device.mtu,
            sealing: Sealing::new(config.tap.cipher.clone()),
            history: DeviceHistory::default(),
            sent: DatagramCounters::default(),
            received: DatagramCounters::default(),
            dialled: DialledServer::default(),
        });
        let keeping = DeviceTask::start(maker, made, Arc::clone(&port), Arc::clone(&state));
        let stop = CancellationToken::new();
        let session = Arc::new(ServerSession {
            service: service.to_owned(),
            servers: config.servers.clone(),
            interval: Some(INTERVAL),
            sockets,
            names,
            conversation: Switched { service: service.to_owned(), port, state: Arc::clone(&state) },
        });
        let (task, stopped) = (format!("{service}: keeping a server"), stop.clone());
        let talking = machine.duties.keep(slot.handle(), task, move || {
            let (session, stopped) = (Arc::clone(&session), stopped.clone());
            async move {
                stopped.run_until_cancelled(session.run()).await;
                session.conversation.state.dialled.socket.store(None);
            }
        });
        let service = service.to_owned();
        Ok(Self { service, state, stop, talking, keeping, facts, _slot: slot })
    }

    /// Writes to the log how it goes.
    pub(crate) fn log_report(&self) {
        self.state.report().log(&self.service);
    }

    /// What its hooks are informed of.
    pub(crate) fn hook_facts(&self) -> HookFacts {
        self.facts.clone()
    }

    /// Its state, for reports.
    pub(crate) fn view(&self) -> Arc<TapClientState> {
        Arc::clone(&self.state)
    }

    /// Has the device looked at, and made again if it is gone, at once.
    pub(crate) fn look_at_device(&self) {
        self.keeping.look_again();
    }

    /// Sends no more and removes the device with all that was set up for it.
    pub(crate) async fn stop(self) {
        let Self { stop, talking, keeping, .. } = self;
        stop.cancel();
        talking.end().await;
        keeping.end().await;
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

//! A UDP tunnel's client: a device that stays, and a server that it registers at.
//!
//! One thread moves all packets: [`uplink`] those of the device, at once and whether the server has answered or not;
//! [`downlink`] what the server sends.

mod downlink;
mod registration;
mod relayed;
mod uplink;

use std::{io, net::IpAddr, sync::Arc};

use rtun_proto::udp_tunnel::encode_register;
use rtun_settings::UdpClientSettings;
use rtun_system::tun::{PacketDevice, Tun};
use rtun_transport::names::Names;
use tokio_util::sync::CancellationToken;

use self::{
    downlink::Registering,
    registration::ClientRegistration,
    relayed::{RelayPath, RelayedState},
};
use super::{
    counters::{DatagramCounters, with_relayed},
    session::{DialledServer, ServerSession},
};
use crate::{
    device::{
        DeviceError, DeviceHistory, DeviceMaker, DevicePort, DeviceTask, DeviceUser, TunnelPeers,
    },
    dial::{SetupError, address_book},
    hooks::{HookError, HookFacts, Hooks},
    report::{Queued, TunnelClientReport},
    runtime::{duties::Duty, machine::Machine, workers::WorkerSlot},
};

/// A client of a UDP tunnel cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum UdpClientError {
    /// Its device cannot be made or set up.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A relay or a proxy cannot be used as configured.
    #[error(transparent)]
    Relay(#[from] SetupError),
    /// A command that has to succeed first has failed.
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// A running client.
pub(crate) struct UdpClientService {
    service: String,
    state: Arc<UdpClientState>,
    facts: HookFacts,
    stop: CancellationToken,
    registering: Duty,
    keeping: DeviceTask,
    _slot: WorkerSlot,
}

/// How a client goes, for reports. Keeps no device.
pub(crate) struct UdpClientState {
    addresses: Vec<IpAddr>,
    device: String,
    mtu: u16,
    history: DeviceHistory,
    sent: DatagramCounters,
    received: DatagramCounters,
    dialled: DialledServer,
    relayed: RelayedState,
}

impl UdpClientService {
    /// Makes the device, then keeps it registered in the background.
    pub(crate) async fn start(
        service: &str,
        config: &UdpClientSettings,
        hooks: Hooks<'_>,
        machine: &Machine,
        slot: WorkerSlot,
    ) -> Result<Self, UdpClientError> {
        let mut config = config.clone();
        let names: Arc<Names> = Arc::new(address_book::names(machine.state.as_ref()));
        let UdpClientSettings { servers, device, sockets, relay, .. } = &mut config;
        let peers = match relay {
            Some(relay) => TunnelPeers::of_chain(
                service,
                &mut relay.relays,
                &mut relay.proxies,
                device,
                &names,
            ),
            None => {
                let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
                TunnelPeers::of_dialler(&servers, sockets, device, &names)
            }
        };
        let relay = relay
            .as_ref()
            .map(|relay| RelayPath::new(relay, service, &machine.surroundings, Arc::clone(&names)));
        let relay = relay.transpose()?;
        let addresses: Vec<IpAddr> = config.device.addresses.iter().map(|net| net.addr()).collect();
        let register = encode_register(config.passphrase, &addresses);
        let mut maker = DeviceMaker {
            service: service.to_owned(),
            host: None,
            config: config.device.clone(),
            ethernet: None,
            peers,
            packets: slot.handle().clone(),
        };
        let made = maker.make(config.device.name.as_deref()).await?;
        let facts = HookFacts::of_device(&config.device, made.tun().name(), config.servers.iter());
        let made = maker.run_hooks(made, hooks, &facts).await?;
        let port = Arc::new(DevicePort::like(made.tun()));
        let state = Arc::new(UdpClientState {
            addresses,
            device: port.name().to_owned(),
            mtu: config.device.mtu,
            history: DeviceHistory::default(),
            sent: DatagramCounters::default(),
            received: DatagramCounters::default(),
            dialled: DialledServer::default(),
            relayed: RelayedState::default(),
        });
        let keeping = DeviceTask::start(maker, made, Arc::clone(&port), Arc::clone(&state));
        let stop = CancellationToken::new();
        let session = Arc::new(ServerSession {
            service: service.to_owned(),
            servers: config.servers.clone(),
            interval: config.keepalive,
            sockets: config.sockets.clone(),
            names,
            conversation: Registering {
                registration: ClientRegistration {
                    service: service.to_owned(),
                    keepalive: config.keepalive,
                    register,
                    port,
                    state: Arc::clone(&state),
                },
                relay,
            },
        });
        let (task, ended) = (format!("{service}: registering at a server"), stop.clone());
        let registering = machine.duties.keep(slot.handle(), task, move || {
            let (session, ended) = (Arc::clone(&session), ended.clone());
            async move {
                tokio::select! {
                    () = session.run() => {}
                    () = session.conversation.probe() => {}
                    () = ended.cancelled() => {}
                }
                let UdpClientState { dialled, relayed, .. } =
                    &*session.conversation.registration.state;
                dialled.socket.store(None);
                relayed.link.store(None);
            }
        });
        let service = service.to_owned();
        Ok(Self { service, state, facts, stop, registering, keeping, _slot: slot })
    }

    /// What its hooks are informed of.
    pub(crate) fn hook_facts(&self) -> HookFacts {
        self.facts.clone()
    }

    /// Writes to the log how it goes.
    pub(crate) fn log_report(&self) {
        self.state.report().log(&self.service);
    }

    /// Its state, for reports.
    pub(crate) fn view(&self) -> Arc<UdpClientState> {
        Arc::clone(&self.state)
    }

    /// Has the device looked at, and made again if it is gone, at once.
    pub(crate) fn look_at_device(&self) {
        self.keeping.look_again();
    }

    /// Registers no more and removes the device with all that was set up for it.
    pub(crate) async fn stop(self) {
        let Self { stop, registering, keeping, .. } = self;
        stop.cancel();
        registering.end().await;
        keeping.end().await;
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
            relay: self.relayed.relay.load().as_deref().cloned(),
            queued: self.queued(),
            local: story.local,
            seen_as: story.seen_as,
            heard: story.heard.map(|at| at.elapsed()),
            registers: story.keepalives,
            replies: story.answers,
            failed: story.failed,
            last_error: story.failure(),
            sent: with_relayed(self.sent.read(), &self.relayed.sent.read()),
            received: self.received.read(),
        })
    }

    fn queued(&self) -> Queued {
        let Some(link) = self.relayed.link.load_full() else { return Queued::default() };
        let (packets, bytes) = link.queued();
        Queued { packets, bytes: bytes as u64 }
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

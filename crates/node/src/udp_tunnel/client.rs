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
    service::{TunnelClientError, TunnelDevice, TunnelService},
    session::{DialledServer, ServerSession},
};
use crate::{
    device::{DeviceHistory, DeviceUser, TunnelPeers},
    dial::address_book,
    hooks::Hooks,
    report::{Queued, TunnelClientReport},
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
    ) -> Result<Self, TunnelClientError> {
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
        let remotes = config.servers.iter();
        let device = TunnelDevice::make(hooks, &config.device, None, peers, remotes, &slot).await?;
        let port = Arc::clone(&device.port);
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
        let register = move |ended: CancellationToken| {
            let session = Arc::clone(&session);
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
        };
        let ends = (Arc::clone(&state), state);
        Ok(Self::run(device, ends, machine, slot, "registering at a server", register))
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

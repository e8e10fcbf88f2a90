//! What a client registers, and what it notes of what its server sends.

use std::{fmt, net::IpAddr, sync::Arc};

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::udp_tunnel::FromServer;
use tracing::info;

use super::{
    super::{
        delivery::DeviceBatch,
        limits::{DEVICE, LimitedPath, ReleasedDatagrams, SERVER},
        limits_of_client,
    },
    UdpClientState,
};
use crate::device::DevicePort;

/// What a client registers: its side of a conversation with its server.
pub(super) struct ClientRegistration {
    pub(super) service: String,
    /// The same bytes each time.
    pub(super) register: Vec<u8>,
    pub(super) port: Arc<DevicePort>,
    pub(super) state: Arc<UdpClientState>,
}

/// What has arrived at once.
#[derive(Default)]
pub(super) struct ArrivedDatagrams {
    packets: u64,
    bytes: u64,
    /// The last reply to a register: the address that the server sees.
    reply: Option<IpAddr>,
}

impl ClientRegistration {
    /// Sorts one datagram of the server, which begins at `start` of its buffer: a packet is for the device.
    pub(super) fn sort(
        &self,
        datagram: &[u8],
        start: usize,
        delivery: &mut DeviceBatch,
        arrived: &mut ArrivedDatagrams,
    ) {
        match FromServer::decode(datagram) {
            Ok(FromServer::Reply(outer)) => {
                arrived.reply = Some(outer);
                return;
            }
            Ok(FromServer::Packet(packet)) => {
                let UdpClientState { limits, received, .. } = &*self.state;
                let len = packet.len();
                if limits.is_over_quota() {
                    received.lose(DatagramDrop::QuotaExceeded, 1, None, datagram);
                } else if limits.holds(LimitedPath::Out, SERVER) {
                    limits.wait(LimitedPath::Out, SERVER, DEVICE, &datagram[..len], received);
                } else {
                    delivery.push(start..start + len);
                }
            }
            Err(error) => self.state.received.lose(error.into(), 1, None, datagram),
        }
        arrived.packets += 1;
        arrived.bytes += datagram.len() as u64;
    }

    /// Moves what has waited for limits, without end.
    pub(super) async fn release(&self) {
        let UdpClientState { limits, dialled, sent, received, .. } = &*self.state;
        let mut delivery = DeviceBatch::new(&*self.port);
        let deliver = |released: &ReleasedDatagrams| {
            released.of_server().for_each(|at| delivery.push(at));
            delivery.deliver(&released.buffer, &*self.port, received);
        };
        limits_of_client::release(limits, dialled, (sent, received), deliver).await;
    }

    /// Notes what has arrived from the server, which is reached at or through `remote`; whether a reply was among it.
    pub(super) fn note(
        &self,
        server: &str,
        remote: &dyn fmt::Display,
        arrived: &ArrivedDatagrams,
    ) -> bool {
        let ArrivedDatagrams { packets, bytes, reply } = *arrived;
        self.state.received.count_in(packets, bytes);
        let Some(outer) = reply else { return false };
        let before = self.state.dialled.with(|story| story.seen_as.replace(outer));
        if before != reply {
            let service = &self.service;
            info!(service, server, remote = %remote, "registered; the server sees us as {outer}");
        }
        true
    }
}

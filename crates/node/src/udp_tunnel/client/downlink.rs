//! What a client's server sends: replies, and packets for the device.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::udp_tunnel::FromServer;
use rtun_transport::udp::ReceivedDatagrams;
use tracing::info;

use super::{
    super::{
        delivery::DeviceBatch,
        session::{Conversation, DialledServer},
    },
    UdpClientState,
};
use crate::device::DevicePort;

/// A client's side of a conversation with its server.
pub(super) struct ClientRegistration {
    pub(super) service: String,
    /// The same bytes each time.
    pub(super) register: Vec<u8>,
    pub(super) port: Arc<DevicePort>,
    pub(super) state: Arc<UdpClientState>,
}

impl Conversation for ClientRegistration {
    type Intake = DeviceBatch;

    const CAUSES: &'static str = "The server is down or out of reach; or it refuses this client, which it does in silence: \
         another passphrase, an address that is not in its networks, or one that another client has";

    fn dialled(&self) -> &DialledServer {
        &self.state.dialled
    }

    fn keepalive(&self) -> Vec<u8> {
        self.register.clone()
    }

    fn intake(&self) -> DeviceBatch {
        DeviceBatch::new(&*self.port)
    }

    fn take(
        &self,
        server: &str,
        remote: SocketAddr,
        received: &ReceivedDatagrams,
        delivery: &mut DeviceBatch,
    ) -> bool {
        let reply = self.sort(received, delivery);
        delivery.deliver(received.buffer(), &*self.port, &self.state.received);
        let Some(outer) = reply else { return false };
        let before = self.state.dialled.with(|story| story.seen_as.replace(outer));
        if before != reply {
            let service = &self.service;
            info!(service, server, remote = %remote, "registered; the server sees us as {outer}");
        }
        true
    }
}

impl ClientRegistration {
    /// Takes what has arrived apart: packets for the device, and the last reply.
    fn sort(&self, received: &ReceivedDatagrams, delivery: &mut DeviceBatch) -> Option<IpAddr> {
        let counters = &self.state.received;
        let (mut packets, mut bytes) = (0, 0);
        let mut reply = None;
        for run in received.runs() {
            for at in run.datagrams() {
                let datagram = &received.buffer()[at.clone()];
                match FromServer::decode(datagram) {
                    Ok(FromServer::Reply(outer)) => {
                        reply = Some(outer);
                        continue;
                    }
                    Ok(FromServer::Packet(packet)) => {
                        delivery.push(at.start..at.start + packet.len());
                    }
                    Err(error) => counters.count_drops(DatagramDrop::from(error), 1),
                }
                packets += 1;
                bytes += datagram.len() as u64;
            }
        }
        counters.count_in(packets, bytes);
        reply
    }
}

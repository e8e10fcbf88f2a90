//! What a client's server sends: replies, and packets for the device.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::udp_tunnel::FromServer;
use rtun_transport::udp::Received;
use tracing::info;

use super::{
    super::{
        delivery::Delivery,
        session::{Conversation, DialledServer},
    },
    ClientState,
};
use crate::device::Port;

/// A client's side of a conversation with its server.
pub(super) struct Registering {
    pub(super) service: String,
    /// The same bytes each time.
    pub(super) register: Vec<u8>,
    pub(super) port: Arc<Port>,
    pub(super) state: Arc<ClientState>,
}

impl Conversation for Registering {
    type Intake = Delivery;

    const CAUSES: &'static str = "The server is down or out of reach; or it refuses this client, which it does in silence: \
         another passphrase, an address that is not in its networks, or one that another client has";

    fn dialled(&self) -> &DialledServer {
        &self.state.dialled
    }

    fn keepalive(&self) -> Vec<u8> {
        self.register.clone()
    }

    fn intake(&self) -> Delivery {
        Delivery::new(&*self.port)
    }

    fn take(
        &self,
        server: &str,
        remote: SocketAddr,
        received: &Received,
        delivery: &mut Delivery,
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

impl Registering {
    /// Takes what has arrived apart: packets for the device, and the last reply.
    fn sort(&self, received: &Received, delivery: &mut Delivery) -> Option<IpAddr> {
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

//! What a client's server sends, directly or through a relay: replies, and packets for the device.

use std::net::SocketAddr;

use rtun_transport::udp::ReceivedDatagrams;

use super::{
    super::{
        delivery::DeviceBatch,
        session::{ConnectionEnd, Conversation, DialledServer},
    },
    registration::{ArrivedDatagrams, ClientRegistration},
    relayed::RelayPath,
};

/// A client's side of a conversation with its server.
pub(super) struct Registering {
    pub(super) registration: ClientRegistration,
    /// What leads to the servers, if they are not reached directly.
    pub(super) relay: Option<RelayPath>,
}

impl Conversation for Registering {
    type Intake = DeviceBatch;

    const CAUSES: &'static str = "The server is down or out of reach; or it refuses this client, which it does in silence: \
         another passphrase, an address that is not in its networks, or one that another client has";

    fn dialled(&self) -> &DialledServer {
        &self.registration.state.dialled
    }

    fn keepalive(&self) -> Vec<u8> {
        self.registration.register.clone()
    }

    fn intake(&self) -> DeviceBatch {
        DeviceBatch::new(&*self.registration.port)
    }

    async fn serve_otherwise(&self, server: &str) -> Option<ConnectionEnd> {
        Some(self.relay.as_ref()?.serve(&self.registration, server).await)
    }

    fn take(
        &self,
        server: &str,
        remote: SocketAddr,
        received: &ReceivedDatagrams,
        delivery: &mut DeviceBatch,
    ) -> bool {
        let ClientRegistration { port, state, .. } = &self.registration;
        let mut arrived = ArrivedDatagrams::default();
        for run in received.runs() {
            for at in run.datagrams() {
                let (start, datagram) = (at.start, &received.buffer()[at]);
                self.registration.sort(datagram, start, delivery, &mut arrived);
            }
        }
        delivery.deliver(received.buffer(), &**port, &state.received);
        self.registration.note(server, &remote, &arrived)
    }
}

impl Registering {
    /// Probes the relays that are configured to be, without end.
    pub(super) async fn probe(&self) {
        match &self.relay {
            Some(relay) => relay.probe().await,
            None => std::future::pending().await,
        }
    }
}

//! What a client's server sends: frames for the device, and its own keepalives back.

use std::{net::SocketAddr, sync::Arc};

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::ethernet::{EthernetFrame, is_keepalive, keepalive};
use rtun_system::tun::PacketDevice;
use rtun_transport::udp::{MAX_DATAGRAM, ReceivedDatagrams};
use tracing::info;

use super::{
    super::super::session::{Conversation, DialledServer},
    TapClientState,
};
use crate::device::DevicePort;

/// A client's side of a conversation with its server.
pub(super) struct Switched {
    pub(super) service: String,
    pub(super) port: Arc<DevicePort>,
    pub(super) state: Arc<TapClientState>,
}

/// What a datagram of the server was.
enum Heard {
    Frame,
    Echo,
}

impl Conversation for Switched {
    /// Where a datagram is opened.
    type Intake = Box<[u8]>;

    const CAUSES: &'static str =
        "The server is down or out of reach; or cipher and password are not the same at both ends";

    fn dialled(&self) -> &DialledServer {
        &self.state.dialled
    }

    /// One that cannot be sealed is none, which a server takes for nothing.
    fn keepalive(&self) -> Vec<u8> {
        self.state.sealing.sealed(&keepalive(self.state.mac)).unwrap_or_default()
    }

    fn intake(&self) -> Box<[u8]> {
        vec![0; MAX_DATAGRAM + 1].into()
    }

    fn take(
        &self,
        server: &str,
        remote: SocketAddr,
        received: &ReceivedDatagrams,
        room: &mut Box<[u8]>,
    ) -> bool {
        let counters = &self.state.received;
        let (mut packets, mut bytes, mut answered) = (0, 0, false);
        for run in received.runs() {
            for at in run.datagrams() {
                let datagram = &received.buffer()[at];
                match self.deliver(datagram, room) {
                    Ok(Heard::Frame) => {}
                    Ok(Heard::Echo) => {
                        answered = true;
                        continue;
                    }
                    Err(reason) => {
                        counters.count_drops(reason, 1);
                    }
                }
                packets += 1;
                bytes += datagram.len() as u64;
            }
        }
        counters.count_in(packets, bytes);
        let is_new = answered && !self.state.dialled.with(|story| story.answered);
        if is_new {
            info!(service = self.service, server, remote = %remote, "the server has answered");
        }
        answered
    }
}

impl Switched {
    fn deliver(&self, datagram: &[u8], room: &mut [u8]) -> Result<Heard, DatagramDrop> {
        let TapClientState { mac, sealing, received, .. } = &*self.state;
        let bytes = sealing.open(datagram, room)?;
        let frame = EthernetFrame::parse(bytes)?;
        if frame.source() == *mac {
            return if is_keepalive(&frame) {
                Ok(Heard::Echo)
            } else {
                Err(DatagramDrop::OwnAddress)
            };
        }
        let len = self.port.try_send(bytes).map_err(|_| DatagramDrop::Device)?;
        received.count_out(1, len as u64);
        Ok(Heard::Frame)
    }
}

//! What a client's server sends: frames for the device, and its own keepalives back.

use std::{fmt, net::SocketAddr, sync::Arc};

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::{
    ethernet::{EthernetFrame, is_keepalive, keepalive},
    frame::Frames,
    frame_content::FrameContent,
};
use rtun_system::tun::PacketDevice;
use rtun_transport::udp::{MAX_DATAGRAM, ReceivedDatagrams};
use tracing::info;

use super::{
    super::super::{
        conversation::{Conversation, DialledServer, TakenFrames},
        limits::{DEVICE, LimitedPath, ReleasedDatagrams, SERVER},
        limits_of_client,
    },
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

    const CONTENT: FrameContent = FrameContent::Ethernet;

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
        let mut arrived = ArrivedFrames::default();
        for run in received.runs() {
            for at in run.datagrams() {
                self.sort(&received.buffer()[at], room, &mut arrived);
            }
        }
        self.note(server, &remote, &arrived)
    }

    fn take_frames(
        &self,
        server: &str,
        relay: &str,
        bytes: &[u8],
        room: &mut Box<[u8]>,
    ) -> TakenFrames {
        let mut arrived = ArrivedFrames::default();
        let mut frames = Frames::new(bytes);
        for frame in frames.by_ref() {
            self.sort(frame.payload, room, &mut arrived);
        }
        let answered = self.note(server, &relay, &arrived);
        TakenFrames { len: frames.consumed(), answered }
    }
}

/// What has arrived at once.
#[derive(Default)]
struct ArrivedFrames {
    packets: u64,
    bytes: u64,
    /// Whether an answer to a keepalive was among it.
    answered: bool,
}

impl Switched {
    /// Hands one datagram of the server on.
    fn sort(&self, datagram: &[u8], room: &mut [u8], arrived: &mut ArrivedFrames) {
        match self.deliver(datagram, room) {
            Ok(Heard::Frame) => {}
            Ok(Heard::Echo) => {
                arrived.answered = true;
                return;
            }
            Err(reason) => self.state.received.count_drops(reason, 1),
        }
        arrived.packets += 1;
        arrived.bytes += datagram.len() as u64;
    }

    /// Moves what has waited for limits, without end.
    pub(super) async fn release(&self) {
        let TapClientState { limits, dialled, sent, received, .. } = &*self.state;
        let deliver = |released: &ReleasedDatagrams| {
            for at in released.of_server() {
                match self.port.try_send(&released.buffer[at]) {
                    Ok(len) => received.count_out(1, len as u64),
                    Err(_) => received.count_drops(DatagramDrop::Device, 1),
                }
            }
        };
        limits_of_client::release(limits, dialled, (sent, received), deliver).await;
    }

    /// Notes what has arrived from the server, which is reached at or through `remote`; whether an answer was among it.
    fn note(&self, server: &str, remote: &dyn fmt::Display, arrived: &ArrivedFrames) -> bool {
        let ArrivedFrames { packets, bytes, answered } = *arrived;
        self.state.received.count_in(packets, bytes);
        if answered && !self.state.dialled.with(|story| story.answered) {
            info!(service = self.service, server, remote = %remote, "the server has answered");
        }
        answered
    }

    fn deliver(&self, datagram: &[u8], room: &mut [u8]) -> Result<Heard, DatagramDrop> {
        let TapClientState { mac, sealing, received, limits, .. } = &*self.state;
        let bytes = sealing.open(datagram, room)?;
        let frame = EthernetFrame::parse(bytes)?;
        if frame.source() == *mac {
            return if is_keepalive(&frame) {
                Ok(Heard::Echo)
            } else {
                Err(DatagramDrop::OwnAddress)
            };
        }
        if limits.is_over_quota() {
            return Err(DatagramDrop::QuotaExceeded);
        }
        if limits.holds(LimitedPath::Out, SERVER) {
            limits.wait(LimitedPath::Out, SERVER, DEVICE, bytes, received);
            return Ok(Heard::Frame);
        }
        let len = self.port.try_send(bytes).map_err(|_| DatagramDrop::Device)?;
        received.count_out(1, len as u64);
        Ok(Heard::Frame)
    }
}

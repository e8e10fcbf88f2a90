//! What a client's server sends: frames for the device, and its own keepalives back.

use std::{fmt, net::SocketAddr, ops::Range, sync::Arc};

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::{
    ethernet::{EthernetFrame, is_keepalive, keepalive},
    frame::Frames,
    frame_content::FrameContent,
};
use rtun_transport::udp::ReceivedDatagrams;
use tracing::info;

use super::{
    super::{
        super::{
            conversation::{Conversation, DialledServer, TakenFrames},
            limits::{DEVICE, LimitedPath, ReleasedDatagrams, SERVER},
            limits_of_client,
        },
        delivery::FrameDelivery,
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
    type Intake = FrameDelivery;

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

    fn intake(&self) -> FrameDelivery {
        FrameDelivery::new(&*self.port, &self.state.sealing)
    }

    fn take(
        &self,
        server: &str,
        remote: SocketAddr,
        received: &ReceivedDatagrams,
        delivery: &mut FrameDelivery,
    ) -> bool {
        let mut arrived = ArrivedFrames::default();
        for run in received.runs() {
            for at in run.datagrams() {
                self.sort(received.buffer(), at, delivery, &mut arrived);
            }
        }
        delivery.deliver(received.buffer(), &*self.port, &self.state.received);
        self.note(server, &remote, &arrived)
    }

    fn take_frames(
        &self,
        server: &str,
        relay: &str,
        bytes: &[u8],
        delivery: &mut FrameDelivery,
    ) -> TakenFrames {
        let mut arrived = ArrivedFrames::default();
        let mut frames = Frames::new(bytes);
        for frame in frames.by_ref() {
            let start = frame.range.end - frame.payload.len();
            self.sort(bytes, start..frame.range.end, delivery, &mut arrived);
        }
        delivery.deliver(bytes, &*self.port, &self.state.received);
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
    /// Sorts one datagram of the server, which stands at this place of `buffer`: a frame is for the device.
    fn sort(
        &self,
        buffer: &[u8],
        at: Range<usize>,
        delivery: &mut FrameDelivery,
        arrived: &mut ArrivedFrames,
    ) {
        let datagram = &buffer[at.clone()];
        match self.open(buffer, at, delivery) {
            Ok(Heard::Frame) => {}
            Ok(Heard::Echo) => {
                arrived.answered = true;
                return;
            }
            Err(reason) => self.state.received.lose(reason, 1, None, datagram),
        }
        arrived.packets += 1;
        arrived.bytes += datagram.len() as u64;
    }

    /// Moves what has waited for limits, without end.
    pub(super) async fn release(&self) {
        let TapClientState { limits, dialled, sent, received, .. } = &*self.state;
        let mut delivery = FrameDelivery::of_opened(&*self.port);
        let deliver = |released: &ReleasedDatagrams| {
            released.of_server().for_each(|at| delivery.push(at));
            delivery.deliver(&released.buffer, &*self.port, received);
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

    fn open(
        &self,
        buffer: &[u8],
        at: Range<usize>,
        delivery: &mut FrameDelivery,
    ) -> Result<Heard, DatagramDrop> {
        let TapClientState { mac, sealing, received, limits, .. } = &*self.state;
        let opened = delivery.open(sealing, buffer, at)?;
        let bytes = delivery.frame(buffer, &opened);
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
        delivery.push(opened);
        Ok(Heard::Frame)
    }
}

//! What a client's server sends, directly or through a relay: replies, and packets for the device.

use std::net::SocketAddr;

use rtun_proto::{frame::Frames, frame_content::FrameContent};
use rtun_transport::udp::ReceivedDatagrams;

use super::{
    super::{
        conversation::{Conversation, DialledServer, TakenFrames},
        delivery::DeviceBatch,
    },
    registration::{ArrivedDatagrams, ClientRegistration},
};

impl Conversation for ClientRegistration {
    type Intake = DeviceBatch;

    const CONTENT: FrameContent = FrameContent::Packets;

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
        let mut arrived = ArrivedDatagrams::default();
        for run in received.runs() {
            for at in run.datagrams() {
                let (start, datagram) = (at.start, &received.buffer()[at]);
                self.sort(datagram, start, delivery, &mut arrived);
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
        delivery: &mut DeviceBatch,
    ) -> TakenFrames {
        let mut arrived = ArrivedDatagrams::default();
        let mut frames = Frames::new(bytes);
        for frame in frames.by_ref() {
            let start = frame.range.end - frame.payload.len();
            self.sort(frame.payload, start, delivery, &mut arrived);
        }
        delivery.deliver(bytes, &*self.port, &self.state.received);
        let answered = self.note(server, &relay, &arrived);
        TakenFrames { len: frames.consumed(), answered }
    }
}

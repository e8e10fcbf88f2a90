//! A host's packet path from its hub: frames in, packets to the device out.
//!
//! With offload, packets of a flow that follow on each other in one read are joined, so that one write to the device
//! takes up to 64 KiB.

use std::io::{self, IoSlice};

use rtun_core::DropReason;
use rtun_net::tun::{Device, Offload};
use rtun_proto::{
    frame::{FrameBuffer, Frames},
    offload::{Coalescer, Group, MAX_SLICES},
    packet::Packet,
};

use super::session::Session;
use crate::{counters::Counters, reading::readable};

/// Moves packets from the session to the device until the session ends. `buffer` holds what came behind the hub's
/// answer.
pub(super) async fn run<D: Device>(
    device: &D,
    session: &Session,
    mut buffer: FrameBuffer,
    counters: &Counters,
) {
    let mut downlink = Downlink {
        device,
        counters,
        coalescer: Coalescer::new().with_udp(device.offload() == Offload::TcpAndUdp),
    };
    let consumed = downlink.deliver(buffer.filled());
    buffer.consume(consumed);
    loop {
        tokio::select! {
            ready = readable(&session.stream, &mut buffer) => {
                if let Err(error) = ready {
                    return session.broke(error);
                }
            }
            () = session.ended() => return,
        }
        match session.stream.try_read(buffer.space()) {
            Ok(0) => return session.broke(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buffer.advance(n);
                let consumed = downlink.deliver(buffer.filled());
                buffer.consume(consumed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return session.broke(error),
        }
    }
}

struct Downlink<'a, D> {
    device: &'a D,
    counters: &'a Counters,
    coalescer: Coalescer,
}

impl<D: Device> Downlink<'_, D> {
    /// Hands the packets of all whole frames to the device; returns how many bytes the frames were.
    fn deliver(&mut self, bytes: &[u8]) -> usize {
        let joins = self.device.offload() != Offload::None;
        let mut frames = Frames::new(bytes);
        let mut batch = self.coalescer.batch(bytes);
        let (mut packets, mut payloads) = (0, 0);
        for frame in frames.by_ref() {
            packets += 1;
            payloads += frame.payload.len() as u64;
            match check(frame.payload) {
                Ok(packet) if joins => {
                    let start = frame.range.end - frame.payload.len();
                    batch.push(start..start + packet.len());
                }
                Ok(packet) => {
                    count(self.device.try_send(packet.bytes()), 1, packet.len(), self.counters)
                }
                Err(reason) => self.counters.count_drop(reason),
            }
        }
        for group in batch.finish() {
            send_group(self.device, &group, self.counters);
        }
        self.counters.count_in(packets, payloads);
        frames.consumed()
    }
}

fn send_group<D: Device>(device: &D, group: &Group<'_>, counters: &Counters) {
    let mut pieces = [IoSlice::new(&[]); MAX_SLICES];
    let mut filled = 0;
    for (slot, piece) in pieces.iter_mut().zip(group.slices()) {
        *slot = IoSlice::new(piece);
        filled += 1;
    }
    // Behind the first piece, the virtio header, stand the headers that each joined packet had.
    let headers = pieces.get(1).map_or(0, |piece| piece.len());
    let bytes = group.len() + (group.packets() - 1) * headers;
    count(device.try_send_vectored(&pieces[..filled]), group.packets(), bytes, counters);
}

fn count(sent: io::Result<usize>, packets: usize, bytes: usize, counters: &Counters) {
    match sent {
        Ok(_) => counters.count_out(packets as u64, bytes as u64),
        Err(_) => counters.count_drops(DropReason::TunWriteError, packets as u64),
    }
}

/// The packet in a frame.
fn check(payload: &[u8]) -> Result<Packet<'_>, DropReason> {
    if payload.is_empty() {
        return Err(DropReason::FrameEmpty);
    }
    Ok(Packet::parse(payload)?)
}

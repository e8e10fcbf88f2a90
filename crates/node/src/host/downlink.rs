//! A host's packet path from its hub: frames in, packets to the device out.

use std::io;

use rtun_core::DropReason;
use rtun_net::tun::Device;
use rtun_proto::{
    frame::{FrameBuffer, Frames},
    packet::{Packet, PacketError},
};

use super::session::Session;
use crate::counters::Counters;

/// Moves packets from the session to the device until the session ends. `buffer` holds what came behind the hub's
/// answer.
pub(super) async fn run<D: Device>(
    device: &D,
    session: &Session,
    mut buffer: FrameBuffer,
    counters: &Counters,
) {
    let consumed = deliver(device, buffer.filled(), counters);
    buffer.consume(consumed);
    loop {
        tokio::select! {
            ready = session.stream.readable() => {
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
                let consumed = deliver(device, buffer.filled(), counters);
                buffer.consume(consumed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => buffer.shrink(),
            Err(error) => return session.broke(error),
        }
    }
}

/// Hands the packets of all whole frames to the device; returns how many bytes the frames were.
fn deliver<D: Device>(device: &D, bytes: &[u8], counters: &Counters) -> usize {
    let mut frames = Frames::new(bytes);
    for frame in frames.by_ref() {
        counters.count_in(1, frame.payload.len() as u64);
        match deliver_one(device, frame.payload) {
            Ok(len) => counters.count_out(1, len as u64),
            Err(reason) => counters.count_drop(reason),
        }
    }
    frames.consumed()
}

fn deliver_one<D: Device>(device: &D, payload: &[u8]) -> Result<usize, DropReason> {
    if payload.is_empty() {
        return Err(DropReason::FrameEmpty);
    }
    let packet = Packet::parse(payload).map_err(|error| match error {
        PacketError::Version => DropReason::IpVersion,
        PacketError::Truncated => DropReason::IpTruncated,
        PacketError::Malformed => DropReason::IpMalformed,
        PacketError::LengthMismatch => DropReason::FrameLengthMismatch,
    })?;
    device.try_send(packet.bytes()).map_err(|_| DropReason::TunWriteError)
}

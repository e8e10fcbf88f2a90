//! A host's packet path to its hub: packets of the device in, frames out.
//!
//! Packets are taken from the device as long as there are any, framed next to each other, and written at once. With
//! offload the kernel hands over up to 64 KiB at a time, which are cut into packets here: what leaves is the same. While
//! the socket takes nothing no packet is taken from the device: its queue in the kernel (500 packets by default) is
//! the bound, and the kernel counts what that drops. Without a hub packets are taken and dropped, so that none is
//! delivered long after it was sent.

use std::{io, sync::Arc};

use arc_swap::ArcSwapOption;
use rtun_core::DropReason;
use rtun_net::tun::{Device, Offload};
use rtun_proto::{
    frame::{Frames, LEN_PREFIX, MAX_FRAME, write_frame},
    offload::{VIRTIO_HEADER, VirtioHeader},
};

use super::session::Session;
use crate::counters::Counters;

/// Bytes gathered for one write.
const BATCH: usize = 64 * 1024;

/// Moves packets from the device to whichever session stands; ends when the device fails.
pub(super) async fn run<D: Device>(
    device: &D,
    session: &ArcSwapOption<Session>,
    counters: &Counters,
) -> io::Error {
    let mut batch = Batch::new(device);
    loop {
        if let Err(error) = device.readable().await {
            return error;
        }
        if let Err(error) = batch.fill(device, counters) {
            return error;
        }
        counters.count_in(batch.packets, batch.payload());
        match session.load_full() {
            Some(session) => send(&session, &batch.frames, counters).await,
            None => counters.count_drops(DropReason::NotConnected, batch.packets),
        }
    }
}

/// Writes all of `frames`, or what can be written before the session ends.
async fn send(session: &Arc<Session>, frames: &[u8], counters: &Counters) {
    let mut sent = 0;
    while sent < frames.len() {
        match session.stream.try_write(&frames[sent..]) {
            Ok(n) => sent += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::select! {
                    ready = session.stream.writable() => {
                        if let Err(error) = ready {
                            session.broke(error);
                            break;
                        }
                    }
                    () = session.ended() => break,
                }
            }
            Err(error) => {
                session.broke(error);
                break;
            }
        }
    }
    for frame in Frames::new(frames) {
        if frame.range.end <= sent {
            counters.count_out(1, frame.payload.len() as u64);
        } else {
            counters.count_drop(DropReason::WriteError);
        }
    }
}

/// Packets of one round, framed next to each other.
struct Batch {
    frames: Vec<u8>,
    packets: u64,
    /// One read of the device.
    read: Box<[u8]>,
}

impl Batch {
    fn new<D: Device>(device: &D) -> Self {
        let longest = match device.offload() {
            Offload::None => usize::from(device.mtu()),
            Offload::Tcp | Offload::TcpAndUdp => VIRTIO_HEADER + MAX_FRAME,
        };
        Self { frames: Vec::new(), packets: 0, read: vec![0; longest].into() }
    }

    /// Bytes of the packets, without their lengths.
    fn payload(&self) -> u64 {
        self.frames.len() as u64 - self.packets * LEN_PREFIX as u64
    }

    /// Takes packets from the device until it has none or the batch is full.
    fn fill<D: Device>(&mut self, device: &D, counters: &Counters) -> io::Result<()> {
        self.frames.clear();
        self.packets = 0;
        while self.frames.len() < BATCH {
            let read = match device.try_recv(&mut self.read) {
                Ok(n) => &self.read[..n],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let framed = match device.offload() {
                Offload::None => write_frame(read, &mut self.frames).map(|()| 1).ok(),
                Offload::Tcp | Offload::TcpAndUdp => segment(read, &mut self.frames),
            };
            match framed {
                Some(packets) => self.packets += packets,
                None => {
                    counters.count_in(1, read.len() as u64);
                    counters.count_drop(DropReason::Internal);
                }
            }
        }
        Ok(())
    }
}

/// Cuts a super-packet into packets that any peer takes; returns how many. `None`: what the device gave makes no sense.
fn segment(read: &[u8], frames: &mut Vec<u8>) -> Option<u64> {
    let (header, packet) = VirtioHeader::split(read)?;
    let packet = header.check(packet).ok()?;
    packet.write_frames(frames);
    Some(packet.segments() as u64)
}

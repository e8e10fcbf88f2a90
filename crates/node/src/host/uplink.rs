//! A host's packet path to its hub: packets of the device in, frames out.
//!
//! Packets are taken from the device as long as there are any, framed next to each other, and written at once. While
//! the socket takes nothing no packet is taken from the device: its queue in the kernel (500 packets by default) is
//! the bound, and the kernel counts what that drops. Without a hub packets are taken and dropped, so that none is
//! delivered long after it was sent.

use std::{io, sync::Arc};

use arc_swap::ArcSwapOption;
use rtun_core::DropReason;
use rtun_net::tun::Device;
use rtun_proto::frame::{Frames, LEN_PREFIX, length_prefix};

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
    let mut batch = Batch::new(usize::from(device.mtu()));
    loop {
        if let Err(error) = device.readable().await {
            return error;
        }
        if let Err(error) = batch.fill(device) {
            return error;
        }
        let frames = batch.filled();
        counters
            .count_in(batch.packets, (frames.len() - batch.packets as usize * LEN_PREFIX) as u64);
        match session.load_full() {
            Some(session) => send(&session, frames, counters).await,
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
    bytes: Box<[u8]>,
    len: usize,
    packets: u64,
    mtu: usize,
}

impl Batch {
    fn new(mtu: usize) -> Self {
        let room = BATCH.max(LEN_PREFIX + mtu);
        Self { bytes: vec![0; room].into(), len: 0, packets: 0, mtu }
    }

    fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Takes packets from the device until it has none or the batch is full.
    fn fill<D: Device>(&mut self, device: &D) -> io::Result<()> {
        (self.len, self.packets) = (0, 0);
        while self.bytes.len() - self.len >= LEN_PREFIX + self.mtu {
            let (prefix, room) = self.bytes[self.len..].split_at_mut(LEN_PREFIX);
            match device.try_recv(room) {
                Ok(n) => {
                    let Ok(length) = length_prefix(n) else { continue };
                    prefix.copy_from_slice(&length);
                    self.len += LEN_PREFIX + n;
                    self.packets += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

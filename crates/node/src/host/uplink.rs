//! A host's packet path to its hub: packets from the device in, frames out.
//!
//! Packets are read from the device while there are any, framed next to each other in one buffer, and passed to the connection's
//! outbox, which writes or queues them: packets queue there, and not in the device. With offload the kernel passes up to
//! 64 KiB at a time. An rtun hub gets them whole, as GSO frames that are read into their place in the buffer; any other hub gets
//! them cut into packets. Without a hub packets are read and dropped, so that none is delivered long after it was sent.

use std::io;

use arc_swap::ArcSwapOption;
use rtun_core::DropReason;
use rtun_proto::{
    extension::{GSO_FRAME_PREFIX, gso_frame_prefix},
    frame::{Frames, LEN_PREFIX, MAX_FRAME, length_prefix},
    offload::{GsoPacket, MAX_HEADERS, MAX_SEGMENTS, VIRTIO_HEADER, VirtioHeader},
};
use rtun_system::tun::{Offload, PacketDevice};

use super::session::Session;
use crate::{counters::Counters, link::ReadTurns};

/// Bytes that are gathered for one write.
const BATCH: usize = 128 * 1024;

/// The most bytes of one read from a device with offload.
const READ: usize = VIRTIO_HEADER + MAX_FRAME;

/// The most bytes that one read becomes: cut into packets, each with the headers and a length.
const FRAMED: usize = MAX_FRAME + MAX_SEGMENTS * (MAX_HEADERS + LEN_PREFIX);

/// Moves packets from the device to the current session; returns when the device fails.
pub(super) async fn run<D: PacketDevice>(
    device: &D,
    session: &ArcSwapOption<Session>,
    counters: &Counters,
) -> io::Error {
    let mut batch = UplinkBatch::new();
    let mut turns = ReadTurns::default();
    loop {
        if let Err(error) = device.readable().await {
            return error;
        }
        let session = session.load_full();
        let gso_frames = session.as_ref().is_some_and(|session| session.gso_frames());
        batch.begin();
        if let Err(error) = batch.fill(device, gso_frames, counters) {
            return error;
        }
        counters.count_in(batch.packets, batch.bytes);
        match session {
            Some(session) => session.send(batch.frames()),
            None => {
                counters.count_drops(DropReason::NotConnected, batch.packets);
                if counters.samples_drops() {
                    let lost = Frames::new(batch.frames());
                    lost.for_each(|it| counters.sample_drop(DropReason::NotConnected, it.payload));
                }
            }
        }
        turns.after_read().await;
    }
}

/// Packets of one round, framed next to each other.
struct UplinkBatch {
    /// Pages that were never written to take no memory.
    buffer: Box<[u8]>,
    filled: usize,
    /// A read that is going to be cut into packets.
    read: Box<[u8]>,
    /// IP packets, and their bytes.
    packets: u64,
    bytes: u64,
}

impl UplinkBatch {
    fn new() -> Self {
        let buffer = vec![0; BATCH + FRAMED.max(GSO_FRAME_PREFIX + READ)];
        Self { buffer: buffer.into(), filled: 0, read: vec![0; READ].into(), packets: 0, bytes: 0 }
    }

    fn begin(&mut self) {
        (self.filled, self.packets, self.bytes) = (0, 0, 0);
    }

    fn frames(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Takes packets from the device until it has none or the batch is full.
    fn fill<D: PacketDevice>(
        &mut self,
        device: &D,
        gso_frames: bool,
        counters: &Counters,
    ) -> io::Result<()> {
        while self.filled < BATCH {
            let taken = match device.offload() {
                Offload::None => self.take_plain(device),
                Offload::Tcp | Offload::TcpAndUdp if gso_frames => self.take_whole(device),
                Offload::Tcp | Offload::TcpAndUdp => self.take_cut(device),
            };
            match taken {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    counters.count_in(1, 0);
                    counters.count_drop(DropReason::Internal);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A packet of a device without offload, read into its place in the frame.
    fn take_plain<D: PacketDevice>(&mut self, device: &D) -> io::Result<()> {
        let (prefix, place) = self.buffer[self.filled..].split_at_mut(LEN_PREFIX);
        let len = device.try_recv(&mut place[..MAX_FRAME])?;
        prefix.copy_from_slice(&length_prefix(len).map_err(|_| io::ErrorKind::InvalidData)?);
        self.add(LEN_PREFIX + len, 1, len);
        Ok(())
    }

    /// Up to 64 KiB, read into their place in a GSO frame.
    fn take_whole<D: PacketDevice>(&mut self, device: &D) -> io::Result<()> {
        let place = &mut self.buffer[self.filled..];
        let header = GSO_FRAME_PREFIX - VIRTIO_HEADER;
        let len = device.try_recv(&mut place[header..header + READ])?;
        let packet = checked(&place[header..header + len])?;
        let bytes = packet.bytes().len();
        if let Some(prefix) = gso_frame_prefix(&packet) {
            let packets = packet.segments();
            place[..GSO_FRAME_PREFIX].copy_from_slice(&prefix);
            self.add(GSO_FRAME_PREFIX + bytes, packets, bytes);
            return Ok(());
        }
        let read = &mut self.read[..len];
        read.copy_from_slice(&place[header..header + len]);
        self.cut(len)
    }

    /// Up to 64 KiB, cut into packets that any hub takes.
    fn take_cut<D: PacketDevice>(&mut self, device: &D) -> io::Result<()> {
        let len = device.try_recv(&mut self.read)?;
        self.cut(len)
    }

    /// Frames what the first `len` bytes of the read hold.
    fn cut(&mut self, len: usize) -> io::Result<()> {
        let packet = checked(&self.read[..len])?;
        let framed = packet.write_frames_to(&mut self.buffer[self.filled..]);
        let packets = packet.segments();
        self.add(framed, packets, framed - packets * LEN_PREFIX);
        Ok(())
    }

    fn add(&mut self, framed: usize, packets: usize, bytes: usize) {
        self.filled += framed;
        self.packets += packets as u64;
        self.bytes += bytes as u64;
    }
}

/// The packet from a device with offload; [`io::ErrorKind::InvalidData`] if it is malformed.
fn checked(read: &[u8]) -> io::Result<GsoPacket<'_>> {
    let (header, packet) = VirtioHeader::split(read).ok_or(io::ErrorKind::InvalidData)?;
    header.check(packet).map_err(|_| io::ErrorKind::InvalidData.into())
}

//! Frames on their way to a device: opened where they are sealed, and joined where they follow on each other.

use std::{
    io::{self, IoSlice},
    ops::Range,
};

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::{
    frame::MAX_FRAME,
    offload::{Coalescer, JoinedFrames, MAX_ETHERNET_HEADER, MAX_SLICES},
};
use rtun_system::tun::{Offload, PacketDevice};

use super::{super::counters::DatagramCounters, sealing::Sealing};

/// Frames for a device, out of the datagrams of one buffer; keeps its memory.
pub(super) struct FrameDelivery {
    coalescer: Coalescer,
    places: Vec<Range<usize>>,
    /// Where sealed datagrams are opened, one after the other: as many bytes as a buffer has. None: frames stand in the buffer.
    room: Option<Vec<u8>>,
    /// Bytes of the room that frames for the device are in.
    filled: usize,
}

impl FrameDelivery {
    /// Of datagrams.
    pub(super) fn new<D: PacketDevice>(device: &D, sealing: &Sealing) -> Self {
        let room = sealing.is_sealed().then(Vec::new);
        Self { room, ..Self::of_opened(device) }
    }

    /// Of frames that are not sealed.
    pub(super) fn of_opened<D: PacketDevice>(device: &D) -> Self {
        let coalescer = Coalescer::new()
            .with_udp(device.offload() == Offload::TcpAndUdp)
            .with_max_packet(MAX_FRAME - MAX_ETHERNET_HEADER);
        Self { coalescer, places: Vec::new(), room: None, filled: 0 }
    }

    /// Opens the datagram at this place of the buffer; tells where its [`frame`](Self::frame) is, until the next one is opened.
    pub(super) fn open(
        &mut self,
        sealing: &Sealing,
        buffer: &[u8],
        at: Range<usize>,
    ) -> Result<Range<usize>, DatagramDrop> {
        let Some(room) = &mut self.room else { return Ok(at) };
        let (datagram, start) = (&buffer[at], self.filled);
        if room.len() < start + datagram.len() {
            room.resize(start + datagram.len(), 0);
        }
        let len = sealing.open(datagram, &mut room[start..])?.len();
        Ok(start..start + len)
    }

    /// The frame at a place.
    pub(super) fn frame<'a>(&'a self, buffer: &'a [u8], at: &Range<usize>) -> &'a [u8] {
        &self.room.as_deref().unwrap_or(buffer)[at.clone()]
    }

    /// The frame at this place, which was opened last, is for the device.
    pub(super) fn push(&mut self, at: Range<usize>) {
        self.filled = at.end;
        self.places.push(at);
    }

    /// Hands over all that was pushed; counts each frame as out or lost.
    pub(super) fn deliver<D: PacketDevice>(
        &mut self,
        buffer: &[u8],
        device: &D,
        counters: &DatagramCounters,
    ) {
        let Self { coalescer, places, room, filled } = self;
        let frames = room.as_deref().unwrap_or(buffer);
        *filled = 0;
        if device.offload() == Offload::None {
            for at in places.drain(..) {
                let frame = &frames[at];
                count(device.try_send(frame), 1, frame.len(), counters);
            }
            return;
        }
        coalescer.join_frames(frames, places.drain(..), |joined| write(device, joined, counters));
    }
}

fn write<D: PacketDevice>(device: &D, joined: &JoinedFrames<'_>, counters: &DatagramCounters) {
    let mut pieces = [IoSlice::new(&[]); MAX_SLICES + 1];
    let mut filled = 0;
    for (slot, piece) in pieces.iter_mut().zip(joined.slices()) {
        *slot = IoSlice::new(piece);
        filled += 1;
    }
    let sent = device.try_send_vectored(&pieces[..filled]);
    count(sent, joined.frames(), joined.frames_len(), counters);
}

fn count(sent: io::Result<usize>, frames: usize, bytes: usize, counters: &DatagramCounters) {
    match sent {
        Ok(_) => counters.count_out(frames as u64, bytes as u64),
        Err(_) => counters.count_drops(DatagramDrop::Device, frames as u64),
    }
}

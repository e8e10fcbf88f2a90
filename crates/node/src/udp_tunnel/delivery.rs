//! Handing received packets to a device, those joined that follow on each other.

use std::{
    io::{self, IoSlice},
    ops::Range,
};

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::offload::{Coalescer, Group, MAX_SLICES};
use rtun_system::tun::{Offload, PacketDevice};

use super::counters::DatagramCounters;

/// Packets for a device; keeps its memory.
pub(super) struct DeviceBatch {
    coalescer: Coalescer,
    places: Vec<Range<usize>>,
}

impl DeviceBatch {
    pub(super) fn new<D: PacketDevice>(device: &D) -> Self {
        let coalescer = Coalescer::new().with_udp(device.offload() == Offload::TcpAndUdp);
        Self { coalescer, places: Vec::new() }
    }

    /// The packet at this place of the buffer is for the device.
    pub(super) fn push(&mut self, at: Range<usize>) {
        self.places.push(at);
    }

    /// Hands over all that was pushed, out of `buffer`; counts each packet as out or lost.
    pub(super) fn deliver<D: PacketDevice>(
        &mut self,
        buffer: &[u8],
        device: &D,
        counters: &DatagramCounters,
    ) {
        let Self { coalescer, places } = self;
        if device.offload() == Offload::None {
            for at in places.drain(..) {
                let packet = &buffer[at];
                count(device.try_send(packet), 1, packet.len(), counters);
            }
            return;
        }
        let mut batch = coalescer.batch(buffer);
        places.drain(..).for_each(|at| batch.push(at));
        for group in batch.finish() {
            deliver_group(device, &group, counters);
        }
    }
}

fn deliver_group<D: PacketDevice>(device: &D, group: &Group<'_>, counters: &DatagramCounters) {
    let mut pieces = [IoSlice::new(&[]); MAX_SLICES];
    let mut filled = 0;
    for (slot, piece) in pieces.iter_mut().zip(group.slices()) {
        *slot = IoSlice::new(piece);
        filled += 1;
    }
    // Of joined packets the headers stand there once, in the first piece behind the virtio header.
    let packets = group.packets();
    let repeated = (packets - 1) * pieces.get(1).map_or(0, |piece| piece.len());
    let sent = device.try_send_vectored(&pieces[..filled]);
    count(sent, packets, group.len() + repeated, counters);
}

fn count(sent: io::Result<usize>, packets: usize, bytes: usize, counters: &DatagramCounters) {
    match sent {
        Ok(_) => counters.count_out(packets as u64, bytes as u64),
        Err(_) => counters.count_drops(DatagramDrop::Device, packets as u64),
    }
}

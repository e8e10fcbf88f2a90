//! Frames of a device on their way out: each read into its place in a datagram, and sealed there.

use std::{io, ops::Range};

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::ethernet::EthernetFrame;
use rtun_system::tun::PacketDevice;
use rtun_transport::udp::MAX_DATAGRAM;

use super::{
    super::{
        counters::DatagramCounters,
        gather::{BATCH, DatagramDestination, OutgoingRuns},
    },
    sealing::Sealing,
};

/// Datagrams to be sent; keeps its memory.
pub(super) struct FrameGather {
    /// Pages that nothing has reached yet cost no memory.
    buffer: Box<[u8]>,
    filled: usize,
    pub(super) outgoings: OutgoingRuns,
}

/// One read of a device.
pub(super) enum FrameRead {
    /// A frame, at this place.
    Frame(Range<usize>),
    /// Nothing that is one.
    Nonsense,
    /// There is none.
    Nothing,
}

impl FrameGather {
    pub(super) fn new() -> Self {
        let buffer = vec![0; BATCH + MAX_DATAGRAM].into();
        Self { buffer, filled: 0, outgoings: OutgoingRuns::default() }
    }

    pub(super) fn begin(&mut self) {
        self.filled = 0;
        self.outgoings.clear();
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled >= BATCH
    }

    pub(super) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes the next frame of the device, with room for what `sealing` adds.
    ///
    /// # Errors
    ///
    /// The device no longer works.
    pub(super) fn take<D: PacketDevice>(
        &mut self,
        device: &D,
        sealing: &Sealing,
        counters: &DatagramCounters,
    ) -> io::Result<FrameRead> {
        let start = self.filled + sealing.front();
        let most = MAX_DATAGRAM - sealing.overhead();
        let len = match device.try_recv(&mut self.buffer[start..start + most]) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(FrameRead::Nothing);
            }
            Err(error) => return Err(error),
        };
        counters.count_in(1, len as u64);
        if EthernetFrame::parse(&self.buffer[start..start + len]).is_err() {
            counters.count_drops(DatagramDrop::Malformed, 1);
            return Ok(FrameRead::Nonsense);
        }
        Ok(FrameRead::Frame(start..start + len))
    }

    /// Sends the frame that was taken last to each of these.
    pub(super) fn push(
        &mut self,
        at: Range<usize>,
        to: impl IntoIterator<Item = DatagramDestination>,
        sealing: &Sealing,
    ) -> Result<(), DatagramDrop> {
        let start = self.filled;
        let len = at.len() + sealing.overhead();
        sealing.seal(&mut self.buffer[start..start + len])?;
        self.filled += len;
        for destination in to {
            self.outgoings.push(destination, start..start + len, len);
        }
        Ok(())
    }
}

//! Frames of a device on their way out: each read into its place in a datagram, and sealed there.

use std::{io, ops::Range};

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::{
    ethernet::EthernetFrame,
    frame::{LEN_PREFIX, length_prefix},
};
use rtun_system::tun::PacketDevice;
use rtun_transport::udp::MAX_DATAGRAM;

use super::{
    super::{counters::DatagramCounters, gather::SendBatch},
    sealing::Sealing,
};

/// Datagrams to be sent; keeps its memory.
pub(super) struct FrameGather {
    pub(super) batch: SendBatch,
    /// Bytes before each datagram: its length, for a stream.
    prefix: usize,
}

/// One read of a device.
pub(super) enum FrameRead {
    /// A frame, at this place of the room after what was gathered.
    Frame(Range<usize>),
    /// Nothing that is one.
    Nonsense,
    /// There is none.
    Nothing,
}

impl FrameGather {
    pub(super) fn new() -> Self {
        Self { batch: SendBatch::new(LEN_PREFIX + MAX_DATAGRAM), prefix: 0 }
    }

    /// Begins again, for a stream or a socket.
    pub(super) fn begin(&mut self, for_stream: bool) {
        self.batch.begin();
        self.prefix = if for_stream { LEN_PREFIX } else { 0 };
    }

    pub(super) fn is_full(&self) -> bool {
        self.batch.is_full()
    }

    /// The frame that was taken last.
    pub(super) fn frame(&mut self, at: &Range<usize>) -> &[u8] {
        &self.batch.space()[at.clone()]
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
        let start = self.prefix + sealing.front();
        let most = MAX_DATAGRAM - sealing.overhead();
        let space = self.batch.space();
        let len = match device.try_recv(&mut space[start..start + most]) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(FrameRead::Nothing);
            }
            Err(error) => return Err(error),
        };
        counters.count_in(1, len as u64);
        if EthernetFrame::parse(&space[start..start + len]).is_err() {
            counters.count_drops(DatagramDrop::Malformed, 1);
            return Ok(FrameRead::Nonsense);
        }
        Ok(FrameRead::Frame(start..start + len))
    }

    /// The frame that was taken last in its datagram, which is not kept.
    pub(super) fn sealed(
        &mut self,
        at: &Range<usize>,
        sealing: &Sealing,
    ) -> Result<&[u8], DatagramDrop> {
        let (start, len) = (self.prefix, at.len() + sealing.overhead());
        let datagram = &mut self.batch.space()[start..start + len];
        sealing.seal(datagram)?;
        Ok(datagram)
    }

    /// Keeps the frame that was taken last as a datagram; tells where that is.
    pub(super) fn keep(
        &mut self,
        at: Range<usize>,
        sealing: &Sealing,
    ) -> Result<Range<usize>, DatagramDrop> {
        let len = self.sealed(&at, sealing)?.len();
        Ok(self.batch.keep(len))
    }

    /// Sends the frame that was taken last on a stream.
    pub(super) fn push_frame(
        &mut self,
        at: &Range<usize>,
        sealing: &Sealing,
    ) -> Result<(), DatagramDrop> {
        let len = self.sealed(at, sealing)?.len();
        let prefix = length_prefix(len).map_err(|_| DatagramDrop::TooBig)?;
        self.batch.space()[..LEN_PREFIX].copy_from_slice(&prefix);
        self.batch.keep(LEN_PREFIX + len);
        Ok(())
    }
}

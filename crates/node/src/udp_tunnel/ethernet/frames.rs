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
    super::{
        counters::DatagramCounters,
        gather::{DatagramDestination, SendBatch},
    },
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

    /// Sends the frame that was taken last to each of these.
    pub(super) fn push(
        &mut self,
        at: Range<usize>,
        to: impl IntoIterator<Item = DatagramDestination>,
        sealing: &Sealing,
    ) -> Result<(), DatagramDrop> {
        let len = at.len() + sealing.overhead();
        sealing.seal(&mut self.batch.space()[..len])?;
        let at = self.batch.keep(len);
        for destination in to {
            self.batch.outgoings.push(destination, at.clone(), len);
        }
        Ok(())
    }

    /// Sends the frame that was taken last on a stream.
    pub(super) fn push_frame(
        &mut self,
        at: &Range<usize>,
        sealing: &Sealing,
    ) -> Result<(), DatagramDrop> {
        let len = at.len() + sealing.overhead();
        let prefix = length_prefix(len).map_err(|_| DatagramDrop::TooBig)?;
        let space = self.batch.space();
        space[..LEN_PREFIX].copy_from_slice(&prefix);
        sealing.seal(&mut space[LEN_PREFIX..LEN_PREFIX + len])?;
        self.batch.keep(LEN_PREFIX + len);
        Ok(())
    }
}

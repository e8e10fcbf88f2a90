//! Frames of a device on their way out: each in its place in a datagram, and sealed there.
//!
//! A device with offload gives many frames as one, which are cut into their places; one without gives each right into its place.

use std::{io, ops::Range};

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::{
    datagram_cipher::MAX_OVERHEAD,
    ethernet::EthernetFrame,
    frame::{LEN_PREFIX, MAX_FRAME, length_prefix},
    offload::{MAX_ETHERNET_HEADER, MAX_HEADERS, MAX_SEGMENTS, VIRTIO_HEADER, VirtioHeader},
};
use rtun_system::tun::{Offload, PacketDevice};
use rtun_transport::udp::MAX_DATAGRAM;

use super::{
    super::{counters::DatagramCounters, gather::SendBatch},
    sealing::Sealing,
};

/// What is read at once from a device with offload.
const READ: usize = VIRTIO_HEADER + MAX_ETHERNET_HEADER + MAX_FRAME;

/// The most bytes that one read becomes, as datagrams on a stream.
const CUT: usize =
    MAX_FRAME + MAX_SEGMENTS * (MAX_HEADERS + MAX_ETHERNET_HEADER + MAX_OVERHEAD + LEN_PREFIX);

/// Datagrams to be sent; keeps its memory.
pub(super) struct FrameGather {
    pub(super) batch: SendBatch,
    /// Bytes before each datagram: its length, for a stream.
    prefix: usize,
    /// One read of a device with offload.
    read: Box<[u8]>,
    /// Where the frames that were taken last are, in the room after what was gathered: all as long as the first, but the last,
    /// which may be shorter.
    taken: Vec<Range<usize>>,
}

/// One read of a device.
pub(super) enum FrameRead {
    /// One frame or several, of which only the payloads of their packets differ.
    Frames,
    /// Nothing that is one.
    Nonsense,
    /// There is none.
    Nothing,
}

/// Datagrams in a batch.
pub(super) struct KeptDatagrams {
    pub(super) at: Range<usize>,
    /// The length of each but the last, which may be shorter.
    pub(super) each: usize,
}

impl FrameGather {
    pub(super) fn new() -> Self {
        let (read, taken) = (vec![0; READ].into(), Vec::new());
        Self { batch: SendBatch::new(CUT), prefix: 0, read, taken }
    }

    /// Begins again, for a stream or a socket.
    pub(super) fn begin(&mut self, for_stream: bool) {
        self.batch.begin();
        self.prefix = if for_stream { LEN_PREFIX } else { 0 };
    }

    pub(super) fn is_full(&self) -> bool {
        self.batch.is_full()
    }

    /// How many frames were taken last.
    pub(super) fn frames(&self) -> usize {
        self.taken.len()
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.taken.iter().map(Range::len).sum()
    }

    /// The first of them, until they are sealed.
    pub(super) fn first(&mut self) -> &[u8] {
        let at = self.taken.first().cloned().unwrap_or_default();
        &self.batch.space()[at]
    }

    /// Takes the next frames of the device, with room for what `sealing` adds.
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
        self.taken.clear();
        let front = self.prefix + sealing.front();
        let most = MAX_DATAGRAM - sealing.overhead();
        let is_cut = device.offload() != Offload::None;
        let into = match is_cut {
            true => &mut self.read[..],
            false => &mut self.batch.space()[front..front + most],
        };
        let len = match device.try_recv(into) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(FrameRead::Nothing);
            }
            Err(error) => return Err(error),
        };
        if is_cut {
            return Ok(self.cut(len, front, sealing, counters));
        }
        counters.count_in(1, len as u64);
        if EthernetFrame::parse(&self.batch.space()[front..front + len]).is_err() {
            counters.count_drops(DatagramDrop::Malformed, 1);
            return Ok(FrameRead::Nonsense);
        }
        self.taken.push(front..front + len);
        Ok(FrameRead::Frames)
    }

    /// Cuts what was read, of this many bytes, into frames.
    fn cut(
        &mut self,
        len: usize,
        front: usize,
        sealing: &Sealing,
        counters: &DatagramCounters,
    ) -> FrameRead {
        let checked = self.read[..len]
            .split_first_chunk_mut()
            .and_then(|(header, frame)| VirtioHeader::decode(header).check_frame(frame).ok());
        let Some(frames) = checked else {
            counters.count_in(1, len.saturating_sub(VIRTIO_HEADER) as u64);
            counters.count_drops(DatagramDrop::Malformed, 1);
            return FrameRead::Nonsense;
        };
        let count = frames.frames() as u64;
        counters.count_in(count, frames.frames_len() as u64);
        if frames.longest() + sealing.overhead() > MAX_DATAGRAM {
            counters.count_drops(DatagramDrop::TooBig, count);
            return FrameRead::Nonsense;
        }
        let back = sealing.overhead() - sealing.front();
        frames.write_spaced_to(front, back, self.batch.space());
        self.taken.extend(frames.places(front, back));
        FrameRead::Frames
    }

    /// One of the frames that were taken last in its datagram, which is not kept.
    pub(super) fn sealed(&mut self, n: usize, sealing: &Sealing) -> Result<&[u8], DatagramDrop> {
        let (front, back) = (sealing.front(), sealing.overhead() - sealing.front());
        let at = self.taken.get(n).cloned().ok_or(DatagramDrop::Malformed)?;
        let datagram = &mut self.batch.space()[at.start - front..at.end + back];
        sealing.seal(datagram)?;
        Ok(datagram)
    }

    /// Keeps the frames that were taken last as datagrams.
    pub(super) fn keep(&mut self, sealing: &Sealing) -> Result<KeptDatagrams, DatagramDrop> {
        let (mut len, mut each) = (0, 0);
        for n in 0..self.taken.len() {
            let datagram = self.sealed(n, sealing)?.len();
            len += datagram;
            each = each.max(datagram);
        }
        Ok(KeptDatagrams { at: self.batch.keep(len), each })
    }

    /// Keeps them for a stream, each after its length.
    pub(super) fn keep_on_stream(&mut self, sealing: &Sealing) -> Result<(), DatagramDrop> {
        let mut end = 0;
        for n in 0..self.taken.len() {
            let len = self.sealed(n, sealing)?.len();
            let prefix = length_prefix(len).map_err(|_| DatagramDrop::TooBig)?;
            self.batch.space()[end..end + LEN_PREFIX].copy_from_slice(&prefix);
            end += LEN_PREFIX + len;
        }
        self.batch.keep(end);
        Ok(())
    }
}

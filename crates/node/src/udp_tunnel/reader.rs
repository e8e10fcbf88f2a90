//! Taking packets from a device, finished or still to be cut.

use std::io;

use rtun_proto::{
    frame::MAX_FRAME,
    offload::{GsoPacket, MAX_HEADERS, MAX_SEGMENTS, VIRTIO_HEADER, VirtioHeader},
};
use rtun_system::tun::{Offload, PacketDevice};

/// What is read from a device at once.
const READ: usize = VIRTIO_HEADER + MAX_FRAME;

/// The most bytes that one read becomes.
pub(super) const CUT: usize = MAX_FRAME + MAX_SEGMENTS * MAX_HEADERS;

/// One read of a device.
pub(super) struct DeviceReader(Box<[u8]>);

/// What a read has given.
pub(super) enum DeviceRead<'a> {
    /// A packet, or several in one.
    Packet(GsoPacket<'a>),
    /// Nothing that makes sense.
    Nonsense,
    /// There is none.
    Nothing,
}

impl DeviceReader {
    pub(super) fn new() -> Self {
        Self(vec![0; READ].into())
    }

    /// The next packet of the device.
    ///
    /// # Errors
    ///
    /// The device no longer works.
    pub(super) fn next<D: PacketDevice>(&mut self, device: &D) -> io::Result<DeviceRead<'_>> {
        let has_header = device.offload() != Offload::None;
        let start = if has_header { 0 } else { VIRTIO_HEADER };
        let len = match device.try_recv(&mut self.0[start..]) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(DeviceRead::Nothing);
            }
            Err(error) => return Err(error),
        };
        // Without a header there is nothing left to do to the packet.
        let split = if has_header {
            VirtioHeader::split(&self.0[..len])
        } else {
            Some((VirtioHeader::default(), &self.0[start..start + len]))
        };
        let packet = split.and_then(|(header, packet)| header.check(packet).ok());
        Ok(packet.map_or(DeviceRead::Nonsense, DeviceRead::Packet))
    }
}

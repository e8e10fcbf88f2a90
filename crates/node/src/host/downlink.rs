//! A host's packet path from its hub: frames in, packets to the device out.
//!
//! With offload, GSO frames go to the device whole, and consecutive packets of a flow in one read are joined, so that one write
//! to the device takes up to 64 KiB.

use std::{
    io::{self, IoSlice},
    time::Duration,
};

use rtun_core::DropReason;
use rtun_proto::{
    extension::{self, GSO_FRAME_HEADER, decode_gso_frame, ip_packet, is_extension, is_gso_frame},
    frame::{Frame, FrameBuffer, Frames},
    offload::{Coalescer, Group, MAX_SLICES, VirtioHeader, gso_type},
    packet::Packet,
};
use rtun_system::tun::{Offload, PacketDevice};

use super::session::Session;
use crate::{counters::Counters, link::Receiver};

/// The host asks for a sign of life after less silence than the hub does, so that of two quiet ends only one asks.
const ASKS_AFTER: Duration = Duration::from_secs(2);

/// Moves packets from the session to the device until the session ends. `buffer` holds what came after the hub's
/// answer.
pub(super) async fn run<D: PacketDevice>(
    device: &D,
    session: &Session,
    buffer: FrameBuffer,
    counters: &Counters,
) {
    let coalescer = Coalescer::new().with_udp(device.offload() == Offload::TcpAndUdp);
    let mut downlink = Downlink { device, session, counters, coalescer };
    session.link.run(&mut downlink, buffer).await;
}

struct Downlink<'a, D> {
    device: &'a D,
    session: &'a Session,
    counters: &'a Counters,
    coalescer: Coalescer,
}

impl<D: PacketDevice> Receiver for Downlink<'_, D> {
    fn take(&mut self, bytes: &[u8]) -> usize {
        self.deliver(bytes)
    }

    fn asks_after(&self) -> Option<Duration> {
        self.session.is_rtun.then_some(ASKS_AFTER)
    }
}

impl<D: PacketDevice> Downlink<'_, D> {
    /// Passes the packets of all whole frames to the device; returns how many bytes the frames were.
    fn deliver(&mut self, bytes: &[u8]) -> usize {
        let Self { device, session, counters, coalescer } = self;
        let joins = device.offload() != Offload::None;
        let mut frames = Frames::new(bytes);
        let mut batch = coalescer.batch(bytes);
        let (mut packets, mut payloads) = (0, 0);
        for frame in frames.by_ref() {
            let payload = frame.payload;
            if is_extension(payload) && !is_gso_frame(payload) {
                if let Err(reason) = session.take(payload) {
                    packets += 1;
                    payloads += payload.len() as u64;
                    counters.count_drop(reason);
                    counters.sample_drop(reason, payload);
                }
                continue;
            }
            let mut amount = 1;
            let taken = if is_gso_frame(payload) {
                let at = frame.range.end - payload.len() + GSO_FRAME_HEADER..frame.range.end;
                check_gso(payload, session).and_then(|header| {
                    amount = extension::packets(payload) as u64;
                    let is_udp = header.gso_type == gso_type::UDP_L4;
                    match joins {
                        true if is_udp && device.offload() != Offload::TcpAndUdp => {
                            // Packets that came before are sent before.
                            batch.flush(|group| send_group(*device, &group, counters));
                            send_cut(*device, payload, counters)
                        }
                        true => {
                            let pushed = batch.push_offload(header, at);
                            pushed.map_err(|_| DropReason::FrameMalformed)
                        }
                        false => Err(DropReason::FrameUnknown),
                    }
                })
            } else {
                check(payload).map(|packet| match joins {
                    true => {
                        let start = frame.range.end - payload.len();
                        batch.push(start..start + packet.len());
                    }
                    false => {
                        count(device.try_send(packet.bytes()), 1, packet.len(), counters);
                    }
                })
            };
            packets += amount;
            payloads += ip_packet(payload).map_or(0, <[u8]>::len) as u64;
            if let Err(reason) = taken {
                counters.count_drops(reason, amount);
                counters.sample_drop(reason, payload);
            }
        }
        for group in batch.finish() {
            send_group(*device, &group, counters);
        }
        counters.count_in(packets, payloads);
        frames.consumed()
    }
}

/// Passes the segments of a GSO frame one by one, to a device without offload for its protocol.
fn send_cut<D: PacketDevice>(
    device: &D,
    payload: &[u8],
    counters: &Counters,
) -> Result<(), DropReason> {
    let packet = decode_gso_frame(payload).map_err(|_| DropReason::FrameMalformed)?;
    let mut frames = Vec::new();
    packet.write_frames(&mut frames);
    let nothing_left_to_do = VirtioHeader::default().encode();
    for Frame { payload, .. } in Frames::new(&frames) {
        let pieces = [IoSlice::new(&nothing_left_to_do), IoSlice::new(payload)];
        count(device.try_send_vectored(&pieces), 1, payload.len(), counters);
    }
    Ok(())
}

fn send_group<D: PacketDevice>(device: &D, group: &Group<'_>, counters: &Counters) {
    let mut pieces = [IoSlice::new(&[]); MAX_SLICES];
    let mut filled = 0;
    for (slot, piece) in pieces.iter_mut().zip(group.slices()) {
        *slot = IoSlice::new(piece);
        filled += 1;
    }
    // A GSO frame arrived whole. Of joined packets, the second piece is the headers, which each of them had; the first is the
    // virtio header.
    let (packets, repeated) = match group.packets() {
        1 => (group.segments(), 0),
        joined => (joined, (joined - 1) * pieces.get(1).map_or(0, |piece| piece.len())),
    };
    count(device.try_send_vectored(&pieces[..filled]), packets, group.len() + repeated, counters);
}

fn count(sent: io::Result<usize>, packets: usize, bytes: usize, counters: &Counters) {
    match sent {
        Ok(_) => counters.count_out(packets as u64, bytes as u64),
        Err(_) => counters.count_drops(DropReason::TunWriteError, packets as u64),
    }
}

/// The header of a GSO frame. Only an rtun hub may send one, and only after the host has offered it.
fn check_gso(payload: &[u8], session: &Session) -> Result<VirtioHeader, DropReason> {
    if !session.is_rtun {
        return Err(DropReason::IpVersion);
    }
    if !session.gso_frames() {
        return Err(DropReason::FrameUnknown);
    }
    let packet = decode_gso_frame(payload).map_err(|_| DropReason::FrameMalformed)?;
    Ok(packet.header())
}

/// The packet in a frame.
fn check(payload: &[u8]) -> Result<Packet<'_>, DropReason> {
    if payload.is_empty() {
        return Err(DropReason::FrameEmpty);
    }
    Ok(Packet::parse(payload)?)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use rtun_proto::extension::{Capabilities, HelloReply, gso_frame_prefix};
    use rtun_transport::memory;

    use super::*;
    use crate::{link::Link, runtime::budget::Budget};

    /// A device that keeps what it is given.
    #[derive(Default)]
    struct RecordingDevice(Mutex<Vec<Vec<u8>>>);

    impl PacketDevice for RecordingDevice {
        fn name(&self) -> &str {
            "kept"
        }

        fn mtu(&self) -> u16 {
            1420
        }

        async fn readable(&self) -> io::Result<()> {
            Ok(())
        }

        fn try_recv(&self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        async fn writable(&self) -> io::Result<()> {
            Ok(())
        }

        fn offload(&self) -> Offload {
            Offload::Tcp
        }

        fn try_send(&self, packet: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(packet.to_vec());
            Ok(packet.len())
        }

        fn try_send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
            self.try_send(&bytes)
        }
    }

    /// Two datagrams of 5 and 3 bytes of one flow, as a GSO frame.
    fn gso_frame() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 36, 0, 1, 0x40, 0, 64, 17, 0, 0];
        packet.extend_from_slice(&[192, 168, 123, 2, 192, 168, 123, 1]);
        // The sum of the pseudo-header after ports and length; eight bytes, five to a datagram.
        packet.extend_from_slice(&[0, 1, 0, 2, 0, 16, 0x77, 0x76, 1, 2, 3, 4, 5, 6, 7, 8]);
        let header = VirtioHeader {
            flags: 1,
            gso_type: gso_type::UDP_L4,
            hdr_len: 28,
            gso_size: 5,
            csum_start: 20,
            csum_offset: 6,
        };
        let prefix = gso_frame_prefix(&header.check(&packet).unwrap()).unwrap();
        [&prefix[..], &packet].concat()
    }

    #[test]
    fn a_gso_frame_is_cut_for_a_device_that_takes_none_of_its_protocol() {
        let frame = gso_frame();
        let (device, counters) = (RecordingDevice::default(), Counters::default());
        send_cut(&device, &frame[2..], &counters).unwrap();
        let kept = device.0.into_inner().unwrap();
        let payloads: Vec<_> = kept.iter().map(|packet| &packet[10 + 28..]).collect();
        assert_eq!(payloads, [&[1, 2, 3, 4, 5][..], &[6, 7, 8]]);
        assert!(kept.iter().all(|packet| packet[..10] == [0; 10]), "nothing is left to do");
        assert_eq!((counters.read().packets_out, counters.read().bytes_out), (2, 33 + 31));
    }
    #[test]
    fn datagrams_stay_in_order_around_a_gso_frame_that_is_cut() {
        let whole = gso_frame();
        let plain = |byte: u8| {
            let mut packet = whole[whole.len() - 36..].to_vec();
            (packet[3], packet[25], packet[28]) = (29, 9, byte);
            packet.truncate(29);
            let mut frame = Vec::new();
            rtun_proto::frame::write_frame(&packet, &mut frame).unwrap();
            frame
        };
        let bytes = [&plain(10)[..], &whole, &plain(20)].concat();
        let reply = HelloReply {
            version: 1,
            accepted: Capabilities::NONE.with(Capabilities::GSO_FRAMES),
            max_frame: u16::MAX,
            reconnect_window: Duration::ZERO,
            namespace: [0; 16],
            addresses: Vec::new(),
        };
        let (near, _far) = memory::pair(1024);
        let link = Link::new(Arc::new(near), &Budget::new(1 << 20), Arc::default());
        let session = Session::greeted(link, reply);
        let (device, counters) = (RecordingDevice::default(), Counters::default());
        let coalescer = Coalescer::new().with_udp(false);
        let mut downlink =
            Downlink { device: &device, session: &session, counters: &counters, coalescer };
        assert_eq!(downlink.deliver(&bytes), bytes.len());
        let kept = device.0.into_inner().unwrap();
        let first_bytes: Vec<_> = kept.iter().map(|packet| packet[10 + 28]).collect();
        assert_eq!(first_bytes, [10, 1, 6, 20]);
        assert_eq!(counters.read().packets_in, counters.read().packets_out);
    }
}

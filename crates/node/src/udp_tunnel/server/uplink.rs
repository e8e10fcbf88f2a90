//! The packets of the server's device: each to the client that it is for.

use std::io;

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_system::tun::PacketDevice;

use super::{
    super::{
        gather::SendBatch,
        limits::{DEVICE, LimitedPath},
        reader::{CUT, DeviceRead, DeviceReader},
    },
    UdpServerPaths,
};
use crate::link::ReadTurns;

/// Moves packets until the device fails.
pub(super) async fn run<D: PacketDevice>(shared: &UdpServerPaths, device: &D) -> io::Error {
    let (mut reader, mut gather) = (DeviceReader::new(), SendBatch::new(CUT));
    let mut turns = ReadTurns::default();
    loop {
        if let Err(error) = device.readable().await {
            return error;
        }
        gather.begin();
        if let Err(error) = fill(shared, device, &mut reader, &mut gather) {
            return error;
        }
        gather.outgoings.send(gather.buffer(), &shared.socket, &shared.state.sent).await;
        turns.after_read().await;
    }
}

/// Takes packets from the device until it has none or there are enough.
fn fill<D: PacketDevice>(
    shared: &UdpServerPaths,
    device: &D,
    reader: &mut DeviceReader,
    gather: &mut SendBatch,
) -> io::Result<()> {
    let (counters, limits) = (&shared.state.sent, &shared.state.limits);
    let mut decisions = shared.state.decisions();
    while !gather.is_full() {
        match reader.next(device)? {
            DeviceRead::Nothing => break,
            DeviceRead::Nonsense => {
                counters.count_in(1, 0);
                counters.count_drops(DatagramDrop::Malformed, 1);
            }
            DeviceRead::Packet(packet) => {
                let packets = packet.segments() as u64;
                counters.count_in(packets, packet.packets_len() as u64);
                match decisions.of_device(packet.bytes(), packets) {
                    Ok(_) if limits.is_over_quota() => {
                        counters.lose(DatagramDrop::QuotaExceeded, packets, None, packet.bytes());
                    }
                    Ok(destination) if limits.holds(LimitedPath::Out, destination.to) => {
                        let (path, to) = (LimitedPath::Out, destination.to);
                        limits.wait_frames(path, to, DEVICE, gather.cut(&packet), counters);
                    }
                    Ok(destination) => gather.push(destination, &packet),
                    Err(reason) => counters.lose(reason, packets, None, packet.bytes()),
                }
            }
        }
    }
    Ok(())
}

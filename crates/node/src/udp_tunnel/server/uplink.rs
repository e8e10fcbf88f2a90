//! The packets of the server's device: each to the client that it is for.

use std::io;

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_system::tun::PacketDevice;

use super::{
    super::{
        gather::Gather,
        reader::{CUT, Read, Reader},
    },
    Shared,
};
use crate::link::ReadTurns;

/// Moves packets until the device fails.
pub(super) async fn run<D: PacketDevice>(shared: &Shared, device: &D) -> io::Error {
    let (mut reader, mut gather) = (Reader::new(), Gather::new(CUT));
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
    shared: &Shared,
    device: &D,
    reader: &mut Reader,
    gather: &mut Gather,
) -> io::Result<()> {
    let counters = &shared.state.sent;
    let mut decisions = shared.state.decisions();
    while !gather.is_full() {
        match reader.next(device)? {
            Read::Nothing => break,
            Read::Nonsense => {
                counters.count_in(1, 0);
                counters.count_drops(DatagramDrop::Malformed, 1);
            }
            Read::Packet(packet) => {
                let packets = packet.segments() as u64;
                counters.count_in(packets, packet.packets_len() as u64);
                match decisions.of_device(packet.bytes(), packets) {
                    Ok(destination) => gather.push(destination, &packet),
                    Err(reason) => counters.count_drops(reason, packets),
                }
            }
        }
    }
    Ok(())
}

//! The packets of a client's device: all to its server.

use std::io;

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::{
    packet::{Packet, destination_is_never_routed},
    udp_tunnel::looks_like_message,
};
use rtun_system::tun::PacketDevice;

use super::{
    super::{
        conversation::ServerPath,
        gather::{DatagramDestination, SendBatch},
        limits::{DEVICE, LimitedPath, SERVER},
        reader::{CUT, DeviceRead, DeviceReader},
        relayed::send_frames,
    },
    UdpClientState,
};
use crate::link::ReadTurns;

/// Moves packets until the device fails. Without a server they are taken and dropped, so that none is delivered long after it was
/// sent.
pub(super) async fn run<D: PacketDevice>(state: &UdpClientState, device: &D) -> io::Error {
    let (mut reader, mut gather) = (DeviceReader::new(), SendBatch::new(CUT));
    let mut turns = ReadTurns::default();
    loop {
        if let Err(error) = device.readable().await {
            return error;
        }
        let connected = state.dialled.path();
        gather.begin();
        if let Err(error) = fill(state, connected.as_ref(), device, &mut reader, &mut gather) {
            return error;
        }
        match &connected {
            Some(ServerPath::Socket(server)) => {
                gather.outgoings.send(gather.buffer(), &server.socket, &state.sent).await;
            }
            Some(ServerPath::Relay(link)) => send_frames(link, gather.filled()),
            None => {}
        }
        turns.after_read().await;
    }
}

/// Takes packets from the device until it has none or there are enough.
fn fill<D: PacketDevice>(
    state: &UdpClientState,
    connected: Option<&ServerPath>,
    device: &D,
    reader: &mut DeviceReader,
    gather: &mut SendBatch,
) -> io::Result<()> {
    let (counters, limits) = (&state.sent, &state.limits);
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
                match (judge(packet.bytes()), connected) {
                    (Ok(()), Some(_)) if limits.is_over_quota() => {
                        counters.lose(DatagramDrop::QuotaExceeded, packets, None, packet.bytes());
                    }
                    (Ok(()), Some(_)) if limits.holds(LimitedPath::In, SERVER) => {
                        let frames = gather.cut(&packet);
                        limits.wait_frames(LimitedPath::In, SERVER, DEVICE, frames, counters);
                    }
                    (Ok(()), Some(ServerPath::Socket(server))) => {
                        let destination = DatagramDestination { to: server.remote, local: None };
                        gather.push(destination, &packet);
                    }
                    (Ok(()), Some(ServerPath::Relay(_))) => gather.push_frames(&packet),
                    (Ok(()), None) => {
                        counters.lose(DatagramDrop::NotConnected, packets, None, packet.bytes());
                    }
                    (Err(reason), _) => counters.lose(reason, packets, None, packet.bytes()),
                }
            }
        }
    }
    Ok(())
}

/// Whether a packet may go to the server: one from a link-local address, as every Linux machine sends them, is for nobody there.
fn judge(packet: &[u8]) -> Result<(), DatagramDrop> {
    if looks_like_message(packet) {
        return Err(DatagramDrop::Malformed);
    }
    let ip = Packet::parse(packet).map_err(|_| DatagramDrop::Malformed)?;
    if destination_is_never_routed(ip.source()) { Err(DatagramDrop::Local) } else { Ok(()) }
}

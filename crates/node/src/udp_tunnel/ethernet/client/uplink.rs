//! The frames of a client's device: all to its server.

use std::{io, sync::Arc};

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_system::tun::PacketDevice;

use super::{
    super::{
        super::{gather::DatagramDestination, session::ServerSocket},
        frames::{FrameGather, FrameRead},
    },
    TapClientState,
};
use crate::link::ReadTurns;

/// Moves frames until the device fails. Without a server they are taken and dropped, so that none is delivered long after it was
/// sent.
pub(super) async fn run<D: PacketDevice>(state: &TapClientState, device: &D) -> io::Error {
    let (mut gather, mut turns) = (FrameGather::new(), ReadTurns::default());
    loop {
        if let Err(error) = device.readable().await {
            return error;
        }
        let connected = state.dialled.socket.load_full();
        gather.begin();
        if let Err(error) = fill(state, connected.as_ref(), device, &mut gather) {
            return error;
        }
        if let Some(connected) = connected {
            gather.outgoings.send(gather.buffer(), &connected.socket, &state.sent).await;
        }
        turns.after_read().await;
    }
}

/// Takes frames from the device until it has none or there are enough.
fn fill<D: PacketDevice>(
    state: &TapClientState,
    connected: Option<&Arc<ServerSocket>>,
    device: &D,
    gather: &mut FrameGather,
) -> io::Result<()> {
    let (counters, sealing) = (&state.sent, &state.sealing);
    // Without a server nothing fills up: it is enough to take what there is, batch by batch.
    let mut unsent = 0;
    while !gather.is_full() && unsent < 256 {
        let at = match gather.take(device, sealing, counters)? {
            FrameRead::Nothing => break,
            FrameRead::Nonsense => continue,
            FrameRead::Frame(at) => at,
        };
        let Some(connected) = connected else {
            counters.count_drops(DatagramDrop::NotConnected, 1);
            unsent += 1;
            continue;
        };
        let destination = DatagramDestination { to: connected.remote, local: None };
        if let Err(reason) = gather.push(at, [destination], sealing) {
            counters.count_drops(reason, 1);
        }
    }
    Ok(())
}

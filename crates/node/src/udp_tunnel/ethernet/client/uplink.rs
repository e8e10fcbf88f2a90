//! The frames of a client's device: all to its server.

use std::io;

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_system::tun::PacketDevice;

use super::{
    super::{
        super::{
            conversation::ServerPath,
            gather::DatagramDestination,
            limits::{DEVICE, LimitedPath, SERVER},
            relayed::send_frames,
        },
        frames::{FrameGather, FrameRead, KeptDatagrams},
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
        let connected = state.dialled.path();
        gather.begin(matches!(connected, Some(ServerPath::Relay(_))));
        if let Err(error) = fill(state, connected.as_ref(), device, &mut gather) {
            return error;
        }
        let batch = &gather.batch;
        match &connected {
            Some(ServerPath::Socket(server)) => {
                batch.outgoings.send(batch.buffer(), &server.socket, &state.sent).await;
            }
            Some(ServerPath::Relay(link)) => send_frames(link, batch.filled()),
            None => {}
        }
        turns.after_read().await;
    }
}

/// Takes frames from the device until it has none or there are enough.
fn fill<D: PacketDevice>(
    state: &TapClientState,
    connected: Option<&ServerPath>,
    device: &D,
    gather: &mut FrameGather,
) -> io::Result<()> {
    let TapClientState { sent: counters, sealing, limits, .. } = state;
    // Without a server nothing fills up: it is enough to take what there is, batch by batch.
    let mut unsent = 0;
    while !gather.is_full() && unsent < 256 {
        match gather.take(device, sealing, counters)? {
            FrameRead::Nothing => break,
            FrameRead::Nonsense => continue,
            FrameRead::Frames => {}
        }
        let frames = gather.frames();
        let pushed = match connected {
            Some(_) if limits.is_over_quota() => Err(DatagramDrop::QuotaExceeded),
            Some(_) if limits.holds(LimitedPath::In, SERVER) => (0..frames).try_for_each(|n| {
                let datagram = gather.sealed(n, sealing)?;
                limits.wait(LimitedPath::In, SERVER, DEVICE, datagram, counters);
                Ok(())
            }),
            Some(ServerPath::Socket(server)) => {
                let destination = DatagramDestination { to: server.remote, local: None };
                gather.keep(sealing).map(|KeptDatagrams { at, each }| {
                    gather.batch.outgoings.push(destination, at, each);
                })
            }
            Some(ServerPath::Relay(_)) => gather.keep_on_stream(sealing),
            None => {
                unsent += 1;
                Err(DatagramDrop::NotConnected)
            }
        };
        if let Err(reason) = pushed {
            counters.lose(reason, frames as u64, None, gather.first());
        }
    }
    Ok(())
}

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
        let at = match gather.take(device, sealing, counters)? {
            FrameRead::Nothing => break,
            FrameRead::Nonsense => continue,
            FrameRead::Frame(at) => at,
        };
        let pushed = match connected {
            Some(_) if limits.is_over_quota() => Err(DatagramDrop::QuotaExceeded),
            Some(_) if limits.holds(LimitedPath::In, SERVER) => {
                gather.sealed(&at, sealing).map(|datagram| {
                    limits.wait(LimitedPath::In, SERVER, DEVICE, datagram, counters);
                })
            }
            Some(ServerPath::Socket(server)) => {
                let destination = DatagramDestination { to: server.remote, local: None };
                gather.keep(at, sealing).map(|at| {
                    let len = at.len();
                    gather.batch.outgoings.push(destination, at, len);
                })
            }
            Some(ServerPath::Relay(_)) => gather.push_frame(&at, sealing),
            None => {
                unsent += 1;
                Err(DatagramDrop::NotConnected)
            }
        };
        if let Err(reason) = pushed {
            counters.count_drops(reason, 1);
        }
    }
    Ok(())
}

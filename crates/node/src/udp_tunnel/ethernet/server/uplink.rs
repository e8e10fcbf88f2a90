//! The frames of the server's device: each to the client that its destination is behind, or to all.

use std::{io, net::SocketAddr, time::Instant};

use rtun_core::udp_tunnel::{BridgePort, DatagramDrop, FrameTarget};
use rtun_proto::ethernet::EthernetFrame;
use rtun_system::tun::PacketDevice;

use super::{
    super::{
        super::limits::{DEVICE, LimitedPath},
        frames::{FrameGather, FrameRead, KeptDatagrams},
    },
    SwitchPaths, Switching, TapServerState,
};
use crate::link::ReadTurns;

/// Moves frames until the device fails.
pub(super) async fn run<D: PacketDevice>(paths: &SwitchPaths, device: &D) -> io::Error {
    let (mut gather, mut turns) = (FrameGather::new(), ReadTurns::default());
    let mut targets = Vec::new();
    loop {
        if let Err(error) = device.readable().await {
            return error;
        }
        gather.begin(false);
        if let Err(error) = fill(paths, device, &mut gather, &mut targets) {
            return error;
        }
        gather.batch.outgoings.send(gather.batch.buffer(), &paths.socket, &paths.state.sent).await;
        turns.after_read().await;
    }
}

/// Takes frames from the device until it has none or there are enough.
fn fill<D: PacketDevice>(
    paths: &SwitchPaths,
    device: &D,
    gather: &mut FrameGather,
    targets: &mut Vec<SocketAddr>,
) -> io::Result<()> {
    let SwitchPaths { state, .. } = paths;
    let TapServerState { sent: counters, sealing, limits, .. } = &**state;
    let now = Instant::now();
    let mut switching = state.switching();
    while !gather.is_full() {
        match gather.take(device, sealing, counters)? {
            FrameRead::Nothing => break,
            FrameRead::Nonsense => continue,
            FrameRead::Frames => {}
        }
        let (frames, bytes) = (gather.frames(), gather.bytes());
        // What was taken at once goes to the same places: its frames have the same addresses.
        let judged = judge(&mut switching, gather.first(), targets, now);
        let judged = judged.and_then(|()| match limits.is_over_quota() {
            true => Err(DatagramDrop::QuotaExceeded),
            false => gather.keep(sealing),
        });
        let KeptDatagrams { at, each } = match judged {
            Ok(kept) => kept,
            Err(reason) => {
                counters.lose(reason, frames as u64, None, gather.first());
                continue;
            }
        };
        for peer in targets.drain(..) {
            let Some(destination) = switching.towards(peer, frames, bytes) else { continue };
            let batch = &mut gather.batch;
            if limits.holds(LimitedPath::Out, peer) {
                for datagram in batch.buffer()[at.clone()].chunks(each) {
                    limits.wait(LimitedPath::Out, peer, DEVICE, datagram, counters);
                }
            } else {
                batch.outgoings.push(destination, at.clone(), each);
            }
        }
    }
    Ok(())
}

/// Finds out to whom a frame goes.
fn judge(
    switching: &mut Switching,
    frame: &[u8],
    targets: &mut Vec<SocketAddr>,
    now: Instant,
) -> Result<(), DatagramDrop> {
    let frame = EthernetFrame::parse(frame)?;
    let from = BridgePort::Device;
    targets.clear();
    match switching.bridge.forward(from, &frame, now)? {
        FrameTarget::Port(BridgePort::Peer(peer)) => targets.push(peer),
        FrameTarget::Flood => targets.extend(switching.bridge.others(from)),
        FrameTarget::Port(BridgePort::Device) | FrameTarget::Echo => {}
    }
    Ok(())
}

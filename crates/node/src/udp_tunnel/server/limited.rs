//! Packets that have waited for limits: those of clients are judged now, those for clients are sent.

use std::time::Instant;

use rtun_core::udp_tunnel::DatagramDrop;

use super::{
    super::{
        delivery::DeviceBatch,
        gather::OutgoingRuns,
        limits::{LimitedPath, ReleasedDatagrams},
    },
    UdpServerPaths,
    decisions::DatagramOutcome,
};
use crate::link::ReadTurns;

/// Moves them for as long as it is let.
pub(super) async fn run(shared: &UdpServerPaths) {
    let UdpServerPaths { state, socket, port } = shared;
    let mut released = ReleasedDatagrams::default();
    let mut delivery = DeviceBatch::new(&**port);
    let (mut onward, mut outward) = (OutgoingRuns::default(), OutgoingRuns::default());
    let mut turns = ReadTurns::default();
    loop {
        state.limits.ready().await;
        state.limits.release(&mut released, [&state.received, &state.sent]);
        onward.clear();
        outward.clear();
        judge(shared, &released, &mut delivery, &mut onward, &mut outward);
        delivery.deliver(&released.buffer, &**port, &state.received);
        onward.send(&released.buffer, socket, &state.received).await;
        outward.send(&released.buffer, socket, &state.sent).await;
        turns.after_read().await;
    }
}

fn judge(
    shared: &UdpServerPaths,
    released: &ReleasedDatagrams,
    delivery: &mut DeviceBatch,
    onward: &mut OutgoingRuns,
    outward: &mut OutgoingRuns,
) {
    let UdpServerPaths { state, .. } = shared;
    let now = Instant::now();
    let mut decisions = state.decisions();
    for (path, peer, at) in &released.all {
        let packet = &released.buffer[at.clone()];
        match path {
            LimitedPath::Out => match decisions.towards(*peer) {
                Some(destination) => outward.push(destination, at.clone(), at.len()),
                None => state.sent.lose(DatagramDrop::NoRoute, 1, Some(*peer), packet),
            },
            LimitedPath::In => match decisions.of_waited(*peer, packet, &mut None, now) {
                Ok(DatagramOutcome::Client(destination, _)) => {
                    state.send_on(*peer, destination, at.clone(), &released.buffer, onward);
                }
                Ok(DatagramOutcome::Device(_)) => delivery.push(at.clone()),
                // Only what has not waited yet does, and a packet is no register.
                Ok(DatagramOutcome::Waits(_) | DatagramOutcome::Reply(_)) => {}
                Err(reason) => state.received.lose(reason, 1, Some(*peer), packet),
            },
        }
    }
}

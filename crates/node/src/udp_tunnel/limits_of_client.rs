//! What has waited for the limits of a client: on to its server, or to its device.

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::frame::write_frame;

use super::{
    conversation::{DialledServer, ServerPath},
    counters::DatagramCounters,
    gather::{DatagramDestination, OutgoingRuns},
    limits::{LimitedPath, ReleasedDatagrams, TunnelLimits},
    relayed::send_frames,
};
use crate::link::ReadTurns;

/// Moves it without end. `sent` counts what goes to the server, `received` what comes from there; `deliver` hands to the device what
/// is [of the server](ReleasedDatagrams::of_server).
pub(super) async fn release(
    limits: &TunnelLimits,
    dialled: &DialledServer,
    (sent, received): (&DatagramCounters, &DatagramCounters),
    mut deliver: impl FnMut(&ReleasedDatagrams),
) {
    let mut released = ReleasedDatagrams::default();
    let (mut outgoings, mut frames) = (OutgoingRuns::default(), Vec::new());
    let mut turns = ReadTurns::default();
    loop {
        limits.ready().await;
        limits.release(&mut released, [sent, received]);
        deliver(&released);
        let of_device = || released.all.iter().filter(|(path, ..)| *path == LimitedPath::In);
        match dialled.path() {
            Some(ServerPath::Socket(server)) => {
                outgoings.clear();
                let destination = DatagramDestination { to: server.remote, local: None };
                for (_, _, at) in of_device() {
                    outgoings.push(destination, at.clone(), at.len());
                }
                outgoings.send(&released.buffer, &server.socket, sent).await;
            }
            Some(ServerPath::Relay(link)) => {
                frames.clear();
                for (_, _, at) in of_device() {
                    if write_frame(&released.buffer[at.clone()], &mut frames).is_err() {
                        sent.count_drops(DatagramDrop::TooBig, 1);
                    }
                }
                send_frames(&link, &frames);
            }
            None => sent.count_drops(DatagramDrop::NotConnected, of_device().count() as u64),
        }
        turns.after_read().await;
    }
}

//! The datagrams of a server's clients: to its device, to other clients, or answered.

use std::time::Instant;

use rtun_proto::udp_tunnel::REPLY;
use rtun_transport::udp::ReceivedDatagrams;

use super::{
    super::{
        arrivals::next_batch,
        delivery::DeviceBatch,
        gather::{DatagramDestination, OutgoingRuns},
        limits::{DEVICE, LimitedPath},
    },
    UdpServerPaths,
    decisions::{DatagramOutcome, ServerNotice},
};
use crate::link::ReadTurns;

/// Moves datagrams for as long as it is let.
pub(super) async fn run(shared: &UdpServerPaths) {
    let UdpServerPaths { state, socket, port } = shared;
    let mut received = ReceivedDatagrams::default();
    let mut turn = ReceivedBatch::new(shared);
    let mut turns = ReadTurns::default();
    loop {
        next_batch(socket, &mut received).await;
        turn.judge(shared, &received);
        turn.delivery.deliver(received.buffer(), &**port, &state.received);
        if !turn.outgoings.is_empty() {
            turn.outgoings.send(received.buffer(), socket, &state.received).await;
        }
        for (to, reply) in turn.replies.drain(..) {
            // A reply that does not go is one that is lost: the client registers again.
            let _ = socket.try_send(to.to, to.local, &reply, reply.len());
        }
        for said in turn.say.drain(..) {
            said.say(&state.service, &state.events);
        }
        turns.after_read().await;
    }
}

/// What one receive leads to; keeps its memory.
struct ReceivedBatch {
    delivery: DeviceBatch,
    outgoings: OutgoingRuns,
    replies: Vec<(DatagramDestination, [u8; REPLY])>,
    say: Vec<ServerNotice>,
}

impl ReceivedBatch {
    fn new(shared: &UdpServerPaths) -> Self {
        Self {
            delivery: DeviceBatch::new(&*shared.port),
            outgoings: OutgoingRuns::default(),
            replies: Vec::new(),
            say: Vec::new(),
        }
    }

    fn judge(&mut self, shared: &UdpServerPaths, received: &ReceivedDatagrams) {
        let counters = &shared.state.received;
        let now = Instant::now();
        self.outgoings.clear();
        let mut decisions = shared.state.decisions();
        for run in received.runs() {
            let mut sender = decisions.routing.clients.sender(run.from);
            let mut last = None;
            let (mut packets, mut bytes) = (0, 0);
            for at in run.datagrams() {
                let datagram = &received.buffer()[at.clone()];
                let say = &mut self.say;
                let outcome = decisions.of_client(
                    &run,
                    &mut sender,
                    &mut last,
                    datagram,
                    &shared.state.limits,
                    now,
                    say,
                );
                match outcome {
                    Ok(DatagramOutcome::Reply(reply)) => {
                        let back = DatagramDestination { to: run.from, local: run.to };
                        self.replies.push((back, reply));
                        continue;
                    }
                    Ok(DatagramOutcome::Client(destination, len)) => {
                        let (from, at) = (run.from, at.start..at.start + len);
                        let outgoings = &mut self.outgoings;
                        shared.state.send_on(from, destination, at, received.buffer(), outgoings);
                    }
                    Ok(DatagramOutcome::Waits(len)) => {
                        let (path, packet) = (LimitedPath::In, &datagram[..len]);
                        shared.state.limits.wait(path, run.from, DEVICE, packet, counters);
                    }
                    Ok(DatagramOutcome::Device(len)) => {
                        self.delivery.push(at.start..at.start + len)
                    }
                    Err(reason) => counters.lose(reason, 1, Some(run.from), datagram),
                }
                packets += 1;
                bytes += datagram.len() as u64;
            }
            counters.count_in(packets, bytes);
        }
    }
}

//! The frames of a server's clients: to its device, to other clients, or to all.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use rtun_core::udp_tunnel::{BridgePort, DatagramDrop, FrameTarget};
use rtun_proto::ethernet::EthernetFrame;
use rtun_system::tun::PacketDevice;
use rtun_transport::udp::{DatagramRun, MAX_DATAGRAM, ReceivedDatagrams};
use tracing::info;

use super::{
    super::super::{
        access::admits,
        arrivals::next_batch,
        gather::{DatagramDestination, OutgoingRuns},
    },
    SwitchPaths, Switching,
};
use crate::link::ReadTurns;

/// The most copies of frames for all that one receive leads to; what would be more is dropped.
const MAX_COPIES: usize = 65_536;

/// How often it is said that somebody is new.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Moves datagrams for as long as it is let.
pub(super) async fn run(paths: &SwitchPaths) {
    let SwitchPaths { state, socket, .. } = paths;
    let mut received = ReceivedDatagrams::default();
    let mut turn = SwitchTurn::new();
    let mut turns = ReadTurns::default();
    loop {
        next_batch(socket, &mut received).await;
        turn.judge(paths, &received);
        // What goes on to clients goes as it has come: all have the same key.
        turn.outgoings.send(received.buffer(), socket, &state.received).await;
        for (to, echo) in turn.echoes.drain(..) {
            // One that does not go is one that is lost: the client asks again.
            let _ = socket.try_send(to.to, to.local, &echo, echo.len());
        }
        turns.after_read().await;
    }
}

/// What one receive leads to; keeps its memory.
struct SwitchTurn {
    outgoings: OutgoingRuns,
    echoes: Vec<(DatagramDestination, Vec<u8>)>,
    copies: usize,
    /// Where a datagram is opened.
    room: Box<[u8]>,
    said: Option<Instant>,
}

impl SwitchTurn {
    fn new() -> Self {
        Self {
            outgoings: OutgoingRuns::default(),
            echoes: Vec::new(),
            copies: 0,
            room: vec![0; MAX_DATAGRAM + 1].into(),
            said: None,
        }
    }

    fn judge(&mut self, paths: &SwitchPaths, received: &ReceivedDatagrams) {
        let counters = &paths.state.received;
        let now = Instant::now();
        self.outgoings.clear();
        self.copies = 0;
        let mut switching = paths.state.switching();
        for run in received.runs() {
            let (mut packets, mut bytes) = (0, 0);
            for at in run.datagrams() {
                packets += 1;
                bytes += at.len() as u64;
                let switched = self.switch(paths, &mut switching, received, &run, at, now);
                if let Err(reason) = switched {
                    counters.count_drops(reason, 1);
                }
            }
            counters.count_in(packets, bytes);
        }
    }

    /// Hands one datagram on.
    fn switch(
        &mut self,
        paths: &SwitchPaths,
        switching: &mut Switching,
        received: &ReceivedDatagrams,
        run: &DatagramRun,
        at: Range<usize>,
        now: Instant,
    ) -> Result<(), DatagramDrop> {
        let SwitchPaths { state, port, .. } = paths;
        if !admits(&switching.admissions, run.from.ip()) {
            return Err(DatagramDrop::Auth);
        }
        let datagram = &received.buffer()[at.clone()];
        let frame = state.sealing.open(datagram, &mut self.room)?;
        let parsed = EthernetFrame::parse(frame)?;
        let from = BridgePort::Peer(run.from);
        let target = switching.bridge.forward(from, &parsed, now);
        if let Some(traffic) = switching.bridge.traffic(run.from) {
            traffic.local = run.to;
            let is_time =
                self.said.is_none_or(|said| now.saturating_duration_since(said) >= SAY_EVERY);
            if traffic.received.packets == 1 && is_time {
                self.said = Some(now);
                let mac = parsed.source();
                info!(service = state.service, client = %run.from, mac = %mac, "a client is there");
            }
        }
        let mut to_device = false;
        match target? {
            FrameTarget::Echo => {
                let echo = state.sealing.sealed(frame)?;
                self.echoes.push((DatagramDestination { to: run.from, local: run.to }, echo));
            }
            FrameTarget::Port(BridgePort::Device) => to_device = true,
            FrameTarget::Port(BridgePort::Peer(peer)) => {
                if let Some(destination) = switching.towards(peer, frame.len()) {
                    self.outgoings.push(destination, at, datagram.len());
                }
            }
            FrameTarget::Flood => {
                to_device = true;
                let others: Vec<_> = switching.bridge.others(from).collect();
                if self.copies + others.len() > MAX_COPIES {
                    return Err(DatagramDrop::Rate);
                }
                self.copies += others.len();
                for peer in others {
                    if let Some(destination) = switching.towards(peer, frame.len()) {
                        self.outgoings.push(destination, at.clone(), datagram.len());
                    }
                }
            }
        }
        if to_device {
            let len = port.try_send(frame).map_err(|_| DatagramDrop::Device)?;
            state.received.count_out(1, len as u64);
        }
        Ok(())
    }
}

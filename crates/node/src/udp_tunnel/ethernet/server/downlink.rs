//! The frames of a server's clients: to its device, to other clients, or to all.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    time::{Duration, Instant},
};

use rtun_core::udp_tunnel::{BridgePort, DatagramDrop, FrameTarget};
use rtun_proto::ethernet::EthernetFrame;
use rtun_transport::udp::{DatagramSocket, ReceivedDatagrams};
use tracing::info;

use super::{
    super::{
        super::{
            access::admits,
            arrivals::next_batch,
            gather::{DatagramDestination, OutgoingRuns},
            limits::{DEVICE, LimitedPath, ReleasedDatagrams, number_of},
        },
        delivery::FrameDelivery,
    },
    SwitchPaths, Switching, TapServerState,
};
use crate::{link::ReadTurns, runtime::events::NodeEventKind};

/// The most copies of frames for all that one receive leads to; what would be more is dropped.
const MAX_COPIES: usize = 65_536;

/// How often it is said that somebody is new.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Moves datagrams for as long as it is let.
pub(super) async fn run(paths: &SwitchPaths) {
    let SwitchPaths { state, socket, .. } = paths;
    let mut received = ReceivedDatagrams::default();
    let mut turn = SwitchTurn::new(paths);
    let mut turns = ReadTurns::default();
    loop {
        next_batch(socket, &mut received).await;
        turn.judge(paths, &received);
        turn.delivery.deliver(received.buffer(), &*paths.port, &state.received);
        // What goes on to clients goes as it has come: all have the same key.
        turn.outgoings.send(received.buffer(), socket, &state.received).await;
        turn.echo(socket);
        turns.after_read().await;
    }
}

/// Moves datagrams that have waited for limits, for as long as it is let.
pub(super) async fn release(paths: &SwitchPaths) {
    let SwitchPaths { state, socket, .. } = paths;
    let mut released = ReleasedDatagrams::default();
    let (mut turn, mut outward) = (SwitchTurn::new(paths), OutgoingRuns::default());
    let mut turns = ReadTurns::default();
    loop {
        state.limits.ready().await;
        state.limits.release(&mut released, [&state.received, &state.sent]);
        turn.judge_released(paths, &released, &mut outward);
        turn.delivery.deliver(&released.buffer, &*paths.port, &state.received);
        turn.outgoings.send(&released.buffer, socket, &state.received).await;
        outward.send(&released.buffer, socket, &state.sent).await;
        turn.echo(socket);
        turns.after_read().await;
    }
}

/// What one receive leads to; keeps its memory.
struct SwitchTurn {
    outgoings: OutgoingRuns,
    echoes: Vec<(DatagramDestination, Vec<u8>)>,
    copies: usize,
    delivery: FrameDelivery,
    said: Option<Instant>,
}

/// A datagram of a client.
struct ArrivedDatagram<'a> {
    buffer: &'a [u8],
    at: Range<usize>,
    from: SocketAddr,
    /// Our address that it came to.
    local: Option<IpAddr>,
    /// Whether it has waited for the limits of its client.
    has_waited: bool,
}

impl SwitchTurn {
    fn new(paths: &SwitchPaths) -> Self {
        Self {
            outgoings: OutgoingRuns::default(),
            echoes: Vec::new(),
            copies: 0,
            delivery: FrameDelivery::new(&*paths.port, &paths.state.sealing),
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
                let (buffer, from, local) = (received.buffer(), run.from, run.to);
                let datagram = &buffer[at.clone()];
                let arrived = ArrivedDatagram { buffer, at, from, local, has_waited: false };
                if let Err(reason) = self.switch(paths, &mut switching, arrived, now) {
                    counters.lose(reason, 1, Some(from), datagram);
                }
            }
            counters.count_in(packets, bytes);
        }
    }

    /// The same of what has waited; `outward` is what is for clients.
    fn judge_released(
        &mut self,
        paths: &SwitchPaths,
        released: &ReleasedDatagrams,
        outward: &mut OutgoingRuns,
    ) {
        let state = &paths.state;
        let now = Instant::now();
        self.outgoings.clear();
        outward.clear();
        self.copies = 0;
        let mut switching = state.switching();
        for (path, peer, at) in &released.all {
            let local = switching.bridge.traffic(*peer).map(|traffic| traffic.local);
            match (path, local) {
                (LimitedPath::In, local) => {
                    let arrived = ArrivedDatagram {
                        buffer: &released.buffer,
                        at: at.clone(),
                        from: *peer,
                        local: local.flatten(),
                        has_waited: true,
                    };
                    if let Err(reason) = self.switch(paths, &mut switching, arrived, now) {
                        let datagram = &released.buffer[at.clone()];
                        state.received.lose(reason, 1, Some(*peer), datagram);
                    }
                }
                (LimitedPath::Out, Some(local)) => {
                    let destination = DatagramDestination { to: *peer, local };
                    outward.push(destination, at.clone(), at.len());
                }
                // It was forgotten meanwhile.
                (LimitedPath::Out, None) => {
                    let datagram = &released.buffer[at.clone()];
                    state.sent.lose(DatagramDrop::NoRoute, 1, Some(*peer), datagram);
                }
            }
        }
    }

    /// Sends keepalives back.
    fn echo(&mut self, socket: &DatagramSocket) {
        for (to, echo) in self.echoes.drain(..) {
            // One that does not go is one that is lost: the client asks again.
            let _ = socket.try_send(to.to, to.local, &echo, echo.len());
        }
    }

    /// Hands one datagram on.
    fn switch(
        &mut self,
        paths: &SwitchPaths,
        switching: &mut Switching,
        arrived: ArrivedDatagram<'_>,
        now: Instant,
    ) -> Result<(), DatagramDrop> {
        let SwitchPaths { state, .. } = paths;
        let ArrivedDatagram { buffer, at, from: peer, local, has_waited } = arrived;
        if !admits(&switching.admissions, peer.ip()) {
            return Err(DatagramDrop::Auth);
        }
        let datagram = &buffer[at.clone()];
        // Who is not known yet becomes known at once, and waits from then on.
        let is_known = switching.bridge.traffic(peer).is_some();
        if is_known && !has_waited && state.limits.holds(LimitedPath::In, peer) {
            state.limits.wait(LimitedPath::In, peer, DEVICE, datagram, &state.received);
            return Ok(());
        }
        let opened = self.delivery.open(&state.sealing, buffer, at.clone())?;
        let frame = self.delivery.frame(buffer, &opened);
        let parsed = EthernetFrame::parse(frame)?;
        let from = BridgePort::Peer(peer);
        let target = switching.bridge.forward(from, &parsed, now);
        if let Some(traffic) = switching.bridge.traffic(peer) {
            traffic.local = local;
            let is_time =
                self.said.is_none_or(|said| now.saturating_duration_since(said) >= SAY_EVERY);
            if traffic.received.packets == 1 && is_time {
                self.said = Some(now);
                let mac = parsed.source();
                info!(service = state.service, client = %peer, mac = %mac, "a client is there");
                let text = format!("a client is there: {mac}");
                state.say(NodeEventKind::HostJoined, peer, &text);
            }
        }
        let target = target?;
        if state.limits.is_over_quota() && target != FrameTarget::Echo {
            return Err(DatagramDrop::QuotaExceeded);
        }
        let to_device = match target {
            FrameTarget::Echo => {
                let echo = state.sealing.sealed(frame)?;
                self.echoes.push((DatagramDestination { to: peer, local }, echo));
                false
            }
            FrameTarget::Port(BridgePort::Device) => true,
            FrameTarget::Port(BridgePort::Peer(to)) => {
                let datagram = ClientDatagram { buffer, at, from: peer };
                send_on(state, switching, to, datagram, &mut self.outgoings);
                false
            }
            FrameTarget::Flood => {
                let others: Vec<_> = switching.bridge.others(from).collect();
                if self.copies + others.len() > MAX_COPIES {
                    return Err(DatagramDrop::Rate);
                }
                self.copies += others.len();
                for to in others {
                    let datagram = ClientDatagram { buffer, at: at.clone(), from: peer };
                    send_on(state, switching, to, datagram, &mut self.outgoings);
                }
                true
            }
        };
        if to_device {
            self.delivery.push(opened);
        }
        Ok(())
    }
}

/// A datagram that goes on from one client to another.
struct ClientDatagram<'a> {
    buffer: &'a [u8],
    at: Range<usize>,
    from: SocketAddr,
}

/// Has a datagram sent to another client, now or as the limits of that allow.
fn send_on(
    state: &TapServerState,
    switching: &mut Switching,
    to: SocketAddr,
    datagram: ClientDatagram<'_>,
    outgoings: &mut OutgoingRuns,
) {
    let ClientDatagram { buffer, at, from } = datagram;
    let len = at.len();
    let Some(destination) = switching.towards(to, 1, len) else { return };
    if state.limits.holds(LimitedPath::Out, to) {
        // From here on it counts as what clients are sent.
        state.received.count_out(1, len as u64);
        state.sent.count_in(1, len as u64);
        state.limits.wait(LimitedPath::Out, to, number_of(from), &buffer[at], &state.sent);
        return;
    }
    state.limits.quotas.each(|meter| meter.count_out(len as u64));
    outgoings.push(destination, at, len);
}

//! The hub's packet path: frames of one host in, runs of frames to other hosts out.
//!
//! 1. [`Forwarder::forward`] walks the whole frames of one read.
//! 2. [`Forwarder::decide`] checks the packet and finds its destination, from memory where source and destination
//!    were seen a moment ago, else from [`Routing::forward`](rtun_core::Routing::forward).
//! 3. Frames that follow each other to one destination become a [`Run`], a slice of the read buffer.
//! 4. [`Association::send`] writes the run to the destination's socket, or queues what that does not take.
//!
//! Nothing here waits, locks per packet, or allocates while a flow goes on.

use std::{net::IpAddr, ops::Range, sync::Arc};

use rtun_control::NoWaiting;
use rtun_core::{DropReason, PluginId, Verdict};
use rtun_proto::{
    frame::{Frames, GOST_HOST_MAX_FRAME, write_frame},
    packet::{Packet, take_hop},
};

use super::{
    association::{Association, Parked},
    namespace::Snapshot,
};

/// Forwards what one association receives.
pub(super) struct Forwarder {
    me: Arc<Association>,
    snapshot: Arc<Snapshot>,
    generation: u64,
    recent: [Option<Recent>; RECENT],
}

/// Flows remembered per association; a power of two.
const RECENT: usize = 16;

/// Where packets of a source and destination went.
struct Recent {
    source: IpAddr,
    destination: IpAddr,
    to: Arc<Association>,
    /// Whether that holds for the next packet too.
    lasting: bool,
}

/// Frames next to each other in the read buffer, all for one host.
struct Run {
    to: Arc<Association>,
    range: Range<usize>,
}

/// What becomes of one frame.
enum Step {
    /// It goes to the host in this slot of the recent ones.
    Deliver {
        slot: usize,
        /// Whether it goes out other than it came: without padding, or with one hop less.
        changed: bool,
    },
    /// It waits for a plugin.
    Parked,
    Drop(DropReason),
}

impl Forwarder {
    pub(super) fn new(me: Arc<Association>) -> Self {
        let generation = me.namespace.generation();
        let snapshot = me.namespace.snapshot();
        Self { me, snapshot, generation, recent: Default::default() }
    }

    /// Forwards the whole frames at the beginning of `bytes`; returns how many bytes they were.
    pub(super) fn forward(&mut self, bytes: &[u8]) -> usize {
        self.refresh();
        let mut frames = Frames::new(bytes);
        let mut run: Option<Run> = None;
        let (mut packets, mut payloads) = (0, 0);
        for frame in frames.by_ref() {
            packets += 1;
            payloads += frame.payload.len() as u64;
            match self.decide(frame.payload) {
                Step::Deliver { slot, changed: false } => {
                    self.extend(&mut run, slot, frame.range, bytes)
                }
                Step::Deliver { slot, changed: true } => {
                    send(run.take(), bytes);
                    self.send_changed(slot, frame.payload);
                }
                Step::Parked => {}
                Step::Drop(reason) => self.me.drop_packet(reason),
            }
        }
        send(run, bytes);
        self.me.counters.count_in(packets, payloads);
        frames.consumed()
    }

    /// Forwards one packet that had to wait and was counted when it came.
    pub(super) fn forward_one(&mut self, payload: &[u8]) {
        match self.decide(payload) {
            Step::Deliver { slot, .. } => self.send_changed(slot, payload),
            Step::Parked => {}
            Step::Drop(reason) => self.me.drop_packet(reason),
        }
    }

    /// Forgets what no longer holds.
    fn refresh(&mut self) {
        let generation = self.me.namespace.generation();
        if generation != self.generation {
            self.generation = generation;
            self.snapshot = self.me.namespace.snapshot();
            self.recent = Default::default();
        }
    }

    fn decide(&mut self, payload: &[u8]) -> Step {
        let packet = match check(payload) {
            Ok(packet) => packet,
            Err(reason) => return Step::Drop(reason),
        };
        let (source, destination) = (packet.source(), packet.destination());
        let slot = slot_of(source, destination);
        let changed = packet.padding() > 0 || self.snapshot.takes_hops;
        if let Some(recent) = &self.recent[slot]
            && recent.lasting
            && (recent.source, recent.destination) == (source, destination)
        {
            return Step::Deliver { slot, changed };
        }
        match self.snapshot.routing.forward(&self.me.host, &packet, &*self.snapshot) {
            Verdict::Deliver { gateway, lasting } => {
                let namespace = &self.me.namespace;
                let flow_hash = || packet.flow_hash(0);
                let Some(to) = namespace.carrier(&self.snapshot, &gateway, flow_hash) else {
                    return Step::Drop(DropReason::NoGatewayConnected);
                };
                let lasting = lasting && self.snapshot.one_carrier_per_host();
                self.recent[slot] = Some(Recent { source, destination, to, lasting });
                Step::Deliver { slot, changed }
            }
            Verdict::Ask(plugin, addr) => self.park(plugin, addr, packet.bytes()),
            Verdict::Drop(reason) => Step::Drop(reason),
        }
    }

    /// Adds a frame to the run, after sending the run if it goes elsewhere.
    fn extend(&self, run: &mut Option<Run>, slot: usize, range: Range<usize>, bytes: &[u8]) {
        let Some(recent) = &self.recent[slot] else { return };
        match run {
            Some(run) if Arc::ptr_eq(&run.to, &recent.to) && run.range.end == range.start => {
                run.range.end = range.end;
            }
            _ => send(run.replace(Run { to: Arc::clone(&recent.to), range }), bytes),
        }
    }

    /// Sends one packet in a frame of its own length, with a hop taken where the hub does so.
    fn send_changed(&self, slot: usize, payload: &[u8]) {
        let (Some(recent), Ok(packet)) = (&self.recent[slot], Packet::parse(payload)) else {
            return self.me.drop_packet(DropReason::Internal);
        };
        let mut frame = Vec::new();
        let framed = if self.snapshot.takes_hops {
            let Some(packet) = take_hop(&packet) else {
                return self.me.drop_packet(DropReason::TtlExpired);
            };
            write_frame(&packet, &mut frame)
        } else {
            write_frame(packet.bytes(), &mut frame)
        };
        match framed {
            Ok(()) => recent.to.send(&frame),
            Err(_) => self.me.drop_packet(DropReason::Internal),
        }
    }

    fn park(&self, plugin: PluginId, addr: IpAddr, packet: &[u8]) -> Step {
        let Some(plugin) = self.snapshot.plugins.get(plugin.0) else {
            return Step::Drop(DropReason::Internal);
        };
        let parked = || Parked { from: Arc::clone(&self.me), packet: packet.into() };
        match plugin.wait(self.me.namespace.id, addr, parked) {
            Ok(()) => Step::Parked,
            Err(NoWaiting::Full) => Step::Drop(DropReason::RoutePendingFull),
            Err(NoWaiting::Paused) => Step::Drop(DropReason::RoutePendingTimeout),
        }
    }
}

/// The packet in a frame, if it is one that may be passed on.
fn check(payload: &[u8]) -> Result<Packet<'_>, DropReason> {
    if payload.len() > GOST_HOST_MAX_FRAME {
        return Err(DropReason::FrameTooBig);
    }
    if payload.is_empty() {
        return Err(DropReason::FrameEmpty);
    }
    Ok(Packet::parse(payload)?)
}

/// Neighbouring addresses fall into different slots.
fn slot_of(source: IpAddr, destination: IpAddr) -> usize {
    let low = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.to_bits() as usize,
        IpAddr::V6(addr) => addr.to_bits() as usize,
    };
    (low(source).wrapping_mul(7) ^ low(destination)) % RECENT
}

fn send(run: Option<Run>, bytes: &[u8]) {
    if let Some(Run { to, range }) = run {
        to.send(&bytes[range]);
    }
}

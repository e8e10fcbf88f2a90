//! The hub's packet path: frames of one host in, bundles of frames to other hosts out.
//!
//! 1. [`Forwarder::forward`] walks the whole frames of one read: packets, GSO frames, and at times another frame of the
//!    extension, which [`greet`] answers.
//! 2. [`Forwarder::decide`] finds a packet's destination: from the cache, if source and destination were seen a moment ago,
//!    else from [`Routing::forward`](rtun_core::Routing::forward).
//! 3. [`Bundles`] gathers the positions of the frames in the read buffer by destination. A frame that has to change on its way
//!    (a GSO frame to a host that takes none, a packet with a lower TTL) is made in a buffer of its own.
//!    A packet for many goes to several ([`copies`]).
//! 4. [`HostAssociation::send`] writes a bundle to the destination's socket, and queues what the socket does not take.
//!
//! Nothing here waits, locks per packet, or allocates while a flow goes on.

mod bundle;
mod copies;
mod greet;
mod icmp_answer;
mod use_ledger;

use std::{net::IpAddr, ops::Range, slice, sync::Arc, time::Duration};

use rtun_control::NoWaiting;
use rtun_core::{DropReason, HostName, PluginId, Verdict};
use rtun_proto::{
    extension::{decode_gso_frame, gso_frame_prefix, is_extension, is_gso_frame},
    frame::Frames,
    icmp::Unreachable,
    offload::GsoPacket,
    packet::{Packet, take_hop},
};

use self::{
    bundle::Bundles,
    copies::Original,
    use_ledger::{Delivery, UseLedger},
};
use super::{
    association::HostAssociation,
    namespace::{Moment, Namespace, RoutingSnapshot},
    parked::{Parked, Resume},
};
use crate::link::Receiver;

/// Forwards what one association receives.
pub(super) struct Forwarder {
    me: Arc<HostAssociation>,
    namespace: Arc<Namespace>,
    snapshot: Arc<RoutingSnapshot>,
    /// The generation of the snapshot; none while the snapshot is empty.
    generation: Option<u64>,
    recent: [Option<Recent>; RECENT],
    bundles: Bundles,
    uses: UseLedger,
    /// Frames that are made here; empty between packets.
    made: Vec<u8>,
    /// The hosts that get copies of a packet; empty between packets.
    receivers: Vec<Arc<HostAssociation>>,
}

/// The hub asks for a sign of life after more silence than the host does, so that of two quiet ends only the host asks. The
/// hub asks too, since a host that receives all the time does not ask, and may have nothing to send.
const ASKS_AFTER: Duration = Duration::from_secs(4);

/// Flows remembered per association; a power of two.
const RECENT: usize = 16;

/// Where packets of a source and destination went.
struct Recent {
    source: IpAddr,
    destination: IpAddr,
    to: Arc<HostAssociation>,
    /// Where its packets are counted.
    uses: u8,
    /// Whether the next packet of the same addresses goes there too.
    cacheable: bool,
}

/// Where a packet goes.
enum Step {
    /// To the host in this slot of the recent ones.
    Deliver(usize),
    /// A copy to each host that the route names.
    Copy,
    /// It waits for the answer of a route plugin.
    Parked,
    Drop(DropReason),
}

/// How many IP packets, and their bytes.
struct Amount {
    packets: u64,
    bytes: u64,
}

impl Forwarder {
    pub(super) fn new(me: Arc<HostAssociation>, namespace: Arc<Namespace>) -> Self {
        let from = me.id;
        let generation = namespace.generation();
        let snapshot = namespace.snapshot();
        Self {
            me,
            namespace,
            snapshot,
            generation: Some(generation),
            recent: Default::default(),
            bundles: Bundles::new(from),
            uses: UseLedger::default(),
            made: Vec::new(),
            receivers: Vec::new(),
        }
    }

    /// Forwards the whole frames at the beginning of `bytes`; returns how many bytes they were.
    pub(super) fn forward(&mut self, bytes: &[u8]) -> usize {
        self.refresh();
        let mut frames = Frames::new(bytes);
        let (mut packets, mut payloads) = (0, 0);
        for frame in frames.by_ref() {
            let amount = if !is_extension(frame.payload) {
                self.packet(frame.payload, Some(frame.range), bytes)
            } else if is_gso_frame(frame.payload) && self.me.gso_frames() {
                self.gso_frame(frame.payload, Some(frame.range), bytes)
            } else {
                self.other_frame(frame.payload)
            };
            packets += amount.packets;
            payloads += amount.bytes;
        }
        self.bundles.send_all(bytes);
        self.uses.flush(self.namespace.since);
        self.me.counters.count_in(packets, payloads);
        frames.consumed()
    }

    /// Forwards one packet or GSO frame that has waited, and that was counted when it arrived.
    pub(super) fn forward_one(&mut self, payload: &[u8]) {
        if is_extension(payload) {
            self.gso_frame(payload, None, &[]);
        } else {
            self.packet(payload, None, &[]);
        }
        self.uses.flush(self.namespace.since);
    }

    /// Forgets what is no longer valid.
    fn refresh(&mut self) {
        let generation = self.namespace.generation();
        if self.generation != Some(generation) {
            self.generation = Some(generation);
            self.snapshot = self.namespace.snapshot();
            self.recent = Default::default();
        }
        if self.uses.is_outdated(&self.me.sends_to) {
            self.uses.forget(&self.me.sends_to);
            self.recent = Default::default();
        }
    }

    /// A frame with an IP packet; `place` is the frame's in `bytes`, if it is there.
    fn packet(&mut self, payload: &[u8], place: Option<Range<usize>>, bytes: &[u8]) -> Amount {
        let amount = Amount { packets: 1, bytes: payload.len() as u64 };
        let packet = match Packet::parse(payload) {
            Ok(packet) => packet,
            Err(_) if payload.is_empty() => {
                return self.lose(DropReason::FrameEmpty, amount, payload);
            }
            Err(error) => return self.lose(error.into(), amount, payload),
        };
        let recent = match self.decide(&packet, payload) {
            Step::Deliver(slot) => self.recent[slot].as_ref(),
            Step::Copy => {
                return self.copy(&Original { packet, whole: None, payload, place }, amount, bytes);
            }
            Step::Parked => return amount,
            Step::Drop(reason) => return self.refuse(reason, amount, &packet),
        };
        let Some(Recent { to, uses, .. }) = recent else {
            return self.lose(DropReason::Internal, amount, payload);
        };
        if let Some(mtu) = icmp_answer::too_long(&packet, payload.len(), to, &self.snapshot) {
            icmp_answer::send(&self.me, &self.snapshot, &packet, Unreachable::TooBig { mtu });
            return self.lose(DropReason::FrameTooBig, amount, payload);
        }
        match place {
            Some(place) if packet.padding() == 0 && !self.snapshot.takes_hops => {
                self.bundles.add(to, place, bytes);
                self.uses.add(*uses, amount.packets, amount.bytes);
                return amount;
            }
            _ => {}
        }
        let plain =
            |packet: &[u8], made: &mut Vec<u8>| rtun_proto::frame::write_frame(packet, made);
        let framed = if self.snapshot.takes_hops {
            let Some(packet) = take_hop(&packet) else {
                return self.refuse(DropReason::TtlExpired, amount, &packet);
            };
            plain(&packet, &mut self.made)
        } else {
            plain(packet.bytes(), &mut self.made)
        };
        if framed.is_err() {
            return self.lose(DropReason::Internal, amount, payload);
        }
        send_made(&self.me, to, &mut self.made, &mut self.bundles, bytes);
        self.uses.add(*uses, amount.packets, amount.bytes);
        amount
    }

    /// A GSO frame; `place` as in [`Forwarder::packet`].
    fn gso_frame(&mut self, payload: &[u8], place: Option<Range<usize>>, bytes: &[u8]) -> Amount {
        let once = Amount { packets: 1, bytes: payload.len() as u64 };
        let Ok(whole) = decode_gso_frame(payload) else {
            return self.lose(DropReason::FrameMalformed, once, payload);
        };
        let Ok(packet) = Packet::parse(whole.bytes()) else {
            return self.lose(DropReason::FrameMalformed, once, payload);
        };
        let amount = Amount { packets: whole.segments() as u64, bytes: whole.bytes().len() as u64 };
        let recent = match self.decide(&packet, payload) {
            Step::Deliver(slot) => self.recent[slot].as_ref(),
            Step::Copy => {
                let whole = Some(whole);
                return self.copy(&Original { packet, whole, payload, place }, amount, bytes);
            }
            Step::Parked => return amount,
            Step::Drop(reason) => return self.refuse(reason, amount, &packet),
        };
        let Some(Recent { to, uses, .. }) = recent else {
            return self.lose(DropReason::Internal, amount, payload);
        };
        let longest = whole.longest_segment();
        if let Some(mtu) = icmp_answer::too_long(&packet, longest, to, &self.snapshot) {
            icmp_answer::send(&self.me, &self.snapshot, &packet, Unreachable::TooBig { mtu });
            return self.lose(DropReason::FrameTooBig, amount, payload);
        }
        match place {
            Some(place) if to.gso_frames() && !self.snapshot.takes_hops => {
                self.bundles.add(to, place, bytes);
                self.uses.add(*uses, amount.packets, amount.bytes);
                return amount;
            }
            _ => {}
        }
        if self.snapshot.takes_hops {
            let Some(packet) = take_hop(&packet) else {
                return self.refuse(DropReason::TtlExpired, amount, &packet);
            };
            let Ok(whole) = whole.header().check(&packet) else {
                return self.lose(DropReason::Internal, amount, payload);
            };
            make_frames(&whole, to, &mut self.made);
        } else {
            make_frames(&whole, to, &mut self.made);
        }
        send_made(&self.me, to, &mut self.made, &mut self.bundles, bytes);
        self.uses.add(*uses, amount.packets, amount.bytes);
        amount
    }

    /// A frame without a packet, or with one that this host may not send.
    fn other_frame(&mut self, payload: &[u8]) -> Amount {
        let amount = Amount { packets: 1, bytes: payload.len() as u64 };
        match greet::answer(&self.me, &self.namespace, &self.snapshot, payload) {
            Ok(()) => Amount { packets: 0, bytes: 0 },
            Err(reason) => self.lose(reason, amount, payload),
        }
    }

    fn lose(&self, reason: DropReason, amount: Amount, payload: &[u8]) -> Amount {
        self.me.drop_packets(reason, amount.packets, payload);
        amount
    }

    /// Drops a packet, and answers its sender with an ICMP error where a router would.
    fn refuse(&self, reason: DropReason, amount: Amount, packet: &Packet<'_>) -> Amount {
        if let Some(why) = icmp_answer::why(reason) {
            icmp_answer::send(&self.me, &self.snapshot, packet, why);
        }
        self.lose(reason, amount, packet.bytes())
    }

    fn decide(&mut self, packet: &Packet<'_>, payload: &[u8]) -> Step {
        let (source, destination) = (packet.source(), packet.destination());
        let slot = slot_of(source, destination);
        if let Some(recent) = &self.recent[slot]
            && recent.cacheable
            && (recent.source, recent.destination) == (source, destination)
        {
            return Step::Deliver(slot);
        }
        let moment = Moment { snapshot: &self.snapshot, namespace: Some(&self.namespace) };
        match self.snapshot.routing.forward(&self.me.host, packet, &moment) {
            Verdict::Deliver { gateway, cacheable } => {
                let namespace = &self.namespace;
                let flow_hash = || packet.flow_hash(0);
                let Some(to) = namespace.active(&self.snapshot, &gateway, flow_hash) else {
                    return Step::Drop(DropReason::NoGatewayConnected);
                };
                let cacheable = cacheable && self.snapshot.one_active_per_host();
                let uses = self.use_slot(destination, &gateway, &to);
                self.recent[slot] = Some(Recent { source, destination, to, uses, cacheable });
                Step::Deliver(slot)
            }
            Verdict::Copy => Step::Copy,
            Verdict::Ask(plugin, addr) => self.park(plugin, addr, payload),
            Verdict::Drop(reason) => Step::Drop(reason),
        }
    }

    /// Where packets to this destination are counted.
    fn use_slot(&mut self, destination: IpAddr, host: &HostName, to: &HostAssociation) -> u8 {
        let (slot, was_another) = self.uses.slot_of(&Delivery {
            destination,
            to: to.id,
            host,
            sends_to: &self.me.sends_to,
            routes: &self.namespace.routes,
            prefix: &|| self.snapshot.routing.prefix_of(destination, host),
            epoch: self.namespace.since,
        });
        if was_another {
            for recent in &mut self.recent {
                if recent.as_ref().is_some_and(|it| it.uses == slot) {
                    *recent = None;
                }
            }
        }
        slot
    }

    fn park(&self, plugin: PluginId, addr: IpAddr, payload: &[u8]) -> Step {
        let Some(plugin) = self.snapshot.plugins.get(plugin.0) else {
            return Step::Drop(DropReason::Internal);
        };
        let Self { me, namespace, .. } = self;
        let parked = || Parked {
            from: Arc::clone(me),
            namespace: Arc::clone(namespace) as Arc<dyn Resume>,
            payload: payload.into(),
        };
        match plugin.wait(namespace.id, &me.host, addr, payload.len(), parked) {
            Ok(()) => Step::Parked,
            Err(NoWaiting::Full) => Step::Drop(DropReason::RoutePendingFull),
            Err(NoWaiting::Paused) => Step::Drop(DropReason::RoutePendingTimeout),
        }
    }
}

impl Resume for Namespace {
    fn resume(self: Arc<Self>, from: Arc<HostAssociation>, payload: &[u8]) {
        Forwarder::new(from, self).forward_one(payload);
    }
}

impl Receiver for Forwarder {
    fn take(&mut self, bytes: &[u8]) -> usize {
        self.forward(bytes)
    }

    /// Releases buffers, routing tables that may be replaced later, and other hosts.
    fn rest(&mut self) {
        self.made = Vec::new();
        self.receivers = Vec::new();
        self.bundles = Bundles::new(self.me.id);
        self.uses.forget(&self.me.sends_to);
        self.recent = Default::default();
        self.snapshot = self.namespace.no_snapshot();
        self.generation = None;
    }

    fn asks_after(&self) -> Option<Duration> {
        self.me.greeting.get().map(|_| ASKS_AFTER)
    }
}

/// Writes the packet in a form that this host takes: whole, or cut into packets.
fn make_frames(whole: &GsoPacket<'_>, to: &HostAssociation, made: &mut Vec<u8>) {
    match gso_frame_prefix(whole) {
        Some(prefix) if to.gso_frames() => {
            made.extend_from_slice(&prefix);
            made.extend_from_slice(whole.bytes());
        }
        _ => whole.write_frames(made),
    }
}

/// Sends the frames in `made`, after those gathered for the same host.
fn send_made(
    from: &HostAssociation,
    to: &Arc<HostAssociation>,
    made: &mut Vec<u8>,
    bundles: &mut Bundles,
    bytes: &[u8],
) {
    bundles.send_to(to, bytes);
    to.send(from.id, made, slice::from_ref(&(0..made.len())));
    made.clear();
}

/// The slot of a flow; neighbouring addresses have different slots.
fn slot_of(source: IpAddr, destination: IpAddr) -> usize {
    let low = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.to_bits() as usize,
        IpAddr::V6(addr) => addr.to_bits() as usize,
    };
    (low(source).wrapping_mul(7) ^ low(destination)) % RECENT
}

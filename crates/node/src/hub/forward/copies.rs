//! Copies: packets for many, multicast and broadcast, of which each host that a route names gets one.
//!
//! As any packet they are sent or queued at each receiver, so that one that is slow loses only its own. Each packet counts once
//! as arrived, each further copy as one more packet: in + copies = out + drops + queued.

use std::{mem, ops::Range, slice, sync::Arc};

use rtun_core::DropReason;
use rtun_proto::{
    offload::GsoPacket,
    packet::{Packet, take_hop},
};

use super::{Amount, Forwarder, icmp_answer, make_frames};
use crate::hub::{association::HostAssociation, namespace::Moment};

/// What is copied.
pub(super) struct Original<'a> {
    /// The packet, or the first part of what is to be cut into packets.
    pub(super) packet: Packet<'a>,
    /// What is to be cut into packets.
    pub(super) whole: Option<GsoPacket<'a>>,
    /// As in the frame.
    pub(super) payload: &'a [u8],
    /// The frame's in the read buffer, if it is there.
    pub(super) place: Option<Range<usize>>,
}

impl Forwarder {
    /// Hands a copy to each connected host that the route names, but not back to the sender.
    pub(super) fn copy(&mut self, original: &Original<'_>, amount: Amount, bytes: &[u8]) -> Amount {
        let mut receivers = mem::take(&mut self.receivers);
        self.gather_receivers(&original.packet, &mut receivers);
        let amount = self.copy_to(&receivers, original, amount, bytes);
        receivers.clear();
        self.receivers = receivers;
        amount
    }

    fn copy_to(
        &mut self,
        receivers: &[Arc<HostAssociation>],
        original: &Original<'_>,
        amount: Amount,
        bytes: &[u8],
    ) -> Amount {
        let Original { packet, payload, .. } = original;
        if receivers.is_empty() {
            return self.refuse(DropReason::NoGatewayConnected, amount, packet);
        }
        let hop_taken = match self.snapshot.takes_hops.then(|| take_hop(packet)) {
            Some(None) => return self.refuse(DropReason::TtlExpired, amount, packet),
            Some(Some(taken)) => Some(taken),
            None => None,
        };
        let copies = receivers.len() as u64 - 1;
        self.me.counters.count_copies(copies * amount.packets);
        let longest = original.whole.as_ref().map_or(payload.len(), GsoPacket::longest_segment);
        // Whether what is made is for a host that takes GSO frames.
        let mut made_for = None;
        for to in receivers {
            if icmp_answer::too_long(packet, longest, to, &self.snapshot).is_some() {
                self.me.drop_packets(DropReason::FrameTooBig, amount.packets, payload);
                continue;
            }
            let uses = self.use_slot(packet.destination(), &to.host, to);
            let as_it_is = original.as_it_is(to).filter(|_| hop_taken.is_none());
            match as_it_is {
                Some(place) => self.bundles.add(to, place, bytes),
                None => {
                    let gso_frames = to.gso_frames();
                    if made_for != Some(gso_frames) {
                        self.made.clear();
                        made_for = None;
                        if !original.make(hop_taken.as_deref(), to, &mut self.made) {
                            self.me.drop_packets(DropReason::Internal, amount.packets, payload);
                            continue;
                        }
                        made_for = Some(gso_frames);
                    }
                    self.bundles.send_to(to, bytes);
                    to.send(self.me.id, &self.made, slice::from_ref(&(0..self.made.len())));
                }
            }
            self.uses.add(uses, amount.packets, amount.bytes);
        }
        self.made.clear();
        amount
    }

    /// Adds the connected hosts that get a copy.
    fn gather_receivers(&self, packet: &Packet<'_>, to: &mut Vec<Arc<HostAssociation>>) {
        let Self { me, namespace, snapshot, .. } = self;
        let moment = Moment { snapshot, namespace: Some(namespace) };
        let hosts = snapshot.routing.receivers(packet.destination(), &moment);
        let others = hosts.iter().filter(|host| **host != me.host);
        to.extend(
            others.filter_map(|host| namespace.active(snapshot, host, || packet.flow_hash(0))),
        );
    }
}

impl Original<'_> {
    /// Where the frame is, if this host takes it as it is.
    fn as_it_is(&self, to: &HostAssociation) -> Option<Range<usize>> {
        let fits = match self.whole {
            Some(_) => to.gso_frames(),
            None => self.packet.padding() == 0,
        };
        self.place.clone().filter(|_| fits)
    }

    /// Makes the frames for a host; `changed` stands in place of the packet. False: they cannot be made.
    fn make(&self, changed: Option<&[u8]>, to: &HostAssociation, made: &mut Vec<u8>) -> bool {
        let packet = changed.unwrap_or(self.packet.bytes());
        match &self.whole {
            None => rtun_proto::frame::write_frame(packet, made).is_ok(),
            Some(whole) => match whole.header().check(packet) {
                Ok(whole) => {
                    make_frames(&whole, to, made);
                    true
                }
                Err(_) => false,
            },
        }
    }
}

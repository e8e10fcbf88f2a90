//! Questions without an answer yet, and the packets that wait for each.

use std::{collections::HashMap, net::IpAddr};

use rtun_core::NamespaceId;

use super::shares::{Asker, Shares};

/// What a route plugin is asked about.
pub(super) type RouteKey = (NamespaceId, IpAddr);

/// The questions that wait for their turn or are under way. Slots and waiting bytes are shared fairly ([`Shares`]).
pub(super) struct PendingQuestions<T> {
    questions: HashMap<RouteKey, PendingQuestion<T>>,
    /// How many questions there have been.
    asked: u64,
    slots: Shares,
    waiting_bytes: Shares,
    packets_per_slot: usize,
}

struct PendingQuestion<T> {
    /// Tells it from others of the same key.
    serial: u64,
    under_way: bool,
    /// Those who wait for the answer. Each waits for a turn of its own to ask, and the first to get one asks.
    slots: Vec<AskerPackets<T>>,
}

/// One asker of one question, with its waiting packets.
struct AskerPackets<T> {
    asker: Asker,
    packets: Vec<T>,
    bytes: usize,
}

/// No slot is free, or no byte: the packet cannot wait.
#[derive(Debug)]
pub(super) struct NoRoom;

impl<T> PendingQuestions<T> {
    /// At most `slots` pairs of question and asker, `packets_per_slot` packets in each, and `bytes` in all.
    pub(super) fn new(slots: usize, packets_per_slot: usize, bytes: usize) -> Self {
        Self {
            questions: HashMap::new(),
            asked: 0,
            slots: Shares::new(slots),
            waiting_bytes: Shares::new(bytes),
            packets_per_slot,
        }
    }

    pub(super) fn contains(&self, key: &RouteKey) -> bool {
        self.questions.contains_key(key)
    }

    /// The packets that wait.
    pub(super) fn packets(&self) -> impl Iterator<Item = &T> {
        self.questions.values().flat_map(|question| &question.slots).flat_map(|slot| &slot.packets)
    }

    /// Lets a packet of `bytes` wait. `Some` with the question's serial where the asker got a new slot for it, and has to
    /// ask.
    pub(super) fn push(
        &mut self,
        key: RouteKey,
        asker: &Asker,
        bytes: usize,
        packet: impl FnOnce() -> T,
    ) -> Result<Option<u64>, NoRoom> {
        let slot = self.slot(&key, asker);
        let is_new = slot.is_none();
        let has_room = match slot {
            Some(slot) => slot.packets.len() < self.packets_per_slot,
            None => self.slots.may_take(asker, 1),
        };
        if !has_room || !self.waiting_bytes.take(asker, bytes) {
            return Err(NoRoom);
        }
        let serial = if is_new { self.join(key, asker.clone()) } else { None };
        if let Some(slot) = self.slot(&key, asker) {
            slot.packets.push(packet());
            slot.bytes += bytes;
        }
        Ok(serial)
    }

    /// Adds `asker` to those who wait for this answer, if it may have a slot. Returns the question's serial.
    pub(super) fn join(&mut self, key: RouteKey, asker: Asker) -> Option<u64> {
        if !self.slots.take(&asker, 1) {
            return None;
        }
        let Self { questions, asked, .. } = self;
        let question = questions.entry(key).or_insert_with(|| {
            *asked += 1;
            PendingQuestion { serial: *asked, under_way: false, slots: Vec::new() }
        });
        question.slots.push(AskerPackets { asker, packets: Vec::new(), bytes: 0 });
        Some(question.serial)
    }

    /// Whether this question is to be asked now: it still waits, and no asker has begun.
    pub(super) fn begin(&mut self, key: &RouteKey, serial: u64) -> bool {
        let question = self.question(key, serial);
        question.is_some_and(|question| !std::mem::replace(&mut question.under_way, true))
    }

    /// Takes the packets of `asker` that wait for this answer.
    pub(super) fn release(&mut self, key: &RouteKey, serial: u64, asker: &Asker) -> Vec<T> {
        let mut slots = self.question(key, serial).into_iter().flat_map(|it| &mut it.slots);
        let Some(slot) = slots.find(|slot| slot.asker == *asker) else { return Vec::new() };
        let (packets, bytes) = (std::mem::take(&mut slot.packets), std::mem::take(&mut slot.bytes));
        self.waiting_bytes.give_back(asker, bytes);
        packets
    }

    /// Gives the slot of `asker` back. A question without slots is over, unless it is under way.
    pub(super) fn leave(&mut self, key: &RouteKey, serial: u64, asker: &Asker) {
        self.slots.give_back(asker, 1);
        let Some(question) = self.question(key, serial) else { return };
        question.slots.retain(|slot| slot.asker != *asker);
        if question.slots.is_empty() && !question.under_way {
            self.questions.remove(key);
        }
    }

    /// Ends a question. Returns the packets that still wait for it.
    pub(super) fn end(&mut self, key: &RouteKey) -> Vec<T> {
        let mut packets = Vec::new();
        for slot in self.questions.remove(key).into_iter().flat_map(|question| question.slots) {
            self.waiting_bytes.give_back(&slot.asker, slot.bytes);
            packets.extend(slot.packets);
        }
        packets
    }

    fn question(&mut self, key: &RouteKey, serial: u64) -> Option<&mut PendingQuestion<T>> {
        self.questions.get_mut(key).filter(|question| question.serial == serial)
    }

    fn slot(&mut self, key: &RouteKey, asker: &Asker) -> Option<&mut AskerPackets<T>> {
        self.questions.get_mut(key)?.slots.iter_mut().find(|slot| slot.asker == *asker)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    /// Whether all slots and bytes are free.
    #[cfg(test)]
    pub(super) fn is_free(&self, asker: &Asker, slots: usize, bytes: usize) -> bool {
        self.slots.may_take(asker, slots) && self.waiting_bytes.may_take(asker, bytes)
    }
}

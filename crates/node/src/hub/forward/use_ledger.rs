//! What one forwarder has delivered, until it is added to the meters that others read.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use rtun_core::HostName;
use tokio::time::Instant;

use crate::hub::use_meters::{DestinationMeters, MeteredRoute, RouteMeters, UseMeter};

/// Where a forwarder finds the meters of a destination again.
const SLOTS: usize = 64;

/// What one forwarder has delivered since it added that to the meters last. A packet costs two additions here; the meters, which
/// others read, are touched once for each read and destination.
#[derive(Default)]
pub(super) struct UseLedger {
    /// Empty until something is delivered; then as many as there are [`SLOTS`].
    slots: Vec<Option<LedgerSlot>>,
    /// A bit for each slot with something to add.
    touched: u64,
    epoch: u64,
}

struct LedgerSlot {
    destination: IpAddr,
    /// The number of the association that gets the packets.
    to: u64,
    pair: Arc<UseMeter>,
    /// Of the route; `None`: a plugin says where the destination is.
    route: Option<Arc<UseMeter>>,
    packets: u64,
    bytes: u64,
}

/// Whose packets go where.
pub(super) struct Delivery<'a> {
    pub(super) destination: IpAddr,
    pub(super) to: u64,
    pub(super) host: &'a HostName,
    pub(super) sends_to: &'a DestinationMeters,
    pub(super) routes: &'a RouteMeters,
    /// Packets for `destination` go to `host` by this prefix's route.
    pub(super) prefix: &'a dyn Fn() -> Option<IpNet>,
    /// When the meters' time begins.
    pub(super) epoch: Instant,
}

impl UseLedger {
    /// Whether meters were taken out since: then all of it is to be forgotten.
    pub(super) fn is_outdated(&self, sends_to: &DestinationMeters) -> bool {
        self.epoch != sends_to.epoch()
    }

    /// Forgets everything. To be called when nothing is left to add.
    pub(super) fn forget(&mut self, sends_to: &DestinationMeters) {
        *self = Self { epoch: sends_to.epoch(), ..Self::default() };
    }

    /// The slot for packets to a destination, and whether it was that of another one before.
    pub(super) fn slot_of(&mut self, delivery: &Delivery<'_>) -> (u8, bool) {
        let Delivery { destination, to, host, sends_to, routes, prefix, epoch } = *delivery;
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, || None);
        }
        let number = slot_number(destination, to);
        let slot = &mut self.slots[usize::from(number)];
        if slot.as_ref().is_some_and(|it| (it.destination, it.to) == (destination, to)) {
            return (number, false);
        }
        let was_another = slot.is_some();
        if let Some(before) = slot.take() {
            before.flush(epoch.elapsed());
            self.touched &= !(1 << number);
        }
        let route = prefix().map(|prefix| routes.of(MeteredRoute { prefix, host: host.clone() }));
        let pair = sends_to.of(host);
        *slot = Some(LedgerSlot { destination, to, pair, route, packets: 0, bytes: 0 });
        (number, was_another)
    }

    #[inline]
    pub(super) fn add(&mut self, slot: u8, packets: u64, bytes: u64) {
        if let Some(Some(slot)) = self.slots.get_mut(usize::from(slot)) {
            slot.packets += packets;
            slot.bytes += bytes;
        }
        self.touched |= 1 << slot;
    }

    /// Adds to the meters what was delivered.
    pub(super) fn flush(&mut self, epoch: Instant) {
        if self.touched == 0 {
            return;
        }
        let now = epoch.elapsed();
        while self.touched != 0 {
            let number = self.touched.trailing_zeros() as usize;
            self.touched &= self.touched - 1;
            if let Some(slot) = &mut self.slots[number] {
                slot.flush(now);
                (slot.packets, slot.bytes) = (0, 0);
            }
        }
    }
}

impl LedgerSlot {
    fn flush(&self, since_epoch: Duration) {
        if self.packets > 0 {
            self.pair.add(self.packets, self.bytes, since_epoch);
            if let Some(route) = &self.route {
                route.add(self.packets, self.bytes, since_epoch);
            }
        }
    }
}

/// Neighbouring addresses have different slots, and so have the connections of one host.
fn slot_number(destination: IpAddr, to: u64) -> u8 {
    let low = match destination {
        IpAddr::V4(addr) => u64::from(addr.to_bits()),
        IpAddr::V6(addr) => addr.to_bits() as u64,
    };
    (low.wrapping_add(to.wrapping_mul(5)) % SLOTS as u64) as u8
}

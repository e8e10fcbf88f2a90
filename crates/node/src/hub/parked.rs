//! A packet that waits for a route plugin's answer.

use std::sync::Arc;

use rtun_core::DropReason;
use rtun_proto::extension;

use super::association::HostAssociation;

/// A packet that waits, and where it goes on from.
pub(super) struct Parked {
    pub(super) from: Arc<HostAssociation>,
    pub(super) namespace: Arc<dyn Resume>,
    /// As in a frame: a packet or a GSO frame.
    pub(super) payload: Box<[u8]>,
}

/// Decides again about packets that have waited.
pub(super) trait Resume: Send + Sync {
    /// Forwards a packet or a GSO frame that `from` has sent, and that was counted when it arrived.
    fn resume(self: Arc<Self>, from: Arc<HostAssociation>, payload: &[u8]);
}

impl Parked {
    /// The answer is known: decide again.
    pub(super) fn resume(self) {
        self.namespace.resume(self.from, &self.payload);
    }

    /// There is no answer: the packets are lost.
    pub(super) fn give_up(self) {
        let packets = self.packets() as u64;
        self.from.drop_packets(DropReason::RoutePendingTimeout, packets, &self.payload);
    }

    /// How many packets it stands for.
    pub(super) fn packets(&self) -> usize {
        extension::packets(&self.payload)
    }
}

//! Counting datagrams, so that what is lost has a reason.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rtun_core::udp_tunnel::DatagramDrop;

use crate::{
    counters::{QuotaGroup, Traffic},
    report::DatagramTraffic,
};

/// Counters of one direction that any thread may add to.
#[derive(Debug, Default)]
pub(super) struct DatagramCounters {
    packets_in: AtomicU64,
    bytes_in: AtomicU64,
    packets_out: AtomicU64,
    bytes_out: AtomicU64,
    drops: [AtomicU64; DatagramDrop::COUNT],
    /// What arrives counts against these.
    quotas_in: Option<Arc<QuotaGroup>>,
    /// What is handed on counts against these.
    quotas_out: Option<Arc<QuotaGroup>>,
}

impl DatagramCounters {
    /// What arrives counts against the quotas.
    pub(super) fn with_quotas_in(quotas: &Arc<QuotaGroup>) -> Self {
        Self { quotas_in: Some(Arc::clone(quotas)), ..Self::default() }
    }

    /// What is handed on counts against the quotas.
    pub(super) fn with_quotas_out(quotas: &Arc<QuotaGroup>) -> Self {
        Self { quotas_out: Some(Arc::clone(quotas)), ..Self::default() }
    }

    pub(super) fn count_in(&self, packets: u64, bytes: u64) {
        self.packets_in.fetch_add(packets, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        if let Some(quotas) = &self.quotas_in {
            quotas.each(|meter| meter.count_in(bytes));
        }
    }

    pub(super) fn count_out(&self, packets: u64, bytes: u64) {
        self.packets_out.fetch_add(packets, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        if let Some(quotas) = &self.quotas_out {
            quotas.each(|meter| meter.count_out(bytes));
        }
    }

    pub(super) fn count_drops(&self, reason: DatagramDrop, packets: u64) {
        self.drops[reason.index()].fetch_add(packets, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> DatagramTraffic {
        DatagramTraffic {
            packets_in: self.packets_in.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            packets_out: self.packets_out.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            drops: by_word(|reason| self.drops[reason.index()].load(Ordering::Relaxed)),
        }
    }
}

/// The counts that are not 0, by the words of their reasons.
pub(super) fn by_word(count: impl Fn(DatagramDrop) -> u64) -> BTreeMap<String, u64> {
    let counted =
        DatagramDrop::ALL.into_iter().map(|reason| (reason.as_str().into(), count(reason)));
    counted.filter(|(_, count)| *count > 0).collect()
}

/// `own`, and what was handed to streams of relays.
pub(super) fn with_relayed(mut own: DatagramTraffic, relayed: &Traffic) -> DatagramTraffic {
    own.packets_out += relayed.packets_out;
    own.bytes_out += relayed.bytes_out;
    for (reason, count) in relayed.dropped_by_reason() {
        *own.drops.entry(reason.to_owned()).or_default() += count;
    }
    own
}

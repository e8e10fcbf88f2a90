//! Counting datagrams, so that what is lost has a reason.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rtun_core::udp_tunnel::DatagramDrop;
use rtun_proto::frame_content::FrameContent;

use crate::{
    counters::{CountedAt, QuotaGroup, Traffic},
    report::DatagramTraffic,
    runtime::machine::Machine,
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
    sampling: Option<DatagramSampling>,
}

/// Where samples of lost datagrams go, if some are wanted.
#[derive(Debug, Clone)]
pub(super) struct DatagramSampling {
    counted: Arc<CountedAt>,
    /// What datagrams are; none where they are sealed.
    content: Option<FrameContent>,
}

impl DatagramSampling {
    pub(super) fn new(service: &str, content: Option<FrameContent>, machine: &Machine) -> Self {
        let (samples, service) = (Arc::clone(&machine.drop_samples), service.into());
        let counted = CountedAt { samples, service, namespace: None, host: None };
        Self { counted: Arc::new(counted), content }
    }

    /// The same for datagrams of another kind.
    pub(super) fn of(self, content: Option<FrameContent>) -> Self {
        Self { content, ..self }
    }

    /// The same for the counters of a stream.
    pub(super) fn counted_at(&self) -> CountedAt {
        (*self.counted).clone()
    }
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

    /// What is [lost](Self::lose) here may be sampled.
    pub(super) fn sampled(self, sampling: DatagramSampling) -> Self {
        Self { sampling: Some(sampling), ..self }
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

    /// Counts packets as lost that are in this datagram, which came from a client or was for one if `peer` says so, and keeps a
    /// sample if some are wanted.
    pub(super) fn lose(
        &self,
        reason: DatagramDrop,
        packets: u64,
        peer: Option<SocketAddr>,
        datagram: &[u8],
    ) {
        self.count_drops(reason, packets);
        if let Some(DatagramSampling { counted, content }) = &self.sampling {
            counted.sample_datagram(reason, peer, *content, datagram);
        }
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

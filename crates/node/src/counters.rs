//! Packet counters that add up: in + copies = out + drops + queued.

mod drop_samples;
mod drops;
mod quota;
mod tally;

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use rtun_core::{DropReason, observer::StatsMeter};
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    drop_samples::{CountedAt, DropSamples},
    quota::{NamedMeter, QuotaGroup},
    tally::Tally,
};
pub use self::{
    drop_samples::{DropSample, MAX_SAMPLING, SamplingLease},
    tally::Happened,
};

/// Counters that any thread may add to. While packets move, the values that are read may be of slightly different moments; at
/// rest they are exact.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    packets_in: AtomicU64,
    bytes_in: AtomicU64,
    packets_out: AtomicU64,
    bytes_out: AtomicU64,
    copies: AtomicU64,
    answered: AtomicU64,
    drops: [AtomicU64; DropReason::COUNT],
    /// What arrives counts against these.
    quotas_in: Option<Arc<QuotaGroup>>,
    /// What is handed on counts against these.
    quotas_out: Option<Arc<QuotaGroup>>,
    /// Whose they are, where samples of lost packets may be wanted.
    counted: Option<Arc<CountedAt>>,
    /// Bytes also count here, for an observer.
    observed: OnceLock<Arc<StatsMeter>>,
}

impl Counters {
    /// What arrives counts against the first quotas, what is handed on against the others.
    pub(crate) fn with_quotas(
        quotas_in: Option<Arc<QuotaGroup>>,
        quotas_out: Option<Arc<QuotaGroup>>,
    ) -> Self {
        Self { quotas_in, quotas_out, ..Self::default() }
    }

    /// Packets that are lost here may be sampled.
    pub(crate) fn counted_at(self, counted: CountedAt) -> Self {
        Self { counted: Some(Arc::new(counted)), ..self }
    }

    /// Whether nothing may pass because a quota is used up.
    pub(crate) fn is_over_quota(&self) -> bool {
        let mut groups = self.quotas_in.iter().chain(&self.quotas_out);
        groups.any(|quotas| quotas.is_exceeded())
    }

    pub(crate) fn count_in(&self, packets: u64, bytes: u64) {
        self.packets_in.fetch_add(packets, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        if let Some(quotas) = &self.quotas_in {
            quotas.each(|meter| meter.count_in(bytes));
        }
        if let Some(meter) = self.observed.get() {
            meter.count_in(bytes);
        }
    }

    pub(crate) fn count_out(&self, packets: u64, bytes: u64) {
        self.packets_out.fetch_add(packets, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        if let Some(quotas) = &self.quotas_out {
            quotas.each(|meter| meter.count_out(bytes));
        }
        if let Some(meter) = self.observed.get() {
            meter.count_out(bytes);
        }
    }

    /// From now on bytes also count at this meter, unless they do at another one already.
    pub(crate) fn observe(&self, meter: Arc<StatsMeter>) {
        let _ = self.observed.set(meter);
    }

    /// Where bytes also count, if somewhere.
    pub(crate) fn observed(&self) -> Option<&Arc<StatsMeter>> {
        self.observed.get()
    }

    pub(crate) fn count_copies(&self, packets: u64) {
        self.copies.fetch_add(packets, Ordering::Relaxed);
    }

    pub(crate) fn count_answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_drop(&self, reason: DropReason) {
        self.count_drops(reason, 1);
    }

    pub(crate) fn count_drops(&self, reason: DropReason, packets: u64) {
        self.drops[reason.index()].fetch_add(packets, Ordering::Relaxed);
    }

    /// Whether samples of lost packets are wanted.
    pub(crate) fn samples_drops(&self) -> bool {
        self.counted.as_ref().is_some_and(|counted| counted.samples())
    }

    /// Keeps a sample of a packet, or of a GSO frame, that was counted as lost, if samples are wanted.
    pub(crate) fn sample_drop(&self, reason: DropReason, payload: &[u8]) {
        if let Some(counted) = &self.counted {
            counted.sample(reason, payload);
        }
    }

    pub(crate) fn read(&self) -> Traffic {
        Traffic {
            packets_in: self.packets_in.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            packets_out: self.packets_out.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            copies: self.copies.load(Ordering::Relaxed),
            answered: self.answered.load(Ordering::Relaxed),
            drops: std::array::from_fn(|i| self.drops[i].load(Ordering::Relaxed)),
        }
    }
}

/// Packets that passed and packets that were lost. Bytes are those of IP packets, without framing.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets that arrived, delivered or lost.
    pub packets_in: u64,
    /// Their payloads.
    pub bytes_in: u64,
    /// Packets that were handed on completely.
    pub packets_out: u64,
    /// Their payloads.
    pub bytes_out: u64,
    /// Packets that the hub made of packets for many: one less than the hosts that each was for.
    #[serde(default)]
    pub copies: u64,
    /// ICMP errors that the hub sent about lost packets; in no other count.
    #[serde(default)]
    pub answered: u64,
    #[serde(with = "drops")]
    drops: [u64; DropReason::COUNT],
}

impl Traffic {
    /// Packets lost for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason.index()]
    }

    /// The reasons for which packets were lost, with how many.
    pub fn drops(&self) -> Drops<'_> {
        Drops(self)
    }

    /// Packets lost, whatever the reason.
    pub fn all_dropped(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Each reason for which packets were lost, as its fixed word, with how many.
    pub fn dropped_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = DropReason::ALL.into_iter().zip(self.drops);
        counts.filter(|(_, count)| *count > 0).map(|(reason, count)| (reason.as_str(), count))
    }

    /// The difference to `earlier`; zero where that counted more.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            packets_in: self.packets_in.saturating_sub(earlier.packets_in),
            bytes_in: self.bytes_in.saturating_sub(earlier.bytes_in),
            packets_out: self.packets_out.saturating_sub(earlier.packets_out),
            bytes_out: self.bytes_out.saturating_sub(earlier.bytes_out),
            copies: self.copies.saturating_sub(earlier.copies),
            answered: self.answered.saturating_sub(earlier.answered),
            drops: std::array::from_fn(|i| self.drops[i].saturating_sub(earlier.drops[i])),
        }
    }
}

impl std::ops::AddAssign<&Traffic> for Traffic {
    fn add_assign(&mut self, other: &Traffic) {
        self.packets_in += other.packets_in;
        self.bytes_in += other.bytes_in;
        self.packets_out += other.packets_out;
        self.bytes_out += other.bytes_out;
        self.copies += other.copies;
        self.answered += other.answered;
        for (mine, theirs) in self.drops.iter_mut().zip(other.drops) {
            *mine += theirs;
        }
    }
}

/// The counts of associations that have ended.
///
/// Tasks that still hold an association after its end may count for it a little later. So its counters are read again until
/// no task holds them any more.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    settled: Traffic,
    held: Vec<Arc<Counters>>,
    /// With this many held counters they are checked again. It grows with them, so that checking costs little for each.
    check_at: usize,
}

/// The least of [`Ended::check_at`].
const CHECK_AT: usize = 64;

impl Ended {
    pub(crate) fn add(&mut self, counters: Arc<Counters>) {
        self.held.push(counters);
        if self.held.len() >= self.check_at {
            self.settle();
        }
    }

    /// Takes over the counts of `other`.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.settled += &other.settled;
        self.held.extend(other.held);
        self.settle();
    }

    pub(crate) fn read(&mut self) -> Traffic {
        self.settle();
        let mut traffic = self.settled.clone();
        for counters in &self.held {
            traffic += &counters.read();
        }
        traffic
    }

    fn settle(&mut self) {
        let settled = &mut self.settled;
        self.held.retain_mut(|counters| match Arc::get_mut(counters) {
            Some(counters) => {
                *settled += &counters.read();
                false
            }
            None => true,
        });
        self.check_at = CHECK_AT.max(2 * self.held.len());
    }
}

/// The drops of some [`Traffic`] in the form `no_route=3 queue_full_oldest=1`; empty where nothing was lost.
pub struct Drops<'a>(&'a Traffic);

impl fmt::Display for Drops<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blank = "";
        for reason in DropReason::ALL {
            let count = self.0.dropped(reason);
            if count > 0 {
                write!(f, "{blank}{}={count}", reason.as_str())?;
                blank = " ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_name_their_reasons() {
        let counters = Counters::default();
        counters.count_in(3, 300);
        counters.count_out(1, 100);
        counters.count_drop(DropReason::NoRoute);
        counters.count_drop(DropReason::Hairpin);
        let mut sum = counters.read();
        sum += &counters.read();
        assert_eq!(
            (sum.packets_in, sum.bytes_in, sum.packets_out, sum.bytes_out),
            (6, 600, 2, 200)
        );
        assert_eq!(sum.drops().to_string(), "no_route=2 hairpin=2");
        assert_eq!(sum.packets_in, sum.packets_out + sum.all_dropped());
        assert_eq!(Traffic::default().drops().to_string(), "");
    }

    #[test]
    fn what_is_counted_after_the_end_counts() {
        let holder = Arc::new(Counters::default());
        let mut ended = Ended::default();
        holder.count_in(3, 300);
        ended.add(Arc::clone(&holder));
        assert_eq!(ended.read().packets_in, 3);
        holder.count_drops(DropReason::GatewayClosing, 2);
        assert_eq!(ended.read().all_dropped(), 2);
        let mut all = Ended::default();
        all.absorb(ended);
        holder.count_drop(DropReason::GatewayClosing);
        drop(holder);
        assert_eq!((all.read().packets_in, all.read().all_dropped()), (3, 3));
        assert!(all.held.is_empty(), "no task can count any more");
    }
}

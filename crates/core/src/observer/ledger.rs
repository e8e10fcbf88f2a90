//! What an observer has acknowledged of the counts of a service or of its clients, and what is due: nothing is lost while the
//! observer is away, and nothing is reported twice.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, atomic::Ordering},
};

use super::{ObservedStats, StatsMeter};

/// The most events of one batch; what is past it comes in the next.
pub const MAX_EVENTS: usize = 4096;

/// The client that stands for all that are forgotten.
const OTHERS: &str = "other";

/// Counts by client, and how much of them is acknowledged.
///
/// A batch stands unchanged until it is acknowledged; what is counted meanwhile is in the next one. Clients are remembered when
/// their connections have ended, so that their totals go on with the next. Past a limit those without a connection are forgotten:
/// what was not acknowledged of them is added to one client for all such, named `other`.
#[derive(Debug)]
pub struct StatsLedger {
    reset_traffic: bool,
    entries: BTreeMap<String, Entry>,
    others: Arc<StatsMeter>,
    /// Clients without a connection are forgotten when there are this many.
    sweep_at: usize,
    max_clients: usize,
    /// The batch that was not acknowledged yet: the client, its counts then, and what was reported.
    in_flight: Vec<Reported>,
    /// Where the next batch of this round begins; `None`: the round is over.
    next: Option<Bound<String>>,
}

#[derive(Debug)]
struct Entry {
    meter: Arc<StatsMeter>,
    acknowledged: ObservedStats,
}

#[derive(Debug, Clone)]
struct Reported {
    client: String,
    counts: ObservedStats,
    event: ObservedStats,
}

impl StatsLedger {
    /// Without clients. `reset_traffic`: bytes are reported as differences to what was acknowledged last, not as totals.
    /// Clients without a connection are remembered up to `max_clients`.
    pub fn new(reset_traffic: bool, max_clients: usize) -> Self {
        Self {
            reset_traffic,
            entries: BTreeMap::new(),
            others: Arc::default(),
            sweep_at: max_clients,
            max_clients,
            in_flight: Vec::new(),
            next: None,
        }
    }

    /// From now on bytes are reported as differences, or as totals.
    pub fn set_reset_traffic(&mut self, reset_traffic: bool) {
        self.reset_traffic = reset_traffic;
    }

    /// The meter of `client`, which counts over all its connections. It is never forgotten while somebody holds it.
    pub fn meter(&mut self, client: &str) -> Arc<StatsMeter> {
        if let Some(entry) = self.entries.get(client) {
            return Arc::clone(&entry.meter);
        }
        if self.entries.len() >= self.sweep_at {
            self.sweep();
        }
        let meter = Arc::<StatsMeter>::default();
        let entry = Entry { meter: Arc::clone(&meter), acknowledged: ObservedStats::default() };
        self.entries.insert(client.to_owned(), entry);
        meter
    }

    /// Takes over the meter of a client that has counted before; what it has counted is not reported as a difference.
    pub fn adopt(&mut self, client: &str, meter: &Arc<StatsMeter>) {
        let adopted = || Entry { meter: Arc::clone(meter), acknowledged: meter.read() };
        self.entries.entry(client.to_owned()).or_insert_with(adopted);
    }

    /// Begins a round, in which each client with news is in one batch.
    pub fn begin(&mut self) {
        self.next = Some(Bound::Unbounded);
    }

    /// The batch that is due: the one that was not acknowledged, or the next of this round; empty if nothing is due.
    pub fn batch(&mut self) -> Vec<(String, ObservedStats)> {
        if self.in_flight.is_empty()
            && let Some(from) = self.next.take()
        {
            self.fill(from);
        }
        self.in_flight.iter().map(|it| (it.client.clone(), it.event)).collect()
    }

    /// The observer has taken the batch.
    pub fn acknowledge(&mut self) {
        for Reported { client, counts, .. } in self.in_flight.drain(..) {
            if let Some(entry) = self.entries.get_mut(&client) {
                entry.acknowledged = counts;
            }
        }
    }

    /// The events of the batch that was not acknowledged yet.
    pub fn waiting(&self) -> usize {
        self.in_flight.len()
    }

    /// The clients that are remembered.
    pub fn clients(&self) -> usize {
        self.entries.len()
    }

    fn fill(&mut self, from: Bound<String>) {
        for (client, entry) in self.entries.range((from, Bound::Unbounded)) {
            let counts = entry.meter.read();
            if counts == entry.acknowledged {
                continue;
            }
            if self.in_flight.len() == MAX_EVENTS {
                self.next = Some(Bound::Included(client.clone()));
                return;
            }
            let event = match self.reset_traffic {
                true => {
                    let since = counts.since(&entry.acknowledged);
                    let ObservedStats { input_bytes, output_bytes, .. } = since;
                    ObservedStats { input_bytes, output_bytes, ..counts }
                }
                false => counts,
            };
            self.in_flight.push(Reported { client: client.clone(), counts, event });
        }
    }

    /// Forgets the clients without a connection. Those of a batch under way are kept, so that it stands, and those that the
    /// observer takes for connected, of which there are no more than were connected at a time.
    fn sweep(&mut self) {
        let Self { entries, in_flight, others, .. } = self;
        let mut left = ObservedStats::default();
        entries.retain(|client, Entry { meter, acknowledged }| {
            let is_in_use = Arc::strong_count(meter) > 1
                || client == OTHERS
                || acknowledged.current_conns > 0
                || in_flight.binary_search_by(|it| it.client.cmp(client)).is_ok();
            if is_in_use {
                return true;
            }
            // The last holder of the meter has counted before letting go of it.
            std::sync::atomic::fence(Ordering::Acquire);
            let more = meter.read().since(acknowledged);
            left.total_conns += more.total_conns;
            left.input_bytes += more.input_bytes;
            left.output_bytes += more.output_bytes;
            left.total_errs += more.total_errs;
            false
        });
        if left != ObservedStats::default() {
            others.add(&left);
            let entry =
                || Entry { meter: Arc::clone(others), acknowledged: ObservedStats::default() };
            entries.entry(OTHERS.to_owned()).or_insert_with(entry);
        }
        self.sweep_at = self.max_clients.max(2 * self.entries.len());
    }
}

#[cfg(test)]
mod tests;

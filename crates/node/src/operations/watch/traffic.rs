//! Who talks to whom.

use std::collections::HashMap;

use rtun_core::NamespaceId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    pairs::{PairKey, SeenPairs},
    sample::{PacketRate, packet_rate},
    service::{WatchedKind, WatchedService},
    state::ServiceWatch,
};
use crate::hub::Amounts;

/// The most pairs of an answer.
pub const MAX_PAIRS: usize = 500;

/// Who talks to whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrafficView {
    /// The pairs with the most traffic, the greatest first.
    pub flows: Vec<TrafficFlow>,
    /// Whether there are more.
    pub truncated: bool,
}

/// What one host sends to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrafficFlow {
    /// The hub.
    pub service: String,
    /// Their namespace.
    pub namespace: String,
    /// Who sends.
    pub from: String,
    /// Who gets it; `None`: all to whom it sends least, together. 64 have a count of their own.
    pub to: Option<String>,
    /// What passes a second, since the question before; zero at the first one.
    pub rate: PacketRate,
    /// Packets since the sender has connected.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl ServiceWatch {
    /// Who talks to whom in this namespace, or in all.
    pub(crate) fn traffic(
        &self,
        services: &[WatchedService<'_>],
        namespace: Option<NamespaceId>,
    ) -> TrafficView {
        let mut amounts: HashMap<PairKey, Amounts> = HashMap::new();
        for WatchedService { id, kind, .. } in services {
            let WatchedKind::Hub(hub) = kind else { continue };
            for pair in hub.pairs(namespace) {
                // A host may have several connections.
                let sum = amounts.entry((*id, pair.namespace, pair.from, pair.to)).or_default();
                sum.packets += pair.amounts.packets;
                sum.bytes += pair.amounts.bytes;
            }
        }
        let now = Instant::now();
        let mut state = self.state();
        let before = state.pairs.before(now, namespace);
        let rate = |key: &PairKey, amounts: &Amounts| {
            let Some(before) = before else { return PacketRate::default() };
            let then = before.amounts.get(key).copied().unwrap_or_default();
            packet_rate(then, *amounts, (now - before.at).as_secs_f64())
        };
        let mut flows: Vec<_> =
            amounts.iter().map(|(key, amounts)| (rate(key, amounts), key, amounts)).collect();
        flows.sort_unstable_by(|(rate, key, amounts), (rate2, key2, amounts2)| {
            let by_rate = rate2.bytes.total_cmp(&rate.bytes);
            by_rate.then_with(|| amounts2.bytes.cmp(&amounts.bytes)).then_with(|| key.cmp(key2))
        });
        let truncated = flows.len() > MAX_PAIRS;
        let name = |id| services.iter().find(|it| it.id == id).map_or("", |it| it.name);
        let shown = flows.into_iter().take(MAX_PAIRS);
        let flows = shown
            .map(|(rate, (service, namespace, from, to), amounts)| TrafficFlow {
                service: name(*service).to_owned(),
                namespace: namespace.to_string(),
                from: from.to_string(),
                to: to.as_ref().map(ToString::to_string),
                rate,
                packets: amounts.packets,
                bytes: amounts.bytes,
            })
            .collect();
        state.pairs.keep(SeenPairs { at: now, of: namespace, amounts });
        TrafficView { flows, truncated }
    }
}

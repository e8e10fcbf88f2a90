//! DropCounts of drop reasons as a map from each reason's word to its count, without those that never happened.

use std::collections::BTreeMap;

use rtun_core::DropReason;
use serde::{Deserialize, Deserializer, Serializer};

type DropCounts = [u64; DropReason::COUNT];

pub(super) fn serialize<S: Serializer>(counts: &DropCounts, to: S) -> Result<S::Ok, S::Error> {
    let happened = DropReason::ALL.iter().zip(counts).filter(|(_, count)| **count > 0);
    to.collect_map(happened.map(|(reason, count)| (reason.as_str(), count)))
}

/// Words of another version that this one does not know are left out.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DropCounts, D::Error> {
    let counts = BTreeMap::<String, u64>::deserialize(from)?;
    Ok(DropReason::ALL.map(|reason| counts.get(reason.as_str()).copied().unwrap_or(0)))
}

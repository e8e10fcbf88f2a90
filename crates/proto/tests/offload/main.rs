//! Segmentation and coalescing against slow obvious models, byte for byte.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod coalesce;
mod gso_frame;
mod packets;
mod segment;
mod stranger;

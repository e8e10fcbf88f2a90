//! Segmentation and coalescing against slow obvious models, byte for byte.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod coalesce;
mod packets;
mod segment;
mod stranger;
mod super_frame;

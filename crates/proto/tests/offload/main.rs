//! Segmentation and coalescing compared with slow and simple models, byte for byte.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod coalesce;
mod ethernet;
mod gso_frame;
mod hostile;
mod packets;
mod segment;

//! How connections of many streams end: by the other side, by their owner's drop, and in order.

#![allow(clippy::unwrap_used)]

#[path = "../quic/certificates.rs"]
#[expect(dead_code, reason = "clients have no certificates here")]
mod certificates;
mod dropped;
mod order;
mod others;
mod sources;
mod tap;

//! The wire format as seen from outside the crate: fixtures, properties, models, and the page that describes it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod document;
mod extension;
mod fixtures;
mod frame;
mod gost;
mod icmp;
mod packet;
mod relay;
mod udp_tunnel;

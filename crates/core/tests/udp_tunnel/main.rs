//! The decisions of a UDP tunnel's server, seen from outside the crate.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bridge_model;
mod forward;
mod mac_model;
mod model;
mod rules;

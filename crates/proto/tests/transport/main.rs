//! Protocols below a tunnel, as seen from outside the crate: fixtures, and properties compared with slow models.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod mux;
mod proxy;

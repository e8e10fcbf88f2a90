//! Ethernet tunnels between real devices: a server, its clients, and where frames go.
//!
//! With `RTUN_GOST`, the path of a GOST v3 program, the tests of `interop` run too, in both roles.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;

mod hostile;
mod interop;
mod limits;
mod network;
mod offload;
mod relayed;
mod restarts;
mod support;
mod switching;

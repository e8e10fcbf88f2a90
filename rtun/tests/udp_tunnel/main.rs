//! UDP tunnels between real devices: a server, its clients, what they send each other, and who may.
//!
//! With `RTUN_GOST`, the path of a GOST v3 program, the tests of `interop` run too, in both roles.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;

mod clients;
mod convert;
mod explain;
mod hostile;
mod interop;
mod limits;
mod network;
mod relayed;
mod reload;
mod support;
mod users;

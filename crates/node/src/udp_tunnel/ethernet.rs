//! Ethernet tunnels (TAP): frames as datagrams between a server, which is a switch, and its clients.
//!
//! A datagram is one frame, sealed on its own where there is a cipher ([`sealing`]). There is no register: a server learns from
//! each frame behind whom an address is. A client sends a frame to itself now and then, which the server learns from and sends
//! back, so that each knows that the other is there; GOST's does the same without being asked to.

mod client;
mod delivery;
mod frames;
mod hardware_address;
mod sealing;
mod server;

pub(crate) use self::{
    client::{TapClientService, TapClientState},
    server::{TapServerService, TapServerState, differ_in_rules_only},
};

//! UDP tunnels: a server with its clients, a client, and a relay between them; of packets, or of Ethernet frames ([`ethernet`]).
//!
//! Both have a device and a socket, and the same two packet paths between them:
//!
//! - up: [`reader`] takes packets from the device, cuts what is larger than a packet, and [`gather`] puts those for one place next
//!   to each other, so that one system call sends them all;
//! - down: one call receives many datagrams; each is judged on its own, and [`delivery`] joins those that follow on each other
//!   for the device.

mod access;
mod arrivals;
mod client;
mod clock;
mod conversation;
mod counters;
mod delivery;
mod ethernet;
mod followed;
mod gather;
mod limits;
mod limits_of_client;
mod reader;
mod relay;
mod relayed;
mod server;
mod service;
mod session;

pub(crate) use self::{
    client::{UdpClientService, UdpClientState},
    ethernet::{
        TapClientService, TapClientState, TapServerService, TapServerState,
        differ_in_rules_only as differ_in_tap_rules_only,
    },
    relay::{RelayService, RelayServiceView, RelayUses, listen_alike},
    server::{UdpServerService, UdpServerState, differ_in_rules_only},
};
pub use self::{
    relay::RelayError,
    service::{TunnelClientError, TunnelDeviceError, TunnelServerError},
};

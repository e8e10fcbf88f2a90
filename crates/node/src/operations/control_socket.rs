//! The local control socket: other programs on this machine ask a running process for its status.
//!
//! A connection takes one request and one answer, each a line of JSON: `{"request":"status"}` is answered with
//! `{"status":{...}}`, and a request that cannot be answered with `{"error":"..."}`. `{"request":"follow",...}` is answered
//! with lines until the client closes the connection. Only root and the user of the process get answers.

mod client;
mod follow;
mod locations;
mod protocol;
mod server;

pub use self::{
    client::{ControlAskError, FollowedAnswers, ask, follow},
    locations::{SocketLocations, remove_stale},
    protocol::{ControlAnswer, ControlRequest, FollowAnswer, FollowRequest},
    server::{ControlSocket, OpenError},
};

//! The local control socket: how other programs on this machine ask a running process how it goes.
//!
//! One request in, one answer out, each a line of JSON, then the connection is closed: `{"request":"status"}` is answered
//! by `{"status":{...}}`, and what cannot be answered by `{"error":"..."}`. Only root and the user that the process runs
//! as are answered.

mod client;
mod locations;
mod protocol;
mod server;

pub use self::{
    client::{ControlAskError, ask},
    locations::{SocketLocations, remove_stale},
    protocol::{ControlAnswer, ControlRequest},
    server::{ControlSocket, OpenError},
};

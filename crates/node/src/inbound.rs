//! Connections that others make: listeners, their handshakes, and how many wait for how long until somebody is admitted.

mod admissions;
mod connections;
mod error;
mod listener;
mod listeners;
mod waiting_room;

pub use self::listener::HubListenError;
pub(crate) use self::{
    connections::{Connections, StreamService},
    error::AdmissionError,
    listener::{ListenerView, PendingStream},
    listeners::Listeners,
};

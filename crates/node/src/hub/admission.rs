//! From an accepted connection to an admitted host: who waits, what is asked, what is answered.

pub(super) mod error;
pub(super) mod handshake;
mod plugin_questions;
pub(super) mod waiting_room;

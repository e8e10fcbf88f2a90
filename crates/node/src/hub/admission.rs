//! From a request to an admitted host: what is asked, what is answered.

pub(super) mod handshake;
mod plugin_questions;

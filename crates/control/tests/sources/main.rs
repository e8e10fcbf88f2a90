//! Every source that is right, slow, hanging, refusing, empty, cut short, too large, no text, or gone and back.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod battery;
mod file;
mod http;
mod memory;
mod redis;
mod server;

//! The in-memory twin of a transport, for tests without a network.

use tokio::io::DuplexStream;

/// Two ends of one stream. Each direction holds `capacity` bytes; a writer waits while it is full.
pub fn pair(capacity: usize) -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(capacity)
}

//! QUIC (RFC 9000): streams and datagrams of connections that outlive a change of address.
//!
//! Each association is one bidirectional stream that the dialling side opens; it carries raw bytes from its first, and the
//! other side learns of it with that byte. Between rtun ends a connection has one stream, and
//! the connection's datagrams (RFC 9221) belong to it.

mod congestion;
mod connection;
mod datagrams;
mod dial;
mod error;
mod flow;
mod listener;
mod model;
mod readiness;
mod settings;
mod socket;
mod stream;

pub use connection::QuicConnection;
pub use dial::{QuicError, connect};
pub use error::QuicHandshakeError;
pub use listener::{BindError, HANDSHAKES_MAX, Incoming, QuicListener, RefusedHandshakes};
pub use settings::{
    ALPN, CONNECTION_RECEIVE_WINDOW, DATAGRAM_RECEIVE_BUFFER, DATAGRAM_SEND_BUFFER,
    HANDSHAKE_TIMEOUT, KEEPALIVE_MAX, SEND_WINDOW_MAX, SEND_WINDOW_MIN, SILENCE_MAX,
    STREAM_RECEIVE_WINDOW, STREAMS_MAX,
};
pub use stream::QuicStream;

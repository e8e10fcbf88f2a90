//! TLS on a stream: the handshake by rustls, the records after it by `rtun-tls`.

mod buffer;
mod end;
mod handshake;
mod stream;

pub use self::handshake::{Accepted, Connected, accept, connect};

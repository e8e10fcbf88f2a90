//! Transports: what carries a tunnel's bytes, and its two kinds so far: TCP and memory.

use tokio::io::{AsyncRead, AsyncWrite};

pub mod memory;
pub mod tcp;

/// An ordered, reliable stream of bytes in both directions, each of which can be ended on its own
/// (`shutdown` of the writing side lets the other read to the end).
///
/// Dropping a stream is an abrupt end: the other side reads either to the end or an error, and
/// its writes fail.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

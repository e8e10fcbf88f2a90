//! A stream of a connection that has an owner, as one value.

use std::{
    io::{self, IoSlice},
    sync::Arc,
    task::{Context, Poll},
};

use rtun_transport::{Datagrams, Stream};

/// A stream with whatever its connection belongs to.
pub(crate) struct Owned<T>(pub(crate) Arc<dyn Stream>, pub(crate) T);

impl<T: Send + Sync + 'static> Stream for Owned<T> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_writable(cx)
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn has_buffered(&self) -> bool {
        self.0.has_buffered()
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }

    fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_closed(cx)
    }

    fn datagrams(&self) -> Option<&dyn Datagrams> {
        self.0.datagrams()
    }
}

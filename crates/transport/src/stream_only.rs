//! A stream whose datagrams are not to be used.

use std::{
    io::{self, IoSlice},
    sync::Arc,
    task::{Context, Poll},
};

use super::Stream;

/// The stream without its datagrams.
pub struct StreamOnly(pub Arc<dyn Stream>);

impl Stream for StreamOnly {
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

    fn write_max(&self) -> usize {
        self.0.write_max()
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
}

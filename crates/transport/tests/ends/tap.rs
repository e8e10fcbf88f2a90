//! A stream that remembers what was written to it.

use std::{
    io::{self, IoSlice},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use rtun_transport::Stream;

/// The bytes that a stream took, in their order.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

/// A stream whose writes are remembered.
pub(crate) struct Tap {
    below: Arc<dyn Stream>,
    written: Written,
}

impl Written {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    /// HTTP/2's frames from `skip` bytes on: type, flags, payload.
    pub(crate) fn http2_frames(&self, skip: usize) -> Vec<(u8, u8, Vec<u8>)> {
        let bytes = self.bytes();
        let mut rest = &bytes[skip..];
        let mut frames = Vec::new();
        while let [a, b, c, kind, flags, _, _, _, _, behind @ ..] = rest {
            let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            frames.push((*kind, *flags, behind[..len].to_vec()));
            rest = &behind[len..];
        }
        assert!(rest.is_empty());
        frames
    }
}

impl Tap {
    pub(crate) fn on(below: Arc<dyn Stream>) -> (Arc<dyn Stream>, Written) {
        let written = Written::default();
        (Arc::new(Self { below, written: written.clone() }), written)
    }
}

impl Stream for Tap {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below.poll_readable(cx)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.below.try_read(into)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below.poll_writable(cx)
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let taken = self.below.try_write_vectored(pieces)?;
        let bytes = pieces.iter().flat_map(|piece| piece.iter().copied());
        self.written.0.lock().unwrap().extend(bytes.take(taken));
        Ok(taken)
    }

    fn has_buffered(&self) -> bool {
        self.below.has_buffered()
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below.poll_shutdown(cx)
    }

    fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below.poll_closed(cx)
    }
}

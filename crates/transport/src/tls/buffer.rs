//! Buffers of a TLS connection: what is left of bytes that are taken piece by piece, and one scratch buffer per thread.

use std::cell::Cell;

/// Bytes taken from the beginning; the memory goes when the last is.
#[derive(Default)]
pub(super) struct Rest {
    pub(super) bytes: Vec<u8>,
    pub(super) taken: usize,
}

impl Rest {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, taken: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn take(&mut self, len: usize) {
        self.taken += len;
        if self.taken == self.bytes.len() {
            *self = Self::default();
        }
    }
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The thread's scratch buffer, or one of its own for a stream above a stream that is using it.
pub(super) struct Scratch(pub(super) Vec<u8>);

impl Scratch {
    pub(super) fn with_len(len: usize) -> Self {
        let mut bytes = SCRATCH.take();
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        Self(bytes)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        SCRATCH.set(std::mem::take(&mut self.0));
    }
}

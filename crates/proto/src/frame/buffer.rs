//! The received bytes of a stream that have not been consumed as frames.

use super::{LEN_PREFIX, MAX_FRAME};

/// A receive buffer that always has room for a whole frame.
///
/// Read into [`space`](Self::space), report the number of bytes with [`advance`](Self::advance), iterate over
/// [`filled`](Self::filled) with [`Frames`](super::Frames), and release the used bytes with [`consume`](Self::consume).
///
/// Memory: none before the first read, then 4 KiB, and four times as much each time that a read fills it, up to the
/// capacity. At the capacity it is full only if a whole frame waits in it; then `space` is empty and the caller consumes
/// before it reads again. [`shrink`](Self::shrink) frees the memory between bursts.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    capacity: usize,
}

impl FrameBuffer {
    /// The default capacity in bytes: one read can bring about 180 packets of 1,400 bytes.
    pub const DEFAULT_CAPACITY: usize = 256 * 1024;
    /// The least capacity in bytes: one frame of the largest size.
    pub const MIN_CAPACITY: usize = LEN_PREFIX + MAX_FRAME;
    const FIRST_ALLOCATION: usize = 4 * 1024;
    const GROWTH: usize = 4;

    /// An empty buffer of the default capacity.
    pub fn new() -> Self {
        Self::with_capacity(Self::DEFAULT_CAPACITY)
    }

    /// An empty buffer for up to `capacity` bytes, at least [`Self::MIN_CAPACITY`].
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, end: 0, capacity: capacity.max(Self::MIN_CAPACITY) }
    }

    /// The space for received bytes; empty only if the buffer is full to its capacity.
    ///
    /// Bytes are moved at most once for every consumed byte, or if there is no other room.
    pub fn space(&mut self) -> &mut [u8] {
        let filled = self.end - self.start;
        if filled == 0 {
            (self.start, self.end) = (0, 0);
        }
        let room = self.bytes.len() - self.end;
        if room == 0 && self.bytes.len() < self.capacity {
            self.grow();
        } else if room == 0 || (room < self.bytes.len() / 4 && filled <= self.start) {
            self.compact();
        }
        &mut self.bytes[self.end..]
    }

    /// Records that the first `n` bytes of the space were received.
    ///
    /// # Panics
    ///
    /// If the space is smaller than that.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.bytes.len() - self.end, "received more than there was space for");
        self.end += n;
    }

    /// The bytes received and not yet consumed.
    #[inline]
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Releases the first `n` filled bytes.
    ///
    /// # Panics
    ///
    /// If fewer are filled.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.end - self.start, "consumed more than was received");
        self.start += n;
    }

    /// Frees the memory if no bytes wait; for an idle stream.
    pub fn shrink(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.bytes = Vec::new();
        }
    }

    /// The memory in use, in bytes.
    pub fn allocated(&self) -> usize {
        self.bytes.capacity()
    }

    /// A full buffer means that the stream has more bytes than one read takes.
    fn grow(&mut self) {
        let len = (self.bytes.len() * Self::GROWTH).clamp(Self::FIRST_ALLOCATION, self.capacity);
        let mut bytes = vec![0; len];
        let filled = self.end - self.start;
        bytes[..filled].copy_from_slice(self.filled());
        self.bytes = bytes;
        (self.start, self.end) = (0, filled);
    }

    fn compact(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
    }
}

impl Default for FrameBuffer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frames;

    fn receive(buffer: &mut FrameBuffer, bytes: &[u8]) -> usize {
        let space = buffer.space();
        let n = space.len().min(bytes.len());
        space[..n].copy_from_slice(&bytes[..n]);
        buffer.advance(n);
        n
    }

    #[test]
    fn an_idle_buffer_costs_nothing_and_a_busy_one_grows_to_its_capacity() {
        let mut buffer = FrameBuffer::new();
        assert_eq!(buffer.allocated(), 0);
        let stream = vec![1; FrameBuffer::DEFAULT_CAPACITY];
        for size in [4 * 1024, 16 * 1024, 64 * 1024, 256 * 1024, 256 * 1024] {
            receive(&mut buffer, &stream);
            assert_eq!(buffer.allocated(), size);
            buffer.consume(buffer.filled().len() - 100);
        }
        buffer.shrink();
        assert_eq!(buffer.allocated(), 256 * 1024, "bytes are waiting");
        buffer.consume(buffer.filled().len());
        buffer.shrink();
        assert_eq!(buffer.allocated(), 0);
        assert_eq!(receive(&mut buffer, &[1, 2]), 2);
        assert_eq!(buffer.filled(), [1, 2]);
    }

    #[test]
    fn a_trickle_stays_small() {
        let mut buffer = FrameBuffer::new();
        for _ in 0..10_000 {
            assert_eq!(receive(&mut buffer, &[0; 1402]), 1402);
            buffer.consume(1402);
        }
        assert_eq!(buffer.allocated(), 4 * 1024);
    }

    #[test]
    fn a_buffer_without_space_holds_a_whole_frame() {
        let mut buffer = FrameBuffer::with_capacity(0);
        let frame = [&[0xff, 0xff], &[0x45; MAX_FRAME][..]].concat();
        buffer.space();
        buffer.advance(1000);
        buffer.consume(1000);
        let mut sent = 0;
        while sent < frame.len() {
            sent += receive(&mut buffer, &frame[sent..]);
        }
        assert!(buffer.space().is_empty());
        assert_eq!(
            Frames::new(buffer.filled()).next().map(|frame| frame.payload.len()),
            Some(MAX_FRAME)
        );
    }
}

//! Packets on a byte stream. Each is a frame: a length, and that number of bytes.
//!
//! ```text
//! +---------------+---------------+---------------------------+
//! |  length N, big-endian         |  N bytes: one IP packet   |
//! +---------------+---------------+---------------------------+
//! ```
//!
//! A reader treats the stream as bytes: a read may end anywhere in a frame. An empty frame is legal to receive, has no
//! meaning, and is never sent. A frame whose first byte has a high nibble other than 4 or 6 is no IP
//! packet but an extension frame ([`crate::extension`]).

mod buffer;

use std::ops::Range;

pub use buffer::FrameBuffer;

/// The longest payload of a frame, in bytes.
pub const MAX_FRAME: usize = 65_535;

/// The bytes of a frame before its payload.
pub const LEN_PREFIX: usize = 2;

/// The longest payload that a GOST host accepts, in bytes; no longer one may be sent to it.
pub const GOST_HOST_MAX_FRAME: usize = 16_384;

/// One whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its content; may be empty.
    pub payload: &'a [u8],
    /// The range of the frame, its length included, in the given bytes. Consecutive frames are adjacent.
    pub range: Range<usize>,
}

/// Iterates over the whole frames at the beginning of a byte slice, without copying.
///
/// The bytes after [`Frames::consumed`] are the beginning of a frame, or there are none.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    consumed: usize,
}

impl<'a> Frames<'a> {
    /// Iterates over `bytes`, which begin with a frame.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, consumed: 0 }
    }

    /// The number of bytes of the frames yielded so far.
    #[inline]
    pub fn consumed(&self) -> usize {
        self.consumed
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'a>> {
        let (length, rest) = self.bytes[self.consumed..].split_first_chunk::<LEN_PREFIX>()?;
        let payload = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
        let start = self.consumed;
        self.consumed += LEN_PREFIX + payload.len();
        Some(Frame { payload, range: start..self.consumed })
    }
}

/// Why a payload cannot be a frame. The caller is at fault; nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No byte. Not every end accepts an empty frame, so none is sent.
    #[error("an empty frame is never sent")]
    Empty,
    /// More than [`MAX_FRAME`] bytes.
    #[error("a frame carries at most 65535 bytes, not {0}")]
    TooBig(usize),
}

/// Appends `payload` to `out` as one frame.
#[inline]
pub fn write_frame(payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    out.extend_from_slice(&length_prefix(payload.len())?);
    out.extend_from_slice(payload);
    Ok(())
}

/// The bytes before a payload of `len` bytes, for callers that write them separately.
#[inline]
pub fn length_prefix(len: usize) -> Result<[u8; LEN_PREFIX], FrameError> {
    match u16::try_from(len) {
        Ok(0) => Err(FrameError::Empty),
        Ok(len) => Ok(len.to_be_bytes()),
        Err(_) => Err(FrameError::TooBig(len)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_yielded_whole_and_the_rest_is_kept() {
        let bytes = [0, 2, 0x45, 1, 0, 0, 0, 1, 0x60, 0, 3, 0x45];
        let mut frames = Frames::new(&bytes);
        let all: Vec<_> = frames.by_ref().collect();
        assert_eq!(
            all,
            [
                Frame { payload: &[0x45, 1], range: 0..4 },
                Frame { payload: &[], range: 4..6 },
                Frame { payload: &[0x60], range: 6..9 },
            ]
        );
        assert_eq!(frames.consumed(), 9);
    }

    #[test]
    fn half_a_length_is_no_frame() {
        for bytes in [&[][..], &[0], &[0, 1], &[0xff, 0xff, 0]] {
            let mut frames = Frames::new(bytes);
            assert_eq!(frames.next(), None);
            assert_eq!(frames.consumed(), 0);
        }
    }

    #[test]
    fn a_frame_holds_1_to_65535_bytes() {
        let mut out = vec![7];
        assert_eq!(write_frame(&[], &mut out), Err(FrameError::Empty));
        assert_eq!(write_frame(&[0; 65_536], &mut out), Err(FrameError::TooBig(65_536)));
        assert_eq!(out, [7]);
        write_frame(&[9], &mut out).unwrap();
        assert_eq!(out, [7, 0, 1, 9]);
        out.clear();
        write_frame(&[5; MAX_FRAME], &mut out).unwrap();
        assert_eq!(out[..3], [0xff, 0xff, 5]);
        assert_eq!(out.len(), LEN_PREFIX + MAX_FRAME);
    }
}

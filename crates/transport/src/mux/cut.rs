//! Pieces of bytes cut into frames, without copying any.

use std::io::IoSlice;

use rtun_proto::mux::{Command, HEADER, header};
use rtun_settings::MuxVersion;

/// Pieces considered in one write; those after them are for the next.
const PIECES: usize = 64;

/// Frames in one write.
const FRAMES: usize = 16;

/// Each frame has a header and splits at most one piece; control frames may go before all.
const SLICES: usize = 1 + PIECES + 2 * FRAMES;

/// The frames of one write: their headers, and how many bytes of the pieces each carries.
pub(super) struct Cut {
    headers: [[u8; HEADER]; FRAMES],
    lengths: [usize; FRAMES],
    frames: usize,
}

/// What a stream below took of a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Only as many bytes of the control frames, and not all.
    Control(usize),
    /// All control frames, and frames with as many bytes of the pieces; the last of them but for its last `missing`
    /// bytes, header included.
    Frames {
        /// Bytes of the pieces in all frames that were begun.
        payload: usize,
        /// Bytes of the last frame that were not taken.
        missing: usize,
    },
}

impl Cut {
    /// Cuts at most `room` bytes of `pieces` into frames of at most `max_frame` each, of at most `space` bytes together with their
    /// headers.
    pub(super) fn new(
        version: MuxVersion,
        id: u32,
        pieces: &[IoSlice<'_>],
        room: usize,
        max_frame: u16,
        mut space: usize,
    ) -> Self {
        let total: usize = pieces.iter().take(PIECES).map(|piece| piece.len()).sum();
        let mut left = total.min(room);
        let mut cut = Self { headers: [[0; HEADER]; FRAMES], lengths: [0; FRAMES], frames: 0 };
        while left > 0 && space > HEADER && cut.frames < FRAMES {
            let fits = left.min(space - HEADER);
            let length = u16::try_from(fits).map_or(max_frame, |fits| fits.min(max_frame));
            space -= HEADER + usize::from(length);
            cut.headers[cut.frames] = header(version, Command::Psh, length, id);
            cut.lengths[cut.frames] = usize::from(length);
            cut.frames += 1;
            left -= usize::from(length);
        }
        cut
    }

    /// Bytes of the pieces in all frames.
    pub(super) fn payload(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Hands `control` and the frames with their bytes to `write`, which says how many it took.
    pub(super) fn write<E>(
        &self,
        control: &[u8],
        pieces: &[IoSlice<'_>],
        write: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>,
    ) -> Result<Taken, E> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut filled = 0;
        let mut push = |bytes| {
            slices[filled] = IoSlice::new(bytes);
            filled += 1;
        };
        if !control.is_empty() {
            push(control);
        }
        let mut pieces = pieces.iter();
        let mut piece: &[u8] = &[];
        for (header, length) in self.headers.iter().zip(self.lengths).take(self.frames) {
            push(header);
            let mut left = length;
            while left > 0 {
                if piece.is_empty() {
                    piece = pieces.next().expect("the frames carry what is in the pieces");
                    continue;
                }
                let (now, later) = piece.split_at(left.min(piece.len()));
                push(now);
                left -= now.len();
                piece = later;
            }
        }
        write(&slices[..filled]).map(|taken| self.taken(control.len(), taken))
    }

    fn taken(&self, control: usize, taken: usize) -> Taken {
        let Some(mut left) = taken.checked_sub(control) else { return Taken::Control(taken) };
        let mut payload = 0;
        for length in &self.lengths[..self.frames] {
            if left == 0 {
                break;
            }
            payload += length;
            let Some(rest) = left.checked_sub(HEADER + length) else {
                return Taken::Frames { payload, missing: HEADER + length - left };
            };
            left = rest;
        }
        Taken::Frames { payload, missing: 0 }
    }

    /// The last `missing` bytes of the frame that ends after `payload` bytes of the pieces.
    pub(super) fn rest(
        &self,
        pieces: &[IoSlice<'_>],
        payload: usize,
        missing: usize,
        into: &mut Vec<u8>,
    ) {
        let mut end = 0;
        let last = self.lengths.iter().position(|length| {
            end += length;
            end == payload
        });
        let last = last.expect("the payload of whole frames was taken");
        let of_payload = missing.min(self.lengths[last]);
        into.extend_from_slice(&self.headers[last][HEADER - (missing - of_payload)..]);
        let mut skip = payload - of_payload;
        let mut left = of_payload;
        for piece in pieces {
            let from = skip.min(piece.len());
            skip -= from;
            let now = &piece[from..piece.len().min(from + left)];
            into.extend_from_slice(now);
            left -= now.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// The frames of `bytes` one after the other.
    fn slow(bytes: &[u8], room: usize, max_frame: u16, space: usize) -> Vec<u8> {
        let bytes = &bytes[..bytes.len().min(room)];
        let mut out = Vec::new();
        for chunk in bytes.chunks(usize::from(max_frame)).take(FRAMES) {
            let fits = (space - out.len()).saturating_sub(HEADER).min(chunk.len());
            if fits > 0 {
                let length = u16::try_from(fits).unwrap();
                out.extend(header(MuxVersion::One, Command::Psh, length, 9));
                out.extend(&chunk[..fits]);
            }
            if fits < chunk.len() {
                break;
            }
        }
        out
    }

    proptest! {
        #[test]
        fn whatever_is_taken_the_rest_of_the_frame_follows(
            pieces in vec(vec(any::<u8>(), 0..50), 0..70),
            control in vec(any::<u8>(), 0..20),
            room in 0..2000_usize,
            max_frame in 1..100_u16,
            space in prop_oneof![Just(usize::MAX), 0..2000_usize],
            taken in any::<prop::sample::Index>(),
        ) {
            let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let bytes = pieces[..pieces.len().min(PIECES)].concat();
            let expected = [&control[..], &slow(&bytes, room, max_frame, space)].concat();
            let taken = taken.index(expected.len() + 1);
            let cut = Cut::new(MuxVersion::One, 9, &slices, room, max_frame, space);
            let mut wire = Vec::new();
            let outcome = cut.write(&control, &slices, |slices| {
                let offered: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                assert_eq!(offered, expected);
                wire.extend_from_slice(&offered[..taken]);
                Ok::<_, ()>(taken)
            }).unwrap();
            match outcome {
                Taken::Control(n) => {
                    prop_assert_eq!(n, taken);
                    prop_assert!(n < control.len());
                }
                Taken::Frames { payload, missing } => {
                    if missing > 0 {
                        cut.rest(&slices, payload, missing, &mut wire);
                    }
                    let whole = slow(&bytes, payload, max_frame, space);
                    prop_assert_eq!(wire, [&control[..], &whole].concat());
                    prop_assert!(taken <= control.len() || payload > 0);
                }
            }
        }
    }
}

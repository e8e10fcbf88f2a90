//! Writes packets to a socket right from the buffer that they are in.

use std::{
    io::{self, IoSlice},
    ops::Range,
};

use rtun_transport::Stream;

use super::PIECES;

/// Writes as much as the socket takes, at most `room` bytes.
pub(super) fn try_write(
    stream: &dyn Stream,
    bytes: &[u8],
    places: &[Range<usize>],
    mut room: usize,
) -> io::Result<usize> {
    if room == 0 {
        return Ok(0);
    }
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let mut filled = 0;
    for (slot, place) in pieces.iter_mut().zip(places) {
        if room == 0 {
            break;
        }
        let run = &bytes[place.clone()];
        *slot = IoSlice::new(&run[..run.len().min(room)]);
        room -= slot.len();
        filled += 1;
    }
    stream.try_write_vectored(&pieces[..filled])
}

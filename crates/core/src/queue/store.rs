//! Stored frames: their bytes in shared chunks, their order in linked lists.
//!
//! Frames are copied one after the other into chunks of [`CHUNK`] bytes; a longer frame has a chunk of its own. A chunk
//! without frames is used again. A few frames that stay long could keep many chunks in use. Therefore, when the chunks in
//! use have more than twice the bytes of the frames plus [`SLACK`] and another chunk is needed, the frames of sparse chunks
//! are moved together first. Spare chunks are kept until all chunks have two and a half times the bytes of the frames plus
//! twice [`SLACK`], so that they need not be allocated again.

use std::{mem, time::Instant};

use rtun_proto::frame::{LEN_PREFIX, MAX_FRAME};

/// Bytes of a chunk.
pub(super) const CHUNK: usize = 32 * 1024;

/// Bytes of the chunk for a frame that is longer than [`CHUNK`].
const LARGE: usize = LEN_PREFIX + MAX_FRAME;

/// Bytes of chunks for which frames are not moved.
const SLACK: usize = 4 * CHUNK;

/// No frame, or no chunk.
const NONE: u32 = u32::MAX;

/// Identifies a frame of a [`Store`] until it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameId(u32);

/// Frames without an order; a [`FrameList`] orders them.
#[derive(Debug)]
pub(super) struct Store {
    frames: Vec<StoredFrame>,
    vacant_frame: u32,
    chunks: Vec<Chunk>,
    vacant_chunks: Vec<u32>,
    /// The chunk for the next frame, if it fits.
    open: u32,
    /// Bytes of the frames, and of the chunks with frames.
    live: usize,
    in_use: usize,
    spare: Vec<Vec<u8>>,
    spare_large: Vec<Vec<u8>>,
    spare_bytes: usize,
}

/// One frame, length prefix included.
#[derive(Debug)]
pub(super) struct StoredFrame {
    chunk: u32,
    start: u32,
    /// Zero: this slot is vacant.
    len: u32,
    /// The next one in its list, or the next vacant slot.
    next: u32,
    /// The number of IP packets; zero for a control frame.
    pub(super) packets: u32,
    /// None if the time does not matter.
    pub(super) arrived: Option<Instant>,
}

#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Bytes of the frames that are still in it.
    live: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            frames: Vec::new(),
            vacant_frame: NONE,
            chunks: Vec::new(),
            vacant_chunks: Vec::new(),
            open: NONE,
            live: 0,
            in_use: 0,
            spare: Vec::new(),
            spare_large: Vec::new(),
            spare_bytes: 0,
        }
    }
}

impl StoredFrame {
    /// Bytes, the length prefix included.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }
}

impl Store {
    /// Copies a frame, of at least its length prefix and at most the longest payload.
    pub(super) fn add(&mut self, frame: &[u8], packets: u32, arrived: Option<Instant>) -> FrameId {
        let (chunk, start) = self.room(frame.len());
        let Chunk { bytes, live } = &mut self.chunks[chunk as usize];
        bytes.extend_from_slice(frame);
        *live += frame.len();
        self.live += frame.len();
        let len = u32::try_from(frame.len()).expect("a frame has at most 65,537 bytes");
        let stored = StoredFrame { chunk, start, len, next: NONE, packets, arrived };
        let id = self.vacant_frame;
        if let Some(vacant) = self.frames.get_mut(id as usize) {
            self.vacant_frame = vacant.next;
            *vacant = stored;
            FrameId(id)
        } else {
            self.frames.push(stored);
            FrameId(index(self.frames.len() - 1))
        }
    }

    /// Removes a frame that is in no list.
    pub(super) fn remove(&mut self, id: FrameId) {
        let stored = &mut self.frames[id.0 as usize];
        let (chunk, len) = (stored.chunk, stored.len());
        stored.len = 0;
        stored.next = mem::replace(&mut self.vacant_frame, id.0);
        self.live -= len;
        self.leave(chunk, len);
    }

    pub(super) fn get(&self, id: FrameId) -> &StoredFrame {
        &self.frames[id.0 as usize]
    }

    /// The whole frame.
    pub(super) fn bytes(&self, id: FrameId) -> &[u8] {
        let StoredFrame { chunk, start, len, .. } = self.frames[id.0 as usize];
        &self.chunks[chunk as usize].bytes[start as usize..][..len as usize]
    }

    /// The payload, without its length prefix.
    pub(super) fn payload_mut(&mut self, id: FrameId) -> &mut [u8] {
        let StoredFrame { chunk, start, len, .. } = self.frames[id.0 as usize];
        let (start, len) = (start as usize, len as usize);
        &mut self.chunks[chunk as usize].bytes[start + LEN_PREFIX..start + len]
    }

    /// The bytes of the frames of `list` without the first `skip`. Frames that are adjacent in a chunk are one piece.
    pub(super) fn pieces(&self, list: &FrameList, skip: usize) -> impl Iterator<Item = &[u8]> {
        let (mut next, mut skip) = (list.head, skip);
        std::iter::from_fn(move || {
            let first = self.frames.get(next as usize)?;
            let start = first.start as usize + mem::take(&mut skip);
            let mut end = first.start + first.len;
            next = first.next;
            while let Some(stored) = self.frames.get(next as usize)
                && (stored.chunk, stored.start) == (first.chunk, end)
            {
                end += stored.len;
                next = stored.next;
            }
            Some(&self.chunks[first.chunk as usize].bytes[start..end as usize])
        })
    }

    /// Bytes of memory in use, spare chunks included.
    pub(super) fn memory(&self) -> usize {
        let spares = self.spare.capacity() + self.spare_large.capacity();
        self.in_use
            + self.spare_bytes
            + spares * size_of::<Vec<u8>>()
            + self.frames.capacity() * size_of::<StoredFrame>()
            + self.chunks.capacity() * size_of::<Chunk>()
            + self.vacant_chunks.capacity() * size_of::<u32>()
    }

    /// A chunk with room for a frame of `len` bytes, and the position in it.
    fn room(&mut self, len: usize) -> (u32, u32) {
        if len > CHUNK {
            return (self.new_chunk(LARGE), 0);
        }
        if self.in_use > 2 * self.live + SLACK && !self.fits_open(len) {
            self.join_sparse_chunks();
        }
        (self.open_for(len), index(self.chunks[self.open as usize].bytes.len()))
    }

    /// Makes the open chunk one with room for a frame of `len` bytes, at most [`CHUNK`].
    fn open_for(&mut self, len: usize) -> u32 {
        if !self.fits_open(len) {
            let full = mem::replace(&mut self.open, NONE);
            if full != NONE {
                self.leave(full, 0);
            }
            self.open = self.new_chunk(CHUNK);
        }
        self.open
    }

    fn fits_open(&self, len: usize) -> bool {
        self.chunks.get(self.open as usize).is_some_and(|chunk| chunk.bytes.len() + len <= CHUNK)
    }

    fn new_chunk(&mut self, size: usize) -> u32 {
        let spare = if size == CHUNK { &mut self.spare } else { &mut self.spare_large };
        let bytes = match spare.pop() {
            Some(bytes) => {
                self.spare_bytes -= bytes.capacity();
                bytes
            }
            None => Vec::with_capacity(size),
        };
        self.in_use += bytes.capacity();
        let chunk = Chunk { bytes, live: 0 };
        if let Some(vacant) = self.vacant_chunks.pop() {
            self.chunks[vacant as usize] = chunk;
            vacant
        } else {
            self.chunks.push(chunk);
            index(self.chunks.len() - 1)
        }
    }

    /// Subtracts `len` bytes from the chunk's frames. A chunk without frames becomes a spare one, unless it is the open one.
    fn leave(&mut self, id: u32, len: usize) {
        let chunk = &mut self.chunks[id as usize];
        chunk.live -= len;
        if chunk.live > 0 {
            return;
        }
        if id == self.open {
            chunk.bytes.clear();
            return;
        }
        let mut bytes = mem::take(&mut chunk.bytes);
        self.vacant_chunks.push(id);
        self.in_use -= bytes.capacity();
        self.spare_bytes += bytes.capacity();
        bytes.clear();
        let is_large = bytes.capacity() > CHUNK;
        if is_large { &mut self.spare_large } else { &mut self.spare }.push(bytes);
        while self.in_use + self.spare_bytes > self.live * 5 / 2 + 2 * SLACK
            && let Some(bytes) = self.spare_large.pop().or_else(|| self.spare.pop())
        {
            self.spare_bytes -= bytes.capacity();
        }
    }

    /// Moves the frames of chunks that are less than three quarters full together.
    fn join_sparse_chunks(&mut self) {
        for id in 0..self.frames.len() {
            let StoredFrame { chunk: from, start, len, .. } = self.frames[id];
            let (start, size) = (start as usize, len as usize);
            let is_sparse = self.chunks[from as usize].live < CHUNK / 4 * 3;
            if len == 0 || from == self.open || !is_sparse {
                continue;
            }
            let to = self.open_for(size);
            let [from_chunk, to_chunk] = self
                .chunks
                .get_disjoint_mut([from as usize, to as usize])
                .expect("the open chunk was excluded, and a new one is different");
            self.frames[id].chunk = to;
            self.frames[id].start = index(to_chunk.bytes.len());
            to_chunk.bytes.extend_from_slice(&from_chunk.bytes[start..start + size]);
            to_chunk.live += size;
            self.leave(from, size);
        }
    }
}

fn index(position: usize) -> u32 {
    u32::try_from(position).expect("a queue is bounded far below 2^32 bytes")
}

/// Frames of a [`Store`], first in, first out.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameList {
    head: u32,
    tail: u32,
}

impl Default for FrameList {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

impl FrameList {
    pub(super) fn is_empty(&self) -> bool {
        self.head == NONE
    }

    pub(super) fn first(&self) -> Option<FrameId> {
        (self.head != NONE).then_some(FrameId(self.head))
    }

    /// Appends a frame that is in no list.
    pub(super) fn push(&mut self, store: &mut Store, id: FrameId) {
        store.frames[id.0 as usize].next = NONE;
        match store.frames.get_mut(self.tail as usize) {
            Some(last) => last.next = id.0,
            None => self.head = id.0,
        }
        self.tail = id.0;
    }

    /// Removes the first frame from the list; it stays in the store.
    pub(super) fn pop(&mut self, store: &Store) -> Option<FrameId> {
        let first = self.first()?;
        self.head = store.get(first).next;
        if self.head == NONE {
            self.tail = NONE;
        }
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize, fill: u8) -> Vec<u8> {
        let mut bytes = u16::try_from(len).unwrap().to_be_bytes().to_vec();
        bytes.resize(LEN_PREFIX + len, fill);
        bytes
    }

    fn add(store: &mut Store, list: &mut FrameList, frame: &[u8]) {
        let id = store.add(frame, 1, None);
        list.push(store, id);
    }

    fn remove_first(store: &mut Store, list: &mut FrameList) {
        let id = list.pop(store).unwrap();
        store.remove(id);
    }

    fn contents(store: &Store, list: &FrameList) -> Vec<u8> {
        store.pieces(list, 0).flatten().copied().collect()
    }

    #[test]
    fn adjacent_frames_are_one_piece() {
        let (mut store, mut a, mut b) = Default::default();
        for fill in 0..3 {
            add(&mut store, &mut a, &frame(100, fill));
        }
        add(&mut store, &mut b, &frame(7, 9));
        add(&mut store, &mut a, &frame(100, 3));
        assert_eq!(store.pieces(&a, 0).map(<[u8]>::len).collect::<Vec<_>>(), [306, 102]);
        assert_eq!(store.pieces(&a, 101).map(<[u8]>::len).collect::<Vec<_>>(), [205, 102]);
        assert_eq!(store.pieces(&FrameList::default(), 0).count(), 0);
    }

    #[test]
    fn a_frame_longer_than_a_chunk_has_one_of_its_own() {
        let (mut store, mut list) = Default::default();
        let expected = [frame(9, 1), frame(MAX_FRAME, 2), frame(9, 3), frame(40_000, 4)];
        for frame in &expected {
            add(&mut store, &mut list, frame);
        }
        assert_eq!(contents(&store, &list), expected.concat());
        assert_eq!(store.in_use, CHUNK + 2 * LARGE);
    }

    #[test]
    fn chunks_are_used_again_and_few_are_kept() {
        let (mut store, mut list) = Default::default();
        for fill in 0..100 {
            add(&mut store, &mut list, &frame(CHUNK - LEN_PREFIX, fill));
        }
        assert_eq!(store.in_use, 100 * CHUNK);
        for _ in 0..50 {
            remove_first(&mut store, &mut list);
        }
        assert_eq!((store.in_use, store.spare_bytes), (50 * CHUNK, 50 * CHUNK));
        add(&mut store, &mut list, &frame(1, 1));
        assert_eq!((store.in_use, store.spare_bytes), (51 * CHUNK, 49 * CHUNK));
        for _ in 0..51 {
            remove_first(&mut store, &mut list);
        }
        assert_eq!((store.in_use, store.live), (CHUNK, 0), "the open one");
        assert!(store.spare_bytes <= 2 * SLACK);
    }

    /// One small frame in each chunk stays; all other frames leave.
    #[test]
    fn frames_that_stay_keep_few_chunks_in_use() {
        let (mut store, mut stay, mut pass) = Default::default();
        let mut expected = Vec::new();
        for round in 0..4000_usize {
            let small = frame(40, round.to_be_bytes()[7]);
            add(&mut store, &mut stay, &small);
            expected.extend(small);
            for _ in 0..20 {
                add(&mut store, &mut pass, &frame(1500, 0));
                remove_first(&mut store, &mut pass);
            }
            assert!(store.in_use <= 2 * store.live + SLACK + 2 * CHUNK, "round {round}");
        }
        assert_eq!(contents(&store, &stay), expected);
    }
}
